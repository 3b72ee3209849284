"""Loading: every format and mode, every bad file, and the way to the model and back."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile

from anomalyhybrid.data.loading import (
    KeptImages,
    check_images,
    from_rgb_float,
    load_image,
    load_mask,
    mask_to_model,
    save_png,
    to_model_u8,
    to_rgb_u8,
)
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import DataError

EXACT = {"png": {}, "bmp": {}, "tiff": {}, "webp": {"lossless": True}}
UPRIGHT = {  # EXIF orientation: how Pillow turns a stored image upright
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _check(path: Path, mode: str, expected: np.ndarray) -> None:
    loaded = load_image(path)
    assert loaded.mode == mode
    assert loaded.pixels.flags.c_contiguous
    np.testing.assert_array_equal(loaded.pixels, expected)


@pytest.mark.parametrize("kind", EXACT)
def test_exact_formats(tmp_path: Path, rgb_image: np.ndarray, kind: str) -> None:
    Image.fromarray(rgb_image).save(tmp_path / f"a.{kind}", **EXACT[kind])
    _check(tmp_path / f"a.{kind}", "rgb8", rgb_image)


def test_jpeg(tmp_path: Path, rgb_image: np.ndarray) -> None:
    Image.fromarray(rgb_image).save(tmp_path / "a.jpg", quality=95)
    loaded = load_image(tmp_path / "a.jpg")
    assert loaded.mode == "rgb8"
    assert np.abs(loaded.pixels.astype(int) - rgb_image).mean() < 3


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "tiff"])
def test_grey_stays_grey(tmp_path: Path, grey_image: np.ndarray, kind: str) -> None:
    Image.fromarray(grey_image).save(tmp_path / f"a.{kind}")
    loaded = load_image(tmp_path / f"a.{kind}")
    assert (loaded.mode, loaded.pixels.shape) == ("grey8", grey_image.shape)


@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
def test_alpha_is_kept(tmp_path: Path, rgb_image: np.ndarray, grey_image: np.ndarray, kind: str) -> None:
    rgba = np.dstack([rgb_image, np.maximum(grey_image, 1)])
    Image.fromarray(rgba).save(tmp_path / f"a.{kind}", **EXACT[kind])
    _check(tmp_path / f"a.{kind}", "rgba8", rgba)


def test_grey_with_alpha_becomes_rgba(tmp_path: Path, grey_image: np.ndarray) -> None:
    Image.merge("LA", [Image.fromarray(grey_image), Image.fromarray(255 - grey_image)]).save(tmp_path / "a.png")
    _check(tmp_path / "a.png", "rgba8", np.dstack([grey_image] * 3 + [255 - grey_image]))


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff"])
def test_palette_becomes_rgb(tmp_path: Path, rgb_image: np.ndarray, kind: str) -> None:
    palette = Image.fromarray(rgb_image).quantize(32)
    palette.save(tmp_path / f"a.{kind}")
    _check(tmp_path / f"a.{kind}", "rgb8", np.asarray(palette.convert("RGB")))


def test_transparent_palette_becomes_rgba(tmp_path: Path, rgb_image: np.ndarray) -> None:
    Image.fromarray(rgb_image).quantize(32).save(tmp_path / "a.png", transparency=3)
    assert load_image(tmp_path / "a.png").mode == "rgba8"


def test_one_bit_becomes_0_and_255(tmp_path: Path, disc_mask: np.ndarray) -> None:
    Image.fromarray(disc_mask).save(tmp_path / "a.png")
    _check(tmp_path / "a.png", "grey8", disc_mask * np.uint8(255))


@pytest.mark.parametrize("kind", ["jpg", "tiff"])
def test_cmyk_becomes_rgb(tmp_path: Path, rgb_image: np.ndarray, kind: str) -> None:
    Image.fromarray(rgb_image).convert("CMYK").save(tmp_path / f"a.{kind}")
    loaded = load_image(tmp_path / f"a.{kind}")
    assert loaded.mode == "rgb8"
    assert np.abs(loaded.pixels.astype(int) - rgb_image).mean() < 4


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_tiff(tmp_path: Path, rgb16_image: np.ndarray, compression: str | None) -> None:
    tifffile.imwrite(tmp_path / "a.tif", rgb16_image, compression=compression, photometric="rgb")
    _check(tmp_path / "a.tif", "rgb16", rgb16_image)
    tifffile.imwrite(tmp_path / "b.tif", rgb16_image[..., 0], compression=compression, byteorder=">")
    _check(tmp_path / "b.tif", "grey16", rgb16_image[..., 0])


def test_16_bit_lzw_tiff_keeps_the_channel_order(tmp_path: Path, rgb16_image: np.ndarray) -> None:
    settings_lzw = [cv2.IMWRITE_TIFF_COMPRESSION, 5]
    assert cv2.imwrite(str(tmp_path / "a.tif"), rgb16_image[..., ::-1].copy(), settings_lzw)
    _check(tmp_path / "a.tif", "rgb16", rgb16_image)


def test_16_bit_png_keeps_the_low_bytes(tmp_path: Path, rgb16_image: np.ndarray) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), rgb16_image[..., ::-1].copy())
    _check(tmp_path / "a.png", "rgb16", rgb16_image)
    assert cv2.imwrite(str(tmp_path / "b.png"), rgb16_image[..., 0].copy())
    _check(tmp_path / "b.png", "grey16", rgb16_image[..., 0])


def test_float_tiff_rule(tmp_path: Path, rgb16_image: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", rgb16_image.astype(np.float32) / 65535, photometric="rgb")
    _check(tmp_path / "a.tif", "rgb16", rgb16_image)
    tifffile.imwrite(tmp_path / "b.tif", rgb16_image.astype(np.float32), photometric="rgb")
    with pytest.raises(DataError, match=r"b\.tif .*float pixels from \S+ to \S+; bring them to \[0, 1\]"):
        load_image(tmp_path / "b.tif")
    tifffile.imwrite(tmp_path / "c.tif", np.full((32, 32), np.nan, np.float32))
    with pytest.raises(DataError, match="float pixels from nan"):
        load_image(tmp_path / "c.tif")


def test_tiff_variants(tmp_path: Path, rgb_image: np.ndarray, grey_image: np.ndarray) -> None:
    planes = np.moveaxis(rgb_image, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    _check(tmp_path / "a.tif", "rgb8", rgb_image)
    tifffile.imwrite(tmp_path / "b.tif", grey_image, photometric="miniswhite")
    _check(tmp_path / "b.tif", "grey8", 255 - grey_image)
    tifffile.imwrite(tmp_path / "c.tif", np.zeros((32, 32, 7), np.uint8), planarconfig="contig")
    with pytest.raises(DataError, match=r"allowed are 1 to 4 channels"):
        load_image(tmp_path / "c.tif")


def test_first_frame_counts(tmp_path: Path, rgb_image: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([rgb_image, 255 - rgb_image]), photometric="rgb")
    _check(tmp_path / "a.tif", "rgb8", rgb_image)
    frames = [Image.fromarray(rgb_image), Image.fromarray(255 - rgb_image)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    _check(tmp_path / "a.webp", "rgb8", rgb_image)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["jpg", "png", "tiff", "lzw"])
def test_exif_orientation(tmp_path: Path, rgb_image: np.ndarray, orientation: int, kind: str) -> None:
    stored = Image.fromarray(rgb_image)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{'tif' if kind == 'lzw' else kind}"
    if kind in ("jpg", "png"):
        stored.save(path, exif=exif, **({"quality": 95} if kind == "jpg" else {}))
    else:
        stored.save(path, tiffinfo={0x0112: orientation}, compression="tiff_lzw" if kind == "lzw" else None)
    turn = UPRIGHT[orientation]
    expected = np.asarray(stored if turn is None else stored.transpose(turn))
    loaded = load_image(path).pixels
    assert loaded.shape == expected.shape
    assert np.abs(loaded.astype(int) - expected).mean() < (3 if kind == "jpg" else 1e-9)


def test_orientation_of_a_16_bit_png(tmp_path: Path, rgb16_image: np.ndarray) -> None:
    plain, tagged = tmp_path / "a.png", io.BytesIO()
    save_png(plain, rgb16_image)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (16, 16)).save(tagged, format="png", exif=exif)
    start = tagged.getvalue().index(b"eXIf") - 4
    length = struct.unpack(">I", tagged.getvalue()[start : start + 4])[0] + 12
    content = plain.read_bytes()
    plain.write_bytes(content[:33] + tagged.getvalue()[start : start + length] + content[33:])
    _check(plain, "rgb16", np.rot90(rgb16_image, -1))


def test_content_decides_not_the_ending(tmp_path: Path, rgb_image: np.ndarray) -> None:
    Image.fromarray(rgb_image).save(tmp_path / "a.jpg", format="png")
    _check(tmp_path / "a.jpg", "rgb8", rgb_image)


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "tiff", "webp", "lzw", "png16"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_files(
    tmp_path: Path, rgb_image: np.ndarray, rgb16_image: np.ndarray, kind: str, share: float
) -> None:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    path = tmp_path / f"cut.{ {'lzw': 'tif', 'png16': 'png'}.get(kind, kind) }"
    if kind == "png16":
        save_png(path, rgb16_image)
    else:
        Image.fromarray(rgb_image).save(path, **({"compression": "tiff_lzw"} if kind == "lzw" else {}))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=rf"{path.name} cannot be decoded"):
        load_image(path)


def test_damaged_png(tmp_path: Path, rgb_image: np.ndarray) -> None:
    save_png(tmp_path / "a.png", rgb_image)
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png cannot be decoded"):
        load_image(tmp_path / "a.png")


def test_files_that_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello, I am no image")
    with pytest.raises(DataError, match=r"text\.png is not an image: its content is not PNG"):
        load_image(tmp_path / "text.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(DataError, match=r"empty\.png is empty \(0 bytes\)"):
        load_image(tmp_path / "empty.png")
    with pytest.raises(DataError, match=r"none\.png cannot be read: No such file"):
        load_image(tmp_path / "none.png")
    with pytest.raises(DataError, match=r"cannot be read"):
        load_image(tmp_path)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (15, 40), (40, 15)])
def test_images_that_are_too_small(tmp_path: Path, width: int, height: int) -> None:
    Image.new("RGB", (width, height)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=rf"a {width}x{height} image; the least allowed is 16x16 pixels"):
        load_image(tmp_path / "a.png")


def test_tiff_that_claims_too_much(tmp_path: Path, grey_image: np.ndarray) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, grey_image)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages.first.tags["ImageLength"].overwrite(60_000)
        tiff.pages.first.tags["ImageWidth"].overwrite(60_000)
    with pytest.raises(DataError, match="claims 3600000000 pixels"):
        load_image(path)


@pytest.mark.parametrize("high", [1, 255, 200, 65535])
def test_mask_values(tmp_path: Path, disc_mask: np.ndarray, high: int) -> None:
    dtype = np.uint16 if high > 255 else np.uint8
    save_png(tmp_path / "m.png", (disc_mask * high).astype(dtype))
    np.testing.assert_array_equal(load_mask(tmp_path / "m.png", shape=(48, 64)), disc_mask)


def test_mask_kinds(tmp_path: Path, disc_mask: np.ndarray) -> None:
    grey = disc_mask * np.uint8(255)
    Image.fromarray(disc_mask).save(tmp_path / "bit.png")
    Image.fromarray(np.dstack([grey, grey * 0, grey * 0])).save(tmp_path / "red.png")
    Image.fromarray(np.dstack([grey, grey, grey, grey * 0 + 255])).save(tmp_path / "alpha.png")
    Image.fromarray(grey).save(tmp_path / "soft.jpg", quality=95)
    tifffile.imwrite(tmp_path / "float.tif", disc_mask.astype(np.float32))
    for name in ("bit.png", "red.png", "alpha.png", "soft.jpg", "float.tif"):
        found = load_mask(tmp_path / name, shape=(48, 64))
        assert found.dtype == bool
        assert (found != disc_mask).mean() < (0.01 if name == "soft.jpg" else 1e-9)


def test_threshold_is_above_127(tmp_path: Path) -> None:
    values = np.array([[0, 127, 128, 255]], np.uint8).repeat(2, 0)
    save_png(tmp_path / "m.png", values)
    assert load_mask(tmp_path / "m.png", shape=(2, 4))[0].tolist() == [False, False, True, True]


def test_masks_that_are_refused(tmp_path: Path, disc_mask: np.ndarray) -> None:
    path = tmp_path / "m.png"
    save_png(path, disc_mask)
    with pytest.raises(DataError, match=r"m\.png is a mask of 64x48 pixels but its image has 48x64"):
        load_mask(path, shape=(64, 48))
    save_png(path, disc_mask & False)
    with pytest.raises(DataError, match=r"m\.png is an empty mask"):
        load_mask(path, shape=(48, 64))
    save_png(path, disc_mask.astype(np.uint8) * 5)
    with pytest.raises(DataError, match="values up to 5 that marks nothing; use 0 and 1, or 0 and 255"):
        load_mask(path, shape=(48, 64))


def test_to_rgb_u8(rgb_image: np.ndarray, grey_image: np.ndarray) -> None:
    assert to_rgb_u8(rgb_image) is rgb_image
    np.testing.assert_array_equal(to_rgb_u8(grey_image), np.dstack([grey_image] * 3))
    np.testing.assert_array_equal(to_rgb_u8(np.dstack([rgb_image, grey_image])), rgb_image)
    np.testing.assert_array_equal(to_rgb_u8(rgb_image.astype(np.uint16) * 257), rgb_image)
    assert to_rgb_u8(np.array([[0, 128, 129, 65406, 65407]], np.uint16))[0, :, 0].tolist() == [
        0,
        0,
        1,
        254,
        255,
    ]
    with pytest.raises(DataError, match=r"allowed are \(H, W\)"):
        to_rgb_u8(rgb_image.astype(np.float32))


@pytest.mark.parametrize("shape", [(48, 64), (200, 20, 3), (20, 200, 4), (300, 300, 3), (64, 64, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_to_model_u8(shape: tuple[int, ...], dtype: type) -> None:
    level = 77 if dtype == np.uint8 else 77 * 257
    out = to_model_u8(np.full(shape, level, dtype), 64)
    assert (out.shape, out.dtype) == ((64, 64, 3), np.uint8)
    assert (out == 77).all()


def test_to_model_averages_areas() -> None:
    checks = (np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8)
    assert np.abs(to_model_u8(checks, 32).astype(int) - 128).max() <= 1


def test_mask_to_model_keeps_thin_and_does_not_grow_thick() -> None:
    thin = np.zeros((1024, 1024), bool)
    thin[500, 100:900] = True
    small = mask_to_model(thin, 256)
    assert small[125, 25:225].all()
    assert small.sum() == 200
    thick = np.zeros((1024, 1024), bool)
    thick[200:602, 200:602] = True
    assert abs(mask_to_model(thick, 256).mean() / thick.mean() - 1) < 0.02


@settings(deadline=None, max_examples=60)
@given(st.integers(16, 90), st.integers(16, 90), st.integers(8, 64), st.integers(0, 10_000), st.floats(0.0, 0.2))
def test_every_marked_pixel_stays_near(height: int, width: int, size: int, seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    out = mask_to_model(mask, size)
    assert (out.shape, out.dtype) == ((size, size), bool)
    assert out.any() == mask.any()
    near = cv2.dilate(out.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    rows, columns = np.nonzero(mask)
    assert near[rows * size // height, columns * size // width].all()


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3), (48, 64, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_from_rgb_float_takes_mode_and_alpha(shape: tuple[int, ...], dtype: type) -> None:
    like = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)
    rgb = np.zeros((48, 64, 3))
    rgb[..., 0], rgb[..., 1] = 1.5, 0.5
    out = from_rgb_float(rgb, like)
    top = np.iinfo(dtype).max
    assert (out.shape, out.dtype) == (like.shape, like.dtype)
    if len(shape) == 2:
        assert (out == round(min(0.299 * 1.5 + 0.587 * 0.5, 1) * top)).all()
    else:
        assert out[0, 0, :3].tolist() == [top, round(top / 2), 0]
        np.testing.assert_array_equal(out[..., 3:], like[..., 3:])


def test_from_rgb_float_is_the_way_back(rgb_image: np.ndarray, grey_image: np.ndarray) -> None:
    for like in (rgb_image, grey_image, rgb_image.astype(np.uint16) * 257):
        np.testing.assert_array_equal(from_rgb_float(to_rgb_u8(like) / 255, like), like)


def test_from_rgb_float_refuses(rgb_image: np.ndarray) -> None:
    with pytest.raises(DataError, match="do not fit"):
        from_rgb_float(np.zeros((48, 60, 3)), rgb_image)
    with pytest.raises(DataError, match="not finite"):
        from_rgb_float(np.full((48, 64, 3), np.nan), rgb_image)


def test_check_images_names_every_mask_that_cannot_be_used(
    dummy_mvtec: Callable[..., Path], put_image: Callable[[Path, np.ndarray], Path], disc_mask: np.ndarray
) -> None:
    root = dummy_mvtec("bottle", defects={"dent": 4})
    truth = root / "ground_truth" / "dent"
    put_image(truth / "001_mask.png", disc_mask[:40])
    put_image(truth / "002_mask.png", np.zeros((48, 64), np.uint8))
    (truth / "003_mask.png").write_text("no image")
    records = read_data(root).records
    with pytest.raises(DataError) as caught:
        check_images(records, skip_unreadable=False)
    text = str(caught.value)
    assert "001_mask.png is a mask of 64x40 pixels but its image has 64x48" in text
    assert "002_mask.png is an empty mask" in text
    assert "003_mask.png is not an image" in text
    kept = check_images(records, skip_unreadable=True)
    assert [record.relative for record in kept if not record.is_good] == ["test/dent/000.png"]


def test_check_images(dummy_mvtec: Callable[..., Path]) -> None:
    root = dummy_mvtec("bottle")
    records = read_data(root).records
    assert check_images(records, skip_unreadable=False) == list(records)
    (root / "train" / "good" / "001.png").write_text("x")
    (root / "ground_truth" / "dent" / "000_mask.png").unlink()
    with pytest.raises(DataError) as caught:
        check_images(records, skip_unreadable=False)
    assert "001.png is not an image" in str(caught.value)
    assert "000_mask.png cannot be read" in str(caught.value)
    skipped: list[tuple[Record, DataError]] = []
    kept = check_images(records, skip_unreadable=True, on_skip=lambda *pair: skipped.append(pair))
    assert [record.relative for record, _ in skipped] == ["train/good/001.png", "test/dent/000.png"]
    assert len(kept) == len(records) - 2
    with pytest.raises(DataError, match="no image is left"):
        check_images([skipped[0][0]], skip_unreadable=True)


def _squares(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        save_png(path, np.full((20, 20), number, np.uint8))
    return paths


def test_a_kept_image_is_decoded_once_and_read_only(tmp_path: Path, rgb_image: np.ndarray) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save_png(tmp_path / "a.png", rgb_image, profile=profile)
    kept = KeptImages(1 << 20)
    first, second = kept.load(tmp_path / "a.png"), kept.load(tmp_path / "a.png")
    assert np.array_equal(first[0], rgb_image)
    assert first[1] == profile
    assert second[0] is first[0]
    with pytest.raises(ValueError, match="read-only"):
        first[0][:] = 0


def test_a_kept_image_follows_its_file(tmp_path: Path) -> None:
    (path,) = _squares(tmp_path, 1)
    kept = KeptImages(1 << 20)
    kept.load(path)
    save_png(path, np.full((30, 30), 9, np.uint8))
    os.utime(path, ns=(0, 1))
    assert (kept.load(path)[0] == np.full((30, 30), 9)).all()
    save_png(path, np.full((30, 30), 8, np.uint8))  # as many bytes: the time alone tells
    os.utime(path, ns=(0, 2))
    assert (kept.load(path)[0] == 8).all()
    assert kept.held_bytes == 900
    path.unlink()
    with pytest.raises(DataError, match=r"0\.png cannot be read: No such file"):
        kept.load(path)


def test_kept_images_stay_within_their_bytes_and_the_last_used_stay(tmp_path: Path) -> None:
    paths = _squares(tmp_path, 4)
    save_png(tmp_path / "large.png", np.zeros((40, 40), np.uint8))
    kept = KeptImages(1300)  # three of 400
    held = [kept.load(path)[0] for path in paths[:3]]
    assert kept.load(paths[0])[0] is held[0]
    kept.load(paths[3])  # in place of 1, which was not used for longest
    assert kept.held_bytes == 1200
    assert kept.load(paths[0])[0] is held[0]
    assert kept.load(paths[2])[0] is held[2]
    assert kept.load(paths[1])[0] is not held[1]
    large = kept.load(tmp_path / "large.png")[0]
    assert kept.load(tmp_path / "large.png")[0] is not large
    assert kept.held_bytes == 1200


def test_threads_share_kept_images(tmp_path: Path) -> None:
    paths = _squares(tmp_path, 7)
    kept = KeptImages(1300)
    with ThreadPoolExecutor(8) as threads:
        loaded = list(threads.map(lambda number: kept.load(paths[number % 7])[0], range(300)))
    assert all((pixels == number % 7).all() for number, pixels in enumerate(loaded))
    assert kept.held_bytes <= 1300
