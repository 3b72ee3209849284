"""Drawn masks: paired with their images by name, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalyhybrid.data.drawn_masks import read_drawn_masks
from anomalyhybrid.data.folder import read_folder
from anomalyhybrid.data.loading import save_png
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.windows import Window
from anomalyhybrid.errors import ConfigError, DataError

MASK = np.zeros((40, 100), bool)
MASK[10:14, 70:90] = True


@pytest.fixture
def good(tmp_path: Path) -> tuple[Record, ...]:
    folder = tmp_path / "plate"
    folder.mkdir()
    for name in ("a", "b"):
        save_png(folder / f"{name}.png", np.full((40, 100), 80, np.uint8))
    return read_folder(folder).records


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    folder = tmp_path / "drawn"
    (folder / "dent").mkdir(parents=True)
    return folder


def test_masks_are_found_by_name_in_folders_of_types(good: tuple[Record, ...], drawn: Path) -> None:
    save_png(drawn / "b_mask.png", MASK)
    save_png(drawn / "dent" / "b.png", ~MASK)
    save_png(drawn / "dent" / "a.png", MASK)
    found = read_drawn_masks(drawn, good, ["plate"])
    assert [(one.record.path.stem, one.defect) for one in found] == [("b", ""), ("a", "dent"), ("b", "dent")]
    assert (found[0].load() == MASK).all()
    assert (found[2].load() == ~MASK).all()
    assert found[0].box == Window(70, 10, 20, 4)


def test_a_window_lies_around_the_mask_with_context(good: tuple[Record, ...], drawn: Path) -> None:
    save_png(drawn / "a.png", MASK)
    (mask,) = read_drawn_masks(drawn, good, ["plate"])
    seen = mask.in_window(24)
    assert seen.record.window == Window(65, 0, 30, 30)  # 1.5 times the mask, its centre (80, 12) as far as it fits
    assert seen.load().sum() == MASK.sum()
    assert mask.in_window(36).record.window == Window(62, 0, 36, 36)
    save_png(drawn / "a.png", np.ones((40, 100), bool))
    (long,) = read_drawn_masks(drawn, good, ["plate"])
    assert long.in_window(24).record.window is None


@pytest.mark.parametrize(
    ("names", "pixels", "told"),
    [
        (["c.png"], MASK, r"c\.png: there is no good image of its name"),
        (["a.png", "a_mask.png"], MASK, "is for the same image; keep one"),
        (["a.png"], MASK[:20], "mask of 100x20 pixels but its image has 100x40"),
        (["a.png"], MASK & False, "empty mask"),
        ([], MASK, "holds no mask"),
    ],
)
def test_masks_that_do_not_fit_are_named(
    good: tuple[Record, ...], drawn: Path, names: list[str], pixels: np.ndarray, told: str
) -> None:
    for name in names:
        save_png(drawn / name, pixels)
    with pytest.raises(DataError, match=told):
        read_drawn_masks(drawn, good, ["plate"])


def test_images_of_one_name_and_folders_that_name_no_defect(
    tmp_path: Path, good: tuple[Record, ...], drawn: Path
) -> None:
    (tmp_path / "plate" / "more").mkdir()
    save_png(tmp_path / "plate" / "more" / "a.png", np.full((40, 100), 80, np.uint8))
    save_png(drawn / "a.png", MASK)
    with pytest.raises(DataError, match=r"2 good images of its name \(a\.png, more/a\.png\)"):
        read_drawn_masks(drawn, read_folder(tmp_path / "plate").records, ["plate"])
    (drawn / "good").mkdir()
    save_png(drawn / "good" / "b.png", MASK)
    with pytest.raises(ConfigError, match="'good', which cannot be a defect's folder"):
        read_drawn_masks(drawn, good, ["plate"])


def test_every_category_needs_a_mask(tmp_path: Path, good: tuple[Record, ...]) -> None:
    (tmp_path / "m" / "plate").mkdir(parents=True)
    save_png(tmp_path / "m" / "plate" / "a.png", MASK)
    with pytest.raises(DataError, match="has no folder for nut"):
        read_drawn_masks(tmp_path / "m", good, ["plate", "nut"])
