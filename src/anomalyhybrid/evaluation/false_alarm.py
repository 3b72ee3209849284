"""Guard against a detector that finds "redrawn" instead of "defect" (DESIGN: the generator's fingerprint)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.detection import detection
from anomalyhybrid.evaluation.segmenter import image_scores, predict


@dataclass(frozen=True, slots=True, kw_only=True)
class FalseAlarm:
    """How a detector takes re-rendered normal images; rates and areas are shares in [0, 1].

    Attributes:
        threshold: Image score above which an image is flagged.
        real_rate: Share of real normal images flagged.
        redrawn_rate: Share of re-rendered normal images flagged.
        excess: ``redrawn_rate - real_rate``.
        image_auroc: Of the image scores, re-rendered against real; 0.5 if the detector cannot tell them apart.
        pixel_auroc: Of the maps, re-rendered against real pixels: see `false_alarm`.
        region_auroc: Inside against outside of the regions in re-rendered images; None without regions.
        region_auroc_real: The same regions on the real images: what the place alone gives; None if not paired.
        real: Real normal images.
        redrawn: Re-rendered ones.
        calibration: Images that the threshold was set on; 0 if these were the real ones themselves.
    """

    threshold: float
    real_rate: float
    redrawn_rate: float
    excess: float
    image_auroc: float
    pixel_auroc: float
    region_auroc: float | None
    region_auroc_real: float | None
    real: int
    redrawn: int
    calibration: int


def false_alarm(
    model: nn.Module,
    real_normals_u8: Tensor,
    redrawn_normals_u8: Tensor,
    *,
    regions_u8: Tensor | None = None,
    paired: bool = False,
    calibration_u8: Tensor | None = None,
    rate: float = 0.05,
    batch: int = 32,
) -> FalseAlarm:
    """Compare what a detector flags on re-rendered normal images with what it flags on real ones.

    None of the images may have been trained on. The threshold is the smallest calibration score with at most
    ``rate`` of the calibration images strictly above it; an image is flagged if its score is strictly above it.

    Pixel AUROC takes the pixels of re-rendered images (inside the regions, where given) as anomalous, and as normal
    the pixels of real images: inside the same regions if ``paired``, all of them otherwise.

    Args:
        model: The detector.
        real_normals_u8: uint8 (N, 3, S, S).
        redrawn_normals_u8: uint8 (M, 3, S, S), the whole image or a region redrawn, still without a defect.
        regions_u8: uint8 (M, 1, S, S), above 127 where redrawn; None if all of it was.
        paired: Whether re-rendered image i was made from real image i (then N = M).
        calibration_u8: Further held-out real normals that set the threshold, uint8 (K, 3, S, S); None sets it on
            the real ones, whose rate is then at most ``rate`` by construction.
        rate: Share of the calibration images that may be flagged, in [0, 1).
        batch: Images at once.

    Returns:
        Rates and areas.

    Raises:
        DataError: Misshapen images, unequal pairs, regions of another shape or all empty or full, a rate out of range.
    """
    if not 0 <= rate < 1:
        raise DataError(f"rate is {rate}; it must lie in [0, 1)")
    if paired and len(real_normals_u8) != len(redrawn_normals_u8):
        raise DataError(
            f"there are {len(real_normals_u8)} real and {len(redrawn_normals_u8)} re-rendered images; "
            "pairs need one of each"
        )
    real, redrawn = predict(model, real_normals_u8, batch), predict(model, redrawn_normals_u8, batch)
    real_scores, redrawn_scores = image_scores(real), image_scores(redrawn)
    held = real_scores if calibration_u8 is None else image_scores(predict(model, calibration_u8, batch))
    limit = held.sort().values[max(math.ceil((1.0 - rate) * len(held) - 1e-9) - 1, 0)]
    real_rate, redrawn_rate = (float((scores > limit).double().mean()) for scores in (real_scores, redrawn_scores))
    inside = torch.ones_like(redrawn, dtype=torch.bool) if regions_u8 is None else _regions(regions_u8, redrawn)
    return FalseAlarm(
        threshold=float(limit),
        real_rate=real_rate,
        redrawn_rate=redrawn_rate,
        excess=redrawn_rate - real_rate,
        image_auroc=_auroc(redrawn_scores, real_scores),
        pixel_auroc=_auroc(redrawn[inside], real[inside] if paired else real.flatten()),
        region_auroc=None if regions_u8 is None else _auroc(redrawn[inside], redrawn[~inside]),
        region_auroc_real=_auroc(real[inside], real[~inside]) if paired and regions_u8 is not None else None,
        real=len(real),
        redrawn=len(redrawn),
        calibration=0 if calibration_u8 is None else len(calibration_u8),
    )


def _regions(regions_u8: Tensor, maps: Tensor) -> Tensor:
    """Regions as bool on the maps' device."""
    if regions_u8.shape != maps.shape:
        raise DataError(f"regions have shape {tuple(regions_u8.shape)}; re-rendered images need {tuple(maps.shape)}")
    inside = regions_u8.to(maps.device) > 127
    if not inside.any() or inside.all():
        raise DataError("the regions cover nothing or everything; mark what was redrawn, or give no regions")
    return inside


def _auroc(positive: Tensor, negative: Tensor) -> float:
    """Share of pairs in which the positive value is higher, ties half."""
    values = torch.cat([positive, negative]).cpu().numpy()
    return detection(values, np.arange(len(values)) < len(positive)).auroc
