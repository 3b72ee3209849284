"""A set that several processes make together: each its part, and the last one puts the parts together (ADR-018)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TypeVar

from anomalyhybrid.backends.choice import BACKEND
from anomalyhybrid.data.files import make_folder, write_pieces_atomic
from anomalyhybrid.data.locks import locked, require_locks
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.generation.additions import APPENDED
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import DATASET, MANIFEST, SUMMARY, Row, iter_rows, read_dataset, to_line
from anomalyhybrid.generation.shards import SHARDS, Shard
from anomalyhybrid.generation.work_order import WorkOrder
from anomalyhybrid.recipes.description import (
    check_beginning,
    check_same_set,
    remove_half_written,
    write_description,
)

T = TypeVar("T")
_LOCK = f"{SHARDS}/set.lock"  # held while a shard is begun, or the set put together: no part appears or goes meanwhile
_PART = re.compile(r"(?:part|complete)-(\d+)-of-(\d+)\.jsonl")


def check_shardable(config: GenerateConfig, *, append: bool) -> None:
    """Refuse what cannot be made in shards.

    Raises:
        ConfigError: The quality gate is on, images are to be added to a set, or this system has no file locks.
    """
    if config.gate == "on":
        raise ConfigError(
            "generate.gate is 'on', which replaces rejected images by the next numbers in the order of the whole set, "
            "so that shards cannot know theirs; generate in one process, or leave the gate off"
        )
    if append:
        raise ConfigError("--append adds to a set in one process; leave the shards out, or make another set")
    require_locks()


def check_before_start(out: Path, config: GenerateConfig, *, resume: bool) -> None:
    """Refuse at once, before any process is started, what all shards would refuse.

    Args:
        out: Folder of the set; with `resume` a new one too.
        config: Settings.
        resume: Whether shards that are begun are to be finished.

    Raises:
        ConfigError: As `check_shardable`.
        DataError: The folder holds a set already, or with `resume` a selection.
    """
    check_shardable(config, append=False)
    if not resume or (out / DATASET).is_file():
        check_beginning(out, (MANIFEST, DATASET), resume=resume)


def read_description(out: Path) -> dict | None:
    """What a set says of itself; None of one that is not begun."""
    return read_dataset(out) if (out / DATASET).is_file() else None


@contextmanager
def held_shard(out: Path, shard: Shard, description: dict, *, resume: bool) -> Iterator[dict]:
    """Hold a shard, of a set that it begins or that others have begun.

    Its rows so far are in `Shard.part` then.

    Args:
        out: Folder of the set.
        shard: The shard.
        description: What the set says.
        resume: Whether the shard may be begun already; unlike a set's, it need not be.

    Yields:
        What `dataset.json` says; with `SUMMARY` where the set is finished, and nothing is held.

    Raises:
        DataError: The folder holds another set, one that was begun in one process or in another number of shards, or
            the shard is begun already or being made; or it was added to, and that is not finished.
    """
    with ExitStack() as stack:
        with locked(out / _LOCK):
            about = read_description(out)
            if about is not None and SUMMARY in about:
                _remove_shards(out)
                if not resume:
                    raise DataError(f"{out} already holds a finished set; give another --out, or --resume to check it")
            else:
                _check_kind(out, about, shard)
                if about is not None:
                    _check_same(out, about, description)
                if not stack.enter_context(locked(out / shard.lock, wait=False)):
                    raise DataError(f"shard {shard} of {out} is being made by another process; wait for it, or end it")
                _open_part(out, shard, resume)  # before the description, which alone would be of one process's set
                if about is None:
                    write_description(out, description)
                    about = description
        yield about


def _check_kind(out: Path, about: dict | None, shard: Shard) -> None:
    """Refuse a set that was begun in one process or in other shards, or is being added to; its lock is held."""
    parts, appended = _parts(out), APPENDED in (about or {})
    if about is not None and (appended or not parts):
        _remove_shards(out)  # the lock's folder; with parts, of a set that they made
        what, how = ("added to", "--append --resume") if appended else ("begun", "--resume alone")
        raise DataError(f"{out} was {what} in one process; finish it with {how}, or give another --out")
    others = {int(found[2]) for found in parts} - {shard.of}
    if others:
        raise DataError(
            f"{out} was begun in {others.pop()} shards, but this is {shard}; give the same number, or finish it in one "
            "process with --resume alone"
        )


def _check_same(out: Path, about: dict, description: dict) -> None:
    check_same_set(out, about, description)
    for entry in ("versions", BACKEND):
        if about[entry] != description[entry]:
            raise DataError(
                f"{out} was begun with {about[entry]}, and this process has {description[entry]}; all shards of a set "
                "need the same, or its images would differ"
            )


def _parts(out: Path) -> list[re.Match[str]]:
    """The files of rows of all shards that were begun."""
    found = (_PART.fullmatch(path.name) for path in sorted((out / SHARDS).glob("*.jsonl")))
    return [one for one in found if one is not None]


def _open_part(out: Path, shard: Shard, resume: bool) -> None:
    """Leave a shard's rows so far in its part, so that it does not count as complete while it is worked on."""
    part, complete = out / shard.part, out / shard.complete
    if not resume and (part.exists() or complete.exists()):
        raise DataError(f"shard {shard} of {out} was begun already; go on with --resume, or give another --out")
    if complete.exists():
        complete.replace(part)
    part.touch()


