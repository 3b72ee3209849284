"""Training of the shipped general generator, on rendered parts alone (ADR-007).

Two steps, so that rendering can go on beside other work: ``render`` draws scenes, each good and defective, into one
file; ``train`` extracts their maps with the lite students and trains. Run with
``python -m anomalyhybrid.recipes.shipped_generator --help``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.conditions.lite import lite_depth, lite_edge
from anomalyhybrid.data.loading import mask_to_model, to_model_u8
from anomalyhybrid.data.parts import DEFECTS, PRODUCTS, render_pair
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.recipes.sources import best_device
from anomalyhybrid.recipes.training import initial_generator, perceptual_network
from anomalyhybrid.seeding import derive
from anomalyhybrid.training.config import TrainConfig, loss_preset
from anomalyhybrid.training.loop import RunFiles, Trainer
from anomalyhybrid.training.pool import TrainingPool


def _draw_pair(index: int, *, products: Sequence[str], size: int, seed: int) -> tuple[np.ndarray, ...]:
    """Draw one scene without and with its defect: two images, the label mask, the object mask."""
    good, defective = render_pair(
        products[index % len(products)],
        product_seed=derive(seed, "product", index // 4),
        image_seed=derive(seed, "image", index),
        size=size,
        defect=DEFECTS[(index // len(products)) % len(DEFECTS)],
        defect_seed=derive(seed, "defect", index),
    )
    return good.image_u8, defective.image_u8, defective.label_mask, good.object_mask


def render(out: Path, *, scenes: int, held_out: Sequence[str], size: int, seed: int, workers: int) -> None:
    """Draw scene pairs into one .npz file: arrays good, defective, label_mask, object_mask.

    Raises:
        ConfigError: A held-out product is not known.
    """
    if unknown := sorted(set(held_out) - set(PRODUCTS)):
        raise ConfigError(f"held-out products {unknown} are not known; known are {', '.join(PRODUCTS)}")
    products = [product for product in PRODUCTS if product not in held_out]
    draw = partial(_draw_pair, products=products, size=size, seed=seed)
    with ProcessPoolExecutor(workers) as pool:
        drawn = list(pool.map(draw, range(scenes), chunksize=8))
    good, defective, label_mask, object_mask = (np.stack(part) for part in zip(*drawn, strict=True))
    temporary = out.with_name(f"partial-{out.name}")
    np.savez(temporary, good=good, defective=defective, label_mask=label_mask, object_mask=object_mask)
    temporary.replace(out)


def _image_set(
    images_u8: np.ndarray, region: np.ndarray, objects: np.ndarray, extract: Callable, size: int
) -> ImageSet:
    """Images with maps by the students, squeezed to a size."""
    squeezed = np.stack([to_model_u8(image, size) for image in images_u8])
    edges, depths = extract(list(squeezed), size=size)

    def mask_u8(masks: np.ndarray) -> Tensor:
        small = np.stack([mask_to_model(mask, size) for mask in masks])
        return torch.from_numpy(small)[:, None].to(torch.uint8) * 255

    return ImageSet(
        color_u8=torch.from_numpy(squeezed).permute(0, 3, 1, 2).contiguous(),
        depth_u8=torch.as_tensor(depths),
        edge_u8=torch.as_tensor(edges),
        region_u8=mask_u8(region),
        object_u8=mask_u8(objects),
        category=torch.zeros(len(images_u8), dtype=torch.long),
    )


def train(scenes: Path, students: Path, out: Path, config: TrainConfig) -> None:
    """Train the general generator on rendered scene pairs; `students` is the folder of both lite students."""
    device = best_device()
    edge = lite_edge(students / "lite_edge.safetensors", device=device)
    depth = lite_depth(students / "lite_depth.safetensors", device=device)
    extract = partial(ConditionCache(None, batch=64).extract, edge=edge, depth=depth)
    arrays = np.load(scenes)
    nothing = np.zeros_like(arrays["label_mask"])
    good = _image_set(arrays["good"], nothing, arrays["object_mask"], extract, config.size)
    defective = _image_set(arrays["defective"], arrays["label_mask"], arrays["object_mask"], extract, config.size)
    pool = TrainingPool(good, None, 1, pairs=(good, defective))
    metadata = {
        "edge": "lite",
        "depth": "lite",
        "edge_name": edge.name,
        "depth_name": depth.name,
        "size": str(config.size),
        "categories": "rendered parts",
        "licence": "Apache-2.0",
        "made_by": "python -m anomalyhybrid.recipes.shipped_generator",
    }
    out.mkdir(parents=True, exist_ok=True)
    files = RunFiles(folder=out, fingerprint="shipped", metadata=metadata)
    features = perceptual_network(config, print)
    trainer = Trainer(config, loss_preset(config.loss), pool, initial_generator(config, print), features, files)
    trainer.run(report=lambda row: print(json.dumps(row), flush=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line; render or train."""
    parser = argparse.ArgumentParser(prog="python -m anomalyhybrid.recipes.shipped_generator", description=__doc__)
    parser.add_argument("step", choices=["render", "train"])
    parser.add_argument("--scenes", type=Path, required=True, help="the .npz file between the two steps")
    parser.add_argument("--count", type=int, default=2400, help="scenes to render")
    parser.add_argument("--held-out", default="nut,capsule", help="products never trained on")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--students", type=Path, help="folder of the lite students")
    parser.add_argument("--out", type=Path, help="folder of the run")
    parser.add_argument("--vgg-weights", default="")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--start", default="scratch", help="generator file to go on from, of another size say")
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--ema-decay", type=float, default=0.998)
    parser.add_argument("--view-block", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if given.step == "render":
        held_out = [name for name in given.held_out.split(",") if name]
        render(
            given.scenes,
            scenes=given.count,
            held_out=held_out,
            size=given.size,
            seed=given.seed,
            workers=given.workers,
        )
        return
    config = TrainConfig(
        size=given.size, steps=given.steps, max_minutes=given.minutes, start=given.start, seed=given.seed
    )
    config = replace(
        config,
        view_block=given.view_block,
        batch_size=given.batch_size,
        vgg_weights=given.vgg_weights,
        learning_rate=given.learning_rate,
        ema_decay=given.ema_decay,
        journal_every=100,
        sample_every=200,
    )
    train(given.scenes, given.students, given.out, config)


if __name__ == "__main__":
    main()
