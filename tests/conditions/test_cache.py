"""The cache gives what extraction gives, extracts once, and mends damaged files."""

from __future__ import annotations

import errno
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.data import files as data_files
from anomalyhybrid.errors import ConfigError, DataError


class Counting:
    """An extractor that counts the images it was given; gives one channel of the image."""

    def __init__(self, name: str, channel: int) -> None:
        self.name = name
        self.channel = channel
        self.batches: list[int] = []

    @property
    def seen(self) -> int:
        return sum(self.batches)

    def to(self, device):
        return self

    def __call__(self, image_B3HW: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(image_B3HW))
        return (image_B3HW[:, self.channel : self.channel + 1] + 1) / 2


@pytest.fixture
def pair() -> tuple[Counting, Counting]:
    return Counting("edge-0", 0), Counting("depth/0", 1)


def pictures(count: int, height: int = 32, width: int = 32) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_maps_are_the_extractors_and_hits_extract_nothing(tmp_path: Path, pair):
    edge, depth = pair
    images = pictures(5)
    cache = ConditionCache(tmp_path / "c", batch=2)
    edges, depths = cache.extract(iter(images), edge=edge, depth=depth, size=32)
    assert edges.dtype == depths.dtype == torch.uint8
    assert edges.shape == depths.shape == (5, 1, 32, 32)
    assert torch.equal(edges[:, 0], torch.from_numpy(np.stack(images))[..., 0])
    assert torch.equal(depths[:, 0], torch.from_numpy(np.stack(images))[..., 1])
    assert edge.batches == [2, 2, 1]
    again = ConditionCache(tmp_path / "c").extract(images, edge=edge, depth=depth, size=32)
    assert torch.equal(again[0], edges)
    assert torch.equal(again[1], depths)
    assert edge.seen == depth.seen == 5


def test_only_batches_with_a_missing_map_are_extracted(tmp_path: Path, pair):
    edge, depth = pair
    images = pictures(10)
    cache = ConditionCache(tmp_path, batch=4)
    cache.extract([*images[:4], images[5]], edge=edge, depth=depth, size=32)
    assert edge.batches == [4, 1]
    edges, _ = cache.extract(images, edge=edge, depth=depth, size=32)
    assert edge.batches == [4, 1, 4, 2]
    assert torch.equal(edges[:, 0], torch.from_numpy(np.stack(images))[..., 0])


def test_maps_are_the_same_whatever_was_stored_before_a_kill(tmp_path: Path):
    class OfBatch(Counting):
        def __call__(self, image_B3HW: torch.Tensor) -> torch.Tensor:
            return super().__call__(image_B3HW) * 0.5 + image_B3HW.mean() * 0.1 + 0.2  # as last bits do, but plainly

    edge, depth = OfBatch("edge-0", 0), OfBatch("depth/0", 1)
    images = pictures(7)
    whole, _ = ConditionCache(tmp_path / "whole", batch=3).extract(images, edge=edge, depth=depth, size=32)
    cache = ConditionCache(tmp_path / "part", batch=3)
    cache.extract(images, edge=edge, depth=depth, size=32)
    for path in files(tmp_path / "part")[1::2]:  # a kill leaves any of them
        path.unlink()
    again, _ = cache.extract(images, edge=edge, depth=depth, size=32)
    assert torch.equal(again, whole)


def test_other_names_and_sizes_are_other_entries(tmp_path: Path, pair):
    edge, depth = pair
    images = pictures(1)
    cache = ConditionCache(tmp_path)
    cache.extract(images, edge=edge, depth=depth, size=32)
    cache.extract(images, edge=Counting("edge-1", 2), depth=depth, size=32)
    cache.extract(images, edge=edge, depth=depth, size=16)
    assert len(files(tmp_path)) == 5
    assert (edge.seen, depth.seen) == (2, 2)


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "other size", "colour"])
def test_damaged_files_are_extracted_again(tmp_path: Path, pair, damage: str):
    edge, depth = pair
    images = pictures(2)
    cache = ConditionCache(tmp_path)
    good, _ = cache.extract(images, edge=edge, depth=depth, size=32)
    victim = next(path for path in files(tmp_path) if "edge" in str(path))
    content = bytearray(victim.read_bytes())
    if damage == "empty":
        content = bytearray()
    elif damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    else:
        shape = (8, 8) if damage == "other size" else (32, 32, 3)
        content = bytearray(cv2.imencode(".png", np.zeros(shape, np.uint8))[1].tobytes())
    victim.write_bytes(bytes(content))
    mended, _ = cache.extract(images, edge=edge, depth=depth, size=32)
    assert torch.equal(mended, good)
    assert edge.batches == [2, 2]
    cache.extract(images, edge=edge, depth=depth, size=32)
    assert edge.batches == [2, 2]


