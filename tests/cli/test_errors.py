"""What goes wrong: one clear message on stderr, the right exit code, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from anomalyhybrid.cli import commands, doctor
from anomalyhybrid.cli.main import main
from anomalyhybrid.errors import DataError

Run = Callable[..., str]


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line that must end with code 2, and give its message."""

    def run(*words: object) -> str:
        assert main([str(word) for word in words]) == 2
        text = capsys.readouterr().err
        assert "Traceback" not in text
        assert "╭" not in text
        assert text.count("error: ") == 1
        return text

    return run


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALYHYBRID_CACHE", str(tmp_path / "cache"))


# Usage


def test_unknown_flags_and_commands_name_the_nearest(fails: Run) -> None:
    assert "Did you mean --batch-size?" in fails("train", "d", "--out", "r", "--batchsize", 4)
    assert "Did you mean --augment.edit?" in fails("train", "d", "--out", "r", "--augment.edti", 4)
    assert 'Did you mean "train"?' in fails("trian", "d")
    assert "'anomalyhybrid train --help'" in fails("train", "d", "--nothing-such", 1)


def test_wrong_values_name_what_is_allowed(fails: Run) -> None:
    assert '"many"' in fails("train", "d", "--out", "r", "--batch-size", "many")
    assert 'Choose from: "default", "paper"' in fails("train", "d", "--out", "r", "--loss", "mine")
    assert "train.batch_size is 0; it must be at least 1" in fails("train", "d", "--out", "r", "--batch-size", 0)
    assert "must be a finite number" in fails("train", "d", "--out", "r", "--learning-rate", "nan")


def test_missing_words_are_named(fails: Run) -> None:
    assert "--out" in fails("train", "d")
    assert "no data folder given" in fails("train", "--out", "r")
    assert "no data folder given" in fails("generate", "r", "--out", "o")


# Data


