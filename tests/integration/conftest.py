"""A tiny random generator and small rendered products for the data set and the augmenter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anomalyhybrid.conditions.lite import lite_depth, lite_edge
from anomalyhybrid.data.loading import load_image, to_rgb_u8
from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import Generator, save_generator

SIZE = 64


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator with random weights: whatever it draws differs from the target everywhere."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Generator(GeneratorConfig(width=8, max_width=16, blocks=1))
    about = {
        "edge": "lite",
        "depth": "lite",
        "edge_name": lite_edge().name,
        "depth_name": lite_depth().name,
        "size": str(SIZE),
        "categories": "none",
    }
    path = tmp_path_factory.mktemp("integration_run") / "generator.safetensors"
    save_generator(path, model, about)
    return path.parent


@pytest.fixture(scope="session")
def maps_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cache folder for the whole session, in place of the user's."""
    return tmp_path_factory.mktemp("integration_cache")


@pytest.fixture(autouse=True)
def _own_cache(maps_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALYHYBRID_CACHE", str(maps_cache))


@pytest.fixture(scope="session")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rendered categories, four good images and one defect of each kind in each."""
    root = tmp_path_factory.mktemp("integration_products")
    for number, product in enumerate(("capsule", "nut")):
        write_dataset(root, product=product, product_seed=number, seed=3, train_good=4, defects_per_kind=1, size=SIZE)
    return root


@pytest.fixture(scope="session")
def good_images(products: Path) -> torch.Tensor:
    """The four good nuts, float (4, 3, 64, 64) in [0, 1]."""
    records = read_data(products / "nut").normals()
    pixels = [torch.tensor(to_rgb_u8(load_image(record.path).pixels)).permute(2, 0, 1) for record in records]
    return torch.stack(pixels).float() / 255
