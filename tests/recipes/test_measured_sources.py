"""Measured depth as a condition: the data set's own files, or those of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anomalyhybrid.cli.main import main
from anomalyhybrid.conditions.measured import MeasuredDepth
from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.errors import DataError
from anomalyhybrid.generation.manifest import read_rows
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import load_generator
from anomalyhybrid.recipes import training
from anomalyhybrid.recipes.sources import make_extractors
from anomalyhybrid.training import loop

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", ["measured", "measured_disparity"])
def test_no_folder_means_the_data_sets_own_depth(tmp_path: Path, kind: str) -> None:
    larger = kind == "measured_disparity"
    assert make_extractors("lite", kind, "", "", CPU)[1] == MeasuredDepth(folder=None, nearer_is_larger=larger)
    (tmp_path / "depth").mkdir()
    given = make_extractors("lite", kind, "", str(tmp_path / "depth"), CPU)[1]
    assert given == MeasuredDepth(folder=tmp_path / "depth", nearer_is_larger=larger)
    with pytest.raises(DataError, match="gone"):
        make_extractors("lite", kind, "", str(tmp_path / "gone"), CPU)


def test_training_and_generation_on_the_data_sets_own_depth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANOMALYHYBRID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(training, "generator_preset", lambda name: GeneratorConfig(width=8, max_width=16, blocks=1))
    monkeypatch.setattr(loop, "PROBES", 2)
    for with_depth, root in ((True, tmp_path / "deep"), (False, tmp_path / "flat")):
        write_dataset(root, product="nut", product_seed=1, seed=3, train_good=3, size=64, with_depth=with_depth)
    words = ["train", "--start", "scratch", "--size", "64", "--steps", "1", "--batch-size", "2", "--view-block", "1"]
    words += ["--depth", "measured_disparity"]
    assert main([*words, str(tmp_path / "deep" / "nut"), "--out", str(tmp_path / "run")]) == 0
    assert load_generator(tmp_path / "run" / "generator.safetensors")[1]["depth_name"] == "measured_disparity"
    made = ["generate", str(tmp_path / "run"), "--count", "2", "--max-attempts", "1", "--data"]
    assert main([*made, str(tmp_path / "deep" / "nut"), "--out", str(tmp_path / "set")]) == 0
    assert len(read_rows(tmp_path / "set")) == 2
    capsys.readouterr()
    assert main([*made, str(tmp_path / "flat" / "nut"), "--out", str(tmp_path / "none")]) == 2
    assert "no measured depth for" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "flat" / "nut"), "--out", str(tmp_path / "none")]) == 2
    assert "--depth-weights" in capsys.readouterr().err
