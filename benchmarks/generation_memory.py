"""Peak memory of making, finishing, putting together and exporting sets of growing size, each in a fresh process.

    python benchmarks/generation_memory.py [--small] [--ways WAY...] [--out docs/results/generation_memory.json]

Results of ways that are not asked for stay in --out.

Two ways of drawing, named in the results:

- ``tiny_network``: everything as `generate` does it, with a generator of random weights (width 8) on images of 64
  pixels, so that 10,000 images take minutes.
- ``drawing_stand_in``: nothing is drawn. `Job.draw` is replaced by a function that writes a fixed PNG for every image
  and mask and gives a row; work list, manifest, shards, resume, putting together, summary and export are the real ones.
  This way 100,000 images can be made at all.

What is measured, as the peak of the process's resident memory: ``fresh`` a set in one process, ``resume`` finishing it
after its last row, an image and its order of rows were lost, ``shards`` the second of two shards and putting the set
together, ``append`` adding one chunk to it, ``export`` to WebDataset. `growth` is the peak beside that of 1,000 images.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import write_result

from anomalyhybrid.data.loading import save_png
from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import MANIFEST, Row, read_dataset
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import Generator, load_generator, save_generator
from anomalyhybrid.models.weights import shipped
from anomalyhybrid.recipes.generation import generate
from anomalyhybrid.recipes.job import Job

SIZE, BATCH = 64, 16
COUNTS = {"tiny_network": (1_000, 10_000), "drawing_stand_in": (1_000, 10_000, 100_000)}
STEPS = {"tiny_network": ("fresh", "resume"), "drawing_stand_in": ("fresh", "resume", "append", "export", "shards")}


@lru_cache
def picture(is_mask: bool) -> bytes:
    """A fixed PNG of 64x64."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        rng = np.random.default_rng(0)
        save_png(path, rng.random((SIZE, SIZE)) > 0.5 if is_mask else rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8))
        return path.read_bytes()


def stand_in(job: Job, category: str, is_defect: bool, indices: Any, only: str | None = None) -> Callable[[], list]:
    """In place of `Job.draw`: fixed files and a row for each image."""

    def row(image_id: str, number: int) -> Row:
        image = f"{'test/bump' if is_defect else 'train/good'}/{image_id}.png"
        label = f"ground_truth/bump/{image_id}_mask.png" if is_defect else None
        for path in (image, label):
            if path is not None:
                (job.folder / path).parent.mkdir(parents=True, exist_ok=True)
                (job.folder / path).write_bytes(picture(path != image))
        return Row(
            id=image_id, image=image, label_mask=label, category=category, defect="bump" if is_defect else "good",
            target="train/good/000.png", reference="train/good/000.png", decoder="ahd" if number % 2 else "ahe",
            operation="merge", appearance="blend", composition="region", seed=number, model_sha256=job.model.sha256,
            changed_outside=0, mask_area=2000 + number % 100, change_inside=20.0 + number % 7,
            structure="procedural:bump", fusion_mask=0.05, attempt=0, accepted=True,
        )  # fmt: skip

    return lambda: [row(i, n) for i, n in zip(job.ids(category, is_defect, indices), indices, strict=True)]


