"""Measured depth: pairing, formats, holes, and which end is near."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from anomalyhybrid.conditions.measured import MeasuredDepth
from anomalyhybrid.errors import DataError

IMAGE = Path("test/hole/000.jpg")


def put(folder: Path, values: np.ndarray, suffix: str = ".png") -> Path:
    path = folder / IMAGE.with_suffix(suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".png":
        cv2.imwrite(str(path), values)
    else:
        tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig" if values.ndim == 3 else None)
    return path


def test_distances_become_inverse_depth_with_holes_far(tmp_path: Path):
    put(tmp_path, np.array([[1000, 2000], [4000, 0]], np.uint16))
    depth = MeasuredDepth(folder=tmp_path).read(IMAGE, shape=(2, 2))
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, [[1.0, 1 / 3], [0.0, 0.0]], atol=1e-6)


def test_disparities_keep_their_order(tmp_path: Path):
    put(tmp_path, np.array([[10, 20], [30, 0]], np.uint16))
    depth = MeasuredDepth(folder=tmp_path, nearer_is_larger=True).read(IMAGE, shape=(2, 2))
    np.testing.assert_allclose(depth, [[0.0, 0.5], [1.0, 0.0]], atol=1e-6)


def test_float_tiff_with_nan_and_xyz(tmp_path: Path):
    z = np.array([[1.0, np.nan], [2.0, 4.0]], np.float32)
    expected = [[1.0, 0.0], [1 / 3, 0.0]]
    path = put(tmp_path, z, ".tiff")
    np.testing.assert_allclose(MeasuredDepth(folder=tmp_path).read(IMAGE, shape=(2, 2)), expected, atol=1e-6)
    path.unlink()
    put(tmp_path, np.stack([z * 0 + 9, z * 0 + 8, z], axis=-1), ".tiff")
    np.testing.assert_allclose(MeasuredDepth(folder=tmp_path).read(IMAGE, shape=(2, 2)), expected, atol=1e-6)


def test_constant_depth_is_zero(tmp_path: Path):
    put(tmp_path, np.full((2, 2), 7, np.uint16))
    assert not MeasuredDepth(folder=tmp_path).read(IMAGE, shape=(2, 2)).any()


@pytest.mark.parametrize(
    ("values", "suffix", "match"),
    [
        (np.zeros((2, 2), np.uint16), ".png", "no pixel holds a measurement"),
        (np.full((2, 2), np.nan, np.float32), ".tif", "no pixel holds a measurement"),
        (np.array([[-1.0, 2.0], [3.0, 4.0]], np.float32), ".tif", "nearer_is_larger"),
        (np.ones((3, 2), np.uint16), ".png", "3x2 but its image is 2x2"),
        (np.ones((2, 2, 3), np.uint16), ".png", "one channel"),
    ],
)
def test_unusable_maps_are_refused(tmp_path: Path, values: np.ndarray, suffix: str, match: str):
    path = put(tmp_path, values, suffix)
    with pytest.raises(DataError, match=match) as caught:
        MeasuredDepth(folder=tmp_path).read(IMAGE, shape=(2, 2))
    assert path.name in str(caught.value)


def test_missing_ambiguous_and_broken_files(tmp_path: Path):
    reader = MeasuredDepth(folder=tmp_path)
    with pytest.raises(DataError, match="no depth file"):
        reader.read(IMAGE, shape=(2, 2))
    path = put(tmp_path, np.ones((2, 2), np.uint16))
    path.write_bytes(b"nonsense")
    with pytest.raises(DataError, match="cannot read depth"):
        reader.read(IMAGE, shape=(2, 2))
    put(tmp_path, np.ones((2, 2), np.float32), ".tiff").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="more than one"):
        reader.read(IMAGE, shape=(2, 2))
    path.unlink()
    with pytest.raises(DataError, match="cannot read depth"):
        reader.read(IMAGE, shape=(2, 2))


def test_leading_folders_may_be_missing_but_not_the_images_own(tmp_path: Path) -> None:
    for name in ("train/good/000.png", "000.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.full((4, 4), 7, np.uint16))
    depth = MeasuredDepth(folder=tmp_path)
    assert depth.path_for(Path("bottle/train/good/000.jpg")) == tmp_path / "train/good/000.png"
    assert depth.path_for(Path("000.jpg")) == tmp_path / "000.png"
    with pytest.raises(DataError, match="no depth file"):
        depth.path_for(Path("bottle/test/good/000.jpg"))
