"""Runs that several processes share: started by torchrun this program does what `PHASES` says, in one folder."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import torch
from test_sister import pool as depth_pool
from test_sister import trainer as sister_trainer
from tiny_runs import cheap_trainers, make_trainer, train_config

from anomalyhybrid.errors import CheckpointError, ConfigError
from anomalyhybrid.training.config import LossConfig
from anomalyhybrid.training.loop import Trainer

STEPS = 20
COMMON = {"batch_size": 2, "view_block": 2}
LOSS = LossConfig(perceptual_weight=1.0, perceptual_crop=32)
SHORT = {"steps": 4, "checkpoint_every": 2, **COMMON}


class Layers(torch.nn.Module):
    """Stands for VGG: two fixed layers."""

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [image, torch.nn.functional.avg_pool2d(image, 2)]


def colour(folder: Path, **settings) -> Trainer:
    """AnomalyHybrid with every term of its loss."""
    return make_trainer(folder, train_config(**({"steps": STEPS} | COMMON | settings)), loss=LOSS, features=Layers())


def sister(folder: Path, **settings) -> Trainer:
    """AnomalyHybrid* on depth with holes, so that its masked means cover unequal numbers of pixels."""
    return sister_trainer(folder, images=depth_pool(holes=True), **({"steps": STEPS // 2} | COMMON | settings))


def doubled(value):
    """A dataclass of tensors in double precision."""
    if is_dataclass(value):
        return type(value)(**{field.name: doubled(getattr(value, field.name)) for field in fields(value)})
    return value.double()


def exact(trainer: Trainer) -> Trainer:
    """Train in double precision, where rounding hides no mistake (ADR-019); journal rows are not rounded.

    Processes begin with other weights than the main one, as they might: it is for training to make them equal.
    """
    for module in (trainer.generator, trainer.discriminator, trainer.averaged_generator):
        module.double()
        for parameter in module.parameters():
            parameter.data += 0.01 * trainer.processes.rank
    views = trainer._views
    trainer._views = lambda step: doubled(views(step))  # type: ignore[method-assign]
    trainer._row = lambda step, values, *_: {name: float(value) for name, value in values.items()} | {"step": step}
    return trainer


def signalling(trainer: Trainer, number: signal.Signals, at: int) -> Trainer:
    """Let the second process send itself a signal before a step."""
    step, calls = trainer._step, []

    def stepped(*args):
        calls.append(1)
        if len(calls) == at and trainer.processes.rank == 1:
            os.kill(os.getpid(), number)
        return step(*args)

    trainer._step = stepped  # type: ignore[method-assign]
    return trainer


def refuse(folder: Path) -> None:
    """An uneven batch, and processes that differ; what is said goes into files."""
    rank = os.environ["RANK"]
    try:
        colour(folder / "uneven", batch_size=5)
    except ConfigError as error:
        (folder / f"uneven_{rank}.txt").write_text(str(error))
    try:
        make_trainer(folder / "different", train_config(**SHORT), fingerprint=rank).run()
    except CheckpointError as error:
        (folder / f"different_{rank}.txt").write_text(str(error))


def train(folder: Path) -> None:
    """Whole runs; one whose second process gets Ctrl-C; at last one whose second process is killed."""
    refuse(folder)
    exact(colour(folder / "colour")).run()
    exact(sister(folder / "sister")).run()
    colour(folder / "whole", **SHORT).run()
    rows: list[dict] = []
    stopped = signalling(colour(folder / "stopped", **SHORT), signal.SIGINT, at=1)
    try:
        stopped.run(report=rows.append)
    except KeyboardInterrupt:
        (folder / f"stopped_{stopped.processes.rank}.txt").write_text(str([row["step"] for row in rows]))
    signalling(colour(folder / "killed", **SHORT), signal.SIGKILL, at=4).run()


def resume(folder: Path) -> None:
    """Go on with what was stopped and killed."""
    for name in ("stopped", "killed"):
        colour(folder / name, **SHORT).run(resume=True)


PHASES = {"train": train, "resume": resume}

if __name__ == "__main__":
    torch.set_num_threads(1)
    cheap_trainers()
    PHASES[sys.argv[1]](Path(sys.argv[2]))
