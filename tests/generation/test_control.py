"""Control: where defects fall, how many, how strong and how turned, and the preview."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from set_files import check_contract, contents, file_set, read_mask, read_png, rows_of

from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.data.regions_of_interest import allowed_at_model_size
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.generation.compose import compose, native_tensor
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import DATASET, MANIFEST
from anomalyhybrid.generation.references import strengthened
from anomalyhybrid.manipulate.placement import moved_into, suit_placement
from anomalyhybrid.manipulate.reference import place
from anomalyhybrid.manipulate.symmetry import Symmetry
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.structures import draw_structures
from anomalyhybrid.recipes.preview import preview
from anomalyhybrid.recipes.regeneration import regenerate

Make = Callable[..., Path]
RIGHT = [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]
SHAPE = (150, 150)  # not a multiple of the model's 64
LISTED = ("reference", "decoder", "operation", "appearance", "seed", "structure", "fusion_mask", "attempt")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One rendered category, larger than the model's square."""
    root = tmp_path_factory.mktemp("parts")
    write_dataset(root, product="nut", product_seed=1, seed=5, train_good=3, defects_per_kind=1, size=SHAPE[0])
    return root / "nut"


@pytest.fixture
def forbidden(tmp_path: Path) -> Path:
    """Stripes that no model pixel fits exactly, and scattered pixels, whose model pixels defects surround."""
    mask = (np.random.default_rng(0).random(SHAPE) > 0.99).astype(np.uint8) * 255
    mask[:, ::37] = 255
    mask[71:80] = 255
    path = tmp_path / "forbid.png"
    assert cv2.imwrite(str(path), mask)
    return path


def _polygon(path: Path, corners: list) -> str:
    path.write_text(json.dumps(corners))
    return str(path)


@pytest.mark.parametrize("real", [False, True])
def test_no_defect_touches_a_forbidden_pixel(
    tmp_path: Path, make_set: Make, parts: Path, forbidden: Path, real: bool
) -> None:
    roi = _polygon(tmp_path / "roi.json", RIGHT)
    base = (parts,) if real else ()
    out = make_set(tmp_path / "set", parts, base_set=base, count=10, normals=0, roi=roi, forbid=str(forbidden))
    allowed = np.zeros(SHAPE, bool)
    allowed[:, 75:] = True
    allowed &= read_png(forbidden) == 0
    for row in check_contract(out):
        mask = read_mask(out, row)
        assert not (mask & ~allowed).any(), row
    assert {row["structure"].startswith("procedural:") for row in rows_of(out)} == ({False} if real else {True, False})


def test_real_references_reach_a_region_far_from_their_own_place(tmp_path: Path, make_set: Make, parts: Path) -> None:
    small = _polygon(tmp_path / "roi.json", [[0.6, 0.45], [0.72, 0.45], [0.72, 0.58], [0.6, 0.58]])
    out = make_set(tmp_path / "set", parts, base_set=(parts,), count=8, normals=0, roi=small, bend=0.5)
    areas = []
    for row in check_contract(out):
        rows, columns = np.nonzero(read_mask(out, row))
        areas.append(row["mask_area"])
        assert rows.min() >= 67
        assert rows.max() < 87
        assert columns.min() >= 90
        assert columns.max() < 108
    assert np.median(areas) > 40


def test_no_room_is_an_error_that_names_the_images(tmp_path: Path, make_set: Make, parts: Path) -> None:
    corner = _polygon(tmp_path / "roi.json", [[0, 0], [0.05, 0], [0.05, 0.05], [0, 0.05]])
    with pytest.raises(DataError, match=r"(?s)3 of 3 images no room.*000\.png: 49 of 22500 pixels.* 0 on the product"):
        make_set(tmp_path / "set", parts, roi=corner)
    assert not (tmp_path / "set" / DATASET).exists()
    assert cv2.imwrite(str(tmp_path / "m.png"), np.full((64, 64), 255, np.uint8))
    with pytest.raises(DataError, match="mask of 64x64"):
        make_set(tmp_path / "set", parts, forbid=str(tmp_path / "m.png"))


