"""Builders of dummy 3-D data trees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

SIZE = (48, 64)
KINDS = ("bumps", "dents", "colors", "normals")


def make_cloud(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """float32 (H, W, 3): x, y, z in metres as the sensor of MVTec 3D-AD gives them; a block of zeros is unmeasured."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-0.05 : 0.05 : size[0] * 1j, -0.06 : 0.06 : size[1] * 1j]
    z = 0.5 + 0.02 * np.hypot(x, y) + rng.normal(0, 1e-5, size)
    cloud = np.stack([x * z, y * z, z], axis=-1).astype(np.float32)
    cloud[2:8, 3:9] = 0
    return cloud


def write_png(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, code = cv2.imencode(".png", pixels)
    assert done
    path.write_bytes(code.tobytes())
    return path


def write_cloud(path: Path, cloud: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, cloud, photometric="rgb", planarconfig="contig")
    return path


def _rgb(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def _mask(marked: bool) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[20:30, 20:34] = 255 * marked
    return mask


def _depth16(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(20_000, 30_000, SIZE, dtype=np.uint16)


@pytest.fixture
def dummy_mvtec_3d(tmp_path: Path) -> Callable[..., Path]:
    """Builder: train 3, validation 2, test good 2 (black masks), hole 2, cut 1, a calibration file."""

    def build(name: str = "bagel", *, train: int = 3, validation: int = 2) -> Path:
        root = tmp_path / name
        plan = [("train", "good", train), ("validation", "good", validation)]
        plan += [("test", "good", 2), ("test", "hole", 2), ("test", "cut", 1)]
        for side, defect, count in plan:
            for index in range(count):
                folder, stem = root / side / defect, f"{index:03d}"
                write_png(folder / "rgb" / f"{stem}.png", _rgb(index))
                write_cloud(folder / "xyz" / f"{stem}.tiff", make_cloud(index))
                if side == "test":
                    write_png(folder / "gt" / f"{stem}.png", _mask(defect != "good"))
        (root / "calibration").mkdir()
        (root / "calibration" / "camera_parameters.json").write_text("{}")
        return root

    return build


@pytest.fixture
def dummy_eyecandies(tmp_path: Path) -> Callable[..., Path]:
    """Builder: train 3, val 1, test_public good, bumps, bumps and dents; test_private without masks."""

    def build(
        name: str = "CandyCane", *, lights: int = 6, info: Mapping[str, float] | None = None, suffix: str = ".yaml"
    ) -> Path:
        limits = {"min": 0.5, "max": 2.5} if info is None else info
        text = "normalization:\n" + "".join(f"  {key}: {value}\n" for key, value in limits.items())
        sides: dict[str, list[tuple[str, ...] | None]] = {
            "train": [()] * 3,
            "val": [()],
            "test_public": [(), ("bumps",), ("bumps", "dents")],
            "test_private": [None, None],
        }
        for side, samples in sides.items():
            for index, marked in enumerate(samples):
                stem = tmp_path / name / side / "data" / f"{index:0{2 if 'test' in side else 3}d}"
                for light in range(lights):
                    write_png(stem.with_name(f"{stem.name}_image_{light}.png"), _rgb(10 * index + light))
                write_png(stem.with_name(f"{stem.name}_depth.png"), _depth16(index))
                write_png(stem.with_name(f"{stem.name}_normals.png"), _rgb(index))
                stem.with_name(f"{stem.name}_info_depth{suffix}").write_text(text)
                stem.with_name(f"{stem.name}_pose.txt").write_text("1 0 0 0\n")
                if marked is not None:
                    write_png(stem.with_name(f"{stem.name}_mask.png"), _mask(bool(marked)))
                    for kind in KINDS:
                        write_png(stem.with_name(f"{stem.name}_{kind}_mask.png"), _mask(kind in marked))
        return tmp_path / name

    return build


@pytest.fixture
def dummy_rgb_depth(tmp_path: Path) -> Callable[..., Path]:
    """Builder of pairs: stems a and b with a defect, c with a black mask (good), d without a mask (good)."""

    def build(name: str = "road", *, folders: tuple[str, str, str] = ("rgb", "depth", "ground_truth")) -> Path:
        images, depths, masks = (tmp_path / name / folder for folder in folders)
        for index, stem in enumerate("abcd"):
            write_png(images / f"{stem}.png", _rgb(index))
            write_png(depths / f"{stem}.png", _depth16(index))
            if stem != "d":
                write_png(masks / f"{stem}.png", _mask(stem != "c"))
        return tmp_path / name

    return build
