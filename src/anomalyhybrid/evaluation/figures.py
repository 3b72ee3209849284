"""The figures that results hold: names, units, which way is better, and the network that each is defined on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What a reader needs to know about one figure.

    Attributes:
        name: Key in a result's rows.
        label: Short name for headings.
        meaning: One phrase for readers who do not know the figure.
        better: ``"high"``, ``"low"``, or None where no direction is better by itself.
        scale: Factor from the stored value to the shown one; 100 for shares, which are stored in [0, 1].
        digits: Decimals shown.
        bounds: Least and greatest stored value; None for any.
        role: Network that the figure is defined on (`UsedNetwork.role`); None where it needs none.
    """

    name: str
    label: str
    meaning: str
    better: str | None = "high"
    scale: float = 1.0
    digits: int = 3
    role: str | None = None
    bounds: tuple[float, float] | None = None

    @property
    def is_share(self) -> bool:
        """Whether the value is a share, shown in percent."""
        return self.scale == 100.0

    @property
    def unit(self) -> str:
        """Of a difference: ``" points"`` for shares, else nothing."""
        return " points" if self.is_share else ""

    def shown(self, value: float, *, digits: int | None = None) -> str:
        """Format a stored value; ``"–"`` for NaN."""
        if math.isnan(value):
            return "–"
        text = f"{value * self.scale:.{self.digits if digits is None else digits}f}"
        return text.lstrip("-") if float(text) == 0 else text


def _share(name: str, label: str, meaning: str, better: str | None = "high", role: str | None = None) -> Figure:
    return Figure(
        name=name, label=label, meaning=meaning, better=better, scale=100.0, digits=1, role=role, bounds=(0.0, 1.0)
    )


