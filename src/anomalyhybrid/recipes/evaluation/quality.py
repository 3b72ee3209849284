"""Tables 1, 3, 5 and 7: how real, how varied and how useful for classification a method's images are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from anomalyhybrid.data.loading import load_image, load_mask
from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.classification import Measured, classification_figures
from anomalyhybrid.evaluation.classifier import ClassifierConfig
from anomalyhybrid.evaluation.cluster_lpips import ClusterConfig
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.evaluation.fitting import Report
from anomalyhybrid.evaluation.generation_quality import QualityConfig, generation_figures
from anomalyhybrid.evaluation.mask_consistency import MaskConsistency, mask_consistency
from anomalyhybrid.evaluation.results import Row as ResultRow
from anomalyhybrid.generation.manifest import Row, read_dataset
from anomalyhybrid.recipes.evaluation import methods
from anomalyhybrid.recipes.evaluation.data import CategoryData, each
from anomalyhybrid.recipes.evaluation.methods import Bench, Entry, MadeSet
from anomalyhybrid.recipes.evaluation.networks import Networks

LPIPS_OPTIONS = ("lpips", "centres", "centre_count", "cap", "singletons", "centres_as_bytes")
"""Settings that decide cluster LPIPS."""
OPTIONS = (*methods.OPTIONS, "classifier_epochs", "classifier_width", *LPIPS_OPTIONS)
"""Settings that decide the figures of these tables; feature networks are recorded apart."""
GENERATION_OPTIONS = (
    *(name for name in methods.OPTIONS if name not in ("batch_size", "precision")),
    *LPIPS_OPTIONS,
)
"""The same without classification (Table 3)."""

MASK_FIGURES = ("changed_outside", "outside_changed", "mask_visible")


def quality_config(config: EvaluateConfig, device: torch.device) -> QualityConfig:
    """The generation figures' part of the settings; on a GPU, LPIPS embeddings may take half of its free memory."""
    memory = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else QualityConfig().memory
    return QualityConfig(
        centres=config.centres,
        sampled_centres=config.centre_count,
        clusters=ClusterConfig(cap=config.cap or None, singletons=config.singletons),
        centres_as_bytes=config.centres_as_bytes,
        memory=memory,
    )


def classifier_config(config: EvaluateConfig, seed: int) -> ClassifierConfig:
    """The classifier's part of the settings."""
    return ClassifierConfig(
        seed=seed,
        mode=config.mode,
        size=config.size,
        batch_size=config.batch_size,
        epochs=config.classifier_epochs,
        width=config.classifier_width,
        precision=config.precision,
        compile=config.compile,
        graph=config.graph,
    )


def check_quality(data: CategoryData, config: EvaluateConfig) -> None:
    """Refuse, before long work, what cannot be measured.

    Raises:
        ConfigError: Settings that the classifier or the generation figures cannot take.
        DataError: No defective test image.
    """
    classifier_config(config, 0)
    quality_config(config, torch.device("cpu"))
    if not len(data.test.defective):
        raise DataError(f"{data.category} has no defective test image, which these tables are measured on")


def quality_row(
    entry: Entry,
    data: CategoryData,
    made: MadeSet,
    seed: int,
    bench: Bench,
    networks: Networks,
    *,
    classify: bool = True,
    report: Report | None = None,
) -> ResultRow:
    """Measure one line on one category with one seed (Tables 1, 5 and 7; Table 3 without classification).

    Generation figures are those of `generation_figures`, and for generated sets mask consistency at the size of
    their files. The classifier learns the method's images, at most 500 of a type, and is tested on the real two
    thirds; it is skipped, and the notes say why, for a category with one defect type and for methods without the
    category's types (CutPaste, Perlin, NSA, ours without real defects). The real base third is repeated to the
    number of images that other methods have, for the same number of steps.

    Args:
        entry: The table's line.
        data: The category, split for the seed.
        made: The method's images.
        seed: Of the drawn centres and of the classifier.
        bench: Where to work.
        networks: As `load_networks` gives them.
        classify: Train the classifier.
        report: Called at each check of the classifier's training.

    Returns:
        The row, shares in [0, 1]; figures that could not be computed are NaN, and the notes say why.

    Raises:
        ConfigError: A loss that diverges, a batch larger than all samples.
        DataError: Images that do not fit.
        WeightsError: ImageNet weights that do not fit.
    """
    config = entry.config
    own = made.own
    generated = generation_figures(
        own,
        data.base if len(data.base) else None,
        data.test,
        networks.quality,
        quality_config(config, bench.device),
        seed,
    )
    masks = mask_figures_of(made)
    classified = _classified(entry, data, made, seed, bench, networks, report) if classify else Measured({})
    counts = {"generated images": len(own), "defective test images": len(data.test.defective)}
    counts |= {"base images": len(data.base), "classifier images": len(made.samples) if classified.figures else 0}
    return ResultRow(
        method=entry.label,
        category=data.category,
        seed=seed,
        figures=generated.figures | masks.figures | classified.figures,
        samples=counts,
        checkpoint=made.checkpoint,
        notes=(*made.notes, *generated.notes, *masks.notes, *size_note(len(own), config), *classified.notes),
    )


def _classified(
    entry: Entry,
    data: CategoryData,
    made: MadeSet,
    seed: int,
    bench: Bench,
    networks: Networks,
    report: Report | None,
) -> Measured:
    return classification_figures(
        made.samples,
        data.test,
        classifier_config(entry.config, seed),
        imagenet=networks.imagenet,
        validation=data.validation,
        repeat_to=_others(entry.config, data) if entry.method == "base_third" else 0,
        device=bench.device,
        report=report,
    )


def _others(config: EvaluateConfig, data: CategoryData) -> int:
    """Images of a type that the other methods train on."""
    return min(config.count // len(data.kinds), classifier_config(config, 0).limit)


def size_note(count: int, config: EvaluateConfig) -> tuple[str, ...]:
    """Say that FID and IS are from another number of images than asked for; nothing where they are not."""
    if count == config.count:
        return ()
    return (f"FID, IS: from {count} images in place of {config.count}; FID rises and IS falls with fewer",)


def mask_figures_of(made: MadeSet) -> Measured:
    """Measure a generated set's mask consistency on its files, at their own size.

    Args:
        made: A method's images; without a folder (baselines) there is nothing to measure.

    Returns:
        Means over the images of ``changed_outside``, ``outside_changed`` and ``mask_visible``; NaN with a note where
        a target is missing or cannot be compared.

    Raises:
        DataError: The set has no record.
    """
    if made.folder is None or not made.rows:
        return Measured({})
    folder = made.folder
    root = folder / read_dataset(folder)["data_root"]
    try:
        found = each(lambda row: _consistency(folder, root, row), made.rows)
    except DataError as error:
        return Measured(dict.fromkeys(MASK_FIGURES, math.nan), (f"mask consistency was not measured: {error}",))
    return Measured({name: float(np.mean([getattr(one, name) for one in found])) for name in MASK_FIGURES})


def _consistency(folder: Path, root: Path, row: Row) -> MaskConsistency:
    """One image beside the normal image that it was made from."""
    pixels = load_image(folder / row.image).pixels
    label = load_mask(folder / str(row.label_mask), shape=(pixels.shape[0], pixels.shape[1]))
    return mask_consistency(load_image(root / row.target).pixels, pixels, label)
