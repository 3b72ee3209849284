"""Outside the label mask the written image is the target, bit for bit: operations, decoders, appearances, modes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from set_files import as_mode, check_contract, data_root, read_mask, read_png, rows_of

from anomalyhybrid.data.loading import save_png
from anomalyhybrid.data.parts import render

Make = Callable[..., Path]
OPERATIONS, DECODERS = ("merge", "remove", "replace", "tps"), ("ahd", "ahe")
MODES = ("grey8", "grey16", "rgb8", "rgb16", "rgba8", "rgba16")


def _render(seed: int, height: int, width: int) -> np.ndarray:
    part = render("nut", product_seed=1, image_seed=seed, size=128)
    return part.image_u8[:height, :width]


@pytest.fixture(scope="module")
def all_modes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain folder with one image of each mode, all sizes different, none square."""
    folder = tmp_path_factory.mktemp("modes") / "nuts"
    folder.mkdir()
    for index, mode in enumerate(MODES):
        height, width = ((96, 128), (128, 80), (65, 96), (48, 100), (120, 65), (64, 128))[index]
        save_png(folder / f"{mode}.png", as_mode(_render(index, height, width), mode, np.random.default_rng(index)))
    return folder


@pytest.mark.parametrize("with_base", [False, True], ids=["procedural", "base"])
@pytest.mark.parametrize("appearance", ["target", "reference", "blend"])
def test_every_operation_and_decoder(
    tmp_path: Path, make_set: Make, products: Path, appearance: str, with_base: bool
) -> None:
    base = (products / "nut",) if with_base else ()
    out = make_set(
        tmp_path / "set",
        products / "nut",
        base_set=base,
        count=40,
        normals=0,
        batch_size=20,
        appearance=appearance,
        remove_real=True,
        **({} if with_base or appearance != "blend" else {"kinds": ("hole",), "foreign": 0.0}),  # else none is
    )
    rows = check_contract(out)
    seen = {(row["operation"].removesuffix("+tps"), row["decoder"]) for row in rows}
    assert seen == set(product(OPERATIONS, DECODERS))
    assert {row["appearance"] for row in rows} == {appearance}
    assert {row["operation"].endswith("+tps") for row in rows} == {False, True}
    assert sum(row["accepted"] for row in rows) > 30
    procedural = [row["structure"].startswith("procedural:") for row in rows]
    assert not any(procedural) if with_base else any(procedural)
    assert all(drawn or row["defect"] == "foreign" for drawn, row in zip(procedural, rows, strict=True)) or with_base


@pytest.mark.parametrize("with_base", [False, True], ids=["procedural", "base"])
@pytest.mark.parametrize("appearance", ["target", "reference", "blend"])
def test_every_pixel_mode_at_its_own_size(
    tmp_path: Path, make_set: Make, products: Path, all_modes: Path, appearance: str, with_base: bool
) -> None:
    base = tmp_path / "nuts"
    for folder in ("test", "ground_truth") if with_base else ():
        for path in sorted((products / "nut" / folder).rglob("*.png")):
            copy = base / path.relative_to(products / "nut")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    if with_base:
        (base / "train" / "good").mkdir(parents=True)
        (base / "train" / "good" / "0.png").write_bytes((all_modes / "rgb8.png").read_bytes())
    out = make_set(
        tmp_path / "set",
        all_modes,
        base_set=(base,) if with_base else (),
        count=40,
        normals=6,
        batch_size=20,
        appearance=appearance,
        window="whole",
    )
    rows = check_contract(out)
    assert {Path(row["target"]).stem for row in rows} == set(MODES)
    for row in rows_of(out):
        target, image = read_png(data_root(out) / row["target"]), read_png(out / row["image"])
        assert (image.shape, image.dtype) == (target.shape, target.dtype)
        if image.ndim == 3 and image.shape[2] == 4:
            assert np.array_equal(image[..., 3], target[..., 3])


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_one_operation_and_decoder_alone(
    tmp_path: Path, make_set: Make, products: Path, operation: str, decoder: str
) -> None:
    out = make_set(
        tmp_path / "set",
        products / "capsule",
        count=3,
        normals=1,
        operations=(operation,),
        decoders=(decoder,),
        mixture=0.0,
    )
    rows = check_contract(out)
    assert {(row["operation"], row["decoder"]) for row in rows} == {(operation, decoder)}
    assert {row["decoder"] for row in rows_of(out)} == {decoder}


def test_normals_whole_and_in_patches(normals_of_both_kinds: Path) -> None:
    rows = rows_of(normals_of_both_kinds)
    shares = []
    for number, row in enumerate(rows):
        source, out = data_root(normals_of_both_kinds), normals_of_both_kinds
        target, image = read_png(source / row["target"]), read_png(out / row["image"])
        differs = (image != target).any(axis=2)
        assert (row["id"], row["defect"], row["operation"]) == (f"nut_n{number:06d}", "good", "none")
        assert (row["label_mask"], row["mask_area"], row["changed_outside"]) == (None, 0, 0)
        if number % 2:
            shares.append(differs.mean())
            assert (row["composition"], row["appearance"], row["reference"]) == ("region", "target", row["target"])
            assert row["fusion_mask"] == 1
            assert differs.any()
            assert row["change_inside"] > 1, "inside the outline"
        else:
            assert (row["composition"], row["appearance"]) == ("full", "reference")
            assert differs.mean() > 0.9
    assert len(set(shares)) == 4, "each has its own outline"
    assert max(shares) < 0.5
    assert {path.parent.name for path in normals_of_both_kinds.rglob("*.png")} == {"good"}
    assert len({row["seed"] for row in rows}) == 8


def test_a_full_composition_may_change_all_but_keeps_the_region_as_mask(
    tmp_path: Path, make_set: Make, products: Path
) -> None:
    full = make_set(tmp_path / "full", products / "nut", count=8, normals=0, composition="full")
    region = make_set(tmp_path / "region", products / "nut", count=8, normals=0)
    for row, other in zip(rows_of(full), rows_of(region), strict=True):
        assert row["composition"] == "full"
        mask = read_mask(full, row)
        assert np.array_equal(mask, read_mask(region, other))
        target, image = read_png(data_root(full) / row["target"]), read_png(full / row["image"])
        outside = ((image != target).any(axis=2) & ~mask).sum()
        assert row["changed_outside"] == outside > 0
        assert row["mask_area"] == mask.sum() > 0


def test_a_candidate_that_no_attempt_makes_visible_is_marked_and_keeps_a_mask(
    tmp_path: Path, make_set: Make, products: Path
) -> None:
    out = make_set(tmp_path / "set", products / "nut", count=4, normals=0, min_change=300.0, max_attempts=2)
    rows = check_contract(out)
    assert not any(row["accepted"] for row in rows)
    assert {row["attempt"] for row in rows} <= {0, 1}
