"""Files: listing images, paths that stay inside a root, writes that are all or nothing."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from anomalyhybrid.errors import DataError

T = TypeVar("T")

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Endings that are read, in any case."""

_SYSTEM_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "lost+found", ".ds_store"})
_MAX_LISTED = 10


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Make a sort key under which ``img2`` comes before ``img10``.

    Args:
        text: A file name or POSIX path.

    Returns:
        A tuple to sort by; distinct texts have distinct keys.
    """
    parts = re.split(r"([0-9]+)", text)
    key = [(0, int(part), "") if index % 2 else (1, 0, part) for index, part in enumerate(parts)]
    return (*key, (2, 0, text))


def is_hidden(name: str) -> bool:
    """Say whether a file or folder name is hidden or an operating system's own (``Thumbs.db``)."""
    return name.startswith(".") or is_system_name(name)


def is_system_name(name: str) -> bool:
    """Say whether an operating system made a file or folder for itself: nobody's data."""
    return name.lower() in _SYSTEM_NAMES


def is_image_name(name: str) -> bool:
    """Say whether a file name has one of the endings in ``IMAGE_SUFFIXES``."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def existing_folder(root: Path | str) -> Path:
    """Make a folder's path absolute and check that it can be listed.

    Args:
        root: Path of a folder; ``~`` is expanded, symbolic links keep their names.

    Returns:
        The absolute path.

    Raises:
        DataError: The folder does not exist, is a file or may not be read.
    """
    folder = Path(os.path.abspath(Path(root).expanduser()))
    if not folder.exists():
        raise DataError(f"{folder} does not exist; give the path of a folder of images")
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; give the path of the folder that holds the images")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DataError(f"{folder} may not be read by this user; change its permissions")
    return folder


def is_own_output(folder: Path) -> bool:
    """Say whether a folder is a generated set or a training run, whose images are no data of the folder around it.

    Args:
        folder: An existing folder.

    Returns:
        Whether it holds a run's checkpoint or generator (or, of a run that has none yet, ``config.yaml`` beside
        ``journal.jsonl``), or a set's ``dataset.json`` (told from a foreign file of
        that name by ``manifest.jsonl`` beside it or the key ``format`` in it).
    """
    if any(os.path.isfile(folder / name) for name in ("checkpoint.safetensors", "generator.safetensors")):
        return True
    if all(os.path.isfile(folder / name) for name in ("config.yaml", "journal.jsonl")):
        return True
    description = folder / "dataset.json"
    if not os.path.isfile(description):  # unlike Path.is_file, False where the folder may not be entered
        return False
    if os.path.isfile(folder / "manifest.jsonl"):
        return True
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "format" in content


def by_stem(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Group files by their names without suffix, in their order."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.stem, []).append(path)
    return groups


def list_folder(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """List one folder, leaving out hidden entries.

    Args:
        folder: An existing folder; a missing one counts as empty.

    Returns:
        ``(images, folders, others)``, each in natural order; images by their ending only. Generated sets and
        training runs are among the others, so that no reader enters them unless one is its root.

    Raises:
        DataError: The folder may not be listed.
    """
    images: list[Path] = []
    folders: list[Path] = []
    others: list[Path] = []
    if not folder.is_dir():
        return images, folders, others
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: natural_key(entry.name))
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror or error}") from error
    for entry in entries:
        if is_hidden(entry.name):
            continue
        if entry.is_dir():
            (others if is_own_output(entry) else folders).append(entry)
        else:
            (images if is_image_name(entry.name) else others).append(entry)
    return images, folders, others


def walk_images(root: Path) -> tuple[list[Path], list[Path]]:
    """List all images below a folder; links to folders are followed, each folder is visited once.

    Args:
        root: An existing folder.

    Returns:
        ``(images, others)`` in natural order of their paths; generated sets and training runs are others.

    Raises:
        DataError: A folder may not be listed.
    """
    images: list[Path] = []
    others: list[Path] = []
    seen: set[Path] = set()

    def visit(folder: Path) -> Iterator[Path]:
        real = folder.resolve()
        if real in seen:
            return
        seen.add(real)
        found, folders, rest = list_folder(folder)
        others.extend(rest)
        yield from found
        for child in folders:
            yield from visit(child)

    images.extend(visit(root))

    def key(path: Path) -> tuple[tuple[int, int, str], ...]:
        return natural_key(path.relative_to(root).as_posix())

    return sorted(images, key=key), sorted(others, key=key)


def resolve_inside(root: Path, relative: str) -> Path:
    """Turn a path that a manifest names into an absolute one that cannot leave the root.

    Args:
        root: Folder the manifest belongs to.
        relative: POSIX path as written in the manifest; the file need not exist.

    Returns:
        The absolute path, symbolic links resolved.

    Raises:
        DataError: The path is empty, absolute, or leads outside the root by ``..`` or a symbolic link.
    """
    if not relative or "\0" in relative:
        raise DataError(f"{relative!r} is no path; name a file below {root}")
    base = Path(root).resolve()
    if Path(relative).is_absolute() or re.match(r"[A-Za-z]:[\\/]|\\", relative):
        raise DataError(f"{relative!r} is an absolute path; name a file relative to {root}")
    try:
        resolved = (base / relative).resolve()
    except (OSError, RuntimeError) as error:
        raise DataError(f"{relative!r} cannot be followed below {root}: {error}") from error
    if not resolved.is_relative_to(base):
        raise DataError(f"{relative!r} leads outside {root} (to {resolved}); name a file inside it")
    return resolved


def raise_problems(summary: str, problems: Sequence[str]) -> None:
    """Raise one error for a list of problems; do nothing when the list is empty.

    Args:
        summary: What is wrong and what to do, in one line.
        problems: One line for each; the first ten are shown.

    Raises:
        DataError: There is a problem.
    """
    if not problems:
        return
    lines = [f"  {problem}" for problem in problems[:_MAX_LISTED]]
    if len(problems) > _MAX_LISTED:
        lines.append(f"  ... and {len(problems) - _MAX_LISTED} more")
    raise DataError("\n".join([summary, *lines]))


def write_error(path: Path, error: OSError) -> DataError:
    """Word why a file or folder could not be written, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = "the disk is full (or its quota used up); free some space and run again"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        reason = "the folder is read-only for this user; choose another output folder"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        reason = f"the folder {path.parent} does not exist; make it first"
    elif error.errno in (errno.EISDIR, errno.ENOTEMPTY):
        reason = "a folder of that name is in the way; move it or choose another output folder"
    elif error.errno == errno.ENAMETOOLONG:
        reason = "the file name is too long; shorten it"
    else:
        reason = error.strerror or str(error)
    return DataError(f"{path} cannot be written: {reason}")


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write a file so that others see the old content or the new, never a part.

    The content goes to a hidden ``.tmp-*`` file in the same folder, which then takes the name; after a
    failure it is removed. Readers ignore hidden files, so one left by a killed process does no harm.

    Args:
        path: File to write; its folder must exist. An existing file is replaced.
        content: The bytes.

    Raises:
        DataError: Disk full, folder read-only or missing, a folder in the way.
    """
    write_pieces_atomic(path, (content,))


def write_pieces_atomic(path: Path, pieces: Iterable[bytes]) -> None:
    """As `write_bytes_atomic`, of a content that is made while it is written and never whole in memory.

    Args:
        path: File to write.
        pieces: Parts of the content in order; they may be read from the very file that is replaced.
    """
    temporary = os.path.join(os.path.dirname(path), f".tmp-{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as stream:
            for piece in pieces:
                stream.write(piece)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # the first error is the cause, also when this one fails too
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise write_error(Path(path), error) from error
        raise


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text, all or nothing, with the line ends as given.

    Args:
        path: File to write; its folder must exist.
        text: The content.

    Raises:
        DataError: As for ``write_bytes_atomic``.
    """
    write_bytes_atomic(path, text.encode("utf-8"))


