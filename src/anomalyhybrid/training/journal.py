"""The training journal: one JSON row now and then, and a watch on the two ways in which training fails."""

from __future__ import annotations

import json
from pathlib import Path

COPYING = 0.05  # mean fusion mask below which a decoder copies its reference
REDRAWING = 0.8  # mean fusion mask above which a decoder redraws everything


class Journal:
    """Appends rows to `journal.jsonl` of a run; a resumed run first drops rows of steps that it will redo."""

    def __init__(self, folder: Path, *, keep_through: int | None = None) -> None:
        self.path = folder / "journal.jsonl"
        rows = read_journal(folder) if keep_through is not None else []
        kept = [row for row in rows if row.get("step", 0) <= (keep_through or 0)]
        temporary = self.path.with_name(self.path.name + ".tmp")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in kept))
        temporary.replace(self.path)

    def write(self, row: dict[str, float | int | str]) -> None:
        """Append one row and flush it."""
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def read_journal(folder: Path) -> list[dict]:
    """Rows of a run's journal; a half-written last row of a killed run is left out."""
    path = folder / "journal.jsonl"
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def warnings_of(row: dict[str, float | int | str]) -> dict[str, str]:
    """What a row says about a copying or a redraw-everything decoder: messages in words, by decoder and failure."""
    messages = {}
    for name in ("ahd", "ahe"):
        value = row.get(f"fusion_mask_{name}")
        if isinstance(value, float) and value < COPYING:
            messages[f"{name} copies"] = f"{name}: mean fusion mask {value:.3f} - it copies the reference"
        if isinstance(value, float) and value > REDRAWING:
            messages[f"{name} redraws"] = f"{name}: mean fusion mask {value:.3f} - it redraws everything"
    return messages
