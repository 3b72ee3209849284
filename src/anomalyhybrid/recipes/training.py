"""`anomalyhybrid train`: folders of images to one generator."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
import yaml

from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.imageset import ImageSet, load_image_set
from anomalyhybrid.data.files import make_folder, write_text_atomic
from anomalyhybrid.errors import CheckpointError, ConfigError
from anomalyhybrid.models.config import GeneratorConfig, generator_preset
from anomalyhybrid.models.generator import Generator, load_generator
from anomalyhybrid.models.perceptual import VggFeatures
from anomalyhybrid.models.weights import load_safetensors, load_torch_file, safetensors_metadata, sha256_of, shipped
from anomalyhybrid.recipes.sources import (
    Announce,
    Sources,
    best_device,
    condition_folder,
    make_extractors,
    read_sources,
)
from anomalyhybrid.seeding import derive
from anomalyhybrid.training.checkpoint import FILE_NAME
from anomalyhybrid.training.config import TrainConfig, loss_preset
from anomalyhybrid.training.journal import warnings_of
from anomalyhybrid.training.loop import RunFiles, Trainer
from anomalyhybrid.training.pool import TrainingPool
from anomalyhybrid.training.processes import Processes, join_processes
from anomalyhybrid.training.sister_pool import DepthSet

SHIPPED_GENERATOR = "generator.safetensors"
BASE_IMAGES = "base_images"
"""Entry of a generator file's metadata: JSON list of the sha256 of the real defect images behind it."""


def train(
    data: Sequence[Path],
    out: Path,
    *,
    base_set: Sequence[Path] = (),
    config: TrainConfig,
    resume: bool = False,
    skip_unreadable: bool = False,
    cache: Path | None = None,
    announce: Announce,
    report: Callable[[dict], None] | None = None,
) -> Path:
    """Train one generator on several categories; under torchrun together with its other processes (ADR-019).

    Args:
        data: Data folders (plain folders of good images, or MVTec AD layout).
        out: The run's folder; must not hold a run unless `resume`.
        base_set: Folders with real defects and masks.
        config: Settings.
        resume: Continue the run in `out`.
        skip_unreadable: Leave unreadable images out, by name.
        cache: Folder of condition maps; the user's cache by default.
        announce: Told in words what happens, by the main process.
        report: Given each journal row, likewise.

    Returns:
        The run's folder.

    Raises:
        AnomalyHybridError: Something the caller can mend.
        KeyboardInterrupt: After Ctrl-C, once a checkpoint is written.
    """
    processes, announce = share_training(config, announce)
    if not resume and (out / FILE_NAME).exists():
        raise CheckpointError(f"{out} already holds a run; continue it with --resume or give another --out")
    make_folder(out)
    sources = read_sources(
        data,
        base_set,
        base_part=config.base_split,
        seed=config.seed,
        skip_unreadable=skip_unreadable,
        announce=announce,
    )
    with processes.main_first():
        pool, names = _load_pool(sources, config, condition_folder(cache), announce)
    fingerprint = fingerprint_of(config, (pool.normals, pool.base), names)
    generator = initial_generator(config, announce)
    seen = {"categories": ",".join(sources.categories), BASE_IMAGES: _base_images(sources, config)}
    files = RunFiles(folder=out, fingerprint=fingerprint, metadata=names | seen)
    features = perceptual_network(config, announce)
    if not resume and processes.is_main:
        write_config(config, out)
    trainer = Trainer(config, loss_preset(config.loss), pool, generator, features, files)
    steps = trainer.run(resume=resume, report=watching(report, announce))
    announce(f"trained {steps} steps; generator in {out / 'generator.safetensors'}")
    return out


def share_training(config: TrainConfig, announce: Announce) -> tuple[Processes, Announce]:
    """The processes that train together, and what this one announces with: only the main one speaks.

    Raises:
        ConfigError: They cannot share the batch, or were not started with torchrun.
    """
    processes = join_processes()
    processes.check_batch(config.batch_size)
    if not processes.is_main:
        return processes, lambda text: None
    if processes.count > 1:
        announce(f"{processes.count} processes train together, {config.batch_size // processes.count} images each")
    return processes, announce


def _base_images(sources: Sources, config: TrainConfig) -> str:
    """Hashes of the real defects that a generator has learnt from, its start's among them; empty where not known."""
    inherited: set[str] = set()
    if config.start not in ("auto", "scratch"):
        known = safetensors_metadata(Path(config.start)).get(BASE_IMAGES)
        if known is None:
            return ""
        inherited = set(json.loads(known))
    return json.dumps(sorted(inherited | {sha256_of(record.path) for record in sources.base}))


