"""Headers: sides and colour profiles without decoding, and profiles kept in written PNG files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from anomalyhybrid.data import headers
from anomalyhybrid.data.headers import at_a_time, colour_profile, image_sides
from anomalyhybrid.data.loading import load_image, save_png
from anomalyhybrid.errors import DataError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = SRGB[:16] + b"GRAY" + SRGB[20:]  # a stand-in: only its declared colour space is looked at


@pytest.mark.parametrize("kind", ["png", "jpg", "tiff", "webp", "bmp"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_sides_are_those_of_the_decoded_image(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind}"
    more: dict[str, Any] = {} if kind == "bmp" else {"exif": exif}
    Image.fromarray(np.zeros((48, 80, 3), np.uint8)).save(path, **more)
    assert image_sides(path) == (48, 80)
    assert sorted(load_image(path).pixels.shape[:2]) == [48, 80]


def test_sides_of_16_bit_colour(tmp_path: Path, rgb16_image: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", rgb16_image, photometric="rgb")
    save_png(tmp_path / "a.png", rgb16_image)
    assert image_sides(tmp_path / "a.tif") == image_sides(tmp_path / "a.png") == (48, 64)


def test_a_file_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image"):
        image_sides(tmp_path / "a.png")
    with pytest.raises(DataError, match="absent"):
        image_sides(tmp_path / "absent.png")


def test_sides_follow_a_file_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for number, sides in enumerate([(20, 50), (30, 50), (20, 40)]):
        save_png(path, np.zeros(sides, np.uint8))
        os.utime(path, ns=(0, number))
        assert image_sides(path) == sides


def test_large_images_are_decoded_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_png(tmp_path / "a.png", np.zeros((20, 50), np.uint8))
    save_png(tmp_path / "b.png", np.zeros((40, 50), np.uint8))
    monkeypatch.setattr(headers, "_PIXELS_AT_A_TIME", 5000)
    assert at_a_time([tmp_path / "a.png"], 32) == 5
    assert at_a_time([tmp_path / "a.png", tmp_path / "b.png", tmp_path / "none.png"], 32) == 2
    assert at_a_time([tmp_path / "b.png"], 1) == 1
    monkeypatch.setattr(headers, "_PIXELS_AT_A_TIME", 10)
    assert at_a_time([tmp_path / "b.png"], 32) == 1


@pytest.mark.parametrize("kind", ["png", "jpg", "tiff", "webp"])
def test_a_profile_survives(tmp_path: Path, rgb_image: np.ndarray, kind: str) -> None:
    Image.fromarray(rgb_image).save(tmp_path / f"a.{kind}", icc_profile=SRGB)
    pixels = load_image(tmp_path / f"a.{kind}").pixels
    profile = colour_profile(tmp_path / f"a.{kind}", pixels)
    assert profile == SRGB
    save_png(tmp_path / "out.png", pixels, profile=profile)
    with Image.open(tmp_path / "out.png") as image:
        image.load()
        assert image.info["icc_profile"] == SRGB
        assert np.array_equal(np.asarray(image), pixels)
    assert np.array_equal(load_image(tmp_path / "out.png").pixels, pixels)


def test_a_profile_of_another_colour_space_is_left_out(tmp_path: Path, rgb_image: np.ndarray) -> None:
    cmyk = SRGB[:16] + b"CMYK" + SRGB[20:]
    Image.fromarray(rgb_image).convert("CMYK").save(tmp_path / "a.jpg", icc_profile=cmyk)
    assert colour_profile(tmp_path / "a.jpg", load_image(tmp_path / "a.jpg").pixels) is None
    Image.fromarray(rgb_image[..., 0]).save(tmp_path / "grey.png", icc_profile=GREY)
    assert colour_profile(tmp_path / "grey.png", rgb_image[..., 0]) == GREY
    assert colour_profile(tmp_path / "grey.png", rgb_image) is None
    Image.fromarray(rgb_image).save(tmp_path / "none.png")
    assert colour_profile(tmp_path / "none.png", rgb_image) is None


def test_16_bit_files_keep_their_profile(tmp_path: Path, rgb16_image: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", rgb16_image, photometric="rgb", iccprofile=SRGB)
    assert colour_profile(tmp_path / "a.tif", rgb16_image) == SRGB
    save_png(tmp_path / "a.png", rgb16_image, profile=SRGB)
    assert np.array_equal(load_image(tmp_path / "a.png").pixels, rgb16_image)
    assert colour_profile(tmp_path / "a.png", rgb16_image) == SRGB
