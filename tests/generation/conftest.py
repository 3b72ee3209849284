"""A tiny random generator, small rendered data, and generated sets that several files look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.recipes.generation import generate

SIZE = 64


@pytest.fixture(autouse=True)
def _own_cache(maps_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALYHYBRID_CACHE", str(maps_cache))


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
