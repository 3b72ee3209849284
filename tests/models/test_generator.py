"""The generator: sizes, shapes, ablations, its file, and gradients to every weight."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from anomalyhybrid.errors import ConfigError, WeightsError
from anomalyhybrid.models.blocks import Norm, UpBlock
from anomalyhybrid.models.config import GeneratorConfig, generator_preset
from anomalyhybrid.models.encoder import scale_widths
from anomalyhybrid.models.generator import Generator, load_generator, save_generator
from anomalyhybrid.types import Conditions

TINY = GeneratorConfig(width=8, downsamplings=2, max_width=16, blocks=1)


def make(config: GeneratorConfig = TINY, seed: int = 0) -> Generator:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Generator(config)


def stacked(batch: int = 2, height: int = 32, width: int = 48) -> torch.Tensor:
    return torch.rand(batch, 5, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(("name", "low", "high"), [("lite", 4, 15), ("base", 40, 60), ("paper", 150, 260)])
def test_presets_have_the_promised_size(name, low: int, high: int) -> None:
    with torch.device("meta"):
        model = Generator(generator_preset(name))
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert low <= millions <= high
    assert generator_preset("lite").stride == 8


def test_unusable_configurations_are_refused() -> None:
    with pytest.raises(ConfigError, match="'lite', 'base' or 'paper'"):
        generator_preset("huge")  # type: ignore[arg-type]
    for name in ("width", "downsamplings", "max_width", "blocks", "mask_narrowing"):
        with pytest.raises(ConfigError, match=rf"generator\.{name} is 0"):
            GeneratorConfig(**{name: 0})
    with pytest.raises(ConfigError, match="width is 12; it must be a multiple of 8"):
        GeneratorConfig(width=12)
    for decoders in ((), ("ahd", "ahx")):
        with pytest.raises(ConfigError, match="'ahd', 'ahe' or both"):
            GeneratorConfig(decoders=decoders)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, skips=False),
        replace(TINY, mask_narrowing=1),
        GeneratorConfig(width=16, downsamplings=3, max_width=32, blocks=2, mask_narrowing=4),
    ],
)
def test_outputs_have_the_images_shape_and_range(config: GeneratorConfig) -> None:
    given = stacked()
    with torch.no_grad():
        outputs = make(config)(given * 3)  # ranges hold for any input, of the masks and sources at least
    assert list(outputs) == ["ahd", "ahe"]
    for output in outputs.values():
        assert output.source.shape == output.fused.shape == (2, 3, 32, 48)
        assert output.fusion_mask.shape == (2, 1, 32, 48)
        assert float(output.source.abs().max()) <= 1
        assert 0 <= float(output.fusion_mask.min()) <= float(output.fusion_mask.max()) <= 1
        mask = output.fusion_mask
        torch.testing.assert_close(output.fused, given[:, :3] * 3 * (1 - mask) + output.source * mask)
    assert not torch.equal(outputs["ahd"].source, outputs["ahe"].source)


def test_widths_double_up_to_the_limit() -> None:
    assert scale_widths(GeneratorConfig(width=32, downsamplings=4, max_width=128)) == [32, 64, 128, 128, 128]


@pytest.mark.parametrize("name", ["ahd", "ahe"])
def test_an_ablated_generator_has_one_group(name) -> None:
    model, both = make(replace(TINY, decoders=(name,))), make()
    assert list(model(stacked())) == [name]
    assert not any(key.startswith("decoders.") and f".{name}." not in key for key in model.state_dict())
    difference = sum(p.numel() for p in both.parameters()) - sum(p.numel() for p in model.parameters())
    assert difference == sum(p.numel() for p in both.decoders[name].parameters())


def test_redraw_runs_one_group_and_gives_the_same() -> None:
    model, given = make().eval(), stacked()
    conditions = Conditions(color=given[:, :3], depth=given[:, 3:4], edge=given[:, 4:])
    assert torch.equal(conditions.stacked(), given)
    with torch.no_grad():
        for name, output in model(given).items():
            for one, other in zip(model.redraw(conditions, name), output, strict=True):
                assert torch.equal(one, other)


def test_every_weight_gets_a_gradient() -> None:
    for config in (TINY, replace(TINY, skips=False), replace(TINY, decoders=("ahe",))):
        model = make(config)
        sum(output.fused.square().mean() for output in model(stacked()).values()).backward()
        idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        assert idle == []


def test_each_condition_reaches_both_groups() -> None:
    model, given = make(), stacked()
    with torch.no_grad():
        before = model(given)
        for channel in range(5):
            changed = given.clone()
            changed[:, channel] *= -1
            after = model(changed)
            assert all(float((after[n].source - before[n].source).abs().max()) > 1e-4 for n in before)


def test_samples_do_not_see_each_other() -> None:
    model, given = make(), stacked(3)
    with torch.no_grad():
        together, alone = model(given), model(given[1:2])
    for name in together:
        torch.testing.assert_close(together[name].fused[1:2], alone[name].fused, atol=1e-5, rtol=0)


def test_norm_keeps_the_precision_it_gets() -> None:
    features = stacked()[:, :4].bfloat16()
    norm = Norm(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert norm(features).dtype == torch.bfloat16
        assert norm(features.float()).dtype == torch.float32
        block = UpBlock(4, 8)
        assert block(features.float()).dtype == torch.bfloat16  # the convolution narrows, the norm keeps it
    wide = norm(features.float())
    torch.testing.assert_close(norm(features).float(), wide, atol=0.03, rtol=0)


def test_norm_keeps_differences_between_the_channels_of_a_group() -> None:
    """Instance norm would take the colour away (ADR-002)."""
    flat = torch.arange(8.0).view(1, 8, 1, 1).expand(1, 8, 6, 6)  # pairs are normalised together
    with torch.no_grad():
        normed = Norm(8)(flat)[0, :, 0, 0]
    assert normed.tolist() == pytest.approx([-1, 1] * 4, abs=1e-3)


def test_under_autocast_the_content_keeps_full_precision() -> None:
    model, given = make(), stacked()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(given)
    for output in outputs.values():
        assert output.fused.dtype == torch.float32
        torch.testing.assert_close(
            output.fused,
            torch.lerp(given[:, :3], output.source.float(), output.fusion_mask.float().expand(-1, 3, -1, -1)),
        )


def test_file_round_trip(tmp_path: Path) -> None:
    config = replace(TINY, decoders=("ahe",), skips=False)
    model, given = make(config).eval(), stacked()
    metadata = {"categories": "nut,bolt", "steps": "7"}
    save_generator(tmp_path / "exact.safetensors", model, metadata, half=False)
    save_generator(tmp_path / "half.safetensors", model, metadata)
    exact, found = load_generator(tmp_path / "exact.safetensors")
    assert metadata.items() <= found.items()
    assert exact.config == config
    assert not exact.training
    half, _ = load_generator(tmp_path / "half.safetensors")
    for key, value in model.state_dict().items():
        assert torch.equal(exact.state_dict()[key], value)
        assert torch.equal(half.state_dict()[key], value.half().float())
    with torch.no_grad():
        assert torch.equal(exact(given)["ahe"].fused, model(given)["ahe"].fused)
        assert float((half(given)["ahe"].fused - model(given)["ahe"].fused).abs().max()) < 5e-3
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
    assert (tmp_path / "half.safetensors").stat().st_size < 0.65 * (tmp_path / "exact.safetensors").stat().st_size


def test_files_that_hold_no_generator_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    with pytest.raises(WeightsError, match="do not exist"):
        load_generator(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="not a readable safetensors"):
        load_generator(path)
    save_generator(path, make(), {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="not a readable safetensors"):
        load_generator(path)
    save_file({"weight": torch.zeros(2)}, path, metadata={"lite": "1"})
    with pytest.raises(WeightsError, match="no generator of anomalyhybrid"):
        load_generator(path)
    save_file(make().state_dict(), path, metadata={"generator": json.dumps(asdict(replace(TINY, blocks=2)))})
    with pytest.raises(WeightsError, match="does not fit its own configuration"):
        load_generator(path)


@pytest.mark.parametrize(
    "settings",
    [
        "{broken",
        "null",
        json.dumps({"width": 8}),
        json.dumps(asdict(TINY) | {"attention": True}),
        json.dumps(asdict(TINY) | {"decoders": ["ahz"]}),
        json.dumps(asdict(TINY) | {"width": "eight"}),
    ],
)
def test_configurations_of_other_versions_are_refused(tmp_path: Path, settings: str) -> None:
    path = tmp_path / "g.safetensors"
    save_file(make().state_dict(), path, metadata={"generator": settings})
    with pytest.raises(WeightsError, match=r"g\.safetensors"):
        load_generator(path)


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "g.safetensors"
    save_generator(path, make(seed=1), {})
    before = path.read_bytes()

    def stop(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save_generator(path, make(seed=2), {})
    assert [file.name for file in tmp_path.iterdir()] == ["g.safetensors"]
    assert path.read_bytes() == before
