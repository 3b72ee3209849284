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


def write_description(out: Path, description: dict) -> None:
    write_text_atomic(out / DATASET, json.dumps(description, indent=2) + "\n")
