"""Figures that publications print, to stand beside ours where they are comparable (PROTOCOL.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from anomalyhybrid.evaluation.figures import figure_of
from anomalyhybrid.evaluation.results import Result

MEAN = "mean of all categories"
"""`Published.category` of a printed mean."""
MVTEC_AD, MVTEC_3D_RGB, MVTEC_3D_DEPTH = "MVTec AD", "MVTec 3D-AD, RGB", "MVTec 3D-AD, depth"
"""Data sets, as `Result.datasets` names them."""
CATEGORIES = MappingProxyType({MVTEC_AD: 15, MVTEC_3D_RGB: 10, MVTEC_3D_DEPTH: 10})
"""Categories of each data set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One printed line.

    Attributes:
        method: Name of the published method.
        dataset: One of `CATEGORIES`.
        category: A category, or `MEAN`.
        figures: Values by our names; shares in [0, 1], as printed otherwise.
        source: Where they are printed.
        remark: What a reader has to know; may be empty.
    """

    method: str
    dataset: str
    category: str
    figures: Mapping[str, float]
    source: str
    remark: str = field(default="")

    @property
    def label(self) -> str:
        """Method and source, as tables show them."""
        return f"{self.method} ({self.source})"


_UNET = ("auroc", "ap", "f1")
_PAPER = "AnomalyHybrid paper"


def _generation(inception_score: float, ic_lpips: float) -> dict[str, float]:
    return {"inception_score": inception_score, "ic_lpips": ic_lpips}


def _detection(pixel: tuple[float, ...], image: tuple[float, ...]) -> dict[str, float]:
    """Printed percentages of AUROC, AP, F1-max; a missing last one is left out."""
    parts = (("pixel", pixel), ("image", image))
    return {f"{at}_{name}": round(value / 100, 4) for at, own in parts for name, value in zip(_UNET, own, strict=False)}


def _accuracy(percent: float) -> dict[str, float]:
    return {"accuracy": round(percent / 100, 4)}


def _ad(method: str, category: str, source: str, *parts: dict[str, float], remark: str = "") -> Published:
    figures = {name: value for part in parts for name, value in part.items()}
    return Published(method=method, dataset=MVTEC_AD, category=category, figures=figures, source=source, remark=remark)


def _3d(method: str, category: str, values: tuple[float, float], dataset: str = MVTEC_3D_RGB) -> Published:
    source = f"{_PAPER}, Table 3"
    return Published(method=method, dataset=dataset, category=category, figures=_generation(*values), source=source)


_TABLES = f"{_PAPER}, Tables 1 and 2"
PUBLISHED: tuple[Published, ...] = (
    _ad(
        "AnomalyHybrid",
        MEAN,
        _TABLES,
        _generation(2.06, 0.32),
        _accuracy(52.6),
        _detection((96.9, 72.9, 69.1), (94.3, 96.9, 95.7)),
        remark="as printed: the mean of its own rows differs slightly (pixel AP 73.2 against the printed 72.9)",
    ),
    _ad(
        "AnomalyHybrid",
        "bottle",
        _TABLES,
        _generation(2.01, 0.23),
        _accuracy(62.5),
        _detection((98.3, 77.2, 72.5), (99.2, 99.8, 98.7)),
    ),
    _ad(
        "DFMGAN",
        "bottle",
        _TABLES,
        _generation(1.62, 0.12),
        _accuracy(56.6),
        _detection((98.9, 90.2, 83.9), (99.3, 99.8, 97.7)),
    ),
    _ad(
        "CropPaste",
        "bottle",
        _TABLES,
        _generation(1.43, 0.04),
        _accuracy(52.7),
        _detection((94.5, 67.4, 63.5), (85.4, 95.1, 90.9)),
    ),
    _ad(
        "AnomalyDiffusion",
        "bottle",
        f"{_PAPER}, Table 1",
        _generation(1.58, 0.19),
        _accuracy(90.7),
        remark="its classifiers were trained on selected images",
    ),
    _ad(
        "AnomalyDiffusion",
        MEAN,
        "its own paper",
        _generation(1.80, 0.32),
        _accuracy(66.1),
        _detection((99.1, 81.4, 76.3), (99.2, 99.7, 98.7)),
    ),
    _ad(
        "AnomalyDiffusion",
        MEAN,
        "a user's retraining of its code",
        _detection((95.5, 64.3, 64.2), (94.9, 97.5, 93.8)),
    ),
    _ad(
        "DualAnoDiff",
        MEAN,
        "secondary source",
        _generation(1.93, 0.38),
        _accuracy(77.4),
        _detection((99.1, 84.5), ()),
    ),
    _ad(
        "SeaS",
        MEAN,
        "its own paper",
        _generation(1.88, 0.34),
        _detection((97.7, 73.6, 69.9), (96.7, 98.4, 96.0)),
        remark="its detection figures are means over three other detectors; its IS is a mean over defect types",
    ),
    _3d("AnomalyHybrid", "tire", (1.47, 0.22)),
    _3d("DFMGAN", "tire", (1.53, 0.25)),
    _3d("AnomalyDiffusion", "tire", (1.35, 0.20)),
    _3d("AnomalyHybrid", MEAN, (1.85, 0.24)),
    _3d("AnomalyHybrid", MEAN, (1.72, 0.14), MVTEC_3D_DEPTH),
)
"""All printed lines of PROTOCOL.md's table "Published figures to stand beside ours"."""


