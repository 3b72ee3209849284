"""The processes that train one generator together under torchrun, or the only one there is (ADR-019)."""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor

from anomalyhybrid.errors import CheckpointError, ConfigError
from anomalyhybrid.torchrun import VARIABLES, read_place

TIMEOUT = timedelta(hours=24)
"""How long processes wait for each other: condition maps of a large set are extracted by one while the others wait. A
process that ends is noticed by torchrun, not by this limit."""
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Processes:
    """Where this process stands among those that train together; by default it is alone.

    Every method is a call that all processes make at the same place, and does nothing for a single one.

    Attributes:
        rank: This process's number, from 0.
        count: How many there are.
        device: Where this process trains.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def _host(self) -> dist.ProcessGroup | None:
        """Group for what is exchanged between CPUs, so that nothing waits for a GPU; None is the default group."""
        return None if self.device.type == "cpu" else _host_group()

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files and speaks."""
        return self.rank == 0

    def check_batch(self, batch_size: int) -> None:
        """Every process takes the same number of samples.

        Raises:
            ConfigError: The batch cannot be shared evenly.
        """
        if batch_size % self.count:
            higher = batch_size + self.count - batch_size % self.count
            raise ConfigError(
                f"train.batch_size is {batch_size}, but {self.count} processes share each batch evenly; give a multiple"
                f" of {self.count}, for example --batch-size {higher}, or another --nproc-per-node"
            )

    def mean(self, value: Tensor) -> Tensor:
        """Mean over the processes, without gradient; the tensor itself for a single process."""
        if self.count == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.count

    def mean_of_each(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mean of named scalars over the processes."""
        if self.count == 1:
            return values
        means = self.mean(torch.stack([value.float() for value in values.values()]))
        return dict(zip(values, means.unbind(), strict=True))

    def average_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Replace the gradients of an optimiser's parameters by their mean over the processes, in one exchange."""
        if self.count == 1:
            return
        parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(own) for part, own in zip(parts, gradients, strict=True)])

    def take_from_main(self, modules: Iterable[torch.nn.Module]) -> None:
        """Give all processes the main one's weights."""
        if self.count > 1:
            for module in modules:
                for value in module.state_dict().values():
                    dist.broadcast(value, 0)

    def any_of(self, *wishes: bool) -> tuple[bool, ...]:
        """Whether any process has each wish: all leave after the same step, or the others would wait for ever."""
        if self.count == 1:
            return wishes
        found = torch.tensor(wishes, dtype=torch.int32)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self._host)
        return tuple(bool(wish) for wish in found.tolist())

    def wait(self) -> None:
        """Go on when all processes are here."""
        self.any_of(False)

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process do something before the others, who then find its files."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()

    def check_same(self, state: str) -> None:
        """All processes start from one state.

        Args:
            state: What identifies data, settings and the steps done.

        Raises:
            CheckpointError: They differ, as on machines that do not share their files.
        """
        if self.count == 1:
            return
        states: list[str | None] = [None] * self.count
        dist.all_gather_object(states, state, group=self._host)
        if len(set(states)) > 1:
            raise CheckpointError(
                "the processes have different images, settings or checkpoints; give all of them the same data, the"
                " same flags and one --out that all see"
            )


ALONE = Processes()


def join_processes() -> Processes:
    """Find the other processes of a torchrun, once for each program; alone without one.

    Raises:
        ConfigError: The variables that torchrun sets are incomplete or no numbers, or there are more processes than
            GPUs.
    """
    place = read_place(VARIABLES)
    if place is None or place.count == 1:
        return Processes(device=PartialState().device or CPU)
    gpu = torch.accelerator.current_accelerator(check_available=True)
    on_gpu = gpu is not None and gpu.type != "mps"  # a Mac's GPU is one alone
    local = int(os.environ.get("LOCAL_WORLD_SIZE") or "1")
    if on_gpu and local > torch.accelerator.device_count():
        raise ConfigError(
            f"{local} processes were started on a machine with {torch.accelerator.device_count()} GPUs; start one for"
            " each GPU (torchrun --nproc-per-node gpu), or set CUDA_VISIBLE_DEVICES= to train on the CPU"
        )
    # Its defaults would keep the group alive for ever, if they were evaluated later (as Adam's first step does).
    importlib.import_module("torch.distributed.nn.functional")
    state = PartialState(cpu=not on_gpu, timeout=TIMEOUT)
    if state.num_processes != place.count:
        raise ConfigError(
            f"WORLD_SIZE is {place.count}, but {state.num_processes} process was joined: Accelerate was"
            " started before; call join_processes() first"
        )
    processes = Processes(state.process_index, state.num_processes, state.device or CPU)
    _leave_at_exit(processes)
    return processes


@functools.cache
def _leave_at_exit(processes: Processes) -> None:
    """Let gloo's threads end before Python does: one that still holds a tensor then would abort the process.

    Source: https://github.com/pytorch/pytorch/pull/179291.
    """
    host = processes._host

    def leave() -> None:
        if dist.is_initialized():
            dist.destroy_process_group(host)  # NCCL's is left alone: after a fault it could wait for the others
        _host_group.cache_clear()

    atexit.register(leave)


@functools.cache
def _host_group() -> dist.ProcessGroup:
    """A gloo group beside the GPUs' group, made once."""
    return dist.new_group(backend="gloo", timeout=TIMEOUT)  # pyright: ignore[reportReturnType]
