"""Training of AnomalyHybrid*: colour, measured depth and edges of folders of images to one generator of maps."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.imageset import ImageSet, load_image_set
from anomalyhybrid.conditions.measured import MEASURED, MeasuredDepth
from anomalyhybrid.data.files import make_folder
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import CheckpointError, ConfigError, DataError
from anomalyhybrid.models.config import generator_preset
from anomalyhybrid.models.generator import Generator, load_generator
from anomalyhybrid.models.weights import sha256_of, shipped
from anomalyhybrid.recipes.depth_sets import extracted_set, measured_set
from anomalyhybrid.recipes.sources import Announce, best_device, condition_folder, make_extractors
from anomalyhybrid.recipes.training import (
    BASE_IMAGES,
    SHIPPED_GENERATOR,
    fingerprint_of,
    perceptual_network,
    random_generator,
    share_training,
    watching,
    write_config,
)
from anomalyhybrid.training.checkpoint import FILE_NAME
from anomalyhybrid.training.config import TrainConfig, loss_preset
from anomalyhybrid.training.loop import RunFiles
from anomalyhybrid.training.sister import SisterTrainer
from anomalyhybrid.training.sister_pool import DepthPool, DepthSet


def sister_start(config: TrainConfig, announce: Announce) -> Generator:
    """The AnomalyHybrid* that training starts from.

    ``auto`` takes every weight of the shipped AnomalyHybrid that fits: the encoder reads the same five channels, and
    only the last layer of each source branch gives other ones.

    Raises:
        ConfigError: The start is no AnomalyHybrid* of the preset.
        WeightsError: The start cannot be read.
    """
    wanted = replace(generator_preset(config.preset), gives="maps")
    if config.start not in ("auto", "scratch"):
        generator, _ = load_generator(Path(config.start))
        if generator.config != wanted:
            raise ConfigError(f"train.start {config.start} holds {generator.config}, but AnomalyHybrid* needs {wanted}")
        announce(f"start: {config.start}")
        return generator
    model = random_generator(wanted, config.seed, "sister")
    if config.start == "scratch":
        announce("start: random")
        return model
    whole, _ = load_generator(shipped(SHIPPED_GENERATOR))
    if replace(whole.config, gives="maps") != wanted:
        announce(f"start: random, because the shipped generator does not fit preset {config.preset!r}")
        return model
    own = model.state_dict()
    fitting = {key: value for key, value in whole.state_dict().items() if own[key].shape == value.shape}
    model.load_state_dict(own | fitting)
    announce(f"start: the shipped generator, {len(own) - len(fitting)} of {len(own)} tensors random")
    return model


def train_depth(
    records: Sequence[Record],
    categories: Sequence[str],
    out: Path,
    *,
    base: Sequence[Record] = (),
    config: TrainConfig,
    cut_out: bool = False,
    resume: bool = False,
    cache: Path | None = None,
    announce: Announce,
    report: Callable[[dict], None] | None = None,
) -> Path:
    """Train one AnomalyHybrid*.

    Args:
        records: Good images; with `cut_out` images with defects, of whose regions no depth is learnt.
        categories: Names that the records' categories come from.
        out: The run's folder; must not hold a run unless `resume`.
        base: Real defects with masks, and depth, to learn from.
        config: Settings; ``depth`` is ``measured`` (distances) or ``measured_disparity``, of the records' own files or
            of the folder ``depth_weights``; an extractor's maps are used only when it is named, and that is said.
        cut_out: Let images with defects serve as good ones.
        resume: Continue the run in `out`.
        cache: Folder of condition maps; the user's cache by default.
        announce: Told in words what happens.
        report: Given each journal row.

    Returns:
        The run's folder.

    Raises:
        AnomalyHybridError: Something the caller can mend.
        KeyboardInterrupt: After Ctrl-C, once a checkpoint is written.
    """
    processes, announce = share_training(config, announce)
    if not resume and (out / FILE_NAME).exists():
        raise CheckpointError(f"{out} already holds a run; continue it with --resume or give another --out")
    if not records:
        raise DataError("there is no image to train AnomalyHybrid* on")
    if config.decoders != ("ahd", "ahe"):
        raise ConfigError(f"train.decoders is {config.decoders}; AnomalyHybrid* needs both, depth and edge")
    make_folder(out)
    order = {name: number for number, name in enumerate(categories)}
    normals = sorted(records, key=lambda record: order[record.category])
    with processes.main_first():
        pool, names = _load(
            normals, sorted(base, key=lambda r: order[r.category]), categories, config, cut_out, cache, announce
        )
    learnt = [sha256_of(r.path) for r in (*base, *(normals if cut_out else ()))]
    seen = {"categories": ",".join(categories), BASE_IMAGES: json.dumps(sorted(learnt))}
    files = RunFiles(
        folder=out, fingerprint=fingerprint_of(config, (pool.normals, pool.base), names), metadata=names | seen
    )
    generator = sister_start(config, announce)
    features = perceptual_network(config, announce)
    if not resume and processes.is_main:
        write_config(config, out)
    trainer = SisterTrainer(config, loss_preset(config.loss), pool, generator, features, files)
    steps = trainer.run(resume=resume, report=watching(report, announce))
    announce(f"trained {steps} steps; AnomalyHybrid* in {out / 'generator.safetensors'}")
    return out


def _load(
    normals: Sequence[Record],
    base: Sequence[Record],
    categories: Sequence[str],
    config: TrainConfig,
    cut_out: bool,
    cache: Path | None,
    announce: Announce,
) -> tuple[DepthPool, dict[str, str]]:
    """Load images, depth and edges; the extractors' names go into the generator's file."""
    measured = config.depth in MEASURED
    # measured depth is read by `measured_set`, in its own unit; edges need the lite depth's place filled only
    kind, weights = ("lite", "") if measured else (config.depth, config.depth_weights)
    edge, depth = make_extractors(config.edge, kind, config.edge_weights, weights, best_device())
    folder = Path(config.depth_weights) if config.depth_weights else None
    files = MeasuredDepth(folder=folder, nearer_is_larger=config.depth == "measured_disparity")
    name = files.name if measured else depth.name
    announce(f"edges by {edge.name}, depth by {name}" + ("" if measured else ": no measured depth is used"))

    def load(records: Sequence[Record], cut: bool) -> DepthSet:
        images: ImageSet = load_image_set(
            records,
            categories,
            size=config.size,
            edge=edge,
            depth=depth,
            cache=ConditionCache(condition_folder(cache)),
        )
        return measured_set(images, records, files, cut_out=cut) if measured else extracted_set(images)

    pool = DepthPool(load(normals, cut_out), load(base, False) if base else None, len(categories))
    names = {
        "edge": config.edge,
        "edge_name": edge.name,
        "depth": config.depth,
        "depth_name": name,
        "size": str(config.size),
    }
    return pool, names
