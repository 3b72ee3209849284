"""The HTML and PNG sheets of a generated set."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.generation.manifest import Row, write_rows
from anomalyhybrid.generation.sheet import outlined, shrunk, spread, write_contact_png, write_sheet

Put = Callable[[Path, np.ndarray], Path]


def _row(category: str, index: int, *, good: bool = False, **changes: object) -> Row:
    image_id = f"{category}_{'good_' if good else ''}{index:06d}"
    defect = "good" if good else ("stroke", "blob")[index % 2]
    values: dict = {
        "id": image_id,
        "image": f"{category}/{'train' if good else 'test'}/{defect}/{image_id}.png",
        "label_mask": None if good else f"{category}/ground_truth/{defect}/{image_id}_mask.png",
        "category": category,
        "defect": defect,
        "target": f"{category}/train/good/{index}.png",
        "reference": None,
        "decoder": "ahe",
        "operation": "none" if good else ("merge", "remove+tps")[index % 2],
        "appearance": "reference" if good else "target",
        "composition": "full" if good else "region",
        "seed": 1,
        "model_sha256": "ab" * 32,
        "changed_outside": 0,
        "mask_area": 0 if good else 120,
        "change_inside": 21.4,
        "structure": None,
        "fusion_mask": 0.3,
        "attempt": 0,
        "accepted": True,
    }
    return Row(**(values | changes))


@pytest.fixture
def generated_set(tmp_path: Path, put_image: Put, rgb_image: np.ndarray, disc_mask: np.ndarray) -> Path:
    """Two categories, four defects and one good image each, targets under source/."""
    root = tmp_path / "set"
    rows = []
    for category in ("nut", "<b>cap</b>"):
        for index in range(4):
            put_image(root / "source" / category / "train/good" / f"{index}.png", rgb_image)
            row = _row(category, index, accepted=index != 3)
            changed = rgb_image.copy()
            changed[disc_mask] = 255 - changed[disc_mask]
            put_image(root / row.image, changed)
            assert row.label_mask
            put_image(root / row.label_mask, disc_mask)
            rows.append(row)
        good = _row(category, 0, good=True)
        put_image(root / good.image, rgb_image)
        rows.append(good)
    write_rows(root, rows)
    about = {
        "format": 1,
        "data_root": "source",
        "categories": ["nut", "<b>cap</b>"],
        "config": {"count": 4, "extent": [0.1, 0.2]},
        "model": {"run": "shipped", "sha256": "ab" * 32},
        "versions": {"anomalyhybrid": "0.1.0"},
    }
    (root / "dataset.json").write_text(json.dumps(about))
    return root


def _pictures(page: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    pictures = [cv2.imdecode(np.frombuffer(base64.b64decode(code), np.uint8), cv2.IMREAD_COLOR) for code in found]
    assert all(picture is not None for picture in pictures)
    return [picture for picture in pictures if picture is not None]


def test_the_page_holds_all_pictures_and_asks_for_nothing_outside(generated_set: Path) -> None:
    page = write_sheet(generated_set, generated_set / "sheet.html").read_text()
    assert len(_pictures(page)) == 8 * 4 + 2 * 2
    assert max(max(picture.shape) for picture in _pictures(page)) <= 2 * 192
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(source.startswith(("data:image/png", "#")) for source in sources)
    assert "http" not in page
    assert "<script" not in page
    assert "url(" not in page


def test_the_page_says_what_the_manifest_says(generated_set: Path) -> None:
    page = write_sheet(generated_set, generated_set / "sheet.html").read_text()
    assert "8 defect images with masks and 2 generated good images" in page
    assert "nut_000002" in page
    assert "remove+tps" in page
    assert "shipped" in page
    assert "ab" * 32 in page
    assert page.count("weaker than asked") == 2
    assert "Pixels changed outside the masks: <b>0</b>" in page


def test_names_are_escaped(generated_set: Path) -> None:
    page = write_sheet(generated_set, generated_set / "sheet.html").read_text()
    assert "<b>cap</b>" not in page
    assert "&lt;b&gt;cap" in page


def test_the_limit_is_spread_over_the_kinds(generated_set: Path) -> None:
    page = write_sheet(generated_set, generated_set / "sheet.html", limit=4).read_text()
    assert len(_pictures(page)) == 4 * 4 + 2 * 2
    assert "4 of the defects are shown" in page
    rows = [_row("nut", index) for index in range(10)]
    assert {row.defect for row in spread(rows, 2)} == {"stroke", "blob"}
    assert len(spread(rows, 99)) == 10


def test_targets_that_moved_away_leave_a_note(generated_set: Path) -> None:
    (generated_set / "source").rename(generated_set / "elsewhere")
    page = write_sheet(generated_set, generated_set / "sheet.html").read_text()
    assert page.count("source image not found") == 8 + 2


def test_contact_sheet_has_a_cell_for_each_defect(generated_set: Path) -> None:
    path = write_contact_png(generated_set, generated_set / "contact.png", columns=3)
    picture = cv2.imread(str(path))
    assert picture is not None
    height, width = picture.shape[:2]
    assert (height % 3, width % 3) == (0, 0)
    assert (picture == np.array([200, 0, 255])).all(axis=2).sum() > 8 * 20  # the outlines, in BGR


def test_outline_lies_outside_the_mask(rgb_image: np.ndarray, disc_mask: np.ndarray) -> None:
    drawn = outlined(rgb_image, disc_mask, 256)
    changed = (drawn != rgb_image).any(axis=2)
    assert changed.any()
    assert not (changed & disc_mask).any()


def test_shrunk_keeps_the_aspect(rgb_image: np.ndarray) -> None:
    assert shrunk(rgb_image, 32).shape == (24, 32, 3)
    assert shrunk(rgb_image, 256) is rgb_image


def test_bad_sets_are_refused(generated_set: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="limit is 0"):
        write_sheet(generated_set, tmp_path / "sheet.html", limit=0)
    with pytest.raises(DataError, match=r"dataset\.json"):
        write_sheet(tmp_path, tmp_path / "sheet.html")
    rows = [_row("nut", 0, image="../outside.png")]
    write_rows(generated_set, rows)
    with pytest.raises(DataError, match="outside"):
        write_sheet(generated_set, tmp_path / "sheet.html")
