"""A set made on Ray is the set that one process makes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from set_files import contents

from anomalyhybrid.errors import AnomalyHybridError, ConfigError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.recipes.ray_shards import generate_on_ray

SETTINGS = {"count": 3, "normals": 1, "batch_size": 2}


@pytest.fixture
def _cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=200 * 2**20)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("_cluster")
def test_ray_makes_the_same_set(
    tmp_path: Path, make_set: Callable[..., Path], tiny_run: Path, products: Path, maps_cache: Path
) -> None:
    data, cache = [products / "nut"], maps_cache / "conditions"
    whole = make_set(tmp_path / "whole", *data, **SETTINGS)
    given = {"config": GenerateConfig(**SETTINGS), "cache": cache}
    summary = generate_on_ray(2, str(tiny_run), data, tmp_path / "set", **given)
    assert contents(tmp_path / "set") == contents(whole)
    assert summary["nut"]["defects"] == 3
    with pytest.raises(AnomalyHybridError, match=r"shard ./2: .*does not exist"):
        generate_on_ray(2, str(tiny_run), [tmp_path / "none"], tmp_path / "other", **given)


def test_what_cannot_be_made_is_refused(
    tmp_path: Path, tiny_run: Path, products: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="Ray is not installed; install it with"):
        generate_on_ray(2, str(tiny_run), [products], tmp_path / "set", config=GenerateConfig(**SETTINGS))
