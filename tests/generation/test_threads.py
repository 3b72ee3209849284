"""Threads that write images: how many there are, and that PyTorch's own are shared among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from anomalyhybrid.data.loading import save_png
from anomalyhybrid.generation.threads import PIXELS_A_THREAD, writing_threads


def pictures(folder: Path, side: int, count: int) -> list[Path]:
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        save_png(path, np.zeros((side, side), np.uint8))
    return paths


@pytest.mark.parametrize(
    ("side", "count", "most", "threads", "share"),
    [
        (64, 9, 8, 2, 4),  # small images: two, however many there may be
        (64, 1, 8, 1, 8),
        (64, 9, 1, 1, 1),
        (1600, 20, 32, 1600 * 1600 // PIXELS_A_THREAD, 3),  # larger ones: more
        (1600, 4, 32, 4, 8),  # never more than images
    ],
)
def test_threads_fit_the_images_and_share_pytorchs(
    tmp_path: Path, side: int, count: int, most: int, threads: int, share: int
) -> None:
    before = torch.get_num_threads()
    try:
        with writing_threads(pictures(tmp_path, side, count), most) as pool:
            assert pool._max_workers == threads
            assert list(pool.map(lambda _: torch.get_num_threads(), range(3))) == [share] * 3
    finally:
        torch.set_num_threads(before)


def test_those_that_generate_keep_their_threads(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    with writing_threads(pictures(tmp_path, 8, 3), before) as pool:
        list(pool.map(lambda number: torch.rand(8) * number, range(3)))
    assert torch.get_num_threads() == before
