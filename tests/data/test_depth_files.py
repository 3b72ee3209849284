"""Depth files: what is valid, what is refused, and round trips that keep every number that was not to change."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from anomalyhybrid.data import files
from anomalyhybrid.data.depth_files import DepthImage, info_path, read_depth, write_depth
from anomalyhybrid.errors import DataError


def cloud_with_holes(dtype: type = np.float32) -> np.ndarray:
    """(40, 50, 3) with unmeasured points of every kind: zeros, minus zero, NaN (two bit patterns), infinity."""
    rng = np.random.default_rng(0)
    cloud = rng.uniform(0.4, 0.6, (40, 50, 3)).astype(dtype)
    cloud[..., 0] -= 0.5  # x has both signs
    cloud[3:9, 4:12] = 0
    cloud[20, 20] = -0.0
    cloud[21, 20] = np.nan
    cloud[22, 20, 2] = np.inf
    cloud[23, 20, 0] = np.nan  # x alone
    if dtype is np.float32:
        cloud[24, 20, 2] = np.array(0x7FC12345, np.uint32).view(np.float32)
    return cloud


def put(path: Path, values: np.ndarray, **settings: object) -> Path:
    if path.suffix == ".png":
        done, code = cv2.imencode(".png", values)
        assert done
        path.write_bytes(code.tobytes())
    else:
        chosen = {"photometric": "minisblack"} | ({"planarconfig": "contig"} if values.ndim == 3 else {}) | settings
        tifffile.imwrite(path, values, **chosen)  # type: ignore[arg-type]
    return path


def bits(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values).tobytes()


def region(shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape[:2], bool)
    mask[6:30, 8:30] = True  # holds all kinds of holes of the cloud
    return mask


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cloud_round_trip_keeps_channels_holes_and_unmodified_points(tmp_path: Path, dtype: type) -> None:
    cloud = cloud_with_holes(dtype)
    depth = read_depth(put(tmp_path / "in.tiff", cloud), shape=(40, 50))
    assert (depth.kind, depth.raw.dtype, depth.values.dtype) == ("xyz", dtype, dtype)
    assert bits(depth.raw) == bits(cloud)
    holes = np.zeros((40, 50), bool)
    holes[3:9, 4:12] = True
    holes[20:24, 20] = True
    if dtype is np.float32:
        holes[24, 20] = True
    np.testing.assert_array_equal(depth.valid, ~holes)
    changed = region(cloud.shape)
    new = depth.values - 0.01
    seen = write_depth(tmp_path / "out.tiff", depth, new, changed)

    stored = tifffile.imread(tmp_path / "out.tiff")
    assert (stored.shape, stored.dtype) == (cloud.shape, dtype)
    moved = changed & ~holes
    assert bits(stored[~moved]) == bits(cloud[~moved])  # unmodified points and holes, NaN patterns too
    assert bits(stored[..., :2]) == bits(cloud[..., :2])  # x and y everywhere
    np.testing.assert_array_equal(stored[moved][:, 2], new[moved].astype(dtype))
    again = read_depth(tmp_path / "out.tiff")
    np.testing.assert_array_equal(again.valid, depth.valid)
    np.testing.assert_array_equal(again.values, seen.values)
    assert bits(depth.raw) == bits(cloud)  # the original is left as it was


def test_written_cloud_is_read_by_others_in_the_same_order(tmp_path: Path) -> None:
    cloud = cloud_with_holes()
    depth = read_depth(put(tmp_path / "in.tiff", cloud))
    write_depth(tmp_path / "out.tiff", depth, depth.values, np.zeros(depth.valid.shape, bool))
    assert bits(tifffile.imread(tmp_path / "out.tiff")) == bits(cloud)
    assert bits(cv2.imread(str(tmp_path / "out.tiff"), cv2.IMREAD_UNCHANGED)[..., ::-1]) == bits(cloud)
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_clouds_stored_as_planes_pages_or_big_endian(tmp_path: Path, byteorder: str) -> None:
    cloud = cloud_with_holes()
    planes = np.moveaxis(cloud, -1, 0)
    put(tmp_path / "pixels.tiff", cloud, byteorder=byteorder)
    put(tmp_path / "planes.tiff", planes, planarconfig="separate", photometric="rgb", byteorder=byteorder)
    put(tmp_path / "pages.tiff", planes, planarconfig=None, byteorder=byteorder)
    put(tmp_path / "deflate.tiff", cloud, compression="zlib", byteorder=byteorder)
    for path in tmp_path.glob("*.tiff"):
        depth = read_depth(path, shape=(40, 50))
        assert (depth.kind, bits(depth.raw)) == ("xyz", bits(cloud)), path.name


def test_lzw_is_decoded_with_channels_in_order(tmp_path: Path) -> None:
    cloud = np.random.default_rng(3).uniform(0.4, 0.6, (40, 50, 3)).astype(np.float32)
    settings = [cv2.IMWRITE_TIFF_COMPRESSION, 5]
    assert cv2.imwrite(str(tmp_path / "cloud.tiff"), cloud[..., ::-1], settings)
    assert cv2.imwrite(str(tmp_path / "z.tiff"), np.ascontiguousarray(cloud[..., 2]), settings)
    with pytest.raises(ValueError, match="imagecodecs"), tifffile.TiffFile(tmp_path / "z.tiff") as tiff:
        tiff.asarray()  # so the other decoder is the one that is tried
    assert bits(read_depth(tmp_path / "cloud.tiff").raw) == bits(cloud)
    assert bits(read_depth(tmp_path / "z.tiff").raw) == bits(cloud[..., 2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.int32])
def test_one_channel_tiff_round_trip(tmp_path: Path, dtype: type) -> None:
    raw = np.random.default_rng(1).uniform(400, 600, (40, 50)).astype(dtype)
    raw[10, 10:14] = 0
    depth = read_depth(put(tmp_path / "in.tif", raw))
    assert (depth.kind, int((~depth.valid).sum())) == ("tiff", 4)
    changed = region(raw.shape)
    write_depth(tmp_path / "out.tif", depth, depth.values + 7.6, changed)
    stored = tifffile.imread(tmp_path / "out.tif")
    assert stored.dtype == dtype
    moved = changed & (raw != 0)
    assert bits(stored[~moved]) == bits(raw[~moved])
    whole = np.issubdtype(dtype, np.integer)
    expected = (raw[moved] + 8) if whole else (depth.values[moved] + 7.6).astype(dtype)
    np.testing.assert_array_equal(stored[moved], expected)


def test_png_round_trip_rounds_and_stays_within_16_bits_and_off_zero(tmp_path: Path) -> None:
    raw = np.full((20, 20), 1000, np.uint16)
    raw[0] = 0
    depth = read_depth(put(tmp_path / "in.png", raw))
    assert (depth.kind, depth.values.dtype) == ("png16", np.float32)
    new = np.full((20, 20), np.nan, np.float32)
    new[1:, :] = 5
    new[1, :6] = [1000.4, 1000.6, -3, 0, 70000, 65534.6]
    changed = np.ones((20, 20), bool)
    changed[5:] = False
    seen = write_depth(tmp_path / "out.png", depth, new, changed)  # NaN in row 0 is never read: nothing measured there
    stored = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    assert stored[1, :6].tolist() == [1000, 1001, 1, 1, 65535, 65535]
    assert (stored[0] == 0).all()
    assert (stored[5:] == 1000).all()
    np.testing.assert_array_equal(seen.values, stored)
    assert not info_path(tmp_path / "out.png").exists()


def test_png_with_a_stored_range(tmp_path: Path) -> None:
    raw = np.random.default_rng(2).integers(0, 65536, (20, 20), dtype=np.uint16)
    raw[0, 0], raw[0, 1], raw[19, 19] = 0, 65535, 30000
    (tmp_path / "000_info_depth.yaml").write_text("normalization:\n  min: 0.5\n  max: 2.5\nother: 1\n")
    depth = read_depth(put(tmp_path / "000_depth.png", raw))
    assert depth.valid.all()  # 0 is the nearest point, not a hole
    assert (depth.stored_range, depth.values.dtype) == ((0.5, 2.5), np.float64)
    np.testing.assert_allclose(depth.values[0, :2], [0.5, 2.5])
    np.testing.assert_allclose(depth.values[19, 19], 0.5 + 2 * 30000 / 65535)
    changed = np.zeros((20, 20), bool)
    changed[18:] = True
    new = depth.values.copy()
    new[18:] = 1.5
    new[18, 0] = 9.0
    new[18, 1] = 0.1
    (tmp_path / "new").mkdir()
    write_depth(tmp_path / "new" / "7_depth.png", depth, new, changed)
    assert (tmp_path / "new" / "7_info_depth.yaml").is_file()
    again = read_depth(tmp_path / "new" / "7_depth.png")
    assert bits(again.raw[:18]) == bits(raw[:18])
    assert again.stored_range == depth.stored_range
    np.testing.assert_allclose(again.values[18, 2:], 1.5, atol=2 / 65535)
    assert again.raw[18, :2].tolist() == [65535, 0]


def test_every_number_survives_a_stored_range(tmp_path: Path) -> None:
    raw = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    (tmp_path / "a_info_depth.yml").write_text("normalization: {max: 3.3, min: 0.7}")
    depth = read_depth(put(tmp_path / "a.png", raw))
    write_depth(tmp_path / "b.png", depth, depth.values, np.ones((256, 256), bool))
    assert bits(read_depth(tmp_path / "b.png").raw) == bits(raw)


def test_disparities_may_be_negative_and_stay_off_zero(tmp_path: Path) -> None:
    raw = np.array([[-2.0, 3.0], [0.0, 1.0]], np.float32)
    depth = read_depth(put(tmp_path / "in.tiff", raw), nearer_is_larger=True)
    assert depth.nearer_sign == 1
    assert depth.valid.tolist() == [[True, True], [False, True]]
    out = write_depth(tmp_path / "out.tiff", depth, np.zeros((2, 2)), np.ones((2, 2), bool))
    assert out.valid.tolist() == depth.valid.tolist()
    assert abs(out.values).max() < 1e-30


def test_disparities_in_png_stay_off_zero(tmp_path: Path) -> None:
    depth = read_depth(put(tmp_path / "in.png", np.full((20, 20), 9, np.uint16)), nearer_is_larger=True)
    out = write_depth(tmp_path / "out.png", depth, np.linspace(-1, 0.6, 400).reshape(20, 20), np.ones((20, 20), bool))
    assert (out.raw == 1).all()
    assert out.valid.all()


def test_files_of_8_bits_stay_8_bits(tmp_path: Path) -> None:
    depth = read_depth(put(tmp_path / "in.png", np.full((20, 20), 9, np.uint8)))
    write_depth(tmp_path / "out.png", depth, np.full((20, 20), 300.0), np.eye(20, dtype=bool))
    stored = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored, np.where(np.eye(20, dtype=bool), 255, 9))


NAN = np.float32(np.nan)


@pytest.mark.parametrize(
    ("name", "values", "match"),
    [
        ("a.png", np.zeros((20, 20), np.uint16), "no pixel holds a measurement"),
        ("a.tiff", np.full((20, 20), NAN), "no pixel holds a measurement"),
        ("a.tiff", np.zeros((20, 20, 3), np.float32), "no pixel holds a measurement"),
        ("a.tiff", np.full((20, 20), -1, np.float32), "distances must be positive, the smallest is -1"),
        ("a.tiff", np.ones((20, 20, 2), np.float32), "two channels"),
        ("a.tiff", np.ones((2, 20, 20), np.float32), "two channels"),
        ("a.tiff", np.ones((20, 20, 4), np.float32), "one channel is needed"),
        ("a.tiff", np.ones((20, 20, 3), np.uint8), "no colour picture"),
        ("a.png", np.ones((20, 20, 3), np.uint8), "no colour picture"),
        ("a.png", np.ones((21, 20), np.uint16), "is 21x20 but its image is 20x20"),
    ],
)
def test_unusable_depth_is_refused(tmp_path: Path, name: str, values: np.ndarray, match: str) -> None:
    settings = {"planarconfig": None} if values.shape[0] == 2 else {}
    path = put(tmp_path / name, values, **settings)
    with pytest.raises(DataError, match=match) as caught:
        read_depth(path, shape=(20, 20))
    assert name in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"II*\0", b"II*\0\x08\0\0\0\xff\xff", b"\x89PNG\r\n\x1a\n12"])
def test_broken_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tiff").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read depth .*a\.tiff"):
        read_depth(tmp_path / "a.tiff")
    with pytest.raises(DataError, match="cannot read depth"):
        read_depth(tmp_path / "none.png")


@pytest.mark.parametrize("keep", [9, 0.5, 0.95])
def test_cut_files_are_refused(tmp_path: Path, keep: float) -> None:
    for name in ("a.png", "a.tiff"):
        path = put(tmp_path / name, np.random.default_rng(0).integers(1, 60000, (40, 40), dtype=np.uint16))
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
        with pytest.raises(DataError, match="cannot read depth"):
            read_depth(path)


@pytest.mark.parametrize(
    "text", ["", "x: 1", "normalization: 3", "normalization: {min: 1}", "normalization: {min: a, max: 2}", "\t: ["]
)
def test_damaged_ranges_are_refused(tmp_path: Path, text: str) -> None:
    path = put(tmp_path / "0_depth.png", np.ones((20, 20), np.uint16))
    info_path(path).write_text(text + "\n")
    with pytest.raises(DataError, match=r"0_info_depth\.yaml gives no depth range"):
        read_depth(path)


@pytest.mark.parametrize(("low", "high"), [(2, 2), (3, 1), (-1, 1), (0, ".inf"), (".nan", 1)])
def test_impossible_ranges_are_refused(tmp_path: Path, low: object, high: object) -> None:
    path = put(tmp_path / "0_depth.png", np.ones((20, 20), np.uint16))
    info_path(path).write_text(f"normalization: {{min: {low}, max: {high}}}\n")
    with pytest.raises(DataError, match="min < max"):
        read_depth(path)


def _flat(tmp_path: Path, name: str = "in.tiff") -> DepthImage:
    dtype = np.uint16 if name.endswith("png") else np.float32
    return read_depth(put(tmp_path / name, np.full((20, 20), 2, dtype)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.0, 1e300])
def test_new_depth_that_cannot_be_is_refused(tmp_path: Path, value: float) -> None:
    depth = _flat(tmp_path)
    with pytest.raises(DataError, match=r"not finite|behind the camera"):
        write_depth(tmp_path / "out.tiff", depth, np.full((20, 20), value), np.ones((20, 20), bool))
    assert not (tmp_path / "out.tiff").exists()
    write_depth(tmp_path / "out.tiff", depth, np.full((20, 20), value), np.zeros((20, 20), bool))


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    depth = _flat(tmp_path)
    same, everywhere = depth.values, np.ones((20, 20), bool)
    with pytest.raises(DataError, match=r"must end in \.tif"):
        write_depth(tmp_path / "out.png", depth, same, everywhere)
    with pytest.raises(DataError, match=r"must end in \.png"):
        write_depth(tmp_path / "out.tif", _flat(tmp_path, "in.png"), same, everywhere)
    for values, changed in ((same[:5], everywhere), (same, everywhere[:5]), (same, everywhere.astype(np.uint8))):
        with pytest.raises(DataError, match="changed bool"):
            write_depth(tmp_path / "out.tiff", depth, values, changed)
    with pytest.raises(DataError, match="does not exist"):
        write_depth(tmp_path / "none" / "out.tiff", depth, same, everywhere)


@pytest.mark.parametrize("name", ["in.tiff", "in.png"])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    depth = _flat(tmp_path, name)
    before = (tmp_path / name).read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(DataError, match="disk is full"):
        write_depth(tmp_path / name, depth, depth.values + 1, np.ones((20, 20), bool))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before
