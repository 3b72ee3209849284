"""`evaluate --table 6` as a whole: the stand-in on class folders, and the CSV files of the HDR butterflies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from anomalyhybrid.conditions.lite import lite_depth, lite_edge
from anomalyhybrid.data.class_folders import read_class_folders
from anomalyhybrid.errors import ConfigError, DataError, WeightsError, WeightsNotFoundError
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.evaluation.features import FeatureNetwork, FeatureOutput
from anomalyhybrid.evaluation.hybrid_head import HeadConfig
from anomalyhybrid.evaluation.result_files import read_result
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import Generator, save_generator
from anomalyhybrid.recipes.evaluation import hybrid_table
from anomalyhybrid.recipes.evaluation.hybrid_table import plan_of
from anomalyhybrid.recipes.evaluation.run import evaluate

COLOURS = {"ash": (200, 60, 40), "birch": (40, 160, 60), "elm": (50, 60, 190), "fir": (190, 190, 30)}
SIX = EvaluateConfig(table=6, seeds=(0,), pairs=1, head_epochs=3)


def _draw(path: Path, colour: tuple[int, int, int], draw: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((48, 64, 3), 225, np.uint8)
    axes = int(draw.integers(14, 26)), int(draw.integers(10, 18))
    shade = tuple(int(c) for c in np.clip(np.array(colour) + draw.integers(-15, 15, 3), 0, 255))
    cv2.ellipse(pixels, (32, 24), axes, 0, 0, 360, shade, -1)
    cv2.imwrite(str(path), pixels[..., ::-1])


@pytest.fixture(scope="module")
def wings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of four ellipses each."""
    root, draw = tmp_path_factory.mktemp("data") / "wings", np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for number in range(4):
            _draw(root / name / f"{number}.png", colour, draw)
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Generator(GeneratorConfig(width=8, max_width=16, blocks=1))
    names = {"edge_name": lite_edge().name, "depth_name": lite_depth().name}
    path = tmp_path_factory.mktemp("run") / "generator.safetensors"
    save_generator(path, model, {"edge": "lite", "depth": "lite", "size": "64", "categories": "none"} | names)
    return str(path)


@pytest.fixture(autouse=True)
def _features(monkeypatch: pytest.MonkeyPatch) -> None:
    """DINOv2 is looked for as ever; of the others only a VGG16 is found, which sees mean colours."""

    def load(name: str, *, weights: Path | None = None, device: torch.device) -> FeatureNetwork:
        if name != "vgg16":
            raise WeightsNotFoundError(f"{name}: looked for {weights or 'its file'} in the cache")

        def compute(image_u8: torch.Tensor) -> FeatureOutput:
            values = image_u8.float().flatten(2) / 255
            return FeatureOutput(torch.cat([values.mean(dim=2), values.std(dim=2)], dim=1), None)

        return FeatureNetwork(name="vgg16", sha256="0" * 64, stand_in="colours", device=device, compute=compute)

    monkeypatch.setattr(hybrid_table, "load_features", load)
    monkeypatch.setattr(hybrid_table, "HeadConfig", lambda epochs: HeadConfig(widths=(8,), epochs=epochs))


def _run(data: Path, out: Path, config: EvaluateConfig, run: str, said: list[str]):
    return evaluate([data], out, run=run, config=config, cache=out.parent / "maps", announce=said.append)


def test_the_stand_in_is_named_everywhere(tmp_path: Path, wings: Path, run: str) -> None:
    said: list[str] = []
    result = _run(wings, tmp_path / "out", SIX, run, said)
    assert result.protocol == "stand-in for table 6"
    assert (result.options["signal"], result.options["unseen_unseen"]) == ("elm", "fir")
    assert result.methods[0] == "no generated hybrids"
    assert "+ ours, AHE" in result.methods
    assert {"recall_signal", "recall_unseen", "recall_harmonic"} <= set(result.figure_names)
    assert result.stand_ins("recall_signal")[0].stand_in == "vgg16 in place of DINOv2-base"
    assert any("STAND-IN for table 6" in text for text in said)
    assert any("a stand-in for DINOv2-base" in text for text in said)
    ours = [row for row in result.rows if row.checkpoint]
    assert all("is not recorded" in row.notes[-1] for row in ours)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Stand-in for table 6" in page
    assert "[stand-in: vgg16]" in page
    assert read_result(tmp_path / "out" / "table_6_stand_in.json") == result
    assert _run(wings, tmp_path / "out", SIX, run, said) == result
    with pytest.raises(DataError, match="begun with another"):
        _run(wings, tmp_path / "out", replace(SIX, pairs=2), run, said)


