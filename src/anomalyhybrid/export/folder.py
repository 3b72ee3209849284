"""The folder of an export: it appears under its name when everything in it is written, and not before."""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anomalyhybrid.data.files import make_folder
from anomalyhybrid.errors import DataError

RECORD = "export.json"
"""File in every export that says what it was made from; a folder without it is never replaced."""


def check_target(dataset: Path, out: Path, *, overwrite: bool) -> None:
    """Refuse an output folder that must not be written.

    Args:
        dataset: Folder of the set.
        out: Folder of the export.
        overwrite: Whether an earlier export in it may be replaced.

    Raises:
        DataError: It is a file, holds anything (with `overwrite`: anything but an export), or one folder lies in the
            other.
    """
    here, there = dataset.resolve(), out.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise DataError(f"{out} and the set {dataset} lie inside each other; give another --out")
    if not there.exists():
        return
    if not there.is_dir():
        raise DataError(f"output {out} is a file; give a folder")
    if not any(there.iterdir()):
        return
    if not overwrite:
        raise DataError(f"{out} already holds files; replace an earlier export with --overwrite or give another --out")
    if not (there / RECORD).is_file():
        raise DataError(
            f"{out} holds files but no {RECORD}, so no export made it, and --overwrite would delete them; "
            "give another --out"
        )


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a hidden folder beside `out` to write to; at the end it takes the name, and what was there is deleted.

    After an error or Ctrl-C it is removed and `out` is as before. A killed process leaves a ``.tmp-*`` folder, which
    nothing reads.

    Args:
        out: Folder of the export, checked by `check_target`.

    Raises:
        DataError: Disk full, no permission, or the folder cannot be put in place.
    """
    out = out.resolve()
    making, aside = (out.parent / f".tmp-{uuid.uuid4().hex}" for _ in range(2))
    try:
        make_folder(making)
        yield making
        _put_in_place(making, out, aside)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full (or its quota used up); free some space" if full else error.strerror or str(error)
        raise DataError(f"{out} cannot be written: {reason}; nothing of the export was kept") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _put_in_place(making: Path, out: Path, aside: Path) -> None:
    if out.exists():
        out.rename(aside)
    try:
        making.rename(out)
    except OSError:
        if aside.exists():
            aside.rename(out)
        raise
    shutil.rmtree(aside, ignore_errors=True)
