"""Progress on stderr: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

_PLAIN_EVERY = 10.0  # seconds between plain lines


def duration(seconds: float) -> str:
    """Say a time in words, for example ``1 h 05 min``, ``3 min 20 s``, ``12 s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


class Progress:
    """Shows how far a run is, its images/s and the time left; messages go through it, so lines stay whole.

    Args:
        what: One word for the work, for example ``training``.
        unit: What is counted, for example ``steps``.
    """

    def __init__(self, what: str, unit: str) -> None:
        self.what, self.unit = what, unit
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar: Bar | None = None
        if console.is_terminal:
            text = TextColumn("{task.fields[note]}")
            self._bar = Bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), text, console=console)
        self._task = None
        self._printed = -_PLAIN_EVERY
        self._first: tuple[int, float] | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def announce(self, text: str) -> None:
        """Print one message."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def show(self, done: int, total: int, *, images_per_s: float | None = None, batch: int = 1, note: str = "") -> None:
        """Show a state.

        Args:
            done: Units done, of ``total``.
            total: Units in all.
            images_per_s: Speed where it was measured; else it is taken from the calls themselves.
            batch: Images in a unit.
            note: What else to show.
        """
        now = time.monotonic()
        if self._first is None:
            self._first = (done, now)
        if images_per_s is None and done > self._first[0] and now > self._first[1]:
            images_per_s = (done - self._first[0]) * batch / (now - self._first[1])
        parts = []
        if images_per_s:
            parts += [
                f"{images_per_s:.1f} images/s",
                f"{duration((total - done) * batch / images_per_s)} left",
            ]
        parts += [note] if note else []
        text = ", ".join(parts)
        if self._bar is not None:
            if self._task is None:
                self._bar.start()
                self._task = self._bar.add_task(self.what, total=total, note=text)
            self._bar.update(self._task, completed=done, total=total, note=text)
        elif done >= total or now - self._printed >= _PLAIN_EVERY:
            self._printed = now
            line = f"{self.what}: {done}/{total} {self.unit}"
            print(f"{line}, {text}" if text else line, file=sys.stderr, flush=True)
