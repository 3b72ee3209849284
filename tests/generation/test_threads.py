"""Threads that write images: how many there are, and that PyTorch's and OpenCV's own are shared among them."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from anomalyhybrid.data.loading import save_png
from anomalyhybrid.generation.threads import PIXELS_A_THREAD, writing_threads

CV2_OBEYS = sys.platform != "darwin"  # its build there says the same number whatever is set


def pictures(folder: Path, side: int, count: int) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        save_png(path, np.zeros((side, side), np.uint8))
    return paths


@pytest.mark.parametrize(
    ("side", "count", "most", "threads", "share"),
    [
        (64, 9, 8, 2, 1),  # small images: two, however many there may be, and no team within one
        (64, 1, 8, 1, 1),
        (64, 9, 1, 1, 1),
        (1600, 20, 32, 1600 * 1600 // PIXELS_A_THREAD, 3),  # larger ones: more
        (1600, 4, 32, 4, 8),  # never more than images
        (1024, 1, 32, 1, 4),  # nor more for one than it has pixels for
    ],
)
def test_threads_fit_the_images_and_share_pytorchs(
    tmp_path: Path, side: int, count: int, most: int, threads: int, share: int
) -> None:
    before, before_cv2 = torch.get_num_threads(), cv2.getNumThreads()
    try:
        with writing_threads(pictures(tmp_path, side, count), most) as pool:
            assert pool._max_workers == threads
            assert list(pool.map(lambda _: torch.get_num_threads(), range(3))) == [share] * 3
            assert not CV2_OBEYS or cv2.getNumThreads() == share
        assert not CV2_OBEYS or cv2.getNumThreads() == most
    finally:
        torch.set_num_threads(before)
        cv2.setNumThreads(before_cv2)


class StoppedError(Exception):
    """Stands for a full disk."""


@pytest.mark.parametrize("stopped", [False, True])
def test_threads_that_start_later_have_all_of_pytorchs(tmp_path: Path, stopped: bool) -> None:
    """PyTorch gives a new thread what was set last in any; so what is set for the writers must be taken back."""
    before, before_cv2, found = torch.get_num_threads(), cv2.getNumThreads(), []

    def write() -> None:
        try:
            with writing_threads(pictures(tmp_path, 8, 3), 4) as pool:
                assert list(pool.map(lambda _: torch.get_num_threads(), range(2))) == [1, 1]
                if stopped:
                    raise StoppedError
        except StoppedError:
            pass

    try:
        for work in (write, lambda: found.append(torch.get_num_threads())):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        assert found == [4]
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)
        cv2.setNumThreads(before_cv2)
