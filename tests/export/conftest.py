"""Fixtures of exports: a set of two categories, and exporting it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from exported_sets import write_set

from anomalyhybrid.export.config import ExportConfig
from anomalyhybrid.recipes.export import Exported, export

Export = Callable[..., tuple[Path, Exported]]


@pytest.fixture
def two_products(tmp_path: Path) -> Path:
    """Two categories that share a defect name; of each the last defect is rejected."""
    return write_set(
        tmp_path / "set", {"nut": ["dent", "scratch", "dent_long", "dent", "dent"], "bolt": ["dent", "dent"]}
    )


@pytest.fixture
def exported(tmp_path: Path) -> Export:
    """Export a set to a new folder: the folder and what the export says."""

    def run(dataset: Path, format: str, name: str = "out", **settings: object) -> tuple[Path, Exported]:
        config = ExportConfig(format=format, **settings)  # type: ignore[arg-type]
        return tmp_path / name, export(dataset, tmp_path / name, config=config, announce=lambda text: None)

    return run
