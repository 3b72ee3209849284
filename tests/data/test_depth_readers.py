"""Readers of 3-D data: MVTec 3D-AD, Eyecandies, RGB and depth pairs, MVTec AD with a depth tree."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from anomalyhybrid.data.depth_files import read_depth
from anomalyhybrid.data.loading import check_images, load_image
from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.data.reading import read_base_set, read_data, read_many
from anomalyhybrid.data.records import DataFolder
from anomalyhybrid.errors import DataError

Build = Callable[..., Path]


def _counts(folder: DataFolder) -> list[int]:
    return [len(folder.normals()), len(folder.normals(split="test")), len(folder.defects())]


def _all_depth_fits(folder: DataFolder) -> None:
    """Every record has depth of its own image's size, at its own stem."""
    for record in check_images(folder.records, skip_unreadable=False):
        assert record.depth_path is not None
        assert read_depth(record.depth_path, shape=load_image(record.path).pixels.shape[:2]).valid.any()


def test_mvtec_3d(dummy_mvtec_3d: Build) -> None:
    root = dummy_mvtec_3d()
    folder = read_data(root)
    assert (folder.layout, folder.categories, folder.root) == ("mvtec_3d", ("bagel",), root)
    assert _counts(folder) == [5, 2, 3]  # validation images are normals
    assert folder.defect_types() == ("cut", "hole")
    assert folder.ignored == ("calibration",)
    record = folder.defects(defect="hole")[1]
    assert record.relative == "test/hole/rgb/001.png"
    assert record.mask_path == root / "test" / "hole" / "gt" / "001.png"
    assert record.depth_path == root / "test" / "hole" / "xyz" / "001.tiff"
    assert all(record.mask_path is None for record in folder.records if record.is_good)
    assert folder.normals()[3].relative == "validation/good/rgb/000.png"
    assert "MVTec 3D-AD layout" in folder.describe()
    assert "measured depth for all" in folder.describe()
    _all_depth_fits(folder)


def test_mvtec_3d_of_several_categories(tmp_path: Path, dummy_mvtec_3d: Build) -> None:
    dummy_mvtec_3d("set/tire")
    dummy_mvtec_3d("set/bagel", validation=0)
    (tmp_path / "set" / "other").mkdir()
    folder = read_data(tmp_path / "set")
    assert folder.categories == ("bagel", "tire")
    assert folder.records[0].relative == "bagel/train/good/rgb/000.png"
    assert folder.ignored == ("other", "bagel/calibration", "tire/calibration")


def test_mvtec_3d_lists_all_problems(dummy_mvtec_3d: Build) -> None:
    root = dummy_mvtec_3d()
    (root / "train/good/xyz/000.tiff").unlink()
    (root / "test/hole/rgb/000.png").unlink()
    (root / "test/cut/gt/000.png").unlink()
    with pytest.raises(DataError) as caught:
        read_data(root)
    text = str(caught.value)
    assert "train/good/rgb/000.png: no depth file of that stem" in text
    assert "test/hole/xyz/000.tiff: depth without an image" in text
    assert "test/hole/gt/000.png: a mask without an image" in text
    assert "test/cut/rgb/000.png: no mask named" in text


def test_mvtec_3d_base_set_needs_no_good_images(dummy_mvtec_3d: Build) -> None:
    root = dummy_mvtec_3d()
    shutil.rmtree(root / "train")
    folder = read_base_set(root, category="bread")
    assert (folder.layout, folder.categories, len(folder.records)) == ("mvtec_3d", ("bread",), 3)
    assert {record.split for record in folder.records} == {"train"}
    assert all(record.depth_path is not None and record.mask_path is not None for record in folder.records)
    dummy_mvtec_3d("empty", train=0)
    with pytest.raises(DataError, match="train/good"):
        read_data(root.parent / "empty")


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_eyecandies(dummy_eyecandies: Build, suffix: str) -> None:
    root = dummy_eyecandies(suffix=suffix)
    folder = read_data(root)
    assert (folder.layout, folder.categories) == ("eyecandies", ("CandyCane",))
    assert _counts(folder) == [4, 1, 2]
    assert folder.defect_types() == ("bumps", "combined")
    assert [record.relative for record in folder.records] == [
        "train/data/000_image_5.png",
        "train/data/001_image_5.png",
        "train/data/002_image_5.png",
        "val/data/000_image_5.png",
        "test_public/data/00_image_5.png",
        "test_public/data/01_image_5.png",
        "test_public/data/02_image_5.png",
    ]
    defect = folder.defects()[0]
    assert defect.mask_path == root / "test_public/data/01_mask.png"
    assert defect.depth_path == root / "test_public/data/01_depth.png"
    assert folder.ignored == ("test_private",)
    assert "Eyecandies layout" in folder.describe()
    _all_depth_fits(folder)
    assert len(read_base_set(root).records) == 2


