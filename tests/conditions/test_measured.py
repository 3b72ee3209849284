"""Measured depth: pairing, formats, holes, and which end is near."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.imageset import load_image_set
from anomalyhybrid.conditions.lite import lite_edge
from anomalyhybrid.conditions.measured import MeasuredDepth
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import ConfigError, DataError

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


def record_with_depth(folder: Path, depth: Path | None) -> Record:
    path = folder / "rgb" / "000.png"
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.full((32, 32, 3), 90, np.uint8))
    return Record(
        path=path,
        relative="rgb/000.png",
        category="road",
        defect="good",
        mask_path=None,
        split="train",
        depth_path=depth,
    )


def test_records_bring_their_own_depth(tmp_path: Path) -> None:
    z = np.full((32, 32), 2.0, np.float32)
    z[:, :16] = 1.0
    z[0, 0] = 0.0
    cloud = np.stack([z * 9, z * 8, z], axis=-1)
    record = record_with_depth(tmp_path, put(tmp_path / "clouds", cloud, ".tiff"))
    measured = MeasuredDepth()
    depth = measured.read_record(record, shape=(32, 32))
    assert depth[5].tolist() == [1.0] * 16 + [0.0] * 16
    assert depth[0, 0] == 0
    loaded = measured.load(record)
    assert (loaded.kind, loaded.valid[0, 0], loaded.values[5, 31]) == ("xyz", False, 2.0)
    with pytest.raises(DataError, match="32x32 but its image is 16x32"):
        measured.read_record(record, shape=(16, 32))
    with pytest.raises(ConfigError, match="belongs to records"):
        measured.path_for(IMAGE)
    with pytest.raises(DataError, match=r"no measured depth for .*000\.png: its data set has none"):
        measured.read_record(record_with_depth(tmp_path, None), shape=(32, 32))


def test_a_given_folder_goes_before_the_records_own_depth(tmp_path: Path) -> None:
    own = put(tmp_path / "own", np.ones((32, 32), np.uint16))
    record = record_with_depth(tmp_path, own)
    other = tmp_path / "other" / "rgb" / "000.png"
    other.parent.mkdir(parents=True)
    cv2.imwrite(str(other), np.full((32, 32), 5, np.uint16))
    assert MeasuredDepth().path_of(record) == own
    assert MeasuredDepth(folder=tmp_path / "other").path_of(record) == other


def test_image_sets_take_the_records_own_depth(tmp_path: Path, lite_weights: Path) -> None:
    values = np.tile(np.linspace(1000, 2000, 32).astype(np.uint16), (32, 1))
    record = record_with_depth(tmp_path, put(tmp_path / "maps", values))
    images = load_image_set(
        [record],
        ["road"],
        size=16,
        edge=lite_edge(lite_weights),
        depth=MeasuredDepth(nearer_is_larger=True),
        cache=ConditionCache(None),
    )
    row = images.depth_u8[0, 0, 8].int()
    assert row.diff().min() > 0  # nearer to the right, as in the file
    assert (row[0] < 10, row[-1] > 245) == (True, True)
