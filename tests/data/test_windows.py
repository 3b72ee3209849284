"""Windows: which images get them, that they cover the image, hold the product, and keep references at native scale."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyhybrid.data.loading import save_png
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.regions_of_interest import Areas, read_areas
from anomalyhybrid.data.tiling import (
    MOST_WINDOWS,
    by_file,
    reference_pixels,
    reference_windows,
    target_windows,
    usual_side,
)
from anomalyhybrid.data.windows import Window, around_regions, grid, spread, uncut, window_side
from anomalyhybrid.errors import DataError


@pytest.mark.parametrize(
    ("setting", "sides", "side"),
    [
        ("auto", (3000, 4000), 1024),
        ("auto", (500, 1250), 500),
        ("auto", (1024, 1024), None),
        ("auto", (512, 1024), None),
        ("auto", (511, 1024), 511),
        ("auto", (1000, 1025), 1000),
        ("whole", (3000, 4000), None),
        (300, (3000, 4000), 300),
        (300, (200, 4000), 200),
        (300, (100, 300), None),
    ],
)
def test_which_images_get_windows(setting: str | int, sides: tuple[int, int], side: int | None) -> None:
    assert window_side(setting, sides, 256) == side  # type: ignore[arg-type]


@given(st.integers(16, 90), st.integers(0, 400), st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_a_grid_covers_the_image_and_overlaps(side: int, more_rows: int, more_columns: int) -> None:
    shape = (side + more_rows, side + more_columns)
    windows = grid(shape, side)
    seen = np.zeros(shape, int)
    for window in windows:
        assert window.crop(seen).shape == (side, side), "inside the image"
        seen[window.where] += 1
    assert seen.min() >= 1
    assert len(set(windows)) == len(windows)
    for one, two in pairwise(windows):
        assert abs(one.x - two.x) <= 0.75 * side
        assert abs(one.y - two.y) <= 0.75 * side
        assert (one.x == two.x) or (one.y == two.y), "neighbours in order"


def test_the_grid_of_a_large_part() -> None:
    windows = grid((3000, 4000), 1024)
    assert sorted({window.x for window in windows}) == [0, 744, 1488, 2232, 2976]
    assert sorted({window.y for window in windows}) == [0, 658, 1317, 1976]
    assert grid((64, 64), 64) == [Window(0, 0, 64, 64)]


def test_spread_is_even_and_differs_by_phase() -> None:
    assert spread(range(8), 4, 0.0) == [0, 2, 4, 6]
    assert spread(range(8), 4, 0.5) == [1, 3, 5, 7]
    assert spread(range(3), 5, 0.9) == [0, 1, 2]
    for phase in (0.0, 0.3, 0.999):
        assert len(set(spread(range(121), 16, phase))) == 16


def test_crops_beyond_the_border_repeat_it_or_are_empty() -> None:
    pixels = np.arange(12).reshape(3, 4)
    window = Window(-1, 1, 3, 4)
    assert window.crop(pixels).tolist() == [[4, 4, 5], [8, 8, 9], [8, 8, 9], [8, 8, 9]]
    assert window.crop(pixels > 0, repeat=False).tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert window.crop(np.dstack([pixels] * 3)).shape == (4, 3, 3)
    assert np.shares_memory(Window(1, 1, 2, 2).crop(pixels), pixels)


def test_a_squeezed_mask_is_cut_where_the_window_lies() -> None:
    squeezed = np.zeros((32, 32), bool)
    squeezed[8:16, 16:24] = True  # of 320 x 640 pixels: rows 80:160, columns 320:480
    whole = Window(0, 0, 640, 320).crop_squeezed(squeezed, (320, 640))
    assert np.array_equal(whole, squeezed)
    inside = Window(330, 90, 64, 64).crop_squeezed(squeezed, (320, 640))
    assert inside.all()
    half = Window(288, 80, 64, 80).crop_squeezed(squeezed, (320, 640))
    assert half[2:-2, 18:].all()
    assert not half[:, :14].any()


def test_references_share_the_targets_scale() -> None:
    mask = np.zeros((300, 400), bool)
    mask[100:110, 200:240] = True
    assert around_regions(mask, 100) == [Window(170, 55, 100, 100)]
    mask[104:106, 225:230] = False
    mask[112:116, 201:205] = True
    assert around_regions(mask, 100) == [Window(170, 55, 100, 100)], "regions in one window share it"
    mask[280:290, 10:20] = True
    assert around_regions(mask, 100) == [Window(170, 55, 100, 100), Window(0, 200, 100, 100)], "inside the image"


def test_windows_of_long_regions_and_small_images() -> None:
    mask = np.zeros((300, 400), bool)
    mask[100, 50:170] = True
    assert around_regions(mask, 100) == [Window(0, 0, 240, 240)], "twice the region"
    mask[100, :] = True
    (window,) = around_regions(mask, 100)
    assert window == Window(0, -50, 400, 400), "at most the longer side"
    small = np.zeros((40, 60), bool)
    small[10:20, 10:20] = True
    (window,) = around_regions(small, 100)
    assert window == Window(-20, -30, 100, 100), "native scale although the image is smaller"
    assert window.crop(small, repeat=False).sum() == small.sum()


def test_coarse_boxes_hold_their_regions() -> None:
    mask = np.zeros((2500, 1111), bool)
    mask[2490:2500, 1100:1111] = True
    mask[7:30, 3:90] = True
    first, second = around_regions(mask, 64)
    assert first.crop(mask, repeat=False).sum() == 23 * 87
    assert second.crop(mask, repeat=False).sum() == 10 * 11


def test_regions_that_the_window_cuts_are_left_out() -> None:
    region = np.zeros((8, 8), bool)
    region[3:5, 3:5] = True
    region[0:2, 6:8] = True
    assert uncut(region).sum() == 4
    region[3:5, 3:5] = False
    assert np.array_equal(uncut(region), region), "unless none is left"


def _record(path: Path, mask_path: Path | None = None) -> Record:
    defect = "good" if mask_path is None else "hole"
    return Record(path=path, relative=path.name, category="bolt", defect=defect, mask_path=mask_path, split="train")


def _part(path: Path, shape: tuple[int, int] = (400, 600)) -> Record:
    """A bright bar in the left third on a dark ground."""
    pixels = np.full((*shape, 3), 40, np.uint8)
    pixels[40:-40, 40 : shape[1] // 3] = 200
    save_png(path, pixels)
    return _record(path)


def test_windows_without_the_product_are_dropped(tmp_path: Path) -> None:
    record = _part(tmp_path / "a.png")
    found = target_windows([record], 128, size=32, areas=Areas(), least_room=24)
    assert all(one.window is not None and one.window.width == 128 and one.path == record.path for one in found)
    covered = np.zeros((400, 600), bool)
    for one in found:
        assert one.window is not None
        covered[one.window.where] = True
    assert covered[40:-40, 40:200].all(), "the product is all seen"
    assert not covered[:, 330:].any(), "the ground is not"


def test_windows_without_room_are_dropped_and_images_without_any_are_named(tmp_path: Path) -> None:
    record = _part(tmp_path / "a.png")
    roi = tmp_path / "roi.json"
    roi.write_text("[[0.1, 0.1], [0.3, 0.1], [0.3, 0.3], [0.1, 0.3]]")  # columns 60:180, rows 40:120
    areas = read_areas(str(roi), "", [record])
    for one in target_windows([record], 128, size=32, areas=areas, least_room=24):
        assert one.window is not None
        assert one.window.y < 120
        assert one.window.x < 180
        assert areas.allowed(one, (400, 600)).shape == (128, 128)
        assert areas.allowed(one, (400, 600)).sum() == max(0, min(180, one.window.x + 128) - max(60, one.window.x)) * (
            min(120, one.window.y + 128) - max(40, one.window.y)
        )
    roi.write_text("[[0.8, 0.1], [0.9, 0.1], [0.9, 0.3]]")  # off the product
    with pytest.raises(DataError, match=r"no window[\s\S]*a\.png"):
        target_windows([record], 128, size=32, areas=read_areas(str(roi), "", [record]), least_room=24)


def test_few_windows_of_many_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    records = []
    for number in range(6):
        save_png(tmp_path / f"{number}.png", rng.integers(0, 255, (300, 300), dtype=np.uint8))
        records.append(_record(tmp_path / f"{number}.png"))
    kinds = {"size": 32, "areas": Areas(), "least_room": 24}
    all_of_one = target_windows(records[:1], 48, **kinds)
    assert len(all_of_one) == MOST_WINDOWS
    few = target_windows(records, 48, most=6, **kinds)
    assert [one.path for one in few] == [record.path for record in records]
    assert len({one.window for one in few}) == 6, "each image shows another part"
    assert target_windows(records, "whole", **kinds) == records
    assert len(by_file(target_windows(records, 48, **kinds))) == 6


def test_reference_windows_keep_native_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65535, (300, 200), dtype=np.uint16)
    mask = np.zeros((300, 200), bool)
    mask[150:160, 50:60] = True
    mask[20:150, 100] = True
    save_png(tmp_path / "a.png", pixels)
    save_png(tmp_path / "m.png", mask)
    (record,) = reference_windows([_record(tmp_path / "a.png", tmp_path / "m.png")], 64)
    assert record.window == Window(-30, 0, 260, 260), "twice the line, which shares it with the block"
    assert reference_pixels(record, 64).shape == (64, 64), "larger windows come shrunk"
    assert reference_pixels(record, 64).dtype == np.uint16
    exact = replace(record, window=Window(23, 123, 64, 64))
    assert np.array_equal(reference_pixels(exact, 64), pixels[123:187, 23:87])


def test_the_usual_side() -> None:
    record = _record(Path("a.png"))
    windowed = [replace(record, window=Window(0, 0, side, side)) for side in (64, 64, 50)]
    assert usual_side([record, *windowed]) == 64
    assert usual_side([record]) is None
