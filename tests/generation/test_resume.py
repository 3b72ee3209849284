"""A set that was stopped and resumed is the set that was never stopped, byte for byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from set_files import contents, file_set, rows_of

from anomalyhybrid.data.loading import save_png
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation import writer
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import DATASET, MANIFEST

Make = Callable[..., Path]
Start = Callable[..., Path]


class StoppedError(Exception):
    """Stands for whatever ends a run."""


@pytest.fixture(scope="module")
def start(make_set: Make, products: Path) -> Start:
    """Begin or resume the set of these tests: ``start(out, resume=True)``."""

    def begin(out: Path, **changes: object) -> Path:
        settings = {"base_set": (products,), "count": 5, "normals": 3, "batch_size": 2, "procedural": 0.4}
        return make_set(out, products, **(settings | changes))

    return begin


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, start: Start) -> dict[str, bytes]:
    """Files of the set that was never stopped."""
    return contents(start(tmp_path_factory.mktemp("whole") / "set"))


@pytest.fixture
def finished(tmp_path: Path, whole: dict[str, bytes]) -> Path:
    """A complete copy of the set, to be damaged."""
    for name, content in whole.items():
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "set"


@pytest.mark.parametrize("chunk", [0, 1, 3, 6, 9])
def test_stopped_after_any_chunk(tmp_path: Path, start: Start, whole: dict[str, bytes], chunk: int) -> None:
    reports: list[tuple[int, int]] = []

    def report(done: int, total: int) -> None:
        reports.append((done, total))
        if len(reports) == chunk + 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        start(tmp_path / "set", report=report)
    assert reports[-1][1] == 16
    assert reports[-1][0] == len(rows_of(tmp_path / "set")) < 17
    assert contents(start(tmp_path / "set", resume=True)) == whole


@pytest.mark.parametrize("written", [0, 1, 5, 11])
def test_stopped_within_a_chunk(
    tmp_path: Path, start: Start, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    calls: list[Path] = []

    def save(path: Path, pixels: np.ndarray, *, profile: bytes | None = None) -> None:
        calls.append(path)
        if len(calls) > written:
            raise StoppedError
        save_png(path, pixels, profile=profile)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "save_png", save)
        with pytest.raises(StoppedError):
            start(tmp_path / "set")
    assert contents(start(tmp_path / "set", resume=True)) == whole


def test_stopped_twice(tmp_path: Path, start: Start, whole: dict[str, bytes]) -> None:
    def stopping(at: int) -> Callable[[int, int], None]:
        def report(done: int, total: int) -> None:
            if done >= at:
                raise StoppedError

        return report

    with pytest.raises(StoppedError):
        start(tmp_path / "set", report=stopping(3))
    with pytest.raises(StoppedError):
        start(tmp_path / "set", resume=True, report=stopping(9))
    assert contents(start(tmp_path / "set", resume=True)) == whole


def test_a_cut_manifest(finished: Path, start: Start, whole: dict[str, bytes]) -> None:
    text = (finished / MANIFEST).read_text()
    (finished / MANIFEST).write_text(text[: len(text) * 2 // 3])
    assert contents(start(finished, resume=True)) == whole
    (finished / MANIFEST).write_text("")
    assert contents(start(finished, resume=True)) == whole
    (finished / MANIFEST).unlink()
    assert contents(start(finished, resume=True)) == whole


def test_missing_images_and_masks_are_made_again(finished: Path, start: Start, whole: dict[str, bytes]) -> None:
    rows = rows_of(finished)
    defects = [row for row in rows if row["label_mask"] is not None]
    (finished / defects[1]["image"]).unlink()
    (finished / defects[-1]["label_mask"]).unlink()
    (finished / rows[-1]["image"]).unlink()
    shutil.rmtree(finished / "capsule" / "ground_truth")
    assert contents(start(finished, resume=True)) == whole


def test_what_a_killed_process_half_wrote_is_removed(finished: Path, start: Start, whole: dict[str, bytes]) -> None:
    row = rows_of(finished)[0]
    (finished / row["image"]).with_name(".tmp-0123abcd").write_bytes(b"half an image")
    (finished / ".tmp-4567ef").write_bytes(b"half a description")
    (finished / row["label_mask"]).unlink()
    assert contents(start(finished, resume=True)) == whole


def test_a_finished_set_is_left_as_it_is(
    finished: Path, start: Start, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(path: Path, pixels: np.ndarray, *, profile: bytes | None = None) -> None:
        raise AssertionError(f"{path} was there already")

    monkeypatch.setattr(writer, "save_png", save)
    reports: list[tuple[int, int]] = []
    start(finished, resume=True, report=lambda done, total: reports.append((done, total)))
    assert contents(finished) == whole
    assert reports[-1] == (16, 16)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"seed": 1}, "config"),
        ({"count": 6}, "config"),
        ({"batch_size": 3}, "config"),
        ({"base_set": ()}, "base_set"),
    ],
)
def test_other_settings_are_refused(
    finished: Path, start: Start, whole: dict[str, bytes], changes: dict, what: str
) -> None:
    with pytest.raises(DataError, match=f"begun with another {what}"):
        start(finished, resume=True, **changes)
    assert contents(finished) == whole


def test_a_number_of_images_together_that_is_not_given_is_the_one_begun_with(
    finished: Path, start: Start, whole: dict[str, bytes]
) -> None:
    """As on another device, where it would be chosen otherwise."""
    start(finished, resume=True, batch_size=0)
    assert contents(finished) == whole


def test_a_new_set_records_the_number_that_fits_the_device(tmp_path: Path, start: Start) -> None:
    about = json.loads((start(tmp_path / "set", count=1, normals=0, batch_size=0) / "dataset.json").read_text())
    assert about["config"]["batch_size"] == (64 if torch.cuda.is_available() else 16)
    assert GenerateConfig().with_batch("cuda").batch_size > GenerateConfig().with_batch("cpu").batch_size
    assert GenerateConfig(batch_size=5).with_batch("cuda").batch_size == 5


def test_another_model_is_refused(
    tmp_path: Path,
    finished: Path,
    start: Start,
    whole: dict[str, bytes],
    random_generator: Callable[[Path, int], Path],
) -> None:
    other = random_generator(tmp_path / "other.safetensors", 5)
    with pytest.raises(DataError, match="begun with another model"):
        start(finished, resume=True, run=other)
    assert contents(finished) == whole


def test_other_data_are_refused(tmp_path: Path, make_set: Make, products: Path) -> None:
    data = Path(shutil.copytree(products / "nut", tmp_path / "nut"))
    out = make_set(tmp_path / "set", data, count=2, normals=0)
    before = contents(out)
    copy = Path(shutil.copytree(data, tmp_path / "copy" / "nut"))
    with pytest.raises(DataError, match="begun with another data"):
        make_set(out, copy, count=2, normals=0, resume=True)
    sorted((data / "train" / "good").iterdir())[0].unlink()
    with pytest.raises(DataError, match="another content of the data folders"):
        make_set(out, data, count=2, normals=0, resume=True)
    assert contents(out) == before


def test_nothing_to_resume_is_said(tmp_path: Path, start: Start) -> None:
    with pytest.raises(DataError, match="holds no set to resume"):
        start(tmp_path / "set", resume=True)
    assert not (tmp_path / "set").exists()


def test_a_begun_set_is_not_begun_again(tmp_path: Path, start: Start) -> None:
    def report(done: int, total: int) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        start(tmp_path / "set", report=report)
    before = contents(tmp_path / "set")
    with pytest.raises(DataError, match="--resume"):
        start(tmp_path / "set")
    assert contents(tmp_path / "set") == before
    assert file_set(tmp_path / "set") >= {MANIFEST, DATASET}
    assert "summary" not in json.loads((tmp_path / "set" / DATASET).read_text())
