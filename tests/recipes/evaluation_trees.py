"""A small category and its split, for the tests of evaluation."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.recipes.evaluation.data import CategoryData, CategorySource, read_categories, split_category
from anomalyhybrid.recipes.evaluation.sets import Bench

TINY = EvaluateConfig(size=32, seeds=(0,), count=6, normals=0, epochs=1, samples_per_epoch=16, width=2)


def source_of(folder: Path, config: EvaluateConfig = TINY) -> CategorySource:
    return read_categories([folder], config, announce=lambda text: None)[0]


def split_of(folder: Path, config: EvaluateConfig = TINY, seed: int = 0) -> CategoryData:
    return split_category(source_of(folder, config), config, seed)


def widget(root: Path, *, train: int = 12, test: int = 2, defects: dict[str, int] | None = None) -> Path:
    """12 good images, 2 good test images, 6 scratches and 3 dents of 48 x 64 pixels; every image is another."""
    folder, rng = root / "widget", np.random.default_rng(0)
    plan = [("train", "good", train), ("test", "good", test)]
    plan += [("test", defect, count) for defect, count in (defects or {"scratch": 6, "dent": 3}).items()]
    rows, columns = np.mgrid[:48, :64]
    on_product = (rows - 24) ** 2 + (columns - 32) ** 2 < 20**2
    for split, defect, count in plan:
        for index in range(count):
            pixels = rng.integers(20, 60, (48, 64, 3), np.uint8)
            pixels[on_product] += 120
            if defect != "good":
                at = rng.integers(20, 30, 2)
                mask = (rows - at[0]) ** 2 + (columns - at[1]) ** 2 < 6**2
                pixels[mask] = (30, 200, 60) if defect == "dent" else (220, 30, 30)
                _write(folder / "ground_truth" / defect / f"{index:03d}_mask.png", mask.astype(np.uint8) * 255)
            _write(folder / split / defect / f"{index:03d}.png", pixels)
    return folder


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def bench_of(out: Path, **settings: str) -> Bench:
    return Bench(out=out, device=torch.device("cpu"), announce=lambda text: None, **settings)  # type: ignore[arg-type]
