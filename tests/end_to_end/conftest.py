"""Rendered parts, a run trained on them by the command line, and the set that no one stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from anomalyhybrid.cli.main import main
from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.recipes import training

SIZE = 64


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALYHYBRID_CACHE", str(cache))


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rendered categories, with one defect of each kind."""
    root = tmp_path_factory.mktemp("data") / "parts"
    for product in ("nut", "plate"):
        write_dataset(root, product=product, product_seed=2, seed=5, train_good=3, defects_per_kind=1, size=SIZE)
    return root


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, parts: Path, cache: Path) -> Path:
    """A run of two steps, trained by the command line with a tiny network in place of the preset's."""
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", parts, "--base-set", parts, "--out", out, "--start", "scratch", "--size", SIZE, "--steps", 2]
    words += ["--batch-size", 2, "--journal-every", 1, "--checkpoint-every", 1, "--sample-every", 2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANOMALYHYBRID_CACHE", str(cache))
        config = training.GeneratorConfig(width=8, max_width=16, blocks=1)
        patch.setattr(training, "generator_preset", lambda name: config)
        assert main([str(word) for word in words]) == 0
    return out


@pytest.fixture
def words(run: Path, parts: Path) -> Callable[..., list[str]]:
    """Command line of the set that these tests make: 2 x (6 defects + 2 normals) in batches of 2."""

    def build(out: Path, *more: object) -> list[str]:
        given: list[object] = ["generate", run, "--data", parts, "--base-set", parts, "--out", out]
        given += ["--count", 6, "--normals", 2, "--batch-size", 2, "--procedural", 0.4, *more]
        return [str(word) for word in given]

    return build


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, run: Path, parts: Path, cache: Path) -> Path:
    """The set that no one stopped."""
    out = tmp_path_factory.mktemp("whole") / "set"
    given: list[object] = ["generate", run, "--data", parts, "--base-set", parts, "--out", out]
    given += ["--count", 6, "--normals", 2, "--batch-size", 2, "--procedural", 0.4]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANOMALYHYBRID_CACHE", str(cache))
        assert main([str(word) for word in given]) == 0
    return out
