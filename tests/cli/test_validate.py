"""`anomalyhybrid validate`: exit codes, what is printed, the JSON file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from anomalyhybrid.cli.main import main

Build = Callable[..., Path]


def test_warnings_and_notes_exit_with_0(dummy_mvtec: Build, capsys: pytest.CaptureFixture[str]) -> None:
    root = dummy_mvtec("widget", train=4)
    assert main(["validate", str(root)]) == 0
    told = capsys.readouterr()
    assert "warning: widget: fewer than 8 good images (4)" in told.out
    assert "checking: 12/12 images" in told.err
    assert "widget    4     2          6        2      0      64x48 12  rgb8 12" in told.out
    assert "0 errors," in told.out


def test_errors_exit_with_2_and_are_in_the_json(
    dummy_mvtec: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = dummy_mvtec("widget")
    (root / "ground_truth" / "dent" / "001_mask.png").unlink()
    target = tmp_path / "found.json"
    assert main(["validate", str(root), "--json", str(target)]) == 2
    told = capsys.readouterr()
    assert "error: widget: defect images without a mask: 1\n    test/dent/001.png: no mask named" in told.out
    assert told.err.endswith("error: the data have 1 fault at which a command would stop\n")
    first = json.loads(target.read_text())["findings"][0]
    assert (first["kind"], first["files"]) == ("image_without_mask", ["test/dent/001.png"])


@pytest.mark.parametrize("flag", ["--base", "--base-set"])
def test_base_sets(dummy_mvtec: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    root, base = dummy_mvtec("widget"), dummy_mvtec("base/widget", defects={"crack": 1})
    (base / "ground_truth" / "crack" / "000_mask.png").write_bytes(b"")
    assert main(["validate", str(root), flag, str(base)]) == 2
    assert "masks cannot be read: 1" in capsys.readouterr().out


def test_settings_may_come_from_a_file(dummy_mvtec: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = dummy_mvtec("widget")
    config = tmp_path / "c.yaml"
    config.write_text(f"data: ['{root}']\nbase_set: ['{root}']\n")
    assert main(["validate", "--config", str(config)]) == 0
    assert "widget" in capsys.readouterr().out


def test_bad_calls(dummy_mvtec: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = dummy_mvtec("widget")
    (tmp_path / "empty").mkdir()
    for words, said in (
        ([], "no data folder given"),
        ([str(tmp_path / "empty")], "holds no image"),
        ([str(root), "--json", str(tmp_path)], "is a folder"),
        ([str(root), "--json", str(tmp_path / "no" / "f.json")], "does not exist; make it first"),
    ):
        assert main(["validate", *words]) == 2
        assert said in capsys.readouterr().err