@pytest.mark.parametrize("command", ["prepare", "train", "generate"])
def test_empty_and_missing_folders(fails: Run, tmp_path: Path, run_file: Path, command: str) -> None:
    (tmp_path / "empty").mkdir()
    for folder, message in ((tmp_path / "empty", "empty"), (tmp_path / "gone", "does not exist")):
        text = fails(*_words(command, folder, tmp_path / "out", run_file))
        assert str(folder) in text
        assert message in text
    assert not (tmp_path / "out" / "manifest.jsonl").exists()
    assert not (tmp_path / "out" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("command", ["prepare", "train", "generate"])
def test_files_that_are_no_images_are_named(
    fails: Run, tmp_path: Path, dummy_folder: Callable[..., Path], run_file: Path, command: str
) -> None:
    data = dummy_folder(count=3)
    (data / "text.png").write_text("not an image")
    done, jpeg = cv2.imencode(".jpg", cv2.imread(str(data / "img0.png")))
    assert done
    (data / "cut.jpg").write_bytes(jpeg.tobytes()[: len(jpeg) // 2])
    cv2.imwrite(str(data / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    text = fails(*_words(command, data, tmp_path / "out", run_file))
    for name in ("text.png", "cut.jpg", "dot.png"):
        assert name in text
    assert "1x1" in text
    assert "skip unreadable" in text
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_masks_that_pair_with_nothing_are_named(fails: Run, tmp_path: Path, dummy_mvtec: Callable[..., Path]) -> None:
    data = dummy_mvtec(defects={"dent": 2})
    (data / "ground_truth" / "dent" / "001_mask.png").rename(data / "ground_truth" / "dent" / "xyz_mask.png")
    text = fails("prepare", data)
    assert "001.png" in text
    assert "xyz_mask.png" in text


@pytest.mark.parametrize("command", ["prepare", "train", "generate"])
def test_bad_masks_are_named_or_skipped(
    fails: Run,
    tmp_path: Path,
    dummy_mvtec: Callable[..., Path],
    run_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    from anomalyhybrid.recipes import generation, preparation, training

    data = dummy_mvtec("bottle", defects={"dent": 3})
    (data / "ground_truth" / "dent" / "001_mask.png").write_text("no image")
    cv2.imwrite(str(data / "ground_truth" / "dent" / "002_mask.png"), np.zeros((48, 64), np.uint8))
    words = [*_words(command, data, tmp_path / "out", run_file), "--base-set", data]
    text = fails(*words)
    assert "001_mask.png is not an image" in text
    assert "002_mask.png is an empty mask" in text

    after = DataError("got past the check")  # what comes after reading is not this test's
    for module, name in ((preparation, "make_extractors"), (training, "_load_pool"), (generation, "describe")):
        monkeypatch.setattr(module, name, _raiser(after))
    assert main([*map(str, words), "--skip-unreadable"]) == 2
    text = capsys.readouterr().err
    assert "got past the check" in text
    assert "skipped test/dent/001.png: " in text
    assert "skipped test/dent/002.png: " in text


def test_a_cache_that_is_a_file(
    fails: Run, tmp_path: Path, dummy_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from anomalyhybrid.recipes import preparation

    (tmp_path / "file").write_text("x")
    named = SimpleNamespace(name="none")
    monkeypatch.setattr(preparation, "make_extractors", lambda *given: (named, named))
    assert f"{tmp_path / 'file'} is a file" in fails("prepare", dummy_folder(), "--cache", tmp_path / "file")


# Weights


def test_missing_weights_say_where_they_were_looked_for(
    fails: Run, tmp_path: Path, dummy_folder: Callable[..., Path]
) -> None:
    data = dummy_folder(count=3)
    text = fails("train", data, "--out", tmp_path / "out", "--edge", "pidinet")
    assert "pidinet_table5.pth" in text
    assert str(tmp_path / "cache") in text
    text = fails("prepare", data, "--edge", "pidinet", "--edge-weights", tmp_path / "mine.pth")
    assert str(tmp_path / "mine.pth") in text
    text = fails("generate", tmp_path / "norun", "--data", data, "--out", tmp_path / "out")
    assert "norun" in text


def test_a_file_that_is_no_generator_is_refused(fails: Run, tmp_path: Path, dummy_folder: Callable[..., Path]) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nothing of the kind")
    text = fails("generate", tmp_path / "x.safetensors", "--data", dummy_folder(), "--out", tmp_path / "out")
    assert "x.safetensors" in text


# Output


def test_existing_outputs_are_not_overwritten(fails: Run, tmp_path: Path, dummy_folder: Callable[..., Path]) -> None:
    data = dummy_folder()
    out = tmp_path / "out"
    out.mkdir()
    (out / "checkpoint.safetensors").write_bytes(b"old")
    assert "--resume" in fails("train", data, "--out", out)
    (out / "manifest.jsonl").write_text("")
    assert "--resume" in fails("generate", "shipped", "--data", data, "--out", out)
    assert "no demo made" in fails("demo", "--out", out)
    assert (out / "checkpoint.safetensors").read_bytes() == b"old"
    assert sorted(path.name for path in out.iterdir()) == ["checkpoint.safetensors", "manifest.jsonl"]


def test_an_output_that_is_a_file(fails: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "is a file" in fails("train", "d", "--out", tmp_path / "file")
    assert "lies below the file" in fails("generate", "r", "--data", "d", "--out", tmp_path / "file" / "deeper")


def test_a_read_only_output_is_found_before_the_work(
    fails: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access  # root may write anywhere, so the answer is made up

    def read_only(path: str | Path, mode: int) -> bool:
        return False if mode & os.W_OK and Path(path) == tmp_path else access(path, mode)

    monkeypatch.setattr(os, "access", read_only)
    for words in (
        ("train", "d"),
        ("generate", "r", "--data", "d"),
        ("demo",),
        ("regenerate", "s", "--id", "i"),
    ):
        text = fails(*words, "--out", tmp_path / "new" / "out")
        assert f"{tmp_path} is read-only" in text
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/y.png"), "disk is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y.png"), "/x/y.png"),
        (OSError(errno.EROFS, "Read-only file system"), "may not be written"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/x/y"), "a file is where a folder is needed (/x/y)"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "/x/y"), "a folder is where a file is needed (/x/y)"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "disk is full"),
        (MemoryError(), "out of memory"),
    ],
)
def test_errors_of_the_machine_are_worded(
    fails: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    monkeypatch.setattr(doctor, "report", _raiser(error))
    assert message in fails("doctor")


def test_faults_of_the_program_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (ValueError("a bug"), OSError(errno.EIO, "Input/output error"), KeyError("k")):
        monkeypatch.setattr(doctor, "report", _raiser(error))
        with pytest.raises(type(error)):
            main(["doctor"])


# Ctrl-C


def test_ctrl_c_in_training_says_what_was_saved_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from anomalyhybrid.recipes import training

    out = tmp_path / "my run"

    def train(data: list[Path], folder: Path, **settings: object) -> Path:
        header = json.dumps({"__metadata__": {"step": "17"}}).encode()
        folder.mkdir()
        (folder / "checkpoint.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", train)
    assert main(["train", "d", "--out", str(out), "--steps", "30"]) == 130
    text = capsys.readouterr().err
    assert f"The state after step 17 is saved in {out}." in text
    assert f"To go on: anomalyhybrid train d --out '{out}' --steps 30 --resume" in text
    assert "Traceback" not in text


def test_ctrl_c_in_generation_counts_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from anomalyhybrid.recipes import generation

    (tmp_path / "manifest.jsonl").write_text("{}\n{}\n{}\n")
    monkeypatch.setattr(generation, "generate", _raiser(KeyboardInterrupt()))
    config = tmp_path / "settings.yaml"
    config.write_text(f"out: {tmp_path}\n")
    assert main(["generate", "r", "--data", "d", "--resume", "--config", str(config)]) == 130
    text = capsys.readouterr().err
    assert f"3 finished images are saved in {tmp_path}" in text
    assert text.count("--resume") == 1


def test_ctrl_c_before_anything_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "given_folders", _raiser(KeyboardInterrupt()))
    for command in ("train", "train-depth"):
        assert main([command, "d", "--out", str(tmp_path / "out")]) == 130
        text = capsys.readouterr().err
        assert f"Nothing was saved yet. To start again: anomalyhybrid {command} d" in text
        assert "--resume" not in text
    assert main(["prepare", "d"]) == 130
    assert "Maps extracted so far are kept" in capsys.readouterr().err


def _raiser(error: BaseException) -> Callable[..., None]:
    def fail(*given: object, **named: object) -> None:
        raise error

    return fail


def _words(command: str, data: Path, out: Path, run: Path) -> list[object]:
    if command == "prepare":
        return ["prepare", data]
    if command == "train":
        return ["train", data, "--out", out]
    return ["generate", run, "--data", data, "--out", out]


@pytest.fixture(scope="session")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny generator with random weights, enough to get as far as the data."""
    from anomalyhybrid.models.config import GeneratorConfig
    from anomalyhybrid.models.generator import Generator, save_generator

    path = tmp_path_factory.mktemp("run") / "generator.safetensors"
    config = GeneratorConfig(width=8, downsamplings=2, max_width=16, blocks=1)
    about = {
        "edge": "lite",
        "depth": "lite",
        "edge_name": "",
        "depth_name": "",
        "size": "32",
        "categories": "",
    }
    save_generator(path, Generator(config), about)
    return path