def test_parts_of_the_stand_in(wings: Path) -> None:
    images = read_class_folders(wings)
    plan = plan_of(images, replace(SIX, unseen=("ash",)))
    assert (plan.signal, dict(plan.unseen)) == (("fir",), {"unseen": ("ash",)})
    plan = plan_of(images, replace(SIX, signal=("fir",)))
    assert (plan.signal, dict(plan.unseen)) == (("fir",), {"unseen": ("elm",)})
    with pytest.raises(ConfigError, match=r"leaves 1 known ones.*four classes or more"):
        plan_of(images, replace(SIX, unseen=("ash", "elm")))
    with pytest.raises(DataError, match="no image of class 'oak'"):
        plan_of(images, replace(SIX, signal=("oak",)))
    with pytest.raises(ConfigError, match="one part only"):
        plan_of(images, replace(SIX, signal=("ash",), unseen=("ash",)))


@pytest.fixture(scope="module")
def hdr(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Images, training CSV and reference CSV of the challenge."""
    folder, draw = tmp_path_factory.mktemp("hdr"), np.random.default_rng(1)
    train = ["filename,hybrid_stat,subspecies,parent_subspecies_1,parent_subspecies_2"]
    test = ["filename,hybrid_stat,subspecies_ref,ssp_indicator"]
    root = folder / "wings"
    for name in ("ash", "birch"):
        for number in range(4):
            _draw(root / f"{name}{number}.png", COLOURS[name], draw)
            train.append(f"{name}{number}.png,non-hybrid,{name},,")
            _draw(root / f"{name}{number}_t.png", COLOURS[name], draw)
            test.append(f"{name}{number}_t.png,0,{name},{'major' if name == 'ash' else 'mimic'}")
    for number in range(4):
        _draw(root / f"elm{number}.png", COLOURS["elm"], draw)
        train.append(f"elm{number}.png,hybrid,,ash,birch")
        for name, indicator in (("elm", "major"), ("fir", "minor"), ("elm", "mimic")):
            _draw(root / f"{name}{number}_{indicator}.png", COLOURS[name], draw)
            test.append(f"{name}{number}_{indicator}.png,1,ash x birch,{indicator}")
    tables = folder / "train.csv", folder / "test.csv"
    for path, lines in zip(tables, (train, test), strict=True):
        path.write_text("\n".join(lines) + "\n")
    return root, *tables


def test_table_6_from_its_csv_files(tmp_path: Path, hdr: tuple[Path, Path, Path], run: str) -> None:
    root, train, test = hdr
    config = replace(SIX, train_csv=str(train), test_csv=str(test), datasets=("wings=HeliconiusButterfly",))
    result = _run(root, tmp_path / "out", config, run, [])
    assert result.protocol == "table 6"
    assert result.methods == ("training set alone", "ours, AHD", "ours, AHE", "ours, AHD + AHE")
    assert {"recall_signal", "recall_non_signal", "recall_mimic", "recall_harmonic"} <= set(result.figure_names)
    assert result.datasets == {"wings": "HeliconiusButterfly"}
    assert [row.samples.get("training generated", 0) for row in result.rows] == [0, 2, 2, 4]
    assert read_result(tmp_path / "out" / "table_6.json") == result
    same = replace(config, test_csv=str(train))
    with pytest.raises(DataError, match="both sides"):
        _run(root, tmp_path / "out", same, run, [])
    with pytest.raises(DataError, match="2 data folders"):
        evaluate([root, root], tmp_path / "out", run=run, config=config, announce=[].append)


def test_networks_that_are_not_there(tmp_path: Path, wings: Path, run: str) -> None:
    with pytest.raises(WeightsError, match=r"(?i)dinov2"):
        _run(wings, tmp_path / "a", replace(SIX, hybrid_features="dinov2"), run, [])
    with pytest.raises(WeightsError, match="/nowhere"):  # a path that is given is never replaced by a stand-in
        _run(wings, tmp_path / "b", replace(SIX, dinov2_weights="/nowhere"), run, [])
    with pytest.raises(ConfigError, match="compares both decoders"):
        _run(wings, tmp_path / "c", replace(SIX, decoders=("ahd",)), run, [])
    with pytest.raises(DataError, match="class folders"):
        _run(wings / "ash", tmp_path / "d", SIX, run, [])
