"""Two processes under torchrun train like one at the same global batch, stop together, and resume (ADR-019)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from shared_runs import Trainer, colour, exact, sister
from tiny_runs import SIZE, tensors

from anomalyhybrid.errors import ConfigError
from anomalyhybrid.models.generator import load_generator
from anomalyhybrid.training.journal import read_journal
from anomalyhybrid.training.processes import VARIABLES, Processes, join_processes

NETWORKS = ("generator/", "discriminator/", "averaged/")


def torchrun(*words: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """Start processes that train together on the CPU."""
    quiet = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    quiet |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run([*command, *map(str, words)], env=quiet, capture_output=True, text=True, timeout=200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have trained, until one of them was killed."""
    place = tmp_path_factory.mktemp("processes")
    done = torchrun(Path(__file__).with_name("shared_runs.py"), "train", place)
    assert done.returncode != 0
    assert f"exitcode  : -{int(signal.SIGKILL)}" in done.stderr, done.stderr
    return place


@pytest.mark.parametrize(("name", "make"), [("colour", colour), ("sister", sister)])
def test_two_processes_train_like_one(folder: Path, tmp_path: Path, name: str, make) -> None:
    trainer: Trainer = exact(make(tmp_path))
    start = {key: value.clone() for key, value in trainer.generator.state_dict().items()}
    trainer.run()
    ours, theirs = read_journal(tmp_path), read_journal(folder / name)
    assert len(theirs) == trainer.config.steps, "the main process alone writes"
    for one, two in zip(ours, theirs, strict=True):
        assert len(one) > 6
        for key in one.keys() - {"elapsed"}:
            assert abs(one[key] - two[key]) < 1e-5, (one["step"], key)
    one, two = tensors(tmp_path), tensors(folder / name)
    assert one.keys() == two.keys()
    moved = max(float((one[f"generator/{key}"] - value).abs().max()) for key, value in start.items())
    apart = max(float((one[key] - two[key]).abs().max()) for key in one if key.startswith(NETWORKS))
    assert apart < 1e-9 < 1e-3 < moved


def test_an_interrupt_of_one_process_stops_both_after_the_same_step(folder: Path) -> None:
    assert load_generator(folder / "stopped" / "generator.safetensors")[1]["steps"] == "1"
    assert (folder / "stopped_0.txt").read_text() == "[1]"
    assert (folder / "stopped_1.txt").read_text() == "[]", "only the main process reports"


def test_what_cannot_be_shared_is_refused_by_all(folder: Path) -> None:
    for rank in (0, 1):
        assert "train.batch_size is 5, but 2 processes" in (folder / f"uneven_{rank}.txt").read_text()
        assert "different images, settings or checkpoints" in (folder / f"different_{rank}.txt").read_text()
    assert not (folder / "different" / "journal.jsonl").exists()


def test_stopped_and_killed_runs_resume_to_the_same_result(folder: Path) -> None:
    assert [row["step"] for row in read_journal(folder / "killed")] == [1, 2, 3]
    done = torchrun(Path(__file__).with_name("shared_runs.py"), "resume", folder)
    assert done.returncode == 0, done.stderr
    whole = tensors(folder / "whole")
    for name in ("stopped", "killed"):
        resumed = tensors(folder / name)
        assert resumed.keys() == whole.keys()
        assert [key for key in whole if not torch.equal(resumed[key], whole[key])] == []
        assert [row["step"] for row in read_journal(folder / name)] == [1, 2, 3, 4]


def test_the_command_line_trains_under_torchrun(tmp_path: Path, dummy_mvtec) -> None:
    data, out = dummy_mvtec("widget", train=2, test=0, defects={}), tmp_path / "run"
    words = ["-m", "anomalyhybrid", "train", data, "--out", out, "--cache", tmp_path / "cache", "--size", SIZE]
    done = torchrun(*words, "--batch-size", 2, "--steps", 1, "--view-block", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run saved in") == 1
    assert done.stderr.count("2 processes train together, 1 images each") == 1
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert found == {"checkpoint.safetensors", "config.yaml", "generator.safetensors", "journal.jsonl"}
    refused = torchrun(*words, "--batch-size", 3, "--steps", 2, "--resume")
    assert refused.returncode != 0
    assert "error: train.batch_size is 3, but 2 processes share each batch evenly" in refused.stderr
    assert "exitcode  : 2" in refused.stderr


def test_half_a_torchrun_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert join_processes().count == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="but RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not set"):
        join_processes()


def test_one_process_alone_takes_any_batch() -> None:
    alone = Processes()
    alone.check_batch(5)
    value = torch.ones(2, requires_grad=True)
    assert alone.mean(value) is value
    assert alone.any_of(True, False) == (True, False)
    with alone.main_first():
        alone.wait()
