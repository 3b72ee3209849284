"""Table 2: the UNet detector trained on a method's images, tested on real defects."""

from __future__ import annotations

from typing import NamedTuple

import torch

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.evaluation.false_alarm import FalseAlarm, false_alarm
from anomalyhybrid.evaluation.fitting import Fit, Report
from anomalyhybrid.evaluation.results import Row
from anomalyhybrid.evaluation.samples import join
from anomalyhybrid.evaluation.segmenter import (
    SegmenterConfig,
    SegmenterFigures,
    TrainedSegmenter,
    evaluate_segmenter,
    predict,
    train_segmenter,
)
from anomalyhybrid.recipes.evaluation import methods
from anomalyhybrid.recipes.evaluation.data import CategoryData, with_kinds
from anomalyhybrid.recipes.evaluation.evidence import Evidence, evidence_of
from anomalyhybrid.recipes.evaluation.methods import Entry, MadeSet
from anomalyhybrid.recipes.evaluation.sets import Bench, redrawn_normals

OPTIONS = (*methods.OPTIONS, "normals", "normals_as", "epochs", "samples_per_epoch", "width")
"""Settings that decide the figures of this table."""


def segmenter_config(config: EvaluateConfig, seed: int) -> SegmenterConfig:
    """The detector's part of the settings."""
    return SegmenterConfig(
        seed=seed,
        mode=config.mode,
        size=config.size,
        batch_size=config.batch_size,
        epochs=config.epochs,
        samples_per_epoch=config.samples_per_epoch,
        width=config.width,
        precision=config.precision,
        compile=config.compile,
        graph=config.graph,
    )


def check_detection(data: CategoryData, config: EvaluateConfig) -> None:
    """Refuse, before long work, a category that a detector cannot be tested on, or a budget without a step.

    Raises:
        ConfigError: Settings that the detector cannot take.
        DataError: No good test image, or no good training image.
    """
    segmenter_config(config, 0)
    if not len(data.test.good):
        raise DataError(f"{data.category} has no good test image; put some into test/good, or evaluate table 1")


def detection_row(
    entry: Entry,
    data: CategoryData,
    made: MadeSet,
    seed: int,
    bench: Bench,
    *,
    pictures: bool = False,
    report: Report | None = None,
) -> tuple[Row, Evidence]:
    """Train the detector on real good images and a method's defects, and measure it on the test part.

    Held-out good images are in no training; they set the threshold of the false-alarm guard, in which those that
    the method's generator (for baselines: that of the few-shot run) redrew are compared with real ones: redrawn whole
    with the good test images, redrawn in patches with themselves before.

    Args:
        entry: The table's line.
        data: The category, split for the seed.
        made: The method's images.
        seed: Of the training.
        bench: Where to work.
        pictures: Keep examples of the training images for the report.
        report: Called at each check of the training.

    Returns:
        The row, shares in [0, 1], and what the report shows besides.

    Raises:
        ConfigError: A budget without a step, a loss that diverges.
        DataError: A set that cannot be trained or tested on.
    """
    config = entry.config
    trained = train_segmenter(
        join(with_kinds(data.train_good, made.samples.kinds), made.samples),
        segmenter_config(config, seed),
        validation=with_kinds(data.validation, made.samples.kinds) if data.validation is not None else None,
        test=with_kinds(data.test, made.samples.kinds) if config.mode == "as_published" else None,
        generated_normals_u8=made.normals_u8,
        device=bench.device,
        report=report,
    )
    figures = evaluate_segmenter(trained.model, data.test, f1_on_grid=config.mode == "as_published")
    guard = _guard(trained, data, entry, seed, bench)
    row = Row(
        method=entry.label,
        category=data.category,
        seed=seed,
        figures=_shares(figures) | _guard_figures(guard),
        samples=_counts(trained, figures, data, guard),
        checkpoint=made.checkpoint,
        notes=(*made.notes, *_notes(trained.fit, config, guard)),
    )
    maps = (predict(trained.model, data.test.image_u8)[:, 0] * 255).round().to(torch.uint8).cpu()
    return row, evidence_of(data, made, maps, pictures=pictures)


class _Guard(NamedTuple):
    """The detector on held-out good images: redrawn whole, against the good test images; in patches, each against
    the real image that it was made from (inside the patches alone, where pixels are compared)."""

    whole: FalseAlarm
    patch: FalseAlarm


def _guard(trained: TrainedSegmenter, data: CategoryData, entry: Entry, seed: int, bench: Bench) -> _Guard | None:
    """Measure false alarms; None if no good images are asked for or held out."""
    run = bench.run_of(entry.method)
    whole = redrawn_normals(data, entry.config, seed, bench, run=run, held=True, normals_as="full")
    patch = redrawn_normals(data, entry.config, seed, bench, run=run, held=True, normals_as="patch")
    if whole is None or patch is None:
        return None
    model, real = trained.model, data.test.good.image_u8
    calibration = data.calibration.image_u8 if len(data.calibration) else None
    region = patch.region_u8 if patch.region_u8.any() else None
    return _Guard(
        whole=false_alarm(model, real, whole.image_u8, calibration_u8=calibration),
        patch=false_alarm(
            model, patch.target_u8, patch.image_u8, regions_u8=region, paired=True, calibration_u8=calibration
        ),
    )


def _shares(figures: SegmenterFigures) -> dict[str, float]:
    return {name: percent / 100.0 for name, percent in figures.row().items()}


def _guard_figures(guard: _Guard | None) -> dict[str, float]:
    if guard is None:
        return {}
    whole, patch = guard
    region = {} if patch.region_auroc is None else {"patch_region_auroc": patch.pixel_auroc}
    return {
        "false_alarm_real": whole.real_rate,
        "false_alarm_redrawn": whole.redrawn_rate,
        "false_alarm_excess": whole.excess,
        "false_alarm_patch": patch.redrawn_rate,
        "false_alarm_patch_excess": patch.excess,
        "redrawn_image_auroc": whole.image_auroc,
        "redrawn_pixel_auroc": whole.pixel_auroc,
    } | region


def _counts(
    trained: TrainedSegmenter, figures: SegmenterFigures, data: CategoryData, guard: _Guard | None
) -> dict[str, int]:
    counts = {
        "good training images": trained.good,
        "defective training images": trained.defective,
        "good test images": figures.good,
        "defective test images": figures.defective,
    }
    if trained.generated:
        counts["generated good training images"] = trained.generated
    if data.validation is not None:
        counts["validation images"] = len(data.validation)
    if guard is not None:
        counts |= {"redrawn good images": guard.whole.redrawn, "good images with redrawn patches": guard.patch.redrawn}
        counts["calibration images"] = guard.whole.calibration
    return counts


def _notes(fit: Fit, config: EvaluateConfig, guard: _Guard | None) -> tuple[str, ...]:
    chosen = {
        "last": "the last checkpoint was kept",
        "validation": "the checkpoint was chosen on a validation part of the base set",
        "test": "as published, the checkpoint was chosen on the test set",
    }[fit.chosen_by]
    notes = [chosen]
    if guard is None:
        why = "evaluate.normals is 0" if not config.normals else "too few good training images to hold some out"
        notes.append(f"false alarms were not measured: {why}")
    elif not guard.whole.calibration:
        notes.append("false alarms: the threshold was set on the good test images themselves")
    if guard is not None and guard.patch.region_auroc is None:
        notes.append("no pixel of the redrawn patches differs from the real image")
    return tuple(notes)
