"""Runs stop and go on to the same result: four steps are two and two, bit for bit, whatever stopped them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from tiny_runs import TINY, make_trainer, small_pool, tensors, tiny_generator, train_config

from anomalyhybrid.errors import CheckpointError
from anomalyhybrid.models.generator import load_generator
from anomalyhybrid.training import loop
from anomalyhybrid.training.config import TrainConfig
from anomalyhybrid.training.journal import Journal, read_journal, warnings_of


def run(folder: Path, config: TrainConfig, *, resume: bool = False, **settings) -> int:
    """Train in a fresh trainer, as a fresh process would."""
    return make_trainer(folder, config, **settings).run(resume=resume)


def assert_same(one: Path, other: Path) -> None:
    """Both runs' checkpoints and generators hold the same numbers."""
    for name in ("checkpoint.safetensors", "generator.safetensors"):
        first, second = tensors(one, name), tensors(other, name)
        assert first.keys() == second.keys()
        assert [key for key in first if not torch.equal(first[key], second[key])] == []


def losses_of(folder: Path) -> list[dict]:
    """Journal rows without the times."""
    times = ("seconds", "img_per_s", "elapsed")
    return [{key: value for key, value in row.items() if key not in times} for row in read_journal(folder)]


@pytest.mark.parametrize("block", [1, 4])
def test_four_steps_are_two_and_two(tmp_path: Path, block: int) -> None:
    """With blocks of four the resume falls into the middle of a block."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(whole, train_config(steps=4, view_block=block)) == 4
    assert run(parts, train_config(steps=2, view_block=block)) == 2
    half = tensors(parts)
    torch.manual_seed(99)  # a new process starts anywhere
    assert run(parts, train_config(steps=4, view_block=block), resume=True, generator=tiny_generator(seed=5)) == 4
    assert_same(whole, parts)
    assert losses_of(whole) == losses_of(parts)
    key = "generator/encoder.stem.0.weight"
    assert not torch.equal(half[key], tensors(parts)[key])
    moments = [name for name in half if name.startswith("discriminator_optimizer/") and name.endswith("exp_avg_sq")]
    assert moments


def test_every_step_has_draws_of_its_own(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, train_config(steps=4, view_block=2))
    views = [trainer._views(step).conditions.stacked() for step in range(4)]
    assert all(not torch.equal(views[a], views[b]) for a in range(4) for b in range(a))
    assert torch.equal(trainer._views(1).conditions.stacked(), views[1])  # also asked for out of order


def test_files_of_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder, train_config(steps=2, sample_every=2))
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == ["checkpoint.safetensors", "generator.safetensors", "journal.jsonl", "samples/step_000002.png"]
    generator, metadata = load_generator(folder / "generator.safetensors")
    assert generator.config == TINY
    assert (metadata["steps"], metadata["categories"]) == ("2", "a,b")
    averaged = tensors(folder)
    for key, value in generator.state_dict().items():
        assert torch.equal(value, averaged[f"averaged/{key}"].half().float())


def test_the_average_lags_behind(tmp_path: Path) -> None:
    run(tmp_path / "a", train_config(steps=1, ema_decay=0.9))
    state, start = tensors(tmp_path / "a"), tiny_generator().state_dict()
    for key, value in start.items():
        wanted = 0.9 * value + 0.1 * state[f"generator/{key}"]
        torch.testing.assert_close(state[f"averaged/{key}"], wanted, atol=1e-6, rtol=1e-5)


def test_rows_after_the_resume_point_are_dropped(tmp_path: Path) -> None:
    run(tmp_path, train_config(steps=2))
    journal = tmp_path / "journal.jsonl"
    kept = read_journal(tmp_path)
    with journal.open("a") as file:  # a killed run went on to step 3 and died while it wrote step 4
        file.write(json.dumps({"step": 3, "loss_pixel": -1}) + "\n" + '{"step": 4, "loss_pi')
    assert [row["step"] for row in read_journal(tmp_path)] == [1, 2, 3]
    run(tmp_path, train_config(steps=4), resume=True)
    rows = read_journal(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[:2] == kept
    assert rows[2]["loss_pixel"] > 0
    assert len(journal.read_text().splitlines()) == 4


def test_a_fresh_journal_forgets_an_older_run(tmp_path: Path) -> None:
    Journal(tmp_path).write({"step": 1})
    assert read_journal(tmp_path) == [{"step": 1}]
    Journal(tmp_path)
    assert read_journal(tmp_path) == []
    assert read_journal(tmp_path / "none") == []


def test_rows_are_judged() -> None:
    assert warnings_of({"fusion_mask_ahd": 0.3, "fusion_mask_ahe": 0.5}) == {}
    copying, redrawing = warnings_of({"fusion_mask_ahd": 0.01, "fusion_mask_ahe": 0.93}).values()
    assert "ahd" in copying
    assert "copies" in copying
    assert "ahe" in redrawing
    assert "redraws" in redrawing


def interrupting(at: int):
    """A report callback that presses Ctrl-C at one step."""

    def report(row: dict) -> None:
        if row["step"] == at:
            os.kill(os.getpid(), signal.SIGINT)

    return report


def test_ctrl_c_saves_a_whole_step_and_resumes_to_the_same_result(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    config = train_config(steps=4, view_block=4, checkpoint_every=100)
    run(whole, config)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(stopped, config).run(report=interrupting(at=3))
    assert signal.getsignal(signal.SIGINT) is handler
    assert load_generator(stopped / "generator.safetensors")[1]["steps"] == "3"
    assert run(stopped, config, resume=True) == 4
    assert_same(whole, stopped)
    assert losses_of(whole) == losses_of(stopped)


def test_a_crash_between_checkpoints_resumes_to_the_same_result(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    config = train_config(steps=4, checkpoint_every=2)
    run(whole, config)

    def crash(row: dict) -> None:
        if row["step"] == 3:
            raise RuntimeError("power cut")

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError, match="power cut"):
        make_trainer(broken, config).run(report=crash)
    assert signal.getsignal(signal.SIGINT) is handler
    assert run(broken, config, resume=True) == 4
    assert_same(whole, broken)
    assert losses_of(whole) == losses_of(broken)


def test_a_crash_between_the_last_two_files_loses_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the last save is cut, a resume ends with a checkpoint and its own generator."""
    config = train_config(steps=3, checkpoint_every=1)
    whole = tmp_path / "whole"
    run(whole, config)
    for name in ("save_generator", "save_checkpoint"):
        broken, original = tmp_path / name, getattr(loop, name)
        calls: list[int] = []

        def cut(*args, original=original, calls=calls, **settings):
            calls.append(1)
            if len(calls) == 3:
                raise RuntimeError("power cut")
            return original(*args, **settings)

        with monkeypatch.context() as patch:
            patch.setattr(loop, name, cut)
            with pytest.raises(RuntimeError, match="power cut"):
                run(broken, config)
        assert run(broken, config, resume=True) == 3
        assert_same(whole, broken)


