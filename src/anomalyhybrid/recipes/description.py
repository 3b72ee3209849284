"""What `dataset.json` keeps: enough to make every image of a set again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import torch

from anomalyhybrid import __version__
from anomalyhybrid.data.files import write_text_atomic
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.hybrid_config import HybridConfig
from anomalyhybrid.generation.manifest import DATASET, FORMAT
from anomalyhybrid.models.weights import sha256_of
from anomalyhybrid.recipes.job import Model
from anomalyhybrid.recipes.sources import Sources, best_device


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


def check_beginning(out: Path, names: Sequence[str], *, resume: bool) -> None:
    """Refuse a folder that holds a set already, or, to resume, none.

    Args:
        out: Folder of the set.
        names: Its records, any of which says that a set was begun.
        resume: Whether a set is to be finished.

    Raises:
        DataError: Says which.
    """
    if not resume and any((out / name).exists() for name in names):
        raise DataError(f"{out} already holds a generated set; finish it with --resume or give another --out")
    if resume and not (out / DATASET).exists():
        raise DataError(f"{out} holds no set to resume; start without --resume")


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
    for key in keys:
        if before.get(key) != description[key]:
            what = "content of the data folders" if key == "data_sha256" else key
            raise DataError(f"{out} was begun with another {what}; resume with the same settings or give another --out")
    for path in out.rglob(".tmp-*"):
        path.unlink(missing_ok=True)


def write_description(out: Path, description: dict) -> None:
    write_text_atomic(out / DATASET, json.dumps(description, indent=2) + "\n")
