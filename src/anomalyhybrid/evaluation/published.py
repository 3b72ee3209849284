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
HELICONIUS = "HeliconiusButterfly"
"""Data sets, as `Result.datasets` names them."""
CATEGORIES = MappingProxyType({MVTEC_AD: 15, MVTEC_3D_RGB: 10, MVTEC_3D_DEPTH: 10, HELICONIUS: 1})
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


_TABLE_3: tuple[tuple[str, tuple[tuple[float, float], ...]], ...] = (
    ("bagel", ((1.07, 0.26), (1.02, 0.22), (1.05, 0.23), (1.52, 0.14))),
    ("cable_gland", ((1.59, 0.25), (1.79, 0.19), (2.42, 0.21), (2.63, 0.21))),
    ("carrot", ((1.94, 0.29), (1.66, 0.17), (2.31, 0.21), (2.02, 0.11))),
    ("cookie", ((1.80, 0.31), (1.77, 0.29), (1.95, 0.28), (1.45, 0.16))),
    ("dowel", ((1.96, 0.37), (1.60, 0.20), (1.89, 0.22), (1.78, 0.15))),
    ("foam", ((1.50, 0.17), (1.77, 0.30), (1.73, 0.28), (1.36, 0.19))),
    ("peach", ((2.11, 0.34), (1.91, 0.23), (1.97, 0.25), (1.71, 0.13))),
    ("potato", ((3.05, 0.35), (1.92, 0.17), (2.31, 0.18), (1.63, 0.09))),
    ("rope", ((1.46, 0.29), (1.28, 0.25), (1.42, 0.29), (1.61, 0.12))),
    ("tire", ((1.53, 0.25), (1.35, 0.20), (1.47, 0.22), (1.44, 0.11))),
    (MEAN, ((1.80, 0.29), (1.61, 0.22), (1.85, 0.24), (1.72, 0.14))),
)  # category, then DFMGAN, AnomalyDiffusion and AnomalyHybrid in colour, AnomalyHybrid in depth: IS, LPIPS


def _3d(method: str, column: int, dataset: str) -> tuple[Published, ...]:
    source = f"{_PAPER}, Table 3"
    return tuple(
        Published(method=method, dataset=dataset, category=name, figures=_generation(*values[column]), source=source)
        for name, values in _TABLE_3
    )


def _table_4(method: str, pixel: tuple[float, ...], image: tuple[float, ...]) -> Published:
    figures = _detection(pixel, image)
    return Published(method=method, dataset=MVTEC_3D_RGB, category=MEAN, figures=figures, source=f"{_PAPER}, Table 4")


def _table_6(method: str, recalls: tuple[float, ...]) -> Published:
    names = ("recall_signal", "recall_non_signal", "recall_mimic", "recall_harmonic")
    return Published(
        method=method,
        dataset=HELICONIUS,
        category=MEAN,
        figures=dict(zip(names, recalls, strict=True)),
        source=f"{_PAPER}, Table 6",
        remark="the last of three printed values; the paper does not say which detector each is of",
    )


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
    *_3d("AnomalyHybrid", 2, MVTEC_3D_RGB),
    *_3d("DFMGAN", 0, MVTEC_3D_RGB),
    *_3d("AnomalyDiffusion", 1, MVTEC_3D_RGB),
    *_3d("AnomalyHybrid", 3, MVTEC_3D_DEPTH),
    _table_4("DFMGAN, RGB", (74.4, 14.7, 20.7), (63.7, 82.8, 84.9)),
    _table_4("AnomalyDiffusion, RGB", (91.2, 22.8, 29.6), (71.7, 87.1, 86.6)),
    _table_4("AnomalyHybrid, RGB", (96.9, 16.0, 23.2), (83.7, 94.8, 91.4)),
    _table_4("AnomalyHybrid, D", (94.2, 12.8, 19.1), (82.7, 94.5, 92.0)),
    _table_4("AnomalyHybrid, RGB + D", (98.4, 19.5, 26.4), (90.1, 97.1, 94.0)),
    _table_6("training set alone", (0.893, 0.036, 0.621, 0.098)),
    _table_6("AnomalyFactory", (0.789, 0.357, 0.419, 0.465)),
    _table_6("AnomalyHybrid, AHD", (0.784, 0.357, 0.500, 0.494)),
    _table_6("AnomalyHybrid, AHE", (0.855, 0.429, 0.516, 0.551)),
)
"""All printed lines of PROTOCOL.md's table "Published figures to stand beside ours", and the paper's Tables 3, 4, 6."""


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
    base, _, variant = figure_name.partition("@")
    if variant and figure_of(figure_name).role == "dinov2":
        return ()  # one of the heads alone
    ours = {(category, result.datasets.get(category, "")) for category in result.categories}
    datasets = {dataset for _, dataset in ours}
    return tuple(
        line
        for line in PUBLISHED
        if base in line.figures
        and ((line.category, line.dataset) in ours or (line.category == MEAN and line.dataset in datasets))
    )
