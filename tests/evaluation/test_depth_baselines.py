"""Depth-level baselines: one region for colour and depth, nothing changes outside it, unmeasured pixels stay so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.baselines.depth import DepthImages, PerlinDepthConfig, crop_paste_depth, perlin_depth
from anomalyhybrid.evaluation.depth_samples import DepthSamples, join_depth, set_range, to_u8

SIZE = 48


def images(count: int, *, region: bool = False, seed: int = 0, step: float = 0.0) -> DepthImages:
    """Sloping depth from 400 to 500 with a hole in the measurement; defects raise their region by `step`."""
    generator = torch.Generator().manual_seed(seed)
    color = torch.randint(80, 120, (count, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    mask = torch.zeros(count, 1, SIZE, SIZE, dtype=torch.uint8)
    if region:
        mask[:, :, 18:28, 16:30] = 255
        color = torch.where(mask > 0, 250, color)
    near = torch.linspace(400, 500, SIZE).expand(count, 1, SIZE, SIZE) + step * (mask > 0)
    valid = torch.ones(count, 1, SIZE, SIZE, dtype=torch.bool)
    valid[:, :, :3, :] = False
    full = torch.full_like(mask, 255)
    own = ImageSet(color, full * 0, full * 0, mask, full, torch.zeros(count, dtype=torch.long))
    return DepthImages(own, near.clone(), valid)


def test_range_and_bytes() -> None:
    one = images(2)
    low, high = set_range(one.near, one.valid)
    assert (low, high) == (pytest.approx(400, abs=3), pytest.approx(500, abs=3))
    values = to_u8(one.near, one.valid, (400, 500))
    assert values[0, 0, 10, 0] == 1
    assert values[0, 0, 10, -1] == 255
    assert not values[:, :, :3].any()
    assert (values[:, :, 3:] > 0).all()
    with pytest.raises(DataError, match="nothing to see"):
        set_range(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.bool))
    with pytest.raises(DataError, match="measured"):
        set_range(one.near, torch.zeros_like(one.valid))


@pytest.mark.parametrize("form", ["values", "smooth"])
def test_perlin_depth(form: str) -> None:
    good = images(1)
    made = perlin_depth(good, 12, 0, (400, 500), config=PerlinDepthConfig(form=form))  # type: ignore[arg-type]
    region, before = made.color.mask_u8 > 127, to_u8(good.near, good.valid, (400, 500))
    assert region.flatten(1).any(dim=1).all()
    assert torch.equal(made.depth_u8[~region], before.expand_as(region)[~region])
    assert torch.equal(
        made.color.image_u8[~region.expand(-1, 3, -1, -1)],
        good.images.color_u8.expand(12, -1, -1, -1)[~region.expand(-1, 3, -1, -1)],
    )
    assert not made.depth_u8[:, :, :3].any()  # never measured
    inside = region & good.valid
    changed = (made.depth_u8.int() - before.int()).abs()
    assert float((changed[inside] > 2).float().mean()) > 0.5
    again = perlin_depth(good, 3, 0, (400, 500), config=PerlinDepthConfig(form=form), block=2)  # type: ignore[arg-type]
    assert torch.equal(again.depth_u8, made.depth_u8[:3])


def test_easynet_takes_the_noise_and_3dsr_changes_gradually() -> None:
    """EasyNet's values are high where its noise is (above the threshold); 3DSR's go either way and have no texture."""
    good = images(1)
    flat = replace(good, near=torch.full_like(good.near, 450.0))
    value = perlin_depth(flat, 24, 1, (400, 500), config=PerlinDepthConfig(beta=(0.0, 0.0), threshold=0.4))
    inside = (value.color.mask_u8 > 0) & good.valid
    assert float((value.depth_u8[inside] > 128).float().mean()) > 0.8
    smooth = perlin_depth(flat, 24, 1, (400, 500), config=PerlinDepthConfig(form="smooth", threshold=0.4, offset=0.0))
    inside = (smooth.color.mask_u8 > 0) & good.valid
    raised = float((smooth.depth_u8[inside] > 128).float().mean())
    assert 0.2 < raised < 0.8


def test_crop_paste_carries_relative_depth() -> None:
    """A defect 20 above its own slope is 20 above the target's, wherever it lands (the slope adds a little)."""
    good, base = images(2), images(2, region=True, seed=1, step=20.0)
    base = replace(base, near=base.near + 1000)
    kinds = ("dent", "bump")
    made = crop_paste_depth(good, base, kinds, torch.tensor([0, 1]), 16, 0, (400, 600))
    region = (made.color.mask_u8 > 127) & (made.depth_u8 > 0)
    before = to_u8(good.near[:1], good.valid[:1], (400, 600)).int()
    rise = (made.depth_u8.int() - before)[region].float() / 254 * 200
    assert float(rise.mean()) == pytest.approx(20, abs=4)
    outside = made.color.mask_u8 <= 127
    assert torch.equal(made.depth_u8[outside].int(), before.expand_as(outside)[outside])
    assert set(made.color.kind.tolist()) == {0, 1}
    assert (made.color.image_u8[(made.color.mask_u8 > 127).expand(-1, 3, -1, -1)] > 150).float().mean() > 0.8


def test_samples_and_refusals() -> None:
    made = perlin_depth(images(1), 3, 0, (400, 500))
    both = join_depth(made, made.where(torch.tensor([1])))
    assert len(both) == 4
    assert torch.equal(both.depth.image_u8[3, 0], made.depth_u8[1, 0])
    assert both.depth.image_u8.shape == both.color.image_u8.shape
    with pytest.raises(DataError, match="need uint8"):
        DepthSamples(made.color, made.depth_u8[:, :, :4])
    with pytest.raises(ConfigError, match="form"):
        PerlinDepthConfig(form="easynet")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="not empty"):
        crop_paste_depth(images(1), images(1), ("dent",), torch.tensor([0]), 2, 0, (400, 500))
    with pytest.raises(DataError, match="depth of the good images"):
        perlin_depth(replace(images(2), near=images(1).near), 2, 0, (400, 500))
