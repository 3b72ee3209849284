"""Snippets: cut-outs and pairs read, refused, and put onto good images of their size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalyhybrid.data.folder import read_folder
from anomalyhybrid.data.loading import load_image, load_mask, save_png
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.snippets import PLACES, matched_place, put_onto, read_snippets, snippet_records
from anomalyhybrid.errors import ConfigError, DataError

REGION = np.zeros((12, 20), bool)
REGION[3:9, 4:15] = True
REGION[5, 15:18] = True


def _disc(shift: float = 0.0) -> np.ndarray:
    """A shaded disc with a rim on white, uint8 (60, 80, 3)."""
    y, x = np.mgrid[:60, :80]
    away = np.hypot(y - 30, x - 40)
    grey = np.where(away < 26, 60 + 1.5 * x + np.where(abs(away - 20) < 2, 60, 0) + shift, 245)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture
def good(tmp_path: Path) -> tuple[Record, ...]:
    folder = tmp_path / "disc"
    folder.mkdir()
    for number in range(3):
        save_png(folder / f"{number}.png", _disc(number))
    save_png(folder / "other.png", np.full((40, 40, 3), 90, np.uint8))  # not the usual size
    return read_folder(folder).records


def _cut_out(path: Path, deep: bool = False) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 250, (12, 20, 4)).astype(np.uint8)
    pixels[..., 3] = np.where(REGION, 200, 90)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(path, pixels.astype(np.uint16) * 257 if deep else pixels)
    return pixels[..., :3]


@pytest.mark.parametrize("deep", [False, True])
def test_a_cut_out_becomes_pictures_whose_region_is_its_alpha(
    tmp_path: Path, good: tuple[Record, ...], deep: bool
) -> None:
    rgb = _cut_out(tmp_path / "own" / "spot" / "a.png", deep)
    records = snippet_records(read_snippets(tmp_path / "own", ["disc"]), good, tmp_path / "cache")
    assert len(records) == PLACES
    assert {(r.relative, r.defect, r.category) for r in records} == {("spot/a.png", "spot", "disc")}
    corners = set()
    for record in records:
        picture = load_image(record.path).pixels
        assert record.mask_path is not None
        mask = load_mask(record.mask_path, shape=(60, 80))
        rows, columns = np.nonzero(mask)
        y, x = rows.min() - 3, columns.min() - 4
        corners.add((y, x))
        assert (mask[y : y + 12, x : x + 20] == REGION).all()
        assert mask.sum() == REGION.sum()
        assert (picture[mask] == rgb[REGION]).all()
        assert any((picture[~mask] == _disc(number)[~mask]).all() for number in range(3))
        assert np.hypot(rows.mean() - 30, columns.mean() - 40) < 24  # on the disc
    assert len(corners) > 1


def test_a_pair_goes_where_its_surroundings_were_and_fades_into_them(tmp_path: Path, good: tuple[Record, ...]) -> None:
    pixels = _disc(2)[20:32, 44:64].copy()
    pixels[REGION] = (200, 30, 30)
    folder = tmp_path / "own"
    folder.mkdir()
    save_png(folder / "b.png", pixels)
    save_png(folder / "b_mask.png", REGION)
    assert matched_place(pixels, REGION, _disc()) == (20, 44)
    (record,) = snippet_records(read_snippets(folder, ["disc"]), good, tmp_path / "cache")
    assert (record.relative, record.defect) == ("b.png", "defect")
    picture = load_image(record.path).pixels
    inside = np.zeros((60, 80), bool)
    inside[20:32, 44:64] = REGION
    assert (picture[inside] == (200, 30, 30)).all()
    assert np.abs(picture[~inside].astype(int) - _disc()[~inside]).max() <= 2  # the snippet's image is 2 levels lighter
    beyond = np.ones((60, 80), bool)
    beyond[20:32, 44:64] = False
    assert (picture[beyond] == _disc()[beyond]).all()


def test_fading_is_opaque_at_the_region_and_nothing_at_the_border() -> None:
    rgb = np.full((12, 20, 3), 200, np.uint8)
    picture, mask = put_onto(np.zeros((30, 30, 3), np.uint8), rgb, REGION, (5, 6), faded=True)
    part = picture[5:17, 6:26, 0]
    assert (part[REGION] == 200).all()
    assert part[0].max() == part[:, 0].max() == part[-1].max() == 0
    assert 0 < part[2, 8] < 200  # between region and border
    assert mask.sum() == REGION.sum()


def test_pictures_are_made_once_and_named_by_content(tmp_path: Path, good: tuple[Record, ...]) -> None:
    _cut_out(tmp_path / "own" / "a.png")
    snippets = read_snippets(tmp_path / "own", ["disc"])
    first = snippet_records(snippets, good, tmp_path / "cache")
    times = [record.path.stat().st_mtime_ns for record in first]
    assert snippet_records(snippets, good, tmp_path / "cache") == first
    assert [record.path.stat().st_mtime_ns for record in first] == times
    other = np.zeros((12, 20, 4), np.uint8)
    other[REGION] = 255
    save_png(tmp_path / "own" / "a.png", other)
    changed = snippet_records(snippets, good, tmp_path / "cache")
    assert not {record.path for record in changed} & {record.path for record in first}


def _save(path: Path, shape: tuple[int, ...], alpha: int | None = None, mask: int | None = None) -> None:
    pixels = np.full(shape, 100, np.uint8)
    if alpha is not None:
        pixels[..., 3] = alpha
    save_png(path, pixels)
    if mask is not None:
        save_png(path.with_name("a_mask.png"), np.full(shape[:2], mask, np.uint8))


@pytest.mark.parametrize(
    ("shape", "alpha", "mask", "told"),
    [
        ((12, 20, 3), None, None, "neither alpha nor a mask"),
        ((12, 20, 4), 255, 255, "alpha and a mask; keep one"),
        ((12, 20, 4), 0, None, "transparent everywhere"),
        ((12, 20, 4), 255, None, "marks every pixel"),
        ((12, 20, 3), None, 255, "marks every pixel"),
        ((12, 20, 3), None, 0, "empty mask"),
    ],
)
def test_what_is_no_snippet_is_refused(
    tmp_path: Path, good: tuple[Record, ...], shape: tuple[int, ...], alpha: int | None, mask: int | None, told: str
) -> None:
    (tmp_path / "own").mkdir()
    _save(tmp_path / "own" / "a.png", shape, alpha, mask)
    with pytest.raises(DataError, match=told):
        snippet_records(read_snippets(tmp_path / "own", ["disc"]), good, tmp_path / "cache")


def test_a_snippet_larger_than_the_images_is_refused_with_both_sizes(tmp_path: Path, good: tuple[Record, ...]) -> None:
    (tmp_path / "own").mkdir()
    pixels = np.full((30, 90, 4), 255, np.uint8)
    pixels[0] = 0
    save_png(tmp_path / "own" / "a.png", pixels)
    with pytest.raises(DataError, match="90x30 pixels, more than the good images of disc with 80x60"):
        snippet_records(read_snippets(tmp_path / "own", ["disc"]), good, tmp_path / "cache")


def test_folders_that_are_none(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    with pytest.raises(DataError, match="holds no snippet"):
        read_snippets(own, ["disc"])
    save_png(own / "a_mask.png", REGION.repeat(2, 0))
    with pytest.raises(DataError, match=r"there is no a\.\*"):
        read_snippets(own, ["disc"])
    _cut_out(own / "good" / "a.png")
    (own / "a_mask.png").unlink()
    with pytest.raises(ConfigError, match="cannot be a defect's folder"):
        read_snippets(own, ["disc"])


def test_several_categories_have_folders_of_their_names(tmp_path: Path) -> None:
    own = tmp_path / "own"
    _cut_out(own / "disc" / "spot" / "a.png")
    assert [s.relative for s in read_snippets(own, ["disc", "nut"])] == ["disc/spot/a.png"]
    _cut_out(own / "spot" / "a.png")
    with pytest.raises(DataError, match="holds spot, which belongs to none of the categories disc, nut"):
        read_snippets(own, ["disc", "nut"])
