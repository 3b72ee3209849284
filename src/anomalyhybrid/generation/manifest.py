"""The record of a generated set: one manifest row for each image, and how to make the set again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from anomalyhybrid.data.files import iter_json_lines, write_pieces_atomic
from anomalyhybrid.errors import DataError

MANIFEST = "manifest.jsonl"
DATASET = "dataset.json"
FORMAT = 1
SUMMARY = "summary"
"""Entry of `dataset.json` that is written last: a set without it is not finished."""
SELECTED = "selected"
"""Entry of `dataset.json` of a set that was chosen from another one: from which and how, the latest choice last."""

_OPTIONAL = (
    "reference_class", "target_class", "change_from_reference", "severity", "defects_asked", "parts", "window", "gate",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One generated image; `image` and `label_mask` are relative to the set, the other paths to its data root."""

    id: str
    image: str
    label_mask: str | None
    category: str
    defect: str
    target: str
    reference: str | None
    """Image that gave the appearance; the target's own path where that is the target."""
    decoder: str
    operation: str
    """Operation on the maps; ``+tps`` where TPS followed, ``none`` for generated normals."""
    appearance: str
    composition: str
    seed: int
    model_sha256: str
    changed_outside: int
    mask_area: int
    """Pixels of the label mask."""
    change_inside: float
    """Mean absolute change inside the label mask, in 1/255."""
    structure: str | None
    """Image or procedural kind that gave the edited structure."""
    fusion_mask: float
    """Mean fusion mask over the image."""
    attempt: int
    accepted: bool
    reference_class: str | None = None
    """Class of `reference` in a set of hybrids; there `change_inside` is the change from the target."""
    target_class: str | None = None
    """Class of `target` in a set of hybrids."""
    change_from_reference: float | None = None
    """Of hybrids: mean absolute difference from the reference, at the target's size, on its silhouette, in 1/255."""
    severity: float | None = None
    """Strength of the defect where `severity` is not 1; of images with parts it stands in these."""
    defects_asked: int | None = None
    """Of images that may hold several defects: how many were to be in this one; `parts` has fewer where no more fit."""
    parts: list[dict[str, Any]] | None = None
    """Of such images each defect: the row's entries from `defect` on that are its own, the first part's being the
    row's, and `mask_area` and `change_inside` of it alone. The row's `defect` is theirs, or ``combined``."""
    window: list[int] | None = None
    """Part of the target that was looked at, ``[x, y, width, height]`` in its pixels; all is inside it. None: whole."""
    gate: dict[str, Any] | None = None
    """Of a set made with the quality gate: ``scores`` of the (first) defect by name, and ``rejected``, how many of its
    candidates fell for each reason (ADR-014)."""


def read_rows(dataset: Path) -> list[Row]:
    """Read a whole manifest, as `iter_rows`."""
    return list(iter_rows(dataset))


def iter_rows(dataset: Path, name: str = MANIFEST) -> Iterator[Row]:
    """Read a manifest row by row; a half-written last line of a killed run is left out.

    Args:
        dataset: Folder of the set.
        name: The manifest's path in it.

    Raises:
        DataError: no manifest, or a row that is not one.
    """
    path = dataset / name
    if not path.is_file():
        raise DataError(f"{dataset} holds no {name}; give the folder of a generated set")
    return iter_json_lines(path, Row, "a manifest row")


def rows_with_offsets(dataset: Path, name: str = MANIFEST) -> Iterator[tuple[int, Row]]:
    """As `iter_rows`, with the byte that each row begins at, for `row_at`."""
    with (dataset / name).open("rb") as stream:
        begins = 0
        for row in iter_rows(dataset, name):
            yield begins, row
            begins += len(stream.readline())


def row_at(stream: BinaryIO, offset: int) -> Row:
    """The row that begins at a byte of an open manifest."""
    stream.seek(offset)
    return Row(**json.loads(stream.readline()))


def write_rows(dataset: Path, rows: Iterable[Row], name: str = MANIFEST) -> None:
    """Replace a whole manifest; the rows may be read from it meanwhile."""
    write_pieces_atomic(dataset / name, (to_line(row).encode() for row in rows))


def to_line(row: Row) -> str:
    """One line of the manifest; what belongs to some kinds of set alone is left out of other rows."""
    kept = {name: value for name, value in asdict(row).items() if value is not None or name not in _OPTIONAL}
    return json.dumps(kept) + "\n"


def read_dataset(dataset: Path) -> dict:
    """Read `dataset.json`.

    Raises:
        DataError: it is missing, not JSON, or of another format.
    """
    path = dataset / DATASET
    if not path.is_file():
        raise DataError(f"{dataset} holds no {DATASET}; give the folder of a generated set")
    try:
        entries = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON ({error}); generate the set again") from error
    found = entries.get("format") if isinstance(entries, dict) else None
    if found != FORMAT:
        raise DataError(f"{path} has format {found}; this version reads format {FORMAT}")
    return entries
