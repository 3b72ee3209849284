"""`generation.writer`: ids that cannot collide, and images that never stand without their masks."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from anomalyhybrid.data import files
from anomalyhybrid.data.loading import load_image, save_png
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation import writer
from anomalyhybrid.generation.compose import Composed, native_tensor, resized
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import Row
from anomalyhybrid.generation.normals import RedrawnNormals, normal_seed
from anomalyhybrid.generation.pipeline import defect_seed
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
    seeds += [normal_seed(GenerateConfig(), "bolt", index) for index in range(3)]
    seeds += [normal_seed(GenerateConfig(normals_as="patch"), "bolt", index) for index in range(3)]
    assert len(set(seeds)) == 15
    turns = [normal_seed(GenerateConfig(normals_as="both"), "bolt", index) for index in range(3)]
    assert turns == [seeds[9], seeds[13], seeds[11]]


@pytest.mark.parametrize("failing", [0, 1])
def test_image_and_mask_are_written_both_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    calls: list[Path] = []

    def full_disk(path: Path, pixels: np.ndarray, *, profile: bytes | None = None) -> None:
        calls.append(path)
        if len(calls) == failing + 1:
            raise DataError("the disk is full")
        save_png(path, pixels, profile=profile)

    monkeypatch.setattr(writer, "save_png", full_disk)
    composed = Composed(np.zeros((32, 32, 3), np.uint8), np.ones((32, 32), bool), 0, 9.0)
    with pytest.raises(DataError, match="full"):
        SetWriter._save_pair(tmp_path / "image.png", tmp_path / "mask.png", composed)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_made_once_and_missed_when_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    monkeypatch.setattr(writer, "make_folder", lambda folder: made.append(files.make_folder(folder)))
    target = np.zeros((48, 80, 3), np.uint8)
    own, drawn = _patching(tmp_path, target, torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32))
    own.write_normals(drawn, [0])
    own.write_normals(drawn, [1])
    assert made == [tmp_path / "set" / "train" / "good"]
    shutil.rmtree(tmp_path / "set")
    with pytest.raises(DataError, match=r"bolt_n000002\.png cannot be written: the folder .*good does not exist"):
        own.write_normals(drawn, [2])


def _patch(tmp_path: Path, target: np.ndarray, content: torch.Tensor, source: torch.Tensor) -> tuple[np.ndarray, Row]:
    """Write a good image whose middle is redrawn, (12:30, 10:70) of 48 x 80 pixels."""
    own, drawn = _patching(tmp_path, target, content, source)
    (row,) = own.write_normals(drawn, [7])
    return load_image(tmp_path / "set" / row.image).pixels, row


def _patching(
    tmp_path: Path, target: np.ndarray, content: torch.Tensor, source: torch.Tensor
) -> tuple[SetWriter, RedrawnNormals]:
    path = tmp_path / "good.png"
    save_png(path, target)
    region = torch.zeros(1, 1, 32, 32)
    region[..., 8:20, 4:28] = 1
    first = torch.zeros(1, dtype=torch.long)
    drawn = RedrawnNormals(
        patched=first == 0,
        target_index=first,
        reference_index=first,
        decoder=first,
        content=content,
        source=source,
        fusion_mask=torch.ones_like(region),
        fused=source,
        region_mask=region,
    )
    record = Record(path=path, relative=path.name, category="bolt", defect="good", mask_path=None, split="train")
    return replace(_writer("bolt", tmp_path / "set"), normals=[record]), drawn


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [0, 3, 4], ids=["grey", "rgb", "rgba"])
def test_a_patch_changes_its_outline_and_not_one_pixel_elsewhere(tmp_path: Path, dtype: type, channels: int) -> None:
    shape = (48, 80, channels) if channels else (48, 80)
    target = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
    nothing = torch.zeros(1, 3, 32, 32)
    image, row = _patch(tmp_path, target, nothing, nothing + 0.9)
    inside = np.zeros((48, 80), bool)
    inside[12:30, 10:70] = True
    assert (image.shape, image.dtype) == (target.shape, target.dtype)
    assert np.array_equal(image[~inside], target[~inside])
    assert (image != target)[inside].mean() > 0.7
    assert channels != 4 or np.array_equal(image[..., 3], target[..., 3])
    assert (row.changed_outside, row.mask_area, row.label_mask) == (0, 0, None)
    assert (row.target, row.reference, row.appearance, row.composition) == ("good.png", "good.png", "target", "region")
    assert row.change_inside > 10


def test_a_patch_keeps_the_detail_that_the_network_cannot_see(tmp_path: Path) -> None:
    target = np.full((48, 80, 3), 128, np.uint8)
    target[:, ::2] += 20
    small = resized(native_tensor(target), 32, 32)
    image, row = _patch(tmp_path, target, small, small)  # what a perfect source branch draws
    assert np.abs(image.astype(int) - target).max() <= 3
    assert row.change_inside < 3
