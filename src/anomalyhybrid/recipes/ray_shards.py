"""A set made by the machines of a Ray cluster: Ray Data maps `generate` over the shards (ADR-018). Needs ``[ray]``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anomalyhybrid.errors import AnomalyHybridError, ConfigError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import SUMMARY
from anomalyhybrid.generation.shards import Shard
from anomalyhybrid.recipes.generation import generate
from anomalyhybrid.recipes.sharding import check_before_start, read_description


def generate_on_ray(
    shards: int,
    run: str,
    data: Sequence[Path],
    out: Path,
    *,
    base_set: Sequence[Path] = (),
    config: GenerateConfig,
    resume: bool = False,
    skip_unreadable: bool = False,
    cache: Path | None = None,
    cpus: float = 1,
    gpus: float = 0,
) -> dict:
    """Generate a data set on a Ray cluster that `ray.init` has joined, or on this machine.

    All machines see `run`, `data` and `out` under the same paths. Ray runs a shard again whose machine is lost; it goes
    on where that one stopped.

    Args:
        shards: In how many parts; more than there are workers balance the load.
        run, data, out, base_set, config, skip_unreadable, cache: As for `generate`.
        resume: Finish a set that was begun in as many shards.
        cpus: CPUs that a shard takes.
        gpus: GPUs that a shard takes; Ray shows it only these.

    Returns:
        The summary that `dataset.json` keeps.

    Raises:
        ConfigError: Ray is not installed, or no such number of shards.
        AnomalyHybridError: What a shard raised.
    """
    try:
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError("Ray is not installed; install it with: pip install 'anomalyhybrid[ray]'") from error
    Shard(number=1, of=shards)
    check_before_start(out, config, resume=resume)

    def make(row: dict[str, Any]) -> dict[str, Any]:
        shard = Shard(number=int(row["id"]) + 1, of=shards)
        try:
            generate(
                run, data, out,
                base_set=base_set, config=config, resume=True, skip_unreadable=skip_unreadable, shard=shard,
                cache=cache, announce=print,
            )  # fmt: skip
        except AnomalyHybridError as error:  # told by value: doing it again would not help
            return {"failed": f"shard {shard}: {error}"}
        return {"failed": ""}

    parts = ray.data.range(shards, override_num_blocks=shards)
    for row in parts.map(make, num_cpus=cpus, num_gpus=gpus).take_all():
        if row["failed"]:
            raise AnomalyHybridError(row["failed"])
    return (read_description(out) or {})[SUMMARY]
