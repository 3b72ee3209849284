"""Reading a written set without the package's own readers, so that a fault of theirs cannot hide one of its writer."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np


def file_set(root: Path) -> set[str]:
    """Every file below a folder, hidden ones too."""
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}


def folder_set(root: Path) -> set[str]:
    """Every folder below a folder, empty ones too."""
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_dir()}


def contents(root: Path) -> dict[str, bytes]:
    """Bytes of every file."""
    return {name: (root / name).read_bytes() for name in sorted(file_set(root))}


def rows_of(root: Path) -> list[dict]:
    """Rows of the manifest."""
    return [json.loads(line) for line in (root / "manifest.jsonl").read_text().splitlines()]


def data_root(root: Path) -> Path:
    """Where targets and references are looked up."""
    return root / json.loads((root / "dataset.json").read_text())["data_root"]


def read_png(path: Path) -> np.ndarray:
    """Pixels as the file holds them; OpenCV's channel order."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None, path
    return pixels


def read_mask(root: Path, row: dict) -> np.ndarray:
    """Bool mask of a row, checked to be a single-channel file of 0 and 255."""
    pixels = read_png(root / row["label_mask"])
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 2
    assert set(np.unique(pixels)) <= {0, 255}
    return pixels > 0


def rgb8(pixels: np.ndarray) -> np.ndarray:
    """Colours as 8 bits in float, alpha left out."""
    shown = pixels[..., None] if pixels.ndim == 2 else pixels[..., :3]
    return np.floor(shown / 257 + 0.5) if pixels.dtype == np.uint16 else shown.astype(float)


def check_contract(root: Path) -> list[dict]:
    """Compare every defect of a `region` set with its target, bit for bit; the rows that were checked.

    Outside the label mask all channels are the target's; the manifest's figures are those of the written files.
    """
    source = data_root(root)
    checked = [row for row in rows_of(root) if row["label_mask"] is not None]
    assert checked
    for row in checked:
        target, image = read_png(source / row["target"]), read_png(root / row["image"])
        assert (image.shape, image.dtype) == (target.shape, target.dtype), row
        mask = read_mask(root, row)
        assert mask.shape == image.shape[:2]
        differs = (image != target).reshape(*mask.shape, -1).any(axis=2)
        assert not (differs & ~mask).any(), row
        assert row["composition"] == "region"
        assert row["changed_outside"] == 0
        assert row["mask_area"] == mask.sum() > 0
        if image.ndim == 3 and image.shape[2] == 4:
            assert np.array_equal(image[..., 3], target[..., 3]), "alpha is the target's everywhere"
        change = np.abs(rgb8(image) - rgb8(target)).mean(axis=2)[mask].mean()
        assert abs(change - row["change_inside"]) < 1e-3, row
        if row["accepted"]:
            assert differs.any()
    return checked


def as_mode(rgb_u8: np.ndarray, mode: str, rng: np.random.Generator) -> np.ndarray:
    """The same picture in another mode; low bytes and alpha are noise, which must survive."""
    pixels = rgb_u8[..., 1] if mode.startswith("grey") else rgb_u8
    if mode.endswith("16"):
        pixels = pixels.astype(np.uint16) * 256 + rng.integers(0, 256, pixels.shape, dtype=np.uint16)
    if mode.startswith("rgba"):
        alpha = rng.integers(0, np.iinfo(pixels.dtype).max, (*pixels.shape[:2], 1), dtype=pixels.dtype)
        pixels = np.concatenate([pixels, alpha], axis=2)
    return pixels
