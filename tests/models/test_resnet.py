"""ResNet-34: torchvision's keys and parameter count, the forward pass re-derived, transformers, weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from anomalyhybrid.errors import ConfigError, WeightsError
from anomalyhybrid.models.resnet import ResNet34, new_resnet34


def norm_keys(name: str) -> list[str]:
    return [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]


def torchvision_keys() -> list[str]:
    """Written out from torchvision's layout, in its order."""
    keys = ["conv1.weight", *norm_keys("bn1")]
    for stage, count in enumerate((3, 4, 6, 3), 1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            keys += [
                f"{name}.conv1.weight",
                *norm_keys(f"{name}.bn1"),
                f"{name}.conv2.weight",
                *norm_keys(f"{name}.bn2"),
            ]
            if stage > 1 and block == 0:
                keys += [f"{name}.downsample.0.weight", *norm_keys(f"{name}.downsample.1")]
    return [*keys, "fc.weight", "fc.bias"]


def scrambled(classes: int = 5, width: int = 8, seed: int = 0) -> ResNet34:
    """A network whose batch norms have statistics that are not 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    model = new_resnet34(classes, generator, width=width)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for values, low in (
                (layer.running_var, 0.5),
                (layer.weight, 0.5),
                (layer.running_mean, -0.3),
                (layer.bias, -0.3),
            ):
                assert values is not None
                values.data.copy_(torch.rand(len(values), generator=generator) * 0.6 + low)
    return model.eval()


def image(size: int = 64) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(3))


def test_keys_and_count_are_torchvisions() -> None:
    with torch.device("meta"):
        model = ResNet34()
    assert list(model.state_dict()) == torchvision_keys()
    assert len(torchvision_keys()) == 218
    assert sum(parameter.numel() for parameter in model.parameters()) == 21_797_672
    assert model.layer3[0].downsample[0].weight.shape == (256, 128, 1, 1)
    assert model.fc.weight.shape == (1000, 512)


def test_forward_is_resnet_34_bit_for_bit() -> None:
    model = scrambled()
    state = model.state_dict()

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var, weight, bias = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=1e-5)

    x = F.conv2d(image(), state["conv1.weight"], stride=2, padding=3)
    x = F.max_pool2d(F.relu(norm(x, "bn1")), kernel_size=3, stride=2, padding=1)
    for stage, count in enumerate((3, 4, 6, 3), 1):
        for block in range(count):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            out = F.relu(norm(F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1"))
            out = norm(F.conv2d(out, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2:
                x = norm(F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=2), f"{name}.downsample.1")
            x = F.relu(out + x)
    wanted = F.linear(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1), state["fc.weight"], state["fc.bias"])
    with torch.no_grad():
        assert torch.equal(model(image()), wanted)


def test_equals_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        layer_type="basic", depths=[3, 4, 6, 3], hidden_sizes=[8, 16, 32, 64], embedding_size=8, num_labels=5
    )
    other = transformers.ResNetForImageClassification(config).eval()
    ours = scrambled()

    def theirs_of(key: str) -> str:
        if key.startswith("fc."):
            return key.replace("fc.", "classifier.1.")
        parts, leaf = key.rsplit(".", 1)
        if "layer" not in key:
            return f"resnet.embedder.embedder.{'convolution' if parts == 'conv1' else 'normalization'}.{leaf}"
        stage, block, *rest = parts.removeprefix("layer").split(".")
        place = f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}"
        if rest[0] == "downsample":
            return f"{place}.shortcut.{'normalization' if rest[1] == '1' else 'convolution'}.{leaf}"
        kind = "convolution" if rest[0].startswith("conv") else "normalization"
        return f"{place}.layer.{int(rest[0][-1]) - 1}.{kind}.{leaf}"

    other.load_state_dict({theirs_of(key): value for key, value in ours.state_dict().items()})
    with torch.no_grad():
        assert torch.equal(ours(image()), other(image()).logits)


def test_imagenet_weights_keep_a_fresh_head_for_other_classes() -> None:
    state = {
        key: value.half() for key, value in scrambled(classes=10, seed=1).state_dict().items() if "num_" not in key
    }
    model = new_resnet34(5, torch.Generator().manual_seed(2), width=8)
    head = model.fc.weight.detach().clone()
    model.load_imagenet(state)
    assert torch.equal(model.fc.weight, head)
    assert torch.equal(model.layer4[2].conv2.weight, state["layer4.2.conv2.weight"].float())
    same = new_resnet34(10, torch.Generator().manual_seed(2), width=8).load_imagenet(state)
    assert torch.equal(same.fc.weight, state["fc.weight"].float())
    assert {value.dtype for key, value in same.state_dict().items() if "num_" not in key} == {torch.float32}


def test_unfit_weights_are_refused() -> None:
    model = ResNet34(5, width=8)
    state = model.state_dict()
    with pytest.raises(WeightsError, match=r"missing keys: layer1\.0\.bn1\.weight"):
        model.load_imagenet({key: value for key, value in state.items() if key != "layer1.0.bn1.weight"})
    with pytest.raises(WeightsError, match=r"unexpected keys: layer9"):
        model.load_imagenet(state | {"layer9": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"conv1\.weight: shape"):
        model.load_imagenet(ResNet34(5, width=4).state_dict())
    with pytest.raises(WeightsError, match=r"no 'conv1\.weight'"):
        model.load_imagenet({"backbone.conv1.weight": torch.zeros(1)})
    with pytest.raises(ConfigError, match="classes=1"):
        ResNet34(1)


def test_the_seed_alone_decides_the_weights() -> None:
    before = torch.get_rng_state()
    one, other = (new_resnet34(3, torch.Generator().manual_seed(4), width=16) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])
    weight = one.layer3[1].conv1.weight
    assert float(weight.detach().std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
    assert float(one.fc.weight.detach().abs().max()) <= 128**-0.5
