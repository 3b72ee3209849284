"""Splits: which real defects generation may learn from, and which it is tested on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from anomalyhybrid.data.files import natural_key, raise_problems
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.seeding import derive

Variant = Literal["sorted", "random"]


def base_split(
    records: Iterable[Record], *, variant: Variant, seed: int
) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """Split a data folder's records into the base set and the test set (PROTOCOL: Split).

    Of each (category, defect) the first ``len // 3`` images, at least one, are base: first in natural order
    of their names (``sorted``, AnomalyDiffusion) or after a seeded shuffle (``random``, the paper). The other
    defects and the good test images are the test set; good training images are on neither side.

    Args:
        records: Records in any order; the order does not change the result.
        variant: ``sorted`` or ``random``.
        seed: Root seed of the shuffle; not used by ``sorted``.

    Returns:
        ``(base, test)``, each in natural order of category, defect and path.

    Raises:
        ConfigError: Unknown variant.
        DataError: A file occurs twice, so that it could be on both sides.
    """
    if variant not in ("sorted", "random"):
        raise ConfigError(f"split variant {variant!r} is not known; use 'sorted' or 'random'")
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    test: list[Record] = []
    for record in records:
        if not record.is_good:
            groups[record.category, record.defect].append(record)
        elif record.split == "test":
            test.append(record)
    base: list[Record] = []
    for (category, defect), group in groups.items():
        ordered = sorted(group, key=lambda record: natural_key(record.relative))
        if variant == "random":
            order = np.random.default_rng(derive(seed, "base_split", category, defect)).permutation(len(ordered))
            ordered = [ordered[index] for index in order]
        count = max(len(ordered) // 3, 1)
        base += ordered[:count]
        test += ordered[count:]
    _check_disjoint([*base, *test])
    return tuple(sorted(base, key=_order)), tuple(sorted(test, key=_order))


def _order(record: Record) -> tuple[object, ...]:
    return natural_key(record.category), natural_key(record.defect), natural_key(record.relative)


def _check_disjoint(records: list[Record]) -> None:
    counts: Counter[Path] = Counter(record.path.resolve() for record in records)
    twice = [f"{path} ({count} times)" for path, count in counts.items() if count > 1]
    raise_problems("the same file occurs more than once, so base and test set could overlap:", twice)
