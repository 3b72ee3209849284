"""The command line answers at once: nothing heavy is imported before a command runs."""

from __future__ import annotations

import re
import resource
import subprocess
import sys

import pytest

import anomalyhybrid
from anomalyhybrid.cli.main import main

_HEAVY = ("torch", "torchvision", "transformers", "gradio", "accelerate", "cv2")
_COMMANDS = (
    "prepare",
    "train",
    "train-depth",
    "generate",
    "regenerate",
    "validate",
    "report",
    "select",
    "export",
    "evaluate",
    "demo",
    "doctor",
)


def _heavy_after(code: str) -> list[str]:
    """Run Python code in a fresh process and name the heavy modules that it loaded."""
    ending = f"\nimport sys\nprint('LOADED', [name for name in {_HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + ending], capture_output=True, text=True, check=True)
    found = re.search(r"LOADED \[(.*)\]", done.stdout)
    assert found, done
    return [name.strip("' ") for name in found[1].split(",") if name]


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert _heavy_after("import anomalyhybrid; anomalyhybrid.__version__; anomalyhybrid.TrainConfig()") == []


def test_help_and_usage_errors_load_nothing_heavy() -> None:
    calls = [
        ["--help"],
        ["--version"],
        *[[name, "--help"] for name in _COMMANDS],
        ["train", "d", "--sise", "1"],
    ]
    code = f"from anomalyhybrid.cli.main import main\nfor words in {calls!r}: main(words)"
    assert _heavy_after(code) == []


def test_help_is_quick() -> None:
    def seconds() -> float:
        """Processor time, which other work on the machine hardly changes."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "anomalyhybrid.cli.main", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    best = min(seconds() for _ in range(5))
    assert best < 0.5


def test_import_is_quick() -> None:
    code = "import time; t = time.perf_counter(); import anomalyhybrid; print(time.perf_counter() - t)"
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(times) < 0.3


@pytest.mark.parametrize("words", [["--help"], [], *[[name, "--help"] for name in _COMMANDS]])
def test_help_exits_with_0(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert "Usage: anomalyhybrid" in capsys.readouterr().out


def test_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "--help"])
    text = capsys.readouterr().out
    for flag in ("--batch-size", "--augment.edit", "--base-set", "--resume", "--config", "--no-compile"):
        assert flag in text
    assert "Optimiser steps." in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == anomalyhybrid.__version__


def test_public_names_exist_and_are_few() -> None:
    assert len(anomalyhybrid.__all__) <= 10
    for name in anomalyhybrid.__all__:
        assert getattr(anomalyhybrid, name) is not None
    assert set(anomalyhybrid.__all__) <= set(dir(anomalyhybrid))
    with pytest.raises(AttributeError, match="nothing_such"):
        anomalyhybrid.nothing_such  # noqa: B018
