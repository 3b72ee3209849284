"""Small pools, networks and trainers, for all tests of training and for the processes they start."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.models.config import DiscriminatorConfig, GeneratorConfig
from anomalyhybrid.models.generator import Generator
from anomalyhybrid.training import loop
from anomalyhybrid.training.config import LossConfig, TrainConfig
from anomalyhybrid.training.loop import RunFiles, Trainer
from anomalyhybrid.training.pool import TrainingPool

SIZE = 64
TINY = GeneratorConfig(width=8, downsamplings=2, max_width=16, blocks=1)
CHEAP = LossConfig(perceptual_weight=0.0)


def image_set(categories: list[int], *, defective: bool = False, seed: int = 0, size: int = SIZE) -> ImageSet:
    """Smooth images with unrelated smooth maps; category c is red in proportion to c."""
    count, generator = len(categories), torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 5, 8, 8, generator=generator)
    smooth = F.interpolate(coarse, (size, size), mode="bilinear")
    pixels = (smooth * 255).round().byte()
    pixels[:, 0] = torch.tensor(categories, dtype=torch.uint8)[:, None, None] * 40 + 20
    region = torch.zeros(count, 1, size, size, dtype=torch.uint8)
    if defective:
        region[:, :, size // 4 : size // 2, size // 4 : size // 2] = 255
    return ImageSet(
        color_u8=pixels[:, :3],
        depth_u8=pixels[:, 3:4],
        edge_u8=pixels[:, 4:],
        region_u8=region,
        object_u8=torch.full_like(region, 255),
        category=torch.tensor(categories, dtype=torch.long),
    )


def small_pool(seed: int = 0) -> TrainingPool:
    """Two categories; the second has real defects."""
    return TrainingPool(image_set([0, 0, 1], seed=seed), image_set([1, 1], defective=True, seed=seed + 1), 2)


def tiny_generator(config: GeneratorConfig = TINY, seed: int = 0) -> Generator:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Generator(config)


def cheap_trainers() -> None:
    """Make trainers of this process build narrow discriminators (of the same layout) and few probes."""
    loop.PROBES = 3
    loop.DiscriminatorConfig = lambda: DiscriminatorConfig(width=8)  # type: ignore[assignment, misc]


def train_config(**settings) -> TrainConfig:
    common = {"size": SIZE, "steps": 4, "batch_size": 2, "view_block": 1, "journal_every": 1, "sample_every": 1000}
    return TrainConfig(**(common | settings))


def make_trainer(
    folder: Path,
    config: TrainConfig,
    *,
    loss: LossConfig = CHEAP,
    pool: TrainingPool | None = None,
    generator: Generator | None = None,
    features: torch.nn.Module | None = None,
    fingerprint: str = "one",
) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    files = RunFiles(folder=folder, fingerprint=fingerprint, metadata={"categories": "a,b"})
    return Trainer(config, loss, pool or small_pool(), generator or tiny_generator(), features, files)  # type: ignore[arg-type]


def tensors(folder: Path, name: str = "checkpoint.safetensors") -> dict[str, torch.Tensor]:
    return load_file(str(folder / name))
