"""PiDiNet: the difference convolutions by hand, the plain form, and the published weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anomalyhybrid.errors import WeightsError
from anomalyhybrid.models.pidinet import PIDINET_FILE, DifferenceConv, PiDiNet, load_pidinet

WEIGHTS = Path(__file__).resolve().parents[2].parent / "shared" / "weights" / PIDINET_FILE


@pytest.mark.parametrize("operation", ["cd", "ad", "rd", "cv"])
def test_one_convolution_equals_its_plain_form(operation):
    torch.manual_seed(0)
    conv = DifferenceConv(4, 6, operation, groups=2)
    x = torch.randn(2, 4, 9, 11)
    plain = conv.to_vanilla()
    assert plain.kernel_size == ((5, 5) if operation == "rd" else (3, 3))
    assert torch.allclose(conv(x), plain(x), atol=1e-6)


def test_differences_by_hand():
    patch = torch.arange(25.0).square().view(1, 1, 5, 5)
    p = patch[0, 0]
    sums = {
        # Each with all weights 1 except a 2 at the top left, so that the order of the pairs counts.
        "cd": sum(float(p[y, x] - p[2, 2]) for y in (1, 2, 3) for x in (1, 2, 3)) + float(p[1, 1] - p[2, 2]),
        "ad": float(p[1, 1] - p[1, 2]),
        "rd": float(sum(p[y, x] - p[(y + 2) // 2, (x + 2) // 2] for y in (0, 2, 4) for x in (0, 2, 4))),
    }
    for operation, expected in sums.items():
        conv = DifferenceConv(1, 1, operation)
        with torch.no_grad():
            conv.weight.fill_(1.0)
            if operation != "rd":
                conv.weight[0, 0, 0, 0] = 2.0
            result = float(conv(patch)[0, 0, 2, 2])
        assert result == pytest.approx(expected, abs=1e-3), operation


def test_random_network_parity_and_outputs():
    torch.manual_seed(0)
    net = PiDiNet().eval()
    image = torch.rand(1, 3, 45, 50) * 2 - 1
    with torch.inference_mode():
        before = net(image)
        after = net.to_vanilla()(image)
    assert len(before) == 5
    assert not any(isinstance(module, DifferenceConv) for module in net.modules())
    for a, b in zip(before, after, strict=True):
        assert a.shape == (1, 1, 45, 50)
        assert torch.allclose(a, b, atol=1e-4)


def test_published_weights_load_agree_and_see_an_edge():
    if not WEIGHTS.is_file():
        pytest.skip(f"{WEIGHTS} is not here")
    net = load_pidinet(WEIGHTS)
    image = torch.full((1, 3, 64, 64), -0.6)
    image[..., 32:] = 0.6
    with torch.inference_mode():
        before = net(image)
        after = net.to_vanilla()(image)
    for a, b in zip(before, after, strict=True):
        assert torch.allclose(a, b, atol=1e-4)
    finest, coarsest = before[0][0, 0], before[3][0, 0]
    assert float(finest[16:48, 31:33].mean()) > 0.8
    assert float(finest[16:48, 10:22].mean()) < 0.1
    assert int((finest[32] > 0.5).sum()) < int((coarsest[32] > 0.5).sum())


def test_another_file_is_refused(tmp_path: Path):
    path = tmp_path / PIDINET_FILE
    torch.save({"state_dict": {}}, path)
    with pytest.raises(WeightsError, match="not the expected file"):
        load_pidinet(path)
