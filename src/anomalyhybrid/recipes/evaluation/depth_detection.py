"""Table 4: the UNet detector on RGB, on depth, and the mean of both predictions."""

from __future__ import annotations

from dataclasses import replace
from math import nan
from typing import NamedTuple

import torch
from torch import Tensor

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.depth_samples import DepthSamples
from anomalyhybrid.evaluation.detection import Detection, detection, localisation
from anomalyhybrid.evaluation.fitting import Report
from anomalyhybrid.evaluation.results import Row
from anomalyhybrid.evaluation.samples import GOOD_KIND, Samples
from anomalyhybrid.evaluation.segmenter import (
    SegmenterConfig,
    SegmenterFigures,
    TrainedSegmenter,
    image_scores,
    predict,
    train_segmenter,
)
from anomalyhybrid.seeding import derive

MODALITIES = ("RGB", "D", "RGB + D")
"""Rows of Table 4, as labels end: colour, depth, the mean of both anomaly maps."""


NO_GOOD_IMAGE = "image figures are not defined: every test image is defective; pixel figures are over their pixels"
"""Note of rows without a good test image."""


class DepthDetection(NamedTuple):
    """Three rows and the maps behind them.

    Attributes:
        rows: One for each of `MODALITIES`.
        maps_u8: Their anomaly maps on the test set, uint8 (N, S, S) each.
    """

    rows: tuple[Row, ...]
    maps_u8: tuple[Tensor, ...]


def figures_of_maps(anomaly_map_N1SS: Tensor, test: Samples) -> SegmenterFigures:
    """Figures of given maps, as `evaluate_segmenter` gives them of a model's.

    Args:
        anomaly_map_N1SS: float (N, 1, S, S) in [0, 1].
        test: Defective images, and good ones; without any, image figures are NaN (`NO_GOOD_IMAGE`).

    Raises:
        DataError: Maps and images differ in number, no defective image, or pixels of one class only.
    """
    if len(anomaly_map_N1SS) != len(test):
        raise DataError(f"there are {len(anomaly_map_N1SS)} maps for {len(test)} test images")
    defective = (test.kind != GOOD_KIND).cpu().numpy()
    truth = (test.mask_u8[:, 0] > 127).cpu().numpy()
    scores = image_scores(anomaly_map_N1SS).cpu().numpy()
    return SegmenterFigures(
        image=Detection(nan, nan, nan, nan) if defective.all() else detection(scores, defective),
        pixel=localisation(anomaly_map_N1SS[:, 0].cpu().numpy(), truth, fpr_limit=0.3),
        pixel_f1_on_grid=None,
        good=int((~defective).sum()),
        defective=int(defective.sum()),
    )


def detect_with_depth(
    train: DepthSamples,
    test: DepthSamples,
    config: SegmenterConfig,
    *,
    method: str,
    category: str,
    checkpoint: str | None = None,
    notes: tuple[str, ...] = (),
    device: torch.device | str = "cpu",
    report: Report | None = None,
) -> DepthDetection:
    """Train one detector on colour and one on depth, and measure both and the mean of their maps.

    The two start from seeds of their own, so that their errors are not tied to one draw.

    Args:
        train: Real good images and a method's defects, depth over the set's one range.
        test: Test images, depth over the same range; without good ones rows have pixel figures alone, and say so.
        config: Budget; mode ``fixed`` keeps the last checkpoint.
        method: Name of the rows; the modality is added.
        category: Of the data.
        checkpoint: Sha256 of the generators behind the training images, None for baselines.
        notes: What the rows say besides.
        device: Where to train.
        report: Called at each check of the trainings.

    Raises:
        ConfigError: A budget without a step, a mode that chooses on the test set, a loss that diverges.
        DataError: A set that cannot be trained or tested on.

    Source: Paper Table 4; PROTOCOL: Detection and localisation.
    """
    trained: list[TrainedSegmenter] = []
    maps: list[Tensor] = []
    for name, samples, shown in (("color", train.color, test.color), ("depth", train.depth, test.depth)):
        own = replace(config, seed=derive(config.seed, "depth detection", name))
        trained.append(train_segmenter(samples, own, device=device, report=report))
        maps.append(predict(trained[-1].model, shown.image_u8).cpu())
    maps.append((maps[0] + maps[1]) / 2)
    rows = []
    for modality, own_maps in zip(MODALITIES, maps, strict=True):
        figures = figures_of_maps(own_maps, test.color)
        rows.append(
            Row(
                method=f"{method}, {modality}",
                category=category,
                seed=config.seed,
                figures={name: percent / 100.0 for name, percent in figures.row().items()},
                samples={
                    "good training images": trained[0].good,
                    "defective training images": trained[0].defective,
                    "good test images": figures.good,
                    "defective test images": figures.defective,
                },
                checkpoint=checkpoint,
                notes=("the last checkpoint was kept", *(() if figures.good else (NO_GOOD_IMAGE,)), *notes),
            )
        )
    return DepthDetection(tuple(rows), tuple((m[:, 0] * 255).round().to(torch.uint8) for m in maps))