def damage(out: Path) -> None:
    """As after a kill: no summary, the last row gone, an image gone, rows out of order."""
    lines = (out / MANIFEST).read_text().splitlines(keepends=True)
    (out / MANIFEST).write_text("".join([*lines[BATCH:-1], *lines[:BATCH]]))
    (out / json.loads(lines[len(lines) // 2])["image"]).unlink()
    about = read_dataset(out)
    del about["summary"]
    (out / "dataset.json").write_text(json.dumps(about))


def settings(count: int) -> GenerateConfig:
    defects = count - count // 5
    return GenerateConfig(count=defects, normals=count - defects, batch_size=BATCH, max_attempts=2, backend="torch")


def step(name: str, way: str, count: int, root: Path) -> None:
    """One measured step, in this process."""
    if way == "drawing_stand_in":
        Job.draw = stand_in  # type: ignore[method-assign]
    config, out = settings(count), root / f"{way}-{count}"
    given: dict[str, Any] = {"config": config, "cache": root / "cache", "announce": lambda text: None}
    run, data = str(root / "generator.safetensors"), [root / "data"]
    if name in ("fresh", "resume"):
        generate(run, data, out, resume=name == "resume", **given)
    elif name == "append":
        small = replace(config, count=BATCH, normals=0)
        generate(run, data, out, append=True, **(given | {"config": small}))
    elif name == "export":
        from anomalyhybrid.export.config import ExportConfig
        from anomalyhybrid.recipes.export import export

        export(out, root / "exported", config=ExportConfig(format="webdataset"), announce=lambda text: None)
    else:
        from anomalyhybrid.generation.shards import Shard

        number = int(name[-1])
        generate(run, data, root / f"{way}-{count}-shards", shard=Shard(number=number, of=2), **given)


def peak_mib() -> float:
    """Peak resident memory of this process; unlike `ru_maxrss` without that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def measured(name: str, way: str, count: int, root: Path) -> tuple[float, float]:
    """Run a step in a fresh process; its peak resident memory in MiB and its seconds."""
    started = time.monotonic()
    words = [sys.executable, __file__, "--step", name, "--way", way, "--count", str(count), "--root", str(root)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1]), round(time.monotonic() - started, 1)


def prepare(root: Path) -> None:
    """Rendered data, and a generator of random weights."""
    write_dataset(root / "data", product="nut", product_seed=2, seed=5, train_good=6, defects_per_kind=1, size=SIZE)
    torch.manual_seed(0)
    metadata = load_generator(shipped("generator.safetensors"))[1] | {"size": str(SIZE)}
    tiny = Generator(GeneratorConfig(width=8, max_width=16, blocks=1))
    about = {name: value for name, value in metadata.items() if name != "generator"}
    save_generator(root / "generator.safetensors", tiny, about)


def measure(way: str, count: int, root: Path) -> dict[str, dict[str, float]]:
    out: dict[str, dict[str, float]] = {}
    for name in STEPS[way]:
        if name == "resume":
            damage(root / f"{way}-{count}")
        if name == "shards":
            measured("shard-1", way, count, root)
        peak, seconds = measured("shard-2" if name == "shards" else name, way, count, root)
        out[name] = {"peak_mib": round(peak, 1), "seconds": seconds}
        print(f"{way} {count} {name}: {peak:.0f} MiB, {seconds} s", flush=True)
        if name == "export":
            subprocess.run(["rm", "-r", str(root / "exported")], check=True)
    subprocess.run(["rm", "-r", *map(str, root.glob(f"{way}-{count}*"))], check=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--small", action="store_true", help="a tenth of the images")
    parser.add_argument("--ways", nargs="+", choices=tuple(COUNTS), default=tuple(COUNTS))
    for name in ("step", "way", "count", "root"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        step(given.step, given.way, int(given.count), Path(given.root))
        print(peak_mib())
        return
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        for way in given.ways:
            counts = [count // 10 if given.small else count for count in COUNTS[way]]
            results[way] = {str(count): measure(way, count, Path(folder)) for count in counts}
            least = results[way][str(counts[0])]
            for count in counts:
                for name, figures in results[way][str(count)].items():
                    figures["growth_mib"] = round(figures["peak_mib"] - least[name]["peak_mib"], 1)
    result = {
        "benchmark": "generation_memory",
        "image_side": SIZE,
        "batch": BATCH,
        "torch": torch.__version__,
        "ways": {
            "tiny_network": "generate with a generator of random weights, width 8",
            "drawing_stand_in": "nothing is drawn: fixed files and rows in place of Job.draw; all else is real",
        },
        "results": results,
    }
    print(json.dumps(result, indent=2))
    if given.out:
        earlier = json.loads(given.out.read_text())["results"] if given.out.is_file() else {}
        write_result(given.out, result | {"results": earlier | results})


if __name__ == "__main__":
    main()
