"""How fast a downstream network trains: batch size, eager / compiled / CUDA graph, memory layout, processes at once.

    PYTHONPATH=src python benchmarks/segmenter_speed.py --out speed.json [--net resnet] [--processes 1 2 4] [--full]

Random images on the device, bf16, the protocol's Adam; images a second over timed steps after warm-up (compiling is
timed apart). `--processes` trains that many networks at once on the one GPU and adds their speeds up. `--full` runs
`train_segmenter` over the whole budget with each of the ways. A way that fails is reported and left out. A smoke
test on a CPU: `--device cpu --size 32 --width 4 --batches 8 --steps 2 --ways eager --layouts
contiguous` (channels last with few channels crashes oneDNN).
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.evaluation.fitting import FitConfig, TrainingStep, autocast
from anomalyhybrid.evaluation.focal import focal_loss
from anomalyhybrid.evaluation.samples import GOOD_KIND, Samples
from anomalyhybrid.evaluation.segmenter import SegmenterConfig, evaluate_segmenter, train_segmenter
from anomalyhybrid.models.draem_unet import DraemUNet, DraemUNetConfig
from anomalyhybrid.models.resnet import ResNet34

WAYS = {"eager": (False, False), "compiled": (True, False), "graph": (False, True), "compiled+graph": (True, True)}
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def random_samples(size: int, count: int, device: str) -> Samples:
    """Half good noise, half noise with one bright square."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 160, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    masks, kind = torch.zeros(count, 1, size, size, dtype=torch.uint8), torch.full((count,), GOOD_KIND)
    for index in range(count // 2):
        top, left = torch.randint(0, size - size // 4, (2,), generator=generator).tolist()
        place = (slice(top, top + size // 4), slice(left, left + size // 4))
        masks[(index, 0, *place)] = 255
        images[(index, slice(None), *place)] += 80
        kind[index] = index % 3
    return Samples(images, masks, kind, ("one", "two", "three")).to(device)


def loss_function(net: str, data: Samples, device: torch.device, layout: torch.memory_format):
    """The loss of a batch, as the package computes it, in either memory layout."""

    def loss_of(network: nn.Module, chosen_B: Tensor) -> Tensor:
        image = data.image_u8[chosen_B].to(torch.float32, memory_format=layout) / 255.0
        with autocast(device, "bf16" if device.type == "cuda" else "fp32"):
            logits = network(image)
        if net == "unet":
            return focal_loss(logits, data.mask_u8[chosen_B].squeeze(1) > 127)
        return F.cross_entropy(logits.float(), data.kind[chosen_B].clamp_min(0))

    return loss_of


def speed(given: argparse.Namespace, batch: int, way: str, layout: str, barrier=None) -> dict[str, float]:
    """Images a second of one setting, the seconds before it was warm, and the memory it took."""
    torch._dynamo.reset()
    device = torch.device(given.device)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    data = random_samples(given.size, 64, given.device)
    net = DraemUNet(DraemUNetConfig(width=given.width)) if given.net == "unet" else ResNet34(3, width=given.width)
    net = net.to(device, memory_format=LAYOUTS[layout])
    compiled, graphed = WAYS[way]
    config = FitConfig(batch_size=batch, compile=compiled, graph=graphed)
    step = TrainingStep(net, loss_function(given.net, data, device, LAYOUTS[layout]), config, device)
    chosen = torch.randint(0, len(data), (given.steps + 6, batch)).to(device)
    started = time.perf_counter()
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        for row in chosen[:6]:
            step(row)
        wait()
        warm = time.perf_counter() - started
        if barrier is not None:
            barrier.wait()
        started = time.perf_counter()
        for row in chosen[6:]:
            step(row)
        wait()
        seconds = time.perf_counter() - started
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    return {"img_per_s": given.steps * batch / seconds, "warm_s": warm, "memory_gib": memory}


def _worker(given, batch: int, way: str, layout: str, barrier, results) -> None:
    try:
        results.put(speed(given, batch, way, layout, barrier))
    except Exception as error:
        barrier.abort()
        results.put({"error": f"{type(error).__name__}: {error}"[:300]})


def together(given: argparse.Namespace, count: int, batch: int, way: str, layout: str) -> dict[str, object]:
    """Several trainings at once on one device: the speeds of all of them and their sum."""
    context = torch.multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    workers = [
        context.Process(target=_worker, args=(given, batch, way, layout, barrier, results)) for _ in range(count)
    ]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=300) for _ in workers]
    for worker in workers:
        worker.join()
    if failed := [row["error"] for row in found if "error" in row]:
        return {"error": failed[0]}
    return {"img_per_s": sum(row["img_per_s"] for row in found), "each": [round(row["img_per_s"], 1) for row in found]}


def whole_training(given: argparse.Namespace, batch: int, way: str) -> dict[str, object]:
    """The whole budget through `train_segmenter`, choice on a validation set included."""
    torch._dynamo.reset()
    compiled, graphed = WAYS[way]
    config = SegmenterConfig(
        size=given.size, width=given.width, batch_size=batch, epochs=given.epochs, compile=compiled, graph=graphed
    )
    data = random_samples(given.size, 200, "cpu")
    done = train_segmenter(data, config, validation=data.where(torch.arange(0, 200, 7)), device=given.device)
    row = evaluate_segmenter(done.model, data).row()
    return {"seconds": done.fit.seconds, "steps": done.fit.steps, "pixel_ap": row["pixel_ap"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--net", choices=("unet", "resnet"), default="unet")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--ways", choices=list(WAYS), nargs="+", default=list(WAYS))
    parser.add_argument("--layouts", choices=list(LAYOUTS), nargs="+", default=list(LAYOUTS))
    parser.add_argument("--steps", type=int, default=60, help="timed steps")
    parser.add_argument("--processes", type=int, nargs="*", default=[], help="trainings at once, batch --batches[0]")
    parser.add_argument("--full", action="store_true", help="also the whole budget, batch --batches[0]")
    parser.add_argument("--epochs", type=int, default=200, help="epochs of --full")
    given = parser.parse_args()
    on_gpu = given.device.startswith("cuda")
    machine = torch.cuda.get_device_name() if on_gpu else "cpu"
    results: dict[str, object] = {"machine": machine, "torch": torch.__version__, "net": given.net, "size": given.size}

    def record(name: str, measure, *arguments) -> None:
        try:
            found = measure(given, *arguments)
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"[:300]}
        results[name] = {key: round(value, 2) if isinstance(value, float) else value for key, value in found.items()}
        print(f"{name:45s} {results[name]}", flush=True)
        if given.out is not None:
            given.out.write_text(json.dumps(results, indent=1) + "\n")
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    for layout, way, batch in itertools.product(given.layouts, given.ways, given.batches):
        record(f"batch {batch}, {way}, {layout}", speed, batch, way, layout)
    for count, way in itertools.product(given.processes, given.ways):
        record(
            f"{count} processes, batch {given.batches[0]}, {way}",
            together,
            count,
            given.batches[0],
            way,
            given.layouts[0],
        )
    for way in given.ways if given.full and given.net == "unet" else ():
        record(f"whole budget, batch {given.batches[0]}, {way}", whole_training, given.batches[0], way)


if __name__ == "__main__":
    main()
