"""LPIPS: an independent re-computation, torchmetrics on the same heads, the matrix form, weights that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from anomalyhybrid.errors import DataError, WeightsError
from anomalyhybrid.evaluation.lpips import Lpips, Network, Vgg16Trunk, load_lpips, lpips_matrix
from anomalyhybrid.models.alexnet import AlexNetFeatures

NETWORKS: tuple[Network, ...] = ("alex", "vgg")
# (position, inputs, outputs, kernel, stride, padding, tapped); poolings come before the positions below
ALEX = (
    (0, 3, 64, 11, 4, 2, True),
    (3, 64, 192, 5, 1, 2, True),
    (6, 192, 384, 3, 1, 1, True),
    (8, 384, 256, 3, 1, 1, True),
    (10, 256, 256, 3, 1, 1, True),
)
VGG_WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
VGG_POSITIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
VGG = tuple(
    (position, before, width, 3, 1, 1, position in (2, 7, 14, 21, 28))
    for position, before, width in zip(VGG_POSITIONS, (3, *VGG_WIDTHS[:-1]), VGG_WIDTHS, strict=True)
)
LAYERS = {"alex": ALEX, "vgg": VGG}
POOLS = {"alex": (3, (3, 6)), "vgg": (2, (5, 10, 17, 24))}


def backbone_state(network: str, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {"classifier.1.weight": torch.zeros(2, 2)}
    for position, inputs, outputs, kernel, *_ in LAYERS[network]:
        scale = (2 / (inputs * kernel**2)) ** 0.5
        state[f"features.{position}.weight"] = torch.randn(outputs, inputs, kernel, kernel, generator=generator) * scale
        state[f"features.{position}.bias"] = torch.randn(outputs, generator=generator) * 0.05
    return state


def head_state(network: str, seed: int = 1) -> dict[str, torch.Tensor]:
    widths = [outputs for _, _, outputs, *_, tapped in LAYERS[network] if tapped]
    generator = torch.Generator().manual_seed(seed)
    return {
        f"lin{index}.model.1.weight": torch.rand(1, width, 1, 1, generator=generator)
        for index, width in enumerate(widths)
    }


def make(network: Network, folder: Path) -> Lpips:
    save_file(backbone_state(network), folder / "backbone.safetensors")
    save_file(head_state(network), folder / "heads.safetensors")
    return load_lpips(network, backbone=folder / "backbone.safetensors", heads=folder / "heads.safetensors")


def images(count: int = 4, size: int = 64, seed: int = 3) -> torch.Tensor:
    coarse = torch.rand(count, 3, 9, 9, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, (size, size), mode="bilinear")


def reference(
    network: str,
    backbone: dict[str, torch.Tensor],
    heads: dict[str, torch.Tensor],
    one: torch.Tensor,
    two: torch.Tensor,
) -> np.ndarray:
    """The definition of PyPI lpips, layer by layer in float64."""
    kernel, pooled = POOLS[network]

    def taps(image: torch.Tensor) -> list[torch.Tensor]:
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        current, found = (image - shift.view(3, 1, 1)).double() / scale.view(3, 1, 1).double(), []
        for position, _, _, _, stride, padding, tapped in LAYERS[network]:
            if position in pooled:
                current = F.max_pool2d(current, kernel, 2)
            weight, bias = (backbone[f"features.{position}.{name}"].double() for name in ("weight", "bias"))
            current = F.relu(F.conv2d(current, weight, bias, stride=stride, padding=padding))
            found += [current] if tapped else []
        return found

    total = np.zeros(len(one))
    for index, (a, b) in enumerate(zip(taps(one), taps(two), strict=True)):
        a, b = (x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for x in (a, b))
        head = heads[f"lin{index}.model.1.weight"].double()
        total += F.conv2d((a - b).square(), head).mean(dim=(2, 3)).squeeze(1).numpy()
    return total


@pytest.mark.parametrize("network", NETWORKS)
def test_equals_the_definition(network: Network, tmp_path: Path) -> None:
    model, one, two = make(network, tmp_path), images(seed=3), images(seed=4)
    wanted = reference(network, backbone_state(network), head_state(network), one, two)
    np.testing.assert_allclose(model(one, two).numpy(), wanted, rtol=2e-5)
    matrix = lpips_matrix(model, one, two[:3], block=2)
    assert matrix.shape == (4, 3)
    np.testing.assert_allclose(matrix.diagonal().numpy(), wanted[:3], rtol=1e-4)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("network", NETWORKS)
def test_metric_properties(network: Network, tmp_path: Path) -> None:
    model, batch = make(network, tmp_path), images()
    matrix = lpips_matrix(model, batch, batch, block=3)
    assert float(matrix.diagonal().max()) < 2e-6
    torch.testing.assert_close(matrix, matrix.T, atol=1e-6, rtol=0)
    off = matrix[~torch.eye(4, dtype=torch.bool)]
    assert float(off.min()) > 100 * float(matrix.diagonal().max())
    assert torch.equal(model(batch, batch), torch.zeros(4))
    near, far = (float(model(batch, batch + step * images(seed=9)).mean()) for step in (0.05, 0.5))
    assert 0 < near < far


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [32, 64, 96])
def test_real_weights_equal_the_definition_and_torchmetrics(network: Network, size: int, shared_dir: Path) -> None:
    """torchmetrics ships the same heads; its trunk needs torchvision, so its layers run on our features."""
    weights = shared_dir / "weights"
    name = {"alex": "alexnet", "vgg": "vgg16"}[network]
    backbone, heads = weights / f"{name}_features.fp16.safetensors", weights / f"lpips_v0.1_{network}.pth"
    if not (backbone.is_file() and heads.is_file()):
        pytest.skip(f"{backbone} or {heads} is absent")
    model = load_lpips(network, backbone=backbone, heads=heads)
    one, two = images(2, size, seed=3), images(2, size, seed=4)
    found = model(one, two).numpy()
    state = torch.load(heads, map_location="cpu", weights_only=True)
    wanted = reference(network, model.trunk.state_dict(), state, one, two)
    np.testing.assert_allclose(found, wanted, rtol=2e-5)
    np.testing.assert_allclose(lpips_matrix(model, one, two).diagonal().numpy(), wanted, atol=2e-6)

    theirs = pytest.importorskip("torchmetrics.functional.image.lpips")
    shipped = Path(theirs.__file__).parent / "lpips_models" / f"{network}.pth"
    published = torch.load(shipped, map_location="cpu", weights_only=True)
    scaled = [theirs.ScalingLayer()(image) for image in (one, two)]
    total = torch.zeros(2)
    for index, (a, b) in enumerate(zip(*(model.trunk(image) for image in scaled), strict=True)):
        layer = theirs.NetLinLayer(a.shape[1], use_dropout=False)
        layer.model[-1].weight.data = published[f"lin{index}.model.1.weight"]
        difference = (theirs._normalize_tensor(a) - theirs._normalize_tensor(b)) ** 2
        total += theirs._spatial_average(layer(difference), keep_dim=True).flatten().detach()
    np.testing.assert_allclose(found, total.numpy(), rtol=1e-4)


def test_keys_are_torchvisions() -> None:
    for network, trunk in (("alex", AlexNetFeatures()), ("vgg", Vgg16Trunk())):
        wanted = {k: v.shape for k, v in backbone_state(network).items() if k.startswith("features")}
        assert {key: value.shape for key, value in trunk.state_dict().items()} == wanted
        assert [f.shape[1] for f in trunk(images(1))] == list(trunk.channels)


def test_unfit_weights_are_refused(tmp_path: Path) -> None:
    make("alex", tmp_path)
    backbone, heads = tmp_path / "backbone.safetensors", tmp_path / "heads.safetensors"
    with pytest.raises(WeightsError, match="'alex' or 'vgg'"):
        load_lpips("squeeze", backbone=backbone, heads=heads)  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match=r"VGG16 weights lack .*features\.0\.weight"):
        load_lpips("vgg", backbone=backbone, heads=heads)
    save_file(
        {k: v for k, v in backbone_state("alex").items() if k != "features.8.bias"}, tmp_path / "part.safetensors"
    )
    with pytest.raises(WeightsError, match=r"AlexNet weights lack \['features\.8\.bias'\]"):
        load_lpips("alex", backbone=tmp_path / "part.safetensors", heads=heads)
    with pytest.raises(WeightsError, match="lacks"):
        load_lpips("alex", backbone=backbone, heads=backbone)
    save_file(head_state("vgg"), tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="AlexNetFeatures needs"):
        load_lpips("alex", backbone=backbone, heads=tmp_path / "other.safetensors")
    save_file({key: -value for key, value in head_state("alex").items()}, tmp_path / "negative.safetensors")
    with pytest.raises(WeightsError, match="negative"):
        load_lpips("alex", backbone=backbone, heads=tmp_path / "negative.safetensors")
    torch.save(head_state("alex"), tmp_path / "heads.pth")
    with pytest.raises(WeightsError, match="not the expected file"):
        load_lpips("alex", backbone=backbone, heads=tmp_path / "heads.pth")
    with pytest.raises(WeightsError, match="no weights at"):
        load_lpips("alex", backbone=tmp_path / "none.safetensors", heads=heads)


def test_unfit_images_are_refused(tmp_path: Path) -> None:
    model, batch = make("alex", tmp_path), images(2)
    for one, two, words in (
        (batch, batch[:1], "give equal ones"),
        (batch[:, :1], batch[:, :1], "LPIPS needs"),
        (batch[..., :31], batch[..., :31], "H and W >= 32"),
        (batch[:0], batch[:0], "LPIPS needs"),
    ):
        with pytest.raises(DataError, match=words):
            model(one, two)
    with pytest.raises(DataError, match="one image size"):
        lpips_matrix(model, batch, images(2, 32))
    with pytest.raises(DataError, match="one image size"):
        lpips_matrix(model, batch, batch[:0])
    with pytest.raises(DataError, match="block is 0"):
        lpips_matrix(model, batch, batch, block=0)
