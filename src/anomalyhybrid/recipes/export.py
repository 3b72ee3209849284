"""`anomalyhybrid export`: a generated set in the layout that another tool reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from anomalyhybrid import __version__
from anomalyhybrid.data.files import existing_folder, write_text_atomic
from anomalyhybrid.data.new_folder import new_folder
from anomalyhybrid.export.annotations import write_coco, write_yolo
from anomalyhybrid.export.config import ExportConfig, Format
from anomalyhybrid.export.folder import RECORD, check_target
from anomalyhybrid.export.items import Groups, Tick, read_items
from anomalyhybrid.export.records import write_imagefolder, write_webdataset
from anomalyhybrid.export.trees import write_anomalib, write_mvtec, write_visa
from anomalyhybrid.generation.manifest import MANIFEST, SUMMARY, read_dataset
from anomalyhybrid.models.weights import sha256_of

_WRITERS: dict[Format, Callable[[Path, Groups, ExportConfig, Tick], None]] = {
    "mvtec": write_mvtec,
    "visa": write_visa,
    "coco": write_coco,
    "yolo": write_yolo,
    "anomalib": write_anomalib,
    "imagefolder": write_imagefolder,
    "webdataset": write_webdataset,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was exported.

    Attributes:
        defects: Defective images.
        good: Good images.
        left_out: Rejected images that were left out.
        categories: Names, each a folder of the export.
    """

    defects: int
    good: int
    left_out: int
    categories: tuple[str, ...]


def export(
    dataset: Path,
    out: Path,
    *,
    config: ExportConfig,
    overwrite: bool = False,
    announce: Callable[[str], None],
    report: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write a generated set in another layout; the same set gives the same bytes.

    Files are copied, so that the export lives without the set. `out` appears when all is written.

    Args:
        dataset: Folder of the set.
        out: Folder of the export; a folder for each category in it.
        config: Format and its settings.
        overwrite: Replace an earlier export in `out`.
        announce: Told in words what a reader of the export would not expect.
        report: Given images done and in all.

    Raises:
        DataError: No set, missing files, paths that lead outside it, a folder that holds files, disk full.
    """
    dataset = existing_folder(dataset)
    description = read_dataset(dataset)
    check_target(dataset, out, overwrite=overwrite)
    groups, left_out = read_items(dataset, include_rejected=config.all)
    _warn(groups, description, announce)
    total, done = sum(len(items) for items in groups.values()), 0

    def tick() -> None:
        nonlocal done
        done += 1
        if report is not None:
            report(done, total)

    good = sum(items.good for items in groups.values())
    exported = Exported(defects=total - good, good=good, left_out=left_out, categories=tuple(groups))
    with new_folder(out) as making:
        _WRITERS[config.format](making, groups, config, tick)
        write_text_atomic(making / RECORD, _record(dataset, config, exported))
    return exported


def _warn(groups: Groups, description: dict, announce: Callable[[str], None]) -> None:
    if SUMMARY not in description:
        announce("warning: the set is not finished; generate --resume makes the rest of it")
    if description.get("level") == "depth":
        announce("warning: the set's depth files are not exported, only images and label masks")
    without = [category for category, items in groups.items() if not items.good]
    if without:
        announce(
            f"warning: no good images of {', '.join(without)} in the set; tools that train on it need some "
            "(generate --normals)"
        )


def _record(dataset: Path, config: ExportConfig, exported: Exported) -> str:
    """What `export.json` says."""
    content = {
        "made_by": f"anomalyhybrid {__version__} export",
        "config": asdict(config),
        "manifest_sha256": sha256_of(dataset / MANIFEST),
        "exported": asdict(exported),
    }
    return json.dumps(content, indent=2) + "\n"
