"""Aligned pairs: one manipulation, one place, one sign; each image from its own stream."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.generation import depth_defects
from anomalyhybrid.generation.depth_config import SIGNS, DepthDefectConfig
from anomalyhybrid.generation.depth_defects import accepted_pairs, composed_color, draw_pairs
from anomalyhybrid.generation.depth_pool import DENT, FLAT, HOLE, PROTRUSION, PairPool, check_pool, real_signs
from anomalyhybrid.generation.depth_rows import DepthRow, append_depth_rows, read_depth_rows
from anomalyhybrid.generation.depth_writer import compose_pair
from anomalyhybrid.generation.pipeline import own_detail
from anomalyhybrid.generation.pool import CategoryPool, maps_of
from anomalyhybrid.manipulate.symmetry import Symmetry
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import Generator
from anomalyhybrid.ops.structures import KINDS

SIZE = 64
SMALL = {"width": 8, "downsamplings": 2, "max_width": 16, "blocks": 1}


def images(count: int, *, region: bool = False, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    maps = F.interpolate(torch.rand(count, 5, 6, 6, generator=generator), (SIZE, SIZE), mode="bilinear")
    u8 = (maps * 155 + 60).byte()
    mask = torch.zeros(count, 1, SIZE, SIZE, dtype=torch.uint8)
    if region:
        mask[:, :, 20:36, 24:44] = 255
    return ImageSet(
        u8[:, :3], u8[:, 3:4], u8[:, 4:], mask, torch.full_like(mask, 255), torch.zeros(count, dtype=torch.long)
    )


def pool(*, base: list[float] | None = None) -> PairPool:
    """Flat measured depth at 0.2; real defects whose region is raised by the given amounts."""
    depth = torch.full((3, 1, SIZE, SIZE), 0.2)
    depth[:, :, :4] = -1.0  # the scene's back
    symmetry = Symmetry(flip_x=False, flip_y=False, half_turn=False, any_turn=False)
    if base is None:
        return PairPool(CategoryPool(images(3), None, symmetry), depth)
    defects = images(len(base), region=True, seed=2)
    inside = (defects.region_u8 > 127).float()
    own = depth[:1] + inside * torch.tensor(base).view(-1, 1, 1, 1)
    colour = CategoryPool(images(3), defects, symmetry, torch.zeros(len(base), dtype=torch.long))
    return PairPool(colour, depth, own, real_signs(own, inside, torch.ones_like(inside)))


def generator(gives: str) -> Generator:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Generator(GeneratorConfig(**SMALL, gives=gives)).eval()  # type: ignore[arg-type]


def test_real_defects_are_told_by_their_own_relief() -> None:
    inside = (images(4, region=True).region_u8 > 127).float()
    depth = torch.full((4, 1, SIZE, SIZE), 0.2)
    depth[:, :, :4] = -1.0
    raised = depth + inside * torch.tensor([-0.3, 0.3, -1.18, 0.01]).view(-1, 1, 1, 1)
    assert real_signs(raised, inside, torch.ones_like(inside)).tolist() == [DENT, PROTRUSION, HOLE, FLAT]


def test_a_dent_beside_the_background_is_a_dent() -> None:
    inside = (images(1, region=True).region_u8 > 127).float()
    thing = torch.zeros_like(inside)
    thing[:, :, 20:] = 1.0
    depth = torch.where(thing > 0, 0.2, -1.0) - 0.15 * inside
    assert real_signs(depth, inside, torch.ones_like(inside)).tolist() == [PROTRUSION], "the background misleads"
    assert real_signs(depth, inside, thing).tolist() == [DENT]


@pytest.mark.parametrize("sign", SIGNS)
def test_the_manipulation_has_the_asked_sign_at_the_colours_place(sign: str) -> None:
    config = DepthDefectConfig(sign=sign, appearance="blend")  # type: ignore[arg-type]
    drawn = draw_pairs(generator("color"), pool(), config, "a", range(6), [0] * 6)
    measured = pool().depth[drawn.target_index]
    change = drawn.edited_depth - measured
    assert (drawn.sign == SIGNS.index(sign)).all()
    assert float(change[drawn.reference_region == 0].abs().max()) == 0
    total = change.sum(dim=(1, 2, 3))
    assert ((total > 0) == (sign in ("protrusion", "flat"))).all()
    assert not (drawn.region_mask > drawn.reference_region).any()
    if sign == "hole":
        assert float(drawn.edited_depth.amin()) == -1.0
        assert all(KINDS[kind] == "hole" for kind in drawn.kind.tolist())


def test_pairs_do_not_depend_on_the_batch() -> None:
    config = DepthDefectConfig()
    model, sister = generator("color"), generator("maps")
    whole = accepted_pairs(model, sister, pool(), config, "a", range(5))
    alone = accepted_pairs(model, sister, pool(), config, "a", [3])
    assert int(whole.sign[3]) == int(alone.sign[0])
    assert torch.equal(whole.reference_region[3], alone.reference_region[0])
    torch.testing.assert_close(whole.fused[3], alone.fused[0], atol=1e-4, rtol=0)
    assert float(whole.height[3]) == float(alone.height[0])


def test_relief_lies_in_the_label_region() -> None:
    pairs = accepted_pairs(generator("color"), generator("maps"), pool(), DepthDefectConfig(seed=3), "a", range(6))
    assert (pairs.relief[pairs.region_mask > 0] > 0).all()
    assert not pairs.relief[pairs.region_mask == 0].any()


def test_real_defects_bring_their_measured_relief() -> None:
    own = pool(base=[-0.3, 0.3])
    drawn = draw_pairs(generator("color"), own, DepthDefectConfig(), "a", range(8), [0] * 8)
    assert drawn.uses_base.all()
    assert drawn.blend.all()
    for row in range(8):
        change = (drawn.edited_depth[row] - own.depth[drawn.target_index[row]]).sum()
        assert (int(drawn.sign[row]) == PROTRUSION) == (float(change) > 0)
        assert int(drawn.sign[row]) == [DENT, PROTRUSION][int(drawn.reference_index[row])]
    only = draw_pairs(generator("color"), own, DepthDefectConfig(sign="dent"), "a", range(6), [0] * 6)
    assert set(only.reference_index.tolist()) == {0}


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"hole.*dent, protrusion"):
        check_pool(pool(base=[-0.3, 0.3]), DepthDefectConfig(sign="hole"), "a")
    check_pool(pool(base=[-0.3]), DepthDefectConfig(sign="hole", procedural=1.0), "a")
    with pytest.raises(ConfigError, match=r"AnomalyHybrid\*"):
        accepted_pairs(generator("color"), generator("color"), pool(), DepthDefectConfig(), "a", [0])
    for settings in (
        {"sign": "bump"},
        {"height": "big"},
        {"height": (2.0, 1.0)},
        {"height": (0.0, 1.0)},
        {"auto_share": (0.2, 0.1)},
        {"count": 0},
        {"smooth": 0.5},
        {"decoders": ("abc",)},
        {"flat_share": 2.0},
    ):
        with pytest.raises(ConfigError, match=f"depth.{next(iter(settings))} is"):
            replace(DepthDefectConfig(), **settings)  # type: ignore[arg-type]


def test_a_deep_place_without_background_is_a_dent_and_a_whole_image_is_flat() -> None:
    inside = (images(1, region=True).region_u8 > 127).float()
    whole = torch.ones_like(inside)
    plane = torch.full_like(inside, 0.2)
    tilted = torch.linspace(-1, 1, SIZE).view(1, 1, SIZE, 1).expand_as(inside)
    for surface in (plane, tilted):
        assert real_signs(surface - 1.0 * inside, inside, whole).tolist() == [DENT]
    assert real_signs(plane, whole, whole).tolist() == [FLAT]


def test_unmeasured_defects_are_holes_where_the_background_is_unmeasured_too() -> None:
    inside = (images(1, region=True).region_u8 > 127).float()
    thing = torch.zeros_like(inside)
    thing[:, :, 10:] = 1.0
    filled = torch.full_like(inside, 0.2)
    assert real_signs(filled, inside, thing, thing - inside).tolist() == [HOLE]
    assert real_signs(filled, inside, thing, 1 - inside).tolist() == [FLAT], "the background was measured"


def test_signs_and_types_take_turns() -> None:
    drawn = draw_pairs(generator("color"), pool(), DepthDefectConfig(), "a", range(2, 10), [3] * 8)
    assert drawn.sign.tolist() == [2, 3, 0, 1, 2, 3, 0, 1]
    own = pool(base=[-0.3, -0.3, -0.3, 0.3])
    own = replace(own, colour=replace(own.colour, base_kind=torch.tensor([0, 0, 0, 1])))
    drawn = draw_pairs(generator("color"), own, DepthDefectConfig(), "a", range(6), [0] * 6)
    assert (drawn.reference_index == 3).tolist() == [False, True] * 3


def test_the_source_keeps_the_contents_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    whole = depth_defects.redraw
    monkeypatch.setattr(depth_defects, "redraw", lambda *given: seen.append(whole(*given)) or seen[-1])
    pairs = draw_pairs(generator("color"), pool(), DepthDefectConfig(), "a", range(8), [0] * 8)
    assert pairs.blend.any()
    assert not pairs.blend.all()
    assert torch.equal(pairs.source, own_detail(seen[0].source, pairs.content, pairs.blend))
    mask = pairs.fusion_mask
    torch.testing.assert_close(pairs.fused, mask * pairs.source + (1 - mask) * pairs.content)


def test_what_was_pasted_is_not_faded_twice() -> None:
    pairs = draw_pairs(generator("color"), pool(), DepthDefectConfig(appearance="blend"), "a", range(4), [0] * 4)
    pairs = replace(pairs, fusion_mask=torch.zeros_like(pairs.fusion_mask), fused=pairs.content)
    target = pool().colour.normals.color_u8[pairs.target_index]
    color, _, _ = maps_of(pool().colour.normals, pairs.target_index)
    small = composed_color(pairs, color)
    for row in range(4):
        composed = compose_pair(pairs, row, target[row], target[row].permute(1, 2, 0).numpy())
        shown = torch.from_numpy(composed.pixels).permute(2, 0, 1).float() / 127.5 - 1
        inside = torch.from_numpy(composed.label_mask)
        assert composed.changed_outside == 0
        assert float((shown - pairs.content[row]).abs()[:, inside].max()) < 0.01
        torch.testing.assert_close(small[row], shown, atol=0.01, rtol=0)


def test_grey_targets_stay_grey() -> None:
    grey = pool()
    normals = grey.colour.normals
    color = normals.color_u8[:, :1].expand_as(normals.color_u8)
    grey = replace(grey, colour=replace(grey.colour, normals=replace(normals, color_u8=color)))
    pairs = draw_pairs(generator("color"), grey, DepthDefectConfig(sign="flat"), "a", range(4), [0] * 4)
    shown = composed_color(pairs, maps_of(grey.colour.normals, pairs.target_index)[0])
    assert torch.equal(shown[:, 0], shown[:, 1])
    assert torch.equal(shown[:, 0], shown[:, 2])


def test_a_last_line_that_is_json_but_no_row_is_an_error(tmp_path: Path) -> None:
    row = DepthRow(
        id="a", depth="d.png", preview="p.png", source="s.png", kind="png16", nearer_is_larger=True, unit="mm",
        sign="dent", requested_height=-1, generated_height=-1, profile="network", valid_share=1, changed_outside=0,
    )  # fmt: skip
    append_depth_rows(tmp_path, [row])
    path = tmp_path / "depth.jsonl"
    text = path.read_text()
    path.write_text(text + text[:30])
    assert read_depth_rows(tmp_path) == [row]
    for wrong in ('{"id": "b"}', text.replace("d.png", "../d.png")):
        path.write_text(text + wrong)
        with pytest.raises(DataError, match="line 2 is not a depth row"):
            read_depth_rows(tmp_path)
