"""The quality gate: which candidates are kept, judged by what good images and real defects show (ADR-014)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.gate_features import Eyes, Views, alike, described, own_likeness, view_of
from anomalyhybrid.generation.gate_real import LEAST_REAL, RealDefects, originals
from anomalyhybrid.generation.gate_scores import Normality, good_outlines, grain, off_object, strongest
from anomalyhybrid.generation.pool import CategoryPool, maps_of, mask_of

SCORES = ("strangeness", "mask_fit", "grain", "off_object", "realism", "copy")
"""Scores of a candidate, in the order of `Candidates.scores`."""
REASONS = ("change", *SCORES)
"""Why a candidate falls, in the order of `Candidates.rejected`; ``change`` is too little change or too few pixels."""
DUPLICATE = "duplicate"
"""Reason of an accepted image that shows an earlier one's defect in its place."""
STRANGE = 0.95  # quantile of good cells' strangeness from which a cell counts as changed
GOOD_IMAGES = 192  # at most, of a category, that the gate is calibrated on


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Range of a score within which a candidate passes."""

    least: float = -float("inf")
    most: float = float("inf")
    by: str = "none"
    """What it comes from: ``real`` defects, ``good`` images, or ``none`` where the score decides nothing."""

    def broken(self, score_B: Tensor) -> Tensor:
        """Which scores lie outside, bool (B,); a score that is not a number never does."""
        return (score_B < self.least) | (score_B > self.most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The gate of one category.

    Attributes:
        eyes: Networks.
        normality: What good images show.
        mean_good: Mean good image, float (1, 3, S, S).
        real: Real defects, or None without enough of them.
        strange_cell: Strangeness from which a cell counts as changed.
        limits: Of each of `SCORES`.
        says: What the user is told about its calibration.
    """

    eyes: Eyes
    normality: Normality
    mean_good: Tensor
    real: RealDefects | None
    strange_cell: float
    limits: Mapping[str, Limit]
    says: tuple[str, ...] = ()

    @torch.inference_mode()
    def scores(
        self, pictures: Tensor, region_mask: Tensor, object_mask: Tensor, shown: Tensor, source: Tensor
    ) -> Tensor:
        """Score defects.

        Args:
            pictures: float (B, 3, S, S) in [-1, 1].
            region_mask: Their regions, none empty, binary float (B, 1, S, S).
            object_mask: The products, binary float (B, 1, S, S).
            shown: Good image that each picture is made of, long (B,); -1 for none.
            source: Original (`CategoryPool.base_group`) of the real defect that each is made from, long (B,); -1 for
                none.

        Returns:
            float (B, 6) in the order of `SCORES`; not a number where a score needs real defects and there are none.
        """
        return _scores(self, pictures, region_mask, object_mask, shown, source, torch.full_like(source, -1))

    def broken(self, scores: Tensor) -> Tensor:
        """Which limits candidates break, bool (B, 6)."""
        return torch.stack([self.limits[name].broken(scores[:, number]) for number, name in enumerate(SCORES)], dim=1)

    def duplicates(self, views: Views, first: int = 0) -> list[int]:
        """Which images show an earlier one's defect in its place: more alike than either is to itself a little aside.

        A duplicate's duplicates count for themselves.

        Args:
            views: Of a set's images less their targets, in its order.
            first: Number from which they are looked at; those before are kept.

        Returns:
            Their numbers.
        """
        found: list[int] = []
        own = own_likeness(views)
        kept = torch.ones(len(views), dtype=torch.bool, device=views.region.device)
        for number in range(max(first, 1), len(views)):
            near = alike(views[number : number + 1], views[:number])[0]
            if bool(((near > torch.maximum(own[:number], own[number])) & kept[:number]).any()):
                kept[number] = False
                found.append(number)
        return found

    def record(self) -> dict:
        """What `dataset.json` keeps of the calibration."""
        limits = {
            name: {
                side: round(value, 4)
                for side, value in (("least", limit.least), ("most", limit.most))
                if abs(value) != float("inf")
            }
            | {"by": limit.by}
            for name, limit in self.limits.items()
        }
        return {"limits": limits | {DUPLICATE: {"than": "to itself one part in 32 aside"}}, "notes": list(self.says)}


def _scores(
    gate: Gate,
    pictures: Tensor,
    region_mask: Tensor,
    object_mask: Tensor,
    shown: Tensor,
    source: Tensor,
    itself: Tensor,
) -> Tensor:
    """As `Gate.scores`; `itself` is the original that a picture shows, left out of the search for copies."""
    cells = gate.eyes(pictures)
    strange = gate.normality.strangeness(cells, region_mask, shown)
    unknown = torch.full((len(pictures),), torch.nan, device=pictures.device)
    real = gate.real
    found = {
        "strangeness": strongest(strange),
        "mask_fit": torch.stack([(one > gate.strange_cell).float().mean() for one in strange]),
        "grain": grain(pictures, region_mask),
        "off_object": off_object(region_mask, object_mask),
        "realism": unknown if real is None else real.distance(described(cells, region_mask), source),
        "copy": unknown if real is None else real.likeness(view_of(pictures, region_mask, gate.mean_good), itself),
    }
    return torch.stack([found[name] for name in SCORES], dim=1)


