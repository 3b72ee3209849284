"""Ctrl-C, a killed process and a full disk: no half-written file, a clear message, and resume completes the set."""

from __future__ import annotations

import builtins
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from written_sets import complete, contents, temporary, whole_rows

from anomalyhybrid.cli import progress
from anomalyhybrid.cli.main import main
from anomalyhybrid.data import files
from anomalyhybrid.generation.manifest import read_rows

# Ctrl-C


def _interrupting(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Send a real SIGINT when so many images are reported done."""
    shown = progress.Progress.show

    def show(self: progress.Progress, done: int, total: int, **more: Any) -> None:
        shown(self, done, total, **more)
        if done >= after:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(progress.Progress, "show", show)


@pytest.fixture
def _python_interrupts() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_python_interrupts")
@pytest.mark.parametrize("after", [2, 10, 16])
def test_ctrl_c_leaves_whole_files_and_resume_completes(
    tmp_path: Path,
    words: Callable[..., list[str]],
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    after: int,
) -> None:
    out = tmp_path / "set"
    with monkeypatch.context() as patch:
        _interrupting(patch, after)
        assert main(words(out)) == 130
    told = capsys.readouterr().err
    assert f"{after} finished images are saved in {out}" in told
    assert "--resume" in told
    assert "Traceback" not in told
    assert temporary(out) == []
    assert whole_rows(out) == after
    complete(out)
    assert main([*words(out), "--resume"]) == 0
    assert contents(out) == contents(whole)


@pytest.mark.usefixtures("_python_interrupts")
def test_resume_needs_no_settings_repeated(
    tmp_path: Path, run: Path, parts: Path, words: Callable[..., list[str]], whole: Path, monkeypatch: Any
) -> None:
    out = tmp_path / "set"
    with monkeypatch.context() as patch:
        _interrupting(patch, 4)
        assert main(words(out)) == 130
    again = ["generate", str(run), "--data", str(parts), "--base-set", str(parts), "--out", str(out), "--resume"]
    assert main(again) == 0
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_a_process_that_was_stopped(
    tmp_path: Path, words: Callable[..., list[str]], whole: Path, ending: signal.Signals
) -> None:
    out = tmp_path / "set"
    manifest = out / "manifest.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "anomalyhybrid.cli.main", *words(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if manifest.exists() and manifest.stat().st_size:
            process.send_signal(ending)
            break
        time.sleep(0.002)
    told = process.communicate(timeout=60)[1]
    if ending == signal.SIGINT:
        assert process.returncode == 130, told
        assert "finished images are saved" in told
        assert "Traceback" not in told
        assert temporary(out) == []
        assert 0 < whole_rows(out) < 16
        complete(out)
    else:
        assert process.returncode == -signal.SIGKILL, told
    assert main([*words(out), "--resume"]) == 0
    assert contents(out) == contents(whole)


# Full disk


class _Disk:
    """Lets so many bytes through, then has no space left."""

    def __init__(self, space: int) -> None:
        self.space = space

    def open(self, path: Path, mode: str = "r", **more: Any) -> Any:
        stream = builtins.open(path, mode, **more)  # noqa: SIM115 (closed by who asked for it)
        if not set(mode) & set("wxa"):
            return stream
        write = stream.write

        def limited(content: Any) -> int:
            if len(content) > self.space:
                write(content[: self.space])
                stream.flush()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.space -= len(content)
            return write(content)

        return _Stream(stream, limited)


class _Stream:
    """A file whose `write` is replaced."""

    def __init__(self, stream: Any, write: Callable[[Any], int]) -> None:
        self._stream, self.write = stream, write

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *reason: object) -> None:
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 0.85, 0.97])
def test_a_full_disk_is_said_leaves_no_half_file_and_resume_completes(
    tmp_path: Path,
    words: Callable[..., list[str]],
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    share: float,
) -> None:
    out = tmp_path / "set"
    size = sum(len(content) for content in contents(whole).values())
    with monkeypatch.context() as patch:
        patch.setattr(files, "open", _Disk(round(share * size)).open, raising=False)
        assert main(words(out)) == 2
    told = capsys.readouterr().err
    assert "the disk is full" in told
    assert str(out) in told
    assert "Traceback" not in told
    assert temporary(out) == []
    complete(out)
    begun = (out / "dataset.json").is_file()
    assert main([*words(out), "--resume"] if begun else words(out)) == 0
    assert contents(out) == contents(whole)


def test_a_full_disk_during_regenerate(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = read_rows(whole)[0]
    words = ["regenerate", str(whole), "--id", row.id, "--out", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        patch.setattr(files, "open", _Disk(100).open, raising=False)
        assert main(words) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert contents(tmp_path / "out") == {}
    assert main(words) == 0
    assert len(contents(tmp_path / "out")) == 2
