"""A folder that appears under its name when everything in it is written, and takes the place of an earlier one."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anomalyhybrid.data.files import make_folder, write_error
from anomalyhybrid.errors import DataError


def making_folder(out: Path) -> Path:
    """The hidden folder beside `out` in which work that may go on later is done."""
    out = out.resolve()
    return out.with_name(f".{out.name}.anomalyhybrid-new")


@contextmanager
def new_folder(out: Path, making: Path | None = None) -> Iterator[Path]:
    """Give a hidden folder beside `out` to write to; at the end it takes the name, and what was there is deleted.

    After an error or Ctrl-C `out` is as before. A killed process leaves hidden folders, which nothing reads.

    Args:
        out: The folder to be; the caller has made sure that what it holds may go.
        making: Where to write, on the disk of `out`; it is kept after an error, so that work can go on in it. None for
            a new ``.tmp-*`` folder beside `out`, which is removed.

    Raises:
        DataError: Disk full, no permission, the folder cannot be put in place, or a process that was killed has put
            the earlier one aside.
    """
    out = out.resolve()
    aside = out.with_name(f".{out.name}.anomalyhybrid-old")
    if aside.exists() and not out.exists():
        raise DataError(f"a stopped process has left what was in {out} as {aside}; move it back, or delete it")
    shutil.rmtree(aside, ignore_errors=True)  # of a process killed after it had put the new folder in place
    folder = out.parent / f".tmp-{uuid.uuid4().hex}" if making is None else making
    try:
        make_folder(folder)
        yield folder
        _put_in_place(folder, out, aside)
    except OSError as error:
        raise write_error(out, error) from error
    finally:
        if making is None:
            shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(folder: Path, out: Path, aside: Path) -> None:
    """Rename the new folder to the old one's name; the old one is deleted only when the new one stands."""
    if out.exists():
        out.rename(aside)
    try:
        folder.rename(out)
    except BaseException:
        if aside.exists():
            aside.rename(out)
        raise
    shutil.rmtree(aside, ignore_errors=True)
