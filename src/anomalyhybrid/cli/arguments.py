"""Arguments that several commands share: folders given, and paths made absolute."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from anomalyhybrid.errors import ConfigError, DataError

Folders = Annotated[list[Path], Parameter(consume_multiple=True, negative_iterable=())]
Flag = Annotated[bool, Parameter(negative=())]


def given_folders(data: Sequence[Path] | None) -> list[Path]:
    if not data:
        raise ConfigError("no data folder given; name one as an argument, or as 'data: [FOLDER]' in --config")
    return expanded(data)


def expanded(folders: Sequence[Path] | None) -> list[Path]:
    return [folder.expanduser() for folder in folders or ()]


def expanded_one(folder: Path | None) -> Path | None:
    return None if folder is None else folder.expanduser()


def absolute(path: str) -> str:
    """A path in text, absolute and with ``~`` expanded, so that records of it hold in any folder; empty stays so."""
    return os.path.abspath(Path(path).expanduser()) if path else ""


def check_output(out: Path) -> Path:
    """Find out before long work that an output folder cannot be written.

    Args:
        out: The folder; it need not exist.

    Returns:
        Its absolute path, ``~`` expanded.

    Raises:
        DataError: It is a file, or the user may not write there.
    """
    out = Path(os.path.abspath(out.expanduser()))
    if out.exists() and not out.is_dir():
        raise DataError(f"output {out} is a file; give a folder")
    nearest = next(folder for folder in (out, *out.parents) if folder.exists())
    if not nearest.is_dir():
        raise DataError(f"output {out} lies below the file {nearest}; give another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise DataError(f"output {out} cannot be written: {nearest} is read-only for this user; give another folder")
    return out
