"""The training loop: keyed steps, averaged generator, journal, checkpoints; resumes to the same result."""

from __future__ import annotations

import contextlib
import copy
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from anomalyhybrid.models.config import DiscriminatorConfig
from anomalyhybrid.models.discriminator import Discriminator
from anomalyhybrid.models.generator import Generator, save_generator
from anomalyhybrid.models.perceptual import VggFeatures
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.fused import fusing
from anomalyhybrid.ops.trees import mapped
from anomalyhybrid.seeding import stream
from anomalyhybrid.training.checkpoint import load_checkpoint, save_checkpoint
from anomalyhybrid.training.config import LossConfig, TrainConfig
from anomalyhybrid.training.journal import Journal
from anomalyhybrid.training.pool import TrainingPool
from anomalyhybrid.training.probe import Probe
from anomalyhybrid.training.processes import join_processes
from anomalyhybrid.training.replay import ReplayedStep
from anomalyhybrid.training.step import Networks, as_one_graph, as_written, draw_views, training_step
from anomalyhybrid.types import Views

PROBES = 16
Report = Callable[[dict[str, float | int | str]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """Where a run writes, and what its generator file says of it."""

    folder: Path
    fingerprint: str
    metadata: dict[str, str]


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Hold Ctrl-C back until a step and its files are whole; gives a function that tells whether it came."""
    came = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def products_in_tf32(active: bool) -> Iterator[None]:
    """Let a GPU round what it multiplies to TF32 while the context lasts: wide blurs of views."""
    before = torch.get_float32_matmul_precision()
    if active:
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Trainer:
    """Trains one generator, alone or together with the other processes of a torchrun (ADR-019).

    Args:
        config: The run's settings.
        loss: Weights of the terms.
        pool: Training images, on the CPU; moved to the training device.
        generator: Where to start from; trained in place.
        features: Perceptual network, or None.
        files: Output; of several processes the main one writes.

    Raises:
        ConfigError: Several processes that cannot share a batch evenly, or were not started with torchrun.
    """

    def __init__(
        self,
        config: TrainConfig,
        loss: LossConfig,
        pool: TrainingPool,
        generator: Generator,
        features: VggFeatures | None,
        files: RunFiles,
    ) -> None:
        torch.manual_seed(config.seed)  # initial weights only; everything random later is keyed
        self.config, self.loss, self.files = config, loss, files
        self.processes = join_processes()
        self.processes.check_batch(config.batch_size)
        self.device = self.processes.device
        on_gpu = self.device.type == "cuda"
        torch.backends.cudnn.benchmark = on_gpu
        self.pool = pool.to(self.device)
        self.generator = generator.train().to(self.device)
        self.discriminator = self._new_discriminator().to(self.device)
        self.averaged_generator = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self._average = get_ema_multi_avg_fn(config.ema_decay)
        settings = {"lr": config.learning_rate, "betas": (0.5, 0.999), "fused": on_gpu}
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), **settings)
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator.parameters(), **settings)
        self._block: tuple[int, Views] | None = None
        self._ahead: tuple[int, Views] | None = None
        self._beside: torch.cuda.Stream | None = None
        self.compiles = config.compile and on_gpu
        self.networks = self._wrap(features)
        self._replayed = ReplayedStep(self._step) if self.compiles and self.processes.count == 1 else None
        self.probe = self._new_probe()

    def _new_discriminator(self) -> Discriminator:
        return Discriminator(DiscriminatorConfig())

    def _new_probe(self) -> Probe:
        return Probe.draw(self.pool, self.config.seed, PROBES, self.device)

    def _draw_views(self, rows: Draws) -> Views:
        """Make the samples of a block of steps."""
        return draw_views(rows, self.pool, self.config.augment)

    def _step(self, views: Views, draws: Draws) -> dict[str, Tensor]:
        """Update both networks on one batch."""
        return training_step(self.networks, self.loss, views, draws)

    def _update(self, views: Views, draws: Draws) -> dict[str, Tensor]:
        """A step, replayed where it is compiled and its gradients are no other process's affair."""
        return (self._replayed or self._step)(views, draws)

    def _wrap(self, features: VggFeatures | None) -> Networks:
        return Networks(
            generator=self.generator,
            discriminator=self.discriminator,
            features=None if features is None else features.to(self.device),
            generator_optimizer=self.generator_optimizer,
            discriminator_optimizer=self.discriminator_optimizer,
            processes=self.processes,
            prepare=as_one_graph if self.compiles else as_written,
        )

    @property
    def _state(self) -> dict:
        return {
            "modules": {
                "generator": self.generator,
                "discriminator": self.discriminator,
                "averaged": self.averaged_generator,
            },
            "optimizers": {
                "generator_optimizer": self.generator_optimizer,
                "discriminator_optimizer": self.discriminator_optimizer,
            },
            "fingerprint": self.files.fingerprint,
        }

    def _rows(self, kind: str, step: int, columns: int) -> Draws:
        """This process's rows of a step; all processes together use the rows one process would."""
        rows = Draws.from_stream(stream(self.config.seed, kind, step), self.config.batch_size, columns)
        return rows.shard(self.processes.rank, self.processes.count)

    def _views(self, step: int) -> Views:
        """The batch of a step; the views of a whole block of steps are drawn at once, always the same block.

        In a compiled training the next block is drawn on a stream of its own while the steps of this one run.
        """
        first = step - step % self.config.view_block
        if self._block is None or self._block[0] != first:
            self._block, self._ahead = self._awaited(first) or (first, self._draw_block(first)), None
            if self.compiles and first + self.config.view_block < self.config.steps:
                self._draw_ahead(first + self.config.view_block)
        views = self._block[1]
        batch = len(views.region_mask) // self.config.view_block
        part = slice((step - first) * batch, (step - first + 1) * batch)
        return mapped(lambda values: values[part], views)

    def _draw_block(self, first: int) -> Views:
        """The views of all steps of a block."""
        steps = range(first, first + self.config.view_block)
        rows = Draws.joined([self._rows("views", number, 2048) for number in steps]).to(self.device)
        with fusing("one" if self.compiles else None), products_in_tf32(self.compiles):
            return self._draw_views(rows)

    def _awaited(self, first: int) -> tuple[int, Views] | None:
        """The block that was begun beside the steps before, once the device has drawn it; None if it is another."""
        if self._ahead is None or self._ahead[0] != first:
            return None
        torch.cuda.current_stream().wait_stream(cast(torch.cuda.Stream, self._beside))
        return self._ahead

    def _draw_ahead(self, first: int) -> None:
        """Begin a block beside the steps of the one before."""
        self._beside = self._beside or torch.cuda.Stream()
        self._beside.wait_stream(torch.cuda.current_stream())  # it reads memory that may be used again now
        with torch.cuda.stream(self._beside):
            self._ahead = first, self._draw_block(first)

    def _save(self, step: int) -> None:
        if self.processes.is_main:
            metadata = self.files.metadata | {"steps": str(step)}
            save_generator(self.files.folder / "generator.safetensors", self.averaged_generator, metadata)
            save_checkpoint(self.files.folder, step=step, **self._state)  # last: it says that both are there
        self.processes.wait()  # whoever ended now would take the main process with it

    def _row(self, step: int, losses: dict[str, float], seconds: float, images: int) -> dict[str, float | int | str]:
        row: dict[str, float | int | str] = {"step": step, "seconds": round(seconds, 2)}
        row["img_per_s"] = round(images / max(seconds, 1e-9), 1)
        row |= {name: round(value, 5) for name, value in losses.items()}
        row |= {name: round(value, 3) for name, value in self.probe.edit_response(self.averaged_generator).items()}
        return row

    def run(self, *, resume: bool = False, report: Report | None = None) -> int:
        """Train to the configured number of steps, or to the limit of minutes.

        Args:
            resume: Continue from the folder's checkpoint.
            report: Called with each journal row, by the main process.

        Returns:
            Steps done in all.

        Raises:
            CheckpointError: nothing to resume, or another configuration's checkpoint; processes that differ.
            KeyboardInterrupt: after a checkpoint has been written; in all processes, whichever was interrupted.
        """
        done = load_checkpoint(self.files.folder, **self._state) if resume else 0
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            for group in optimizer.param_groups:  # also of a checkpoint that was written without
                group["capturable"] = self.compiles
        self.processes.check_same(f"{self.files.fingerprint} {done}")
        self.processes.take_from_main(self._state["modules"].values())
        journal = Journal(self.files.folder, keep_through=done) if self.processes.is_main else None
        started = mark = time.monotonic()
        marked = done
        saved = done if resume else -1
        stopped = False
        with deferred_interrupt() as interrupted:
            while done < self.config.steps:
                draws = self._rows("step", done, 16).to(self.device)
                values = self._update(self._views(done), draws)
                self._average(list(self.averaged_generator.parameters()), list(self.generator.parameters()), 0)
                done += 1
                if done % self.config.journal_every == 0 or done == self.config.steps:
                    values = self.processes.mean_of_each(values)
                    if journal is not None:
                        losses = {name: float(value) for name, value in values.items()}  # waits for the device
                        seconds = time.monotonic() - mark
                        row = self._row(done, losses, seconds, (done - marked) * self.config.batch_size)
                        row["elapsed"] = round(time.monotonic() - started, 1)
                        mark, marked = time.monotonic(), done
                        journal.write(row)
                        if report is not None:
                            report(row)
                if done % self.config.sample_every == 0:
                    self._sample(done)
                if done % self.config.checkpoint_every == 0:
                    self._save(done)
                    saved = done
                limit = self.config.max_minutes * 60
                late = bool(limit and time.monotonic() - started > limit)
                stopped, late = self.processes.any_of(interrupted(), late)
                if stopped or late:
                    break
            if saved != done:
                self._save(done)
        if stopped or interrupted():
            raise KeyboardInterrupt
        return done

    def _sample(self, step: int) -> None:
        if self.processes.is_main:
            folder = self.files.folder / "samples"
            folder.mkdir(exist_ok=True)
            self.probe.save_grid(self.averaged_generator, folder / f"step_{step:06d}.png")
