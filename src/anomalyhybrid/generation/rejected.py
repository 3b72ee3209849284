"""Images that a set made with the quality gate does not hold, and why (ADR-014)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalyhybrid.data.files import append_text, json_lines, read_json_lines
from anomalyhybrid.generation.gate import SCORES
from anomalyhybrid.generation.manifest import Row

REJECTED = "rejected.jsonl"
SURPLUS = "surplus"
"""Reason of an accepted image that its batch made beyond the number asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """One image that was made and left out; it has no files."""

    id: str
    category: str
    defect: str
    reasons: list[str]
    """Of its last candidate: of `generation.gate.REASONS`, ``duplicate`` or ``surplus``."""
    gate: dict[str, Any]
    """As the manifest's rows have it."""

    @classmethod
    def of(cls, row: Row, reasons: Sequence[str]) -> Rejected:
        """What is kept of a row."""
        return cls(id=row.id, category=row.category, defect=row.defect, reasons=list(reasons), gate=row.gate or {})


def read_rejected(dataset: Path) -> list[Rejected]:
    """Images that a set leaves out, each once, in the order they were; none where nothing was.

    Raises:
        DataError: A line that is none.
    """
    path = dataset / REJECTED
    found = read_json_lines(path, Rejected, "a rejected image") if path.is_file() else []
    return list({one.id: one for one in found}.values())


def leave_out(dataset: Path, rejected: Sequence[Rejected]) -> None:
    """Add images to those that a set leaves out."""
    if rejected:
        append_text(dataset / REJECTED, json_lines(rejected))


def broken_limits(row: Row, limits: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Reasons for which a row that was not accepted falls: limits that its scores break, else ``change``.

    Args:
        row: Of the image.
        limits: As `Gate.record` gives them.
    """
    entries = [part.get("gate") or {} for part in row.parts or ()] or [row.gate or {}]
    found = {
        name
        for entry in entries
        for name, score in entry.get("scores", {}).items()
        if score < limits[name].get("least", score) or score > limits[name].get("most", score)
    }
    return [name for name in SCORES if name in found] or ["change"]


def summarise_rejected(rows: Sequence[Row], rejected: Sequence[Rejected], asked: Mapping[str, int]) -> dict[str, Any]:
    """What the gate did, for each category.

    Args:
        rows: Of the set.
        rejected: Images that it leaves out.
        asked: Defect images of each category that were asked for.

    Returns:
        {category: {"gate": {...}}}: images left out by reason (an image counts for each of its reasons), candidates
        that fell by reason, and how many images are missing.
    """
    summary = {}
    for category, number in asked.items():
        own = [row for row in rows if row.category == category and row.label_mask is not None]
        out = [one for one in rejected if one.category == category]
        entries = [one.gate or {} for one in (*own, *out)]
        fallen: Counter[str] = Counter()
        for entry in entries:
            fallen.update(entry.get("rejected", {}))
        reasons = Counter(reason for one in out for reason in one.reasons)
        summary[category] = {
            "gate": {
                "images_left_out": sum(one.reasons != [SURPLUS] for one in out),
                "images_left_out_for": dict(sorted(reasons.items())),
                "candidates_fallen_for": dict(sorted(fallen.items())),
                "missing": max(0, number - len(own)),
            }
        }
    return summary
