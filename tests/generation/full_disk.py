"""A disk that fills: the n-th file that is written gets half of its content, then the error of the system."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from anomalyhybrid.data import files


class Disk:
    """Counts files that the package opens for writing, and fails when there is room for no more."""

    def __init__(self, room: int | None) -> None:
        self.room = room
        self.written = 0

    def open(self, path: Any, mode: str = "r", **more: Any) -> Any:
        """In place of the package's `open`."""
        stream = open(path, mode, **more)  # noqa: SIM115 -- the caller closes it
        if mode.startswith("r"):
            return stream
        self.written += 1
        return _Full(stream) if self.room is not None and self.written > self.room else stream


class _Full:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, content: Any) -> None:
        self._stream.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *given: object) -> None:
        self._stream.close()


@contextmanager
def disk(room: int | None = None) -> Iterator[Disk]:
    """Let the package write to a disk with room for so many more files; None for one that only counts."""
    made = Disk(room)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "open", made.open, raising=False)
        yield made
