"""Images, masks and manifest on disk: the rate of `generate`, beside that of the forward pass and of PNG encoding.

    PYTHONPATH=src python benchmarks/end_to_end.py --data DIR --out FILE [--presets base] [--processes 1 8]
        [--backends auto torch]

Each is measured in one run on the same host. `generate` writes defect images at the sizes of the good images, from a
generator of the preset with random weights (named so in the result; what they look like is no matter here, but what
the acceptance rule makes of them is: `attempts` is the mean number of candidates an image, to be read beside the rate;
some of them never reach the network).
`img_per_s` is that of the middle half of the images: at its begin as at its end all processes work, and as much is
drawn and not yet written. `start_s` is the time until every process has written its first images, `end_s` that from the
last image to the end, `whole_img_per_s` the rate over all of it.
`forward` is one decoder group a sample at the same batch; `encoding` compresses the images just written anew, in as
many threads as `generate` uses. `of_slower` is the rate of `generate` over the smaller of these two. `nvidia_mps`
says whether processes share the GPU by NVIDIA's Multi-Process Service: they work at the same time then, not in turn.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from results import write_result

from anomalyhybrid.backends.choice import Backend, choose_backend
from anomalyhybrid.backends.networks import on_backend
from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.imageset import load_image_set
from anomalyhybrid.data.headers import at_a_time
from anomalyhybrid.data.loading import load_image
from anomalyhybrid.data.reading import read_many
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import read_rows
from anomalyhybrid.generation.pipeline import redraw
from anomalyhybrid.models.config import generator_preset
from anomalyhybrid.models.generator import Generator, load_generator, save_generator
from anomalyhybrid.models.weights import shipped
from anomalyhybrid.recipes.generation import generate
from anomalyhybrid.recipes.local_processes import generate_in_processes, shares_by_nvidia_mps
from anomalyhybrid.recipes.sources import best_device, make_extractors
from anomalyhybrid.recipes.training import SHIPPED_GENERATOR
from anomalyhybrid.types import Conditions


def random_generator(preset: str, folder: Path) -> Path:
    """A file with random weights of a preset, otherwise like the shipped generator's."""
    _, metadata = load_generator(shipped(SHIPPED_GENERATOR))
    path = folder / f"{preset}.safetensors"
    torch.manual_seed(0)
    save_generator(path, Generator(generator_preset(preset)), {**metadata, "weights": "random"})
    return path


def forward_rate(path: Path, given: argparse.Namespace, size: int, backend: Backend) -> float:
    """Images a second of one decoder group each, alternately."""
    batch = given.batch
    model = on_backend(load_generator(path)[0].to(best_device()), backend)
    noise = torch.rand(batch, 5, size, size, device=best_device()) * 2 - 1
    conditions = Conditions(color=noise[:, :3], depth=noise[:, 3:4], edge=noise[:, 4:])
    decoder_B = torch.arange(batch, device=best_device()) % 2
    seconds = []
    with torch.inference_mode():
        for _ in range(12):
            begun = time.perf_counter()
            redraw(model, conditions, ("ahd", "ahe"), decoder_B).fused.sum().item()
            seconds.append(time.perf_counter() - begun)
    return batch / sorted(seconds)[len(seconds) // 2]


def encoding_rate(paths: list[Path]) -> float:
    """PNG files a second, images and masks alike, compressed in memory."""
    images = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths]
    with ThreadPoolExecutor(at_a_time(paths)) as threads:
        begun = time.perf_counter()
        list(threads.map(lambda image: cv2.imencode(".png", image), images))
        return len(paths) / (time.perf_counter() - begun)


def warm_maps(data: list[Path], cache: Path, size: int) -> None:
    """Extract the maps beforehand: they are made once for a folder, not once for a set."""
    edge, depth = make_extractors("lite", "lite", "", "", best_device())
    folder = read_many(data)
    load_image_set(folder.normals(), folder.categories, size=size, edge=edge, depth=depth, cache=ConditionCache(cache))


def middle_rate(seen: list[tuple[float, int]], count: int) -> float:
    """Images a second between a quarter and three quarters of a set.

    Args:
        seen: Seconds and images done, in order.
        count: Images of the set.
    """
    first, last = (next(one for one in seen if one[1] >= share * count) for share in (0.25, 0.75))
    return (last[1] - first[1]) / (last[0] - first[0])


def rates_of_set(
    path: Path, given: argparse.Namespace, out: Path, cache: Path, processes: int, backend: Backend
) -> dict[str, float]:
    """Write a set and time it."""
    seen: list[tuple[float, int]] = []
    settings = {
        "config": GenerateConfig(count=given.count, batch_size=given.batch, backend=backend.name),
        "cache": cache,
        "announce": lambda _: None,
        "report": lambda done, total: seen.append((time.perf_counter(), done)),
    }
    begun = time.perf_counter()
    if processes == 1:
        generate(str(path), given.data, out, **settings)
    else:
        generate_in_processes(processes, str(path), given.data, out, **settings)
    ended = time.perf_counter()
    (first, _), (last, count) = seen[0], seen[-1]
    return {
        "img_per_s": round(middle_rate(seen, count), 1),
        "whole_img_per_s": round(count / (ended - begun), 1),
        "start_s": round(first - begun, 1),
        "end_s": round(ended - last, 1),
    }


def rows_of(preset: str, given: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """One row for each backend and number of processes."""
    path = shipped(SHIPPED_GENERATOR) if preset == "shipped" else random_generator(preset, folder)
    size = int(load_generator(path)[1]["size"])
    warm_maps(given.data, folder / "cache", size)
    for name in given.backends:
        backend = choose_backend(name, best_device().type)
        forward = forward_rate(path, given, size, backend)
        for processes in given.processes:
            out = folder / f"set_{name}_{processes}"
            rates = rates_of_set(path, given, out, folder / "cache", processes, backend)
            written = read_rows(out)
            images = [out / row.image for row in written]
            masks = [out / row.label_mask for row in written if row.label_mask]
            encoding = encoding_rate(images[:512] + masks[:512]) / 2
            yield {
                "generator": preset if preset == "shipped" else f"{preset}, random weights",
                "processes": processes,
                "backend": backend.name,
                "nvidia_mps": shares_by_nvidia_mps(),
                "batch": given.batch,
                "images": len(images),
                "native_size": list(load_image(images[0]).pixels.shape),
                **rates,
                "forward_img_per_s": round(forward, 1),
                "encoding_img_per_s": round(encoding, 1),
                "of_slower": round(rates["img_per_s"] / min(forward, encoding), 3),
                "attempts": round(1 + float(np.mean([row.attempt for row in written])), 2),
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--presets", nargs="+", default=["base"], help="presets, or 'shipped' for the shipped weights")
    parser.add_argument("--processes", type=int, nargs="+", default=[1])
    parser.add_argument("--count", type=int, default=2000, help="images of each category")
    parser.add_argument("--backends", nargs="+", default=["auto"], help="of `generate`")
    parser.add_argument("--batch", type=int, default=64)
    given = parser.parse_args()
    if any(given.count < 4 * given.batch * processes for processes in given.processes):
        parser.error("give a --count of at least four batches for each process: the middle half is what counts")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    result: dict = {"device": device, "cores": os.cpu_count(), "torch": torch.__version__, "rows": []}
    for preset in given.presets:
        with tempfile.TemporaryDirectory() as scratch:
            for row in rows_of(preset, given, Path(scratch)):
                result["rows"].append(row)
                print(row, flush=True)
                write_result(given.out, result)


if __name__ == "__main__":
    main()
