"""demo and prepare from end to end, with tiny networks in place of the shipped ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from anomalyhybrid.cli.main import main
from anomalyhybrid.conditions import lite
from anomalyhybrid.generation.manifest import read_dataset, read_rows
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import Generator, save_generator
from anomalyhybrid.models.lite_unet import LiteUNet, LiteUNetConfig, save_lite
from anomalyhybrid.recipes import demo, job

Put = Callable[[Path, np.ndarray], Path]


@pytest.fixture(scope="module")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random networks under the names of the shipped ones."""
    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_lite(LiteUNet(LiteUNetConfig()), folder / lite.EDGE_FILE, metadata={})
        save_lite(LiteUNet(LiteUNetConfig()), folder / lite.DEPTH_FILE, metadata={})
        generator = Generator(GeneratorConfig(width=8, downsamplings=2, max_width=16, blocks=1))
    about = {
        "edge": "lite",
        "depth": "lite",
        "edge_name": lite.lite_edge(folder / lite.EDGE_FILE).name,
        "depth_name": lite.lite_depth(folder / lite.DEPTH_FILE).name,
        "size": "64",
        "categories": "none",
    }
    save_generator(folder / "generator.safetensors", generator, about)
    return folder


@pytest.fixture
def _tiny(tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALYHYBRID_CACHE", str(tmp_path / "cache"))
    for module in (lite, job):
        monkeypatch.setattr(module, "shipped", lambda name: tiny_weights / name)
    for name, count in (("GOOD_IMAGES", 2), ("DEFECTS", 3), ("NORMALS", 1)):
        monkeypatch.setattr(demo, name, count)


@pytest.mark.usefixtures("_tiny")
def test_demo_writes_one_movable_folder_and_replaces_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "6 defects with masks and 2 generated good images" in told.out
    assert "pixels changed outside the masks: 0 (in 0 of 6 images)" in told.out
    assert f"look at {out / 'sheet.html'}" in told.out
    assert "anomalyhybrid-demo" not in told.err
    names = {path.name for path in out.iterdir()}
    assert names == {"source", "nut", "capsule", "manifest.jsonl", "dataset.json", "sheet.html", "demo.json"}
    assert read_dataset(out)["data_root"] == "source"
    for row in read_rows(out):
        assert (out / row.image).is_file()
        assert (out / "source" / row.target).is_file()
        assert row.label_mask is None or (out / row.label_mask).is_file()
    assert str(tmp_path) not in (out / "dataset.json").read_text()
    assert str(tmp_path) not in (out / "sheet.html").read_text()

    (out / "left.txt").write_text("from before")
    assert main(["demo", "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == names
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.usefixtures("_tiny")
def test_a_demo_that_fails_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "demo"
    out.mkdir()
    (out / "demo.json").write_text(json.dumps({"made_by": "anomalyhybrid demo"}))

    def interrupt(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "generate", interrupt)
    assert main(["demo", "--out", str(out)]) == 130
    assert [path.name for path in out.iterdir()] == ["demo.json"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.usefixtures("_tiny")
def test_prepare_says_what_it_found_and_fills_the_cache(
    tmp_path: Path,
    dummy_folder: Callable[..., Path],
    put_image: Put,
    grey_image: np.ndarray,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = dummy_folder("parts", 3)
    put_image(data / "grey.png", grey_image)
    (data / "broken.png").write_text("no image")
    cache = tmp_path / "maps"
    words = ["prepare", str(data), "--cache", str(cache), "--size", "64"]
    assert main(words) == 2
    assert "broken.png" in capsys.readouterr().err
    assert main([*words, "--skip-unreadable"]) == 0
    text = capsys.readouterr().err
    assert "skipped broken.png" in text
    assert "4 good images; modes rgb8 3, grey8 1; sizes 64x48 4" in text
    assert "only 4 good images" in text
    assert "1 of 4 images are grey" in text
    assert "smaller than the model's 64 px" in text
    assert "maps of 4 images" in text
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.png")}
    assert len(before) == 8
    assert main([*words, "--skip-unreadable"]) == 0
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.png")} == before


@pytest.mark.usefixtures("_tiny")
def test_prepare_refuses_a_size_that_cannot_be_trained(
    dummy_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", str(dummy_folder()), "--size", "50"]) == 2
    assert "multiple of 16" in capsys.readouterr().err
