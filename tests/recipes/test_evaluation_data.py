"""Evaluation's data: the split, what is held out, masks, fingerprints, and data that are refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from evaluation_trees import TINY, source_of, split_of, widget

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.samples import GOOD_KIND, Samples
from anomalyhybrid.recipes.evaluation.data import read_categories, split_category, with_kinds
from anomalyhybrid.recipes.evaluation.pictures import eroded_mask
from anomalyhybrid.recipes.sources import read_sources


def _names(records) -> list[str]:
    return [f"{record.defect}/{record.path.name}" for record in records]


def test_split_and_what_is_held_out(tmp_path: Path) -> None:
    data = split_of(widget(tmp_path))
    assert _names(data.held_records) == ["good/004.png", "good/009.png"]  # every fifth
    assert len(data.good_records) == len(data.train_good) == 10
    assert not set(data.held_records) & set(data.good_records)
    assert _names(data.base_records) == ["dent/000.png", "scratch/000.png", "scratch/001.png"]  # the first thirds
    assert len(data.test_records) == 2 + 4 + 2
    assert data.kinds == ("dent", "scratch")
    assert data.base.kind.tolist() == [0, 1, 1]
    assert (data.test.kind == GOOD_KIND).sum() == 2
    assert data.validation is None
    assert len(data.calibration) == 2
    assert data.base.mask_u8.flatten(1).any(dim=1).all()
    assert data.notes == ()


def test_at_most_40_are_held_out(tmp_path: Path) -> None:
    data = split_of(widget(tmp_path, train=203))
    assert len(data.held_records) == 40
    assert len(data.good_records) == 163


def test_validation_part_leaves_base_and_test_alone(tmp_path: Path) -> None:
    folder = widget(tmp_path)
    plain, data = split_of(folder), split_of(folder, replace(TINY, validation_share=0.5))
    assert _names(data.validation_records) == ["scratch/001.png"]  # half of 2; none of 1, which base keeps
    assert _names(data.base_records) == ["dent/000.png", "scratch/000.png"]
    assert data.test_records == plain.test_records
    assert data.validation is not None
    assert data.validation.kind.tolist() == [GOOD_KIND, 1]  # good/004 for validation, good/009 for calibration
    assert len(data.calibration) == 1
    assert not set(data.validation_records) & {*data.base_records, *data.test_records}


def test_too_small_a_base_set_for_validation_is_said(tmp_path: Path) -> None:
    data = split_of(widget(tmp_path, defects={"dent": 3}), replace(TINY, validation_share=0.5))
    assert data.validation is None
    assert "last checkpoint" in data.notes[0]


def test_random_split_depends_on_the_seed_and_sorted_does_not(tmp_path: Path) -> None:
    folder = widget(tmp_path, defects={"scratch": 30})
    random = replace(TINY, base_split="random")
    assert split_of(folder, random, 0).base_records != split_of(folder, random, 1).base_records
    assert split_of(folder, TINY, 0).base_records == split_of(folder, TINY, 1).base_records


def test_few_images_of_a_type_are_said(tmp_path: Path) -> None:
    data = split_of(widget(tmp_path, defects={"scratch": 6, "dent": 2, "hole": 1}))
    assert "dent (2), hole (1)" in data.notes[0]
    assert [record.defect for record in data.base_records].count("hole") == 1
    assert "hole" not in [record.defect for record in data.test_records]


def test_masks_of_the_two_modes_by_hand(tmp_path: Path) -> None:
    mask = np.zeros((64, 64), bool)
    mask[:, :3] = True  # halved to 32 columns: full, half, nothing
    assert eroded_mask(mask, 32).any(axis=0).tolist() == [True] + [False] * 31
    folder = widget(tmp_path)
    fixed, published = split_of(folder), split_of(folder, replace(TINY, mode="as_published"))
    assert 0 < published.test.mask_u8.sum() < fixed.test.mask_u8.sum()
    assert torch.equal(published.base.mask_u8, fixed.base.mask_u8)  # the quirk is the test side's
    assert torch.equal(split_of(folder, replace(TINY, eroded_truth="yes")).test.mask_u8, published.test.mask_u8)
    without = replace(TINY, mode="as_published", eroded_truth="no")
    assert torch.equal(split_of(folder, without).test.mask_u8, fixed.test.mask_u8)


def test_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    folder = widget(tmp_path / "a")
    moved = Path(shutil.copytree(folder, tmp_path / "b" / "widget"))
    before = source_of(folder).fingerprint
    assert source_of(moved).fingerprint == before
    path = moved / "ground_truth" / "dent" / "002_mask.png"
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    mask[0, 0] = 255
    cv2.imwrite(str(path), mask)
    assert source_of(moved).fingerprint != before


def test_kinds_are_renumbered() -> None:
    image, mask = torch.zeros(3, 3, 32, 32, dtype=torch.uint8), torch.zeros(3, 1, 32, 32, dtype=torch.uint8)
    samples = Samples(image, mask, torch.tensor([1, GOOD_KIND, 0]), ("a", "b"))
    assert with_kinds(samples, ("b", "c", "a")).kind.tolist() == [0, GOOD_KIND, 2]
    good = Samples(image, mask, torch.tensor([GOOD_KIND] * 3), ())
    assert with_kinds(good, ("a",)).kind.tolist() == [GOOD_KIND] * 3


def test_no_test_part(tmp_path: Path, dummy_folder) -> None:
    plain = dummy_folder("plain")
    with pytest.raises(DataError, match=r"plain holds no test defect.*ground_truth/<defect>"):
        source_of(plain)
    folder = widget(tmp_path, defects={"dent": 1})
    with pytest.raises(DataError, match="nothing is left to test"):
        split_of(folder)


def test_base_image_on_the_test_side_under_another_name(tmp_path: Path) -> None:
    folder = widget(tmp_path)
    shutil.copy(folder / "test" / "scratch" / "000.png", folder / "test" / "scratch" / "005.png")
    with pytest.raises(DataError, match=r"base set are on the test side.*\n.*scratch/005.png is .*scratch/000.png"):
        split_of(folder)


def test_training_image_among_the_test_images(tmp_path: Path) -> None:
    folder = widget(tmp_path)
    shutil.copy(folder / "train" / "good" / "001.png", folder / "test" / "good" / "007.png")
    with pytest.raises(DataError, match=r"training images too.*\n.*test/good/007.png is train/good/001.png"):
        source_of(folder)


def _repeat(folder: Path, name: str, copy: str, gain: float) -> None:
    """Another exposure of a scratch under another name."""
    for place, suffix, factor in (("test", "", gain), ("ground_truth", "_mask", 1.0)):
        pixels = cv2.imread(str(folder / place / "scratch" / f"{name}{suffix}.png"))
        assert pixels is not None
        cv2.imwrite(str(folder / place / "scratch" / f"{copy}{suffix}.png"), np.rint(pixels * factor).astype(np.uint8))


def _spread_scratches(folder: Path) -> None:
    """Six scratches far from each other, so that masks tell them apart."""
    for index, (y, x) in enumerate([(8, 8), (8, 32), (8, 56), (40, 8), (40, 32), (40, 56)]):
        mask = np.zeros((48, 64), np.uint8)
        mask[y - 4 : y + 4, x - 4 : x + 4] = 255
        pixels = cv2.imread(str(folder / "train" / "good" / f"{index:03d}.png"))
        assert pixels is not None
        pixels[mask > 0] = 250
        cv2.imwrite(str(folder / "test" / "scratch" / f"{index:03d}.png"), pixels)
        cv2.imwrite(str(folder / "ground_truth" / "scratch" / f"{index:03d}_mask.png"), mask)


def test_exposures_of_one_defect_stay_on_one_side_and_it_is_said(tmp_path: Path) -> None:
    folder = widget(tmp_path)
    _spread_scratches(folder)
    before = source_of(folder)
    assert before.notes == ()
    for copy in ("006", "007", "008"):
        _repeat(folder, "000", copy, 0.7)
    told: list[str] = []
    source = read_categories([folder], TINY, announce=told.append)[0]
    assert told[-1] == "widget: 12 defects are of 9 different originals; near-duplicates stay on one side"
    data = split_category(source, TINY, 0)
    scratches = [name for name in _names(data.base_records) if name.startswith("scratch")]
    assert scratches == ["scratch/000.png", "scratch/006.png", "scratch/007.png", "scratch/008.png"]
    assert data.notes == ("12 defects are of 9 different originals; near-duplicates stay on one side",)
    held = split_category(source, replace(TINY, validation_share=0.5), 0)
    assert held.validation is None  # the four are one group, of which no part may be held out
    sources = read_sources([folder], [folder], base_part="sorted", seed=0, skip_unreadable=False, announce=told.append)
    assert {record.path for record in sources.base} == {record.path for record in data.base_records}
    assert told[-1].startswith("widget: 12 defects are of 9")


def test_good_test_images_that_nearly_equal_training_images_are_said(tmp_path: Path) -> None:
    folder = widget(tmp_path)
    pixels = cv2.imread(str(folder / "train" / "good" / "003.png"))
    assert pixels is not None
    cv2.imwrite(str(folder / "test" / "good" / "001.png"), np.rint(pixels * 0.8).astype(np.uint8))
    data = split_of(folder)
    assert data.notes == ("1 of 2 good test images nearly equal a good training image",)
    assert len(data.test_records) == 8  # it stays


def test_unknown_category_names_the_nearest(tmp_path: Path) -> None:
    config = replace(TINY, categories=("wiget",))
    with pytest.raises(ConfigError, match="did you mean 'widget'"):
        read_categories([widget(tmp_path)], config, announce=lambda text: None)


def test_mask_of_another_size_and_empty_mask(tmp_path: Path) -> None:
    folder = widget(tmp_path)
    cv2.imwrite(str(folder / "ground_truth" / "dent" / "000_mask.png"), np.full((8, 8), 255, np.uint8))
    cv2.imwrite(str(folder / "ground_truth" / "dent" / "001_mask.png"), np.zeros((48, 64), np.uint8))
    with pytest.raises(DataError, match=r"(?s)000_mask.png is a mask of 8x8.*001_mask.png is an empty mask"):
        source_of(folder)
    told: list[str] = []
    found = read_categories([folder], TINY, skip_unreadable=True, announce=told.append)[0]
    assert sum(record.defect == "dent" for record in found.records) == 1
    assert sum("skipped" in text for text in told) == 2
