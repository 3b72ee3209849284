"""`anomalyhybrid export`: a generated set in the layout that another tool reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from anomalyhybrid.cli.arguments import Flag, check_output
from anomalyhybrid.export.config import ExportConfig, Format

_DEFAULTS = ExportConfig(format="mvtec")


def export(
    dataset: Path,
    *,
    format: Format,
    out: Path,
    segmentation: Literal["rle", "polygon"] = _DEFAULTS.segmentation,
    val_share: float = _DEFAULTS.val_share,
    shard_size: int = _DEFAULTS.shard_size,
    take_rejected: Annotated[bool, Parameter(name="--all", negative=())] = _DEFAULTS.all,
    overwrite: Flag = False,
    config: Path | None = None,
) -> None:
    """Write a generated set in the layout that another tool reads; the set stays as it is.

    Args:
        dataset: Folder of the generated set.
        format: Layout: MVTec AD tree, VisA with its CSV, COCO instances, YOLO segmentation, anomalib's Folder and
            Tabular, Hugging Face imagefolder, or WebDataset shards.
        out: Folder of the export, with a folder for each category in it.
        segmentation: Of coco: run lengths, or polygons along the pixels' edges; both are exact.
        val_share: Of yolo: least share of the images for validation; images made from one target stay on one side.
        shard_size: Of webdataset: most images in a shard.
        take_rejected: Export rejected images too.
        overwrite: Replace an earlier export.
        config: YAML file with any of these settings; flags win over it.
    """
    out = check_output(out)
    settings = ExportConfig(
        format=format, segmentation=segmentation, val_share=val_share, shard_size=shard_size, all=take_rejected
    )
    from anomalyhybrid.cli.progress import Progress
    from anomalyhybrid.recipes.export import export as run_export

    with Progress("exporting", "images") as progress:
        done = run_export(
            dataset.expanduser(),
            out,
            config=settings,
            overwrite=overwrite,
            announce=progress.announce,
            report=progress.show,
        )
    rejected = f"; {done.left_out} rejected images were left out (--all takes them)" if done.left_out else ""
    print(f"exported {done.defects} defects and {done.good} good images to {out}{rejected}")
