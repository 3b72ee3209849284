"""Results on their way from a GPU to memory that it writes to itself."""

from __future__ import annotations

import torch
from torch import Tensor


def to_host(tensor: Tensor) -> Tensor:
    """Begin to copy a tensor to the CPU; one that is there already is given back. Read it after `wait_for_host`.

    PyTorch then copies into page-locked memory, which it keeps and takes again. Fresh pages for every copy are what a
    copy costs otherwise: 1 GB/s on a rented GPU machine, a third of a second for 64 candidates (docs/log.md).
    """
    return tensor.to("cpu", non_blocking=True)


def wait_for_host(device: torch.device) -> None:
    """Wait until what `to_host` began on a device is there.

    Asleep: a host that waits for a GPU in PyTorch's usual way keeps a core busy, which the threads that finish and
    write images need.
    """
    if device.type == "cuda":
        reached = torch.cuda.Event(blocking=True)
        reached.record(torch.cuda.current_stream(device))
        reached.synchronize()


def places_of(chosen_B: Tensor) -> Tensor:
    """Places of the chosen samples, long (N,); their number is known to the host only when the GPU has come so far."""
    wait_for_host(chosen_B.device)
    return chosen_B.nonzero()[:, 0]
