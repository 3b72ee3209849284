"""Fixtures that several packages' tests use: images, data trees, the shared folder, a tiny random generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from anomalyhybrid.conditions.lite import lite_depth, lite_edge
from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import Generator, save_generator

SIZE = 64  # of what the tiny generator is given


def make_rgb(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """Make a smooth uint8 RGB image with some noise, so that lossy formats keep it."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    base = np.stack([x, y, 1 - x * y], axis=-1) * 200 + 20
    noise = np.random.default_rng(seed).normal(0, 3, base.shape)
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def make_mask(height: int = 48, width: int = 64) -> np.ndarray:
    """Make a bool mask with one disc."""
    y, x = np.mgrid[:height, :width]
    return (y - height / 2) ** 2 + (x - width / 3) ** 2 < (min(height, width) / 5) ** 2


def write_image(path: Path, pixels: np.ndarray) -> Path:
    """Write RGB, grey or bool pixels with OpenCV, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.ndim == 3:
        pixels = pixels[..., ::-1]
    done, encoded = cv2.imencode(path.suffix, np.ascontiguousarray(pixels))
    assert done
    path.write_bytes(encoded.tobytes())
    return path


def build_mvtec(
    root: Path,
    *,
    train: int = 4,
    test: int = 2,
    defects: Mapping[str, int] | None = None,
    size: tuple[int, int] = (48, 64),
    suffix: str = ".png",
) -> Path:
    """Write one category in MVTec AD layout: numbered images, a disc as each mask.

    Args:
        root: The category's folder; its name is the category.
        train: Number of train/good images.
        test: Number of test/good images.
        defects: Number of images for each defect type; by default 4 ``scratch`` and 2 ``dent``.
        size: Height and width of all images.
        suffix: Ending of the images; masks are PNG.

    Returns:
        The root.
    """
    counts = {"scratch": 4, "dent": 2} if defects is None else dict(defects)
    for index in range(train):
        write_image(root / "train" / "good" / f"{index:03d}{suffix}", make_rgb(*size, seed=index))
    for index in range(test):
        write_image(root / "test" / "good" / f"{index:03d}{suffix}", make_rgb(*size, seed=100 + index))
    for defect, count in counts.items():
        for index in range(count):
            pixels, mask = make_rgb(*size, seed=200 + index), make_mask(*size)
            pixels[mask] = 255 - pixels[mask]
            write_image(root / "test" / defect / f"{index:03d}{suffix}", pixels)
            write_image(root / "ground_truth" / defect / f"{index:03d}_mask.png", mask)
    return root


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The research material beside the repository; tests that need it are skipped when it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.fixture
def rgb_image() -> np.ndarray:
    """uint8 (48, 64, 3), RGB."""
    return make_rgb()


@pytest.fixture
def grey_image() -> np.ndarray:
    """uint8 (48, 64)."""
    return make_rgb()[..., 0].copy()


@pytest.fixture
def rgb16_image() -> np.ndarray:
    """uint16 (48, 64, 3), RGB, low bytes in use."""
    return np.random.default_rng(1).integers(0, 65536, (48, 64, 3), dtype=np.uint16)


@pytest.fixture
def disc_mask() -> np.ndarray:
    """Bool (48, 64), one disc."""
    return make_mask()


@pytest.fixture
def dummy_mvtec(tmp_path: Path) -> Callable[..., Path]:
    """Builder of data trees below ``tmp_path``: ``dummy_mvtec("widget", train=4, defects={"dent": 3})``."""

    def build(name: str = "widget", **settings: object) -> Path:
        return build_mvtec(tmp_path / name, **settings)  # type: ignore[arg-type]

    return build


@pytest.fixture
def dummy_folder(tmp_path: Path) -> Callable[..., Path]:
    """Builder of plain folders of good images below ``tmp_path``."""

    def build(name: str = "parts", count: int = 3, size: tuple[int, int] = (48, 64)) -> Path:
        for index in range(count):
            write_image(tmp_path / name / f"img{index}.png", make_rgb(*size, seed=index))
        return tmp_path / name

    return build


@pytest.fixture
def put_image() -> Callable[[Path, np.ndarray], Path]:
    """The function that writes pixels to any format by the path's ending, making the folder."""
    return write_image


def save_random_generator(path: Path, seed: int) -> Path:
    """Write a generator with random weights: whatever it draws differs from the target everywhere."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Generator(GeneratorConfig(width=8, max_width=16, blocks=1))
    about = {
        "edge": "lite",
        "depth": "lite",
        "edge_name": lite_edge().name,
        "depth_name": lite_depth().name,
        "size": str(SIZE),
        "categories": "none",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_generator(path, model, about)
    return path


@pytest.fixture(scope="session")
def random_generator() -> Callable[[Path, int], Path]:
    """Writer of generators with random weights."""
    return save_random_generator


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a tiny random generator."""
    return save_random_generator(tmp_path_factory.mktemp("run") / "generator.safetensors", 0).parent


@pytest.fixture(scope="session")
def maps_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cache folder for the whole session, in place of the user's."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rendered categories, four good images and one defect of each kind in each."""
    root = tmp_path_factory.mktemp("products")
    for number, product in enumerate(("capsule", "nut")):
        write_dataset(root, product=product, product_seed=number, seed=3, train_good=4, defects_per_kind=1, size=SIZE)
    return root
