"""Bytes of a generated set by kind of file, and how long its PNG files take to encode, for docs/hundred_million.md.

    python benchmarks/set_size.py SET... [--out docs/results/set_size.json]

Files of one set are measured by their length and by the disk blocks that they take; encoding is timed on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

from results import write_result

from anomalyhybrid.data.loading import load_image, save_png
from anomalyhybrid.generation.manifest import MANIFEST, read_rows

TIMED = 16  # images


def sizes(dataset: Path) -> dict[str, Any]:
    rows = read_rows(dataset)
    lengths, blocks = defaultdict(list), defaultdict(list)
    for row in rows:
        kind = "good_image" if row.label_mask is None else "defect_image"
        for name, path in ((kind, row.image), ("mask", row.label_mask)):
            if path is not None:
                found = os.stat(dataset / path)
                lengths[name].append(found.st_size)
                blocks[name].append(found.st_blocks * 512)
    pixels = [load_image(dataset / row.image).pixels for row in rows[:TIMED]]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        for number, image in enumerate(pixels):
            save_png(Path(folder) / f"{number}.png", image)
        seconds = time.perf_counter() - started
    return {
        "images": len(rows),
        "shape": list(pixels[0].shape),
        "manifest_row_bytes": round((dataset / MANIFEST).stat().st_size / len(rows)),
        "mean_bytes": {name: round(mean(values)) for name, values in lengths.items()},
        "mean_disk_bytes": {name: round(mean(values)) for name, values in blocks.items()},
        "save_png_ms": round(1e3 * seconds / len(pixels), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    result = {"benchmark": "set_size", "sets": {path.name: sizes(path) for path in given.sets}}
    print(json.dumps(result, indent=2))
    if given.out:
        write_result(given.out, result)


if __name__ == "__main__":
    main()