def test_a_time_limit_stops_with_a_checkpoint(tmp_path: Path) -> None:
    config = train_config(steps=50, max_minutes=1e-6)
    assert run(tmp_path, config) == 1
    assert load_generator(tmp_path / "generator.safetensors")[1]["steps"] == "1"


def test_a_finished_run_resumes_to_itself(tmp_path: Path) -> None:
    run(tmp_path, train_config(steps=2))
    before = tensors(tmp_path)
    assert run(tmp_path, train_config(steps=2), resume=True) == 2
    assert all(torch.equal(value, before[key]) for key, value in tensors(tmp_path).items())


def test_other_runs_and_broken_checkpoints_are_refused(tmp_path: Path) -> None:
    config = train_config(steps=1)
    with pytest.raises(CheckpointError, match="nothing to resume"):
        run(tmp_path, config, resume=True)
    run(tmp_path, config)
    with pytest.raises(CheckpointError, match=r"another configuration.*config\.yaml"):
        run(tmp_path, config, resume=True, fingerprint="two")
    path = tmp_path / "checkpoint.safetensors"
    good = path.read_bytes()
    for damaged in (good[: len(good) // 2], good[:4], b""):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="not readable"):
            run(tmp_path, config, resume=True)
    assert len(read_journal(tmp_path)) == 1  # a refused resume leaves the journal alone


def test_an_interrupted_checkpoint_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, train_config(steps=1))
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    trainer = make_trainer(tmp_path, train_config(steps=2))
    original = Path.replace

    def stop(self, target):
        if self.name.startswith("checkpoint"):
            raise OSError("disk full")
        return original(self, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(OSError, match="disk full"):
        trainer.run(resume=True)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def test_other_images_give_another_result(tmp_path: Path) -> None:
    """A guard for the tests above: equality there is not equality of everything."""
    for name, pool, seed in (("a", small_pool(), 0), ("b", small_pool(seed=7), 0), ("c", small_pool(), 1)):
        run(tmp_path / name, train_config(steps=1, seed=seed), pool=pool)
    key = "generator/encoder.stem.0.weight"
    first, second, third = (tensors(tmp_path / name)[key] for name in "abc")
    assert not torch.equal(first, second)
    assert not torch.equal(first, third)
