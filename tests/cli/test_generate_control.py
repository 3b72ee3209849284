"""`generate`: regions of interest and the preview from the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anomalyhybrid.cli.main import main
from anomalyhybrid.recipes import generation, preview

Calls = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What the recipes are called with, in place of the work."""
    seen: Calls = []

    def recipe(name: str, result: Any) -> Callable[..., Any]:
        def called(run: str, **given: Any) -> Any:
            seen.append((name, given | {"run": run}))
            return result

        return called

    monkeypatch.setattr(generation, "generate", recipe("generate", {}))
    monkeypatch.setattr(preview, "preview", recipe("preview", Path("o/preview.png")))
    return seen


def test_settings_reach_the_recipe_and_paths_become_absolute(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "--roi",
        "roi.json",
        "--forbid",
        "masks",
        "--per-image",
        "1",
        "3",
        "--severity",
        "0.5",
        "1",
        "--turn",
        "20",
    ]
    assert main(["generate", "shipped", "--data", "d", "--out", "o", *words]) == 0
    ((name, given),) = calls
    config = given["config"]
    assert name == "generate"
    assert (config.roi, config.forbid) == (str(tmp_path / "roi.json"), str(tmp_path / "masks"))
    assert (config.per_image, config.severity, config.turn) == ((1, 3), (0.5, 1.0), 20.0)


def test_a_preview_calls_no_other_recipe(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "shipped", "--data", "d", "--out", "o", "--preview", "16"]) == 0
    ((name, given),) = calls
    assert (name, given["count"], given["run"]) == ("preview", 16, "shipped")
    assert "16 candidates in o/preview.png; no set was made" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--preview", "-1"], "--preview is -1"),
        (["--preview", "4", "--global"], "--preview has no meaning with --global"),
        (["--preview", "4", "--depth-run", "s"], "--preview has no meaning with --depth-run"),
        (["--preview", "4", "--resume"], "--preview has no meaning with --resume"),
        (["--roi", "r.json", "--global"], "generate.roi"),
        (["--roi", "r.json", "--depth-run", "s"], "generate.roi"),
    ],
)
def test_what_does_not_go_together(
    calls: Calls, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main(["generate", "shipped", "--data", "d", "--out", "o", *words]) != 0
    assert told in capsys.readouterr().err
    assert calls == []
