"""Flags of a set that several processes make together: --shard, --processes, or torchrun around the command."""

from __future__ import annotations

from collections.abc import Mapping

from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.shards import MOST_SHARDS, Shard, shard_of_environment


def chosen_shard(
    shard: str, processes: int, mode: str, others: Mapping[str, bool], *, gate: bool = False
) -> tuple[Shard | None, int]:
    """Which part of a set this process makes, and in how many processes of its own.

    Args:
        shard: As given; empty for none.
        processes: As given.
        mode: ``local``, ``global`` or ``depth``.
        others: Flags that go with no shard, and whether they are given; --overwrite goes with --processes.
        gate: Whether the quality gate is on, which goes with no shard either.

    Returns:
        ``(shard, processes)``; a shard of None is the whole set.

    Raises:
        ConfigError: Values that are none, or flags that exclude each other.
    """
    if not 1 <= processes <= MOST_SHARDS:
        raise ConfigError(f"--processes is {processes}; give 1 to {MOST_SHARDS}")
    own, of_torchrun = (Shard.parse(shard) if shard else None), shard_of_environment()
    if of_torchrun is not None and of_torchrun[0].of == 1:  # a single process does what goes with no shard
        of_torchrun = None if own or processes > 1 or mode != "local" or gate or any(others.values()) else of_torchrun
    asked = [("--shard", own), ("--processes", processes > 1), ("torchrun", of_torchrun)]
    ways = [name for name, given in asked if given]
    if len(ways) > 1:
        raise ConfigError(f"{ways[0]} and {ways[1]} both share a set among processes; leave one of them out")
    if not ways:
        return None, 1
    if mode != "local":
        flag = {"global": "--global", "depth": "--depth-run"}[mode]
        raise ConfigError(f"{ways[0]} has no meaning with {flag}: such sets are made in one process; leave one out")
    wrong = [flag for flag, given in others.items() if given and (flag, ways[0]) != ("--overwrite", "--processes")]
    if wrong:
        raise ConfigError(f"{ways[0]} has no meaning with {wrong[0]}, which one process does; leave one of them out")
    if of_torchrun is not None:
        from anomalyhybrid.recipes.local_processes import use_gpu

        own, local = of_torchrun
        use_gpu(local)
    return own, processes
