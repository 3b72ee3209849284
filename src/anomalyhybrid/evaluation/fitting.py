"""Training of the downstream networks: Adam with step decay over given batches, and the choice of a checkpoint."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from anomalyhybrid.errors import ConfigError

Mode: TypeAlias = Literal["fixed", "as_published"]
Precision: TypeAlias = Literal["auto", "bf16", "fp32"]
Report: TypeAlias = Callable[[dict[str, float | int | str]], None]
LossOf: TypeAlias = Callable[[nn.Module, Tensor], Tensor]
"""Takes the network and image numbers, long (B,), gives the loss of that batch."""
Judge: TypeAlias = Callable[[], float]
"""Judges the network as it stands, in evaluation mode; higher is better."""

GRAPH_WARM_UP = 3  # steps before a CUDA graph is captured; they are steps of the training like any other


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """What the trainings of detector and classifier have in common (PROTOCOL)."""

    seed: int = 0
    """Root of the initial weights and of the batches."""
    mode: Mode = "fixed"
    """`fixed` keeps the checkpoint that is best on a validation part of the base set, the last without one;
    `as_published` keeps the best on the test set."""
    size: int = 256
    """Side of the images in pixels."""
    batch_size: int = 8
    """Images a step; 8 in publications. A larger one takes fewer steps for the same number of samples."""
    learning_rate: float = 1e-4
    """Adam's step size at the start."""
    decay: float = 0.2
    """Factor of the step size at each of `decay_at`."""
    decay_at: tuple[float, ...] = (0.8, 0.9)
    """Shares of the training after which the step size decays."""
    checks: int | None = None
    """How often checkpoints are compared, evenly spread, the end included; None: after every epoch
    `as_published`, 20 times `fixed`."""
    precision: Precision = "auto"
    """Autocast: `auto` is bf16 on CUDA and float32 elsewhere."""
    compile: bool = False
    """Compile the step's forward and loss; costs about a minute at the start."""
    graph: bool = False
    """Replay the step as one CUDA graph (ignored on a CPU): no launch overhead, which small batches feel."""

    def __post_init__(self) -> None:
        if self.mode not in ("fixed", "as_published"):
            raise ConfigError(f"mode is {self.mode!r}; it must be 'fixed' or 'as_published'")
        if self.precision not in ("auto", "bf16", "fp32"):
            raise ConfigError(f"precision is {self.precision!r}; it must be 'auto', 'bf16' or 'fp32'")
        for name in ("size", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.checks is not None and self.checks < 1:
            raise ConfigError(f"checks is {self.checks}; it must be at least 1, or None for the mode's own number")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate is {self.learning_rate}; it must be above 0")
        if not 0 < self.decay <= 1 or not all(0 < share < 1 for share in self.decay_at):
            raise ConfigError(f"decay is {self.decay} at {self.decay_at}; use a factor in (0, 1] at shares in (0, 1)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a training did.

    Attributes:
        steps: Steps done.
        chosen_step: The step whose weights were kept.
        chosen_by: ``last``, or the set that the choice was made on.
        score: The judge's figure there, None if nothing was judged.
        history: (step, mean loss since the check before, score or None) at each check.
        seconds: Wall-clock time, checks included.
    """

    steps: int
    chosen_step: int
    chosen_by: Literal["last", "validation", "test"]
    score: float | None
    history: tuple[tuple[int, float, float | None], ...]
    seconds: float


def decayed(config: FitConfig, step: int, steps: int) -> float:
    """Step size of a step, counted from 0, among ``steps``."""
    passed = sum(step >= round(share * steps, 6) for share in config.decay_at)
    return config.learning_rate * config.decay**passed


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The autocast context of a precision on a device; does nothing for float32."""
    wanted = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


def layout(device: torch.device) -> torch.memory_format:
    """Memory layout of networks and images: channels last on CUDA, where it is faster.

    Not on a CPU: oneDNN's backward pass of strided convolutions with a few channels (seen with 4, torch 2.13) writes
    out of bounds there in that layout.
    """
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def as_input(image_u8: Tensor) -> Tensor:
    """Scale uint8 (B, 3, S, S) to float32 in [0, 1], in the device's layout."""
    return image_u8.to(torch.float32, memory_format=layout(image_u8.device)) / 255.0


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the mode before comes back."""
    was = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was)


class TrainingStep:
    """One optimiser step, run eagerly or replayed as a CUDA graph; adds its loss up on the device."""

    def __init__(self, model: nn.Module, loss_of: LossOf, config: FitConfig, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        self.model, self.device, self.graphed = model, device, config.graph and on_gpu
        self.loss_of = torch.compile(loss_of, dynamic=False) if config.compile else loss_of
        rate = torch.tensor(config.learning_rate, device=device) if on_gpu else config.learning_rate
        self.optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=on_gpu, capturable=self.graphed)
        self.chosen_B = torch.zeros(config.batch_size, dtype=torch.long, device=device)
        self.loss_sum = torch.zeros((), device=device)
        self.done, self.graph = 0, None

    def set_rate(self, rate: float) -> None:
        """Change the step size, also of a captured graph."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def mean_loss(self, steps: int) -> float:
        """Mean of the last steps' losses; waits for the device and starts the sum anew."""
        mean = float(self.loss_sum) / steps
        self.loss_sum.zero_()
        return mean

    def _run(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_of(self.model, self.chosen_B)
        loss.backward()
        self.optimizer.step()
        self.loss_sum += loss.detach()

    def __call__(self, chosen_B: Tensor) -> None:
        """Train on the images of these numbers."""
        self.chosen_B.copy_(chosen_B)
        self.done += 1
        if not self.graphed:
            self._run()
        elif self.done <= GRAPH_WARM_UP:
            beside = torch.cuda.Stream(self.device)
            beside.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(beside):
                self._run()
            torch.cuda.current_stream(self.device).wait_stream(beside)
        else:
            if self.graph is None:
                self.graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self.graph):
                    self._run()
            self.graph.replay()


def fit(
    model: nn.Module,
    loss_of: LossOf,
    batches_SB: Tensor,
    config: FitConfig,
    *,
    checks: int,
    judge: Judge | None,
    report: Report | None = None,
) -> Fit:
    """Train a network in place and leave the chosen checkpoint's weights in it.

    The host waits for the device at checks only. Equal scores: the later checkpoint in mode ``fixed``, where a
    small validation part saturates, the earlier ``as_published``.

    Args:
        model: On its device; left in evaluation mode.
        loss_of: Loss of a batch of image numbers.
        batches_SB: Image numbers of every step, long (steps, batch_size), on the model's device.
        config: Step size, mode, precision.
        checks: How often to report and, with a judge, to compare checkpoints; at most once a step.
        judge: Judges the network on the set that the mode allows; None keeps the last weights.
        report: Called at each check with step, loss, rate, score and images a second.

    Returns:
        What was done and chosen.

    Raises:
        ConfigError: No steps, or a loss that is no longer finite.
    """
    steps, device = len(batches_SB), batches_SB.device
    if steps < 1:
        raise ConfigError(f"there are fewer samples than a batch of {config.batch_size}; lower batch_size")
    stops = {round(steps * (index + 1) / checks) for index in range(checks)} - {0}
    step, choice = TrainingStep(model, loss_of, config, device), _Choice(config.mode)
    history: list[tuple[int, float, float | None]] = []
    before, rate, started = 0, config.learning_rate, time.monotonic()
    model.train()
    with _fastest_convolutions(device):
        for done in range(1, steps + 1):
            if rate != (rate := decayed(config, done - 1, steps)):
                step.set_rate(rate)
            step(batches_SB[done - 1])
            if done in stops:
                loss = step.mean_loss(done - before)
                _check_finite(loss, done, config)
                before, score = done, None if judge is None else choice.offer(model, done, judge())
                history.append((done, loss, score))
                if report is not None:
                    report(_row(history[-1], rate, done * config.batch_size / (time.monotonic() - started)))
    choice.restore(model)
    model.eval()
    return Fit(
        steps=steps,
        chosen_step=choice.step or steps,
        chosen_by="last" if judge is None else "validation" if config.mode == "fixed" else "test",
        score=choice.score,
        history=tuple(history),
        seconds=time.monotonic() - started,
    )


class _Choice:
    """The best checkpoint so far."""

    def __init__(self, mode: Mode) -> None:
        self.mode: Mode = mode
        self.step, self.score = 0, None
        self.weights: dict[str, Tensor] = {}

    def offer(self, model: nn.Module, step: int, score: float) -> float:
        """Keep the weights if they score best; gives the score back."""
        if self.score is None or score > self.score or (score == self.score and self.mode == "fixed"):
            self.step, self.score = step, score
            self.weights = {key: value.clone() for key, value in model.state_dict().items()}
        return score

    def restore(self, model: nn.Module) -> None:
        """Put the best weights back, if there were any."""
        if self.weights:
            model.load_state_dict(self.weights)


def _fastest_convolutions(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Let cuDNN try its algorithms while the context lasts; its other settings stay as they are."""
    cudnn = torch.backends.cudnn
    if device.type != "cuda":
        return contextlib.nullcontext()
    return cudnn.flags(
        enabled=cudnn.enabled, benchmark=True, deterministic=cudnn.deterministic, allow_tf32=cudnn.allow_tf32
    )


def check_choice(config: FitConfig, *, validation: bool, test: bool) -> None:
    """Refuse sets that the mode must not look at.

    Raises:
        ConfigError: A test set in mode ``fixed``; none, or a validation set, ``as_published``.
    """
    if config.mode == "fixed" and test:
        raise ConfigError(
            "mode 'fixed' never looks at the test set while training; give a validation part of the base set, or "
            "use mode 'as_published'"
        )
    if config.mode == "as_published" and (validation or not test):
        raise ConfigError(
            "mode 'as_published' chooses the checkpoint on the test set; give test, and no validation set, or use "
            "mode 'fixed'"
        )


def _row(entry: tuple[int, float, float | None], rate: float, speed: float) -> dict[str, float | int | str]:
    step, loss, score = entry
    row: dict[str, float | int | str] = {"step": step, "loss": loss, "rate": rate, "img_per_s": round(speed, 1)}
    return row if score is None else row | {"score": score}


def _check_finite(loss: float, step: int, config: FitConfig) -> None:
    if not math.isfinite(loss):
        raise ConfigError(
            f"the loss is {loss} at step {step}; lower learning_rate ({config.learning_rate}) or use precision 'fp32'"
        )