def test_several_defects_keep_their_distance_and_are_listed(tmp_path: Path, make_set: Make, parts: Path) -> None:
    settings = {"count": 8, "normals": 1, "per_image": (1, 3), "extent": (0.05, 0.12), "batch_size": 4}
    out = make_set(tmp_path / "set", parts, base_set=(parts,), procedural=0.5, **settings)
    rows = check_contract(out)
    assert {row["defects_asked"] for row in rows} == {1, 2, 3}
    assert any(len(row["parts"]) > 1 for row in rows)
    for row in rows:
        listed = row["parts"]
        assert 1 <= len(listed) <= row["defects_asked"]
        assert row["mask_area"] == sum(part["mask_area"] for part in listed)  # none overlaps
        names = {part["defect"] for part in listed}
        assert row["defect"] == (names.pop() if len(names) == 1 else "combined")
        assert len({part["seed"] for part in listed}) == len(listed)
        assert {key: row[key] for key in LISTED} == {key: listed[0][key] for key in LISTED}
        total = sum(part["change_inside"] * part["mask_area"] for part in listed)
        assert abs(total / row["mask_area"] - row["change_inside"]) < 0.01
    alone = make_set(tmp_path / "alone", parts, base_set=(parts,), procedural=0.5, **settings | {"per_image": (1, 1)})
    for many, one in zip(rows, check_contract(alone), strict=True):  # the first defect is the one that was alone
        assert (many["target"], many["seed"]) == (one["target"], one["seed"])
        assert (read_mask(out, many) >= read_mask(alone, one)).all()
        if len(many["parts"]) == 1:
            assert (out / many["image"]).read_bytes() == (alone / one["image"]).read_bytes()
    row = max(rows, key=lambda row: len(row["parts"]))
    told: list[str] = []
    again = regenerate(out, row["id"], tmp_path / "again", announce=told.append)
    assert again.read_bytes() == (out / row["image"]).read_bytes()
    assert not [text for text in told if "differs" in text]


def test_more_than_fit_gives_fewer(tmp_path: Path, make_set: Make, parts: Path) -> None:
    small = _polygon(tmp_path / "roi.json", [[0.6, 0.45], [0.75, 0.45], [0.75, 0.6], [0.6, 0.6]])
    out = make_set(tmp_path / "set", parts, count=4, normals=0, per_image=(6, 6), roi=small)
    for row in check_contract(out):
        assert row["defects_asked"] == 6
        assert 1 <= len(row["parts"]) < 6


def test_resume_with_control_gives_the_same_set(tmp_path: Path, make_set: Make, parts: Path, forbidden: Path) -> None:
    settings = {"count": 4, "normals": 0, "batch_size": 2, "per_image": (2, 2), "severity": (0.5, 2.0)}
    whole = make_set(tmp_path / "set", parts, forbid=str(forbidden), **settings)
    before = contents(whole)
    for row in rows_of(whole)[1:3]:
        (whole / row["image"]).unlink()
    make_set(whole, parts, forbid=str(forbidden), resume=True, **settings)
    assert contents(whole) == before
    row = rows_of(whole)[0]
    mask = read_png(forbidden)
    mask[0] = 255
    assert cv2.imwrite(str(forbidden), mask)
    with pytest.raises(DataError, match="other content of --roi or --forbid"):
        make_set(whole, parts, forbid=str(forbidden), resume=True, **settings)
    with pytest.raises(DataError, match="put the same ones back"):
        regenerate(whole, row["id"], tmp_path / "again", announce=lambda text: None)
    assert contents(whole) == before


def test_severity_is_drawn_from_its_range_and_written(tmp_path: Path, make_set: Make, parts: Path) -> None:
    out = make_set(tmp_path / "set", parts, base_set=(parts,), procedural=0.5, count=12, normals=0, severity=(0.4, 1.6))
    rows = check_contract(out)
    drawn = [row["severity"] for row in rows]
    assert len(set(drawn)) > 6
    for row in rows:
        pasted = not row["structure"].startswith("procedural:")
        assert 0.4 <= row["severity"] <= (1.0 if pasted else 1.6)
    plain = make_set(tmp_path / "plain", parts, count=2, normals=0)
    assert all("severity" not in row for row in rows_of(plain))


def test_opacity_scales_the_change_of_what_is_pasted() -> None:
    target = np.full((64, 64, 3), 100, np.uint8)
    region = torch.zeros(1, 1, 64, 64)
    region[..., 10:50, 10:50] = 1
    whole, half = (
        compose(target, native_tensor(target) + 0.4, region, "region", opacity=opacity) for opacity in (1.0, 0.5)
    )
    assert whole.pixels[30, 30, 0] - 100 == pytest.approx(51, abs=1)
    assert half.pixels[30, 30, 0] - 100 == pytest.approx(25.5, abs=1)
    assert np.array_equal(whole.label_mask, half.label_mask)


def test_the_label_mask_keeps_off_single_forbidden_pixels() -> None:
    rng = np.random.default_rng(1)
    target = rng.integers(0, 255, (512, 480, 3), np.uint8)
    allowed = rng.random((512, 480)) > 0.001
    region = torch.from_numpy(allowed_at_model_size(allowed, 64)).float()[None, None]
    generated = -native_tensor(target)
    free = compose(target, generated, region, "region")
    assert (free.label_mask & ~allowed).any()  # the model's size alone is not exact
    composed = compose(target, generated, region, "region", allowed=allowed)
    assert np.array_equal(composed.label_mask, free.label_mask & allowed)
    assert np.array_equal(composed.pixels[~composed.label_mask], target[~composed.label_mask])
    assert composed.changed_outside == 0


