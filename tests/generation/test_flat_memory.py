"""What is done with a manifest needs a few bytes an image, not the rows."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from anomalyhybrid.data.files import write_pieces_atomic
from anomalyhybrid.errors import DataError
from anomalyhybrid.export.items import read_items
from anomalyhybrid.generation.additions import next_numbers
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import MANIFEST, iter_rows, read_rows, write_rows
from anomalyhybrid.generation.summary import summarise
from anomalyhybrid.generation.work_order import WorkOrder, sort_rows
from anomalyhybrid.recipes.description import remove_half_written

ROWS = 2000
MOST = 300 * ROWS  # bytes; a row read takes some 2000
CONFIG = GenerateConfig(count=ROWS, batch_size=16)
ORDER = WorkOrder(categories=("nut",), config=CONFIG, description={})
ABOUT = {"categories": ["nut"], "config": {"count": ROWS, "normals": 0}}


@pytest.fixture
def many(tmp_path: Path, one_category: Path) -> Path:
    """A manifest of many rows, the last batch first, all of one image."""
    row = next(iter_rows(one_category))
    for path in (row.image, str(row.label_mask)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((one_category / path).read_bytes())
    numbers = [*range(ROWS - 16, ROWS), *range(ROWS - 16)]
    write_rows(tmp_path, (replace(row, id=f"nut_{number:06d}", seed=number) for number in numbers))
    return tmp_path


def _sort(folder: Path) -> None:
    sort_rows(folder, ORDER)
    assert [row.seed for row in iter_rows(folder)] == list(range(ROWS))


def _export(folder: Path) -> None:
    groups, left_out = read_items(folder, include_rejected=True)
    assert (len(groups["nut"]), left_out) == (ROWS, 0)
    assert len({item.row.id for item in groups["nut"].at(range(10))}) == 10


def _summarise(folder: Path) -> None:
    assert summarise(iter_rows(folder))["nut"]["defects"] == ROWS


def _number(folder: Path) -> None:
    assert next_numbers(ABOUT, iter_rows(folder), [], ["nut"]) == {"nut": {"defects": ROWS, "normals": 0}}


@pytest.mark.parametrize("work", [_sort, _export, _summarise, _number])
def test_memory_of_many_rows(many: Path, work: Callable[[Path], None]) -> None:
    tracemalloc.start()
    try:
        work(many)
        peak = tracemalloc.get_traced_memory()[1]
        assert peak < MOST
        tracemalloc.reset_peak()
        read_rows(many)
        assert tracemalloc.get_traced_memory()[1] > MOST, "the test can fail"
    finally:
        tracemalloc.stop()


def test_of_repeated_rows_the_last_is_exported_in_the_place_of_the_first(tmp_path: Path, one_category: Path) -> None:
    rows = read_rows(one_category)[:3]
    for row in rows:
        for path in (row.image, str(row.label_mask)):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes((one_category / path).read_bytes())
    write_rows(tmp_path, [rows[1], rows[0], rows[2], replace(rows[1], attempt=99), replace(rows[0], accepted=False)])
    groups, left_out = read_items(tmp_path, include_rejected=False)
    assert [(item.row.id, item.row.attempt) for item in groups["nut"]] == [
        (rows[1].id, 99),
        (rows[2].id, rows[2].attempt),
    ]
    assert left_out == 1


def test_a_file_is_replaced_only_when_all_pieces_are_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def failing():
        yield b"new"
        raise DataError("no more")

    with pytest.raises(DataError, match="no more"):
        write_pieces_atomic(path, failing())
    assert path.read_bytes() == b"old"
    write_pieces_atomic(path, (piece for piece in (path.read_bytes(), b"er")))
    assert path.read_bytes() == b"older"
    assert [found.name for found in tmp_path.iterdir()] == ["a"]


def test_what_was_half_written_goes_and_the_rest_stays(tmp_path: Path) -> None:
    for name in ("a/b/.tmp-1", "a/.tmp-2", "a/b/c.png", ".tmp-3", MANIFEST):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    remove_half_written(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["c.png", MANIFEST]
