"""Inception v3: keys and shapes, an independent re-computation, torch-fidelity where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from anomalyhybrid.errors import DataError, WeightsError
from anomalyhybrid.models.inception import InceptionV3, resize_tensorflow1

# key: (inputs, outputs, kernel height, width), as torch-fidelity's file has them
STEM = {
    "Conv2d_1a_3x3": (3, 32, 3, 3),
    "Conv2d_2a_3x3": (32, 32, 3, 3),
    "Conv2d_2b_3x3": (32, 64, 3, 3),
    "Conv2d_3b_1x1": (64, 80, 1, 1),
    "Conv2d_4a_3x3": (80, 192, 3, 3),
}
SAMPLES = {
    "Mixed_5b.branch1x1": (192, 64, 1, 1),
    "Mixed_5b.branch5x5_2": (48, 64, 5, 5),
    "Mixed_5b.branch_pool": (192, 32, 1, 1),
    "Mixed_5c.branch3x3dbl_3": (96, 96, 3, 3),
    "Mixed_5d.branch_pool": (288, 64, 1, 1),
    "Mixed_6a.branch3x3": (288, 384, 3, 3),
    "Mixed_6a.branch3x3dbl_3": (96, 96, 3, 3),
    "Mixed_6b.branch7x7_2": (128, 128, 1, 7),
    "Mixed_6b.branch7x7_3": (128, 192, 7, 1),
    "Mixed_6c.branch7x7dbl_2": (160, 160, 7, 1),
    "Mixed_6d.branch7x7dbl_5": (160, 192, 1, 7),
    "Mixed_6e.branch1x1": (768, 192, 1, 1),
    "Mixed_7a.branch3x3_2": (192, 320, 3, 3),
    "Mixed_7a.branch7x7x3_4": (192, 192, 3, 3),
    "Mixed_7b.branch3x3_2a": (384, 384, 1, 3),
    "Mixed_7b.branch3x3dbl_3b": (384, 384, 3, 1),
    "Mixed_7c.branch3x3dbl_1": (2048, 448, 1, 1),
    "Mixed_7c.branch_pool": (2048, 192, 1, 1),
}


def random_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights that keep activations about 1, with batch norms that do something."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, value in InceptionV3().state_dict().items():
        if value.dim() == 4:
            state[key] = torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5
        elif key.endswith(("running_var", "bn.weight")):
            state[key] = torch.rand(value.shape, generator=generator) + 0.5
        elif value.is_floating_point():
            state[key] = torch.randn(value.shape, generator=generator) * 0.05
        else:
            state[key] = value.clone()
    return state


@pytest.fixture(scope="module")
def net() -> InceptionV3:
    return InceptionV3().load_fidelity(random_state())


def images_u8(size: tuple[int, int], count: int = 1, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def signed(image_u8: torch.Tensor) -> torch.Tensor:
    return (image_u8.float() - 128) / 128


def reference(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Pooled features of a 299x299 image in [-1, 1), block by block, in float64."""

    def conv(x: torch.Tensor, key: str, padding: int | tuple[int, int] = 0, stride: int = 1) -> torch.Tensor:
        part = {name: value.double() for name, value in state.items() if name.startswith(f"{key}.")}
        x = F.conv2d(x, part[f"{key}.conv.weight"], None, stride, padding)
        mean, var, scale, shift = (part[f"{key}.bn.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
        return F.relu(F.batch_norm(x, mean, var, scale, shift, eps=0.001))

    def average(x: torch.Tensor) -> torch.Tensor:  # sums over what is inside, by their count
        ones = torch.ones_like(x[:1, :1])
        kernel = torch.ones(1, 1, 3, 3, dtype=x.dtype)
        sums = F.conv2d(x.flatten(0, 1)[:, None], kernel, padding=1).view_as(x)
        return sums / F.conv2d(ones, kernel, padding=1)

    def tall(x: torch.Tensor, key: str, *steps: tuple[str, tuple[int, int]]) -> torch.Tensor:
        for name, padding in steps:
            x = conv(x, f"{key}_{name}", padding)
        return x

    wide, high, no = (0, 3), (3, 0), (0, 0)
    x = conv(x.double(), "Conv2d_1a_3x3", stride=2)
    x = F.max_pool2d(conv(conv(x, "Conv2d_2a_3x3"), "Conv2d_2b_3x3", 1), 3, 2)
    x = F.max_pool2d(conv(conv(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3"), 3, 2)
    for b in ("Mixed_5b.", "Mixed_5c.", "Mixed_5d."):
        five = tall(x, b + "branch5x5", ("1", no), ("2", (2, 2)))
        three = tall(x, b + "branch3x3dbl", ("1", no), ("2", (1, 1)), ("3", (1, 1)))
        x = torch.cat([conv(x, b + "branch1x1"), five, three, conv(average(x), b + "branch_pool")], 1)
    b = "Mixed_6a."
    three = conv(tall(x, b + "branch3x3dbl", ("1", no), ("2", (1, 1))), b + "branch3x3dbl_3", 0, 2)
    x = torch.cat([conv(x, b + "branch3x3", 0, 2), three, F.max_pool2d(x, 3, 2)], 1)
    for b in ("Mixed_6b.", "Mixed_6c.", "Mixed_6d.", "Mixed_6e."):
        seven = tall(x, b + "branch7x7", ("1", no), ("2", wide), ("3", high))
        double = tall(x, b + "branch7x7dbl", ("1", no), ("2", high), ("3", wide), ("4", high), ("5", wide))
        x = torch.cat([conv(x, b + "branch1x1"), seven, double, conv(average(x), b + "branch_pool")], 1)
    b = "Mixed_7a."
    three = conv(conv(x, b + "branch3x3_1"), b + "branch3x3_2", 0, 2)
    seven = conv(tall(x, b + "branch7x7x3", ("1", no), ("2", wide), ("3", high)), b + "branch7x7x3_4", 0, 2)
    x = torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)
    for b in ("Mixed_7b.", "Mixed_7c."):
        one, double = conv(x, b + "branch3x3_1"), tall(x, b + "branch3x3dbl", ("1", no), ("2", (1, 1)))
        parts = [conv(x, b + "branch1x1")]
        parts += [conv(one, b + "branch3x3_2a", (0, 1)), conv(one, b + "branch3x3_2b", (1, 0))]
        parts += [conv(double, b + "branch3x3dbl_3a", (0, 1)), conv(double, b + "branch3x3dbl_3b", (1, 0))]
        pooled = average(x) if b == "Mixed_7b." else F.max_pool2d(x, 3, 1, 1)
        x = torch.cat([*parts, conv(pooled, b + "branch_pool")], 1)
    return x.mean(dim=(2, 3))


def test_keys_and_shapes(net: InceptionV3) -> None:
    state = net.state_dict()
    convs = {key.removesuffix(".conv.weight"): value.shape for key, value in state.items() if value.dim() == 4}
    assert len(convs) == 94
    for key, (inputs, outputs, height, width) in {**STEM, **SAMPLES}.items():
        assert convs[key] == (outputs, inputs, height, width), key
        assert state[f"{key}.bn.running_var"].shape == (outputs,)
    assert state["fc.weight"].shape == (1008, 2048)
    assert state["fc.bias"].shape == (1008,)
    assert len(state) == 94 * 6 + 2  # a weight and five of the batch norm each
    assert sum(value.numel() for key, value in state.items() if value.dim() == 4) == 21_751_136
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_equals_an_independent_computation(net: InceptionV3) -> None:
    image = signed(images_u8((299, 299)))
    found, wanted = net(image), reference(net.state_dict(), image)
    assert found.pooled.shape == (1, 2048)
    assert float(wanted.std()) > 0.1
    torch.testing.assert_close(found.pooled.double(), wanted, rtol=1e-4, atol=1e-4)
    without_bias = wanted @ net.fc.weight.double().T
    assert found.logits_unbiased.shape == (1, 1008)
    torch.testing.assert_close(found.logits_unbiased.double(), without_bias, rtol=1e-4, atol=1e-4)


def test_equals_torch_fidelity(net: InceptionV3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its package imports torchvision, so its modules are imported without the package's own start."""
    if (spec := importlib.util.find_spec("torch_fidelity")) is None or spec.submodule_search_locations is None:
        pytest.skip("torch-fidelity is not installed")
    package = types.ModuleType("torch_fidelity")
    package.__path__ = list(spec.submodule_search_locations)
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    theirs = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    torch.save(net.state_dict(), tmp_path / "inception.pth")
    other = theirs.FeatureExtractorInceptionV3("x", ["2048", "logits_unbiased"], str(tmp_path / "inception.pth"))
    assert list(other.state_dict()) == list(net.state_dict())
    for size in ((64, 100), (384, 512)):
        for found, wanted in zip(net(signed(images_u8(size, 2))), other(images_u8(size, 2)), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_resize_by_hand() -> None:
    row = torch.tensor([0.0, 4.0, 8.0, 100.0])
    image = row.repeat(4, 1)[None, None]
    half = resize_tensorflow1(image, 2)  # reads columns 0 and 2: no half pixel, no smoothing
    assert half.tolist() == [[[[0.0, 8.0], [0.0, 8.0]]]]
    eight = resize_tensorflow1(image, 8)[0, 0]  # columns 0, 0.5, 1, .. 3, 3.5: the last repeats the edge
    assert eight[3].tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 54.0, 100.0, 100.0]
    transposed = resize_tensorflow1(image.mT.contiguous(), 8)
    torch.testing.assert_close(transposed, eight.T[None, None])
    three = resize_tensorflow1(image, 3)[0, 0, 0]  # 0, 4/3, 8/3
    torch.testing.assert_close(three, torch.tensor([0.0, 4 + 4 / 3, 8 + 92 * 2 / 3]))
    noise = torch.rand(1, 3, 299, 299)
    assert torch.equal(resize_tensorflow1(noise, 299), noise)


def test_files_without_counters_and_in_half_precision(net: InceptionV3) -> None:
    state = {k: v.half() for k, v in random_state().items() if not k.endswith("num_batches_tracked")}
    other = InceptionV3().load_fidelity(state)
    assert all(value.dtype == torch.float32 for value in other.parameters())
    torch.testing.assert_close(other.fc.weight, net.fc.weight, atol=1e-3, rtol=1e-3)


def test_unfit_weights_and_images(net: InceptionV3) -> None:
    state = random_state()
    torchvisions = {key: value for key, value in state.items() if not key.startswith("fc.")}
    torchvisions |= {
        "fc.weight": torch.zeros(1000, 2048),
        "fc.bias": torch.zeros(1000),
        "AuxLogits.conv0.x": state["fc.bias"],
    }
    with pytest.raises(WeightsError, match=r"AuxLogits[\s\S]*expected \(1008,\)"):
        InceptionV3().load_fidelity(torchvisions)
    with pytest.raises(WeightsError, match="missing keys"):
        InceptionV3().load_fidelity({})
    for image in (torch.zeros(1, 1, 64, 64), torch.zeros(3, 64, 64), images_u8((64, 64))):
        with pytest.raises(DataError, match=r"float \(B, 3, H, W\)"):
            net(image)
