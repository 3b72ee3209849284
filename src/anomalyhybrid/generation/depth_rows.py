"""What `depth.jsonl` says of each generated pair, beside the rows of `manifest.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalyhybrid.data.files import append_text, json_lines, read_json_lines, resolve_inside, write_text_atomic
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation.depth_config import SIGNS
from anomalyhybrid.generation.depth_profile import SOURCES

DEPTH_ROWS = "depth.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthRow:
    """The depth of one generated image; paths are relative to the set, but `source` to its data root."""

    id: str
    """As in `manifest.jsonl`."""
    depth: str
    """Depth in the format and unit of `source`."""
    preview: str
    """Its relief, shaded."""
    source: str
    """Depth file of the target."""
    kind: str
    """Format: ``png16``, ``tiff`` or ``xyz``."""
    nearer_is_larger: bool
    unit: str
    """What heights are counted in, as the caller named it."""
    sign: str
    """``dent``, ``protrusion``, ``hole`` or ``flat``."""
    requested_height: float
    """Signed, in the unit, positive toward the camera."""
    generated_height: float
    """What the written file shows at its peak."""
    profile: str
    """Where the shape came from: ``network``, ``manipulation`` where the network saw no relief of that sign,
    ``outline`` where neither had one."""
    valid_share: float
    """Share of the label mask's pixels that were measured; only they changed."""
    changed_outside: int
    """Stored numbers outside the label mask that differ from the source's."""


def read_depth_rows(dataset: Path) -> list[DepthRow]:
    """Read `depth.jsonl`; a half-written last line of a killed run, which is no JSON, is left out.

    Raises:
        DataError: None there, a row that is not one, or one whose files lie outside the set.
    """
    path = dataset / DEPTH_ROWS
    if not path.is_file():
        raise DataError(f"{dataset} holds no {DEPTH_ROWS}; give the folder of a set generated with depth")

    def make(**entries: Any) -> DepthRow:
        row = DepthRow(**entries)
        for name in (row.depth, row.preview):
            resolve_inside(dataset, name)
        return row

    return read_json_lines(path, make, "a depth row")


def write_depth_rows(dataset: Path, rows: Sequence[DepthRow]) -> None:
    """Replace the whole file."""
    write_text_atomic(dataset / DEPTH_ROWS, json_lines(rows))


def append_depth_rows(dataset: Path, rows: Sequence[DepthRow]) -> None:
    """Add the rows of finished images."""
    append_text(dataset / DEPTH_ROWS, json_lines(rows))


def summarise_depth(rows: Sequence[DepthRow]) -> dict:
    """Figures of a set's depth: profiles by source, and for each sign pairs, agreement, heights, contract."""
    summary: dict = {
        "profiles": {name: sum(row.profile == name for row in rows) for name in SOURCES},
        "numbers_changed_outside": sum(row.changed_outside for row in rows),
        "without_measurement": sum(row.valid_share == 0 for row in rows),
    }
    for sign in SIGNS:
        own = [row for row in rows if row.sign == sign]
        if own:
            agree = sum(row.requested_height * row.generated_height > 0 for row in own)
            summary[sign] = {
                "pairs": len(own),
                "sign_agreement": round(agree / len(own), 4),
                "mean_requested_height": float(f"{sum(row.requested_height for row in own) / len(own):.6g}"),
                "mean_generated_height": float(f"{sum(row.generated_height for row in own) / len(own):.6g}"),
            }
    return summary
