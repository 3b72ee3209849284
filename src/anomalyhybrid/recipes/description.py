"""What `dataset.json` keeps: enough to make every image of a set again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import torch

from anomalyhybrid import __version__
from anomalyhybrid.backends.choice import Asked, Backend, choose_backend, recorded_backend
from anomalyhybrid.data.files import write_text_atomic
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation.additions import APPENDED, FIRST, FOLDERS, descriptions, next_numbers
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.hybrid_config import HybridConfig
from anomalyhybrid.generation.manifest import DATASET, FORMAT, SELECTED, SUMMARY, Row, read_dataset
from anomalyhybrid.generation.rejected import read_rejected
from anomalyhybrid.models.weights import sha256_of
from anomalyhybrid.recipes.control import TAXONOMY
from anomalyhybrid.recipes.job import Model
from anomalyhybrid.recipes.sources import Sources, best_device

AREAS = "areas_sha256"
"""Entry of `dataset.json` where regions of interest are given: what their files hold."""


def _relative(path: Path, folder: Path) -> str:
    """A path as the set's record keeps it: relative where it lies inside the set, else absolute.

    Outside, links keep their names, because a folder's name may be its category's.
    """
    real, folder = path.resolve(), folder.resolve()
    return (
        real.relative_to(folder).as_posix() if real.is_relative_to(folder) else Path(os.path.abspath(path)).as_posix()
    )


def data_sha256(sources: Sources) -> str:
    """Hash of what the images, masks and defect classes hold, in order; where they lie does not count."""
    records = [*sources.normals, *sources.base]
    with ThreadPoolExecutor() as threads:
        images = threads.map(lambda record: sha256_of(record.path), records)
        masks = threads.map(lambda record: sha256_of(record.mask_path) if record.mask_path else "", records)
        lines = [
            f"{r.category}/{r.defect} {image} {mask}\n" for r, image, mask in zip(records, images, masks, strict=True)
        ]
    for mask in sources.drawn:
        lines.append(f"{mask.record.category}/{mask.defect} {mask.record.path.stem} {sha256_of(mask.path)}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def describe(
    model: Model,
    sources: Sources,
    config: GenerateConfig | HybridConfig,
    data: Sequence[Path],
    base_set: Sequence[Path],
    out: Path,
) -> dict:
    """What `dataset.json` says."""
    name = model.name if model.name == "shipped" else _relative(model.path, out)
    return {
        "format": FORMAT,
        "data_root": _relative(sources.root, out),
        "data": [_relative(Path(root), out) for root in data],
        "base_set": [_relative(Path(root), out) for root in base_set],
        "data_sha256": data_sha256(sources),
        "categories": list(sources.categories),
        "config": json.loads(json.dumps(asdict(config))),
        "model": {"run": name, "sha256": model.sha256, "metadata": dict(sorted(model.metadata.items()))},
        "versions": {
            "anomalyhybrid": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": str(best_device()),
        },
    }


def used_backend(asked: Asked, about: dict | None) -> Backend:
    """The runtime of a new set, or the one that images were begun with.

    Args:
        asked: As the settings say.
        about: What the set says of itself, to finish it; None for new images.

    Raises:
        ConfigError: The runtime that is asked for is not installed.
        DataError: The one that images were begun with is not.
    """
    device = best_device().type
    return choose_backend(asked, device) if about is None else recorded_backend(descriptions(about)[-1], device)


def with_used_batch(config: GenerateConfig, about: dict | None) -> GenerateConfig:
    """Settings with the number of images generated together that a set was begun with, or that fits this device.

    Args:
        config: As the user gives it; a number that is given stays.
        about: What the set says of itself, to finish it; None for new images.
    """
    if about is not None and not config.batch_size:
        config = replace(config, batch_size=descriptions(about)[-1]["config"].get("batch_size", 0))  # none in hybrids
    return config.with_batch(best_device().type)


def check_beginning(out: Path, names: Sequence[str], *, resume: bool, append: bool = False) -> None:
    """Refuse a folder that holds a set already, or, to resume or to append, none that this can be done with.

    Args:
        out: Folder of the set.
        names: Its records, any of which says that a set was begun.
        resume: Whether a set is to be finished.
        append: Whether images are added to it; with `resume`, whether an addition is to be finished.

    Raises:
        DataError: Says which.
    """
    if not (resume or append) and any((out / name).exists() for name in names):
        raise DataError(
            f"{out} already holds a generated set; add to it with --append, replace it with --overwrite, finish it "
            "with --resume, or give another --out"
        )
    if (resume or append) and not (out / DATASET).exists():
        what = "resume" if resume else "append to"
        raise DataError(f"{out} holds no set to {what}; start without --{'resume' if resume else 'append'}")
    about = read_dataset(out) if resume or append else {}
    if SELECTED in about:
        raise DataError(
            f"{out} is a selection, of which nothing is missing and to which nothing is added; add to the set that it "
            f"comes from ({about[SELECTED][-1]['from']}) and select again"
        )
    if append:
        _check_appendable(out, about, resume)


def _check_appendable(out: Path, about: dict, resume: bool) -> None:
    kind = "of hybrids" if about.get("kind") == "hybrids" else "with depth" if about.get("level") == "depth" else ""
    if kind:
        raise DataError(f"{out} holds a set {kind}, which cannot be added to; give another --out")
    unfinished = SUMMARY not in about
    if resume and not (unfinished and about.get(APPENDED)):
        raise DataError(f"{out} holds no addition that was begun and not finished; start without --resume")
    if unfinished and not resume:
        again = "--append --resume" if about.get(APPENDED) else "--resume"
        raise DataError(f"{out} is not finished; finish it with {again} and its own settings before adding to it")


def addition(out: Path, about: dict, rows: Iterable[Row], description: dict) -> dict:
    """What `dataset.json` says of images that are added to a set.

    Args:
        out: Folder of the set.
        about: What the set says of itself.
        rows: Its manifest's.
        description: What a set of the new images would say.

    Raises:
        DataError: A set of one category, which has no folder of its own there, and others to be added.
    """
    own, new = about["categories"], description["categories"]
    folders = len(own) > 1
    if not folders and new != own:
        raise DataError(
            f"{out} holds images of {own[0]} alone, without a folder for it; images of {', '.join(new)} go into a set "
            "of their own: give another --out"
        )
    return _as_addition(description) | {FIRST: next_numbers(about, rows, read_rejected(out), new), FOLDERS: folders}


def going_on(before: dict, description: dict) -> dict:
    """The description of images that were begun before, with the numbers that their ids begin with."""
    if FIRST not in before:
        return description
    return _as_addition(description) | {name: before[name] for name in (FIRST, FOLDERS)}


def _as_addition(description: dict) -> dict:
    return {name: value for name, value in description.items() if name != "format"}


def joined(about: dict | None, description: dict, *, resume: bool) -> dict:
    """What `dataset.json` says of a set and the images that are being made, without a summary.

    Args:
        about: What it says so far; None of a new set.
        description: Of the images being made, by `addition` where there are earlier ones.
        resume: Whether they were begun before, so that the description of them is the last one.
    """
    earlier = [] if about is None else descriptions(about)[: -1 if resume else None]
    if not earlier:
        return description
    first = {name: value for name, value in earlier[0].items() if name != SUMMARY}
    return first | {APPENDED: [*earlier[1:], description]}


def check_resumed(out: Path, before: dict, description: dict, keys: Sequence[str]) -> None:
    """Refuse to finish a set that was begun otherwise; what a killed process half wrote is removed.

    Args:
        out: Folder of the set.
        before: What it says of itself.
        description: What it would say now.
        keys: Entries that must agree.

    Raises:
        DataError: Names the entry that does not.
    """
    check_same(out, before, description, keys)
    remove_half_written(out)


def check_same(out: Path, before: dict, description: dict, keys: Sequence[str]) -> None:
    """As `check_resumed`, without touching a file."""
    for key in keys:
        if before.get(key) != description.get(key):
            what = "content of the data folders" if key == "data_sha256" else key
            raise DataError(f"{out} was begun with another {what}; resume with the same settings or give another --out")


def check_same_set(out: Path, before: dict, description: dict) -> None:
    """Refuse to go on with images that were begun under another configuration, model, data or content of its files.

    Args:
        out: Folder of the set.
        before: What it says of these images.
        description: What it would say now.

    Raises:
        DataError: Names what differs.
    """
    check_same(out, before, description, ("config", "model", "categories", "data", "base_set", "data_sha256"))
    for entry, what in ((AREAS, "other content of --roi or --forbid"), (TAXONOMY, "another --taxonomy")):
        if before.get(entry) != description.get(entry):
            raise DataError(f"{out} was begun with {what}; put the same files back or give another --out")


def remove_half_written(out: Path) -> None:
    """Remove what killed processes half wrote below a folder in which no other process writes."""
    with os.scandir(out) as entries:  # unlike rglob, no list of a folder's files, of which there may be very many
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                remove_half_written(Path(entry.path))
            elif entry.name.startswith(".tmp-"):
                Path(entry.path).unlink(missing_ok=True)


def write_description(out: Path, description: dict) -> None:
    write_text_atomic(out / DATASET, json.dumps(description, indent=2) + "\n")