def put_together(out: Path, order: WorkOrder, of: int, summarise: Callable[[], Mapping]) -> dict | None:
    """Make the set of its parts, if all are complete; the process that comes first does it, others wait for it.

    Killed meanwhile, the parts are still there, and any shard's --resume does it again.

    Args:
        out: Folder of the set.
        order: The work list.
        of: How many shards there are.
        summarise: Counts the manifest, when it is written.

    Returns:
        The summary; None while a part is missing.

    Raises:
        DataError: A part does not hold the images of its shard.
    """
    if not (out / SHARDS).is_dir():  # put together, or taken over by one process
        return (read_description(out) or {}).get(SUMMARY)
    with locked(out / _LOCK):
        about = read_description(out) or {}
        if SUMMARY in about:  # another process has put it together
            _remove_shards(out)
            return about[SUMMARY]
        shards = [Shard(number=number, of=of) for number in range(1, of + 1)]
        if not all((out / shard.complete).is_file() for shard in shards):
            return None
        write_pieces_atomic(out / MANIFEST, (to_line(row).encode() for row in _in_turn(out, order, shards)))
        remove_half_written(out)
        summary = dict(summarise())
        write_description(out, about | {SUMMARY: summary})
        _remove_shards(out)
        return summary


def _remove_shards(out: Path) -> None:
    """Remove the parts and at last the set's lock, which is held: until then no other process comes in."""
    for path in (out / SHARDS).iterdir():
        if path != out / _LOCK:
            with suppress(OSError):
                path.unlink()
    shutil.rmtree(out / SHARDS, ignore_errors=True)


def missing_shards(out: Path, of: int) -> int:
    """How many shards of a set are not complete."""
    return sum(not (out / Shard(number=number, of=of).complete).is_file() for number in range(1, of + 1))


def _in_turn(out: Path, order: WorkOrder, shards: Sequence[Shard]) -> Iterator[Row]:
    """Rows of complete shards in work order, a row at a time."""
    parts = [iter_rows(out, shard.complete) for shard in shards]
    for number, chunk in enumerate(order.chunks()):
        shard = number % len(shards)
        category, is_defect, numbers = chunk
        for index in numbers:
            row = next(parts[shard], None)
            if row is None or order.place_of(row) != order.place(category, is_defect, index):
                raise _damaged(out, shards[shard])
            yield row
    for shard, part in zip(shards, parts, strict=True):
        if next(part, None) is not None:
            raise _damaged(out, shard)


def _damaged(out: Path, shard: Shard) -> DataError:
    return DataError(
        f"{out / shard.complete} does not hold the rows of shard {shard}; delete it and run that shard with --resume"
    )


def take_over(out: Path) -> None:
    """Put what shards have made so far into the manifest, so that one process can finish the set, or add to it.

    A set without shards is left as it is; parts of one that was finished, whose rows its manifest has, are removed.

    Raises:
        ConfigError: This system has no file locks.
        DataError: A process is still making one of them.
    """
    if not (out / SHARDS).is_dir():
        return
    require_locks()
    with locked(out / _LOCK):
        about = read_description(out) or {}
        if SUMMARY not in about and APPENDED not in about:
            parts = {found[0]: Shard(number=int(found[1]), of=int(found[2])) for found in _parts(out)}
            for shard in parts.values():
                with locked(out / shard.lock, wait=False) as free:
                    if not free:
                        raise DataError(f"shard {shard} of {out} is still being made; wait for it, or end its process")
            names = [MANIFEST] * (out / MANIFEST).is_file() + [f"{SHARDS}/{name}" for name in parts]
            rows = chain.from_iterable(iter_rows(out, name) for name in names)
            write_pieces_atomic(out / MANIFEST, (to_line(row).encode() for row in rows))
        _remove_shards(out)


def after_the_first(out: Path, cache: Path, prepare: Callable[[], T]) -> T:
    """Prepare a shard, alone where no shard of the set has been prepared yet.

    The first one stores the condition maps and the others read them, side by side: the work is done once, and all have
    the same maps.

    Args:
        out: Folder of the set, which holds `SHARDS`.
        cache: Folder of condition maps; sets that use the same one take turns at it.
        prepare: Loads images and maps.
    """
    ready = out / SHARDS / "maps_are_stored"
    with locked(make_folder(cache) / ".preparing.lock"):
        if not ready.exists():
            prepared = prepare()
            ready.touch()
            return prepared
    return prepare()
