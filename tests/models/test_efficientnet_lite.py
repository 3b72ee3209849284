"""EfficientNet-Lite2: TensorFlow's padding by hand, what the published weights see in real images, unfit weights."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from anomalyhybrid.errors import DataError, WeightsError
from anomalyhybrid.models.efficientnet_lite import EFFICIENTNET_LITE2_FILE, EfficientNetLite2, _SameConv
from anomalyhybrid.models.weights import load_safetensors

BUTTERFLIES = range(321, 327)
# beer bottle, bottle cap, pill bottle, pop bottle, water bottle, wine bottle
BOTTLES = {440, 455, 720, 737, 898, 907}


@pytest.fixture(scope="module")
def published(shared_dir: Path) -> EfficientNetLite2:
    path = shared_dir / "weights" / EFFICIENTNET_LITE2_FILE
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    return EfficientNetLite2().load_published(load_safetensors(path))


def prepared(paths: list[Path]) -> torch.Tensor:
    if not paths:
        pytest.skip("the images are absent")
    pixels = [cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB) for path in paths]
    images = [torch.from_numpy(image).permute(2, 0, 1)[None].float() for image in pixels]
    return (
        torch.cat([F.interpolate(image, (260, 260), mode="bilinear", antialias=True) for image in images]) - 127
    ) / 128


@torch.no_grad()
def top(net: EfficientNetLite2, paths: list[Path], count: int) -> list[list[int]]:
    return net(prepared(paths)).logits.topk(count).indices.tolist()


def test_butterflies_are_butterflies(published: EfficientNetLite2, shared_dir: Path) -> None:
    paths = sorted((shared_dir / "data" / "heliconius").glob("*/*.jpg"))[::6]
    ranks = top(published, paths, 5)
    first = [row[0] in BUTTERFLIES for row in ranks]
    assert sum(first) >= 0.9 * len(first)
    assert all(set(row) & set(BUTTERFLIES) for row in ranks)


def test_other_objects_get_their_kind(published: EfficientNetLite2, shared_dir: Path) -> None:
    bottles = sorted((shared_dir / "data" / "mvtec_ad_bottle" / "test" / "good").glob("*"))[:6]
    ranks = top(published, bottles, 10)
    assert sum(bool(set(row) & BOTTLES) for row in ranks) >= len(ranks) - 1
    assert not any(set(row[:5]) & set(BUTTERFLIES) for row in ranks)


def random_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights with which every layer does something: activations about 1, batch norms of small variance."""
    generator, state = torch.Generator().manual_seed(seed), {}
    for key, value in EfficientNetLite2().state_dict().items():
        if value.dim() == 4:
            state[key] = torch.randn(value.shape, generator=generator) * (0.02 / value[0].numel()) ** 0.5
        elif key.endswith("running_var"):
            state[key] = torch.rand(value.shape, generator=generator) * 0.01 + 0.002  # 0.001 more or less shows
        elif value.is_floating_point():
            state[key] = torch.rand(value.shape, generator=generator) * 0.5
        else:
            state[key] = value.clone()
    return state


def reference(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Pooled features in float64, written from the architecture's description."""
    strides, kernels = {1: 2, 4: 2, 7: 2, 15: 2}, [3] * 4 + [5] * 3 + [3] * 4 + [5] * 9 + [3]

    def conv(x: torch.Tensor, key: str, norm: str, stride: int = 1) -> torch.Tensor:
        weight = state[f"{key}.weight"].double()
        size, kernel = x.shape[-1], weight.shape[-1]
        total = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
        before = total // 2
        x = F.pad(x, (before, total - before, before, total - before))
        x = F.conv2d(x, weight, stride=stride, groups=x.shape[1] if weight.shape[1] == 1 else 1)
        mean, var, scale, shift = (
            state[f"{norm}.{name}"].double().view(-1, 1, 1)
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 0.001).sqrt() * scale + shift

    x = conv(x.double(), "_conv_stem", "_bn0", 2).clamp(0, 6)
    for index, kernel in enumerate(kernels):
        block, before = f"_blocks.{index}.", x
        assert state[block + "_depthwise_conv.weight"].shape[-1] == kernel
        if index:
            x = conv(x, block + "_expand_conv", block + "_bn0").clamp(0, 6)
        x = conv(x, block + "_depthwise_conv", block + "_bn1", strides.get(index, 1)).clamp(0, 6)
        x = conv(x, block + "_project_conv", block + "_bn2")
        x = x + before if x.shape == before.shape else x
    return conv(x, "_conv_head", "_bn1").clamp(0, 6).mean(dim=(2, 3))


def test_equals_an_independent_computation() -> None:
    state = random_state()
    net = EfficientNetLite2().load_published(state)
    for side in (130, 75):
        image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
        wanted = reference(state, image)
        assert float(wanted.std()) > 0.1
        torch.testing.assert_close(net(image).pooled.double(), wanted, rtol=1e-4, atol=1e-4)


def test_shapes_without_weights() -> None:
    net = EfficientNetLite2()
    output = net(torch.rand(2, 3, 64, 72))
    assert output.pooled.shape == (2, 1280)
    assert output.logits.shape == (2, 1000)
    assert 0 <= float(output.pooled.min()) <= float(output.pooled.max()) <= 6
    torch.testing.assert_close(output.logits, net._fc(output.pooled))
    assert sum(parameter.numel() for parameter in net.parameters()) == 6_092_072
    assert not net.training


def test_same_padding_by_hand() -> None:
    """Stride 2 on an even side pads the end alone, on an odd side both ends: outputs sum the pixels in reach."""
    conv = _SameConv(1, 1, 3, stride=2)
    torch.nn.init.ones_(conv.weight)
    rows = {4: [1 + 2 + 3, 3 + 4], 5: [1 + 2, 2 + 3 + 4, 4 + 5]}
    for side, wanted in rows.items():
        image = torch.zeros(1, 1, side, side)
        image[0, 0, 0] = torch.arange(1.0, side + 1)
        assert conv(image)[0, 0, 0].tolist() == wanted
        assert conv(image.mT)[0, 0, :, 0].tolist() == wanted


def test_unfit_weights_and_images() -> None:
    net = EfficientNetLite2()
    state = {key: value.half() if value.is_floating_point() else value for key, value in net.state_dict().items()}
    assert net.load_published(state)._fc.weight.dtype == torch.float32
    with pytest.raises(WeightsError, match=r"missing keys: _fc\.bias"):
        net.load_published({key: value for key, value in state.items() if key != "_fc.bias"})
    with pytest.raises(WeightsError, match=r"_fc\.bias: shape \(10,\), expected \(1000,\)"):
        net.load_published(state | {"_fc.bias": torch.zeros(10)})
    for image in (torch.zeros(1, 1, 32, 32), torch.zeros(1, 3, 32, 32, dtype=torch.uint8)):
        with pytest.raises(DataError, match="EfficientNet-Lite2 got"):
            net(image)
