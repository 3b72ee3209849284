"""Tables 3 and 4 as a whole, on rendered parts with 16-bit depth and tiny generators."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from anomalyhybrid.conditions.lite import lite_depth, lite_edge
from anomalyhybrid.data.depth_files import read_depth
from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.errors import ConfigError, DataError, WeightsError
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.evaluation.features import FeatureOutput
from anomalyhybrid.evaluation.generation_quality import QualityNetworks
from anomalyhybrid.evaluation.result_files import read_result
from anomalyhybrid.evaluation.results import Result, UsedNetwork
from anomalyhybrid.generation.manifest import read_rows
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import Generator, save_generator
from anomalyhybrid.recipes.evaluation import depth_tables, tables
from anomalyhybrid.recipes.evaluation.data import read_categories, split_category
from anomalyhybrid.recipes.evaluation.depth_data import DepthMaps, depth_category, near_map
from anomalyhybrid.recipes.evaluation.depth_detection import MODALITIES
from anomalyhybrid.recipes.evaluation.networks import Networks
from anomalyhybrid.recipes.evaluation.run import evaluate

SIZE = 64
TINY = EvaluateConfig(
    table=4, size=SIZE, seeds=(0,), count=4, normals=0, epochs=1, samples_per_epoch=16, width=4, nearer_is_larger=True
)
SMALL = {"width": 8, "downsamplings": 2, "max_width": 16, "blocks": 1}


def network(path: Path, gives: str) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Generator(GeneratorConfig(**SMALL, gives=gives))  # type: ignore[arg-type]
    about = {"edge": "lite", "depth": "lite", "edge_name": lite_edge().name, "depth_name": lite_depth().name}
    save_generator(path, model, about | {"size": str(SIZE)})
    return path


@pytest.fixture(scope="module")
def generators(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("networks")
    return str(network(folder / "color.safetensors", "color")), str(network(folder / "maps.safetensors", "maps"))


@pytest.fixture(scope="module")
def nut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parts")
    count = {"train_good": 5, "test_good": 2, "defects_per_kind": 2}
    return write_dataset(root, product="nut", product_seed=1, seed=3, size=SIZE, with_depth=True, **count)


def _run(folder: Path, out: Path, config: EvaluateConfig = TINY, run: str = "shipped", said: list | None = None):
    cache = out.parent / "maps"
    told = [] if said is None else said
    return evaluate([folder], out, run=run, config=config, cache=cache, announce=told.append)


def _labels(*names: str) -> list[str]:
    return [f"{name}, {part}" for name in names for part in MODALITIES]


def test_table_4(tmp_path: Path, nut: Path, generators: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(TINY, depth_run=generators[1])
    result = _run(nut, tmp_path / "out", config, generators[0])
    names = ("ours (few-shot)", "real base third", "CropPaste")
    names += ("Perlin depth (EasyNet)", "smooth Perlin depth (3DSR)")
    assert list(result.methods) == _labels(*names)
    assert result.protocol == "table 4"
    ours = result.rows[0]
    assert ours.checkpoint is not None
    assert ours.checkpoint == result.rows[2].checkpoint
    assert any("AnomalyHybrid*" in note for note in ours.notes)
    assert {"pixel_ap", "image_auroc"} <= set(ours.figures)
    assert ours.samples["good test images"] == 2
    made = tmp_path / "out" / "sets" / "pairs" / "seed_0" / "nut"
    used = {row.target for row in read_rows(made)} | {str(row.reference) for row in read_rows(made)}
    assert not any("test/good" in name or (name.endswith("001.png") and "test/" in name) for name in used)
    assert "ours (few-shot), RGB + D" in (tmp_path / "out" / "report.html").read_text()
    calls: list[str] = []
    monkeypatch.setattr(depth_tables, "detect_with_depth", lambda *a, **k: calls.append("again"))
    assert _run(nut, tmp_path / "out", config, generators[0]) == result
    assert not calls
    with pytest.raises(ConfigError, match="the generator"):
        _run(nut, tmp_path / "out", config, run="shipped")


def test_without_the_sister_ours_is_left_out_and_said(tmp_path: Path, nut: Path, generators: tuple[str, str]) -> None:
    said: list[str] = []
    config = replace(TINY, methods=())
    result = _run(nut, tmp_path / "out", config, said=said)
    assert "ours" not in " ".join(result.methods)
    assert any("ours is left out in depth: it needs evaluate.depth_run" in text for text in said)
    assert all("ours is left out in depth" in row.notes[-1] for row in result.rows)
    assert "ours is left out in depth" in (tmp_path / "out" / "report.html").read_text()
    again = _run(nut, tmp_path / "out", replace(config, depth_run=generators[1]), generators[0])
    assert len(again.rows) == len(result.rows) + 3
    assert not any("left out in depth" in note for row in again.rows for note in row.notes)


def test_one_range_from_the_good_training_depth(nut: Path) -> None:
    data = split_category(read_categories([nut], TINY, announce=lambda text: None)[0], TINY, 0)
    deep = depth_category(data, DepthMaps(TINY))
    low, high = deep.value_range
    record = data.test_records[-1]
    assert record.depth_path is not None
    near, valid = near_map(read_depth(record.depth_path, nearer_is_larger=True), SIZE)
    wanted = np.where(valid, np.round(np.clip((near.astype(float) - low) / (high - low), 0, 1) * 254) + 1, 0)
    assert np.array_equal(deep.test.depth_u8[-1, 0].numpy(), wanted)
    turned = depth_category(data, DepthMaps(replace(TINY, nearer_is_larger=False)))
    assert turned.value_range == (-high, -low)
    flipped = 256 - deep.train_good.depth_u8.int()
    assert (flipped - turned.train_good.depth_u8.int()).abs().max() <= 1


def _networks() -> Networks:
    def features(image_u8: torch.Tensor) -> FeatureOutput:
        values = image_u8.float().flatten(2) / 255
        found = torch.cat([values.mean(dim=2), values.std(dim=2)], dim=1)
        return FeatureOutput(found, found * 10)

    used = tuple(
        UsedNetwork(role=role, name="mean colour", sha256="a" * 64, stand_in="a test")
        for role in ("inception", "lpips@alex", "nearest_base", "resnet34")
    )
    return Networks(quality=QualityNetworks(features=features), imagenet=None, used=used)


def test_table_3_has_two_levels(
    tmp_path: Path, nut: Path, generators: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "load_networks", lambda config, device: _networks())
    named = ("nut=MVTec 3D-AD, RGB/tire",)
    config = replace(TINY, table=3, depth_run=generators[1], methods=("ours", "crop_paste", "nsa"), datasets=named)
    said: list[str] = []
    color = _run(nut, tmp_path / "out", config, generators[0], said)
    depth = read_result(tmp_path / "out" / "table_3_depth.json")
    assert (color.protocol, depth.protocol) == ("table 3, RGB level", "table 3, depth level")
    assert color.methods == ("ours (few-shot)", "CropPaste", "NSA")
    assert depth.methods == ("ours (few-shot)", "CropPaste")
    assert "accuracy" not in color.figure_names
    assert {"inception_score", "kid", "fid"} <= set(color.figure_names) & set(depth.figure_names)
    assert color.rows[0].figures["fid"] != depth.rows[0].figures["fid"]
    assert {net.role for net in color.networks} == {"inception", "lpips@alex", "nearest_base"}
    assert depth.datasets == {"tire": "MVTec 3D-AD, depth"}
    assert any("table 3, depth level" in text for text in said)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Table 3, depth level" in page
    assert "stand-in: mean colour" in page


def test_table_3_without_depth_or_sister_says_so(
    tmp_path: Path, nut: Path, generators: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "load_networks", lambda config, device: _networks())
    config = replace(TINY, table=3, methods=("base_third",))
    shutil.copytree(nut, tmp_path / "flat" / "nut", ignore=shutil.ignore_patterns("depth"))
    flat = _run(tmp_path / "flat" / "nut", tmp_path / "one", config)
    assert flat.rows[0].notes[-1] == "the data have no measured depth: there is the RGB level only"
    assert not (tmp_path / "one" / "table_3_depth.json").exists()
    with pytest.raises(DataError, match="no image has measured depth"):
        _run(tmp_path / "flat" / "nut", tmp_path / "two", replace(config, methods=("perlin_smooth",)))
    ours = _run(nut, tmp_path / "three", replace(config, methods=("ours",)), generators[0])
    assert ours.methods == ("ours (few-shot)",)
    assert "ours is left out in depth" in ours.rows[0].notes[-1]


def test_what_cannot_be_evaluated(tmp_path: Path, nut: Path, generators: tuple[str, str]) -> None:
    def copied(name: str) -> Path:
        return Path(shutil.copytree(nut, tmp_path / name / "nut"))

    base = replace(TINY, methods=("base_third",))
    lacking = copied("lacking")
    next((lacking / "depth" / "test").rglob("*.png")).unlink()
    with pytest.raises(DataError, match=r"depth"):
        _run(lacking, tmp_path / "a", base)
    flat = copied("flat")
    shutil.rmtree(flat / "depth")
    with pytest.raises(DataError, match=r"have no measured depth.*evaluate tables 1 and 2"):
        _run(flat, tmp_path / "b", base)
    bad = copied("bad")
    shutil.rmtree(bad / "test" / "good")
    shutil.rmtree(bad / "depth" / "test" / "good")
    with pytest.raises(DataError, match=r"no good test image.*or evaluate table 3"):
        _run(bad, tmp_path / "c", base)
    units = copied("units")
    for path in (units / "depth" / "train").rglob("*.png"):
        values = read_depth(path, nearer_is_larger=True).raw
        cv2.imwrite(str(path), values // 1000)
    with pytest.raises(DataError, match="different units"):
        _run(units, tmp_path / "d", base)
    with pytest.raises(WeightsError, match=r"is not AnomalyHybrid\*"):
        _run(nut, tmp_path / "e", replace(TINY, methods=("ours",), depth_run=generators[0]), generators[0])
    with pytest.raises(WeightsError, match="does not exist"):
        _run(nut, tmp_path / "f", replace(TINY, methods=("ours",), depth_run=str(tmp_path / "none")), generators[0])
    assert not list(tmp_path.glob("?/rows/**/*.json"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "as_published"}, "keeps the last checkpoint"),
        ({"validation_share": 0.5}, "keeps the last checkpoint"),
        ({"methods": ("ours",)}, "needs evaluate.depth_run"),
        ({"methods": ("perlin",)}, r"has 'perlin'; did you mean 'perlin_"),
        ({"table": 2, "methods": ("perlin_smooth",)}, "known are ours, "),
        ({"table": 6, "methods": ("ours",)}, "lines and classes of its own"),
        ({"table": 6, "train_csv": "a.csv"}, "needs both"),
        ({"table": 6, "train_csv": "a", "test_csv": "b", "signal": ("c",)}, "for the stand-in"),
        ({"table": 6, "pairs": 0}, "at least 1"),
        ({"table": 6, "hybrid_features": "dino"}, "hybrid_features"),
    ],
)
def test_settings_that_make_no_sense(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **changes)


def test_pairs_take_no_reference_appearance(tmp_path: Path, nut: Path, generators: tuple[str, str]) -> None:
    config = replace(TINY, appearance="reference", depth_run=generators[1])
    with pytest.raises(ConfigError, match="take auto, target or blend"):
        _run(nut, tmp_path / "out", config, generators[0])


def test_results_are_read_back(tmp_path: Path, nut: Path) -> None:
    result: Result = _run(nut, tmp_path / "out", replace(TINY, methods=("base_third",), seeds=(0, 1)))
    assert read_result(tmp_path / "out" / "table_4.json") == result
    assert [row.key for row in result.rows] == [
        (label, "nut", seed) for seed in (0, 1) for label in _labels("real base third")
    ]


def test_pairs_that_all_show_defects_are_refused(tmp_path: Path, nut: Path) -> None:
    """As photographs of potholes: every image has a mask."""
    for record in (record for record in read_data(nut).records if not record.is_good):
        assert record.mask_path is not None
        assert record.depth_path is not None
        name = f"{record.defect}_{record.path.name}"
        for place, path in (("rgb", record.path), ("depth", record.depth_path), ("ground_truth", record.mask_path)):
            (tmp_path / "road" / place).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "road" / place / name)
    with pytest.raises(DataError, match=r"road holds no good training image.*images without mask.*MVTec 3D-AD"):
        _run(tmp_path / "road", tmp_path / "out", replace(TINY, methods=("base_third",)))
