"""Global hybrids, and defects in colour and depth together, through the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from written_sets import contents, temporary

from anomalyhybrid.cli.main import main
from anomalyhybrid.conditions.lite import lite_depth, lite_edge
from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.data.parts.render import render
from anomalyhybrid.generation.depth_rows import read_depth_rows
from anomalyhybrid.generation.hybrid_rows import read_hybrid_rows
from anomalyhybrid.generation.manifest import read_dataset, read_rows
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import Generator, load_generator, save_generator
from anomalyhybrid.recipes import depth_training
from anomalyhybrid.training import loop

SIZE = 64
SMALL = {"width": 8, "downsamplings": 2, "max_width": 16, "blocks": 1}

Fails = Callable[..., str]


def command(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Run a command line that must end with code 2, and give its message."""

    def run(*words: object) -> str:
        capsys.readouterr()
        assert command(*words) == 2
        return capsys.readouterr().err

    return run


@pytest.fixture(scope="module")
def color(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random generator of pictures."""
    path = tmp_path_factory.mktemp("color") / "generator.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Generator(GeneratorConfig(**SMALL))  # type: ignore[arg-type]
    about = {"edge": "lite", "depth": "lite", "edge_name": lite_edge().name, "depth_name": lite_depth().name}
    save_generator(path, model, about | {"size": str(SIZE)})
    return path


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of rendered parts, two images each."""
    root = tmp_path_factory.mktemp("data") / "kinds"
    for product in ("nut", "plate", "ring"):
        (root / product).mkdir(parents=True)
        for number in range(2):
            part = render(product, product_seed=1, image_seed=number, size=SIZE)
            cv2.imwrite(str(root / product / f"{number}.png"), part.image_u8[..., ::-1])
    return root


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """rgb/, depth/ and ground_truth/ of three good parts and one with a dent; depth in 16 bits, distances."""
    rendered = tmp_path_factory.mktemp("rendered")
    source = write_dataset(
        rendered, product="nut", product_seed=1, seed=3, train_good=3, defects_per_kind=1, size=SIZE, with_depth=True
    )
    root = tmp_path_factory.mktemp("deep") / "nuts"
    for name in ("rgb", "depth", "ground_truth"):
        (root / name).mkdir(parents=True)
    for part in ("train/good/000", "train/good/001", "train/good/002", "test/dent/000"):
        stem = part.replace("/", "_")
        shutil.copy(source / f"{part}.png", root / "rgb" / f"{stem}.png")
        near = cv2.imread(str(source / "depth" / f"{part}.png"), cv2.IMREAD_UNCHANGED).astype(np.float64) / 65535
        distance = np.round(20000 - 4000 * near).astype(np.uint16)
        distance[:3] = 0  # not measured
        cv2.imwrite(str(root / "depth" / f"{stem}.png"), distance)
    shutil.copy(source / "ground_truth/dent/000_mask.png", root / "ground_truth" / "test_dent_000.png")
    return root


@pytest.fixture(scope="module")
def train_words(deep: Path) -> list[object]:
    words: list[object] = ["train-depth", deep, "--base-set", deep, "--start", "scratch", "--size", SIZE]
    return [*words, "--batch-size", 2, "--view-block", 2, "--journal-every", 1, "--checkpoint-every", 1]


@pytest.fixture(autouse=True, scope="module")
def _small(cache: Path):
    """A tiny network in place of the preset's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANOMALYHYBRID_CACHE", str(cache))
        small = GeneratorConfig(**SMALL)  # type: ignore[arg-type]
        patch.setattr(depth_training, "generator_preset", lambda name: small)
        patch.setattr(loop, "PROBES", 2)
        yield


@pytest.fixture(scope="module")
def sister(tmp_path_factory: pytest.TempPathFactory, train_words: list[object], _small: None) -> Path:
    """AnomalyHybrid* of two steps."""
    out = tmp_path_factory.mktemp("sister") / "run"
    assert command(*train_words, "--out", out, "--steps", 2) == 0
    return out


# Global hybrids


def test_all_pairs_of_classes(tmp_path: Path, color: Path, classes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set"
    assert command("generate", color, "--global", "--data", classes, "--out", out, "--decoders", "ahd") == 0
    told = capsys.readouterr().out
    assert f"generated set in {out}\n  kinds\n    hybrids: 24\n" in told
    assert "pairs of classes: 6" in told
    rows = read_hybrid_rows(out)
    assert len({(row.reference, row.target) for row in rows}) == 24  # 6 ordered pairs of classes, 2 x 2 images each
    assert {row.target_class for row in rows} == {"nut", "plate", "ring"}
    assert set(contents(out)) == {row.image for row in rows} | {"manifest.jsonl", "dataset.json"}
    assert read_dataset(out)["config"]["min_change"] == 2.0
    plain = read_rows(out)  # one reader for all sets
    assert [row.reference_class for row in plain] == [row.reference_class for row in rows]


def test_listed_pairs_and_background(tmp_path: Path, color: Path, classes: Path) -> None:
    (tmp_path / "pairs.csv").write_text("reference,target,decoder\nplate/0.png,ring/1.png,ahe\n")
    words = ["generate", color, "--global", "--data", classes, "--pairs", tmp_path / "pairs.csv"]
    for background in ("target", "generated"):
        assert command(*words, "--out", tmp_path / background, "--background", background) == 0
    pictures = []
    for background in ("target", "generated"):
        (row,) = read_hybrid_rows(tmp_path / background)
        assert (row.reference, row.target, row.decoder) == ("plate/0.png", "ring/1.png", "ahe")
        pictures.append(cv2.imread(str(tmp_path / background / row.image)).astype(int))
    own = cv2.imread(str(classes / "ring/1.png")).astype(int)
    kept = (pictures[0] == own).all(axis=2)
    assert 0.1 < kept.mean() < 0.9  # the target's own pixels around its silhouette
    assert (pictures[1] == own).all(axis=2).mean() < 0.1


def test_what_is_given_counts_though_it_is_the_default_elsewhere(tmp_path: Path, color: Path, classes: Path) -> None:
    """100 is the default count of local generation, 4 that of --global."""
    words = ["generate", color, "--global", "--data", classes, "--classes", "nut", "plate"]
    assert command(*words, "--out", tmp_path / "a", "--count", 100) == 0
    assert read_dataset(tmp_path / "a")["config"]["count"] == 100
    assert len(read_rows(tmp_path / "a")) == 16  # all that two classes of two images give, with both decoders
    (tmp_path / "settings.yaml").write_text(
        yaml.safe_dump({"global": True, "classes": ["nut", "plate"], "min_change": 6.5, "data": [str(classes)]})
    )
    assert command("generate", color, "--out", tmp_path / "b", "--config", tmp_path / "settings.yaml") == 0
    assert read_dataset(tmp_path / "b")["config"] | {"decoders": 0} == {
        "count": 4, "decoders": 0, "classes": ["nut", "plate"], "background": "target",
        "target_depth": "silhouette", "min_change": 6.5,
        "seed": 0, "edge_weights": "", "depth_weights": "",
    }  # fmt: skip


def test_hybrids_are_resumed_with_their_own_settings(tmp_path: Path, color: Path, classes: Path) -> None:
    words = ["generate", color, "--global", "--data", classes, "--out"]
    assert command(*words, tmp_path / "set", "--count", 1, "--seed", 5) == 0
    before = contents(tmp_path / "set")
    lost = read_rows(tmp_path / "set")[3].image
    (tmp_path / "set" / lost).unlink()
    assert command(*words, tmp_path / "set", "--resume") == 0
    assert contents(tmp_path / "set") == before


def test_what_global_refuses(tmp_path: Path, color: Path, classes: Path, fails: Fails) -> None:
    words = ["generate", color, "--data", classes, "--out", tmp_path / "set"]
    assert "--base-set has no meaning with --global" in fails(*words, "--global", "--base-set", classes)
    assert "generate.mixture is for local defects" in fails(*words, "--global", "--mixture", 0.5)
    assert "--global and --depth-run exclude each other" in fails(*words, "--global", "--depth-run", "x")
    assert "--background has a meaning only with --global" in fails(*words, "--background", "generated")
    assert "--pairs has a meaning only with --global" in fails(*words, "--pairs", "p.csv")
    assert "none.csv cannot be read" in fails(*words, "--global", "--pairs", tmp_path / "none.csv")
    assert not (tmp_path / "set").exists()


# Colour and depth together


def test_a_stopped_training_goes_on_to_the_same_end(
    tmp_path: Path, train_words: list[object], sister: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, about = load_generator(sister / "generator.safetensors")
    assert model.config.gives == "maps"
    assert about["depth_name"] == "measured"  # the default, of the data's own files
    assert len(json.loads(about["base_images"])) == 1
    assert temporary(sister) == []
    out = tmp_path / "run"
    assert command(*train_words, "--out", out, "--steps", 1) == 0
    assert f"next: anomalyhybrid generate shipped --depth-run {out} --data" in capsys.readouterr().out
    assert (
        command("train-depth", train_words[1], "--base-set", train_words[1], "--out", out, "--resume", "--steps", 2)
        == 0
    )
    resumed, _ = load_generator(out / "generator.safetensors")
    for key, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_pairs_with_16_bit_depth(
    tmp_path: Path, color: Path, sister: Path, deep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    words = ["generate", color, "--depth-run", sister, "--data", deep, "--base-set", deep, "--procedural", 1]
    words += ["--count", 4, "--sign", "dent", "--height", 200, 400, "--unit", "0.1 mm", "--max-attempts", 2]
    assert command(*words, "--out", out) == 0
    told = capsys.readouterr().out
    assert "  depth\n    profiles: network" in told
    assert "    dent: pairs 4, sign_agreement 1.0" in told
    rows, depth_rows = read_rows(out), read_depth_rows(out)
    listed = {name for row in rows for name in (row.image, row.label_mask)}
    listed |= {name for row in depth_rows for name in (row.depth, row.preview)}
    assert set(contents(out)) == listed | {"manifest.jsonl", "depth.jsonl", "dataset.json"}
    assert len(listed) == 16
    about = read_dataset(out)
    assert (about["config"]["extent"], about["config"]["min_change"]) == ([0.08, 0.28], 8.0)
    for row, own in zip(rows, depth_rows, strict=True):
        assert (own.sign, own.unit, own.nearer_is_larger, own.changed_outside) == ("dent", "0.1 mm", False, 0)
        assert -400 <= own.requested_height <= -200
        old = cv2.imread(str(deep / "depth" / Path(own.source).name), cv2.IMREAD_UNCHANGED).astype(int)
        new = cv2.imread(str(out / own.depth), cv2.IMREAD_UNCHANGED).astype(int)
        mask = cv2.imread(str(out / str(row.label_mask)), cv2.IMREAD_UNCHANGED) > 0
        assert np.array_equal(old[~mask], new[~mask])
        assert 150 < (new - old).max() <= 410  # a dent lies farther away
        assert (new >= old).all()
    # one lost file is made again, with the settings that the set records
    before = contents(out)
    (out / depth_rows[2].depth).unlink()
    again = ["generate", color, "--depth-run", sister, "--data", deep, "--base-set", deep, "--unit", "0.1 mm"]
    assert command(*again, "--out", out, "--resume") == 0
    assert contents(out) == before


def test_other_recipes_say_what_to_do_with_these_sets(
    tmp_path: Path, color: Path, sister: Path, deep: Path, classes: Path, fails: Fails
) -> None:
    out = tmp_path / "set"
    words = ["--depth-run", sister, "--data", deep, "--out", out, "--count", 1, "--max-attempts", 1]
    assert command("generate", color, *words) == 0
    assert "is a set with depth" in fails("regenerate", out, "--id", read_rows(out)[0].id, "--out", tmp_path / "one")
    assert command("generate", color, "--global", "--data", classes, "--out", tmp_path / "h", "--count", 1) == 0
    assert "is a set of hybrids" in fails("regenerate", tmp_path / "h", "--id", "x", "--out", tmp_path / "one")
    for more in ([], ["--global"]):
        text = fails("generate", sister, *more, "--data", classes if more else deep, "--out", tmp_path / "none")
        assert "is AnomalyHybrid* (train-depth)" in text
    assert not (tmp_path / "one").exists()


def test_what_the_depth_level_refuses(
    tmp_path: Path, color: Path, sister: Path, deep: Path, classes: Path, fails: Fails
) -> None:
    words = ["generate", color, "--data", deep, "--out", tmp_path / "set"]
    depth = [*words, "--depth-run", sister]
    assert "generate.normals has no meaning with --depth-run" in fails(*depth, "--normals", 3)
    assert "generate.composition has no meaning with --depth-run" in fails(*depth, "--composition", "full")
    assert "--sign has a meaning only with --depth-run" in fails(*words, "--sign", "dent")
    assert "depth.height is (4.0, 2.0)" in fails(*depth, "--height", 4, 2)
    assert "tuple[float, float]" in fails(*depth, "--height", "high")
    assert "--depth measured for distances" in fails(*words, "--depth-run", color)
    assert "is not AnomalyHybrid*" in fails(*words, "--depth-run", color, "--depth", "measured")
    text = fails("generate", color, "--depth-run", sister, "--data", classes / "nut", "--out", tmp_path / "set")
    assert "2 of 2 images have no measured depth" in text
    assert "--depth-folder" in text
    assert "no measured depth" in fails("train-depth", classes / "nut", "--out", tmp_path / "run")
    assert "train.decoders" in fails("train-depth", deep, "--out", tmp_path / "run", "--decoders", "ahd")
    assert not (tmp_path / "set").exists()
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_depth_from_a_folder(tmp_path: Path, color: Path, sister: Path, deep: Path) -> None:
    """Plain good images, their depth elsewhere under the same names."""
    for path in sorted((deep / "rgb").iterdir()):
        if "good" in path.name:
            (tmp_path / "images").mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / "images" / path.name)
    words = ["--data", tmp_path / "images", "--depth-folder", deep / "depth", "--count", 1, "--max-attempts", 1]
    assert command("generate", color, "--depth-run", sister, *words, "--out", tmp_path / "set") == 0
    (row,) = read_depth_rows(tmp_path / "set")
    assert row.kind == "png16"
