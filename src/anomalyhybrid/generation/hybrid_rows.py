"""Manifest rows of hybrids: those of generated images, with the parents' classes."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from anomalyhybrid.data.files import raise_problems, read_json_lines
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation.hybrids import ListedPair
from anomalyhybrid.generation.manifest import MANIFEST, Row
from anomalyhybrid.types import Decoder

HYBRID = "hybrid"
"""Defect name of hybrids in a manifest; images of one class redrawn from each other are ``good``."""

_COLUMNS = ("reference", "target", "decoder")


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridRow(Row):
    """One hybrid: a row in which classes and both changes are known; `reference` and `target` are its parents."""

    # narrower than in `Row`, and required: a row without them is no hybrid's
    reference_class: str  # pyright: ignore[reportGeneralTypeIssues]
    target_class: str  # pyright: ignore[reportGeneralTypeIssues]
    change_from_reference: float  # pyright: ignore[reportGeneralTypeIssues]


def read_hybrid_rows(dataset: Path) -> list[HybridRow]:
    """Read a set's manifest; a half-written last line of a killed run is left out.

    Raises:
        DataError: No manifest, or a row that is no hybrid's.
    """
    path = Path(dataset) / MANIFEST
    if not path.is_file():
        raise DataError(f"{dataset} holds no {MANIFEST}; give the folder of a set of hybrids")
    return read_json_lines(path, HybridRow, "a row of a hybrid")


def read_pairs(path: Path) -> list[ListedPair]:
    """Read a pair list: CSV with the columns ``reference,target`` and, if wanted, ``decoder``.

    Args:
        path: The file. References and targets are paths of images below the data folder, or classes; an empty
            decoder stands for all.

    Returns:
        The lines; at least one.

    Raises:
        DataError: No readable CSV, other columns, no line, empty cells, an unknown decoder; lines are named.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text ({error}); give a CSV 'reference,target'") from error
    reader = csv.DictReader(io.StringIO(text), skipinitialspace=True, restkey="more", restval="")
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        lines = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num + 1} is no CSV row ({error}); mend it") from error
    if set(columns) - set(_COLUMNS) or not {"reference", "target"} <= set(columns):
        raise DataError(f"{path} has the columns {columns}; they must be reference,target or reference,target,decoder")
    listed, problems = [], []
    for line, row in lines:
        cells = {name: (row[key] or "").strip() for name, key in zip(columns, reader.fieldnames or (), strict=True)}
        decoder = cells.get("decoder", "")
        if "more" in row:
            problems.append(f"line {line}: more cells than columns; put paths with commas in quotes")
        elif not cells["reference"] or not cells["target"]:
            problems.append(f"line {line}: reference or target is empty")
        elif decoder and decoder not in get_args(Decoder):
            problems.append(f"line {line}: decoder is {decoder!r}; it must be ahd, ahe or empty for both")
        else:
            listed.append(ListedPair(cells["reference"], cells["target"], cast(Decoder, decoder) if decoder else None))
    raise_problems(f"{path}: some lines are no pairs; mend these:", problems)
    if not listed:
        raise DataError(f"{path} lists no pair; give lines 'reference,target'")
    return listed
