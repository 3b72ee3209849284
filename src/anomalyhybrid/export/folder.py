"""Which folder an export, or what else is made of a set, may be written to."""

from __future__ import annotations

from pathlib import Path

from anomalyhybrid.errors import DataError

RECORD = "export.json"
"""File in every export that says what it was made from; a folder without it is never replaced."""


def check_target(dataset: Path, out: Path, *, overwrite: bool, record: str = RECORD, what: str = "export") -> None:
    """Refuse an output folder that must not be written.

    Args:
        dataset: Folder of the set.
        out: Folder of the export.
        overwrite: Whether an earlier export in it may be replaced.
        record: File that every export has.
        what: What an export is called.

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
        raise DataError(f"{out} already holds files; replace an earlier {what} with --overwrite or give another --out")
    if not (there / record).is_file():
        raise DataError(
            f"{out} holds files but no {record}, so no {what} made it, and --overwrite would delete them; "
            "give another --out"
        )
