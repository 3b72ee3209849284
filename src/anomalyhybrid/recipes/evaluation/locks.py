"""Locks between processes that share an output folder; a killed process holds none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from anomalyhybrid.data.files import make_folder

try:
    import fcntl
except ImportError:  # Windows: processes are not kept apart; they may do the same work twice, never half
    fcntl = None


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock while the context lasts.

    Args:
        path: The lock's file; it is made, and stays.
        wait: Wait for another process that holds it.

    Returns:
        Whether the lock is held; False only without waiting.

    Raises:
        DataError: The folder cannot be made.
    """
    make_folder(path.parent)
    with open(path, "a", encoding="utf-8") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
        yield True
