"""An evaluation as a whole: it measures, goes on where it was killed, shares work, and refuses bad input."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_trees import TINY, widget

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.evaluation.generation_quality import QualityNetworks
from anomalyhybrid.evaluation.results import Result, Row, UsedNetwork
from anomalyhybrid.recipes.evaluation import detection, quality, tables
from anomalyhybrid.recipes.evaluation.networks import Networks
from anomalyhybrid.recipes.evaluation.run import evaluate

TWO = replace(TINY, methods=("base_third", "crop_paste"), seeds=(0, 1))


def _run(folder: Path, out: Path, config: EvaluateConfig = TWO) -> Result:
    return evaluate([folder], out, config=config, announce=lambda text: None)


class _Counted:
    """The real `detection_row`, counted; it fails with `error` at the call of number `fails_at`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails_at: int = -1, error: type[BaseException] = OSError):
        self.calls: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()
        real = detection.detection_row

        def counted(entry, data, made, seed, bench, **more):
            with self._lock:
                self.calls[entry.method, seed] += 1
                number = self.calls.total()
            if number == fails_at:
                raise error
            return real(entry, data, made, seed, bench, **more)

        monkeypatch.setattr(detection, "detection_row", counted)


def test_a_detector_learns_and_is_measured(tmp_path: Path) -> None:
    config = replace(TINY, methods=("crop_paste",), width=8, epochs=8, samples_per_epoch=80, count=40)
    row = _run(widget(tmp_path), tmp_path / "out", config).rows[0]
    assert row.figures["pixel_ap"] > 0.4  # 0.04 of the pixels are defects
    assert row.figures["image_auroc"] > 0.9
    assert row.samples == {
        "good training images": 10,
        "defective training images": 40,
        "good test images": 2,
        "defective test images": 6,
    }
    assert row.notes == ("the last checkpoint was kept", "false alarms were not measured: evaluate.normals is 0")


def test_killed_and_run_again_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, whole, out = widget(tmp_path), tmp_path / "whole", tmp_path / "out"
    _run(folder, whole)
    with monkeypatch.context() as patch:
        _Counted(patch, fails_at=3, error=KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            _run(folder, out)
    assert not (out / "table_2.json").exists()
    with monkeypatch.context() as patch:
        counted = _Counted(patch)
        _run(folder, out)
    assert counted.calls == {("base_third", 1): 1, ("crop_paste", 1): 1}
    for name in ("table_2.json", "report.html"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_parts_run_apart_give_the_same_as_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, whole, out = widget(tmp_path), tmp_path / "whole", tmp_path / "out"
    _run(folder, whole)
    first = _run(folder, out, replace(TWO, methods=("crop_paste",), seeds=(1,)))
    assert [row.key for row in first.rows] == [("CropPaste", "widget", 1)]
    _run(folder, out, replace(TWO, seeds=(0,)))
    counted = _Counted(monkeypatch)
    _run(folder, out)
    assert counted.calls == {("base_third", 1): 1}
    assert (out / "table_2.json").read_bytes() == (whole / "table_2.json").read_bytes()


def test_two_at_once_share_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = widget(tmp_path), tmp_path / "out"
    counted = _Counted(monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: _run(folder, out), range(2)))
    assert set(counted.calls.values()) == {1}
    assert len(counted.calls) == 4
    assert [len(result.rows) for result in results] == [4, 4]


def test_other_settings_or_data_are_refused(tmp_path: Path) -> None:
    folder, out = widget(tmp_path), tmp_path / "out"
    config = replace(TWO, methods=("base_third",), seeds=(0,))
    _run(folder, out, config)
    with pytest.raises(ConfigError, match=r"option epochs: 1, now 2.*give another --out"):
        _run(folder, out, replace(config, epochs=2))
    (folder / "test" / "good" / "001.png").unlink()
    with pytest.raises(ConfigError, match="the content of widget's images"):
        _run(folder, out, config)


def test_as_published(tmp_path: Path) -> None:
    config = replace(TWO, mode="as_published", methods=("base_third",), seeds=(0,))
    result = _run(widget(tmp_path), tmp_path / "out", config)
    assert "pixel_f1_on_grid" in result.rows[0].figures
    assert "chosen on the test set" in " ".join(result.rows[0].notes)
    assert (tmp_path / "out" / "table_2_as_published.json").is_file()


def test_a_checkpoint_chosen_on_the_validation_part(tmp_path: Path) -> None:
    config = replace(TWO, validation_share=0.5, methods=("base_third",), seeds=(0,))
    row = _run(widget(tmp_path), tmp_path / "out", config).rows[0]
    assert row.samples["validation images"] == 2
    assert row.samples["defective training images"] == 2
    assert "chosen on a validation part" in row.notes[0]


def test_tables_of_quality_have_their_own_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = UsedNetwork(role="inception", name="tiny", sha256="a" * 64, stand_in="for this test")
    networks = Networks(quality=QualityNetworks(), imagenet=None, used=(network,))
    seen: list[tuple[str, object]] = []

    def quality_row(entry, data, made, seed, bench, given, *, report):
        seen.append((entry.method, given))
        return Row(method=entry.label, category=data.category, seed=seed, figures={"kid": 0.1 * (1 + seed)})

    monkeypatch.setattr(tables, "load_networks", lambda config, device: networks)
    monkeypatch.setattr(quality, "quality_row", quality_row)
    result = _run(widget(tmp_path), tmp_path / "out", replace(TWO, table=1))
    assert seen == [("base_third", networks), ("crop_paste", networks)] * 2
    assert result.networks == (network,)
    assert "classifier_epochs" in result.options
    assert "epochs" not in result.options
    assert [row.figures["kid"] for row in result.rows] == [0.1, 0.2, 0.1, 0.2]
    assert (tmp_path / "out" / "rows" / "table_1" / "widget" / "crop_paste" / "seed_0.npz").is_file()
    assert "widget, CropPaste" in (tmp_path / "out" / "report.html").read_text()


def test_progress_counts_rows_and_says_what_is_going_on(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    config = replace(TINY, methods=("base_third",))
    evaluate(
        [widget(tmp_path)],
        tmp_path / "out",
        config=config,
        announce=lambda text: None,
        report=lambda *now: told.append(now),
    )
    assert told[0] == (0, 1, "")
    assert told[-1] == (1, 1, "")
    assert any(note.startswith("widget, real base third: step 1, ") for _, _, note in told)


def test_what_cannot_be_evaluated(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError, match="no good test image"):
        _run(widget(tmp_path, test=0), out)
    assert not list(out.rglob("*.json"))