def test_severity_scales_relief_and_stain_within_their_ranges() -> None:
    draws = Draws.from_stream(torch.Generator().manual_seed(0), 6)
    one = draw_structures(draws, torch.arange(6), torch.zeros(6, 2), torch.full((6,), 0.3), 64, 64)
    half, double = (strengthened(one, torch.full((6,), by)) for by in (0.5, 2.0))
    assert torch.equal(half.relief, one.relief * 0.5)
    assert torch.equal(half.tint_alpha, one.tint_alpha * 0.5)
    assert torch.equal(double.tint_alpha, (one.tint_alpha * 2).clamp(0, 1))
    assert torch.equal(half.region_mask, one.region_mask)
    assert all(torch.equal(getattr(strengthened(one, torch.ones(6)), n), getattr(one, n)) for n in ("relief", "edge"))


@pytest.mark.parametrize("any_turn", [True, False])
def test_turns_keep_within_their_limit(any_turn: bool) -> None:
    symmetry = Symmetry(flip_x=True, flip_y=True, half_turn=True, any_turn=any_turn)
    batch = 24
    plain, everything = torch.zeros(batch, 3, 32, 32), torch.ones(batch, 1, 32, 32)
    region = torch.zeros(batch, 1, 32, 32)
    region[..., 8:14, 9:20] = 1

    def turns(limit: float) -> torch.Tensor:
        draws = Draws.from_stream(torch.Generator().manual_seed(1), batch, 4096)
        matrix = suit_placement(
            draws, [symmetry] * batch, plain, everything, plain, everything, region, most_turn=limit
        )[:, :, :2]
        mirrored = torch.linalg.det(matrix) < 0
        best = []  # a mirror image is turned from the nearer of both mirror axes
        for one, is_mirrored in zip(matrix, mirrored, strict=True):
            options = [
                torch.diag(torch.tensor(d)) for d in (((-1.0, 1.0), (1.0, -1.0)) if is_mirrored else ((1.0, 1.0),))
            ]
            angles = [abs(math.atan2(float((one @ o)[1, 0]), float((one @ o)[0, 0]))) for o in options]
            best.append(min(angles))
        return torch.tensor(best).rad2deg()

    assert turns(10.0).max() <= 10.001
    assert turns(0.0).max() <= 0.001
    assert turns(180.0).max() > 60


def test_a_reference_can_always_be_moved_into_a_room() -> None:
    batch = 40
    draws = Draws.from_stream(torch.Generator().manual_seed(2), batch)
    region, room = torch.zeros(batch, 1, 32, 32), torch.zeros(batch, 1, 32, 32)
    region[..., 3:28, 4] = 1
    region[..., 3, 4:28] = 1  # an angle, whose centre is outside of it
    room[..., 20, 25] = 1
    nothing = torch.zeros(batch, 3, 32, 32)
    matrix = moved_into(draws, room, region)
    placed = place(nothing, nothing[:, :1], nothing[:, :1], region, matrix).region_mask
    assert ((placed * room).sum(dim=(1, 2, 3)) == 1).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"per_image": (0, 1)}, "per_image"),
        ({"per_image": (3, 2)}, "per_image"),
        ({"severity": (0.0, 1.0)}, "severity"),
        ({"severity": (1.0, 9.0)}, "severity"),
        ({"turn": 181.0}, "turn"),
        ({"roi": "x", "composition": "full"}, "composition"),
        ({"per_image": (1, 2), "composition": "full"}, "composition"),
    ],
)
def test_settings_out_of_range(settings: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        GenerateConfig(**settings)


def test_a_preview_is_one_sheet_and_leaves_a_set_alone(
    tmp_path: Path, make_set: Make, tiny_run: Path, products: Path, maps_cache: Path
) -> None:
    def show(out: Path, count: int, **settings: Any) -> np.ndarray:
        path = preview(
            str(tiny_run),
            [products / "nut"],
            out,
            count=count,
            base_set=[products / "nut"],
            config=GenerateConfig(**settings),
            cache=maps_cache / "conditions",
            announce=lambda text: None,
        )
        assert path == out / "preview.png"
        return read_png(path)

    assert show(tmp_path / "new" / "deep", 5).shape == (246, 5 * 212, 3)
    assert file_set(tmp_path / "new") == {"deep/preview.png"}
    out = make_set(tmp_path / "set", products / "nut", count=2, normals=1)
    before = contents(out)
    first = show(out, 10, per_image=(1, 3))
    assert first.shape == (2 * 246, 8 * 212, 3)
    assert np.array_equal(first, show(out, 10, per_image=(1, 3)))
    assert not np.array_equal(first, show(out, 10, per_image=(1, 3), seed=1))
    (out / "preview.png").unlink()
    assert contents(out) == before
    with pytest.raises(ConfigError, match="at least one"):
        show(out, 0)


def test_a_preview_does_not_hinder_the_set(tmp_path: Path, make_set: Make, products: Path) -> None:
    out = tmp_path / "set"
    out.mkdir()
    shutil.copy(next((products / "nut").rglob("*.png")), out / "preview.png")
    make_set(out, products / "nut", count=1, normals=0)
    assert {MANIFEST, DATASET, "preview.png"} < file_set(out)
