"""Reader of the HDR challenge's butterflies: a CSV of labels beside a folder of images.

Two forms, told apart by their columns. Training: ``filename``, ``hybrid_stat`` (``hybrid`` or ``non-hybrid``),
``subspecies`` of non-hybrids, ``parent_subspecies_1`` and ``parent_subspecies_2`` of hybrids. Reference (the test
sides): ``filename``, ``hybrid_stat`` (1 or 0), ``subspecies_ref`` (``a`` or ``a x b``), ``ssp_indicator`` (``major``:
species A, signal hybrid; ``minor``: species A, non-signal; ``mimic``: the mimic species). Other columns are not read.

Source: HDR anomaly challenge, butterfly hybrids (Imageomics): its data page and reference CSV files.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from anomalyhybrid.data.class_folders import ClassedImages, good_record
from anomalyhybrid.data.files import existing_folder, is_image_name, raise_problems, resolve_inside
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import DataError

Kind = Literal["non-hybrid", "signal", "non-signal", "mimic"]
Species = Literal["A", "mimic"]

_STATUS = ("hybrid_stat", "hybrid_stat_ref")
_TRAINING = ("filename", "hybrid_stat", "subspecies", "parent_subspecies_1", "parent_subspecies_2")
_REFERENCE = ("filename", "hybrid_stat", "subspecies_ref", "ssp_indicator")
_HYBRID = {"hybrid": True, "1": True, "non-hybrid": False, "0": False}
_INDICATOR: dict[str, tuple[Species, Kind]] = {
    "major": ("A", "signal"),
    "minor": ("A", "non-signal"),
    "mimic": ("mimic", "mimic"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Butterfly:
    """One labelled image.

    Attributes:
        record: The image.
        kind: ``non-hybrid``, or which hybrid it is.
        species: Species A or its mimic; thresholds are set on each by itself.
        subspecies: Its own one of a non-hybrid; ``a x b``, parents sorted, of a hybrid.
    """

    record: Record
    kind: Kind
    species: Species
    subspecies: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Butterflies:
    """What one CSV lists.

    Attributes:
        root: Folder of the images.
        listed: All rows, in the file's order.
    """

    root: Path
    listed: tuple[Butterfly, ...]

    def images(self, *, hybrids: bool = False) -> ClassedImages:
        """The images with their subspecies as classes.

        Args:
            hybrids: Whether hybrids are among them, each cross a class of its own; generation and its training want
                non-hybrids alone.
        """
        chosen = [one for one in self.listed if hybrids or one.kind == "non-hybrid"]
        classes = {one.record.relative: one.subspecies for one in chosen}
        return ClassedImages(root=self.root, records=tuple(one.record for one in chosen), class_of=classes)

    def describe(self) -> str:
        """Say in one line what was found."""
        counts = Counter(one.kind for one in self.listed)
        kinds = ", ".join(f"{kind} {counts[kind]}" for kind in get_args(Kind) if counts[kind])
        return f"{self.root}: {len(self.listed)} butterflies ({kinds})"


def read_butterflies(table: Path, images: Path) -> Butterflies:
    """Read a CSV of the challenge and find its images.

    An image is looked for at ``<images>/<filename>`` and ``<images>/<hybrid_stat>/<filename>``, as the challenge's
    downloader places them.

    Args:
        table: The CSV file.
        images: Folder of the images; its name is the category.

    Returns:
        All rows. Hybrids of a training CSV are ``signal``: it holds no other.

    Raises:
        DataError: No readable CSV, missing columns, rows with a value that is not allowed or empty, a file named
            twice, missing files (all are listed), a path that leaves the folder.
    """
    root = existing_folder(images)
    rows, columns = _rows(Path(table))
    status = next((name for name in _STATUS if name in columns), "hybrid_stat")
    read = _reader(Path(table), columns | ({"hybrid_stat"} if status in columns else set()))
    listed: list[Butterfly] = []
    problems: list[str] = []
    places: dict[Path, int] = {}
    for line, row in rows:
        row = row | {"hybrid_stat": row.get(status, "")}
        try:
            kind, species, subspecies = read(row)
            path = _find(root, row["filename"], row["hybrid_stat"])
        except DataError as error:
            problems.append(f"line {line}: {error}")
            continue
        if path in places:
            problems.append(f"line {line}: {row['filename']} is the file of line {places[path]} again")
        places.setdefault(path, line)
        record = good_record(path, root, root.name)
        listed.append(Butterfly(record=record, kind=kind, species=species, subspecies=subspecies))
    raise_problems(f"{table}: {len(problems)} of {len(rows)} rows cannot be used; mend these:", problems)
    return Butterflies(root=root, listed=tuple(listed))


def _rows(table: Path) -> tuple[list[tuple[int, dict[str, str]]], set[str]]:
    """Rows with their line numbers, values stripped, and the columns."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{table} cannot be read: {error.strerror or error}; give the CSV of the challenge") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{table} is not UTF-8 text ({error.reason}); save the CSV as UTF-8") from error
    reader = csv.DictReader(io.StringIO(text))
    columns = {name.strip() for name in reader.fieldnames or ()}
    try:
        rows = [
            (reader.line_num, {(key or "").strip(): (value or "").strip() for key, value in row.items() if key})
            for row in reader
        ]
    except csv.Error as error:
        raise DataError(f"{table}, line {reader.line_num} is no CSV row ({error}); mend it") from error
    if not rows:
        raise DataError(f"{table} holds no row below its header; give the CSV of the challenge")
    return rows, columns


