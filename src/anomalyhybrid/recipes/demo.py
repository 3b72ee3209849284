"""`anomalyhybrid demo`: defects on two rendered products that the shipped generator never saw."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from anomalyhybrid.data.files import existing_folder, make_folder, resolve_inside, write_text_atomic
from anomalyhybrid.data.loading import load_image, load_mask
from anomalyhybrid.data.new_folder import new_folder
from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import read_rows
from anomalyhybrid.generation.sheet import write_sheet
from anomalyhybrid.recipes.generation import generate

Announce = Callable[[str], None]

PRODUCTS = ("nut", "capsule")
"""Rendered products that are left out when the shipped weights are trained."""
GOOD_IMAGES = 12  # rendered for each product
DEFECTS, NORMALS = 24, 8  # generated for each product
MARKER = "demo.json"  # tells a demo's output from a folder of something else


def demo(out: Path, *, announce: Announce, report: Callable[[int, int], None] | None = None) -> list[str]:
    """Render good images, generate defects and good images from them, write the page.

    All is made in a hidden folder beside the output and takes its place at the end, so that the output is
    the earlier demo or the whole new one.

    Args:
        out: The output; absent, empty, or an earlier demo's, which is replaced.
        announce: Told in words what happens.
        report: Given images done and in all.

    Returns:
        The summary, line by line; its figures are counted from the written files.

    Raises:
        DataError: The output holds something else, or cannot be written.
        WeightsError: The package lacks its weights.
    """
    started = time.monotonic()
    out = out.expanduser().resolve()
    _check_replaceable(out)
    with new_folder(out) as making:
        source = make_folder(making / "source")
        announce(f"rendering {GOOD_IMAGES} good images each of {' and '.join(PRODUCTS)}")
        for number, product in enumerate(PRODUCTS):
            write_dataset(source, product=product, product_seed=7 + number, seed=11, train_good=GOOD_IMAGES)
        with tempfile.TemporaryDirectory() as cache:
            generate(
                "shipped",
                [source],
                making,
                config=GenerateConfig(count=DEFECTS, normals=NORMALS),
                cache=Path(cache),
                announce=lambda text: announce(text.replace(str(making), str(out))),
                report=report,
            )
        announce("writing the page")
        write_sheet(making, making / "sheet.html")
        lines = _summary(making, time.monotonic() - started)
        write_text_atomic(making / MARKER, json.dumps({"made_by": "anomalyhybrid demo", "summary": lines}, indent=2))
    return [*lines, f"look at {out / 'sheet.html'}"]


def _check_replaceable(out: Path) -> None:
    if not out.exists():
        return
    if any(existing_folder(out).iterdir()) and not (out / MARKER).is_file():
        raise DataError(f"{out} holds files that no demo made; name another folder with --out, or empty it")


def _summary(dataset: Path, seconds: float) -> list[str]:
    """What the written files hold: counts by kind and operation, and the mask contract measured on them."""
    rows = read_rows(dataset)
    defects = [row for row in rows if row.label_mask is not None]
    changes: list[float] = []
    outside = broken = 0
    for row in defects:
        image = load_image(resolve_inside(dataset, row.image)).pixels
        target = load_image(resolve_inside(dataset / "source", row.target)).pixels
        mask = load_mask(resolve_inside(dataset, str(row.label_mask)), shape=image.shape[:2])
        difference = np.abs(image.astype(int) - target.astype(int)).reshape(*mask.shape, -1)
        changed = int((difference.max(axis=2) > 0)[~mask].sum())
        outside, broken = outside + changed, broken + (changed > 0)
        changes.append(float(difference[mask].mean()))
    visible = sum(change > 6 for change in changes)

    def counted(values: list[str]) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(Counter(values).items()))

    normals = len(rows) - len(defects)
    return [
        f"{len(defects)} defects with masks and {normals} generated good images in {seconds:.0f} s",
        f"kinds: {counted([row.defect for row in defects])}",
        f"operations: {counted([row.operation for row in defects])}",
        f"decoders: {counted([row.decoder for row in defects])}",
        f"pixels changed outside the masks: {outside} (in {broken} of {len(defects)} images)",
        f"mean change inside the mask above 6 of 255: {visible} of {len(defects)} images",
    ]
