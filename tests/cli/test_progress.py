"""Progress where stderr is no terminal: whole lines, not too many."""

from __future__ import annotations

import pytest

from anomalyhybrid.cli import progress
from anomalyhybrid.cli.progress import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (200, "3 min 20 s"), (3900, "1 h 05 min"), (86399, "23 h 59 min")],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_plain_lines_give_speed_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with Progress("generating", "images") as shown:
        shown.announce("found [2] categories")
        for done in range(0, 101, 10):
            shown.show(done, 100)
            now += 2.0
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "found [2] categories",
        "generating: 0/100 images",
        "generating: 50/100 images, 5.0 images/s, 10 s left",
        "generating: 100/100 images, 5.0 images/s, 0 s left",
    ]


def test_a_measured_speed_and_a_note_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("training", "steps") as shown:
        shown.show(50, 100, images_per_s=20.0, batch=4, note="fusion_mask_ahd 0.31")
    assert capsys.readouterr().err == "training: 50/100 steps, 20.0 images/s, 10 s left, fusion_mask_ahd 0.31\n"