def _reader(table: Path, columns: set[str]):
    """The function that reads this file's rows."""
    if set(_REFERENCE) <= columns:
        return _reference_row
    if set(_TRAINING) <= columns:
        return _training_row
    near = _REFERENCE if "subspecies_ref" in columns or "ssp_indicator" in columns else _TRAINING
    lacking = [name for name in near if name not in columns]
    raise DataError(
        f"{table} lacks the columns {', '.join(lacking)}; a training CSV has {', '.join(_TRAINING)}, a reference CSV "
        f"{', '.join(_REFERENCE)} (found: {', '.join(sorted(columns)) or 'none'})"
    )


def _status(row: Mapping[str, str]) -> bool:
    given = row["hybrid_stat"].lower()
    if given not in _HYBRID:
        raise DataError(f"hybrid_stat is {row['hybrid_stat']!r}; it must be one of {', '.join(_HYBRID)}")
    return _HYBRID[given]


def _named(row: Mapping[str, str], column: str, why: str) -> str:
    """A subspecies; numbers that a table program wrote with a decimal point lose it (``8.0``)."""
    if not row[column]:
        raise DataError(f"{column} is empty; {why}")
    return re.sub(r"^(\d+)\.0+$", r"\1", row[column])


def _training_row(row: Mapping[str, str]) -> tuple[Kind, Species, str]:
    if not _status(row):
        return "non-hybrid", "A", _named(row, "subspecies", "a non-hybrid needs its subspecies")
    columns = ("parent_subspecies_1", "parent_subspecies_2")
    return "signal", "A", _cross([_named(row, column, "a hybrid needs both parents") for column in columns])


def _reference_row(row: Mapping[str, str]) -> tuple[Kind, Species, str]:
    hybrid, indicator = _status(row), row["ssp_indicator"].lower()
    if indicator not in _INDICATOR:
        raise DataError(f"ssp_indicator is {row['ssp_indicator']!r}; it must be one of {', '.join(_INDICATOR)}")
    species, kind = _INDICATOR[indicator]
    name = _named(row, "subspecies_ref", "give the subspecies, 'a x b' for a hybrid")
    return (kind, species, _cross(re.split(r"\s+x\s+", name))) if hybrid else ("non-hybrid", species, name)


def _cross(parents: list[str]) -> str:
    """One name for a cross, whichever parent is named first."""
    return " x ".join(sorted(parents))


def _find(root: Path, name: str, status: str) -> Path:
    """The image's file.

    Raises:
        DataError: It is nowhere, no image, or its path leaves the root.
    """
    if not is_image_name(name):
        raise DataError(f"filename {name!r} is no image's; give a name with an ending such as .jpg")
    inside = [name, f"{status}/{name}"]
    for relative in inside:
        resolve_inside(root, relative)
        if (root / relative).is_file():
            return root / Path(relative)
    raise DataError(f"{name} is missing (looked for {' and '.join(inside)} below {root})")
