"""AnomalyHybrid*: the same classes with other channels; AnomalyHybrid and its files stay as they were."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from anomalyhybrid.errors import ConfigError
from anomalyhybrid.models.config import DiscriminatorConfig, GeneratorConfig
from anomalyhybrid.models.discriminator import Discriminator
from anomalyhybrid.models.generator import Generator, load_generator, save_generator
from anomalyhybrid.models.weights import shipped
from anomalyhybrid.types import Conditions

SMALL = {"width": 8, "downsamplings": 2, "max_width": 16, "blocks": 1}
SISTER = GeneratorConfig(**SMALL, gives="maps")


def make(config: GeneratorConfig = SISTER) -> Generator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Generator(config).eval()


def stacked(side: int = 32) -> torch.Tensor:
    return torch.rand(2, 5, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_depth_comes_from_depth_and_edges_from_edges() -> None:
    """With closed fusion masks each group gives back its own reference map (Eq. 1)."""
    model, given = make(), stacked()
    for decoder in model.decoders.values():
        torch.nn.init.zeros_(decoder.fusion_mask.head.weight)
        torch.nn.init.constant_(decoder.fusion_mask.head.bias, -200.0)
    with torch.no_grad():
        outputs = model(given)
    assert torch.equal(outputs["ahd"].fused, given[:, 3:4])
    assert torch.equal(outputs["ahe"].fused, given[:, 4:5])


def test_one_channel_each_and_redraw_agrees() -> None:
    model, given = make(), stacked()
    conditions = Conditions(color=given[:, :3], depth=given[:, 3:4], edge=given[:, 4:])
    with torch.no_grad():
        outputs = model(given)
        for name in ("ahd", "ahe"):
            assert outputs[name].fused.shape == outputs[name].source.shape == (2, 1, 32, 32)
            assert torch.equal(model.redraw(conditions, name).fused, outputs[name].fused)


def test_files_say_what_a_generator_gives(tmp_path: Path) -> None:
    path = tmp_path / "sister.safetensors"
    save_generator(path, make(), {"size": "64"}, half=False)
    model, metadata = load_generator(path)
    assert model.config == SISTER
    assert metadata["size"] == "64"
    with torch.no_grad():
        assert torch.equal(model(stacked())["ahd"].fused, make()(stacked())["ahd"].fused)


def test_files_from_before_are_of_colour(tmp_path: Path) -> None:
    """A file whose configuration does not know `gives` loads as AnomalyHybrid, with the same keys."""
    model = make(GeneratorConfig(**SMALL))
    settings = {name: value for name, value in asdict(model.config).items() if name != "gives"}
    save_file(model.state_dict(), tmp_path / "old.safetensors", metadata={"generator": json.dumps(settings)})
    loaded, _ = load_generator(tmp_path / "old.safetensors")
    assert loaded.config.gives == "color"
    with torch.no_grad():
        assert torch.equal(loaded(stacked())["ahe"].fused, model(stacked())["ahe"].fused)


def test_the_shipped_generator_gives_colour() -> None:
    model, _ = load_generator(shipped("generator.safetensors"))
    assert model.config.gives == "color"
    with torch.no_grad():
        assert model(torch.zeros(1, 5, 64, 64))["ahd"].fused.shape == (1, 3, 64, 64)


def test_unknown_gives_is_refused() -> None:
    with pytest.raises(ConfigError, match="gives is 'depth'"):
        GeneratorConfig(gives="depth")  # type: ignore[arg-type]


def test_the_discriminator_judges_both_maps_together() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Discriminator(DiscriminatorConfig(width=8, image_channels=2))
    given, maps = stacked(64), torch.rand(2, 2, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        before = model(given, maps)[0][-1]
        for channel in range(2):
            changed = maps.clone()
            changed[:, channel] = changed[:, channel].flip(-1)
            assert float((model(given, changed)[0][-1] - before).abs().max()) > 1e-4
