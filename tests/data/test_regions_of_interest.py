"""Regions of interest: polygons and masks in an image's own pixels, and what is no such region."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from anomalyhybrid.data.records import Record
from anomalyhybrid.data.regions_of_interest import allowed_at_model_size, inside_polygon, read_areas, read_polygons
from anomalyhybrid.errors import ConfigError, DataError


def _record(name: str, category: str = "nut") -> Record:
    path = Path(f"/data/{category}/{name}")
    return Record(
        path=path, relative=f"{category}/{name}", category=category, defect="good", mask_path=None, split="train"
    )


def _save(path: Path, mask: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), mask.astype(np.uint8) * 255)
    return path


def test_a_pixel_is_inside_where_its_centre_is() -> None:
    half = inside_polygon(((0, 0), (0.5, 0), (0.5, 1), (0, 1)), (3, 4))
    assert np.array_equal(half, [[1, 1, 0, 0]] * 3)
    triangle = inside_polygon(((0, 0), (1, 1), (0, 1)), (4, 4))  # the diagonal itself, through centres, is outside
    assert np.array_equal(triangle, np.tril(np.ones((4, 4)), -1))
    assert inside_polygon(((0, 0), (1, 0), (1, 1), (0, 1)), (5, 7)).all()


def test_a_star_has_a_hole_by_the_even_odd_rule() -> None:
    turns = np.arange(5) * 4 * np.pi / 5
    star = tuple((0.5 + 0.5 * np.sin(turn), 0.5 - 0.5 * np.cos(turn)) for turn in turns)
    inside = inside_polygon(star, (101, 101))
    assert not inside[50, 50]
    assert inside[10, 50]


def test_polygons_agree_with_opencv_to_a_pixel_at_the_border() -> None:
    corners = ((0.1, 0.2), (0.9, 0.1), (0.6, 0.8), (0.4, 0.5))
    ours = inside_polygon(corners, (80, 120))
    theirs = np.zeros((80, 120), np.uint8)
    cv2.fillPoly(theirs, [np.array([(x * 120 - 0.5, y * 80 - 0.5) for x, y in corners]).round().astype(np.int32)], 1)
    border = cv2.morphologyEx(theirs, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    assert np.array_equal(ours[~border], theirs[~border] > 0)


@pytest.mark.parametrize("ending", ["json", "toml"])
def test_polygons_by_category_or_for_all(tmp_path: Path, ending: str) -> None:
    left, top = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], [[0, 0], [1, 0], [1, 0.5], [0, 0.5]]
    path = tmp_path / f"roi.{ending}"
    content = {"nut": left, "all": [left, top]}
    path.write_text(
        json.dumps(content) if ending == "json" else "\n".join(f"{name} = {given}" for name, given in content.items())
    )
    records = [_record("0.png"), _record("0.png", "capsule")]
    areas = read_areas(str(path), "", records)
    nut, capsule = (areas.allowed(record, (4, 4)) for record in records)
    assert np.array_equal(nut, [[1, 1, 0, 0]] * 4)
    assert np.array_equal(capsule, [[1, 1, 1, 1]] * 2 + [[1, 1, 0, 0]] * 2)
    alone = tmp_path / "one.json"
    alone.write_text(json.dumps(left))
    both = read_areas(str(path), str(alone), records)
    assert not both.allowed(records[0], (4, 4)).any()
    assert both.allowed(records[1], (4, 4)).sum() == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[0, 0], [1.2, 0], [1, 1]]", r"\[1.2, 0\] outside \[0, 1\]"),
        ("[[0, 0], [1, 0]]", "2 corners"),
        ("[]", "at least three corners"),
        ("[[0, 0, 1], [1, 0, 1], [1, 1, 1]]", "at least three corners"),
        ('[["a", 0], [1, 0], [1, 1]]', "at least three corners"),
        ("{}", "no polygon"),
        ("[[0,", "cannot be read"),
        ("[[NaN, 0], [1, 0], [1, 1]]", "outside"),
        ('{"capsule": [[0, 0], [1, 0], [1, 1]]}', "no polygon for nut"),
    ],
)
def test_what_is_no_polygon(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "roi.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_areas(str(path), "", [_record("0.png")])


def test_corners_on_the_border_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "roi.json"
    path.write_text("[[0, 0], [1, 0], [1, 1.0]]")
    assert read_polygons(path, "x") == {"all": (((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)),)}


def test_masks_are_found_by_category_and_stem_or_at_the_root(tmp_path: Path) -> None:
    own, other = np.eye(16, dtype=bool), np.tri(16, dtype=bool)
    _save(tmp_path / "nut" / "a.png", own)
    _save(tmp_path / "a.png", other)
    areas = read_areas("", str(tmp_path), [_record("a.jpg"), _record("a.bmp", "capsule")])
    assert np.array_equal(areas.allowed(_record("a.jpg"), (16, 16)), ~own)
    assert np.array_equal(areas.allowed(_record("a.bmp", "capsule"), (16, 16)), ~other)


def test_an_empty_forbidden_mask_forbids_nothing(tmp_path: Path) -> None:
    path = _save(tmp_path / "none.png", np.zeros((16, 20), bool))
    assert read_areas("", str(path), [_record("a.png")]).allowed(_record("a.png"), (16, 20)).all()


def test_images_without_a_mask_are_named(tmp_path: Path) -> None:
    _save(tmp_path / "a.png", np.ones((16, 16), bool))
    with pytest.raises(DataError, match=r"(?s)no mask for 1 of 2 images.*nut/b\.png"):
        read_areas(str(tmp_path), "", [_record("a.png"), _record("b.png")])
    with pytest.raises(DataError, match="share one"):
        read_areas(str(tmp_path), "", [_record("x/a.png"), _record("y/a.png")])
    with pytest.raises(DataError, match="does not exist"):
        read_areas(str(tmp_path / "gone"), "", [_record("a.png")])
    _save(tmp_path / "a.bmp", np.ones((16, 16), bool))
    with pytest.raises(DataError, match="keep one"):
        read_areas(str(tmp_path), "", [_record("a.png")])


def test_a_mask_of_another_size_names_both(tmp_path: Path) -> None:
    path = _save(tmp_path / "m.png", np.ones((16, 20), bool))
    areas = read_areas(str(path), "", [_record("a.png")])
    with pytest.raises(DataError, match=r"m\.png is a mask of 20x16 pixels but nut/a\.png has 16x20"):
        areas.allowed(_record("a.png"), (20, 16))


def test_the_hash_is_of_the_content_and_not_of_the_place(tmp_path: Path) -> None:
    records = [_record("a.png"), _record("b.png")]
    first = _save(tmp_path / "1" / "m.png", np.ones((16, 16), bool))
    moved = _save(tmp_path / "2" / "m.png", np.ones((16, 16), bool))
    other = _save(tmp_path / "3" / "m.png", np.eye(16, dtype=bool))
    sums = [read_areas(str(path), "", records).sha256(records) for path in (first, moved, other)]
    assert sums[0] == sums[1] != sums[2]
    assert read_areas("", str(first), records).sha256(records) != sums[0]


def test_at_the_models_size_only_wholly_allowed_pixels_stay() -> None:
    allowed = np.ones((8, 12), bool)
    allowed[3, 5] = False  # in the model's row 3 of 8 / 4, column 5 of 12 / 4
    assert np.array_equal(np.argwhere(~allowed_at_model_size(allowed, 4)), [[1, 1]])
    rng = np.random.default_rng(0)
    for shape, size in (((30, 50), 64), ((100, 70), 64), ((64, 64), 64)):
        allowed = rng.random(shape) > 0.05
        small = allowed_at_model_size(allowed, size)
        for row, column in np.argwhere(small)[::7]:
            top, bottom = row * shape[0] / size, (row + 1) * shape[0] / size
            left, right = column * shape[1] / size, (column + 1) * shape[1] / size
            covered = allowed[
                int(top + 1e-9) : int(np.ceil(bottom - 1e-9)), int(left + 1e-9) : int(np.ceil(right - 1e-9))
            ]
            assert covered.all()
    assert np.array_equal(small, allowed)
