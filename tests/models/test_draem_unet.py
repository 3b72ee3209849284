"""DRAEM's U-Net: parameter count from a table, the forward pass re-derived, initial weights, skips."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from anomalyhybrid.errors import ConfigError
from anomalyhybrid.models.draem_unet import DraemUNet, DraemUNetConfig, draw_weights, new_draem_unet

# inputs and outputs of every convolution at base width 64, written out by hand from the architecture
ENCODER = ((3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), *[(512, 512)] * 5)
DECODER = (
    *((512, 512), (1024, 512), (512, 512)),
    *((512, 256), (256 + 512, 256), (256, 256)),
    *((256, 128), (128 + 256, 128), (128, 128)),
    *((128, 64), (64 + 128, 64), (64, 64)),
    *((64, 64), (64 + 64, 64), (64, 64)),
)


def tiny(width: int = 4, seed: int = 0) -> DraemUNet:
    return new_draem_unet(DraemUNetConfig(width=width), torch.Generator().manual_seed(seed))


def test_parameters_are_those_of_the_table() -> None:
    with torch.device("meta"):
        model = DraemUNet()
    convs = [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert sorted((layer.in_channels, layer.out_channels) for layer in convs) == sorted([*ENCODER, *DECODER, (64, 2)])
    counted = sum(9 * before * after + 3 * after for before, after in (*ENCODER, *DECODER)) + 9 * 64 * 2 + 2
    assert sum(parameter.numel() for parameter in model.parameters()) == counted == 28_372_418


def test_forward_is_the_architecture() -> None:
    """Re-derived layer by layer; only the order of the convolutions is taken from the module."""
    model = tiny().double().eval()
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, 64, 96, generator=generator, dtype=torch.float64)
    for parameter in model.parameters():  # larger than at the start, so that the deepest block still counts
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    layers = iter([layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.BatchNorm2d)])
    encoder = [[next(layers) for _ in range(4)] for _ in range(6)]
    rises = [[next(layers) for _ in range(2)] for _ in range(5)]
    merges = [[next(layers) for _ in range(4)] for _ in range(5)]
    head = next(layers)

    def run(stack, x):
        for conv, norm in zip(stack[::2], stack[1::2], strict=True):
            x = F.conv2d(x, conv.weight, conv.bias, padding=1)
            x = F.relu(norm.weight.view(-1, 1, 1) * x / (1 + 1e-5) ** 0.5 + norm.bias.view(-1, 1, 1))
        return x

    with torch.no_grad():
        found = model(image)
        blocks = [run(encoder[0], image)]
        for stack in encoder[1:]:
            blocks.append(run(stack, F.max_pool2d(blocks[-1], 2)))
        x = blocks[5]
        for level, rise, merge in zip((4, 3, 2, 1, 0), rises, merges, strict=True):
            x = run(rise, F.interpolate(x, size=blocks[level].shape[-2:], mode="bilinear", align_corners=True))
            x = run(merge, torch.cat([x, blocks[level]], dim=1))
        wanted = F.conv2d(x, head.weight, head.bias, padding=1)
    assert found.shape == (2, 2, 64, 96)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_weights_are_drawn_as_published() -> None:
    model = tiny(width=16)
    convs = [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)]
    norms = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    weights = torch.cat([layer.weight.detach().flatten() for layer in convs])
    scales = torch.cat([layer.weight.detach() for layer in norms])
    assert abs(float(weights.mean())) < 1e-4
    assert float(weights.std()) == pytest.approx(0.02, rel=0.01)
    assert float(scales.mean()) == pytest.approx(1.0, abs=0.005)
    assert float(scales.std()) == pytest.approx(0.02, rel=0.1)
    assert not any(bool(layer.bias.any()) for layer in (*convs, *norms))


def test_the_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, other, third = tiny(), tiny(), tiny(seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])
    assert not torch.equal(one.head.weight, third.head.weight)
    model = tiny().train()
    model(torch.rand(2, 3, 32, 32))  # moves the running statistics
    draw_weights(model, torch.Generator().manual_seed(0))
    for key, value in one.state_dict().items():
        assert torch.equal(value, model.state_dict()[key])


@pytest.mark.parametrize("settings", [{"width": 0}, {"channels": 0}, {"classes": 1}])
def test_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings))} is"):
        DraemUNetConfig(**settings)