def make_folder(path: Path) -> Path:
    """Make a folder and its parents where they are missing.

    Raises:
        DataError: Disk full, a read-only parent, a file in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    return path


def read_json_lines(path: Path, make: Callable[..., T], what: str) -> list[T]:
    """Read a file of one JSON object a line, as `iter_json_lines`."""
    return list(iter_json_lines(path, make, what))


def iter_json_lines(path: Path, make: Callable[..., T], what: str) -> Iterator[T]:
    """Read one JSON object a line, one at a time; a killed run's half-written last line, which is no JSON, is left out.

    Args:
        path: The file; must exist.
        make: Makes a row of an object's entries, as keywords.
        what: What a line is, for the message.

    Raises:
        DataError: A line that is not one.
    """
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = make(**json.loads(line))
            except (json.JSONDecodeError, TypeError, DataError) as error:
                if isinstance(error, json.JSONDecodeError) and next(lines, None) is None:
                    return
                raise DataError(f"{path}, line {number} is not {what} ({error})") from error
            yield row


def json_lines(rows: Iterable[Any]) -> str:
    """One JSON object a line, of dataclasses, as `read_json_lines` reads them."""
    return "".join(json.dumps(asdict(row)) + "\n" for row in rows)


def append_text(path: Path, text: str) -> None:
    """Append UTF-8 text to a file whose reader tolerates a cut last line.

    Raises:
        DataError: As for ``write_bytes_atomic``.
    """
    try:
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise write_error(path, error) from error