def test_an_interrupted_write_leaves_no_file(tmp_path: Path, pair, monkeypatch: pytest.MonkeyPatch):
    edge, depth = pair

    def stop(source, target):
        raise KeyboardInterrupt

    cache = ConditionCache(tmp_path)
    monkeypatch.setattr(data_files.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        cache.extract(pictures(1), edge=edge, depth=depth, size=32)
    assert files(tmp_path) == []


def test_a_cache_that_is_a_file(tmp_path: Path, pair):
    edge, depth = pair
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(DataError, match=r"file is a file\. Give a folder"):
            ConditionCache(folder)
    cache = ConditionCache(tmp_path / "late")
    (tmp_path / "late").write_text("x")
    with pytest.raises(DataError, match="a file is in the way"):
        cache.extract(pictures(1), edge=edge, depth=depth, size=32)


def test_cache_files_that_cannot_be_read_are_extracted_again(tmp_path: Path, pair, monkeypatch: pytest.MonkeyPatch):
    edge, depth = pair
    cache = ConditionCache(tmp_path)
    good, _ = cache.extract(pictures(1), edge=edge, depth=depth, size=32)

    def refuse(self):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert torch.equal(cache.extract(pictures(1), edge=edge, depth=depth, size=32)[0], good)
    assert edge.seen == 2


@pytest.mark.parametrize(("call", "message"), [("mkdir", "cannot write the cache"), ("open", "disk is full")])
def test_a_full_disk_is_worded(tmp_path: Path, pair, monkeypatch: pytest.MonkeyPatch, call: str, message: str):
    edge, depth = pair

    def fail(*args, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "mkdir":
        monkeypatch.setattr(Path, "mkdir", fail)
    else:
        monkeypatch.setattr(data_files, "open", fail, raising=False)
    with pytest.raises(DataError, match=message):
        ConditionCache(tmp_path / "c").extract(pictures(1), edge=edge, depth=depth, size=32)


def test_no_folder_stores_nothing(tmp_path: Path, pair, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    edge, depth = pair
    edges, _ = ConditionCache(None).extract(pictures(2, 40, 20), edge=edge, depth=depth, size=16)
    assert edges.shape == (2, 1, 16, 16)
    assert files(tmp_path) == []


def test_measured_depth_takes_the_extractors_place(tmp_path: Path, pair):
    edge, depth = pair
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    cache = ConditionCache(tmp_path)
    _, depths = cache.extract(pictures(1, 8, 8), edge=edge, depth=None, size=8, measured=[ramp])
    assert torch.equal(depths[0, 0], torch.from_numpy(np.round(ramp * 255).astype(np.uint8)))
    with pytest.raises(DataError, match="one for each"):
        cache.extract(pictures(2, 8, 8), edge=edge, depth=None, size=8, measured=[ramp])
    with pytest.raises(ConfigError, match="exactly one"):
        cache.extract(pictures(1, 8, 8), edge=edge, depth=depth, size=8, measured=[ramp])


def test_no_images_and_wrong_images(pair):
    edge, depth = pair
    cache = ConditionCache(None)
    assert cache.extract([], edge=edge, depth=depth, size=8)[0].shape == (0, 1, 8, 8)
    with pytest.raises(DataError, match="uint8 RGB"):
        cache.extract([np.zeros((8, 8), np.uint8)], edge=edge, depth=depth, size=8)
