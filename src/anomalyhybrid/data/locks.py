"""Locks between processes that share a folder; a killed process holds none."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from anomalyhybrid.data.files import write_error
from anomalyhybrid.errors import ConfigError, DataError

try:
    import fcntl
except ImportError:  # Windows: processes are not kept apart, unless `require_locks` is asked
    fcntl = None

_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_TRIES = 100  # for a folder that other processes remove between its making and the opening of a file in it


def require_locks() -> None:
    """Refuse what would be wrong, not only done twice, if processes were not kept apart.

    Raises:
        ConfigError: This system has no locks that a killed process gives back.
    """
    if fcntl is None:
        raise ConfigError(
            "this system has no file locks (flock), by which several processes that make one set are kept apart; make "
            "the set in one process"
        )


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock while the context lasts; a system without locks grants it to all (see `require_locks`).

    Args:
        path: The lock's file; it is made, and stays. The one that holds it may delete it, with its folder: those that
            wait for it take a new one.
        wait: Wait for another process that holds it.

    Returns:
        Whether the lock is held; False only without waiting.

    Raises:
        DataError: The folder or the file cannot be made, or its file system has no locks.
    """
    while True:
        with _opened(path) as file:
            if not _acquire(file, path, wait):
                yield False
                return
            if _is_at(file, path):
                yield True
                return


def _opened(path: Path) -> IO[str]:
    """Open a lock's file, in a folder that others may be removing."""
    for left in reversed(range(_TRIES)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return open(path, "a", encoding="utf-8")
        except OSError as error:
            if not (left and isinstance(error, FileNotFoundError | FileExistsError)):
                raise write_error(path, error) from error
    raise AssertionError


def _acquire(file: IO[str], path: Path, wait: bool) -> bool:
    """Lock an open file; False where another holds it and is not waited for."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _WITHOUT_LOCKS:
            raise DataError(
                f"the file system of {path.parent} has no file locks (flock: {error.strerror}), by which processes are "
                "kept apart; use a folder of another file system"
            ) from error
        raise
    return True


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether the path still names the open file, and no other one or none."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
