"""DRAEM of anomalib with its own Perlin generator and with ours: image and pixel AUROC, same seeds, JSON out.

    python benchmarks/anomalib_draem.py CATEGORY --out draem.json [--epochs 2] [--size 256] [--seeds 0 1 2]
        [--methods perlin perlin-textures few-shot zero-shot] [--textures DIR] [--jobs 6] [--max-train N]

CATEGORY is a folder in MVTec AD layout. Everything but the generator of defects is anomalib's `Draem` itself
(`pip install anomalib`; the package does not need it): its network, its `training_step`, its optimiser. All methods see
the same images in the same order from the same initial weights. The sorted third of the real defects, which `few-shot`
takes its references from, is in no method's test set.

perlin           anomalib's generator without DTD: it fills its shapes with the noise that draws them
perlin-textures  anomalib's generator with the images of --textures, else with the project's procedural textures
few-shot         `DefectAugmenter` with the good images and the base third
zero-shot        `DefectAugmenter` with the good images alone

Runs are processes, --jobs at a time on one device, shortest first; the file is written anew after each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anomalyhybrid.data.files import write_text_atomic
from anomalyhybrid.data.loading import load_image, load_mask, mask_to_model, save_png, to_model_u8
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.windows import spread
from anomalyhybrid.evaluation.baselines.textures import PROCEDURAL, procedural_textures
from anomalyhybrid.evaluation.detection import detection, localisation
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.integration import DefectAugmenter
from anomalyhybrid.recipes.sources import best_device, read_sources
from anomalyhybrid.seeding import stream

METHODS = ("perlin", "perlin-textures", "few-shot", "zero-shot")


@dataclass(frozen=True, slots=True)
class Run:
    """One training; the order of the fields is the order in which runs start."""

    epochs: int
    seed: int
    method: str


@dataclass(frozen=True, slots=True)
class Split:
    """Good training images, the base third of the defects, and what is tested on: the other defects and good images."""

    train: list[Record]
    base: list[Record]
    test: list[Record]


def split_of(category: Path, max_train: int, max_test: int) -> Split:
    """Split as `DefectAugmenter` does; 0 images at most are all."""
    sources = read_sources(
        [category], [category], base_part="sorted", seed=0, skip_unreadable=False, announce=lambda _: None
    )
    base = {record.path for record in sources.base}
    folder = read_data(category)
    test = [*(one for one in folder.defects() if one.path not in base), *folder.normals(split="test")]
    train = spread(sources.normals, max_train or len(sources.normals))
    return Split(list(train), list(sources.base), list(spread(test, max_test or len(test))))


def images_of(records: list[Record], size: int) -> Tensor:
    """Images squeezed to a square, uint8 (N, 3, size, size)."""
    squares = [to_model_u8(load_image(record.path).pixels, size) for record in records]
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).contiguous()


def masks_of(records: list[Record], size: int) -> np.ndarray:
    """Ground truth of each image, bool (N, size, size); nothing for good images."""
    masks = np.zeros((len(records), size, size), bool)
    for mask, record in zip(masks, records, strict=True):
        if record.mask_path is not None:
            height, width = load_image(record.path).pixels.shape[:2]
            mask[:] = mask_to_model(load_mask(record.mask_path, shape=(height, width)), size)
    return masks


def save_textures(folder: Path, size: int) -> str:
    """Write procedural textures for anomalib to read in the place of DTD; their name for the results."""
    textures = procedural_textures(PROCEDURAL, size, seed=0)
    for number, texture in enumerate(textures.image_u8.permute(0, 2, 3, 1).contiguous().numpy()):
        save_png(folder / f"{number:03d}.png", texture)
    return textures.name


def defects_of(method: str, category: Path, generator: str, seed: int) -> DefectAugmenter:
    """Our module for one method."""
    if method == "zero-shot":
        return DefectAugmenter(generator, data=category, config=GenerateConfig(seed=seed))
    config = GenerateConfig(seed=seed, base_split="sorted")
    return DefectAugmenter(generator, data=category, base_set=category, config=config)


def make_draem(run: Run, given: argparse.Namespace) -> Any:
    """anomalib's `Draem` from the seed's weights, with the method's generator of defects."""
    from anomalib.models import Draem  # pyright: ignore[reportMissingImports]

    torch.manual_seed(run.seed)
    with tempfile.TemporaryDirectory() as nothing:  # without a folder it would fetch DTD
        dtd = given.textures if run.method == "perlin-textures" else nothing
        draem = Draem(dtd_dir=dtd, pre_processor=False, post_processor=False, evaluator=False, visualizer=False)
    draem.augmenter.anomaly_source_paths.sort()  # as the file system gave them
    if run.method in ("few-shot", "zero-shot"):
        draem.augmenter = defects_of(run.method, given.category, given.run, run.seed)
    return draem.to(best_device())


def timed(module: nn.Module) -> list[float]:
    """The list that the module's calls add their seconds to."""
    began, seconds = [0.0], []
    module.register_forward_pre_hook(lambda *_: began.append(time.perf_counter()))
    module.register_forward_hook(lambda *_: seconds.append(time.perf_counter() - began[-1]))
    return seconds


