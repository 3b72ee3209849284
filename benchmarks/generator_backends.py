"""Images a second of the shipped generator on a CPU, end to end to disk, by PyTorch, OpenVINO and ONNX Runtime.

    python benchmarks/generator_backends.py [--threads 2] [--rounds 5] [--out docs/results/generator_backends.json]

Rendered parts at 256 pixels, `generate`'s own code: candidates, attempts, composition, PNG files, manifest. The
runtimes take turns, one chunk of 16 images each a round, so that a busy machine slows all of them alike; ratios are
medians over rounds. Loading the graphs is timed apart (`start_s`). The floor is the arithmetic of one pass over each
image at the best rate of a large matrix product in the same run; attempts and everything else come on top.
OpenVINO runs in float32 and, where the CPU has instructions for it, in bfloat16, whose floor is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from results import write_result
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from anomalyhybrid.backends.choice import BackendName, choose_backend, missing_packages, unfit
from anomalyhybrid.backends.graphs import DecoderGraph
from anomalyhybrid.backends.rewrites import for_inference
from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.writer import append_rows
from anomalyhybrid.models.generator import Generator
from anomalyhybrid.recipes.job import Job, load_model, prepare_job
from anomalyhybrid.recipes.sources import read_sources

BATCH = 16
CPU_FEATURES = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
TARGETS = {"img_per_s": 12.0, "times_eager": 2.0}


class Watch:
    """Adds up the time in a generator's networks, and the images that pass through its decoders."""

    def __init__(self, generator: Generator) -> None:
        self.seconds, self.images, self._started = 0.0, 0, 0.0
        for part in (generator.encoder, *generator.decoders.values()):
            part.register_forward_pre_hook(self._start)
            part.register_forward_hook(self._stop)

    def _start(self, module: nn.Module, given: Any) -> None:
        self._started = time.perf_counter()

    def _stop(self, module: nn.Module, given: Any, output: Any) -> None:
        self.seconds += time.perf_counter() - self._started
        if hasattr(output, "fused"):
            self.images += len(output.fused)


def matrix_product(dtype: torch.dtype = torch.float32) -> float:
    """Rate of a large matrix product, GFLOP/s."""
    one = torch.rand(2048, 2048).to(dtype)
    started = time.perf_counter()
    one @ one
    return 2 * 2048**3 / (time.perf_counter() - started) / 1e9


def giga_operations(generator: Generator, size: int) -> dict[str, float]:
    """GFLOP of the encoder and one decoder group for one image, as trained and rewritten."""
    counted = {}
    graph = DecoderGraph(generator, "ahd")
    for name, net in (("as_trained", graph), ("rewritten", for_inference(graph))):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(torch.zeros(1, 5, size, size))
        counted[name] = round(counter.get_total_flops() / 1e9, 2)
    return counted


def chunk(job: Job, watch: Watch, number: int) -> dict[str, float]:
    """Make one chunk as `generate` does; seconds in the networks, in the rest of drawing, and in finishing."""
    before, images = watch.seconds, watch.images
    started = time.perf_counter()
    finish = job.draw(job.sources.categories[0], True, list(range(number * BATCH, (number + 1) * BATCH)))
    drawn = time.perf_counter()
    append_rows(job.folder, finish())
    done = time.perf_counter()
    forward = watch.seconds - before
    return {
        "total": done - started,
        "forward": forward,
        "rest_of_draw": drawn - started - forward,
        "finish": done - drawn,
        "passes": watch.images - images,
    }


