"""A tiny random generator, small rendered data, and generated sets that several files look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from anomalyhybrid.conditions.lite import lite_depth, lite_edge
from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import Generator, save_generator
from anomalyhybrid.recipes.generation import generate

SIZE = 64


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


@pytest.fixture(autouse=True)
def _own_cache(maps_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALYHYBRID_CACHE", str(maps_cache))


@pytest.fixture(scope="session")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rendered categories, four good images and one defect of each kind in each."""
    root = tmp_path_factory.mktemp("products")
    for number, product in enumerate(("capsule", "nut")):
        write_dataset(root, product=product, product_seed=number, seed=3, train_good=4, defects_per_kind=1, size=SIZE)
    return root


@pytest.fixture(scope="session")
def make_set(tiny_run: Path, maps_cache: Path) -> Callable[..., Path]:
    """`generate` with the tiny generator: ``make_set(out, data, base_set=[...], count=8, ...)``."""

    def make(
        out: Path,
        *data: Path,
        base_set: tuple[Path, ...] = (),
        run: Path = tiny_run,
        resume: bool = False,
        report: Callable[[int, int], None] | None = None,
        **settings: object,
    ) -> Path:
        config = GenerateConfig(**({"count": 6, "normals": 2, "batch_size": 8} | settings))
        generate(
            str(run),
            data,
            out,
            base_set=base_set,
            config=config,
            resume=resume,
            cache=maps_cache / "conditions",
            announce=lambda text: None,
            report=report,
        )
        return out

    return make


@pytest.fixture(scope="session")
def one_category(tmp_path_factory: pytest.TempPathFactory, make_set: Callable[..., Path], products: Path) -> Path:
    """A set of one category without real defects."""
    return make_set(tmp_path_factory.mktemp("one") / "set", products / "nut", count=10, normals=3, batch_size=4)


@pytest.fixture(scope="session")
def normals_of_both_kinds(
    tmp_path_factory: pytest.TempPathFactory, make_set: Callable[..., Path], products: Path
) -> Path:
    """Good images only, redrawn whole and in patches in turn, in batches of 3."""
    out = tmp_path_factory.mktemp("normals") / "set"
    return make_set(out, products / "nut", count=0, normals=8, batch_size=3, normals_as="both")


@pytest.fixture(scope="session")
def two_categories(tmp_path_factory: pytest.TempPathFactory, make_set: Callable[..., Path], products: Path) -> Path:
    """A set of two categories with their real defects, in batches of 3."""
    out = tmp_path_factory.mktemp("two") / "set"
    return make_set(out, products, base_set=(products,), count=8, normals=2, batch_size=3, procedural=0.3)
