"""Back to the image's own size: Eq. 1 there, thin regions, the mask contract; which candidates are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from anomalyhybrid.data.loading import to_rgb_u8
from anomalyhybrid.generation.compose import (
    Composition,
    Part,
    at_native_size,
    compose,
    filled,
    native_region,
    native_tensor,
    placed,
    resized,
)
from anomalyhybrid.generation.quality import LEAST_AREA, VISIBLE, acceptable, choose, mean_change, visible_region
from anomalyhybrid.ops.fusion import fuse
from anomalyhybrid.ops.ranges import u8_from_signed
from anomalyhybrid.seeding import stream
from anomalyhybrid.types import DecoderOutput

SIZE = 64
SIZES = [(64, 64), (48, 100), (65, 97), (130, 70), (200, 333), (16, 16), (300, 20)]


def _random(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=stream(seed, "compose")) * 2 - 1


def _pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _output(content_small: Tensor, mask: float, seed: int = 3) -> DecoderOutput:
    source, fusion_mask = _random(seed, 1, 3, SIZE, SIZE), torch.full((1, 1, SIZE, SIZE), mask)
    return DecoderOutput(source, fusion_mask, fuse(content_small, source, fusion_mask))


# at_native_size


@pytest.mark.parametrize("size", SIZES)
def test_a_closed_fusion_mask_returns_the_content_exactly(size: tuple[int, int]) -> None:
    content = native_tensor(_pixels(*size))
    small = resized(content, SIZE, SIZE)
    assert torch.equal(at_native_size(_output(small, 0.0), content, small), content)


def test_at_the_models_size_it_is_the_networks_own_output() -> None:
    content = _random(1, 1, 3, SIZE, SIZE)
    output = _output(content, 0.4)
    assert torch.allclose(at_native_size(output, content, content), output.fused, atol=1e-6)


def test_an_open_mask_keeps_the_contents_fine_detail() -> None:
    low = torch.full((1, 3, 128, 128), 0.2)
    detail = 0.1 * torch.tensor([1.0, -1.0]).repeat(64)
    content = low + detail
    small = resized(content, SIZE, SIZE)
    source = torch.full((1, 3, SIZE, SIZE), 0.2)
    ones = torch.ones(1, 1, SIZE, SIZE)
    result = at_native_size(DecoderOutput(source, ones, source), content, small)
    ripple = (result[..., 1::2] - result[..., 0::2]).mean()
    assert ripple == pytest.approx(-0.2, abs=0.02)
    black = at_native_size(DecoderOutput(source * 0 - 1, ones, source), content, small)
    assert black.amax() < -0.99, "a hole stays black: detail is shaded with the source"


def test_the_result_stays_in_range() -> None:
    content = native_tensor(_pixels(90, 50))
    small = resized(content, SIZE, SIZE)
    assert at_native_size(_output(small, 1.0), content, small).abs().amax() <= 1


@pytest.mark.parametrize("size", SIZES)
def test_a_part_is_bit_for_bit_the_wholes(size: tuple[int, int]) -> None:
    content, small = native_tensor(_pixels(*size)), _random(5, 1, 3, SIZE, SIZE)
    fusion_mask = _random(6, 1, 1, SIZE, SIZE).abs()
    output = _output(small, 0.0)._replace(fusion_mask=fusion_mask)
    whole = at_native_size(output, content, small)
    for top, left, rows, columns in ((0, 0, 16, 16), (3, 5, 9, 7), (1, 2, 300, 300), (15, 11, 1, 4)):
        part = Part(*size, slice(top, top + rows), slice(left, left + columns))
        for cut in (part.cut(content), part.cut(content).contiguous()):
            assert torch.equal(at_native_size(output, cut, small, part), part.cut(whole))
        assert torch.equal(part.made(torch.sub, small, output.source), part.of(small - output.source))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opacity", [1.0, 0.4])
@pytest.mark.parametrize("composition", ["region", "full"])
def test_only_a_part_is_needed_of_the_generated_image(
    size: tuple[int, int], opacity: float, composition: Composition
) -> None:
    target, region = _pixels(*size), _region((10, 10, 30, 25), (28, 20, 33, 50))
    generated, under = native_tensor(_pixels(*size, seed=7)), native_tensor(_pixels(*size, seed=8))
    whole = compose(target, generated, region, composition, under=under, opacity=opacity)
    place = placed(target.shape, region, composition)
    nothing = torch.full_like(generated, torch.nan)
    for image in (generated, under):
        place.part.cut(nothing).copy_(place.part.cut(image))
        image.copy_(nothing)
    made = compose(target, generated, region, composition, under=under, opacity=opacity)
    assert np.array_equal(made.pixels, whole.pixels)
    below = place.part.cut(under)
    made = filled(target, place, place.part.cut(generated), under=below, opacity=opacity)
    assert np.array_equal(made.pixels, whole.pixels)
    assert (made.changed_outside, made.change_inside) == (whole.changed_outside, whole.change_inside)


# compose


def _region(*boxes: tuple[int, int, int, int]) -> Tensor:
    region = torch.zeros(1, 1, SIZE, SIZE)
    for top, left, bottom, right in boxes:
        region[0, 0, top:bottom, left:right] = 1
    return region


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("top", [0, 20, 31, 63])
def test_a_region_of_one_pixel_survives_at_every_size(size: tuple[int, int], top: int) -> None:
    region = _region((top, 63 - top, top + 1, 64 - top))
    target = _pixels(*size)
    composed = compose(target, -native_tensor(target), region, "region")
    assert composed.label_mask.any()
    assert composed.label_mask.mean() < 0.05
    assert composed.changed_outside == 0
    rows, columns = np.nonzero(composed.label_mask)
    assert abs((rows.mean() + 0.5) / size[0] - (top + 0.5) / SIZE) < 0.06
    assert abs((columns.mean() + 0.5) / size[1] - (63.5 - top) / SIZE) < 0.06


def test_a_region_keeps_its_place_and_size() -> None:
    region = _region((16, 8, 48, 24))
    for height, width in SIZES:
        mask = native_region(region, height, width)[0, 0].numpy() > 0
        assert mask.mean() == pytest.approx(1 / 8, abs=0.04)
        assert mask[height // 2, width // 4]
        assert not mask[height // 2, width // 2]
    assert torch.equal(native_region(region, SIZE, SIZE), region)
    assert not native_region(torch.zeros_like(region), 100, 30).any()


@pytest.mark.parametrize("size", SIZES)
def test_outside_the_mask_nothing_changes_and_inside_it_all_may(size: tuple[int, int]) -> None:
    target = _pixels(*size)
    generated = native_tensor(255 - target)
    composed = compose(target, generated, _region((10, 10, 40, 50)), "region")
    differs = (composed.pixels != target).any(axis=2)
    assert not (differs & ~composed.label_mask).any()
    assert differs[composed.label_mask].mean() > 0.95
    assert composed.pixels.dtype == target.dtype
    change = np.abs(composed.pixels.astype(int) - target)[composed.label_mask].mean()
    assert composed.change_inside == pytest.approx(change)


def test_deep_inside_the_mask_the_image_is_the_generated_one() -> None:
    target = _pixels(64, 64)
    generated = native_tensor(_pixels(64, 64, seed=9))
    composed = compose(target, generated, _region((10, 10, 50, 50)), "region")
    assert np.array_equal(composed.pixels[16:44, 16:44], u8_from_signed(generated)[0].permute(1, 2, 0)[16:44, 16:44])


def test_a_region_at_the_images_border_has_no_ramp_there() -> None:
    target = np.zeros((64, 64, 3), np.uint8)
    composed = compose(target, torch.ones(1, 3, 64, 64), _region((0, 0, 64, 20)), "region")
    assert (composed.pixels[:, :16] == 255).all()
    assert (composed.pixels[:, 20:] == 0).all()
    assert 0 < composed.pixels[30, 19, 0] < 255


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [0, 3, 4])
def test_modes_and_alpha_are_the_targets(dtype: type, channels: int) -> None:
    shape = (40, 70, channels) if channels else (40, 70)
    target = np.random.default_rng(2).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
    for composition in ("region", "full"):
        composed = compose(target, -native_tensor(target), _region((10, 10, 40, 50)), composition)
        assert (composed.pixels.shape, composed.pixels.dtype) == (target.shape, target.dtype)
        if channels == 4:
            assert np.array_equal(composed.pixels[..., 3], target[..., 3])
        differs = (composed.pixels != target).reshape(40, 70, -1).any(axis=2)
        assert (differs & ~composed.label_mask).sum() == composed.changed_outside
        assert (composed.changed_outside == 0) == (composition == "region")
        change = np.abs(to_rgb_u8(composed.pixels).astype(int) - to_rgb_u8(target)).mean(axis=2)
        assert composed.change_inside == pytest.approx(change[composed.label_mask].mean())


def test_an_unchanged_image_is_returned_as_it_is() -> None:
    target = _pixels(50, 60)
    for composition in ("region", "full"):
        composed = compose(target, native_tensor(target), _region((10, 10, 40, 50)), composition)
        assert np.array_equal(composed.pixels, target)
        assert composed.change_inside == 0


# quality


def test_the_region_shrinks_to_the_visible_change() -> None:
    target = torch.zeros(1, 3, SIZE, SIZE)
    generated = target.clone()
    generated[..., 20:30, 20:30] = 0.5
    region = _region((10, 10, 50, 50))
    seen = visible_region(target, generated, region)
    assert set(seen.unique().tolist()) <= {0.0, 1.0}
    assert (seen <= region).all()
    assert seen[0, 0, 20:30, 20:30].all()
    rows, columns = seen[0, 0].nonzero(as_tuple=True)
    assert rows.min() >= 14
    assert rows.max() <= 35
    assert columns.min() >= 14
    assert columns.max() <= 35


def test_change_outside_the_region_does_not_count() -> None:
    target = torch.zeros(1, 3, SIZE, SIZE)
    generated = torch.full_like(target, 0.5)
    generated[..., 10:50, 10:50] = 0
    seen = visible_region(target, generated, _region((16, 16, 44, 44)))
    assert not seen.any()
    assert (visible_region(target, target + 0.5, _region((16, 16, 44, 44))) == _region((16, 16, 44, 44))).all()


def test_faint_change_is_not_visible_and_small_gaps_close() -> None:
    target = torch.zeros(1, 3, SIZE, SIZE)
    region = _region((8, 8, 56, 56))
    assert not visible_region(target, target + (VISIBLE - 1) / 127.5, region).any()
    assert torch.equal(visible_region(target, target + (VISIBLE + 1) / 127.5, region), region)
    one_channel = target.clone()
    one_channel[:, 2] += (VISIBLE + 1) / 127.5
    assert torch.equal(visible_region(target, one_channel, region), region), "one colour is enough"
    striped = target.clone()
    striped[..., 10:54:6] = 1.0
    assert visible_region(target, striped, region)[0, 0, 20:40, 12:50].all()


def test_mean_change() -> None:
    target = torch.zeros(2, 3, SIZE, SIZE)
    generated = target.clone()
    generated[:, 0, 10:20, 10:20] = 0.3
    region = _region((10, 10, 20, 20)).repeat(2, 1, 1, 1)
    region[1] = 0
    assert mean_change(target, generated, region).tolist() == pytest.approx([0.1 * 127.5, 0.0])


def test_a_candidate_needs_enough_change_over_enough_pixels() -> None:
    region = torch.cat(
        [_region((0, 0, 4, 6)), _region((0, 0, 4, 6)), _region((0, 0, 1, 23)), torch.zeros(1, 1, 64, 64)]
    )
    assert LEAST_AREA == 24
    change = torch.tensor([8.0, 7.99, 90.0, 90.0])
    assert acceptable(change, region, 8.0).tolist() == [True, False, False, False]


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 1, 4, 4)])
def test_choose_takes_the_better_sample(shape: tuple[int, ...]) -> None:
    better, new, old = torch.tensor([True, False, True]), torch.ones(shape), torch.zeros(shape)
    assert choose(better, new, old).flatten(1 if len(shape) > 1 else 0).reshape(3, -1)[:, 0].tolist() == [1, 0, 1]


def test_a_patchy_change_is_one_region_without_holes() -> None:
    """As an annotator draws it: gaps inside a defect belong to it, what lies apart from it does not."""
    target = torch.zeros(1, 3, 256, 256)
    region = torch.zeros(1, 1, 256, 256)
    region[..., 60:200, 60:200] = 1
    changed = target.clone()
    for start in range(80, 140, 12):  # stripes of 4 with gaps of 8
        changed[..., 80:140, start : start + 4] = 0.4
    seen = visible_region(target, changed, region)
    assert seen[..., 82:138, 80:132].all()
    assert not seen[..., 150:, :].any()
    assert not (seen * (1 - region)).any()
