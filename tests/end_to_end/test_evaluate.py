"""`anomalyhybrid evaluate` on rendered parts: exact files, a readable result and report, nothing done twice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from anomalyhybrid.cli.main import main
from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.evaluation.result_files import read_result
from anomalyhybrid.generation.manifest import read_rows
from anomalyhybrid.recipes.evaluation import detection

METHODS = ("base_third", "crop_paste", "perlin", "ours", "ours+")
BUDGET = ["--size", 64, "--epochs", 1, "--samples-per-epoch", 16, "--width", 2]
BUDGET += ["--count", 4, "--normals", 2, "--generate-batch", 4]


@pytest.fixture(scope="session")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One rendered category with a test part."""
    root = tmp_path_factory.mktemp("data") / "tested"
    return write_dataset(
        root, product="nut", product_seed=2, seed=5, train_good=5, test_good=2, defects_per_kind=3, size=64
    )


def _words(data: Path, out: Path, *more: object) -> list[str]:
    return [str(word) for word in ("evaluate", data, "--out", out, "--seeds", 0, *BUDGET, *more)]


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory, tested: Path, cache: Path) -> Path:
    out = tmp_path_factory.mktemp("evaluated") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANOMALYHYBRID_CACHE", str(cache))
        assert main(_words(tested, out, "--methods", *METHODS)) == 0
    return out


def test_files(evaluated: Path) -> None:
    found = {path.relative_to(evaluated).as_posix() for path in evaluated.rglob("*") if path.is_file()}
    found = {name for name in found if not name.startswith((".locks/", "views/"))}
    wanted = {"table_2.json", "report.html"}
    wanted |= {f"rows/table_2/nut/{method}/seed_0.{end}" for method in METHODS for end in ("json", "npz")}
    sets = sorted(path.parent for path in evaluated.glob("sets/*/seed_0/nut/dataset.json"))
    names = [re.sub(r"_[0-9a-f]{12}$", "", folder.parents[1].name) for folder in sets]
    assert names == ["good_both", "held_full", "held_patch", "ours"]
    for folder, images, masks in zip(sets, (2, 2, 2, 4), (0, 0, 0, 4), strict=True):
        rows = read_rows(folder)
        files = [name for row in rows for name in (row.image, row.label_mask) if name]
        assert len(files) == images + masks
        wanted |= {(folder / name).relative_to(evaluated).as_posix() for name in files}
        wanted |= {(folder / name).relative_to(evaluated).as_posix() for name in ("dataset.json", "manifest.jsonl")}
    assert found == wanted


def test_result(evaluated: Path) -> None:
    result = read_result(evaluated / "table_2.json")
    assert result.protocol == "table 2"
    assert [row.method for row in result.rows] == [
        "real base third",
        "CropPaste",
        "Perlin + texture",
        "ours (few-shot)",
        "ours + generated good images (few-shot)",
    ]
    for row in result.rows:
        assert {"pixel_ap", "image_auroc", "aupro", "false_alarm_excess", "redrawn_pixel_auroc"} <= row.figures.keys()
        assert {"false_alarm_patch", "false_alarm_patch_excess", "patch_region_auroc"} <= row.figures.keys()
        assert row.samples["redrawn good images"] == row.samples["good images with redrawn patches"] == 2
        assert row.samples["good training images"] == 4  # one of five is held out
        assert row.samples["calibration images"] == 1
        generated = row.method.startswith("ours")
        assert (row.checkpoint is not None) == generated
        assert ("shipped generator, not trained on these data" in row.notes) == generated
    assert result.rows[0].samples["defective training images"] == 7  # a third of three of seven kinds
    assert result.rows[4].samples["generated good training images"] == 2
    assert result.options["count"] == 4


def test_report(evaluated: Path) -> None:
    page = (evaluated / "report.html").read_text(encoding="utf-8")
    for text in ("real base third", "CropPaste", "ours (few-shot)", "nut, pixels", "Real defects of the test part"):
        assert text in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_run_again_computes_nothing_and_gives_the_same(
    evaluated: Path, tested: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (evaluated / name).read_bytes() for name in ("table_2.json", "report.html")}
    monkeypatch.setattr(detection, "detection_row", None)
    assert main(_words(tested, evaluated, "--methods", *METHODS)) == 0
    assert "table 2: Overview: nut" in capsys.readouterr().out
    assert {name: (evaluated / name).read_bytes() for name in before} == before


def test_other_settings_in_the_same_folder(evaluated: Path, tested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_words(tested, evaluated, "--methods", "base_third", "--with-base")) == 2
    assert "option with_base: False, now True" in capsys.readouterr().err


def test_bad_input(tested: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*words: object) -> str:
        assert main(_words(*words)) == 2  # type: ignore[arg-type]
        return capsys.readouterr().err

    out = tmp_path / "out"
    assert "did you mean 'crop_paste'" in told(tested, out, "--methods", "croppaste")
    assert "holds no test defect" in told(tested / "train" / "good", out)
    assert "nothing is left to test" in told(parts, out, "--methods", "base_third")
    assert "28 of 28 images have no measured depth" in told(tested, out, "--table", 4)
    assert "give a run's folder" in told(tested, out, "--methods", "ours", "--run", tmp_path / "none")
    assert not (out / "table_2.json").exists()
