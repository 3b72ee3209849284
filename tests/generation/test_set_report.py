"""`anomalyhybrid report`: figures counted from files, faults named, nothing outside asked for."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from anomalyhybrid.cli.main import main
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.generation.manifest import Row, read_rows, write_rows
from anomalyhybrid.generation.rejected import Rejected, leave_out
from anomalyhybrid.generation.report_checks import GRID, Checked, check_row
from anomalyhybrid.generation.report_figures import (
    area_histogram,
    change_histogram,
    counted,
    gate_figures,
    position_map,
)
from anomalyhybrid.generation.report_provenance import provenance
from anomalyhybrid.recipes.report import report_set

Put = Callable[[Path, np.ndarray], Path]
NAME = "<img src=x onerror=alert(1)>"


def _row(number: int, **changes: object) -> Row:
    image_id = f"nut_{number:06d}"
    values: dict = {
        "id": image_id, "image": f"test/dent/{image_id}.png", "label_mask": f"ground_truth/dent/{image_id}_mask.png",
        "category": "nut", "defect": "dent", "target": f"{number}.png", "reference": None, "decoder": "ahe",
        "operation": "merge", "appearance": "target", "composition": "region", "seed": number,
        "model_sha256": "ab" * 32, "changed_outside": 0, "mask_area": 12, "change_inside": 20.0, "structure": None,
        "fusion_mask": 0.3, "attempt": 0, "accepted": True,
    }  # fmt: skip
    return Row(**(values | changes))


@pytest.fixture
def small_set(tmp_path: Path, put_image: Put) -> Path:
    """Two defects on grey images of 40 x 60: 12 pixels, brighter by 20 and by 60; data beside the set."""
    root = tmp_path / "set"
    rows = []
    for number, change in enumerate((20, 60)):
        target = np.full((40, 60), 100, np.uint8)
        target[::2] += 10
        mask = np.zeros((40, 60), bool)
        mask[10:13, 20:24] = True
        image = target.copy()
        image[mask] += np.uint8(change)
        row = _row(number, change_inside=float(change))
        put_image(tmp_path / "data" / "nut" / row.target, target)
        put_image(root / row.image, image)
        put_image(root / str(row.label_mask), mask)
        rows.append(row)
    write_rows(root, rows)
    about = {
        "format": 1, "data_root": str(tmp_path / "data" / "nut"), "data": [str(tmp_path / "data" / "nut")],
        "base_set": [], "data_sha256": "cd" * 32, "categories": ["nut"],
        "config": {"count": 2, "seed": 7, "extent": [0.04, 0.4], "roi": "/secret/place/roi.png"},
        "model": {"run": "/secret/place/run", "sha256": "ef" * 32, "metadata": {"licence": "Apache-2.0", "size": "64"}},
        "versions": {"anomalyhybrid": "0.1.0", "device": "cpu"}, "summary": {},
    }  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(about))
    return root


def change_rows(root: Path, *changes: dict) -> None:
    rows = read_rows(root)
    write_rows(root, [dataclasses.replace(row, **own) for row, own in zip(rows, changes, strict=True)])


def change_about(root: Path, **entries: object) -> None:
    path = root / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


# The page


def test_the_page_asks_for_nothing_outside(small_set: Path, tmp_path: Path) -> None:
    done = report_set(small_set)
    page = done.path.read_text()
    assert done.path == small_set / "report.html"
    assert (done.images, done.faults) == (2, ())
    assert all(source.startswith(("data:image/", "#")) for source in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    for word in ("http:", "https:", "<script", "url(", "@import", "/secret/", str(tmp_path)):
        assert word not in page
    pictures = re.findall(r"data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=]+)", page)
    assert len(pictures) == 2 * 4 + 1  # four of each defect, and the map
    assert all(cv2.imdecode(np.frombuffer(base64.b64decode(one), np.uint8), 1) is not None for one in pictures)


def test_the_page_says_what_the_files_hold(small_set: Path) -> None:
    change_rows(small_set, {"attempt": 2, "accepted": False}, {})
    page = re.sub(r"\s+", " ", report_set(small_set).path.read_text())
    assert "2 defect images with masks." in page
    assert '<b class="good">0</b> (2 of 2 defect images compared)' in page
    assert '<tr><td>dent</td><td class="number">2</td></tr>' in page
    assert "area of the mask: &lt;0.01: 0, &lt;0.03: 0, &lt;0.1: 0, &lt;0.3: 0, &lt;1: 2" in page  # 12 of 2400
    assert "1 image did not pass the checks" in page
    assert "<li>nut_000000</li>" in page
    assert '<tr><td>3</td><td class="number">1</td></tr>' in page  # the third attempt
    for fact in ("Apache-2.0", "ef" * 32, "run, sha256", "count 2, roi roi.png", "cd" * 32):
        assert fact in page
    assert "<tr><th>seed</th><td>7</td></tr>" in page


def test_everything_from_files_is_escaped(small_set: Path, tmp_path: Path) -> None:
    change_rows(
        small_set, {"defect": NAME, "operation": NAME, "structure": NAME}, {"decoder": NAME, "appearance": NAME}
    )
    about = json.loads((small_set / "dataset.json").read_text())
    change_about(
        small_set,
        model=about["model"] | {"metadata": {"licence": NAME, NAME: NAME}},
        config=about["config"] | {NAME: NAME},
        versions={NAME: NAME},
        gate={NAME: {"limits": {NAME: {"least": NAME}}, "notes": [NAME]}},
    )
    leave_out(small_set, [Rejected(id=NAME, category="nut", defect=NAME, reasons=[NAME], gate={"rejected": {NAME: 1}})])
    (small_set / "<b>mine.txt").write_text("")
    page = report_set(small_set).path.read_text()
    assert NAME not in page
    assert "<b>mine" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") >= 10


def test_an_earlier_report_is_replaced_and_no_other_file(small_set: Path) -> None:
    first = report_set(small_set).path.read_text()
    assert report_set(small_set).path.read_text() == first
    assert "no row names" not in first
    (small_set / "mine.txt").write_text("")
    page = report_set(small_set).path.read_text()
    assert "<li>mine.txt</li>" in page


# Faults


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: (root / "test/dent/nut_000001.png").unlink(), "nut_000001: test/dent/nut_000001.png cannot be"),
        (lambda root: (root / "test/dent/nut_000001.png").write_bytes(b"\x89PNG"), "nut_000001: test/dent/nut_000001"),
        (
            lambda root: shutil.rmtree(root / "ground_truth"),
            "nut_000000: ground_truth/dent/nut_000000_mask.png cannot be",
        ),
        (lambda root: change_rows(root, {}, {"mask_area": 13}), "covers 12 pixels, the manifest says 13"),
        (lambda root: change_rows(root, {"image": "../../outside.png"}, {}), "nut_000000: "),
    ],
)
def test_faults_are_named_and_the_report_is_written(
    small_set: Path, damage: Callable[[Path], object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(small_set)
    assert main(["report", str(small_set)]) == 1
    text = capsys.readouterr().err
    assert words in text
    assert "faults" in text
    page = (small_set / "report.html").read_text()
    assert 'id="faults"' in page
    assert words in page
    assert "The contract is not checked there." in page or "13" in words


def test_a_pixel_changed_outside_is_found_in_the_files(small_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = small_set / "test/dent/nut_000000.png"
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    image[0, 0] += 1
    image[39, 59] += 1
    cv2.imwrite(str(path), image)
    assert main(["report", str(small_set), "--out", str(small_set.parent / "r.html")]) == 1
    assert "nut_000000: 2 pixels outside the label mask differ from the target 0.png" in capsys.readouterr().err
    assert '<b class="bad">2</b>, in 1 image' in (small_set.parent / "r.html").read_text()


def test_targets_that_moved_away_are_said_and_no_fault(small_set: Path, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "moved")
    done = report_set(small_set)
    page = re.sub(r"\s+", " ", done.path.read_text())
    assert done.faults == ()
    assert "2 of 2 defect images were not compared with their targets" in page
    assert page.count("source image not found") == 2


def test_what_is_no_set(tmp_path: Path, small_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plain").mkdir()
    for words, said in (
        (["report", tmp_path / "none"], "does not exist"),
        (["report", tmp_path / "plain"], "holds no dataset.json"),
        (["report", small_set, "--limit", 0], "limit is 0"),
        (["report", small_set, "--out", small_set], "is a folder"),
        (["report", small_set, "--out", tmp_path / "no" / "r.html"], "does not exist"),
    ):
        assert main([str(word) for word in words]) == 2
        assert said in capsys.readouterr().err
    (small_set / "manifest.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    with pytest.raises(DataError, match="line 1 is not a manifest row"):
        report_set(small_set)
    with pytest.raises(ConfigError):
        report_set(small_set, limit=0)
    assert not (small_set / "report.html").exists()


def test_a_set_that_has_just_begun(small_set: Path) -> None:
    (small_set / "manifest.jsonl").write_text("")
    about = json.loads((small_set / "dataset.json").read_text())
    del about["summary"]
    (small_set / "dataset.json").write_text(json.dumps(about))
    page = report_set(small_set).path.read_text()
    assert "The manifest lists no image" in page
    assert "The set is not finished" in page


# Other kinds


def test_hybrids(small_set: Path, put_image: Put, rgb_image: np.ndarray) -> None:
    put_image(small_set.parent / "data" / "nut" / "parent.png", rgb_image)
    own = {"label_mask": None, "mask_area": 0, "composition": "full", "reference": "parent.png", "defect": "hybrid"}
    own |= {"reference_class": "a", "target_class": "b", "change_from_reference": 33.0}
    change_rows(small_set, own, own | {"accepted": False})
    change_about(small_set, kind="hybrids")
    page = report_set(small_set).path.read_text()
    assert "2 hybrids" in page
    assert '<tr><td>a on b</td><td class="number">2</td></tr>' in page
    assert "change from the reference, as recorded: 0: 0, 5: 0, 10: 0, 15: 0, 20: 0, 25: 0, 30: 2" in page
    assert "appearance: a" in page
    assert "too near to a parent" in page
    assert "Hybrids have no masks" in page


def test_sets_with_depth(small_set: Path, put_image: Put, rgb_image: np.ndarray) -> None:
    lines = []
    for row in read_rows(small_set):
        entry = {"id": row.id, "depth": f"depth/test/dent/{row.id}.tiff", "preview": f"preview/dent/{row.id}.png"}
        entry |= {"source": "x", "kind": "tiff", "nearer_is_larger": False, "unit": "mm", "sign": "dent"}
        entry |= {"requested_height": -1.0, "generated_height": -1.0, "profile": "network", "valid_share": 1.0}
        lines.append(json.dumps(entry | {"changed_outside": 0}) + "\n")
        put_image(small_set / entry["preview"], rgb_image)
        put_image(small_set / entry["depth"], rgb_image[..., 0])
    (small_set / "depth.jsonl").write_text("".join(lines))
    change_about(small_set, level="depth", summary={"depth": {"profiles": {"network": 2}, "without_measurement": 0}})
    done = report_set(small_set)
    page = done.path.read_text()
    assert done.faults == ()
    assert "with masks and depth" in page
    assert "Depth files are not counted again" in page
    assert page.count("generated depth, shaded") == 2
    assert "network 2" in page
    assert "no row names" not in page
    (small_set / "depth/test/dent/nut_000001.tiff").unlink()
    assert report_set(small_set).faults == ("nut_000001: depth/test/dent/nut_000001.tiff is missing",)


# Figures


def test_one_image_is_counted(small_set: Path) -> None:
    about = json.loads((small_set / "dataset.json").read_text())
    first, second = (check_row(row, small_set, about) for row in read_rows(small_set))
    assert (first.mask_area, first.changed_outside, first.change_inside) == (12, 0, 20.0)
    assert (second.mask_area, second.changed_outside, second.change_inside) == (12, 0, 60.0)
    assert first.area_share == pytest.approx(12 / 2400)
    assert first.coverage is not None
    assert first.coverage.sum() / GRID**2 == pytest.approx(12 / 2400, rel=1e-3)
    rows, columns = np.nonzero(first.coverage)
    assert (rows.min(), rows.max()) == (12, 15)  # 10/40 to 13/40 of 48 cells
    assert (columns.min(), columns.max()) == (16, 19)  # 20/60 to 24/60


def test_full_composition_is_not_held_to_the_contract(small_set: Path) -> None:
    about = json.loads((small_set / "dataset.json").read_text())
    row = dataclasses.replace(read_rows(small_set)[0], composition="full", changed_outside=5)
    assert check_row(row, small_set, about).changed_outside is None
    assert check_row(row, small_set, about).faults == ()


def test_histograms_count_every_value_once() -> None:
    areas = area_histogram("a", [0.00005, 0.0001, 0.02, 0.02, 0.3, 1.0])
    assert [bar.count for bar in areas.bars] == [1, 1, 0, 0, 0, 2, 0, 0, 2]
    tallest = max(areas.bars, key=lambda bar: bar.height)
    assert tallest.count == 2
    assert tallest.y + tallest.height == pytest.approx(150)
    changes = change_histogram("c", [0.0, 4.9, 5.0, 14.0])
    assert [(bar.label, bar.count) for bar in changes.bars] == [("0", 2), ("5", 1), ("10", 1)]
    assert sum(bar.count for bar in change_histogram("c", [255.0, 254.0, 0.0]).bars) == 3
    assert len(change_histogram("c", [255.0]).bars) <= 12


def test_the_map_is_brightest_where_most_masks_lie() -> None:
    def one(rows: slice) -> Checked:
        coverage = np.zeros((GRID, GRID), np.float32)
        coverage[rows, :24] = 1
        return Checked(row=_row(0), faults=(), shape=(50, 100), coverage=coverage)

    found = position_map([one(slice(0, 24)), one(slice(0, 12)), Checked(row=_row(1), faults=("gone",))])
    assert found is not None
    picture, highest = found
    assert highest == 1.0
    assert picture.shape == (120, 240, 3)  # the images' aspect
    bright = picture.astype(int).sum(axis=2)
    assert bright[5, 5] > bright[45, 5] > bright[100, 5] == bright[5, 200]
    assert position_map([Checked(row=_row(1), faults=("gone",))]) is None


def test_gate_figures_are_sums_over_rows_and_images_left_out() -> None:
    rows = [
        _row(0, gate={"scores": {"realism": 1.0, "seam": 4.0}, "rejected": {"copy": 2, "seam": 1}}),
        _row(1, gate={"scores": {"realism": 3.0}, "rejected": {}}),
        _row(2, gate={"scores": {"realism": float("nan"), "other": "no number"}}),
        _row(3),
    ]
    out = [Rejected(id="nut_000009", category="nut", defect="dent", reasons=["seam"], gate={"rejected": {"seam": 4}})]
    found = gate_figures(rows, out)
    assert found is not None
    assert (found.images, found.retried) == (3, 1)
    assert found.fallen == [("seam", 5), ("copy", 2)]
    assert found.left_out == [("seam", 1)]
    assert found.scores == [("realism", 1.0, 2.0, 3.0), ("seam", 4.0, 4.0, 4.0)]
    assert gate_figures([_row(3)], []) is None
    assert counted(["b", "a", "b", "c"]) == [("b", 2), ("a", 1), ("c", 1)]


def test_provenance_of_weights_without_a_licence() -> None:
    model = {"run": "C:\\Users\\someone\\run", "sha256": "ab", "metadata": {"base_images": "x" * 300}}
    ((heading, lines),) = provenance({"model": model, "config": {"count": 5, "new_setting": [1, "/a/b"]}})
    facts = dict(lines)
    assert heading == "The set"
    assert "names none" in facts["licence of the generator's weights"]
    assert facts["generator"] == "run, sha256 ab"
    assert facts["settings other than the defaults"] == "count 5, new_setting 1 b"
    assert not [name for name in facts if "base images" in name]
