"""What doctor says of an installation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anomalyhybrid.cli import doctor
from anomalyhybrid.cli.main import main


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder that all look-ups use."""
    monkeypatch.setenv("ANOMALYHYBRID_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_doctor_exits_with_0_and_names_what_matters(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for wanted in (f"torch {torch.__version__}", "numpy", "lite_edge", "lite_depth", "generator.safetensors"):
        assert wanted in text
    assert f"{cache}: not made yet" in text
    assert "free disk space" in text
    assert not cache.exists()


def test_missing_optional_weights_come_with_what_to_do(cache: Path) -> None:
    text = "\n".join(doctor.report())
    assert f"put it at {cache / 'pidinet_table5.pth'}, or name it with --edge-weights" in text
    cache.mkdir()
    (cache / "pidinet_table5.pth").write_bytes(b"x" * 2_000_000)
    text = "\n".join(doctor.report())
    assert f"optional, edge pidinet: {cache / 'pidinet_table5.pth'}" in text
    assert "1 files, 2.0 MB" in text


def test_missing_extras_come_with_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    text = "\n".join(doctor.report())
    assert "extra depth: transformers missing" in text
    assert "pip install 'anomalyhybrid[depth]'" in text


def test_a_torch_that_does_not_import_is_reported(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ImportError("libcudart is missing")

    monkeypatch.setattr(doctor.importlib, "import_module", refuse)
    text = "\n".join(doctor.report())
    assert "torch cannot be imported: libcudart is missing" in text
    assert "-> pip install torch" in text


def test_missing_shipped_weights_are_reported(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anomalyhybrid.errors import WeightsError
    from anomalyhybrid.models import weights

    def refuse(name: str) -> Path:
        raise WeightsError(f"{name} is gone")

    monkeypatch.setattr(weights, "shipped", refuse)
    text = "\n".join(doctor.report())
    assert text.count("missing\n  -> reinstall the package") == 3
