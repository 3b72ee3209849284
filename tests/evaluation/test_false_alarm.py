"""The guard against detectors that find "redrawn": thresholds, rates and areas by hand with a known detector."""

from __future__ import annotations

import pytest
import torch
from tiny_sets import noise
from torch import nn

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.false_alarm import false_alarm


class Red(nn.Module):
    """The probability of an anomaly grows with the red channel alone."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(8.0))

    def forward(self, image_B3HW: torch.Tensor) -> torch.Tensor:
        logit = (image_B3HW[:, :1] - 0.5) * self.scale
        return torch.cat([torch.zeros_like(logit), logit], dim=1)


def flat(*levels: int) -> torch.Tensor:
    """Images of one red level each, uint8 (N, 3, 32, 32)."""
    image = torch.zeros(len(levels), 3, 32, 32, dtype=torch.uint8)
    image[:, 0] = torch.tensor(levels, dtype=torch.uint8)[:, None, None]
    return image


def test_threshold_is_the_smallest_score_that_five_percent_lie_above() -> None:
    real = flat(*range(100, 140))  # 40 images: two (138, 139) may lie above, so the limit is the score of 137
    found = false_alarm(Red(), real, flat(137, 138, 150, 90))
    assert found.real_rate == pytest.approx(2 / 40)
    assert found.redrawn_rate == pytest.approx(2 / 4)
    assert found.excess == pytest.approx(0.45)
    assert found.threshold == pytest.approx(1 / (1 + torch.tensor(-(137 / 255 - 0.5) * 8).exp().item()), rel=1e-5)
    # of 160 pairs: 90 beats none, 137 beats 37 and ties one, 138 beats 38 and ties one, 150 beats 40
    assert found.image_auroc == pytest.approx((37.5 + 38.5 + 40) / 160)
    assert found.pixel_auroc == pytest.approx(found.image_auroc)  # flat images: pixels rank as images do
    assert (found.real, found.redrawn, found.calibration) == (40, 4, 0)
    assert found.region_auroc is None
    assert found.region_auroc_real is None


@pytest.mark.parametrize(("count", "above"), [(5, 0), (19, 0), (20, 1), (39, 1), (40, 2)])
def test_real_rate_never_exceeds_the_rate(count: int, above: int) -> None:
    real = flat(*range(100, 100 + count))
    assert false_alarm(Red(), real, real).real_rate == pytest.approx(above / count)


def test_held_out_calibration_sets_the_threshold() -> None:
    found = false_alarm(Red(), flat(100, 120, 130, 140), flat(99, 131), calibration_u8=flat(*range(110, 130)))
    assert found.real_rate == pytest.approx(2 / 4)  # 130 and 140 lie above 128
    assert found.redrawn_rate == pytest.approx(1 / 2)
    assert found.calibration == 20


def test_areas_see_a_fingerprint_and_only_that() -> None:
    """The same noise inside the regions is 0.5; redder regions are found; the place's own share is the control."""
    real = noise(6, 0)
    regions = torch.zeros(6, 1, 32, 32, dtype=torch.uint8)
    regions[..., 8:24, 8:24] = 255
    inside = (regions > 0).expand_as(real)
    clean = torch.where(inside, noise(6, 1), real)
    found = false_alarm(Red(), real, clean, regions_u8=regions, paired=True)
    for area in (found.pixel_auroc, found.region_auroc, found.region_auroc_real):
        assert area == pytest.approx(0.5, abs=0.03)
    marked = clean.clone()
    marked[:, 0, 8:24, 8:24] += 80
    found = false_alarm(Red(), real, marked, regions_u8=regions, paired=True)
    assert found.pixel_auroc == found.region_auroc == found.image_auroc == 1.0  # red from 140, noise below 140
    assert found.region_auroc_real == pytest.approx(0.5, abs=0.03)
    whole = false_alarm(Red(), real, marked, regions_u8=regions)
    assert whole.region_auroc_real is None
    assert whole.pixel_auroc == 1.0


def test_a_region_that_is_always_redder_is_no_fingerprint() -> None:
    """Inside against outside is high by the place alone; the pairs and the control tell that it is not redrawing."""
    real, again = noise(6, 2), noise(6, 3)
    regions = torch.zeros(6, 1, 32, 32, dtype=torch.uint8)
    regions[..., :16, :] = 255
    for image in (real, again):
        image[:, 0, :16] += 80
    found = false_alarm(Red(), real, again, regions_u8=regions, paired=True)
    assert found.region_auroc == found.region_auroc_real == 1.0
    assert found.pixel_auroc == pytest.approx(0.5, abs=0.03)


def test_refused() -> None:
    real = flat(1, 2, 3)
    with pytest.raises(DataError, match="3 real and 2 re-rendered"):
        false_alarm(Red(), real, real[:2], paired=True)
    with pytest.raises(DataError, match=r"rate is 1\.0"):
        false_alarm(Red(), real, real, rate=1.0)
    with pytest.raises(DataError, match=r"regions have shape \(2, 1, 32, 32\)"):
        false_alarm(Red(), real, real, regions_u8=torch.zeros(2, 1, 32, 32, dtype=torch.uint8))
    with pytest.raises(DataError, match="cover nothing or everything"):
        false_alarm(Red(), real, real, regions_u8=torch.zeros(3, 1, 32, 32, dtype=torch.uint8))
    with pytest.raises(DataError, match="must be uint8"):
        false_alarm(Red(), real.float(), real)
