"""A set that several processes make is the set that one process makes, byte for byte, whatever is killed meanwhile."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from set_files import contents, file_set, rows_of

from anomalyhybrid.cli.main import main
from anomalyhybrid.cli.shards import chosen_shard
from anomalyhybrid.data import locks
from anomalyhybrid.data.locks import locked
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import DATASET, MANIFEST, iter_rows, write_rows
from anomalyhybrid.generation.shards import SHARDS, Shard, shard_of_environment
from anomalyhybrid.generation.work_order import WorkOrder, sort_rows
from anomalyhybrid.recipes import generation, local_processes, sharding
from anomalyhybrid.recipes.generation import generate
from anomalyhybrid.recipes.local_processes import generate_in_processes

Make = Callable[..., dict]
SETTINGS = {"count": 7, "normals": 3, "batch_size": 2, "procedural": 0.4}
IMAGES = 20  # of both categories


class StoppedError(Exception):
    """Stands for whatever ends a run."""


@pytest.fixture(scope="module")
def make(tiny_run: Path, products: Path, maps_cache: Path) -> Make:
    """Make the set of these tests or a shard of it: ``make(out, "2/4", resume=True)``; its summary."""

    def run(
        out: Path, shard: str = "", *, resume: bool = False, report=None, append=False, announce=lambda text: None,
        **changes: object,
    ) -> dict:  # fmt: skip
        return generate(
            str(tiny_run),
            [products],
            out,
            base_set=[products],
            config=GenerateConfig(**(SETTINGS | changes)),
            resume=resume,
            append=append,
            shard=Shard.parse(shard) if shard else None,
            cache=maps_cache / "conditions",
            announce=announce,
            report=report,
        )

    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, make: Make) -> dict[str, bytes]:
    """Files of the set that one process made."""
    out = tmp_path_factory.mktemp("whole") / "set"
    make(out)
    return contents(out)


def _stop_after(images: int) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        if done >= images:
            raise StoppedError

    return report


@pytest.mark.parametrize(("of", "order"), [(1, [1]), (2, [2, 1]), (4, [3, 1, 4, 2]), (8, [8, 7, 6, 5, 4, 3, 2, 1])])
def test_any_number_of_shards_gives_the_same_set(
    tmp_path: Path, make: Make, whole: dict[str, bytes], of: int, order: list[int]
) -> None:
    totals = []
    for number in order:
        summary = make(tmp_path / "set", f"{number}/{of}", report=lambda done, total: totals.append((done, total)))
        assert bool(summary) == (number == order[-1])
    assert contents(tmp_path / "set") == whole
    assert summary == json.loads(whole[DATASET])["summary"]
    assert sum(done for done, total in totals if done == total) == IMAGES
    assert all(done <= total for done, total in totals)


def test_more_shards_than_chunks(tmp_path: Path, make: Make, whole: dict[str, bytes]) -> None:
    for number in range(1, 15):
        make(tmp_path / "set", f"{number}/14")
    assert contents(tmp_path / "set") == whole


def test_processes_of_one_machine(
    tmp_path: Path, whole: dict[str, bytes], tiny_run: Path, products: Path, maps_cache: Path
) -> None:
    reports: list[tuple[int, int]] = []
    config = GenerateConfig(**SETTINGS)
    given = {
        "base_set": [products],
        "config": config,
        "cache": maps_cache / "conditions",
        "announce": lambda text: None,
    }
    summary = generate_in_processes(
        2, str(tiny_run), [products], tmp_path / "set", report=lambda *told: reports.append(told), **given
    )
    assert contents(tmp_path / "set") == whole
    assert summary == json.loads(whole[DATASET])["summary"]
    assert reports[-1] == (IMAGES, IMAGES)
    with pytest.raises(DataError, match="already holds a generated set"):
        generate_in_processes(2, str(tiny_run), [products], tmp_path / "set", **given)


def test_what_a_process_raises_is_raised(
    tmp_path: Path, make: Make, tiny_run: Path, products: Path, maps_cache: Path
) -> None:
    make(tmp_path / "set", "1/2")
    config = GenerateConfig(**(SETTINGS | {"seed": 1}))
    with pytest.raises(DataError, match="begun with another config"):
        generate_in_processes(
            2, str(tiny_run), [products], tmp_path / "set",
            base_set=[products], config=config, resume=True, cache=maps_cache, announce=lambda text: None,
        )  # fmt: skip


@pytest.mark.parametrize("stops", [{1: 2, 2: 6}, {2: 4}, {1: 10}])
def test_stopped_shards_are_finished_by_a_restart(
    tmp_path: Path, make: Make, whole: dict[str, bytes], stops: dict[int, int]
) -> None:
    out = tmp_path / "set"
    for number, images in stops.items():
        with pytest.raises(StoppedError):
            make(out, f"{number}/2", report=_stop_after(images))
    for number in (1, 2):
        make(out, f"{number}/2", resume=True)  # one that was not begun is begun
    assert contents(out) == whole


def _words(out: Path, tiny_run: Path, products: Path, maps_cache: Path) -> list[str]:
    """The command line of the set of these tests."""
    words = ["generate", str(tiny_run), "--data", str(products), "--base-set", str(products), "--out", str(out)]
    words += ["--cache", str(maps_cache / "conditions")]
    for name, value in SETTINGS.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def _start(words: list[str]) -> subprocess.Popen[str]:
    """A process in a group of its own, for which Ctrl-C is as usual."""
    return subprocess.Popen(
        [sys.executable, "-m", "anomalyhybrid", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def _wait_for_rows(out: Path, process: subprocess.Popen[str]) -> None:
    """Until the first of two shards has rows, and its process is still there."""
    part, deadline = out / Shard(number=1, of=2).part, time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def test_ctrl_c_ends_all_processes_and_a_restart_finishes(
    tmp_path: Path, whole: dict[str, bytes], tiny_run: Path, products: Path, maps_cache: Path
) -> None:
    out = tmp_path / "set"
    words = [*_words(out, tiny_run, products, maps_cache), "--processes", "2"]
    process = _start(words)
    _wait_for_rows(out, process)
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130, told
    assert "finished images are saved" in told
    assert "--processes 2 --resume" in told
    assert "Traceback" not in told
    assert main([*words, "--resume"]) == 0
    assert contents(out) == whole


def test_ctrl_c_while_a_process_starts_ends_it_without_a_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # not ignored, as in the background of a shell
    started: dict = {}
    try:
        local_processes._start(functools.partial(time.sleep, 60), [Shard(number=1, of=1)], started)
    finally:
        signal.signal(signal.SIGINT, before)
    ((_, process),) = started.values()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 130
    assert "Traceback" not in capfd.readouterr().err


def test_killed_processes_are_finished_by_a_restart(
    tmp_path: Path, whole: dict[str, bytes], tiny_run: Path, products: Path, maps_cache: Path
) -> None:
    out, moments = tmp_path / "set", random.Random(3)
    words = [*_words(out, tiny_run, products, maps_cache), "--resume", "--shard"]
    first, second = _start([*words, "1/2"]), _start([*words, "2/2"])
    _wait_for_rows(out, first)
    time.sleep(moments.uniform(0, 0.05))
    first.send_signal(signal.SIGKILL)
    assert first.wait(60) == -signal.SIGKILL
    assert second.wait(60) == 0, second.communicate()[1]
    assert not (out / MANIFEST).exists(), "half a set is not put together"
    again = _start([*words, "1/2"])
    assert again.wait(60) == 0, again.communicate()[1]
    assert contents(out) == whole
    for process in (first, second, again):
        assert process.stderr is not None
        process.stderr.close()


def test_killed_while_the_set_is_put_together(
    tmp_path: Path, make: Make, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "set"
    make(out, "1/2")

    def stop(out: Path) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(sharding, "remove_half_written", stop)
        with pytest.raises(StoppedError):
            make(out, "2/2")
    assert (out / MANIFEST).is_file()
    assert "summary" not in json.loads((out / DATASET).read_text())
    make(out, "1/2", resume=True)
    assert contents(out) == whole
    (out / SHARDS).mkdir()  # killed before it removed the parts
    make(out, "2/2", resume=True)
    assert contents(out) == whole


def test_files_that_went_missing_from_a_complete_shard_are_made_again(
    tmp_path: Path, make: Make, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "set"
    make(out, "1/2")
    rows = [row for row in iter_rows(out, Shard(number=1, of=2).complete) if row.label_mask]
    (out / rows[0].image).unlink()
    (out / str(rows[-1].label_mask)).unlink()
    (out / rows[1].image).with_name(".tmp-0123").write_bytes(b"half an image")
    make(out, "1/2", resume=True)
    make(out, "2/2")
    assert contents(out) == whole


def test_one_process_finishes_what_shards_began(tmp_path: Path, make: Make, whole: dict[str, bytes]) -> None:
    out = tmp_path / "set"
    make(out, "3/3")
    with pytest.raises(StoppedError):
        make(out, "1/3", report=_stop_after(4))
    with locked(out / Shard(number=1, of=3).lock), pytest.raises(DataError, match=r"shard 1/3 of .* still being made"):
        make(out, resume=True)
    drawn: list[tuple[int, int]] = []
    make(out, resume=True, report=lambda done, total: drawn.append((done, total)))
    assert drawn[-1] == (IMAGES, IMAGES)
    assert contents(out) == whole


def test_what_cannot_be_made_in_shards_is_refused(tmp_path: Path, make: Make) -> None:
    out = tmp_path / "set"
    with pytest.raises(ConfigError, match="in one process, or leave the gate off"):
        make(out, "1/2", gate="on")
    with pytest.raises(ConfigError, match="--append adds to a set in one process"):
        make(out, "1/2", append=True)
    assert not out.exists()
    make(out, "1/2")
    before = contents(out)
    with pytest.raises(DataError, match=r"shard 1/2 of .* was begun already; go on with --resume"):
        make(out, "1/2")
    with pytest.raises(DataError, match="begun in 2 shards, but this is 1/3"):
        make(out, "1/3")
    with pytest.raises(DataError, match="begun with another config"):
        make(out, "2/2", seed=1)
    with pytest.raises(DataError, match="already holds a generated set"):
        make(out)
    with locked(out / Shard(number=2, of=2).lock), pytest.raises(DataError, match="being made by another process"):
        make(out, "2/2")
    about = json.loads((out / DATASET).read_text())
    (out / DATASET).write_text(json.dumps(about | {"versions": about["versions"] | {"torch": "1.0"}}))
    with pytest.raises(DataError, match="all shards of a set need the same"):
        make(out, "2/2")
    (out / DATASET).write_bytes(before[DATASET])
    assert {name: content for name, content in contents(out).items() if not name.endswith(".lock")} == {
        name: content for name, content in before.items() if not name.endswith(".lock")
    }
    make(out, "2/2")
    with pytest.raises(DataError, match="holds a finished set"):
        make(out, "2/2")
    assert make(out, "2/2", resume=True)
    assert not (out / SHARDS).exists()


def test_a_set_begun_in_one_process_is_not_joined(tmp_path: Path, make: Make) -> None:
    with pytest.raises(StoppedError):
        make(tmp_path / "set", report=_stop_after(2))
    with pytest.raises(DataError, match="begun in one process; finish it with --resume alone"):
        make(tmp_path / "set", "1/2", resume=True)
    assert SHARDS not in {name.split("/")[0] for name in file_set(tmp_path / "set")}


def test_a_damaged_part_is_named(tmp_path: Path, make: Make, whole: dict[str, bytes]) -> None:
    out = tmp_path / "set"
    make(out, "1/2")
    complete = out / Shard(number=1, of=2).complete
    lines = complete.read_text().splitlines(keepends=True)
    complete.write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match="does not hold the rows of shard 1/2; delete it and run that shard"):
        make(out, "2/2")
    complete.write_text("".join([*lines, lines[0]]))
    with pytest.raises(DataError, match="does not hold the rows of shard 1/2"):
        make(out, "2/2", resume=True)
    complete.unlink()
    make(out, "1/2", resume=True)
    assert contents(out) == whole


# The command line


@pytest.mark.parametrize("text", ["", "2", "a/b", "1/2/3", "-1/2", "1.5/2", "0/2", "3/2", "1/0", "1/513"])
def test_bad_shards(text: str) -> None:
    with pytest.raises(ConfigError, match="shard"):
        Shard.parse(text)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--shard", "3/2"], "must lie between 1 and 2"),
        (["--processes", "0"], "--processes is 0"),
        (["--processes", "2", "--shard", "1/2"], "leave one of them out"),
        (["--processes", "2", "--gate", "on"], "leave the gate off"),
        (["--processes", "2", "--append"], "has no meaning with --append"),
        (["--shard", "1/2", "--overwrite"], "has no meaning with --overwrite"),
        (["--shard", "1/2", "--preview", "4"], "has no meaning with --preview"),
        (["--processes", "2", "--global"], "has no meaning with --global"),
    ],
)
def test_wrong_flags_exit_with_2(
    tmp_path: Path, products: Path, flags: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", "shipped", "--data", str(products), "--out", str(tmp_path / "set"), *flags]
    assert main(words) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_torchrun_says_which_shard() -> None:
    told = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    assert shard_of_environment(told) == (Shard(number=6, of=8), 1)
    assert shard_of_environment({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}) == (Shard(number=1, of=1), 0)
    assert shard_of_environment({}) is None
    with pytest.raises(ConfigError, match="LOCAL_RANK is not set; start several processes with torchrun"):
        shard_of_environment({"RANK": "1", "WORLD_SIZE": "2"})
    with pytest.raises(ConfigError, match="RANK is 'x' in the environment"):
        shard_of_environment(told | {"RANK": "x"})


def test_under_torchrun_each_process_takes_its_part(
    tmp_path: Path, make: Make, whole: dict[str, bytes], tiny_run: Path, products: Path, maps_cache: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = _words(tmp_path / "set", tiny_run, products, maps_cache)
    for rank in (1, 0):
        for name, value in (("RANK", rank), ("WORLD_SIZE", 2), ("LOCAL_RANK", rank)):
            monkeypatch.setenv(name, str(value))
        assert main(words) == 0
    told = capsys.readouterr().out
    assert "made shard 2/2" in told
    assert "generated set" in told
    assert contents(tmp_path / "set") == whole


def test_a_single_process_under_torchrun(
    tmp_path: Path, make: Make, whole: dict[str, bytes], tiny_run: Path, products: Path, maps_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    words = [*_words(tmp_path / "set", tiny_run, products, maps_cache), "--resume"]
    assert main(words) == 0, "--resume begins a set too, as for each of several"
    assert contents(tmp_path / "set") == whole
    assert main(words) == 0
    alone, own = (None, 1), Shard(number=1, of=1)
    assert chosen_shard("", 1, "local", {"--append": False}) == (own, 1)
    assert chosen_shard("", 1, "local", {"--append": True}) == chosen_shard("", 1, "global", {}) == alone
    assert chosen_shard("", 1, "local", {}, gate=True) == alone
    assert chosen_shard("2/3", 1, "local", {}) == (Shard(number=2, of=3), 1)


# Several at the same moment, and what they leave


def test_parts_that_a_kill_left_beside_a_finished_set_are_not_its_additions(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, added = tmp_path / "set", {"append": True, "seed": 7, "count": 3, "normals": 1}

    def stop(out: Path) -> None:
        raise StoppedError

    make(out, "1/2")
    with monkeypatch.context() as patch:
        patch.setattr(sharding, "_remove_shards", stop)
        with pytest.raises(StoppedError):
            make(out, "2/2")
    parts = contents(out / SHARDS)
    with pytest.raises(StoppedError):
        make(out, report=_stop_after(2), **added)
    assert not (out / SHARDS).exists()
    for name, content in parts.items():  # as an earlier version left them
        (out / SHARDS).mkdir(exist_ok=True)
        (out / SHARDS / name).write_bytes(content)
    before = rows_of(out)
    with pytest.raises(DataError, match=r"added to in one process; finish it with --append --resume"):
        make(out, "1/2", resume=True)
    for name, content in parts.items():
        (out / SHARDS).mkdir(exist_ok=True)
        (out / SHARDS / name).write_bytes(content)
    make(out, resume=True, **added)
    rows = rows_of(out)
    assert rows[: len(before)] == before
    assert len({(row["id"], row["label_mask"]) for row in rows}) == len(rows) == IMAGES + 8
    assert not (out / SHARDS).exists()


def test_a_finished_set_is_looked_at(tmp_path: Path, make: Make, whole: dict[str, bytes]) -> None:
    out = tmp_path / "set"
    make(out)
    assert make(out, "1/2", resume=True) == json.loads(whole[DATASET])["summary"]
    with pytest.raises(DataError, match="begun with another config"):
        make(out, "1/2", resume=True, seed=1)
    (out / rows_of(out)[0]["image"]).unlink()
    with pytest.raises(DataError, match=f"finished, but 1 of {IMAGES} images lack a file .*--resume alone"):
        make(out, "2/2", resume=True)
    make(out, resume=True)
    assert contents(out) == whole
    about = json.loads(whole[DATASET])
    (out / DATASET).write_text(json.dumps(about | {"selected": [{"from": "another"}]}))
    with pytest.raises(DataError, match="is a selection"):
        make(out, "2/2", resume=True)


def _meeting() -> Callable[[], int]:
    """A place that its first visitor leaves when a second comes, or after a moment; how many have come by then."""
    came, second = [], threading.Event()

    def meet() -> int:
        came.append(True)
        if len(came) > 1:
            second.set()
        second.wait(0.3)
        return len(came)

    return meet


def _at_once(*calls: Callable[[], object]) -> list[object]:
    """What each returns or raises, in threads of their own; the file locks keep these apart too."""
    with ThreadPoolExecutor(len(calls)) as threads:
        waiting = [threads.submit(call) for call in calls]
        return [one.exception() or one.result() for one in waiting]


def test_shards_of_two_numbers_do_not_begin_one_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check, meet = sharding._check_kind, _meeting()
    description = {"format": 1, "versions": {}, "backend": {}}

    def slow(*given: object) -> None:
        check(*given)  # type: ignore[arg-type]
        meet()

    def begin(text: str) -> str:
        with sharding.held_shard(tmp_path, Shard.parse(text), description, resume=False):
            return text

    monkeypatch.setattr(sharding, "_check_kind", slow)
    done = _at_once(lambda: begin("1/2"), lambda: begin("1/3"))
    assert sorted(isinstance(one, DataError) for one in done) == [False, True], done
    assert len(list((tmp_path / SHARDS).glob("part-*.jsonl"))) == 1


def test_two_that_are_done_at_once_put_the_set_together_once(
    tmp_path: Path, make: Make, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, meet, found = tmp_path / "set", _meeting(), []
    with monkeypatch.context() as patch:
        patch.setattr(generation, "put_together", lambda *_: None)
        assert [make(out, "1/2"), make(out, "2/2")] == [{}, {}]
    order = WorkOrder(categories=("capsule", "nut"), config=GenerateConfig(**SETTINGS), description={})

    def summarise() -> dict:
        found.append(meet())
        return json.loads(whole[DATASET])["summary"]

    one, two = _at_once(*[lambda: sharding.put_together(out, order, 2, summarise)] * 2)
    assert one == two == json.loads(whole[DATASET])["summary"]
    assert found == [1]
    assert contents(out) == whole


def test_the_first_shard_is_prepared_alone(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare, meet, found = generation.prepare_job, _meeting(), []

    def slow(*given: object, **settings: object) -> object:
        found.append(meet())
        return prepare(*given, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(generation, "prepare_job", slow)
    done = _at_once(*(lambda text=text: make(tmp_path / "set", text) for text in ("1/3", "2/3")))
    assert found == [1, 2], done
    assert done == [{}, {}]


def test_the_lock_of_a_set_is_removed_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []
    (tmp_path / SHARDS).mkdir()
    for name in ("part-1-of-2.jsonl", "part-1-of-2.lock", "set.lock", "maps_are_stored"):
        (tmp_path / SHARDS / name).touch()
    monkeypatch.setattr(shutil, "rmtree", lambda folder, **_: left.extend(path.name for path in folder.iterdir()))
    sharding._remove_shards(tmp_path)
    assert left == ["set.lock"]


def test_what_is_said_when_others_have_put_the_set_together(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    make(tmp_path / "set", "1/3", announce=said.append)
    assert said[-1] == "shard 1/3 is complete; 2 of 3 are not yet"
    monkeypatch.setattr(generation, "put_together", lambda out, *_: sharding._remove_shards(out))
    make(tmp_path / "set", "2/3", announce=said.append)
    assert said[-1] == "shard 2/3 is complete"


def test_without_file_locks_no_shards(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "set", "1/2")
    monkeypatch.setattr(locks, "fcntl", None)
    for shard in ("2/2", ""):
        with pytest.raises(ConfigError, match="no file locks"):
            make(tmp_path / "set", shard, resume=True)


# The work list


def test_every_image_has_one_place_in_the_order_of_work() -> None:
    first = {"a": {"defects": 5, "normals": 2}, "b": {"defects": 0, "normals": 0}}
    for gate in ("off", "on"):
        config = GenerateConfig(count=5, normals=2, batch_size=2, gate=gate)  # type: ignore[arg-type]
        order = WorkOrder(categories=("a", "b"), config=config, description={"first": first})
        chunks = [*order.chunks(), *(chunk for name in ("a", "b") for chunk in order.spare_chunks(name))]
        places = [order.place(name, kind, number) for name, kind, numbers in chunks for number in numbers]
        assert places == list(range(order.places))
        assert order.places == (14 if gate == "off" else 34)
        assert order.images == 14
        assert order.place("a", True, 4) == order.place("c", True, 0) == order.place("a", False, 4) == -1


def test_rows_are_sorted_by_the_work_list_and_the_last_of_repeated_ones_stays(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "set")
    config = GenerateConfig(**SETTINGS)
    order = WorkOrder(categories=("capsule", "nut"), config=config, description={})
    rows = list(iter_rows(tmp_path / "set"))
    sort_rows(tmp_path / "set", order)
    assert list(iter_rows(tmp_path / "set")) == rows
    others = [replace(rows[0], id="bolt_000001", category="bolt"), replace(rows[0], id="bolt_000000", category="bolt")]
    mixed = [replace(rows[3], attempt=99), *rows[::-1], others[0], rows[5], others[1]]
    write_rows(tmp_path / "set", mixed)
    sort_rows(tmp_path / "set", order)
    assert list(iter_rows(tmp_path / "set")) == [*others, *rows]
    assert len(rows_of(tmp_path / "set")) == IMAGES + 2


@pytest.mark.parametrize(
    ("gpus", "processes", "serves", "says"),
    [
        (1, 2, False, "2 processes take turns on 1 GPU;"),
        (2, 8, False, "on 2 GPUs;"),
        (1, 2, True, ""),
        (2, 2, False, ""),
        (0, 8, False, ""),
    ],
)
def test_processes_that_take_turns_on_a_gpu_say_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, processes: int, serves: bool, says: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    if serves:
        (tmp_path / "control").touch()
    said: list[str] = []
    monkeypatch.setattr(local_processes, "check_before_start", lambda *_, **__: None)
    monkeypatch.setattr(local_processes, "_start", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        generate_in_processes(processes, "shipped", [], tmp_path, config=GenerateConfig(), announce=said.append)
    assert (says in said[0] and "nvidia-cuda-mps-control -d" in said[0]) if says else not said


def test_a_process_without_memory_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((local_processes.torch, "set_num_threads"), (local_processes.cv2, "setNumThreads")):
        monkeypatch.setattr(module, name, lambda _: None)
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    monkeypatch.setattr(local_processes, "use_gpu", lambda _: None)
    reader, writer = multiprocessing.Pipe(duplex=False)

    def make(**_: object) -> dict:
        raise MemoryError("tried to allocate much")

    with pytest.raises(SystemExit) as ended:
        local_processes._work(make, Shard(number=2, of=3), 1, writer)
    assert ended.value.code == 2
    kind, told = reader.recv()
    assert kind == "failed"
    assert "2/3" in str(told)
    assert "out of memory; use a smaller --batch-size" in str(told)
    assert "fewer --processes" in str(told)
