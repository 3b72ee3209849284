"""Formats that are trees of images and masks: MVTec AD, anomalib, VisA. Every file is copied byte by byte."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import yaml

from anomalyhybrid.data.files import write_text_atomic
from anomalyhybrid.data.records import GOOD
from anomalyhybrid.export.config import ExportConfig
from anomalyhybrid.export.items import Groups, Item, Tick, check_masks, copy_file, defect_names


def write_mvtec(root: Path, groups: Groups, config: ExportConfig, tick: Tick) -> None:
    """Write ``<category>/{train,test}/<defect>/<id>.png`` and ``<category>/ground_truth/<defect>/<id>_mask.png``.

    Raises:
        DataError: A defect without a label mask, or a file that cannot be copied.
    """
    check_masks(groups, "mvtec")
    for category, items in groups.items():
        _copy_tree(root / category, items, "_mask", tick)


def write_anomalib(root: Path, groups: Groups, config: ExportConfig, tick: Tick) -> None:
    """Write for each category a tree for anomalib's `Folder`, and ``samples.csv`` for its `Tabular`.

    The tree is MVTec AD's, but masks are named exactly as their images: `Folder` pairs the two by sorted order, which
    ``_mask`` could change. ``folder.yaml`` is for ``anomalib train --data``, ``datamodules.py`` for Python.

    Raises:
        DataError: A defect without a label mask, or a file that cannot be copied.
    """
    check_masks(groups, "anomalib")
    for category, items in groups.items():
        folder = root / category
        _copy_tree(folder, items, "", tick)
        rows = [
            (_place(item), int(not item.is_good), item.split, "" if item.is_good else _mask_place(item, ""))
            for item in items
        ]
        _write_csv(folder / "samples.csv", ("image_path", "label_index", "split", "mask_path"), rows)
        arguments = _folder_arguments(category, items)
        write_text_atomic(folder / "folder.yaml", _folder_yaml(arguments))
        write_text_atomic(folder / "datamodules.py", _datamodules(arguments))


def write_visa(root: Path, groups: Groups, config: ExportConfig, tick: Tick) -> None:
    """Write ``<category>/Data/{Images/{Normal,Anomaly},Masks/Anomaly}`` and ``split_csv/1cls.csv``.

    VisA's ``<category>/image_anno.csv`` keeps the defect types.

    Raises:
        DataError: A defect without a label mask, or a file that cannot be copied.
    """
    check_masks(groups, "visa")
    split_rows = []
    for category, items in groups.items():
        notes = []
        for item in items:
            image = f"{category}/Data/Images/{'Normal' if item.is_good else 'Anomaly'}/{item.image_name}"
            copy_file(item.image, root / image)
            mask = ""
            if item.label_mask is not None:
                mask = f"{category}/Data/Masks/Anomaly/{item.row.id}{item.label_mask.suffix}"
                copy_file(item.label_mask, root / mask)
            split_rows.append((category, item.split, "normal" if item.is_good else "anomaly", image, mask))
            notes.append((image, "normal" if item.is_good else item.row.defect, mask))
            tick()
        _write_csv(root / category / "image_anno.csv", ("image", "label", "mask"), notes)
    (root / "split_csv").mkdir(exist_ok=True)
    _write_csv(root / "split_csv" / "1cls.csv", ("object", "split", "label", "image", "mask"), split_rows)


def _copy_tree(folder: Path, items: Collection[Item], mask_ending: str, tick: Tick) -> None:
    for item in items:
        copy_file(item.image, folder / _place(item))
        if item.label_mask is not None:
            copy_file(item.label_mask, folder / _mask_place(item, mask_ending))
        tick()


def _place(item: Item) -> str:
    return f"{item.split}/{item.row.defect}/{item.image_name}"


def _mask_place(item: Item, ending: str) -> str:
    assert item.label_mask is not None
    return f"ground_truth/{item.row.defect}/{item.row.id}{ending}{item.label_mask.suffix}"


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_text_atomic(path, text.getvalue())


def _folder_arguments(category: str, items: Collection[Item]) -> dict[str, Any]:
    """Arguments of `Folder` but its root; ``normal_dir`` is left out where the set has no good images."""
    defects = defect_names(items)
    sides = {item.split for item in items if item.is_good}
    arguments: dict[str, Any] = {"name": category}
    if "train" in sides:
        arguments["normal_dir"] = f"train/{GOOD}"
    if "test" in sides:
        arguments["normal_test_dir"] = f"test/{GOOD}"
    if defects:
        arguments["abnormal_dir"] = [f"test/{defect}" for defect in defects]
        arguments["mask_dir"] = [f"ground_truth/{defect}" for defect in defects]
    return arguments


def _folder_yaml(arguments: dict[str, Any]) -> str:
    lines = ["# anomalib train --model Patchcore --data folder.yaml, started in this folder; elsewhere change root"]
    if "normal_dir" not in arguments:
        lines.append("# add normal_dir, the folder of your good images: the generated set holds none")
    content = {"class_path": "anomalib.data.Folder", "init_args": {"root": ".", **arguments}}
    return "\n".join([*lines, yaml.safe_dump(content, sort_keys=False, allow_unicode=True)])


def _datamodules(arguments: dict[str, Any]) -> str:
    own = "".join(f"        {name}={value!r},\n" for name, value in arguments.items())
    needed = "" if "normal_dir" in arguments else "normal_dir, "
    given = "" if "normal_dir" in arguments else "        normal_dir=normal_dir,\n"
    return f'''"""This folder as anomalib data modules: folder() pairs files by name, tabular() reads samples.csv."""

import csv
from pathlib import Path

from anomalib.data import Folder, Tabular

ROOT = Path(__file__).resolve().parent


def folder({needed}**more):
    return Folder(
        root=ROOT,
{own}{given}        **more,
    )


def tabular(**more):
    with open(ROOT / "samples.csv", newline="", encoding="utf-8") as stream:
        samples = list(csv.DictReader(stream))
    for sample in samples:  # absolute paths here: anomalib 2.7 with pandas 3 cannot join them to a root itself
        sample["label_index"] = int(sample["label_index"])
        for column in ("image_path", "mask_path"):
            sample[column] = str(ROOT / sample[column]) if sample[column] else ""
    return Tabular(name={arguments["name"]!r}, samples=samples, **more)
'''
