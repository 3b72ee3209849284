"""Near-duplicates: exposures of one defect are grouped, different defects of one product are not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from anomalyhybrid.data.near_duplicates import (
    describe_groups,
    duplicate_groups,
    group_numbers,
    load_thumbnails,
    near_pairs,
    nearly_equal,
    thumbnails_of,
)
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.splits import base_split

SIDE = 64


def _tile(seed: int) -> np.ndarray:
    """A surface of its own: smooth clouds, float (64, 64) from about 60 to 190."""
    clouds = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, (SIDE, SIDE)), (0, 0), 3)
    return 125 + 65 * clouds / np.abs(clouds).max()


def _disc(y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


def _u8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _exposures(count: int = 5) -> tuple[list[np.ndarray], list[np.ndarray], list[int]]:
    """`count` tiles with a small hole each, under three exposures, their masks drawn anew (one pixel off)."""
    images, masks, tiles = [], [], []
    for tile in range(count):
        y, x = 10 + 11 * tile, 54 - 10 * tile
        surface = np.where(_disc(y, x, 3), 20, _tile(tile))
        for exposure, (gain, offset) in enumerate([(1, 0), (0.5, 10), (0.8, 45)]):
            noise = np.random.default_rng(100 * tile + exposure).normal(0, 2, surface.shape)
            images.append(_u8(gain * surface + offset + noise))
            masks.append(_disc(y + exposure % 2, x, 3))
            tiles.append(tile)
    return images, masks, tiles


def _rings(count: int = 8) -> list[np.ndarray]:
    """Aligned round products that differ by noise alone."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    radius = np.hypot(rows - 31.5, columns - 31.5)
    product = np.where(radius < 28, 90 + 60 * np.sin(radius / 3), 240)
    return [_u8(product + np.random.default_rng(seed).normal(0, 4, product.shape)) for seed in range(count)]


def _write(root: Path, images: list[np.ndarray], masks: list[np.ndarray]) -> tuple[Record, ...]:
    for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
        for folder, name, values in (("test", f"{index}.png", image), ("ground_truth", f"{index}_mask.png", mask)):
            path = root / "tile" / folder / "hole" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), values.astype(np.uint8) * (255 if values.dtype == bool else 1))
    good = root / "tile" / "train" / "good" / "0.png"
    good.parent.mkdir(parents=True)
    cv2.imwrite(str(good), _u8(_tile(999)))
    return read_data(root / "tile").records


def test_exposures_of_one_defect_are_grouped() -> None:
    images, masks, tiles = _exposures()
    pairs = near_pairs(thumbnails_of(images, masks), ["hole"] * len(images))
    assert pairs == [(i, j) for i in range(15) for j in range(i + 1, 15) if tiles[i] == tiles[j]]
    assert group_numbers(15, pairs) == tiles
    kinds = ["hole" if index % 3 else "dent" for index in range(15)]
    assert (0, 1) not in near_pairs(thumbnails_of(images, masks), kinds)  # another type is another defect


def test_defects_in_other_places_of_one_part_are_not_grouped() -> None:
    places = [(12, 12), (12, 50), (50, 12), (50, 50), (32, 32)]
    surface = _tile(0)
    images = [_u8(np.where(_disc(*place, 5), 20, surface)) for place in places]
    assert near_pairs(thumbnails_of(images, [_disc(*place, 5) for place in places]), ["hole"] * 5) == []


@pytest.mark.parametrize("radius", [28, 10])
def test_aligned_products_are_not_grouped_by_their_product(radius: float) -> None:
    """Four rings with defects in one place, four elsewhere: all correlate above 0.9, and four masks are equal."""
    centre = _disc(31.5, 31.5, radius)
    places = [_disc(y, x, 4) for y, x in [(4, 31), (59, 31), (31, 4), (31, 59)]]
    masks = [centre] * 4 + places
    rings = _rings()
    images = []
    for index, (ring, mask) in enumerate(zip(rings, masks, strict=True)):
        marks = _tile(40 + index) * 0.6  # each dirt has clouds of its own
        images.append(_u8(np.where(mask, 0.3 * ring + marks, ring)))
    small = thumbnails_of(images, masks)
    assert (small.image @ small.image.T).min() > 0.7
    assert near_pairs(small, ["dirt"] * 8) == []
    again = thumbnails_of([*images, _u8(0.8 * images[0] + 20.0)], [*masks, centre])
    assert near_pairs(again, ["dirt"] * 9) == [(0, 8)]  # and a second exposure of one is found


