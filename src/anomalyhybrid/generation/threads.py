"""Threads that finish and write images, which share PyTorch's own threads instead of multiplying them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from anomalyhybrid.data.headers import at_a_time


@contextlib.contextmanager
def writing_threads(paths: Sequence[Path], most: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for one image each, as many as the images' sizes allow.

    PyTorch gives every thread that uses it a team of its own; teams that are larger together than the machine wait for
    each other (docs/log.md: 8 processes of 4 such threads wrote 54 images a second in place of over a thousand).

    Args:
        paths: The images.
        most: Threads that may run in all, `torch.get_num_threads()` of the thread that generates.
    """
    count = max(1, min(at_a_time(paths, most), len(paths)))
    share = max(1, most // count)
    with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(share,)) as threads:
        yield threads
    torch.set_num_threads(most)  # for threads that start later, which begin with what was set last
