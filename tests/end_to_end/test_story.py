"""The whole story through the command line: good images, a trained run, a generated set, one image of it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from written_sets import contents, temporary

from anomalyhybrid.cli.main import main
from anomalyhybrid.generation.manifest import read_dataset, read_rows


def test_the_run_holds_what_it_should(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == {
        "checkpoint.safetensors",
        "config.yaml",
        "generator.safetensors",
        "journal.jsonl",
        "samples",
    }
    assert temporary(run) == []


def test_the_set_holds_the_manifests_files_and_keeps_the_contract(whole: Path, parts: Path) -> None:
    rows = read_rows(whole)
    listed = {name for row in rows for name in (row.image, row.label_mask) if name is not None}
    assert set(contents(whole)) == listed | {"manifest.jsonl", "dataset.json"}
    assert len(rows) == 16
    assert [row.category for row in rows] == ["nut"] * 8 + ["plate"] * 8
    source = whole / read_dataset(whole)["data_root"]
    assert source == parts
    for row in rows:
        if row.label_mask is None:
            continue
        image, target = cv2.imread(str(whole / row.image)), cv2.imread(str(source / row.target))
        mask = cv2.imread(str(whole / row.label_mask), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(image[mask == 0], target[mask == 0])
        assert (mask > 0).sum() == row.mask_area > 0


def test_the_command_says_what_it_made(
    tmp_path: Path, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path / "set")) == 0
    told = capsys.readouterr().out
    assert f"generated set in {tmp_path / 'set'}" in told
    assert told.count("images changed outside: 0") == 2
    assert "by defect:" in told


def test_the_same_command_makes_the_same_set(tmp_path: Path, words: Callable[..., list[str]], whole: Path) -> None:
    assert main(words(tmp_path / "set")) == 0
    assert contents(tmp_path / "set") == contents(whole)


def test_regenerate_makes_exactly_the_asked_files(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_rows(whole)
    for row in (rows[3], rows[-1]):
        out = tmp_path / row.id
        assert main(["regenerate", str(whole), "--id", row.id, "--out", str(out)]) == 0
        assert capsys.readouterr().out.strip() == str(out / row.image)
        wanted = {name: (whole / name).read_bytes() for name in (row.image, row.label_mask) if name is not None}
        assert contents(out) == wanted


def test_good_images_are_redrawn_in_patches(
    tmp_path: Path, words: Callable[..., list[str]], whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    assert main(words(out, "--normals-as", "patch")) == 0
    rows, before = ([row for row in read_rows(root) if row.label_mask is None] for root in (out, whole))
    assert [row.image for row in rows] == [row.image for row in before]
    assert {row.composition for row in rows} == {"region"}
    assert {row.composition for row in before} == {"full"}
    assert main(["regenerate", str(out), "--id", rows[-1].id, "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / rows[-1].image).read_bytes() == (out / rows[-1].image).read_bytes()
    capsys.readouterr()
    assert main(words(tmp_path / "other", "--normals-as", "half")) == 2
    assert "half" in capsys.readouterr().err


def test_regenerate_says_what_is_wrong(tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for dataset, image_id, out, message in (
        (whole, "nut_999999", tmp_path / "out", "no image 'nut_999999'"),
        (whole, "nut_000001", whole, "is the set itself"),
        (tmp_path, "nut_000001", tmp_path / "out", "holds no dataset.json"),
    ):
        assert main(["regenerate", str(dataset), "--id", image_id, "--out", str(out)]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_existing_set_is_kept(
    whole: Path, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(whole)
    assert main(words(whole)) == 2
    assert "already holds a generated set" in capsys.readouterr().err
    assert main([*words(whole), "--resume", "--seed", "3"]) == 2
    assert "begun with another config" in capsys.readouterr().err
    assert contents(whole) == before
