"""VGG features: torchvision's keys and taps, what is refused, and sense on the real weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from anomalyhybrid.errors import WeightsError
from anomalyhybrid.losses import perceptual
from anomalyhybrid.models.perceptual import VggFeatures
from anomalyhybrid.models.weights import load_safetensors

# torchvision's layouts: a number is a convolution (and its ReLU), "M" a pooling.
LAYOUTS = {
    "vgg16": (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"),
    "vgg19": (
        *(64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M"),
        *(512, 512, 512, 512, "M", 512, 512, 512, 512, "M"),
    ),
}


def torchvision_state(kind: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict with torchvision's keys and shapes, small random numbers, classifier left out."""
    generator = torch.Generator().manual_seed(seed)
    state, position, inputs = {}, 0, 3
    for width in LAYOUTS[kind]:
        if width == "M":
            position += 1
            continue
        scale = (2 / (9 * inputs)) ** 0.5
        state[f"features.{position}.weight"] = torch.randn(int(width), inputs, 3, 3, generator=generator) * scale
        state[f"features.{position}.bias"] = torch.randn(int(width), generator=generator) * 0.01
        position, inputs = position + 2, int(width)
    return state


def image(size: int = 32) -> torch.Tensor:
    coarse = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return F.interpolate(coarse, (size, size), mode="bilinear")


@pytest.mark.parametrize(
    ("kind", "stages", "last"),
    [("vgg16", 5, 24), ("vgg16", 4, 17), ("vgg19", 5, 28), ("vgg19", 4, 19), ("vgg16", 1, 0)],
)
def test_keys_are_the_first_of_torchvisions(kind: str, stages: int, last: int) -> None:
    state = torchvision_state(kind)
    model = VggFeatures(kind, stages)
    wanted = {key: value.shape for key, value in state.items() if int(key.split(".")[1]) <= last}
    assert {key: value.shape for key, value in model.state_dict().items()} == wanted
    assert len(model.taps) == stages


@pytest.mark.parametrize("kind", ["vgg16", "vgg19"])
def test_features_are_the_first_relu_of_each_stage(kind: str) -> None:
    state = torchvision_state(kind)
    features = VggFeatures(kind).load_torchvision(state)(image())
    current = ((image() + 1) / 2 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    position, wanted, fresh = 0, [], True
    for width in LAYOUTS[kind]:
        if width == "M":
            current, position, fresh = F.max_pool2d(current, 2), position + 1, True
            continue
        current = F.relu(
            F.conv2d(current, state[f"features.{position}.weight"], state[f"features.{position}.bias"], padding=1)
        )
        if fresh:
            wanted.append(current)
        position, fresh = position + 2, False
    assert [feature.shape[1] for feature in features] == [64, 128, 256, 512, 512]
    for ours, theirs in zip(features, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_four_stages_are_the_first_four_of_five() -> None:
    state = torchvision_state("vgg16")
    five, four = (VggFeatures("vgg16", stages).load_torchvision(state)(image()) for stages in (5, 4))
    assert len(five) == 5
    assert len(four) == 4
    for one, other in zip(four, five, strict=False):
        assert torch.equal(one, other)


def test_unfit_weights_are_refused() -> None:
    state = torchvision_state("vgg16")
    with pytest.raises(WeightsError, match="'vgg16' or 'vgg19'"):
        VggFeatures("vgg11")
    missing = {key: value for key, value in state.items() if key != "features.24.bias"}
    with pytest.raises(WeightsError, match=r"features\.24\.bias.*\(1 keys\)"):
        VggFeatures("vgg16").load_torchvision(missing)
    VggFeatures("vgg16", 4).load_torchvision(missing)  # not built, not needed
    with pytest.raises(WeightsError, match="give torchvision's state dict"):
        VggFeatures("vgg19").load_torchvision(state)


def test_weights_stay_fixed_while_the_image_gets_its_gradient() -> None:
    model = VggFeatures("vgg16").load_torchvision({k: v.half() for k, v in torchvision_state("vgg16").items()})
    given = image().requires_grad_()
    perceptual(model(given), [feature.detach() for feature in model(-given)]).backward()
    assert given.grad is not None
    assert bool(given.grad.any())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


@pytest.fixture(scope="module")
def real(shared_dir: Path) -> VggFeatures:
    path = shared_dir / "weights" / "vgg16_features.fp16.safetensors"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    state = load_safetensors(path)
    return VggFeatures("vgg16", 5 if "features.24.weight" in state else 4).load_torchvision(state)


def test_real_distance_grows_with_blur_noise_and_shift(real: VggFeatures) -> None:
    sharp = F.interpolate(torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1, (64, 64))
    noise = torch.randn(sharp.shape, generator=torch.Generator().manual_seed(1))
    wanted = real(sharp)

    def distance(other: torch.Tensor) -> float:
        return float(perceptual(real(other), wanted))

    assert distance(sharp) == 0
    for series in (
        [sharp + 0.05 * level * noise for level in (1, 2, 4)],
        [F.avg_pool2d(sharp, width, 1, width // 2, count_include_pad=False) for width in (3, 5, 9)],
        [sharp.roll(pixels, 3) for pixels in (1, 2)],
    ):
        distances = [distance(other) for other in series]
        assert distances == sorted(distances)
        assert distances[0] > 0
    assert distance(sharp.roll(2, 3)) < distance(torch.rand_like(sharp) * 2 - 1)


def test_real_features_have_healthy_activations(real: VggFeatures) -> None:
    """Wrong normalisation or a shuffled layer would leave dead or exploding features."""
    for feature in real(image(64)):
        assert 0.05 < float((feature > 0).float().mean()) < 0.95
        assert 0.01 < float(feature.mean()) < 100