def gate_entry(scores: Tensor, rejected: Tensor) -> dict:
    """A row's entry: scores by name, and how many candidates fell for each reason.

    Args:
        scores: float (6,), in the order of `SCORES`.
        rejected: Counts, long (7,), in the order of `REASONS`.
    """
    known = {name: round(value, 4) for name, value in zip(SCORES, scores.tolist(), strict=True) if value == value}
    fallen = {name: count for name, count in zip(REASONS, rejected.tolist(), strict=True) if count}
    return {"scores": known, "rejected": fallen}


def _quantile(values: Tensor, share: float) -> float:
    return float(values.double().quantile(share))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What the limits of a gate are quantiles of.

    Attributes:
        good: Scores of good images inside random outlines, float (N, 6).
        real: Scores of real defects, each without its own original, float (M, 6); None without enough of them.
    """

    good: Tensor
    real: Tensor | None

    def limits(self, strictness: float) -> dict[str, Limit]:
        """Limits of all `SCORES`, each of which rejects about this share of what it is taken from (ADR-014)."""
        low, high = strictness, 1 - strictness

        def good(name: str, share: float) -> float:
            return _quantile(self.good[:, SCORES.index(name)], share)

        strange, fit = good("strangeness", high), good("mask_fit", high)
        if self.real is None:
            limits = {
                "strangeness": Limit(least=strange, by="good"),
                "mask_fit": Limit(least=fit, by="good"),
                "grain": Limit(least=good("grain", low), by="good"),
                "off_object": Limit(most=good("off_object", high), by="good"),
            }
            return {name: limits.get(name, Limit()) for name in SCORES}
        scores = self.real

        def real(name: str, share: float) -> float:
            return _quantile(scores[:, SCORES.index(name)], share)

        return {
            "strangeness": Limit(least=min(strange, real("strangeness", low)), by="real"),
            "mask_fit": Limit(least=min(fit, real("mask_fit", low)), by="real"),
            "grain": Limit(least=real("grain", low), most=real("grain", high), by="real"),
            "off_object": Limit(most=real("off_object", high), by="real"),
            "realism": Limit(most=real("realism", high), by="real"),
            "copy": Limit(most=real("copy", high), by="real"),
        }


def calibrate(pool: CategoryPool, config: GenerateConfig, category: str) -> Gate:
    """Learn from a pool what the gate lets pass.

    Args:
        pool: Images of the category, on the generating device.
        config: Settings; `gate_strictness`, `seed` and `extent` are used.
        category: Its name.

    Returns:
        The gate; `Gate.says` tells where a rule had too little to go by.

    Source: ADR-014.
    """
    gate, found = measure_pool(pool, config, category)
    return replace(gate, limits=found.limits(config.gate_strictness))


@torch.inference_mode()
def measure_pool(pool: CategoryPool, config: GenerateConfig, category: str) -> tuple[Gate, Calibration]:
    """Score a pool's good images and real defects; arguments as for `calibrate`.

    Returns:
        A gate without limits, and what its limits are to be taken from.
    """
    device = pool.normals.color_u8.device
    chosen = torch.linspace(0, len(pool.normals) - 1, min(GOOD_IMAGES, len(pool.normals)), device=device).long()
    pictures, objects = maps_of(pool.normals, chosen)[0], mask_of(pool.normals.object_u8, chosen)
    mean_good, eyes = pictures.mean(dim=0, keepdim=True), Eyes.on(pictures)
    cells = eyes(pictures)
    normality = Normality.of(cells, chosen)
    real = RealDefects.of(pool, eyes, mean_good)
    outlines = good_outlines(pool if real is not None else replace(pool, base=None), config, category, chosen)
    strange = torch.cat(normality.strangeness(cells, outlines, chosen))
    says = () if real is not None else (_no_real(category, len(originals(pool).unique())),)
    gate = Gate(
        eyes=eyes, normality=normality, mean_good=mean_good, real=real, strange_cell=_quantile(strange, STRANGE),
        limits={name: Limit() for name in SCORES}, says=says,
    )  # fmt: skip
    none = torch.full_like(chosen, -1)
    of_good, of_real = _scores(gate, pictures, outlines, objects, chosen, none, none), None
    if real is not None and pool.base is not None:
        every, own = torch.arange(len(pool.base), device=device), originals(pool)
        regions, products = mask_of(pool.base.region_u8, every), mask_of(pool.base.object_u8, every)
        of_real = _scores(gate, maps_of(pool.base, every)[0], regions, products, torch.full_like(every, -1), own, own)
    return gate, Calibration(good=of_good, real=of_real)


def _no_real(category: str, found: int) -> str:
    have = f"only {found} different real defects" if found else "no real defects"
    return (
        f"the quality gate of {category} has {have} (it needs {LEAST_REAL} to learn from): realism is judged by the "
        "grain of good images, and copies and strange looks are not"
    )