def watching(report: Callable[[dict], None] | None, announce: Announce) -> Callable[[dict], None]:
    """A report that also says, when it begins, that a decoder copies its reference or redraws everything."""
    said: set[str] = set()

    def watch(row: dict) -> None:
        found = warnings_of(row)
        for kind, message in found.items():
            if kind not in said:
                announce(f"warning, step {row['step']}: {message}")
        said.clear()
        said.update(found)
        if report is not None:
            report(row)

    return watch


def _load_pool(
    sources: Sources, config: TrainConfig, cache: Path, announce: Announce
) -> tuple[TrainingPool, dict[str, str]]:
    """Load images and conditions; the extractors' names go into the generator's file."""
    edge, depth = make_extractors(config.edge, config.depth, config.edge_weights, config.depth_weights, best_device())

    def load(records: Sequence) -> ImageSet:
        return load_image_set(
            records, sources.categories, size=config.size, edge=edge, depth=depth, cache=ConditionCache(cache)
        )

    announce(f"edges by {edge.name}, depth by {depth.name}")
    base = load(sources.base) if sources.base else None
    pool = TrainingPool(load(sources.normals), base, len(sources.categories))
    names = {
        "edge": config.edge,
        "depth": config.depth,
        "edge_name": edge.name,
        "depth_name": depth.name,
        "size": str(config.size),
    }
    return pool, names


def write_config(config: TrainConfig, out: Path) -> None:
    """Keep a run's settings as YAML in its folder."""
    write_text_atomic(out / "config.yaml", yaml.safe_dump(json.loads(json.dumps(asdict(config))), sort_keys=False))


def fingerprint_of(config: TrainConfig, sets: Sequence[ImageSet | DepthSet | None], names: dict[str, str]) -> str:
    """Hash of everything that decides the result, but not of how long to run.

    Args:
        config: Settings of the run.
        sets: The images that it learns from, on the CPU.
        names: What the extractors are, as the generator's file says.
    """
    settings = asdict(config) | {"loss": asdict(loss_preset(config.loss)), "maps": sorted(names.items())}
    unimportant = ("steps", "max_minutes", "checkpoint_every", "journal_every", "sample_every", "compile")
    for name in (*unimportant, "edge_weights", "depth_weights", "start"):
        settings.pop(name)
    if config.vgg_weights:
        settings["vgg_weights"] = sha256_of(Path(config.vgg_weights).expanduser())
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for images in sets:
        if images is not None:
            for field in fields(images):
                digest.update(getattr(images, field.name).numpy().tobytes())
    return digest.hexdigest()


def initial_generator(config: TrainConfig, announce: Announce) -> Generator:
    """The generator that training starts from.

    Raises:
        ConfigError: The start does not fit the preset.
        WeightsError: The start cannot be read.
    """
    wanted = generator_preset(config.preset)
    wanted = replace(wanted, decoders=config.decoders)
    if config.start == "auto":
        path = shipped(SHIPPED_GENERATOR)
        whole = load_generator(path)[0]
        if replace(whole.config, decoders=wanted.decoders) != wanted:
            announce(f"start: random, because the shipped generator does not fit preset {config.preset!r}")
            return random_generator(wanted, config.seed)
        announce("start: the shipped generator")
        part = Generator(wanted)
        part.load_state_dict({key: value for key, value in whole.state_dict().items() if key in part.state_dict()})
        return part
    if config.start == "scratch":
        announce("start: random")
        return random_generator(wanted, config.seed)
    generator, _ = load_generator(Path(config.start))
    if generator.config != wanted:
        raise ConfigError(f"train.start {config.start} holds {generator.config}, but the preset needs {wanted}")
    announce(f"start: {config.start}")
    return generator


def random_generator(config: GeneratorConfig, seed: int, key: str = "generator") -> Generator:
    """A generator with random weights, the same for a seed and a key."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, key))
        return Generator(config)


def perceptual_network(config: TrainConfig, announce: Announce) -> VggFeatures | None:
    """VGG16 or VGG19 for the perceptual term, or None, said aloud, where no weights are given.

    Raises:
        ConfigError: The paper's loss without weights.
        WeightsError: The weights cannot be read or do not fit.
    """
    if not config.vgg_weights:
        if config.loss == "paper":
            raise ConfigError("--loss paper is Eqs. 2-4, and Eq. 2 needs a network: give --vgg-weights FILE")
        announce("no perceptual term: give --vgg-weights (VGG16, torchvision keys, safetensors) for the paper's Eq. 2")
        return None
    path = Path(config.vgg_weights).expanduser()
    state = load_safetensors(path) if path.suffix == ".safetensors" else load_torch_file(path, sha256=sha256_of(path))
    kind = "vgg19" if "features.16.weight" in state else "vgg16"  # a fourth convolution where VGG16 pools
    last = {"vgg16": "features.24.weight", "vgg19": "features.28.weight"}[kind]
    stages = 5 if last in state else 4
    announce(f"perceptual term: {kind} up to relu{stages}_1")
    return VggFeatures(kind, stages).load_torchvision(state)