def test_eyecandies_takes_a_lighting_that_all_samples_have(dummy_eyecandies: Build) -> None:
    root = dummy_eyecandies()
    (root / "train/data/001_image_5.png").unlink()
    assert {record.path.stem[-1] for record in read_data(root).records} == {"4"}


def test_eyecandies_names_what_is_missing(dummy_eyecandies: Build) -> None:
    root = dummy_eyecandies(lights=1)
    (root / "train/data/000_depth.png").unlink()
    (root / "train/data/001_info_depth.yaml").unlink()
    (root / "test_public/data/01_mask.png").unlink()
    (root / "val/data/000_image_0.png").unlink()
    with pytest.raises(DataError) as caught:
        read_data(root)
    text = str(caught.value)
    assert "train/data/000_depth.png: missing" in text
    assert "train/data/001_info_depth.yaml: missing" in text
    assert "test_public/data/01_mask.png: missing" in text
    assert "val/data/000_image_K.png: no lighting" in text


@pytest.mark.parametrize(
    "folders", [("rgb", "depth", "ground_truth"), ("images", "disparity", "masks"), ("rgb", "depth", "label")]
)
def test_rgb_depth_pairs(dummy_rgb_depth: Build, folders: tuple[str, str, str]) -> None:
    root = dummy_rgb_depth(folders=folders)
    folder = read_data(root)
    assert (folder.layout, folder.categories) == ("rgb_depth", ("road",))
    assert _counts(folder) == [2, 0, 2]
    assert [record.path.stem for record in folder.normals()] == ["c", "d"]
    record = folder.defects()[1]
    assert record.depth_path == root / folders[1] / "b.png"
    assert record.mask_path == root / folders[2] / "b.png"
    assert "RGB and depth pairs" in folder.describe()
    _all_depth_fits(folder)
    base = read_base_set(root)
    assert [record.path.stem for record in base.records] == ["a", "b"]
    assert all(record.depth_path is not None for record in base.records)


def test_rgb_depth_problems(dummy_rgb_depth: Build) -> None:
    root = dummy_rgb_depth()
    (root / "depth/a.png").rename(root / "depth/z.png")
    (root / "rgb/b.png").unlink()
    with pytest.raises(DataError) as caught:
        read_data(root)
    text = str(caught.value)
    assert "rgb/a.png: no depth file of that stem" in text
    assert "depth/z.png: depth without an image" in text
    assert "ground_truth/b.png: a mask without an image" in text
    (root / "disparity").mkdir()
    with pytest.raises(DataError, match="depth and disparity; keep one"):
        read_data(root)


def test_mixed_layouts_are_refused(tmp_path: Path, dummy_rgb_depth: Build, dummy_mvtec: Build) -> None:
    roots = [dummy_rgb_depth("set/road"), dummy_mvtec("set/bottle")]
    with pytest.raises(DataError, match=r"several layouts \(RGB and depth pairs: road; MVTec AD: bottle\)"):
        read_data(tmp_path / "set")
    both = read_many(roots)
    assert both.layout == "mixed"
    assert "measured depth for 4 images" in both.describe()


def test_parts_with_true_depth(tmp_path: Path) -> None:
    root = write_dataset(
        tmp_path, product="cookie", product_seed=0, seed=0, train_good=2, defects_per_kind=1, size=64, with_depth=True
    )
    folder = read_data(tmp_path)
    assert (folder.layout, folder.ignored) == ("mvtec_ad", ())
    assert folder.records[0].depth_path == root / "depth" / "train" / "good" / "000.png"
    _all_depth_fits(folder)
    cv2.imwrite(str(root / "depth/train/good/000.tiff"), np.ones((64, 64), np.float32))
    with pytest.raises(DataError, match="more than one depth file"):
        read_data(root)


def test_a_folder_named_depth_without_depth_is_left_alone(dummy_mvtec: Build) -> None:
    root = dummy_mvtec("bottle")
    (root / "depth").mkdir()
    folder = read_data(root)
    assert folder.ignored == ("depth",)
    assert "measured depth" not in folder.describe()


def test_shared_sets(shared_dir: Path) -> None:
    road = read_data(shared_dir / "data" / "pothole_rgbd")
    assert (road.layout, _counts(road)) == ("rgb_depth", [0, 0, 67])
    assert all(record.depth_path and record.depth_path.stem == record.path.stem for record in road.records)
    tire = read_data(shared_dir / "data" / "mvtec_3d_tire")  # colour alone, in MVTec AD layout
    assert tire.layout == "mvtec_ad"
    assert not any(record.depth_path for record in tire.records)