def why_not_comparable(result: Result, figure_name: str) -> str:
    """Say why no published value of a figure may stand beside a result's.

    IS and the accuracy of a pretrained ResNet-34 hold for the real networks only; cluster LPIPS and the UNet's
    figures are comparable wherever category and data set are the same.

    Args:
        result: Our result.
        figure_name: The figure; ``"ic_lpips@vgg"`` is compared as ``"ic_lpips"``.

    Returns:
        One sentence; empty if they may be printed, or there are none.
    """
    if result.on_real_network(figure_name) or not _printed(result, figure_name):
        return ""
    figure = figure_of(figure_name)
    used = ", ".join(net.name for net in result.networks_of(figure_name)) or "none that is recorded"
    return f"Published values of {figure.label} hold for the real network only and are left out here (used: {used})."


def published_beside(result: Result, figure_name: str) -> tuple[Published, ...]:
    """Choose the printed lines that may stand beside a result's figure.

    Args:
        result: Our result; categories whose data set it does not name are not compared, as categories of other data
            may have the same names.
        figure_name: The figure.

    Returns:
        Lines that have the figure and are of one of the result's categories and its data set, or a mean over all
        categories of such a data set; none if `why_not_comparable` has a reason.
    """
    return () if why_not_comparable(result, figure_name) else _printed(result, figure_name)


_PUBLISHED_OPTIONS = MappingProxyType(
    {
        "size": 256,
        "count": 1000,
        "epochs": 200,
        "samples_per_epoch": 500,
        "width": 64,
        "batch_size": 8,
        "classifier_epochs": 30,
        "classifier_width": 64,
        "with_base": False,
    }
)  # PROTOCOL.md


def departures(result: Result) -> str:
    """Say in which settings a result departs from the published protocol.

    Returns:
        One sentence; empty where all of them agree.
    """
    other = [
        f"{name} {result.options[name]} (published: {value})"
        for name, value in _PUBLISHED_OPTIONS.items()
        if name in result.options and result.options[name] != value
    ]
    return f"Published values were measured with other settings than ours: {', '.join(other)}." if other else ""


def has_all_categories(result: Result) -> bool:
    """Whether a result holds as many categories, all of one data set, as a printed mean is over."""
    datasets = {result.datasets.get(category, "") for category in result.categories}
    return len(datasets) == 1 and len(result.categories) == CATEGORIES.get(datasets.pop(), 0)


def _printed(result: Result, figure_name: str) -> tuple[Published, ...]:
    base = figure_name.partition("@")[0]
    ours = {(category, result.datasets.get(category, "")) for category in result.categories}
    datasets = {dataset for _, dataset in ours}
    return tuple(
        line
        for line in PUBLISHED
        if base in line.figures
        and ((line.category, line.dataset) in ours or (line.category == MEAN and line.dataset in datasets))
    )
