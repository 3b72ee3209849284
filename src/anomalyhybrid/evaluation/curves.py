"""Precision-recall curves: computing, thinning, and the geometry of a small SVG plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.checks import Array, binary, finite

MOST_POINTS = 200
"""Points that a plotted curve keeps at most."""
WIDTH, HEIGHT = 400, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 42
_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One method's curve.

    Attributes:
        method: Its name, as in tables.
        recall: (K,) in [0, 1], rising or falling throughout, K >= 1.
        precision: (K,) in [0, 1].
    """

    method: str
    recall: np.ndarray
    precision: np.ndarray

    def __post_init__(self) -> None:
        for name in ("recall", "precision"):
            values = finite(getattr(self, name), f"{name} of {self.method!r}", ndim=1).astype(np.float64)
            if values.min() < -_TOLERANCE or values.max() > 1 + _TOLERANCE:
                raise DataError(f"{name} of {self.method!r} is in [{values.min()}, {values.max()}]; it is in [0, 1]")
            object.__setattr__(self, name, values.clip(0.0, 1.0))
        if self.recall.shape != self.precision.shape:
            raise DataError(
                f"{self.method!r} has {len(self.recall)} recalls and {len(self.precision)} precisions; give as many"
            )
        steps = np.diff(self.recall)
        if (steps > 0).any() and (steps < 0).any():
            raise DataError(f"recall of {self.method!r} rises and falls; order the curve by its thresholds")


@dataclass(frozen=True, slots=True, eq=False)
class CurvePlot:
    """Curves that are drawn into one plot.

    Attributes:
        title: For example ``"bottle, pixels"``.
        curves: One for each method.
        caption: Printed below; may be empty.
    """

    title: str
    curves: Sequence[Curve]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick of an axis: its label and place in pixels."""

    label: str
    place: float


@dataclass(frozen=True, slots=True)
class Line:
    """A drawn curve: ``points`` of an SVG polyline; ``style`` counts methods over a whole report."""

    method: str
    points: str
    style: int


@dataclass(frozen=True, slots=True)
class Geometry:
    """A plot in pixels of a `WIDTH` x `HEIGHT` drawing; recall to the right, precision up."""

    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]


def precision_recall(method: str, scores: Array, labels: Array) -> Curve:
    """Compute the curve of a detector, one point for each distinct score, flagging scores >= it.

    Args:
        method: Name of the curve.
        scores: (N,), higher is more anomalous; flattened for pixels.
        labels: 1 or True for anomalous, (N,).

    Returns:
        The curve, recall rising; as scikit-learn's, without its added point at recall 0.

    Raises:
        DataError: Empty input, scores that are not finite, labels not 0/1, shapes that differ, or no anomalous one.
    """
    values, truth = finite(scores, "scores", ndim=1), binary(labels, "labels")
    if truth.shape != values.shape:
        raise DataError(f"there are {values.shape} scores and {truth.shape} labels; give one label for each score")
    if not truth.any():
        raise DataError(f"none of the {len(values)} samples is anomalous; a curve needs one at least")
    order = np.argsort(-values)
    values, hits = values[order], np.cumsum(truth[order])
    last = np.flatnonzero(np.r_[values[1:] != values[:-1], True])
    return Curve(method, hits[last] / hits[-1], hits[last] / (last + 1.0))


def thinned(curve: Curve, most: int = MOST_POINTS) -> Curve:
    """Keep at most ``most`` points: half spread over recall, half over the length of the curve, and both ends.

    Args:
        curve: Any curve.
        most: At least 4.

    Returns:
        A curve of points of the first, in its order; the curve itself where it is short enough.
    """
    count = len(curve.recall)
    if count <= most:
        return curve
    steps = np.abs(np.diff(curve.recall)), np.abs(np.diff(curve.precision))
    kept: set[int] = {0, count - 1}
    for travelled in (steps[0], steps[0] + steps[1]):
        way = np.r_[0.0, np.cumsum(travelled)]
        wanted = np.linspace(0.0, way[-1], most // 2 + 1)[1:-1]
        kept.update(np.searchsorted(way, wanted).tolist())
    chosen = np.array(sorted(kept))
    return Curve(curve.method, curve.recall[chosen], curve.precision[chosen])


def geometry(plot: CurvePlot, styles: dict[str, int]) -> Geometry:
    """Lay out one plot.

    Args:
        plot: Its curves are thinned.
        styles: Number of each method's line style, the same in all plots of a report.

    Returns:
        Places in pixels.
    """
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM

    def across(value: float) -> float:
        return round(_LEFT + value * (right - _LEFT), 1)

    def up(value: float) -> float:
        return round(bottom - value * (bottom - _TOP), 1)

    lines = []
    for curve in map(thinned, plot.curves):
        pairs = zip(curve.recall.tolist(), curve.precision.tolist(), strict=True)
        points = " ".join(f"{across(recall)},{up(precision)}" for recall, precision in pairs)
        lines.append(Line(curve.method, points, styles[curve.method]))
    return Geometry(
        left=_LEFT,
        right=right,
        top=_TOP,
        bottom=bottom,
        x_ticks=tuple(Tick(f"{value:.1f}", across(value)) for value in _TICKS),
        y_ticks=tuple(Tick(f"{value:.1f}", up(value)) for value in _TICKS),
        lines=tuple(lines),
    )
