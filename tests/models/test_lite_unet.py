"""The lite U-Net: any size, folding, files, and that it can learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from anomalyhybrid.errors import ConfigError, WeightsError
from anomalyhybrid.models.lite_unet import LiteUNet, LiteUNetConfig, load_lite, save_lite


@pytest.fixture
def net() -> LiteUNet:
    """A small network whose batch norms have seen something."""
    torch.manual_seed(0)
    net = LiteUNet(LiteUNetConfig(widths=(8, 12, 16)))
    for _ in range(3):
        net(torch.randn(4, 3, 32, 32))
    return net.eval()


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (5, 3), (1, 1)])
def test_any_size(net: LiteUNet, size: tuple[int, int]):
    assert net(torch.randn(2, 3, *size)).shape == (2, 1, *size)


def test_folding_changes_nothing(net: LiteUNet):
    image = torch.randn(2, 3, 40, 40)
    folded = net.fold()
    assert not any("norm" in key for key in folded.state_dict())
    assert torch.allclose(net(image), folded(image), atol=1e-4)
    assert torch.allclose(folded(image), folded.fold()(image), atol=1e-6)


def test_file_round_trip(net: LiteUNet, tmp_path: Path):
    path = tmp_path / "net.safetensors"
    save_lite(net, path, metadata={"seed": "1"})
    loaded = load_lite(path)
    image = torch.randn(1, 3, 40, 40)
    assert loaded.config.folded
    assert torch.allclose(net(image), loaded(image), atol=0.02)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="no lite U-Net's file"):
        load_lite(path)


def test_shipped_size_is_small(tmp_path: Path):
    path = tmp_path / "net.safetensors"
    save_lite(LiteUNet(LiteUNetConfig()).eval(), path, metadata={})
    assert path.stat().st_size < 2_000_000


def test_config_is_checked():
    with pytest.raises(ConfigError, match="two levels"):
        LiteUNetConfig(widths=(8,))


def test_learns_two_images():
    torch.manual_seed(0)
    net = LiteUNet(LiteUNetConfig(widths=(8, 12, 16))).train()
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    target = (image.mean(dim=1, keepdim=True) > 0).float()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(image), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