def jobs_of(names: list[str], source: Path, folder: Path, rounds: int) -> dict[str, tuple[Job, Watch, float]]:
    """A job for each runtime, warm, and the seconds that its first pass took."""
    model = load_model("shipped")
    sources = read_sources([source], [], base_part="all", seed=0, skip_unreadable=False, announce=lambda text: None)
    jobs = {}
    for name in names:
        config = GenerateConfig(count=BATCH * (rounds + 1), batch_size=BATCH, backend=name)  # type: ignore[arg-type]
        (folder / name).mkdir()
        own = replace(model, generator=load_model("shipped").generator)  # hooks are one job's
        started = time.perf_counter()
        job = prepare_job(own, sources, config, folder / name, folder / f"maps-{name}")
        watch = Watch(job.model.generator)
        for decoder in job.model.generator.decoders:
            with torch.inference_mode():
                stacked = torch.zeros(1, 5, 256, 256)
                job.model.generator.decoders[decoder](job.model.generator.encoder(stacked), stacked[:, :3])
        jobs[name] = job, watch, time.perf_counter() - started
        chunk(job, watch, 0)
    return jobs


def summary(rows: list[dict[str, float]], eager: list[dict[str, float]], start: float) -> dict[str, Any]:
    """Medians over rounds."""
    middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    return {
        "img_per_s": round(BATCH / middle["total"], 2),
        "best_img_per_s": round(BATCH / min(row["total"] for row in rows), 2),
        "times_eager": round(statistics.median(e["total"] / r["total"] for e, r in zip(eager, rows, strict=True)), 2),
        "forward_times_eager": round(
            statistics.median(e["forward"] / r["forward"] for e, r in zip(eager, rows, strict=True)), 2
        ),
        "forward_img_per_s": round(middle["passes"] / middle["forward"], 2),
        "passes_per_image": round(middle["passes"] / BATCH, 2),
        "ms_per_image": {
            key: round(middle[key] / BATCH * 1e3, 1) for key in ("total", "forward", "rest_of_draw", "finish")
        },
        "start_s": round(start, 1),
    }


def cpu_features() -> list[str]:
    """Those of `CPU_FEATURES` that this CPU has; empty where the system does not say."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return []
    return [name for name in CPU_FEATURES if name in flags]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    others: tuple[BackendName, ...] = ("openvino-bf16", "openvino", "onnx")
    names = ["torch", *(name for name in others if not missing_packages(name) and not unfit(name))]
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    ceiling, bf16_ceiling = 0.0, 0.0
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = write_dataset(folder / "source", product="nut", product_seed=7, seed=11, train_good=12)
        jobs = jobs_of(names, source, folder, given.rounds)
        for number in range(1, given.rounds + 1):
            ceiling = max(ceiling, matrix_product(), matrix_product())
            bf16_ceiling = max(bf16_ceiling, matrix_product(torch.bfloat16), matrix_product(torch.bfloat16))
            for name, (job, watch, _) in jobs.items():
                rounds[name].append(chunk(job, watch, number))
                print(name, {key: round(value, 2) for key, value in rounds[name][-1].items()}, flush=True)
    operations = giga_operations(load_model("shipped").generator, 256)
    floor, bf16_floor = (
        {name: round(c / count, 2) for name, count in operations.items()} for c in (ceiling, bf16_ceiling)
    )
    result = {
        "benchmark": "generator_backends",
        "threads": given.threads,
        "cores": os.cpu_count(),
        "load_before": round(load, 2),
        "cpu_features": cpu_features(),
        "versions": {name: choose_backend(name, "cpu").version for name in names},  # type: ignore[arg-type]
        "batch": BATCH,
        "rounds": given.rounds,
        "gflop_per_image": operations,
        "matrix_product_gflop_per_s": round(ceiling, 1),
        "floor_img_per_s": floor,
        "bf16_matrix_product_gflop_per_s": round(bf16_ceiling, 1),
        "bf16_floor_img_per_s": bf16_floor,
        "targets": TARGETS,
        "results": {name: summary(rounds[name], rounds["torch"], jobs[name][2]) for name in names},
    }
    for name, row in result["results"].items():
        whole = (bf16_floor if name.endswith("bf16") else floor)["rewritten" if name != "torch" else "as_trained"]
        row["share_of_floor"] = round(row["img_per_s"] / whole, 2)
    print(json.dumps(result, indent=2))
    if given.out:
        write_result(given.out, result)


if __name__ == "__main__":
    main()
