"""Each baseline looks like its paper: where pixels come from, how masks are shaped, how values are mixed."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from baseline_sets import KINDS, SIZE, base_images, good_images

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.baselines import texture_augment as change
from anomalyhybrid.evaluation.baselines.colour import hsv_from_rgb, jitter, rgb_from_hsv, shift_hue
from anomalyhybrid.evaluation.baselines.crop_paste import CropPasteConfig, Placement, crop_paste
from anomalyhybrid.evaluation.baselines.cut_paste import CutPasteConfig, cut_paste
from anomalyhybrid.evaluation.baselines.nsa import NsaConfig, nsa, poisson_paste
from anomalyhybrid.evaluation.baselines.perlin import PerlinConfig, perlin, perlin_noise
from anomalyhybrid.evaluation.baselines.textures import Textures, load_textures, procedural_textures
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.seeding import stream


@pytest.mark.parametrize("placement", ["suited", "free"])
def test_crop_paste_takes_pixels_of_its_type_unblended(placement: Placement) -> None:
    base, base_kind = base_images()
    config = CropPasteConfig(placement=placement)
    samples = crop_paste(good_images(), base, KINDS, base_kind, 12, 0, config=config)
    for image, mask, kind in zip(samples.image_u8, samples.mask_u8, samples.kind, strict=True):
        pixels = image[:, mask[0] > 0]
        assert (pixels[kind] == 255).all()
        assert pixels.sum() == 255 * pixels.shape[1]  # the other channels are 0
    area = (samples.mask_u8 > 0).float().mean((1, 2, 3)) / (base.region_u8[0] > 0).float().mean()
    assert 0.1 < float(area.min()) < float(area.max()) < 2.5


def test_crop_paste_bends_what_it_pastes() -> None:
    base, base_kind = base_images()
    bent, straight = (
        crop_paste(good_images(), base, KINDS, base_kind, 12, 0, config=CropPasteConfig(tps_share=share))
        for share in (1.0, 0.0)
    )
    differs = (bent.mask_u8 != straight.mask_u8).float().sum((1, 2, 3))
    assert float(differs.median()) >= 4
    overlap = ((bent.mask_u8 > 0) & (straight.mask_u8 > 0)).float().sum() / (straight.mask_u8 > 0).float().sum()
    assert float(overlap) > 0.8


def test_cut_paste_moves_a_rectangle_of_the_same_image() -> None:
    good = good_images()
    samples = cut_paste(good, 8, 1, config=CutPasteConfig(scar_share=0.0, jitter=0.0))
    for image, mask in zip(samples.image_u8, samples.mask_u8[:, 0] > 0, strict=True):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        height, width = len(rows), len(columns)
        assert int(mask.sum()) == height * width
        assert 0.018 < height * width / SIZE**2 < 0.16
        patch = image[:, mask].reshape(3, height, width)
        origin = (good.color_u8[:, :, ~mask] == image[:, ~mask]).flatten(1).all(1).nonzero()[0, 0]
        windows = good.color_u8[origin].unfold(1, height, 1).unfold(2, width, 1)
        found = (windows == patch[:, None, None]).all(dim=(0, 3, 4)).nonzero().tolist()
        assert found
        assert [int(rows[0]), int(columns[0])] not in found


def test_cut_paste_scars_are_thin_and_rotated() -> None:
    samples = cut_paste(good_images(3, 128), 40, 1, config=CutPasteConfig(scar_share=1.0))
    fill = []
    for mask in samples.mask_u8[:, 0].numpy():
        points = cv2.findNonZero(mask)
        assert points is not None
        _, sides, _ = cv2.minAreaRect(points)
        assert 3 < max(sides) <= 25 / 2 + 1  # half of the paper's pixels, which are of 256
        assert min(sides) <= 16 / 2 + 1
        box = mask.any(0).sum() * mask.any(1).sum()
        fill.append((mask > 0).sum() / box)
    assert min(fill) < 0.65 < max(fill)  # a turned rectangle does not fill its box


def test_cut_paste_shares_both_variants() -> None:
    area = (cut_paste(good_images(3, 64), 200, 2).mask_u8 > 0).float().mean((1, 2, 3))
    assert 0.4 < float((area < 0.015).float().mean()) < 0.6


def test_cut_paste_can_stay_on_the_object() -> None:
    good = good_images(3, 64)
    free, kept = (
        cut_paste(good, 60, 2, config=CutPasteConfig(on_object=choice, scar_share=1.0)) for choice in (False, True)
    )
    on = [((s.mask_u8 > 0) & (good.object_u8[:1] > 0)).sum() / (s.mask_u8 > 0).sum() for s in (free, kept)]
    assert float(on[1]) > 0.9 > float(on[0])


def test_perlin_noise_equals_values_worked_out_by_hand() -> None:
    angles = torch.zeros(1, 3, 3)  # all gradients point right: noise is t - fade(t) along x
    noise = perlin_noise(angles, torch.tensor([[1, 1]]), 4)[0, 0]
    fade = 0.25**3 * (0.25 * (0.25 * 6 - 15) + 10)
    expected = torch.tensor([0.0, 0.25 - fade, 0.0, fade - 0.25]) * 2**0.5
    torch.testing.assert_close(noise, expected.expand(4, 4))
    down = perlin_noise(torch.full((1, 3, 3), torch.pi / 2), torch.tensor([[1, 2]]), 8)[0, 0]
    torch.testing.assert_close(down[:, 0], expected.repeat(2), atol=1e-6, rtol=0)  # two cells down the image


def test_perlin_noise_has_the_spread_that_the_threshold_is_made_for() -> None:
    angles = torch.rand(8, 33, 33, generator=stream(0, "angles")) * 2 * torch.pi
    noise = perlin_noise(angles, torch.full((8, 2), 32), 256)
    assert float(noise[:, :, ::8, ::8].abs().max()) < 1e-5  # lattice points
    assert 0.7 < float(noise.abs().max()) <= 1.01
    assert 0.03 < float((noise > 0.5).float().mean()) < 0.12


def test_perlin_mixes_texture_and_image_with_one_opacity() -> None:
    good = good_images()
    flat = torch.tensor([200, 90, 40], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, SIZE, SIZE)
    config = PerlinConfig(beta=(0.3, 0.3), octaves=(2, 4))
    samples = perlin(good, 8, 0, textures=Textures(flat, "flat"), config=config)
    for image, mask in zip(samples.image_u8, samples.mask_u8[:, 0] > 0, strict=True):
        origin = (good.color_u8[:, :, ~mask] == image[:, ~mask]).flatten(1).all(1).nonzero()[0, 0]
        left = image[:, mask].float() - 0.3 * good.color_u8[origin][:, mask].float()
        assert float((left.amax(1) - left.amin(1)).max()) <= 1.01  # (1 - beta) A, rounded: one colour


def test_perlin_can_stay_on_the_object_and_grey() -> None:
    good = good_images()
    grey = replace(good, color_u8=good.color_u8[:, :1].expand(-1, 3, -1, -1).contiguous())
    bank = procedural_textures(8, SIZE, 1)
    samples = perlin(grey, 12, 0, textures=bank, config=PerlinConfig(on_object=True, grey=True))
    assert bool((samples.mask_u8 <= grey.object_u8[:1]).all())
    assert torch.equal(samples.image_u8[:, 0], samples.image_u8[:, 1])
    assert not torch.equal(*perlin(grey, 12, 0, textures=bank).image_u8[:, :2].unbind(1))


def test_perlin_redraws_rather_than_give_an_empty_mask() -> None:
    config = PerlinConfig(octaves=(0, 0), threshold=0.95)  # out of reach of nearly all noise
    samples = perlin(good_images(), 6, 0, textures=procedural_textures(2, SIZE, 0), config=config)
    assert bool((samples.mask_u8 > 0).flatten(1).any(1).all())


def test_perlin_refuses_textures_of_another_size() -> None:
    with pytest.raises(DataError, match="as the good images"):
        perlin(good_images(), 1, 0, textures=procedural_textures(2, 32, 0))


def test_textures_do_not_depend_on_their_number_and_name_themselves(
    tmp_path: Path, put_image: Callable[[Path, np.ndarray], Path]
) -> None:
    few, more = procedural_textures(3, 32, 5), procedural_textures(12, 32, 5)
    assert torch.equal(few.image_u8, more.image_u8[:3])
    assert "procedural" in few.name
    assert float(more.image_u8.float().std(dim=(2, 3)).mean(1).min()) > 3
    put_image(tmp_path / "dtd" / "banded" / "a.png", np.full((20, 30, 3), (10, 20, 30), np.uint8))
    put_image(tmp_path / "dtd" / "b.png", np.full((20, 30), 77, np.uint8))
    loaded = load_textures(tmp_path / "dtd", 16)
    assert loaded.name == "folder dtd (2 images)"
    assert sorted(loaded.image_u8[:, :, 3, 3].tolist()) == [[10, 20, 30], [77, 77, 77]]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        load_textures(tmp_path / "none", 16)


def test_colours_agree_with_the_standard_library() -> None:
    rgb = torch.rand(1, 3, 8, 8, generator=stream(0, "rgb"))
    rgb[0, :, 0, 0], rgb[0, :, 0, 1] = 0.0, 0.5
    hsv = hsv_from_rgb(rgb)
    expected = [colorsys.rgb_to_hsv(*pixel) for pixel in rgb[0].flatten(1).T.tolist()]
    torch.testing.assert_close(hsv[0].flatten(1).T, torch.tensor(expected), atol=1e-5, rtol=0)
    torch.testing.assert_close(rgb_from_hsv(hsv), rgb, atol=1e-5, rtol=0)
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)
    torch.testing.assert_close(shift_hue(red, torch.tensor([1 / 3])).flatten(), torch.tensor([0.0, 1, 0]))


def test_jitter_is_small_and_off_at_zero() -> None:
    rgb = torch.rand(4, 3, 8, 8, generator=stream(0, "rgb"))
    full = torch.ones(4, 1, 8, 8)
    assert torch.equal(jitter(Draws(torch.rand(4, 8)), rgb, full, 0.0), rgb)
    brighter = jitter(Draws(torch.tensor([[1.0, 0.5, 0.5, 0.5]])), rgb[:1] * 0.5, full[:1], 0.1)
    torch.testing.assert_close(brighter, rgb[:1] * 0.55, atol=1e-5, rtol=0)


def _one(values: list[float]) -> torch.Tensor:
    return torch.tensor(values).view(1, 1, 1, -1).expand(1, 3, 1, -1)


def test_texture_changes_equal_values_worked_out_by_hand() -> None:
    zero, one = torch.zeros(1, 4), torch.full((1, 4), 0.999)
    row = _one([0.0, 0.25, 0.49, 1.0])

    def of(made: torch.Tensor) -> list[float]:
        return made[0, 0, 0].tolist()

    assert of(change.gamma(row, zero)) == pytest.approx([0, 0.5, 0.7, 1])
    assert of(change.invert(row, zero)) == pytest.approx([1, 0.75, 0.51, 0])
    assert of(change.posterise(row, zero)) == pytest.approx([0, 0, 0, 128 / 255])
    assert of(change.solarise(row, zero)) == pytest.approx([0, 0.75, 0.51, 0])
    assert of(change.solarise(row, one)) == pytest.approx([0, 0.25, 0.49, 1])  # the other half of the images
    assert of(change.autocontrast(_one([0.2, 0.4, 0.6]), zero)) == pytest.approx([0, 0.5, 1], abs=0.01)
    assert of(change.equalise(_one([0.1, 0.1, 0.2, 0.9]), zero)) == pytest.approx([0, 0, 0.5, 1])
    assert of(change.brightness(row, one))[1] == pytest.approx(0.25 * 1.2 + 30 / 255, abs=0.01)
    flat = _one([0.3] * 4)
    for apply in (change.autocontrast, change.equalise, change.sharpness):
        assert of(apply(flat, one)) == pytest.approx([0.3] * 4)


def test_three_different_changes_are_applied_row_by_row() -> None:
    rgb = torch.rand(6, 3, 16, 16, generator=stream(0, "rgb"))
    rows = torch.rand(6, 32, generator=stream(0, "rows"))
    together = change.augment_textures(Draws(rows), rgb)
    alone = torch.cat([change.augment_textures(Draws(rows[i : i + 1]), rgb[i : i + 1]) for i in range(6)])
    assert torch.equal(together, alone)
    assert 0 <= float(together.min()) <= float(together.max()) <= 1
    assert float((together - rgb).abs().mean(dim=(1, 2, 3)).min()) > 0.01


def _noise_image(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (SIZE, SIZE, 3)).astype(np.float32)
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 1.0) * 60 + 110, 0, 215).astype(np.uint8)


@pytest.mark.parametrize("shape", [(20, 20), (21, 20), (20, 21), (15, 9)])
def test_poisson_blending_is_in_place_and_removes_the_level(shape: tuple[int, int]) -> None:
    """A brighter copy of what is there already blends into nothing; one pixel of shift would show."""
    image = _noise_image(0)
    place = (slice(7, 7 + shape[0]), slice(11, 11 + shape[1]))
    inside = np.ones(shape, np.uint8)
    blended = poisson_paste(image, image[place] + 40, inside, (7, 11), "normal")
    assert np.abs(blended.astype(int) - image).max() <= 2
    other = poisson_paste(image, _noise_image(1)[place], inside, (7, 11), "normal")
    changed = (other != image).any(axis=2)
    assert changed[place].mean() > 0.3
    changed[place] = False
    assert not changed.any()
    untouched = poisson_paste(image, _noise_image(1)[place], inside * 0, (7, 11), "mixed")
    assert np.array_equal(untouched, image)


def test_nsa_has_no_seam_where_a_pasted_patch_has_one() -> None:
    """Along the border of a mask, neighbours inside and outside differ less than in CutPaste."""
    size = 96
    smooth = torch.nn.functional.interpolate(
        torch.rand(4, 3, 5, 5, generator=stream(1, "smooth")), (size, size), mode="bicubic"
    )
    good = replace(good_images(4, size), color_u8=(smooth * 200 + 20).clamp(0, 255).byte())

    def seam(image_u8: torch.Tensor, mask_u8: torch.Tensor) -> float:
        step = (image_u8[..., 1:].float() - image_u8[..., :-1].float()).abs().mean(1)
        crosses = (mask_u8[:, 0, :, 1:] > 0) != (mask_u8[:, 0, :, :-1] > 0)
        return float(step[crosses].mean())

    blended = nsa(good, 16, 0, config=NsaConfig(half_side=(0.1, 0.25)))
    pasted = cut_paste(good, 16, 0, config=CutPasteConfig(scar_share=0.0))
    assert seam(blended.image_u8, blended.mask_u8) < 0.4 * seam(pasted.image_u8, pasted.mask_u8)


def test_nsa_blends_on_the_object() -> None:
    good = good_images(4, 96)
    corner = replace(good, object_u8=torch.zeros_like(good.object_u8))
    corner.object_u8[:, :, :48, :48] = 255
    masks = nsa(corner, 16, 0).mask_u8 > 0
    assert float(masks[:, :, :48, :48].sum() / masks.sum()) > 0.5  # a quarter of the image
    assert not bool(masks[:, :, 80:, 80:].any())


def test_nsa_clones_differ() -> None:
    good = good_images(4, 64)
    normal, mixed = (nsa(good, 6, 0, config=NsaConfig(clone=clone)) for clone in ("normal", "mixed"))
    assert not torch.equal(normal.image_u8, mixed.image_u8)
