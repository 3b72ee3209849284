"""Splits: PROTOCOL's base set and test set."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from anomalyhybrid.data.records import Record, Split
from anomalyhybrid.data.splits import base_split, undivided
from anomalyhybrid.errors import ConfigError, DataError


def _record(category: str, split: Split, defect: str, index: int) -> Record:
    relative = f"{category}/{split}/{defect}/{index}.png"
    path = Path("/nowhere") / relative
    mask = None if defect == "good" else path.with_name(f"{index}_mask.png")
    return Record(path=path, relative=relative, category=category, defect=defect, mask_path=mask, split=split)


@pytest.fixture
def records() -> list[Record]:
    counts = {("train", "good"): 5, ("test", "good"): 3, ("test", "dent"): 11, ("test", "hole"): 2}
    return [
        _record(category, split, defect, index)
        for category in ("nut", "bolt")
        for (split, defect), count in counts.items()
        for index in range(count)
    ]


@pytest.mark.parametrize("variant", ["sorted", "random"])
def test_thirds_of_each_type(records: list[Record], variant: str) -> None:
    base, test = base_split(records, variant=variant, seed=0)  # type: ignore[arg-type]
    counts = Counter((record.category, record.defect) for record in base)
    assert counts == {(category, *pair): n for category in ("nut", "bolt") for *pair, n in [("dent", 3), ("hole", 1)]}
    assert not {record.path for record in base} & {record.path for record in test}
    assert len(test) == 2 * (3 + 8 + 1)
    assert len(base) + len(test) == len(records) - 2 * 5
    assert all(record.split == "test" for record in test)


def test_sorted_takes_the_lowest_numbers(records: list[Record]) -> None:
    base, _ = base_split(records, variant="sorted", seed=0)
    names = [record.path.name for record in base if record.category == "nut" and record.defect == "dent"]
    assert names == ["0.png", "1.png", "2.png"]


def test_random_depends_on_seed_alone(records: list[Record]) -> None:
    first = base_split(records, variant="random", seed=1)
    assert first == base_split(records[::-1], variant="random", seed=1)
    assert first != base_split(records, variant="random", seed=2)


def test_types_are_drawn_independently(records: list[Record]) -> None:
    alone, _ = base_split([r for r in records if r.category == "nut"], variant="random", seed=1)
    both, _ = base_split(records, variant="random", seed=1)
    assert alone == tuple(record for record in both if record.category == "nut")


def test_a_type_of_one_image_is_base(records: list[Record]) -> None:
    base, test = base_split([_record("nut", "test", "dent", 0)], variant="sorted", seed=0)
    assert (len(base), len(test)) == (1, 0)


def test_overlap_is_an_error(records: list[Record]) -> None:
    twice = replace(records[-1], defect="dent", relative="elsewhere.png")
    with pytest.raises(DataError, match=r"1\.png \(2 times\)"):
        base_split([*records, twice], variant="sorted", seed=0)


def test_unknown_variant(records: list[Record]) -> None:
    with pytest.raises(ConfigError, match="'first' is not known; use 'sorted' or 'random'"):
        base_split(records, variant="first", seed=0)  # type: ignore[arg-type]


def _grouped(numbers: list[int]) -> tuple[list[Record], dict[Path, int]]:
    records = [_record("nut", "test", "dent", index) for index in range(len(numbers))]
    return records, {record.path: number for record, number in zip(records, numbers, strict=True)}


@pytest.mark.parametrize(
    ("numbers", "base"),
    [
        ([0, 1, 2, 3, 4, 5], [0, 1]),  # without near-duplicates: the first third
        ([0, 1, 0, 2, 3, 4], [0, 2]),  # the first image's group is the third
        ([0, 1, 1, 2, 1, 3], [0, 1, 2, 4]),  # whole groups until the third is reached
        ([0, 1, 1, 1, 1, 1], [0]),  # the last group stays for the test side
        ([0, 0, 0, 0, 0, 1], [0, 1, 2, 3, 4]),
        ([7, 7, 7, 7, 7, 7], [0, 1]),  # one group alone has to be split
        ([5], [0]),
    ],
)
def test_whole_groups_are_taken(numbers: list[int], base: list[int]) -> None:
    records, groups = _grouped(numbers)
    for given in (records, records[::-1]):
        found, test = base_split(given, variant="sorted", seed=0, groups=groups)
        assert [int(record.path.stem) for record in found] == base
        assert len(test) == len(records) - len(base)


@pytest.mark.parametrize("variant", ["sorted", "random"])
def test_single_groups_change_nothing(records: list[Record], variant: str) -> None:
    groups = {record.path: number for number, record in enumerate(records)}
    plain = base_split(records, variant=variant, seed=3)  # type: ignore[arg-type]
    assert base_split(records, variant=variant, seed=3, groups=groups) == plain  # type: ignore[arg-type]


def test_undivided_types_are_named() -> None:
    records, groups = _grouped([4, 4, 4])
    other = _record("bolt", "test", "hole", 0)
    assert undivided([*records, other], groups | {other.path: 5}) == ("nut/dent",)
    assert undivided(records, _grouped([4, 4, 1])[1]) == ()
