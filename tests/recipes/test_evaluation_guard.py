"""The guard of Table 2: false alarms on good images redrawn whole and in patches, with a known detector."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from evaluation_trees import TINY, bench_of
from torch import Tensor, nn

from anomalyhybrid.evaluation.figures import FIGURES
from anomalyhybrid.evaluation.fitting import Fit
from anomalyhybrid.evaluation.samples import GOOD_KIND, Samples
from anomalyhybrid.recipes.evaluation import detection
from anomalyhybrid.recipes.evaluation.methods import Entry
from anomalyhybrid.recipes.evaluation.sets import Redrawn


class Red(nn.Module):
    """The probability of an anomaly grows with the red channel alone."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(8.0))

    def forward(self, image_B3HW: Tensor) -> Tensor:
        logit = (image_B3HW[:, :1] - 0.5) * self.scale
        return torch.cat([torch.zeros_like(logit), logit], dim=1)


def _flat(*levels: int) -> Tensor:
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32).clone()


def _good(*levels: int) -> Samples:
    count = len(levels)
    kind = torch.full((count,), GOOD_KIND)
    return Samples(image_u8=_flat(*levels), mask_u8=_flat(*levels)[:, :1] * 0, kind=kind, kinds=("dent",))


def _patched(level: int) -> Redrawn:
    """Two images, a quarter of which was redrawn: at level 50, on a ground of 10 and of 70."""
    image, target = _flat(10, 70), _flat(10, 70)
    image[..., :16, :16] = level
    target[..., :16, :16] = 50
    return Redrawn(image_u8=image, target_u8=target)


def _guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: int, method: str = "ours") -> Any:
    asked: list[tuple[str, str]] = []

    def redraw(data: Any, config: Any, seed: int, bench: Any, *, run: str, held: bool, normals_as: str) -> Redrawn:
        assert held
        asked.append((run, normals_as))
        if normals_as == "patch":
            return _patched(level)
        return Redrawn(image_u8=_flat(200, 60, 60, 60), target_u8=_flat(60, 60, 60, 60))

    monkeypatch.setattr(detection, "redrawn_normals", redraw)
    trained, data = SimpleNamespace(model=Red()), SimpleNamespace(test=SimpleNamespace(good=_good(40, 90)))
    data.calibration = _good(80, 70)
    entry = Entry(key=method, label=method, method=method, config=TINY)
    bench = bench_of(tmp_path, run="few", zero_run="zero")
    found = detection._guard(cast(Any, trained), cast(Any, data), entry, 0, bench)
    assert asked == [("zero" if method.startswith("ours_zero") else "few", kind) for kind in ("full", "patch")]
    return found


def test_figures_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = detection._guard_figures(_guard(tmp_path, monkeypatch, 120))
    assert figures["false_alarm_real"] == 0.5  # 90 of (40, 90) lies above 80
    assert figures["false_alarm_redrawn"] == 0.25
    assert figures["false_alarm_excess"] == -0.25
    assert figures["false_alarm_patch"] == 1
    assert figures["false_alarm_patch_excess"] == 1  # as they were, 50 and 70 at most, none lies above 80
    assert figures["patch_region_auroc"] == 1, "against the same pixels, not against the ground"
    assert figures.keys() <= FIGURES.keys()
    assert FIGURES["false_alarm_patch"].better == FIGURES["false_alarm_patch_excess"].better == "low"
    assert FIGURES["patch_region_auroc"].better is None
    darker = detection._guard_figures(_guard(tmp_path, monkeypatch, 20, "ours_zero+"))
    assert (darker["false_alarm_patch"], darker["patch_region_auroc"]) == (0, 0), "lighter than a ground of 10 even so"


def test_patches_that_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = _guard(tmp_path, monkeypatch, 50, "nsa")
    figures = detection._guard_figures(guard)
    assert "patch_region_auroc" not in figures
    assert figures["false_alarm_patch"] == 0
    fit = cast(Fit, SimpleNamespace(chosen_by="last"))
    assert any("no pixel of the redrawn patches differs" in note for note in detection._notes(fit, TINY, guard))
