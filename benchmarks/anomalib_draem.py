"""DRAEM of anomalib with its own Perlin generator and with ours: image and pixel AUROC, same seeds, JSON out.

    python benchmarks/anomalib_draem.py CATEGORY --out draem.json [--epochs 2] [--size 256] [--seeds 0 1 2]
        [--max-train N] [--batch 8] [--methods perlin ours] [--textures DIR] [--with-base] [--threads N]

CATEGORY is a folder in MVTec AD layout. Network, loss and Perlin generator are anomalib's (`pip install anomalib`; the
package itself does not need it), put together as `Draem.training_step` and `Draem.configure_optimizers` do: Adam, 1e-4,
half of the images augmented. Both methods see the same images in the same order from the same initial weights.
anomalib takes its textures from DTD; without `--textures` its generator draws noise, which its results then say.
Ours is zero-shot, the batch alone gives patches; `--with-base` adds a line with the sorted third of the real defects as
references, and leaves that third out of every method's test set.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from anomalyhybrid.data.files import write_text_atomic
from anomalyhybrid.data.loading import load_image, load_mask, mask_to_model, to_model_u8
from anomalyhybrid.data.near_duplicates import duplicate_groups
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.splits import base_split
from anomalyhybrid.evaluation.detection import detection, localisation
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.integration import DefectAugmenter
from anomalyhybrid.recipes.sources import best_device
from anomalyhybrid.seeding import stream

Augmenter = Callable[[Tensor], tuple[Tensor, Tensor]]


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


def split(category: Path, with_base: bool) -> tuple[list[Record], list[Record]]:
    """Training and test images; without the base third of the defects where a method draws on it."""
    folder = read_data(category)
    defects = list(folder.defects())
    good = [*folder.normals(split="train")]
    if not with_base:
        return good, [*defects, *folder.normals(split="test")]
    _, test = base_split(folder.records, variant="sorted", seed=0, groups=duplicate_groups(defects))
    return good, list(test)


def augmenter_of(method: str, given: argparse.Namespace, seed: int) -> nn.Module:
    """The generator of defects of one method."""
    if method == "perlin":
        from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator

        return PerlinAnomalyGenerator(anomaly_source_path=given.textures, blend_factor=(0.1, 1.0))  # as in Draem
    if method == "ours":
        return DefectAugmenter(given.run, config=GenerateConfig(seed=seed))
    config = GenerateConfig(seed=seed, base_split="sorted")
    return DefectAugmenter(given.run, data=given.category, base_set=given.category, config=config)


def train(network: nn.Module, augmenter: Augmenter, image_u8: Tensor, given: argparse.Namespace, seed: int) -> dict:
    """Train as `Draem` does, in place; seconds of augmenting and in all, and the last epoch's mean loss."""
    from anomalib.models.image.draem.loss import DraemLoss

    device, loss_of = image_u8.device, DraemLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    network.train()
    begin, augmenting, losses = time.perf_counter(), 0.0, []
    for epoch in range(given.epochs):
        order = torch.randperm(len(image_u8), generator=stream(seed, "order", epoch)).to(device)
        losses = []
        for chosen in order.split(given.batch):
            image = image_u8[chosen].float() / 255
            start = time.perf_counter()
            augmented, mask = augmenter(image)
            augmenting += time.perf_counter() - start
            reconstruction, prediction = network(augmented)
            loss = loss_of(image, reconstruction, mask, prediction)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        print(f"  epoch {epoch}: loss {np.mean(losses):.4f}, {time.perf_counter() - begin:.0f} s", flush=True)
    seconds = time.perf_counter() - begin
    return {"loss": float(np.mean(losses)), "seconds": round(seconds, 1), "seconds_augmenting": round(augmenting, 1)}


@torch.no_grad()
def test(network: nn.Module, image_u8: Tensor, masks: np.ndarray, batch: int) -> dict[str, float]:
    """AUROC and average precision of images and pixels, in per cent."""
    network.eval()
    outputs = [network(part.float() / 255) for part in image_u8.split(batch)]
    scores = torch.cat([output.pred_score.flatten() for output in outputs]).cpu().numpy()
    maps = torch.cat([output.anomaly_map for output in outputs]).cpu().numpy().reshape(masks.shape)
    images, pixels = detection(scores, masks.any(axis=(1, 2))), localisation(maps, masks)
    named = {"image": images, "pixel": pixels}
    keys = ("auroc", "ap")
    return {f"{name}_{key}": round(100 * getattr(found, key), 2) for name, found in named.items() for key in keys}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("category", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", default="shipped")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--max-train", type=int, default=0, help="train on so many images, evenly spread; 0 for all")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--methods", nargs="+", default=["perlin", "ours"], choices=["perlin", "ours"])
    parser.add_argument("--textures", type=Path, help="images that Perlin shapes are filled with (anomalib: DTD)")
    parser.add_argument("--with-base", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    return parser.parse_args()


def versions() -> dict[str, str]:
    """What the figures were made with; anomalib's folder may be a trimmed copy without a version of its own."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("anomalib", "torchvision", "kornia"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def main() -> None:
    given = parsed()
    if given.threads:
        torch.set_num_threads(given.threads)
    from anomalib.models.image.draem.torch_model import DraemModel

    device = best_device()
    good, tested = split(given.category, given.with_base)
    count = min(given.max_train or len(good), len(good))
    image_u8 = images_of([good[number * len(good) // count] for number in range(count)], given.size).to(device)
    test_u8, masks = images_of(tested, given.size).to(device), masks_of(tested, given.size)
    report = {
        "settings": {key: str(value) if isinstance(value, Path) else value for key, value in vars(given).items()},
        "category": given.category.name,
        "train_images": count,
        "test_images": len(tested),
        "perlin_filled_with": "images of --textures" if given.textures else "noise (no DTD)",
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads",
        "versions": versions(),
        "results": [],
    }
    del report["settings"]["category"], report["settings"]["out"]
    for seed in given.seeds:
        for method in [*given.methods, *(["ours+base"] if given.with_base else [])]:
            torch.manual_seed(seed)
            network = DraemModel().to(device)
            print(f"{method}, seed {seed}", flush=True)
            row = {"method": method, "seed": seed}
            row |= train(network, augmenter_of(method, given, seed), image_u8, given, seed)
            row |= test(network, test_u8, masks, given.batch)
            print(f"  {row}", flush=True)
            report["results"].append(row)
            write_text_atomic(given.out, json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
