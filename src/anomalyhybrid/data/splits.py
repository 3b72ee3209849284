"""Splits: which real defects generation may learn from, and which it is tested on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from anomalyhybrid.data.files import natural_key, raise_problems
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.seeding import derive

Variant = Literal["sorted", "random"]


def base_split(
    records: Iterable[Record], *, variant: Variant, seed: int, groups: Mapping[Path, int] | None = None
) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """Split a data folder's records into the base set and the test set (PROTOCOL: Split).

    Of each (category, defect) the first ``len // 3`` images, at least one, are base: first in natural order
    of their names (``sorted``, AnomalyDiffusion) or after a seeded shuffle (``random``, the paper). The other
    defects and the good test images are the test set; good training images are on neither side.

    With groups, near-duplicates stay on one side: in the same order, whole groups are taken, by their first images,
    until that number is reached, but never the last group of a type. Without near-duplicates that is the same split.
    A type that is one group alone (`undivided`) has to be split through the group, as without groups.

    Args:
        records: Records in any order; the order does not change the result.
        variant: ``sorted`` or ``random``.
        seed: Root seed of the shuffle; not used by ``sorted``.
        groups: Number of the original of each defect, by its path (`near_duplicates.duplicate_groups`).

    Returns:
        ``(base, test)``, each in natural order of category, defect and path.

    Raises:
        ConfigError: Unknown variant.
        DataError: A file occurs twice, so that it could be on both sides.
    """
    if variant not in ("sorted", "random"):
        raise ConfigError(f"split variant {variant!r} is not known; use 'sorted' or 'random'")
    types: dict[tuple[str, str], list[Record]] = defaultdict(list)
    test: list[Record] = []
    for record in records:
        if not record.is_good:
            types[record.category, record.defect].append(record)
        elif record.split == "test":
            test.append(record)
    base: list[Record] = []
    for (category, defect), members in types.items():
        ordered = sorted(members, key=lambda record: natural_key(record.relative))
        if variant == "random":
            order = np.random.default_rng(derive(seed, "base_split", category, defect)).permutation(len(ordered))
            ordered = [ordered[index] for index in order]
        taken = _taken(ordered, groups)
        base += [record for record in ordered if record.path in taken]
        test += [record for record in ordered if record.path not in taken]
    _check_disjoint([*base, *test])
    return tuple(sorted(base, key=_order)), tuple(sorted(test, key=_order))


def undivided(records: Iterable[Record], groups: Mapping[Path, int]) -> tuple[str, ...]:
    """Name the types, as ``category/defect``, of several images that all show one original.

    `base_split` splits these through their one group, so their base and test images show the same defect.
    """
    types: dict[str, list[int]] = defaultdict(list)
    for record in records:
        if not record.is_good:
            types[f"{record.category}/{record.defect}"].append(groups[record.path])
    return tuple(name for name, numbers in types.items() if len(numbers) > 1 and len(set(numbers)) == 1)


def _taken(ordered: Sequence[Record], groups: Mapping[Path, int] | None) -> set[Path]:
    """Paths of the base images of one type, whose images come in the order of the variant."""
    count = max(len(ordered) // 3, 1)
    parts: dict[int, list[Path]] = defaultdict(list)
    for record in ordered:
        parts[len(parts) if groups is None else groups[record.path]].append(record.path)
    if len(parts) == 1:
        return {record.path for record in ordered[:count]}
    taken: list[Path] = []
    for part in list(parts.values())[:-1]:
        if len(taken) < count:
            taken += part
    return set(taken)


def _order(record: Record) -> tuple[object, ...]:
    return natural_key(record.category), natural_key(record.defect), natural_key(record.relative)


def _check_disjoint(records: list[Record]) -> None:
    counts: Counter[Path] = Counter(record.path.resolve() for record in records)
    twice = [f"{path} ({count} times)" for path, count in counts.items() if count > 1]
    raise_problems("the same file occurs more than once, so base and test set could overlap:", twice)
