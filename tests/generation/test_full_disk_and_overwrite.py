"""Replacing a set, and a disk that fills at the n-th file: nothing is lost, and work goes on to the same result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from full_disk import disk
from set_files import contents, rows_of

from anomalyhybrid.cli.main import main
from anomalyhybrid.data.new_folder import making_folder

Run = Callable[..., int]


@pytest.fixture(scope="module")
def words(tiny_run: Path, products: Path, maps_cache: Path) -> list[str]:
    """Command line of a set of 3 defects and 1 good image, without --out."""
    given = ["generate", tiny_run, "--data", products / "nut", "--cache", maps_cache / "conditions", "--count", 3]
    return [str(word) for word in [*given, "--normals", 1, "--batch-size", 2]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> Path:
    """The set that these tests replace and add to."""
    out = tmp_path_factory.mktemp("finished") / "set"
    assert main([*words, "--out", str(out)]) == 0
    return out


@pytest.fixture
def old(tmp_path: Path, finished: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "set"))


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> dict[str, bytes]:
    """Files of another set, which takes the old one's place."""
    out = tmp_path_factory.mktemp("new") / "set"
    assert main([*words, "--seed", "4", "--out", str(out)]) == 0
    return contents(out)


def full(capsys: pytest.CaptureFixture[str], room: int, *words: str) -> str:
    """Run a command on a disk with room for so many files; it must end with code 2 and one clear message."""
    capsys.readouterr()
    with disk(room):
        assert main(list(words)) == 2
    text = capsys.readouterr().err
    assert "the disk is full" in text
    assert text.count("error: ") == 1
    assert "Traceback" not in text
    return text


def files_written(*words: str) -> int:
    """How many files a command writes."""
    with disk() as counted:
        assert main(list(words)) == 0
    return counted.written


# A full disk


