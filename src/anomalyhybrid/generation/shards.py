"""Which part of a set's work list one of several processes does (ADR-018); free of torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from anomalyhybrid.errors import ConfigError
from anomalyhybrid.torchrun import read_place

T = TypeVar("T")

SHARDS = ".shards"
"""Folder in a set that is being made by several processes; it goes when the set is put together."""
MOST_SHARDS = 512
"""All parts are open at once when they are put together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One of several processes that make a set together: it makes every `of`-th chunk of the work list.

    Raises:
        ConfigError: Numbers that are no such part.
    """

    number: int
    """From 1 to `of`."""
    of: int
    """How many there are."""

    def __post_init__(self) -> None:
        if not 1 <= self.of <= MOST_SHARDS:
            raise ConfigError(f"shard {self}: a set is made in 1 to {MOST_SHARDS} shards; make several sets for more")
        if not 1 <= self.number <= self.of:
            raise ConfigError(f"shard {self}: the first number must lie between 1 and {self.of}")

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``2/8``.

        Raises:
            ConfigError: It is none.
        """
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
        if found is None:
            raise ConfigError(f"--shard is {text!r}; give two whole numbers like 2/8: the second of eight shards")
        return cls(number=int(found[1]), of=int(found[2]))

    @property
    def part(self) -> str:
        """Path in the set of the rows that are made so far."""
        return f"{SHARDS}/part-{self.number}-of-{self.of}.jsonl"

    @property
    def complete(self) -> str:
        """Path in the set of all rows of the shard, in work order."""
        return f"{SHARDS}/complete-{self.number}-of-{self.of}.jsonl"

    @property
    def lock(self) -> str:
        """Path in the set of the lock that the process holds that makes the shard."""
        return f"{SHARDS}/part-{self.number}-of-{self.of}.lock"

    def share(self, chunks: Iterable[T]) -> Iterator[T]:
        """Those chunks of a work list that this shard makes."""
        return islice(chunks, self.number - 1, None, self.of)


def shard_of_environment(environment: Mapping[str, str] = os.environ) -> tuple[Shard, int] | None:
    """What torchrun tells a process; None outside of it.

    Returns:
        The shard, which is 1/1 of a single process, and the process's number on its machine.

    Raises:
        ConfigError: Variables that are incomplete or no such numbers.
    """
    place = read_place(environment=environment)
    return None if place is None else (Shard(number=place.rank + 1, of=place.count), place.local)