def train(draem: Any, image_u8: Tensor, run: Run, batch: int) -> dict[str, float]:
    """Train in place; the last epoch's mean loss, seconds in all, seconds of augmenting."""
    from anomalib.data import ImageBatch  # pyright: ignore[reportMissingImports]

    (optimizer,), (scheduler,) = draem.configure_optimizers()
    draem.train()
    begin, augmenting, losses = time.perf_counter(), timed(draem.augmenter), []
    for epoch in range(run.epochs):
        order = torch.randperm(len(image_u8), generator=stream(run.seed, "order", epoch)).to(image_u8.device)
        losses = []
        for chosen in order.split(batch):
            loss = draem.training_step(ImageBatch(image=image_u8[chosen].float() / 255))["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        scheduler.step()
    seconds = time.perf_counter() - begin
    found = {"loss": round(float(np.mean(losses)), 4), "seconds": round(seconds, 1)}
    return found | {"seconds_augmenting": round(sum(augmenting), 1)}


@torch.no_grad()
def test(draem: Any, image_u8: Tensor, masks: np.ndarray, batch: int) -> dict[str, float]:
    """AUROC and average precision of images and pixels, in per cent."""
    draem.eval()
    outputs = [draem.model(part.float() / 255) for part in image_u8.split(batch)]
    scores = torch.cat([output.pred_score.flatten() for output in outputs]).cpu().numpy()
    maps = torch.cat([output.anomaly_map for output in outputs]).cpu().numpy().reshape(masks.shape)
    images, pixels = detection(scores, np.asarray(masks.any(axis=(1, 2)))), localisation(maps, masks)
    named = {"image": images, "pixel": pixels}
    keys = ("auroc", "ap")
    return {f"{name}_{key}": round(100 * getattr(found, key), 2) for name, found in named.items() for key in keys}


def carry_out(run: Run, split: Split, given: argparse.Namespace) -> dict[str, Any]:
    """One run in a process of its own; its row."""
    torch.set_num_threads(given.threads)
    device, draem = best_device(), make_draem(run, given)
    found = train(draem, images_of(split.train, given.size).to(device), run, given.batch)
    test_u8 = images_of(split.test, given.size).to(device)
    row = asdict(run) | found | test(draem, test_u8, masks_of(split.test, given.size), given.batch)
    if device.type == "cuda":
        row["gpu_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 1)
        torch.cuda.empty_cache()
    return row


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("category", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", default="shipped", help="our generator: shipped, a run folder, or a file")
    parser.add_argument("--epochs", type=int, nargs="+", default=[2], help="each number is a run of its own")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--max-train", type=int, default=0, help="train on so many images, evenly spread; 0 for all")
    parser.add_argument("--max-test", type=int, default=0, help="test on so many images, evenly spread; 0 for all")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--textures", type=Path, help="folder of images for perlin-textures (anomalib's is DTD)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; 14 GiB of GPU memory each at 256 pixels")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each run")
    given = parser.parse_args()
    if min(given.jobs, given.threads, given.batch, *given.epochs) < 1:
        parser.error("--jobs, --threads, --batch and --epochs must be at least 1")
    if given.textures and not given.textures.is_dir():
        parser.error(f"--textures {given.textures} is no folder; give one of images, or leave it out")
    return given


def started_report(given: argparse.Namespace, split: Split, textures: str) -> dict[str, Any]:
    """What the file says before the first row."""
    device = best_device()
    left_out = ("category", "out", "textures")
    return {
        "category": given.category.name,
        "settings": {key: value for key, value in vars(given).items() if key not in left_out},
        "perlin_filled_with": "its noise (no DTD)",
        "perlin-textures_filled_with": textures,
        "train_images": len(split.train),
        "base_images": [record.relative for record in split.base],
        "test_images": [record.relative for record in split.test],
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {os.cpu_count()} cores",
        "convolutions_in_tf32": device.type == "cuda" and torch.backends.cudnn.allow_tf32,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "anomalib": version("anomalib")},
        "results": [],
        "failed": [],
    }


def main() -> None:
    given, begin = parsed(), time.perf_counter()
    split = split_of(given.category, given.max_train, given.max_test)
    runs = sorted(
        (Run(epochs, seed, method) for epochs in given.epochs for seed in given.seeds for method in given.methods),
        key=lambda run: (run.epochs, run.seed),
    )
    with tempfile.TemporaryDirectory() as folder:
        textures = f"images of {given.textures}"
        if given.textures is None:
            given.textures = Path(folder)
            textures = save_textures(given.textures, given.size)
        report = started_report(given, split, textures)
        with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
            done = {pool.submit(carry_out, run, split, given): run for run in runs}
            for future in as_completed(done):
                if error := future.exception():
                    report["failed"].append(asdict(done[future]) | {"error": repr(error)})
                else:
                    report["results"].append(future.result())
                report["results"].sort(key=lambda row: (row["epochs"], METHODS.index(row["method"]), row["seed"]))
                report["seconds"] = round(time.perf_counter() - begin, 1)
                write_text_atomic(given.out, json.dumps(report, indent=2) + "\n")
                print(f"{report['seconds']} s:", error or future.result(), flush=True)
    if report["failed"]:
        raise SystemExit(f"{len(report['failed'])} of {len(runs)} runs failed; {given.out} says why")


if __name__ == "__main__":
    main()