def test_a_product_with_too_few_other_defects_is_left_alone() -> None:
    images, masks, _ = _exposures(1)
    assert near_pairs(thumbnails_of(images, masks), ["hole"] * 3) == []
    assert near_pairs(thumbnails_of(images[:1], masks[:1]), ["hole"]) == []
    flat = [np.full((20, 30), 9, np.uint8)] * 6
    assert near_pairs(thumbnails_of(flat, [np.ones((20, 30), bool)] * 6), ["hole"] * 6) == []


def test_groups_are_connected_components() -> None:
    assert group_numbers(6, [(4, 2), (0, 4), (3, 5)]) == [0, 1, 0, 2, 0, 2]
    assert group_numbers(3, []) == [0, 1, 2]


def test_files_in_any_order_and_sizes(tmp_path: Path) -> None:
    images, masks, tiles = _exposures()
    images[1] = cv2.resize(images[1], (96, 80))
    masks[1] = cv2.resize(masks[1].astype(np.uint8), (96, 80)) > 0
    records = _write(tmp_path, images, masks)
    groups = duplicate_groups(records)
    assert groups == duplicate_groups(records[::-1])
    assert [groups[record.path] for record in records if not record.is_good] == tiles
    assert describe_groups(records, groups) == [
        "tile: 15 defects are of 5 different originals; near-duplicates stay on one side"
    ]
    for seed in range(3):
        base, test = base_split(records, variant="random", seed=seed, groups=groups)
        assert not {groups[record.path] for record in base} & {groups[record.path] for record in test}
        assert len(base) == 6  # 5 are wanted; originals have 3


def test_good_images_that_nearly_equal_others() -> None:
    rings = _rings(12)
    train, test = rings[:8], [*rings[8:], _u8(0.9 * rings[3] + 10.0)]
    small, other = thumbnails_of(train, [None] * 8), thumbnails_of(test, [None] * 5)
    assert nearly_equal(other, small) == 1  # not all five, though all correlate above 0.98
    assert ((other.image @ small.image.T).max(axis=1) > 0.98).all()
    assert nearly_equal(thumbnails_of([], []), small) == 0


@pytest.mark.parametrize("name", ["mvtec_ad_bottle", "mvtec_3d_tire"])
def test_real_sets_without_near_duplicates_keep_their_split(shared_dir: Path, name: str) -> None:
    records = read_data(shared_dir / "data" / name).records
    groups = duplicate_groups(records)
    for seed in range(3):
        variant = "sorted" if seed == 0 else "random"
        plain = base_split(records, variant=variant, seed=seed)
        assert base_split(records, variant=variant, seed=seed, groups=groups) == plain


def test_real_exposures_stay_on_one_side(shared_dir: Path) -> None:
    records = read_data(shared_dir / "data" / "magnetic_tile").records
    base, test = base_split(records, variant="sorted", seed=0, groups=duplicate_groups(records))
    held = [record for record in test if not record.is_good]
    assert len(base) + len(held) == 388
    own = [*base, *held]
    pairs = near_pairs(load_thumbnails(own), [record.defect for record in own])
    assert len(pairs) > 500
    assert not [(i, j) for i, j in pairs if i < len(base) <= j]
    first = {path.name: number for path, number in duplicate_groups(records).items()}
    assert first["exp1_num_108719.jpg"] == first["exp2_num_108741.jpg"] == first["exp4_num_108774.jpg"]