_CHANCE = "50 is right, above it the detector finds redrawing, not defects"
_KNOWN = (
    _share("pixel_ap", "Pixel AP", "how well the map ranks defect pixels above good ones; 100 is perfect"),
    _share("pixel_auroc", "Pixel AUROC", "chance that a defect pixel scores above a good one; 50 is chance"),
    _share("pixel_f1", "Pixel F1-max", "overlap of map and truth at the best threshold"),
    _share("aupro", "PRO", "mean overlap with each defect region, up to 30 % false-positive pixels"),
    _share("image_ap", "Image AP", "how well scores rank defective images above good ones; 100 is perfect"),
    _share("image_auroc", "Image AUROC", "chance that a defective image scores above a good one; 50 is chance"),
    _share("image_f1", "Image F1-max", "precision and recall of images at the best threshold"),
    _share("pixel_f1_on_grid", "Pixel F1 on a grid", "pixel F1 at the best of the thresholds 0, 0.05, ... 1"),
    _share("false_alarm_real", "False alarms, real good", "share of real good images that are flagged", "low"),
    _share(
        "false_alarm_redrawn", "False alarms, re-rendered", "share of re-rendered good images that are flagged", "low"
    ),
    Figure(
        name="false_alarm_excess",
        label="False alarms, excess",
        meaning="re-rendered minus real good images flagged; above 1 the detector finds redrawing, not defects",
        better="low",
        scale=100.0,
        digits=1,
        bounds=(-1.0, 1.0),
    ),
    _share(
        "false_alarm_patch",
        "False alarms, patches",
        "share of good images with re-rendered patches that are flagged",
        "low",
    ),
    Figure(
        name="false_alarm_patch_excess",
        label="False alarms, patches, excess",
        meaning="flagged with re-rendered patches minus the same images as they were; above 1 it finds redrawing",
        better="low",
        scale=100.0,
        digits=1,
        bounds=(-1.0, 1.0),
    ),
    _share("redrawn_image_auroc", "Re-rendered, image AUROC", f"re-rendered against real good images; {_CHANCE}", None),
    _share("redrawn_pixel_auroc", "Re-rendered, pixel AUROC", f"re-rendered against real good pixels; {_CHANCE}", None),
    _share(
        "patch_region_auroc",
        "Re-rendered patches, pixel AUROC",
        f"pixels of patches, re-rendered against the same real ones; {_CHANCE}",
        None,
    ),
    _share("accuracy", "Accuracy", "share of real defects whose type a ResNet-34 names right", role="resnet34"),
    _share("accuracy_mean_of_types", "Accuracy, mean of types", "each defect type weighing the same", role="resnet34"),
    Figure(
        name="inception_score",
        label="IS",
        meaning="distinct and varied image content; it also rewards noise",
        digits=2,
        role="inception",
    ),
    Figure(
        name="inception_score_per_defect",
        label="IS, mean over defect types",
        meaning="the Inception Score within each defect type; it also rewards noise",
        digits=2,
        role="inception",
    ),
    Figure(
        name="ic_lpips",
        label="IC-LPIPS",
        meaning="how different generated images around one real image are; blind to realism",
        role="lpips",
    ),
    Figure(
        name="kid",
        label="KID x 1000",
        meaning="distance to the real defects of the test part",
        better="low",
        scale=1000.0,
        digits=1,
        role="inception",
    ),
    Figure(
        name="fid",
        label="FID",
        meaning="distance to the real defects of the test part; biased for few images",
        better="low",
        digits=1,
        role="inception",
    ),
    Figure(
        name="nearest_base",
        label="Distance to the base set",
        meaning="mean distance to the nearest base image; near 0 means copies",
        better=None,
        role="nearest_base",
    ),
    Figure(
        name="nearest_base_minimum",
        label="Smallest distance to the base set",
        meaning="0 means that a base image was copied",
        better=None,
        role="nearest_base",
    ),
    _share("changed_outside", "Changed outside the mask", "share of the changed pixels outside the mask", "low"),
    _share("outside_changed", "Area outside that changed", "share of the good area that changed", "low"),
    _share("mask_visible", "Visible in the mask", "share of the mask that visibly changed"),
    _share("recall_signal", "Recall, signal hybrids", "at 95 % recall of non-hybrids", role="dinov2"),
    _share("recall_non_signal", "Recall, non-signal hybrids", "at 95 % recall of non-hybrids", role="dinov2"),
    _share("recall_mimic", "Recall, mimic hybrids", "at 95 % recall of non-hybrids", role="dinov2"),
    _share("recall_unseen", "Recall, hybrids never seen", "at 95 % recall of non-hybrids", role="dinov2"),
    _share("recall_harmonic", "Recall, harmonic mean", "of the recalls of all kinds", role="dinov2"),
    *(
        _share(f"auroc_{name}", f"AUROC, {text} hybrids", "chance that one scores above a non-hybrid", role="dinov2")
        for name, text in (("signal", "signal"), ("non_signal", "non-signal"), ("mimic", "mimic"), ("unseen", "unseen"))
    ),
)
FIGURES = MappingProxyType({figure.name: figure for figure in _KNOWN})
"""Known figures by name, in the order in which tables show them."""


def figure_of(name: str) -> Figure:
    """Look a figure up.

    Args:
        name: A key of `FIGURES`, or one with a variant behind ``@``: ``"ic_lpips@vgg"``.

    Returns:
        The figure, its label naming the variant. An unknown name gives a figure without direction, shown as it is.
    """
    base, _, variant = name.partition("@")
    known = FIGURES.get(base)
    if known is None:
        return Figure(name=name, label=name, meaning="", better=None)
    return replace(known, name=name, label=f"{known.label} ({variant})" if variant else known.label)


def in_order(names: set[str]) -> tuple[str, ...]:
    """Sort names of figures: known ones in the order of `FIGURES`, then the others by name."""
    places = {name: place for place, name in enumerate(FIGURES)}
    return tuple(sorted(names, key=lambda name: (places.get(name.partition("@")[0], len(places)), name)))
