"""Rendered parts: determinism, shapes, visible defects with exact masks, and the written data set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from anomalyhybrid.data.parts import DEFECTS, PRODUCTS, RenderedPart, render, render_pair, write_dataset
from anomalyhybrid.errors import ConfigError

FIELDS = ("image_u8", "depth", "contours", "object_mask", "label_mask")


def same(first: RenderedPart, second: RenderedPart) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in FIELDS)


@pytest.mark.parametrize("product", PRODUCTS)
def test_good_part_has_documented_shapes_and_is_deterministic(product: str) -> None:
    part = render(product, product_seed=1, image_seed=2, size=64)
    assert part.image_u8.shape == (64, 64, 3)
    assert part.image_u8.dtype == np.uint8
    for name in ("depth", "contours"):
        field = getattr(part, name)
        assert field.shape == (64, 64)
        assert field.dtype == np.float32
        assert field.min() >= 0
        assert field.max() <= 1
    assert part.object_mask.dtype == bool
    assert part.object_mask.mean() > 0.05
    assert part.image_u8.std() > 4
    assert part.defect == "good"
    assert not part.label_mask.any()
    assert same(part, render(product, product_seed=1, image_seed=2, size=64))
    assert not np.array_equal(part.image_u8, render(product, product_seed=1, image_seed=3, size=64).image_u8)


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("defect", DEFECTS)
def test_defect_is_visible_on_the_object_and_nothing_else_changes(product: str, defect: str) -> None:
    good, bad = render_pair(product, product_seed=4, image_seed=5, defect=defect, defect_seed=6, size=96)
    label = bad.label_mask
    assert bad.defect == defect
    assert label.any()
    assert label.mean() < 0.35
    change = np.abs(bad.image_u8.astype(int) - good.image_u8)
    assert change[label].mean() > 6
    near_object = cv2.dilate(good.object_mask.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    assert not (label & ~near_object).any()
    for name in ("image_u8", "depth", "contours"):
        assert np.array_equal(getattr(good, name)[~label], getattr(bad, name)[~label])


def test_pair_equals_single_renders() -> None:
    good, bad = render_pair("nut", product_seed=3, image_seed=8, defect="dent", defect_seed=2, size=64)
    assert same(good, render("nut", product_seed=3, image_seed=8, size=64))
    assert same(bad, render("nut", product_seed=3, image_seed=8, size=64, defect="dent", defect_seed=2))


@pytest.mark.parametrize(("defect", "sign", "least"), [("dent", -1, 0.01), ("bump", 1, 0.01), ("hole", -1, 0.08)])
@pytest.mark.parametrize("product", ["plate", "capsule", "ring"])
def test_depth_follows_the_defect(product: str, defect: str, sign: int, least: float) -> None:
    good, bad = render_pair(product, product_seed=2, image_seed=1, defect=defect, defect_seed=9, size=96)
    change = (bad.depth - good.depth)[bad.label_mask] * sign
    assert np.quantile(change, 0.9) > least
    assert change.min() > -0.03


def test_depth_of_a_product_is_not_rescaled_by_its_defect() -> None:
    good, bad = render_pair("plate", product_seed=2, image_seed=1, defect="hole", defect_seed=9, size=96)
    assert np.array_equal(good.depth[~bad.label_mask], bad.depth[~bad.label_mask])


def test_contours_gain_lines_where_a_hole_is_cut() -> None:
    good, bad = render_pair("plate", product_seed=3, image_seed=1, defect="hole", defect_seed=3, size=96)
    assert bad.contours[bad.label_mask].sum() > good.contours[bad.label_mask].sum()


def test_written_dataset_has_exactly_the_mvtec_files(tmp_path: Path) -> None:
    folder = write_dataset(
        tmp_path,
        product="nut",
        product_seed=1,
        seed=2,
        train_good=2,
        test_good=1,
        defects_per_kind=1,
        size=64,
        with_depth=True,
    )
    images = {"train/good/000", "train/good/001", "test/good/000"} | {f"test/{d}/000" for d in DEFECTS}
    expected = {f"{name}.png" for name in images} | {f"depth/{name}.png" for name in images}
    expected |= {f"ground_truth/{d}/000_mask.png" for d in DEFECTS}
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == expected
    assert folder == tmp_path / "nut"
    label = cv2.imread(str(folder / "ground_truth/hole/000_mask.png"), cv2.IMREAD_UNCHANGED)
    assert label is not None
    assert set(np.unique(label)) == {0, 255}
    depth = cv2.imread(str(folder / "depth/test/hole/000.png"), cv2.IMREAD_UNCHANGED)
    assert depth is not None
    assert depth.dtype == np.uint16


def test_same_seeds_write_the_same_bytes(tmp_path: Path) -> None:
    def write(name: str) -> dict[str, bytes]:
        folder = write_dataset(tmp_path / name, product="plate", product_seed=1, seed=5, train_good=2, size=64)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}

    first = write("a")
    assert first == write("b")
    assert first["train/good/000.png"] != first["train/good/001.png"]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"product": "capsul"}, "'capsule'"),
        ({"product": "nut", "defect": "scrach"}, "'scratch'"),
        ({"product": "nut", "size": 31}, "32"),
    ],
)
def test_unknown_names_and_sizes_are_told_with_the_nearest(arguments: dict, hint: str) -> None:
    product = arguments.pop("product")
    with pytest.raises(ConfigError, match=hint):
        render(product, product_seed=1, image_seed=1, **arguments)


def test_negative_count_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="train_good"):
        write_dataset(tmp_path, product="nut", product_seed=1, seed=1, train_good=-1)
