"""Generated sets written by hand, so that a fault of the package's writers cannot hide one of its exports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

ROW = {
    "decoder": "ahd",
    "operation": "merge",
    "appearance": "blend",
    "composition": "region",
    "seed": 2**63 - 1,
    "model_sha256": "0" * 64,
    "changed_outside": 0,
    "change_inside": 12.5,
    "structure": "procedural:dent",
    "fusion_mask": 0.5,
    "attempt": 0,
}


def awkward_mask(number: int, height: int, width: int) -> np.ndarray:
    """A bool mask with holes, an island in a hole, a diagonal, a single pixel, a line, and pixels at the border."""
    mask = np.zeros((height, width), bool)
    mask[4:20, 5:22] = True
    mask[6:18, 7:12] = False
    mask[8:16, 14:20] = False
    mask[10:12, 9:10] = True  # an island
    mask[12, 7] = mask[13, 8] = True  # on a corner of the ring's inside
    for step in range(6):
        mask[22 + step, 3 + step] = True
    mask[30, 30] = True
    mask[24:31, 36] = True
    mask[:, width - 1] = True
    mask[height - 1, : width // 2] = True
    mask[0, 0] = True
    return np.roll(mask, number, axis=1)


def image(number: int, height: int, width: int, kind: str = "rgb8") -> np.ndarray:
    """Noise that differs in every pixel, as OpenCV writes it."""
    rng = np.random.default_rng(number)
    if kind == "grey16":
        return rng.integers(0, 65536, (height, width), dtype=np.uint16)
    channels = {"rgb8": (3,), "grey8": (), "rgba8": (4,)}[kind]
    return rng.integers(0, 256, (height, width, *channels), dtype=np.uint8)


def write_set(
    root: Path,
    defects: Mapping[str, Sequence[str]],
    *,
    good: int = 2,
    rejected: int = 1,
    size: tuple[int, int] = (34, 40),
    kind: str = "rgb8",
    targets: int = 4,
    hybrids: bool = False,
) -> Path:
    """Write a set: for each category one image for each defect named, of which the last are rejected."""
    prefix, rows, count = len(defects) > 1, [], 0
    for category, names in defects.items():
        base = f"{category}/" if prefix else ""
        for number, name in enumerate([*names, *["good"] * good]):
            is_good = number >= len(names)
            image_id = f"{category}_n{number - len(names):06d}" if is_good else f"{category}_{number:06d}"
            path = f"{base}train/good/{image_id}.png" if is_good else f"{base}test/{name}/{image_id}.png"
            label = None if is_good or hybrids else f"{base}ground_truth/{name}/{image_id}_mask.png"
            _write(root / path, image(count, *size, kind))
            mask = awkward_mask(number, *size)
            if label is not None:
                _write(root / label, mask.astype(np.uint8) * 255)
            rows.append(
                ROW
                | {
                    "id": image_id,
                    "image": path,
                    "label_mask": label,
                    "category": category,
                    "defect": name,
                    "target": f"train/good/{number % targets:03d}.png",
                    "reference": None if is_good else "known/000.png",
                    "mask_area": 0 if label is None else int(mask.sum()),
                    "accepted": is_good or number < len(names) - rejected,
                }
            )
            count += 1
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "dataset.json").write_text(json.dumps({"format": 1, "data_root": "..", "summary": {}}))
    return root


def rows_of(root: Path, category: str | None = None, *, rejected: bool = False) -> list[dict]:
    """Rows of a set that an export takes."""
    rows = [json.loads(line) for line in (root / "manifest.jsonl").read_text().splitlines()]
    return [row for row in rows if category in (None, row["category"]) and (rejected or row["accepted"])]


def mask_of(root: Path, row: dict) -> np.ndarray:
    """Bool label mask of a row; of good images all False."""
    if row["label_mask"] is None:
        return np.zeros(cv2.imread(str(root / row["image"]), cv2.IMREAD_UNCHANGED).shape[:2], bool)
    return cv2.imread(str(root / row["label_mask"]), cv2.IMREAD_UNCHANGED) > 0


def contents(root: Path) -> dict[str, bytes]:
    """Bytes of every file, hidden ones too."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
