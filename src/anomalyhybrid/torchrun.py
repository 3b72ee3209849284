"""What torchrun tells each of the processes that it starts; free of torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anomalyhybrid.errors import ConfigError

VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_LEAST = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1, "MASTER_PORT": 1}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process stands among those that were started together.

    Attributes:
        rank: Its number, from 0.
        local: Its number on its machine, from 0.
        count: How many there are.
    """

    rank: int
    local: int
    count: int


def read_place(
    needed: Sequence[str] = ("RANK", "LOCAL_RANK", "WORLD_SIZE"), environment: Mapping[str, str] = os.environ
) -> Place | None:
    """Read the variables that torchrun sets.

    Args:
        needed: Variables that several processes need; the default ones among them.
        environment: The variables.

    Returns:
        None outside of torchrun: without WORLD_SIZE, or where it is 1 and RANK or LOCAL_RANK is missing.

    Raises:
        ConfigError: One of several processes lacks some of them, or one that is given is no such number.
    """
    numbers = {name: _number(name, environment[name]) for name in _LEAST if environment.get(name)}
    told = environment.get("WORLD_SIZE")
    if told is None:
        return None
    missing = [name for name in needed if not environment.get(name)]
    count = numbers.get("WORLD_SIZE", 0)
    if count == 1 and ("RANK" not in numbers or "LOCAL_RANK" not in numbers):
        return None
    if missing and count != 1:
        raise ConfigError(
            f"WORLD_SIZE is {told!r}, but {', '.join(missing)} is not set; start several processes "
            "with torchrun, or unset WORLD_SIZE to work in one"
        )
    if numbers["RANK"] >= count:
        raise ConfigError(f"RANK is {numbers['RANK']}, but WORLD_SIZE is {count}; give ranks from 0 to {count - 1}")
    return Place(numbers["RANK"], numbers["LOCAL_RANK"], count)


def _number(name: str, text: str) -> int:
    least = _LEAST[name]
    most = 65535 if name == "MASTER_PORT" else None
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < least or (most is not None and number > most):
        allowed = f"from {least} to {most}" if most else f"from {least}"
        raise ConfigError(
            f"{name} is {text!r} in the environment; torchrun sets a whole number {allowed}: unset it, or use torchrun"
        )
    return number
