"""Rows of the tables with depth: Table 3's depth level, and Table 4."""

from __future__ import annotations

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.evaluation.depth_samples import join_depth
from anomalyhybrid.evaluation.fitting import Report
from anomalyhybrid.evaluation.generation_quality import generation_figures
from anomalyhybrid.evaluation.results import Row
from anomalyhybrid.recipes.evaluation import depth_methods, quality
from anomalyhybrid.recipes.evaluation.data import CategoryData
from anomalyhybrid.recipes.evaluation.depth_data import DepthCategory
from anomalyhybrid.recipes.evaluation.depth_detection import detect_with_depth
from anomalyhybrid.recipes.evaluation.depth_methods import DepthMade, numbered, pair_config
from anomalyhybrid.recipes.evaluation.detection import segmenter_config
from anomalyhybrid.recipes.evaluation.evidence import Evidence, evidence_of
from anomalyhybrid.recipes.evaluation.methods import Entry, MadeSet
from anomalyhybrid.recipes.evaluation.networks import Networks
from anomalyhybrid.recipes.evaluation.sets import Bench

DETECTION_OPTIONS = (*depth_methods.OPTIONS, "epochs", "samples_per_epoch", "width")
"""Settings that decide Table 4."""
QUALITY_OPTIONS = (
    *(name for name in depth_methods.OPTIONS if name not in ("batch_size", "precision")),
    *quality.LPIPS_OPTIONS,
)
"""Settings that decide Table 3's depth level."""


def check_depth_detection(data: CategoryData, config: EvaluateConfig) -> None:
    """Refuse, before long work, a category that detectors cannot be tested on.

    Raises:
        ConfigError: Settings that detectors or pairs cannot take.
        DataError: No good test image, or no defective one.
    """
    segmenter_config(config, 0)
    pair_config(config, 0)
    if not len(data.test.good):
        raise DataError(
            f"{data.category} has no good test image, which image figures need; put good images with depth into the "
            "test side (test/good of the MVTec 3D-AD layout; folders of RGB and depth pairs have no test side for good "
            "images), or evaluate table 3"
        )


def check_depth_quality(data: CategoryData, config: EvaluateConfig) -> None:
    """Refuse what Table 3's depth level cannot be measured on.

    Raises:
        ConfigError: Settings that pairs or the figures cannot take.
        DataError: No defective test image.
    """
    pair_config(config, 0)
    quality.check_quality(data, config)


def depth_detection_rows(
    entry: Entry,
    deep: DepthCategory,
    made: DepthMade,
    seed: int,
    bench: Bench,
    *,
    pictures: bool = False,
    report: Report | None = None,
) -> tuple[tuple[Row, ...], Evidence]:
    """Train one detector on colour and one on depth, and measure both and their mean (Table 4).

    Args:
        entry: The table's line.
        deep: The category with depth.
        made: The method's images.
        seed: Of the trainings.
        bench: Where to work.
        pictures: Keep examples of the training images for the report.
        report: Called at each check of the trainings.

    Returns:
        A row for each of `MODALITIES`, shares in [0, 1], and what the report shows of the mean of both maps.

    Raises:
        ConfigError: A budget without a step, a loss that diverges.
        DataError: A set that cannot be trained or tested on.
    """
    found = detect_with_depth(
        join_depth(numbered(deep.train_good, made.train.color.kinds), made.train),
        deep.test,
        segmenter_config(entry.config, seed),
        method=entry.label,
        category=deep.data.category,
        checkpoint=made.checkpoint,
        notes=made.notes,
        device=bench.device,
        report=report,
    )
    shown = MadeSet(method=entry.method, samples=made.own.color)
    return found.rows, evidence_of(deep.data, shown, found.maps_u8[-1], pictures=pictures)


def depth_quality_row(
    entry: Entry, deep: DepthCategory, made: DepthMade, seed: int, bench: Bench, networks: Networks
) -> Row:
    """Measure the depth of a method's defects beside the real test defects' (Table 3, depth level).

    Depth is shown in 8 bits over the range of the good training depth, nearer is brighter, three channels alike.

    Args:
        entry: The table's line.
        deep: The category with depth.
        made: The method's images.
        seed: Of the drawn centres.
        bench: Where to work.
        networks: As `load_networks` gives them.

    Returns:
        The row; figures that could not be computed are NaN, and the notes say why.

    Raises:
        DataError: Images that do not fit.
    """
    config, base = entry.config, deep.base.depth
    own, test = made.own.depth, deep.test.depth
    found = generation_figures(
        own,
        base if len(base) else None,
        test,
        networks.quality,
        quality.quality_config(config, bench.device),
        seed,
    )
    counts = {
        "generated images": len(own),
        "defective test images": int((test.kind >= 0).sum()),
        "base images": len(base),
    }
    return Row(
        method=entry.label,
        category=deep.data.category,
        seed=seed,
        figures=found.figures,
        samples=counts,
        checkpoint=made.checkpoint,
        notes=(*made.notes, *found.notes, *quality.size_note(len(own), config)),
    )
