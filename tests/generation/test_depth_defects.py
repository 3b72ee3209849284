"""Aligned pairs: one manipulation, one place, one sign; each image from its own stream."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.depth_config import SIGNS, DepthDefectConfig
from anomalyhybrid.generation.depth_defects import accepted_pairs, draw_pairs
from anomalyhybrid.generation.depth_pool import DENT, FLAT, HOLE, PROTRUSION, PairPool, check_pool, real_signs
from anomalyhybrid.generation.pool import CategoryPool
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
    drawn = draw_pairs(generator("color"), pool(), config, "a", range(6), 0)
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
    drawn = draw_pairs(generator("color"), own, DepthDefectConfig(), "a", range(8), 0)
    assert drawn.uses_base.all()
    assert drawn.blend.all()
    for row in range(8):
        change = (drawn.edited_depth[row] - own.depth[drawn.target_index[row]]).sum()
        assert (int(drawn.sign[row]) == PROTRUSION) == (float(change) > 0)
        assert int(drawn.sign[row]) == [DENT, PROTRUSION][int(drawn.reference_index[row])]
    only = draw_pairs(generator("color"), own, DepthDefectConfig(sign="dent"), "a", range(6), 0)
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
