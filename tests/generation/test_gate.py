"""The quality gate: its scores, its limits, and what it makes of a set."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from set_files import contents, file_set, rows_of

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.gate import REASONS, SCORES, Calibration, Gate, Limit, calibrate, gate_entry
from anomalyhybrid.generation.gate_features import VIEW, Eyes, Views, alike, view_of
from anomalyhybrid.generation.gate_scores import Normality, grain, off_object, strongest
from anomalyhybrid.generation.pool import CategoryPool
from anomalyhybrid.manipulate.symmetry import Symmetry
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.structures import KINDS, draw_region
from anomalyhybrid.recipes.regeneration import regenerate
from anomalyhybrid.seeding import stream

Make = Callable[..., Path]
NO_SYMMETRY = Symmetry(flip_x=False, flip_y=False, half_turn=False, any_turn=False)


def _square(top: int, left: int, side: int = 16, size: int = 64) -> torch.Tensor:
    mask = torch.zeros(1, 1, size, size)
    mask[..., top : top + side, left : left + side] = 1
    return mask


def _noise(number: int, seed: int, size: int = 64, strength: float = 0.05) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(number, 3, size, size, generator=generator) * strength).clamp(-1, 1)


def _pool(normals: int = 12, defects: int = 0) -> CategoryPool:
    """Grey noise; defects are bright squares of the same noise, each in another place."""

    def images(count: int, seed: int, bright: bool) -> ImageSet:
        color, regions = _noise(count, seed), torch.zeros(count, 1, 64, 64)
        for number in range(count if bright else 0):
            regions[number] = _square(4 * number % 40, 7 * number % 44)[0]
        color = color + 0.6 * regions
        blank = torch.zeros(count, 1, 64, 64, dtype=torch.uint8)
        return ImageSet(
            color_u8=((color.clamp(-1, 1) + 1) * 127.5).byte(),
            depth_u8=blank,
            edge_u8=blank,
            region_u8=(regions * 255).byte(),
            object_u8=blank + 255,
            category=torch.zeros(count, dtype=torch.long),
        )

    base = images(defects, 1, True) if defects else None
    return CategoryPool(normals=images(normals, 0, False), base=base, symmetry=NO_SYMMETRY)


def _judge(gate: Gate, pictures: torch.Tensor, regions: torch.Tensor) -> dict[str, torch.Tensor]:
    none = torch.full((len(pictures),), -1)
    scores = gate.scores(pictures, regions, torch.ones_like(regions), none, none)
    return dict(zip(SCORES, scores.T, strict=True))


def test_grain_is_negative_where_a_region_is_smoother_than_its_surroundings() -> None:
    region, noise = _square(20, 20, 24), _noise(1, 3)
    smooth, coarse = grain(noise * (1 - region), region), grain(noise * (1 + 2 * region), region)
    assert smooth.item() < -1 < 0.5 < coarse.item()
    assert abs(grain(noise, region).item()) < 0.2


def test_off_object_is_the_share_beside_the_product() -> None:
    product = torch.zeros(1, 1, 64, 64)
    product[..., :28] = 1
    assert off_object(_square(20, 20), product).item() == pytest.approx(0.5)


def test_a_good_image_is_not_compared_with_itself() -> None:
    cells = torch.arange(8.0).view(2, 1, 2, 2)  # 0..3 of image 7, 4..7 of image 9
    normality = Normality.of(cells, torch.tensor([7, 9]))
    region = torch.ones(1, 1, 8, 8)
    alone = normality.strangeness(cells[:1], region, torch.tensor([7]))[0]
    assert alone.tolist() == [4, 3, 2, 1]
    assert normality.strangeness(cells[:1], region, torch.tensor([-1]))[0].tolist() == [0, 0, 0, 0]
    assert strongest([alone]).item() == 4  # the strangest quarter of four cells


def test_alike_is_one_for_the_same_defect_in_its_place_alone() -> None:
    nothing, first, beside, elsewhere = torch.zeros(1, 3, 64, 64), _square(8, 8), _square(8, 16), _square(40, 40)
    pictures = torch.cat([(one * 0.5).expand(1, 3, 64, 64) for one in (first, beside, elsewhere, -first)])
    views = view_of(pictures, torch.cat([first, beside, elsewhere, first]), nothing)
    found = alike(views, views)
    assert torch.allclose(found.diagonal(), torch.ones(4), atol=1e-5)
    assert torch.allclose(found, found.T)
    assert 0.1 < found[0, 1].item() < 0.4  # half of each region is shared: 1/3 of both, times 1/2 of the picture
    assert found[0, 2].item() == 0
    assert found[0, 3].item() == 0  # dark instead of bright


def test_views_do_not_depend_on_strength() -> None:
    region, mean_good = _square(8, 8), _noise(1, 5)
    faint, strong = (view_of(mean_good + region * by, region, mean_good) for by in (0.1, 0.8))
    assert alike(faint, strong).item() == pytest.approx(1, abs=1e-4)


def test_limits_hold_at_their_ends_and_for_unknown_scores() -> None:
    limit = Limit(least=1, most=2)
    scores = torch.tensor([0.9, 1.0, 2.0, 2.1, float("nan")])
    assert limit.broken(scores).tolist() == [True, False, False, True, False]


def test_limits_are_quantiles_of_real_defects() -> None:
    steps = torch.arange(101.0)[:, None].expand(101, len(SCORES))
    limits = Calibration(good=steps + 1000, real=steps).limits(0.1)
    assert limits["realism"].most == limits["copy"].most == pytest.approx(90)
    assert limits["strangeness"].least == pytest.approx(10)
    assert {limit.by for limit in limits.values()} == {"real"}


def test_without_real_defects_what_needs_them_decides_nothing() -> None:
    steps = torch.arange(101.0)[:, None].expand(101, len(SCORES))
    limits = Calibration(good=steps, real=None).limits(0.1)
    assert {name for name, limit in limits.items() if limit.by == "none"} == {"realism", "copy"}
    assert limits["strangeness"].least == pytest.approx(90)
    assert limits["off_object"].most == pytest.approx(90)


def test_the_gate_tells_a_defect_from_a_good_image() -> None:
    pool = _pool()
    gate = calibrate(pool, GenerateConfig(), "noise")
    region, fresh = _square(20, 20), _noise(1, 77)
    scores = _judge(gate, torch.cat([fresh, fresh + 0.6 * region]), torch.cat([region, region]))
    assert scores["strangeness"][0] < gate.limits["strangeness"].least < scores["strangeness"][1]
    assert scores["mask_fit"][0] < scores["mask_fit"][1]
    assert bool(scores["realism"].isnan().all())


def test_few_real_defects_are_said_and_not_used() -> None:
    few, none, enough = (calibrate(_pool(defects=number), GenerateConfig(), "noise") for number in (3, 0, 10))
    assert "only 3 different real defects" in few.says[0]
    assert few.limits == none.limits
    assert enough.says == ()
    assert {limit.by for limit in enough.limits.values()} == {"real"}


def test_near_duplicates_count_as_one_real_defect() -> None:
    pool = replace(_pool(defects=10), base_group=torch.zeros(10, dtype=torch.long))
    assert "only 1 different real defects" in calibrate(pool, GenerateConfig(), "noise").says[0]


def test_a_real_defect_again_is_a_copy_and_looks_real() -> None:
    pool = _pool(defects=10)
    gate, base = calibrate(pool, GenerateConfig(), "noise"), pool.base
    assert base is not None
    regions = (base.region_u8[:1] > 127).float()
    again = _judge(gate, base.color_u8[:1].float() / 127.5 - 1, regions)
    assert again["copy"].item() == pytest.approx(1, abs=1e-4)
    assert again["copy"].item() > gate.limits["copy"].most
    strange = _judge(gate, (_noise(1, 9) - 0.9 * regions).clamp(-1, 1), regions)
    assert strange["realism"].item() > again["realism"].item()


def test_judgement_does_not_depend_on_the_batch() -> None:
    gate = calibrate(_pool(defects=10), GenerateConfig(), "noise")
    regions = torch.cat([_square(8, 8), _square(30, 20), _square(5, 40)])
    pictures = _noise(3, 21) + 0.5 * regions
    together = torch.stack(list(_judge(gate, pictures, regions).values()))
    alone = [_judge(gate, pictures[i : i + 1], regions[i : i + 1]) for i in range(3)]
    single = torch.cat([torch.stack(list(one.values())) for one in alone], dim=1)
    assert torch.allclose(together, single, atol=1e-4)


def test_duplicates_are_found_in_order_and_count_for_themselves() -> None:
    gate = calibrate(_pool(), GenerateConfig(), "noise")
    angle = torch.deg2rad(torch.tensor([90.0, 0.0, 90.0, 15.0, 30.0]))  # cos 15 is a duplicate's, cos 30 is not
    color = torch.stack([torch.cos(angle), torch.sin(angle), torch.zeros(5)], dim=1)
    change = color[:, :, None].expand(5, 3, VIEW * VIEW).flatten(1) / VIEW
    # 2 repeats 0; 3 repeats 1 and is left out, so that 4, which repeats 3 alone, stays
    assert gate.duplicates(Views(change, torch.ones(5, VIEW * VIEW))) == [2, 3]


def test_a_duplicate_is_more_alike_than_the_defect_is_to_itself_moved_a_cell() -> None:
    gate, target = calibrate(_pool(), GenerateConfig(), "noise"), _noise(5, 31)
    regions = torch.cat([_square(8, 8), _square(8, 9), _square(8, 14), _square(40, 40), _square(8, 8)])
    change = torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0]).view(5, 1, 1, 1) * 0.6 * regions
    found = gate.duplicates(view_of(target + change, regions, target))
    assert found == [1]  # a pixel beside the first; not the one 6 pixels beside, elsewhere, or of the other sign
    faint = gate.duplicates(view_of(target[:1].expand(2, -1, -1, -1) + 0.02 * regions[2:4], regions[2:4], target[:1]))
    assert faint == []  # faint defects of one good image in two places


@pytest.mark.parametrize("size", [64, 128, 256])
@pytest.mark.parametrize("kind", ["scratch", "dent"])
def test_independent_defects_are_hardly_ever_duplicates_and_copies_always(size: int, kind: str) -> None:
    gate, draws = calibrate(_pool(), GenerateConfig(), "noise"), Draws.from_stream(stream(0, "shapes", size), 40, 2048)
    kinds = torch.full((40,), KINDS.index(kind))
    regions = draw_region(draws, kinds, draws.uniforms(2, -0.6, 0.6), draws.log_uniform(0.05, 0.3), size, size)
    good = torch.zeros(1, 3, size, size)
    views = view_of(good - 0.5 * regions, regions, good)
    assert len(gate.duplicates(views)) <= 4
    copies = gate.duplicates(Views.joined([views, views]), first=40)
    assert copies == list(range(40, 80))


def test_eyes_scale_good_images_to_unit_spread() -> None:
    good = _noise(8, 4)
    cells = Eyes.on(good)(good)
    assert cells.shape == (8, 336, 16, 16)
    assert cells.mean(dim=(0, 2, 3)).abs().max().item() < 1e-3


def test_entry_names_what_is_known() -> None:
    scores = torch.tensor([1.0, 0.5, -0.25, 0.0, float("nan"), float("nan")])
    entry = gate_entry(scores, torch.tensor([2, 0, 0, 1, 0, 0, 0]))
    assert entry["rejected"] == {REASONS[0]: 2, REASONS[3]: 1}
    assert set(entry["scores"]) == set(SCORES) - {"realism", "copy"}


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory, make_set: Make, products: Path) -> Path:
    """A set of five that the gate has much to say about, in batches of two."""
    out = tmp_path_factory.mktemp("gated") / "set"
    return make_set(out, products / "nut", count=5, batch_size=2, max_attempts=2, gate="on", gate_strictness=0.3)


def _defects(root: Path) -> list[dict]:
    return [row for row in rows_of(root) if row["label_mask"]]


def _left_out(root: Path) -> list[dict]:
    path = root / "rejected.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_gated_set_holds_accepted_images_alone(gated: Path) -> None:
    rows, out = _defects(gated), _left_out(gated)
    assert all(row["accepted"] and set(row["gate"]["scores"]) <= set(SCORES) for row in rows)
    numbers = sorted(int(one["id"][-6:]) for one in [*rows, *out])
    assert numbers == list(range(len(numbers)))
    assert len(numbers) <= 15
    pictures = {name for name in file_set(gated) if name.endswith(".png")}
    assert pictures == {row[name] for row in rows_of(gated) for name in ("image", "label_mask") if row[name]}


def test_a_gated_set_says_what_fell_and_what_is_missing(gated: Path) -> None:
    about, rows, out = json.loads((gated / "dataset.json").read_text()), _defects(gated), _left_out(gated)
    said = about["summary"]["nut"]["gate"]
    assert said["missing"] == 5 - len(rows)
    assert said["images_left_out"] == sum(one["reasons"] != ["surplus"] for one in out)
    assert about["gate"]["nut"]["limits"]["strangeness"]["by"] == "good"
    assert "no real defects" in about["gate"]["nut"]["notes"][0]
    if said["missing"]:
        assert len(out) + len(rows) == 15


def test_a_gated_set_that_was_stopped_is_finished_alike(
    tmp_path: Path, make_set: Make, products: Path, gated: Path
) -> None:
    whole = contents(gated)
    first = _defects(gated)[0]
    for name, content in whole.items():  # killed after the first image: the rest of its batch is not listed
        if name in ("dataset.json", first["image"], first["label_mask"]):
            (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / name).write_bytes(content)
    (tmp_path / "set" / "manifest.jsonl").write_text(json.dumps(first) + "\n")
    again = make_set(
        tmp_path / "set", products / "nut", count=5, batch_size=2, max_attempts=2, gate="on", gate_strictness=0.3,
        resume=True,
    )  # fmt: skip
    assert {one["id"] for one in _left_out(again)} == {one["id"] for one in _left_out(gated)}
    kept = {name: content for name, content in contents(again).items() if name != "rejected.jsonl"}
    assert kept == {name: content for name, content in whole.items() if name != "rejected.jsonl"}


def test_an_image_of_a_gated_set_is_made_again(tmp_path: Path, gated: Path) -> None:
    row = _defects(gated)[-1]
    said: list[str] = []
    path = regenerate(gated, row["id"], tmp_path / "again", announce=said.append)
    assert path.read_bytes() == (gated / row["image"]).read_bytes()
    assert not [text for text in said if "differs" in text]


def test_with_the_gate_off_rows_say_nothing_of_it(tmp_path: Path, make_set: Make, products: Path) -> None:
    out = make_set(tmp_path / "set", products / "nut", count=2)
    assert all("gate" not in row for row in rows_of(out))
    assert "gate" not in json.loads((out / "dataset.json").read_text())
    assert not (out / "rejected.jsonl").exists()
