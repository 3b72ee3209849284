"""`anomalyhybrid regenerate`: one image of a set again, exactly."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path

from anomalyhybrid.data.files import make_folder, resolve_inside
from anomalyhybrid.data.regions_of_interest import read_areas
from anomalyhybrid.errors import DataError, WeightsError
from anomalyhybrid.generation.additions import description_of
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import DATASET, MANIFEST, read_dataset, read_rows
from anomalyhybrid.recipes.control import TAXONOMY, controlled_sources, taxonomy_record
from anomalyhybrid.recipes.description import data_sha256
from anomalyhybrid.recipes.generation import AREAS
from anomalyhybrid.recipes.job import load_model, prepare_job
from anomalyhybrid.recipes.sources import Announce


def regenerate(dataset: Path, image_id: str, out: Path, *, announce: Announce) -> Path:
    """Make one image of a set again, exactly.

    Args:
        dataset: The set's folder.
        image_id: As in its manifest.
        out: Where image and mask go; a folder that holds no generated set.
        announce: Told in words what happens.

    Returns:
        The image's path.

    Raises:
        DataError: Unknown id, missing or changed data, `out` holds a set, this one or another, or a set of hybrids or
            with depth.
        WeightsError: The generator is not the one that made the set.
    """
    description = read_dataset(dataset)
    _check_kind(dataset, description)
    if out.resolve() == dataset.resolve():
        raise DataError(f"{out} is the set itself; give another folder")
    if (out / MANIFEST).exists() or (out / DATASET).exists():
        raise DataError(f"{out} holds a generated set, whose images must not be replaced; give another folder")
    rows = {row.id: row for row in read_rows(dataset)}
    if image_id not in rows:
        raise DataError(f"{dataset} has no image {image_id!r}; its ids run like {next(iter(rows), 'none')!r}")
    description = description_of(description, rows[image_id])
    config = GenerateConfig.from_json(description["config"])
    run = description["model"]["run"]
    model = load_model(run if run == "shipped" else os.path.join(dataset, run))
    if model.sha256 != description["model"]["sha256"]:
        raise WeightsError(f"{model.path} is not the generator that made {dataset} (its sha256 differs)")
    folders = {name: [dataset / path for path in description[name]] for name in ("data", "base_set")}
    sources = controlled_sources(
        folders["data"], folders["base_set"], config, skip_unreadable=True, cache=None, announce=announce
    )
    if description.get("data_sha256") not in (None, data_sha256(sources)):
        raise DataError(
            f"the images in {', '.join(str(path) for paths in folders.values() for path in paths)} are not those that "
            f"{dataset} was made from (some are missing, new or changed); put the same ones back"
        )
    areas = read_areas(config.roi, config.forbid, sources.normals)
    if areas and areas.sha256(sources.normals) != description.get(AREAS):
        given = " and ".join(path for path in (config.roi, config.forbid) if path)
        raise DataError(f"{given} do not hold the regions that {dataset} was made with; put the same ones back")
    if taxonomy_record(sources, config) != {key: description[key] for key in (TAXONOMY,) if key in description}:
        raise DataError(f"{config.taxonomy} is not what {dataset} was made with; put the same file back")
    make_folder(out)
    job = prepare_job(model, sources, config, out, None, description=description)
    spare = (chunk for category in job.sources.categories for chunk in job.order.spare_chunks(category))
    for category, is_defect, indices in chain(job.chunks(), spare):
        if image_id in job.ids(category, is_defect, indices):
            (row,) = job.draw(category, is_defect, indices, only=image_id)()
            if row != rows[image_id]:
                announce(f"warning: the image differs from the set's, made with {description['versions']}")
            return resolve_inside(out, row.image)
    raise DataError(
        f"{dataset} lists {image_id!r}, but its configuration does not make it; the set was changed by hand"
    )


def _check_kind(dataset: Path, description: dict) -> None:
    """Refuse sets that other recipes made, and say how their images are made again.

    Raises:
        DataError: A set of hybrids, or one with depth.
    """
    if description.get("kind") == "hybrids":
        raise DataError(
            f"{dataset} is a set of hybrids, of which regenerate makes none. The same picture comes from "
            "generate --global with --pairs, a CSV of one line 'reference,target,decoder' as in its row"
        )
    if description.get("level") == "depth":
        raise DataError(
            f"{dataset} is a set with depth, of which regenerate makes no image. Delete the image's file in a copy of "
            "the set and give that as --out to the command that made it, with --resume: only what is missing is made"
        )
