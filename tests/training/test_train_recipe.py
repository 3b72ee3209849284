"""`recipes.training.train`: whole runs on folders, and which of them may be continued."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from tiny_runs import TINY, tensors, tiny_generator, train_config

from anomalyhybrid.errors import CheckpointError, ConfigError, WeightsError
from anomalyhybrid.models.generator import load_generator, save_generator
from anomalyhybrid.models.perceptual import VggFeatures
from anomalyhybrid.models.weights import sha256_of
from anomalyhybrid.recipes import shipped_generator
from anomalyhybrid.recipes import training as recipe
from anomalyhybrid.training.config import TrainConfig


@pytest.fixture(autouse=True)
def tiny_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "generator_preset", lambda name: TINY)


def config(**settings) -> TrainConfig:
    return train_config(**({"steps": 1, "start": "scratch"} | settings))


@pytest.fixture
def folders(tmp_path: Path, dummy_mvtec) -> tuple[Path, Path, Path]:
    """Data, output and condition cache."""
    return dummy_mvtec("widget", train=2, test=1, defects={"dent": 2}), tmp_path / "run", tmp_path / "cache"


def train(folders: tuple[Path, Path, Path], settings: TrainConfig, **more) -> list[str]:
    data, out, cache = folders
    said: list[str] = []
    recipe.train([data], out, config=settings, cache=cache, announce=said.append, **more)
    return said


def test_a_run_from_folders_and_its_resume(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, out, cache = folders
    said = train(folders, config(steps=2), base_set=[data])
    assert any("no perceptual term" in line for line in said)
    _, metadata = load_generator(out / "generator.safetensors")
    assert metadata["categories"] == "widget"
    assert (metadata["edge"], metadata["size"], metadata["steps"]) == ("lite", "64", "2")
    assert yaml.safe_load((out / "config.yaml").read_text())["augment"]["edit"] == config().augment.edit
    with pytest.raises(CheckpointError, match="already holds a run"):
        train(folders, config(steps=3), base_set=[data])
    train(folders, config(steps=3, checkpoint_every=7, journal_every=2), base_set=[data], resume=True)
    whole = (data, tmp_path / "whole", cache)
    train(whole, config(steps=3), base_set=[data])
    one, other = tensors(out), tensors(whole[1])
    assert all(torch.equal(one[key], other[key]) for key in other)


def test_the_real_defects_behind_a_generator_are_recorded(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, out, cache = folders

    def recorded(run: Path, start: str = "scratch", **more) -> list[str] | None:
        train((data, run, cache), config(start=start), **more)
        known = load_generator(run / "generator.safetensors")[1][recipe.BASE_IMAGES]
        return json.loads(known) if known else None

    assert recorded(out) == []
    defects = {sha256_of(path) for path in (data / "test" / "dent").iterdir()}
    assert set(recorded(tmp_path / "few", base_set=[data]) or ()) == defects
    few = str(tmp_path / "few" / "generator.safetensors")
    assert set(recorded(tmp_path / "later", start=few) or ()) == defects, "a start's are inherited"
    unknown = tmp_path / "unknown.safetensors"
    save_generator(unknown, tiny_generator(seed=8), {}, half=False)
    assert recorded(tmp_path / "unsure", start=str(unknown)) is None


@pytest.mark.parametrize(
    "settings", [{"seed": 1}, {"learning_rate": 1e-3}, {"batch_size": 3}, {"view_block": 2}, {"ema_decay": 0.9}]
)
def test_a_resume_under_other_settings_is_refused(folders: tuple[Path, Path, Path], settings: dict) -> None:
    train(folders, config())
    with pytest.raises(CheckpointError, match="another configuration"):
        train(folders, config(steps=2, **settings), resume=True)


def test_a_resume_on_other_images_is_refused(folders: tuple[Path, Path, Path]) -> None:
    data, *_ = folders
    train(folders, config())
    with pytest.raises(CheckpointError, match="other images"):
        train(folders, config(steps=2), base_set=[data], resume=True)
    (data / "train" / "good" / "001.png").unlink()
    with pytest.raises(CheckpointError, match="other images"):
        train(folders, config(steps=2), resume=True)


def test_starting_points(tmp_path: Path) -> None:
    said: list[str] = []
    first, second = (recipe.initial_generator(config(), said.append) for _ in range(2))
    other = recipe.initial_generator(config(seed=3), said.append)
    key = "encoder.stem.0.weight"
    assert torch.equal(first.state_dict()[key], second.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])
    path = tmp_path / "g.safetensors"
    save_generator(path, tiny_generator(seed=8), {}, half=False)
    given = recipe.initial_generator(config(start=str(path)), said.append)
    assert torch.equal(given.state_dict()[key], tiny_generator(seed=8).state_dict()[key])
    with pytest.raises(ConfigError, match="the preset needs"):
        recipe.initial_generator(config(start=str(path), decoders=("ahd",)), said.append)
    with pytest.raises(WeightsError, match="do not exist"):
        recipe.initial_generator(config(start=str(tmp_path / "none.safetensors")), said.append)
    ablated = recipe.initial_generator(config(decoders=("ahe",)), said.append)
    assert ablated.config == replace(TINY, decoders=("ahe",))


def test_auto_says_so_when_the_shipped_generator_does_not_fit() -> None:
    said: list[str] = []
    assert recipe.initial_generator(config(start="auto"), said.append).config == TINY
    assert said == ["start: random, because the shipped generator does not fit preset 'lite'"]


def test_every_option_of_the_shipped_generators_training_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "size": 64, "steps": 7, "start": "g.safetensors", "seed": 3, "view_block": 2, "batch_size": 5,
        "vgg_weights": "vgg.safetensors", "learning_rate": 1e-5, "ema_decay": 0.5,
    }  # fmt: skip
    options = [text for name, value in given.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    seen: list[tuple] = []
    monkeypatch.setattr(shipped_generator, "train", lambda *args: seen.append(args))
    paths = ["--scenes", "s.npz", "--students", "students", "--out", "run", "--minutes", "2.5"]
    shipped_generator.main(["train", *paths, *options])
    scenes, students, out, settings = seen[0]
    assert (scenes, students, out) == (Path("s.npz"), Path("students"), Path("run"))
    assert {name: getattr(settings, name) for name in given} == given
    assert settings.max_minutes == 2.5


def test_the_paper_loss_needs_a_perceptual_network() -> None:
    with pytest.raises(ConfigError, match="--vgg-weights"):
        recipe.perceptual_network(TrainConfig(loss="paper"), announce=lambda text: None)


@pytest.mark.parametrize(("kind", "suffix"), [("vgg16", ".safetensors"), ("vgg19", ".safetensors"), ("vgg19", ".pth")])
def test_both_vgg_networks_are_told_apart_by_their_keys(tmp_path: Path, kind: str, suffix: str) -> None:
    state = VggFeatures(kind).state_dict()
    path = tmp_path / f"features{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    said: list[str] = []
    network = recipe.perceptual_network(TrainConfig(vgg_weights=str(path)), announce=said.append)
    assert network is not None
    assert said == [f"perceptual term: {kind} up to relu5_1"]
    assert network.state_dict().keys() == state.keys()


def test_a_copying_decoder_is_told_once_while_it_lasts() -> None:
    said: list[str] = []
    watch = recipe.watching(None, said.append)
    for step, mask in enumerate((0.3, 0.01, 0.02, 0.3, 0.01)):
        watch({"step": step, "fusion_mask_ahd": mask, "fusion_mask_ahe": 0.3})
    assert [text.split(":")[0] for text in said] == ["warning, step 1", "warning, step 4"]
