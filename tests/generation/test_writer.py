"""`generation.writer`: ids that cannot collide, and images that never stand without their masks."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from anomalyhybrid.data.loading import save_png
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation import writer
from anomalyhybrid.generation.compose import Composed
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.pipeline import defect_seed, normal_seed
from anomalyhybrid.generation.writer import SetWriter


def _writer(category: str, folder: Path) -> SetWriter:
    return SetWriter(
        folder=folder, prefix="", category=category, normals=[], base=[], config=GenerateConfig(), model_sha256=""
    )


def test_ids_of_similar_categories_differ(tmp_path: Path) -> None:
    names = ("bolt", "bolt_n", "bolt_good", "bolt_n000001", "bolt_000001")
    ids = [
        make(index)
        for name, index in product(names, (0, 1, 1000001))
        for make in (_writer(name, tmp_path).defect_id, _writer(name, tmp_path).normal_id)
    ]
    assert len(set(ids)) == len(ids)


def test_seeds_tell_images_apart() -> None:
    seeds = [defect_seed(0, "bolt", index, attempt) for index, attempt in product(range(3), range(3))]
    seeds += [normal_seed(0, "bolt", index) for index in range(3)]
    assert len(set(seeds)) == 12


@pytest.mark.parametrize("failing", [0, 1])
def test_image_and_mask_are_written_both_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    calls: list[Path] = []

    def full_disk(path: Path, pixels: np.ndarray) -> None:
        calls.append(path)
        if len(calls) == failing + 1:
            raise DataError("the disk is full")
        save_png(path, pixels)

    monkeypatch.setattr(writer, "save_png", full_disk)
    composed = Composed(np.zeros((32, 32, 3), np.uint8), np.ones((32, 32), bool), 0, 9.0)
    with pytest.raises(DataError, match="full"):
        SetWriter._save_pair(tmp_path / "image.png", tmp_path / "mask.png", composed)
    assert list(tmp_path.iterdir()) == []
