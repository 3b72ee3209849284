"""What a report shows besides figures: curves, failure cases, examples; kept beside each row."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.data.files import make_folder, write_bytes_atomic
from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.curves import Curve, precision_recall, thinned
from anomalyhybrid.evaluation.report_pictures import Failure, Picture, Sheet
from anomalyhybrid.evaluation.samples import GOOD_KIND, Samples
from anomalyhybrid.evaluation.segmenter import image_scores
from anomalyhybrid.recipes.evaluation.data import CategoryData
from anomalyhybrid.recipes.evaluation.methods import MadeSet

WORST_DEFECTS, WORST_GOOD = 2, 1
EXAMPLES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Arrays of one row; all may be empty.

    Attributes:
        pixel_curve: Recall and precision, float32 (2, K).
        image_curve: The same of image scores.
        failure_index: The worst test images, int64 (F,).
        failure_maps: Their anomaly maps, uint8 (F, S, S).
        failure_scores: Their image scores, float32 (F,).
        example_images: Training images of the method, uint8 (E, S, S, 3).
        example_masks: uint8 (E, S, S).
    """

    pixel_curve: np.ndarray
    image_curve: np.ndarray
    failure_index: np.ndarray
    failure_maps: np.ndarray
    failure_scores: np.ndarray
    example_images: np.ndarray
    example_masks: np.ndarray


def evidence_of(data: CategoryData, made: MadeSet, maps_u8: Tensor, *, pictures: bool) -> Evidence:
    """Collect what the report shows of one row.

    Args:
        data: The category.
        made: The method's images.
        maps_u8: Anomaly maps of the test images, uint8 (N, S, S); 255 is probability 1.
        pictures: Keep examples of the method's images, which the real base third has none of.

    Returns:
        Curves over 256 levels, the two worst defects (least overlap) and the worst good image (highest score).
    """
    truth, defective = data.test.mask_u8[:, 0] > 127, data.test.kind != GOOD_KIND
    soft = maps_u8.float() / 255
    scores = image_scores(soft[:, None])
    common = torch.minimum(soft, truth.float()).flatten(1).sum(1)
    overlap = common / torch.maximum(soft, truth.float()).flatten(1).sum(1).clamp_min(1)
    worst = [*_least(overlap, defective, WORST_DEFECTS), *_least(-scores, ~defective, WORST_GOOD)]
    shown = _examples(made, EXAMPLES if pictures else 0)
    return Evidence(
        pixel_curve=_curve(maps_u8.flatten().numpy(), truth.flatten().numpy()),
        image_curve=_curve(scores.numpy(), defective.numpy()),
        failure_index=np.array(worst, np.int64),
        failure_maps=maps_u8[worst].numpy(),
        failure_scores=scores[worst].numpy(),
        example_images=shown.image_u8.permute(0, 2, 3, 1).contiguous().numpy(),
        example_masks=shown.mask_u8[:, 0].numpy(),
    )


def examples_of(data: CategoryData, made: MadeSet) -> Evidence:
    """Collect the examples alone, for tables without a detector."""
    shown, curve = _examples(made, EXAMPLES), np.zeros((2, 0), np.float32)
    size = data.pictures.size
    return Evidence(
        pixel_curve=curve,
        image_curve=curve,
        failure_index=np.zeros(0, np.int64),
        failure_maps=np.zeros((0, size, size), np.uint8),
        failure_scores=np.zeros(0, np.float32),
        example_images=shown.image_u8.permute(0, 2, 3, 1).contiguous().numpy(),
        example_masks=shown.mask_u8[:, 0].numpy(),
    )


def _examples(made: MadeSet, count: int) -> Samples:
    """Some of a method's images; none of the real base third, which is not generated."""
    return made.samples.where(_spread(made.samples, 0 if made.method == "base_third" else count))


def _least(values: Tensor, among: Tensor, count: int) -> list[int]:
    numbers = among.nonzero().flatten()
    return numbers[values[numbers].argsort(stable=True)[:count]].tolist()


def _spread(samples: Samples, count: int) -> Tensor:
    """Numbers of images spread evenly over the set, of all its types in turn."""
    order = samples.kind.argsort(stable=True)
    count = min(count, len(order))
    return order[torch.linspace(0, max(len(order) - 1, 0), count).round().long()]


def _curve(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    if not labels.any():
        return np.zeros((2, 0), np.float32)
    curve = thinned(precision_recall("", scores.astype(np.float32), labels))
    return np.stack([curve.recall, curve.precision]).astype(np.float32)


def write_evidence(evidence: Evidence, path: Path) -> None:
    """Write evidence as .npz, all or nothing.

    Raises:
        DataError: The file cannot be written.
    """
    stream = io.BytesIO()
    np.savez_compressed(stream, **{part.name: getattr(evidence, part.name) for part in fields(Evidence)})
    make_folder(path.parent)
    write_bytes_atomic(path, stream.getvalue())


def read_evidence(path: Path) -> Evidence:
    """Read evidence.

    Raises:
        DataError: The file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Evidence(**{part.name: arrays[part.name] for part in fields(Evidence)})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}); remove it and its row, and run again") from error


def curve_of(method: str, points: np.ndarray) -> Curve | None:
    """The curve of a row for a plot; None without points."""
    return Curve(method, points[0], points[1]) if points.shape[1] else None


def failures_of(method: str, data: CategoryData, evidence: Evidence) -> list[Failure]:
    """The failure cases of a row for the report."""
    found = []
    for place, number in enumerate(evidence.failure_index.tolist()):
        record = data.test_records[number]
        found.append(
            Failure(
                method=method,
                image_u8=data.pictures.color(record),
                gt_mask=(data.test.mask_u8[number, 0] > 127).numpy(),
                map_u8=evidence.failure_maps[place],
                caption=f"{data.category}, {record.defect}/{record.path.name}, score "
                f"{evidence.failure_scores[place]:.2f}",
            )
        )
    return found


def sheet_of(method: str, data: CategoryData, evidence: Evidence) -> Sheet | None:
    """Examples of a method beside real defects of the test part; None where it has none."""
    if not len(evidence.example_images):
        return None
    defects = [record for record in data.test_records if not record.is_good]
    chosen = _evenly(defects, EXAMPLES)
    return Sheet(
        title=f"{data.category}, {method}",
        real=[Picture(data.pictures.color(record), data.pictures.mask(record), record.defect) for record in chosen],
        generated=[
            Picture(image, mask) for image, mask in zip(evidence.example_images, evidence.example_masks, strict=True)
        ],
        caption="Real defects of the test part, which no method has seen, beside training images of the method.",
    )


def _evenly(records: Sequence, count: int) -> list:
    places = np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)
    return [records[place] for place in places]
