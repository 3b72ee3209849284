"""Sets made by another runtime: recorded, of the same decisions, and finished or made again only by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from set_files import contents

from anomalyhybrid.backends.choice import BACKEND, choose_backend, missing_packages
from anomalyhybrid.data.loading import load_image
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import DATASET, read_dataset, read_rows
from anomalyhybrid.recipes.regeneration import regenerate

NAME = "openvino"
needs_runtime = pytest.mark.skipif(bool(missing_packages(NAME)), reason=f"extra {NAME} is missing")
SETTINGS = {"count": 4, "normals": 2, "batch_size": 2}


def quiet(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def plain(make_set: Callable[..., Path], products: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("plain") / "set", products / "nut", backend="torch", **SETTINGS)


def test_an_unknown_backend_is_refused() -> None:
    match = r"generate\.backend is 'tensorrt'; give one of auto, torch, compiled, onnx, openvino, openvino-bf16"
    with pytest.raises(ConfigError, match=match):
        GenerateConfig(backend="tensorrt")  # type: ignore[arg-type]


def test_the_runtime_is_recorded(plain: Path) -> None:
    about = read_dataset(plain)
    assert about[BACKEND] == choose_backend("torch", "cpu").record()
    assert about["config"]["backend"] == "torch"


def test_a_set_is_not_finished_or_made_again_by_another_runtime(make_set, products: Path, tmp_path: Path) -> None:
    out = make_set(tmp_path / "set", products / "nut", backend="torch", **SETTINGS)
    about = read_dataset(out)
    about[BACKEND] = {"name": NAME, "version": "2000.0"}
    about["config"]["backend"] = "auto"
    (out / DATASET).write_text(json.dumps(about))
    (out / "manifest.jsonl").write_text("")
    before = contents(out)
    with pytest.raises(DataError, match=r"begun with backend openvino 2000\.0"):
        make_set(out, products / "nut", resume=True, **SETTINGS)
    assert contents(out) == before


@needs_runtime
def test_openvino_makes_the_same_set_but_for_last_bits(make_set, plain: Path, products: Path, tmp_path: Path) -> None:
    out = make_set(tmp_path / "set", products / "nut", backend=NAME, **SETTINGS)
    assert read_dataset(out)[BACKEND]["name"] == NAME
    for one, other in zip(read_rows(out), read_rows(plain), strict=True):
        assert (one.id, one.target, one.operation, one.decoder) == (
            other.id,
            other.target,
            other.operation,
            other.decoder,
        )
        first, second = (load_image(root / row.image).pixels for root, row in ((out, one), (plain, other)))
        assert np.abs(first.astype(int) - second.astype(int)).max() <= 2


@needs_runtime
def test_openvino_sets_resume_and_regenerate_to_the_same_bytes(make_set, products: Path, tmp_path: Path) -> None:
    out = make_set(tmp_path / "set", products / "nut", backend=NAME, **SETTINGS)
    before = contents(out)
    lost = read_rows(out)[1]
    (out / lost.image).unlink()
    make_set(out, products / "nut", backend=NAME, resume=True, **SETTINGS)
    assert contents(out) == before
    again = regenerate(out, lost.id, tmp_path / "one", announce=quiet)
    assert again.read_bytes() == (out / lost.image).read_bytes()
