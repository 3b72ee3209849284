"""The part of a category that a generator may see, as a folder in MVTec AD layout."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from anomalyhybrid.data.files import make_folder, write_text_atomic
from anomalyhybrid.data.loading import save_png
from anomalyhybrid.data.locks import locked
from anomalyhybrid.data.records import Record
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.recipes.evaluation.data import CategoryData

_COMPLETE = ".complete"


def write_view(data: CategoryData, config: EvaluateConfig, out: Path, *, held: bool = False) -> Path:
    """Write the good training images and the base set, and nothing else, into a folder.

    So a generator never meets a held-out or test image, whatever the split. Images are squeezed to the
    evaluation's size, or are links to the files (`native`; copies where links cannot be made), under their own
    names. The same view is written once, also by several processes.

    Args:
        data: The category, split.
        config: Size, native.
        out: Output folder; views are in ``views``.
        held: Write the held-out good images in place of those that are trained on.

    Returns:
        The category's folder.

    Raises:
        DataError: It cannot be written.
    """
    normals = data.held_records if held else data.good_records
    names = [record.relative for record in (*normals, *data.base_records)]
    identity = [data.fingerprint, str(config.native or config.size), *names]
    digest = hashlib.sha256("\n".join(identity).encode()).hexdigest()[:12]
    folder = out / "views" / digest / data.category
    with locked(out / ".locks" / f"view_{digest}"):
        if not (folder.parent / _COMPLETE).is_file():
            _write(folder, normals, data, native=config.native)
            write_text_atomic(folder.parent / _COMPLETE, "")
    return folder


def _write(folder: Path, normals: Sequence[Record], data: CategoryData, *, native: bool) -> None:
    for record in (*normals, *data.base_records):
        place = make_folder(folder / ("train" if record.is_good else "test") / record.defect)
        # with the old ending, so that names stay distinct
        image = place / (record.path.name if native else f"{record.path.name}.png")
        if native:
            _link(record.path, image)
        else:
            save_png(image, data.pictures.color(record))
        if record.mask_path is not None:
            truth = make_folder(folder / "ground_truth" / record.defect)
            if native:
                _link(record.mask_path, truth / record.mask_path.name)
            else:
                save_png(truth / f"{image.stem}_mask.png", data.pictures.mask(record))


def _link(source: Path, place: Path) -> None:
    """Link to a file, or copy it where links are not to be had."""
    place.unlink(missing_ok=True)
    try:
        os.symlink(source, place)
    except OSError:
        shutil.copy2(source, place)
