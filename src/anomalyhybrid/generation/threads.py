"""Threads that finish and write images, which share PyTorch's own threads instead of multiplying them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import torch

from anomalyhybrid.data.headers import fitting, most_pixels

PIXELS_A_THREAD = 1 << 18
"""Pixels of an image for each thread beyond two: of smaller images more threads do nothing but wait for Python's lock,
and make the thread that draws the next images wait for it as well (docs/log.md: a small step of it takes 3 us alone, 12
beside 2 writing threads, 50 beside 32). Nor does a team pay within such an image: its threads wait awake for their next
share (four processes of eight threads kept 24 of 32 cores busy, 32 ms of CPU an image that takes 4 to write)."""


@contextlib.contextmanager
def writing_threads(paths: Sequence[Path], most: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for one image each, as many as the images' sizes allow.

    PyTorch gives every thread that uses it a team of its own; teams that are larger together than the machine wait for
    each other. OpenCV has one team for the process, which meanwhile is as large as one thread's share, and both have a
    thread for each `PIXELS_A_THREAD` of the largest image.

    Args:
        paths: The images.
        most: Threads that may run in all, `torch.get_num_threads()` of the thread that generates.
    """
    largest = most_pixels(paths)
    worth = largest // PIXELS_A_THREAD  # threads that an image has pixels for
    count = max(1, min(fitting(largest, min(most, max(2, worth))), len(paths)))
    share = max(1, min(most // count, worth))
    cv2.setNumThreads(share)
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(share,)) as threads:
            yield threads
    finally:
        cv2.setNumThreads(most)
        torch.set_num_threads(most)  # for threads that start later, which begin with what was set last
