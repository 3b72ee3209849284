"""Reading what a command left on disk."""

from __future__ import annotations

import json
from pathlib import Path

import cv2


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def temporary(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.name.startswith(".") or path.name.endswith(".tmp")]


def complete(out: Path) -> None:
    """Every image and mask below a set, listed or not, is a whole file."""
    for path in out.rglob("*.png"):
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None, path


def whole_rows(out: Path) -> int:
    """Check that the manifest's rows name complete files; their number."""
    lines = (out / "manifest.jsonl").read_text().splitlines()
    for line in lines:
        row = json.loads(line)
        for name in (row["image"], row["label_mask"]):
            assert name is None or cv2.imread(str(out / name), cv2.IMREAD_UNCHANGED) is not None
    return len(lines)