def test_generate(tmp_path: Path, words: list[str], finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writes = files_written(*words, "--out", str(tmp_path / "counted"))
    assert writes > 10
    for room in (0, 1, 2, 6, writes - 3, writes - 1):
        out = tmp_path / str(room)
        full(capsys, room, *words, "--out", str(out))
        assert not list(out.rglob(".tmp-*"))
        begun = (out / "dataset.json").is_file()
        assert begun == (room > 0)
        assert main([*words, "--out", str(out), *(["--resume"] if begun else [])]) == 0
        assert contents(out) == contents(finished)


def test_append(
    tmp_path: Path, words: list[str], old: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    added = [*words, "--append", "--seed", "7"]
    whole = Path(shutil.copytree(finished, tmp_path / "whole"))
    writes = files_written(*added, "--out", str(whole))
    before, rows = contents(old), rows_of(old)
    for room in (0, 1, 5, writes - 2, writes - 1):
        out = Path(shutil.copytree(old, tmp_path / str(room)))
        full(capsys, room, *added, "--out", str(out))
        after = contents(out)
        assert {name for name in before if before[name] != after.get(name)} <= {"dataset.json", "manifest.jsonl"}
        assert rows_of_begun(out)[: len(rows)] == rows
        assert main([*added, "--out", str(out), *(["--resume"] if room else [])]) == 0
        assert contents(out) == contents(whole)


def rows_of_begun(out: Path) -> list[dict]:
    """Rows of a manifest whose last line may be cut."""
    lines = (out / "manifest.jsonl").read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]


def test_overwrite(
    tmp_path: Path, words: list[str], old: Path, new: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(old)
    command = [*words, "--seed", "4", "--overwrite", "--out", str(old)]
    for room in (0, 1, 6):
        text = full(capsys, room, *command)
        assert contents(old) == before
        assert making_folder(old).exists() == (room > 0)
        assert ("--overwrite --resume goes on there" in text) == (room > 0)
    assert main([*command, "--resume"]) == 0
    assert contents(tmp_path) == {f"set/{name}": content for name, content in new.items()}


def test_export(tmp_path: Path, old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", str(old), "--format", "coco", "--all", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    before = contents(tmp_path)
    writes = files_written(*command, "--overwrite")
    for room in (0, 2, writes - 1):
        full(capsys, room, *command, "--overwrite")
        assert contents(tmp_path) == before


def test_report(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (old / "report.html").write_text("from before")
    before = contents(old)
    full(capsys, 0, "report", str(old))
    assert contents(old) == before


# Replacing


def test_the_new_set_takes_the_place_of_the_old_one(
    tmp_path: Path, words: list[str], old: Path, new: dict[str, bytes]
) -> None:
    (old / "report.html").write_text("made by report")
    (old / ".DS_Store").write_text("made by a system")
    assert main([*words, "--seed", "4", "--overwrite", "--out", str(old)]) == 0
    assert contents(tmp_path) == {f"set/{name}": content for name, content in new.items()}
    assert main([*words, "--seed", "4", "--overwrite", "--out", str(tmp_path / "fresh")]) == 0
    assert contents(tmp_path / "fresh") == new


def test_an_interrupt_keeps_the_old_set_and_begun_work(
    tmp_path: Path,
    words: list[str],
    old: Path,
    new: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from anomalyhybrid.recipes import generation

    def interrupt(*given: object) -> None:
        raise KeyboardInterrupt

    before, command = contents(old), [*words, "--seed", "4", "--overwrite", "--out", str(old)]
    with monkeypatch.context() as patch:
        patch.setattr(generation, "sort_rows", interrupt)
        assert main(command) == 130
    text = capsys.readouterr().err
    assert "The set that was there is as it was. To go on with the new one:" in text
    assert text.rstrip().endswith("--resume")
    assert contents(old) == before
    # settings need not be repeated
    assert main([*words[:4], *words[4:6], "--overwrite", "--resume", "--out", str(old)]) == 0
    assert contents(tmp_path) == {f"set/{name}": content for name, content in new.items()}


def test_bad_input_keeps_the_old_set(
    tmp_path: Path, words: list[str], old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main([*words, "--data", str(tmp_path / "empty"), "--overwrite", "--out", str(old)]) == 2
    assert main([*words, "--overwrite", "--resume", "--out", str(old)]) == 2
    assert "no new set for" in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["notes.txt", "test/scratch/photo.png", "train/good/nut_1.png", ".git/config", "x/y"])
def test_other_files_are_not_overwritten(
    tmp_path: Path, words: list[str], old: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (old / name).parent.mkdir(parents=True, exist_ok=True)
    (old / name).write_text("mine")
    before = contents(tmp_path)
    assert main([*words, "--overwrite", "--out", str(old)]) == 2
    text = capsys.readouterr().err
    assert "files that are not the set's" in text
    assert name in text
    assert contents(tmp_path) == before


def test_folders_without_a_set_and_links_are_not_overwritten(
    tmp_path: Path, words: list[str], old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (old / "linked").symlink_to(tmp_path)
    assert main([*words, "--overwrite", "--out", str(old)]) == 2
    assert "linked" in capsys.readouterr().err
    (old / "linked").unlink()
    (old / "dataset.json").unlink()
    assert main([*words, "--overwrite", "--out", str(old)]) == 2
    assert "holds files but no set" in capsys.readouterr().err
    assert rows_of(old)


def test_inputs_inside_the_set_are_not_overwritten(
    tmp_path: Path, words: list[str], old: Path, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(old)
    assert main([*words[:2], "--data", str(old), "--overwrite", "--out", str(old)]) == 2
    assert "which --overwrite would replace" in capsys.readouterr().err
    assert contents(old) == before


def test_an_unfinished_set_may_be_overwritten(
    tmp_path: Path, words: list[str], old: Path, new: dict[str, bytes]
) -> None:
    """Files that no row names yet are the set's own by their names."""
    lines = (old / "manifest.jsonl").read_text().splitlines(keepends=True)
    (old / "manifest.jsonl").write_text(lines[0] + lines[1][:20])
    assert main([*words, "--seed", "4", "--overwrite", "--out", str(old)]) == 0
    assert contents(old) == new
