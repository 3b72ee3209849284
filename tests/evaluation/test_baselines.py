"""What every baseline keeps: the mask contract, determinism, independence of the batch, types, clear errors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from baseline_sets import KINDS, SIZE, base_images, good_images, image_set, outside_difference

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.baselines.crop_paste import CropPasteConfig, crop_paste
from anomalyhybrid.evaluation.baselines.cut_paste import CutPasteConfig
from anomalyhybrid.evaluation.baselines.making import BASELINES, Baseline, make_baseline
from anomalyhybrid.evaluation.baselines.nsa import NsaConfig
from anomalyhybrid.evaluation.baselines.perlin import PerlinConfig
from anomalyhybrid.evaluation.baselines.textures import Textures, procedural_textures
from anomalyhybrid.evaluation.samples import Samples
from anomalyhybrid.evaluation.sampling import check_samples


@pytest.fixture(scope="module")
def bank() -> Textures:
    return procedural_textures(12, SIZE, 0)


def _make(name: Baseline, bank: Textures, count: int = 10, seed: int = 3, block: int = 64) -> Samples:
    base, base_kind = base_images()
    return make_baseline(
        name, good_images(), count, seed, base=base, kinds=KINDS, base_kind=base_kind, textures=bank, block=block
    )


def _same(one: Samples, two: Samples) -> bool:
    return (
        torch.equal(one.image_u8, two.image_u8)
        and torch.equal(one.mask_u8, two.mask_u8)
        and torch.equal(one.kind, two.kind)
        and one.kinds == two.kinds
    )


@pytest.mark.parametrize("name", BASELINES)
def test_masks_are_binary_not_empty_and_hold_all_changes(name: Baseline, bank: Textures) -> None:
    samples = _make(name, bank, count=24)
    check_samples(samples, SIZE, name)
    assert set(samples.mask_u8.unique().tolist()) == {0, 255}
    assert int((samples.mask_u8 > 0).flatten(1).sum(1).min()) > 0
    assert float(outside_difference(samples.image_u8, samples.mask_u8, good_images()).max()) == 0
    whole = torch.zeros_like(samples.mask_u8)
    assert float(outside_difference(samples.image_u8, whole, good_images()).min()) > 0  # each image has a change


@pytest.mark.parametrize("name", BASELINES)
def test_the_seed_decides_and_the_batch_does_not(name: Baseline, bank: Textures) -> None:
    samples = _make(name, bank)
    assert _same(samples, _make(name, bank))
    assert not _same(samples, _make(name, bank, seed=4))
    for block in (1, 3):
        assert _same(samples, _make(name, bank, block=block))
    few = _make(name, bank, count=4)
    assert _same(few, samples.where(torch.arange(4)))


@pytest.mark.parametrize("name", BASELINES)
def test_images_of_a_set_differ(name: Baseline, bank: Textures) -> None:
    masks = _make(name, bank, count=12).mask_u8.flatten(1)
    assert len(masks.unique(dim=0)) >= 11


def test_types_are_kept_and_get_equal_shares(bank: Textures) -> None:
    samples = _make("crop_paste", bank, count=9)
    assert samples.kinds == KINDS
    assert samples.kind.bincount().tolist() == [3, 3, 3]
    for name in ("cut_paste", "perlin", "nsa"):
        other = _make(name, bank, count=3)
        assert other.kinds == ("synthetic",)
        assert other.kind.tolist() == [0, 0, 0]


def test_a_type_without_base_images_gets_none(bank: Textures) -> None:
    base, base_kind = base_images()
    samples = crop_paste(good_images(), base[base_kind != 1], KINDS, base_kind[base_kind != 1], 6, 0)
    assert samples.kind.tolist() == [0, 2, 0, 2, 0, 2]


@pytest.mark.parametrize("name", BASELINES)
def test_images_with_nothing_to_show_still_get_a_mask(name: Baseline, bank: Textures) -> None:
    """Equal flat images without an object: what is pasted cannot be seen, and redraws run out."""
    flat = torch.full((3, 3, SIZE, SIZE), 128, dtype=torch.uint8)
    nothing = torch.zeros(3, 1, SIZE, SIZE, dtype=torch.uint8)
    region = nothing.clone()
    region[:, :, 0, 0] = 255  # in the corner: free placement often throws it out of the image
    base = image_set(flat, region, nothing)
    good = image_set(flat, nothing, nothing)
    samples = make_baseline(
        name, good, 6, 0, base=base, kinds=("a",), base_kind=torch.zeros(3, dtype=torch.long), textures=bank
    )
    assert bool((samples.mask_u8 > 0).flatten(1).any(1).all())


@pytest.mark.parametrize("name", BASELINES)
def test_bad_good_sets_are_refused(name: Baseline, bank: Textures) -> None:
    base, base_kind = base_images()
    good = good_images()

    def make(images, count: int = 2, block: int = 4) -> Samples:
        return make_baseline(
            name, images, count, 0, base=base, kinds=KINDS, base_kind=base_kind, textures=bank, block=block
        )

    with pytest.raises(DataError, match="0 good images"):
        make(good[:0])
    with pytest.raises(ConfigError, match="count is 0"):
        make(good, count=0)
    with pytest.raises(ConfigError, match="block is 0"):
        make(good, block=0)
    with pytest.raises(DataError, match="of 5 categories"):
        make(replace(good, category=torch.arange(5)))
    with pytest.raises(DataError, match="object_u8 of the good images"):
        make(replace(good, object_u8=good.object_u8[:, 0]))
    with pytest.raises(DataError, match="8 pixels wide"):
        make(good_images(size=8))


def test_nsa_needs_another_image(bank: Textures) -> None:
    with pytest.raises(DataError, match="at least 2"):
        make_baseline("nsa", good_images()[:1], 2, 0)


def test_bad_base_sets_are_refused() -> None:
    base, base_kind = base_images()
    good = good_images()
    with pytest.raises(DataError, match="no base images"):
        crop_paste(good, base[:0], KINDS, base_kind[:0], 2, 0)
    region = base.region_u8.clone()
    region[1] = 0
    with pytest.raises(DataError, match=r"number \[1\]"):
        crop_paste(good, replace(base, region_u8=region), KINDS, base_kind, 2, 0)
    with pytest.raises(DataError, match="2 types"):
        crop_paste(good, base, KINDS[:2], base_kind, 2, 0)
    with pytest.raises(DataError, match="each once"):
        crop_paste(good, base, ("a", "a", "b"), base_kind, 2, 0)
    with pytest.raises(DataError, match="base_kind has shape"):
        crop_paste(good, base, KINDS, base_kind[:3], 2, 0)
    with pytest.raises(DataError, match="different categories"):
        crop_paste(good, replace(base, category=base.category + 1), KINDS, base_kind, 2, 0)
    with pytest.raises(DataError, match="48 pixels wide and good images 64"):
        crop_paste(good_images(size=64), base, KINDS, base_kind, 2, 0)
    with pytest.raises(ConfigError, match="give base"):
        make_baseline("crop_paste", good, 2, 0)
    with pytest.raises(ConfigError, match="crop_paste, cut_paste, perlin, nsa"):
        make_baseline("draem", good, 2, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "settings", "named"),
    [
        (CropPasteConfig, {"placement": "anywhere"}, "placement"),
        (CropPasteConfig, {"tps_share": 1.5}, "tps_share"),
        (CropPasteConfig, {"tps_shift": 0.4}, "tps_shift"),
        (CutPasteConfig, {"scar_share": -0.1}, "scar_share"),
        (CutPasteConfig, {"area": (0.2, 0.1)}, "area"),
        (CutPasteConfig, {"jitter": 0.9}, "jitter"),
        (CutPasteConfig, {"least_change": -1.0}, "least_change"),
        (PerlinConfig, {"octaves": (0, 9)}, "octaves"),
        (PerlinConfig, {"threshold": 1.0}, "threshold"),
        (PerlinConfig, {"beta": (0.5, 1.0)}, "beta"),
        (NsaConfig, {"clone": "poisson"}, "clone"),
        (NsaConfig, {"patches": 0}, "patches"),
        (NsaConfig, {"half_side": (0.0, 0.4)}, "half_side"),
        (NsaConfig, {"resize": (2.0, 1.0)}, "resize"),
        (NsaConfig, {"least_object": 2.0}, "least_object"),
        (NsaConfig, {"least_change": 0.0}, "least_change"),
    ],
)
def test_settings_out_of_range_are_refused(config: type, settings: dict, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        config(**settings)


def test_crop_paste_takes_types_equally_or_as_the_base_set_has_them() -> None:
    base, base_kind = base_images()
    counts = torch.bincount(base_kind, minlength=len(KINDS))
    skewed = torch.cat([torch.arange(len(base_kind)), (base_kind == 0).nonzero()[:, 0].repeat(3)])  # type 0 four times
    base, base_kind = base[skewed], base_kind[skewed]
    count = 2 * len(base_kind)
    shares = {
        types: torch.bincount(
            crop_paste(good_images(), base, KINDS, base_kind, count, 0, types=types).kind, minlength=len(KINDS)
        )
        for types in ("equal", "base")
    }
    assert int(shares["equal"].max() - shares["equal"].min()) <= 1
    assert shares["base"].tolist() == [8 * int(counts[0]), *(2 * counts[1:]).tolist()]
