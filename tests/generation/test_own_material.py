"""Snippets, drawn masks and a taxonomy through the command line, on rendered parts."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from set_files import check_contract, contents, read_mask

from anomalyhybrid.cli.main import main
from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.data.loading import load_image, load_mask, save_png
from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import DATASET, MANIFEST
from anomalyhybrid.generation.pool import CategoryPool, DrawnRegions
from anomalyhybrid.generation.references import labelled, real_reference
from anomalyhybrid.manipulate.symmetry import Symmetry
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.recipes.regeneration import regenerate

SIDE = 96
Rows = list[dict[str, Any]]
Generate = Callable[..., int]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("parts")
    write_dataset(root, product="nut", product_seed=1, seed=5, train_good=3, defects_per_kind=1, size=SIDE)
    return root / "nut"


@pytest.fixture
def generate(tiny_run: Path, parts: Path, maps_cache: Path) -> Generate:
    def run(out: Path, *words: object, base: bool = False, count: int = 8) -> int:
        given: list[object] = ["generate", tiny_run, "--data", parts, "--out", out, "--count", count, "--batch-size", 4]
        given += [
            "--max-attempts",
            3,
            "--cache",
            maps_cache / "conditions",
            *(["--base-set", parts] if base else []),
            *words,
        ]
        return main([str(word) for word in given])

    return run


def _real(parts: Path) -> tuple[Path, Path]:
    image = next(path for path in sorted((parts / "test").rglob("*.png")) if path.parent.name == "contamination")
    return image, parts / "ground_truth" / "contamination" / f"{image.stem}_mask.png"


@pytest.fixture
def snippets(tmp_path: Path, parts: Path) -> Path:
    """A cut-out of a rendered stain, and a pair of it."""
    image, mask_path = _real(parts)
    pixels = load_image(image).pixels
    mask = load_mask(mask_path, shape=pixels.shape[:2])
    rows, columns = np.nonzero(mask)
    where = slice(max(0, rows.min() - 3), rows.max() + 4), slice(max(0, columns.min() - 3), columns.max() + 4)
    for name in ("stain", "dirt"):
        (tmp_path / "own" / name).mkdir(parents=True)
    alpha = (mask[where] * 255).astype(np.uint8)
    save_png(tmp_path / "own" / "stain" / "cut.png", np.dstack([pixels[where], alpha]))
    save_png(tmp_path / "own" / "dirt" / "pair.png", pixels[where])
    save_png(tmp_path / "own" / "dirt" / "pair_mask.png", mask[where])
    return tmp_path / "own"


@pytest.fixture
def masks(tmp_path: Path, parts: Path) -> Path:
    """Three drawn masks, one of them in the folder of a procedural kind."""
    names = sorted(path.stem for path in (parts / "train" / "good").iterdir())
    folder = tmp_path / "drawn"
    (folder / "hole").mkdir(parents=True)
    y, x = np.mgrid[:SIDE, :SIDE]
    save_png(folder / f"{names[2]}.png", np.hypot(y - 30, x - 48) < 9.3)
    save_png(folder / f"{names[0]}_mask.png", (abs(y - x + 11) < 5) & (y > 40) & (y < 71))
    save_png(folder / "hole" / f"{names[0]}.png", np.hypot(y - 70, 2 * (x - 37)) < 15)
    return folder


def _by_type(rows: Rows) -> Counter[str]:
    return Counter(row["defect"] for row in rows)


def test_snippets_are_references_named_by_their_files(tmp_path: Path, generate: Generate, snippets: Path) -> None:
    assert generate(tmp_path / "set", "--snippets", snippets) == 0
    rows = check_contract(tmp_path / "set")
    assert _by_type(rows) == {"stain": 4, "dirt": 4}
    assert {row["structure"] for row in rows} == {"stain/cut.png", "dirt/pair.png"}
    assert {row["reference"] for row in rows} == {"stain/cut.png", "dirt/pair.png"}
    about = json.loads((tmp_path / "set" / DATASET).read_text())
    assert about["config"]["snippets"] == str(snippets)


def test_snippets_stand_beside_a_base_set(tmp_path: Path, generate: Generate, snippets: Path) -> None:
    assert generate(tmp_path / "set", "--snippets", snippets, base=True, count=9) == 0
    kinds = _by_type(check_contract(tmp_path / "set"))
    assert {"stain", "dirt", "scratch", "missing"} < set(kinds)
    assert max(kinds.values()) == 1  # types take turns


@pytest.mark.parametrize("base", [True, False])
def test_drawn_masks_come_back_as_drawn(
    tmp_path: Path, generate: Generate, masks: Path, parts: Path, base: bool
) -> None:
    assert generate(tmp_path / "set", "--masks", masks, "--procedural", 0.5, base=base, count=9) == 0
    rows = check_contract(tmp_path / "set")
    names = sorted(path.stem for path in (parts / "train" / "good").iterdir())
    files = [masks / f"{names[0]}_mask.png", masks / f"{names[2]}.png", masks / "hole" / f"{names[0]}.png"]
    for number, row in enumerate(rows):
        drawn = load_mask(files[number % 3], shape=(SIDE, SIDE))
        assert (read_mask(tmp_path / "set", row) == drawn).all(), row
        assert Path(row["target"]).stem == files[number % 3].stem.removesuffix("_mask")
        assert row["defect"] == "hole" or number % 3 != 2
    assert any(row["accepted"] for row in rows)


def test_visible_masks_are_parts_of_the_drawn_ones(tmp_path: Path, generate: Generate, masks: Path) -> None:
    words = ("--masks", masks, "--masks-as", "visible")
    assert generate(tmp_path / "set", *words, base=True, count=6) == 0
    assert generate(tmp_path / "drawn_set", "--masks", masks, base=True, count=6) == 0
    pairs = zip(check_contract(tmp_path / "set"), check_contract(tmp_path / "drawn_set"), strict=True)
    areas = []
    for seen, drawn in pairs:
        mask = read_mask(tmp_path / "set", seen)
        assert not (mask & ~read_mask(tmp_path / "drawn_set", drawn)).any()
        areas.append((mask.sum(), drawn["mask_area"]))
    assert any(part < whole for part, whole in areas)


def test_a_taxonomy_shares_the_images_and_names_them(
    tmp_path: Path, generate: Generate, snippets: Path, parts: Path
) -> None:
    path = tmp_path / "defects.toml"
    (tmp_path / "left.json").write_text("[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]")
    path.write_text(
        '[deep]\nkinds = ["crack"]\nshare = 2\nseverity = [0.5, 0.9]\nroi = "left.json"\n'
        '[spill]\nreference = ["stain", "dirt"]\n[any]\nreference = false\n'
    )
    words = ("--taxonomy", path, "--snippets", snippets, "--severity", 1, 1)
    assert generate(tmp_path / "set", *words, count=12) == 0
    rows = check_contract(tmp_path / "set")
    assert _by_type(rows) == {"deep": 6, "spill": 3, "any": 3}
    for row in rows:
        name = row["defect"]
        assert Path(row["image"]).parent.name == name
        if name == "deep":
            assert row["structure"] == "procedural:crack"
            assert 0.5 <= row["severity"] <= 0.9
            assert not read_mask(tmp_path / "set", row)[:, SIDE // 2 :].any()
        assert "severity" in row or name != "deep"
        assert (row["structure"] in ("stain/cut.png", "dirt/pair.png")) == (name == "spill")
    assert len({row["structure"] for row in rows if row["defect"] == "spill"}) == 2
    about = json.loads((tmp_path / "set" / DATASET).read_text())["taxonomy"]
    assert [(entry["name"], entry["share"]) for entry in about] == [("deep", 2.0), ("spill", 1.0), ("any", 1.0)]
    row = rows[5]
    told: list[str] = []
    again = regenerate(tmp_path / "set", row["id"], tmp_path / "again", announce=told.append)
    assert again.read_bytes() == (tmp_path / "set" / row["image"]).read_bytes()
    assert not [text for text in told if "differs" in text]


def test_masks_and_taxonomy_meet_and_a_stopped_set_is_finished(
    tmp_path: Path, generate: Generate, masks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "defects.json"
    path.write_text(json.dumps({"hole": {"kinds": ["hole"]}, "soft": {"kinds": ["dent", "bump"]}}))
    words = ("--taxonomy", path, "--masks", masks)
    whole = tmp_path / "set"
    assert generate(whole, *words, count=12) == 0
    rows = check_contract(whole)
    met = Counter((Path(row["target"]).stem, row["mask_area"], row["defect"]) for row in rows)
    assert sorted(met.values()) == [2, 2, 2, 2, 4]  # two free masks meet both, the third is a hole's
    cut = tmp_path / "cut"
    shutil.copytree(whole, cut)
    lines = (cut / MANIFEST).read_text().splitlines(keepends=True)
    (cut / MANIFEST).write_text("".join(lines[:4]))
    assert generate(cut, *words, "--resume", count=12) == 0
    assert contents(cut) == contents(whole)
    path.write_text(json.dumps({"hole": {"kinds": ["hole"]}, "soft": {"kinds": ["dent"]}}))
    assert generate(cut, *words, "--resume", count=12) == 2
    assert "begun with another --taxonomy" in capsys.readouterr().err
    path.write_text(json.dumps({"hole": {"kinds": ["hole"]}, "soft": {"kinds": ["dent", "bump"]}}))
    drawn = next((masks / "hole").iterdir())
    save_png(drawn, load_mask(drawn, shape=(SIDE, SIDE))[::-1])
    assert generate(cut, *words, "--resume", count=12) == 2
    assert "begun with another content of the data folders" in capsys.readouterr().err


def test_large_images_are_seen_in_windows_around_drawn_masks(tmp_path: Path, generate: Generate, masks: Path) -> None:
    assert generate(tmp_path / "set", "--masks", masks, "--window", 40, count=6) == 0
    for row in check_contract(tmp_path / "set"):
        drawn = [load_mask(path, shape=(SIDE, SIDE)) for path in masks.rglob("*.png")]
        assert any((read_mask(tmp_path / "set", row) == mask).all() for mask in drawn)
        assert row["window"][2:] >= [40, 40]


def test_a_preview_shows_masks_and_entries(tmp_path: Path, generate: Generate, masks: Path) -> None:
    path = tmp_path / "defects.toml"
    path.write_text('[hole]\nkinds = ["hole"]\n[soft]\nkinds = ["dent"]\n')
    assert generate(tmp_path / "set", "--masks", masks, "--taxonomy", path, "--preview", 4) == 0
    assert load_image(tmp_path / "set" / "preview.png").pixels.shape[2] == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--masks", "{masks}", "--per-image", "1", "2"], "generate.per_image has no meaning with masks"),
        (["--masks", "{masks}", "--roi", "r.json"], "generate.roi has no meaning with masks"),
        (["--masks", "{masks}", "--composition", "full"], "generate.masks needs composition 'region'"),
        (["--masks-as", "visible"], "masks_as has a meaning only with masks"),
        (["--masks", "{tmp}/none"], "none does not exist"),
        (["--snippets", "{tmp}/none"], "none does not exist"),
        (["--taxonomy", "{tmp}/none.toml"], "cannot be read"),
        (["--snippets", "{own}", "--global"], "generate.snippets is for local defects"),
        (["--taxonomy", "{tmp}/t.toml", "--depth-run", "s"], "generate.taxonomy has no meaning with --depth-run"),
        (["--taxonomy", "{tmp}/t.toml"], "entry 'a': reference names spots, but there are no real defects"),
        (["--taxonomy", "{tmp}/t.toml", "--snippets", "{own}"], "spots, but real defects there are of dirt, stain"),
    ],
)
def test_what_does_not_go_is_refused_before_any_work(
    tmp_path: Path, generate: Generate, snippets: Path, masks: Path, capsys: pytest.CaptureFixture[str],
    words: list[str], told: str,
) -> None:  # fmt: skip
    (tmp_path / "t.toml").write_text('[a]\nreference = ["spots"]\n')
    given = [word.format(tmp=tmp_path, own=snippets, masks=masks) for word in words]
    assert generate(tmp_path / "set", *given) == 2
    assert told in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "set" / DATASET).exists()


def test_a_folder_that_no_defect_stands_for_is_refused(
    tmp_path: Path, generate: Generate, masks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (masks / "hole").rename(masks / "damage")
    assert generate(tmp_path / "set", "--masks", masks) == 2
    assert "its folder 'damage' is none of scratch, dent" in capsys.readouterr().err
    path = tmp_path / "defects.toml"
    path.write_text("[other]\n")
    assert generate(tmp_path / "set", "--masks", masks, "--taxonomy", path) == 2
    assert "its folder 'damage' is none of other" in capsys.readouterr().err


def test_masks_too_small_for_the_model_are_named(
    tmp_path: Path, generate: Generate, masks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = np.zeros((SIDE, SIDE), bool)
    tiny[40:44, 40:43] = True
    path = next(masks.glob("*.png"))
    save_png(path, tiny)
    assert generate(tmp_path / "set", "--masks", masks) == 2
    error = capsys.readouterr().err
    assert "less than 24 pixels at the model's 64x64" in error
    assert path.name in error


def _images(color_u8: torch.Tensor, region_u8: torch.Tensor) -> ImageSet:
    count = len(color_u8)
    on, plain = torch.full_like(region_u8, 255), region_u8 * 0
    return ImageSet(color_u8, plain, plain, region_u8, on, torch.zeros(count, dtype=torch.long))


def _pool(drawn: torch.Tensor, base: ImageSet | None = None) -> CategoryPool:
    """One grey good image, and a region drawn for it."""
    good = _images(torch.full((1, 3, SIDE, SIDE), 90, dtype=torch.uint8), (drawn * 0).to(torch.uint8))
    symmetry = Symmetry(flip_x=False, flip_y=False, half_turn=False, any_turn=False)
    regions = DrawnRegions(torch.zeros(1, dtype=torch.long), (drawn * 255).to(torch.uint8))
    return CategoryPool(normals=good, base=base, symmetry=symmetry, drawn=regions)


def test_a_region_with_an_empty_end_is_not_filled() -> None:
    drawn = torch.zeros(1, 1, SIDE, SIDE)
    drawn[..., 10:14, 10:90] = 1
    pool = _pool(drawn)
    for end, enough in ((90, True), (84, True), (70, False), (40, False)):  # 3 pixels at 96 are near; 5 % may be empty
        visible = drawn.clone()
        visible[..., end:] = 0
        label, filled = labelled(pool, visible, drawn, drawn)
        assert bool(filled) == enough, end
        assert (label == drawn).all()


def test_a_real_defect_is_edited_inside_its_drawn_region_alone() -> None:
    drawn = torch.zeros(1, 1, SIDE, SIDE)
    drawn[..., 10:30, 50:80] = 1
    spot = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.uint8)
    spot[..., 60:76, 20:36] = 255
    pool = _pool(drawn, _images(torch.full((1, 3, SIDE, SIDE), 90, dtype=torch.uint8), spot))
    for seed in range(5):
        draws = Draws.from_stream(torch.Generator().manual_seed(seed), 1)
        target, whole = torch.zeros(1, 3, SIDE, SIDE), torch.ones(1, 1, SIDE, SIDE)
        number = torch.tensor([seed])
        reference, *_ = real_reference(pool, GenerateConfig(), draws, target, whole, number, None, drawn)
        assert not (reference.region_mask * (1 - drawn)).any()
        assert reference.region_mask.sum() > 0.8 * drawn.sum()
