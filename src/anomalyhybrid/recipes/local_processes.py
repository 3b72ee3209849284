"""`generate --processes`: a set made by several processes of one machine, which share its GPUs or cores (ADR-018)."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import cv2
import torch

from anomalyhybrid.errors import AnomalyHybridError, is_out_of_memory, outside_cause
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import SUMMARY
from anomalyhybrid.generation.shards import Shard
from anomalyhybrid.recipes.generation import generate
from anomalyhybrid.recipes.sharding import check_before_start, read_description
from anomalyhybrid.recipes.sources import Announce

_STOPPING_S = 10.0  # that processes get to end after Ctrl-C


def generate_in_processes(
    processes: int,
    run: str,
    data: Sequence[Path],
    out: Path,
    *,
    base_set: Sequence[Path] = (),
    config: GenerateConfig,
    resume: bool = False,
    skip_unreadable: bool = False,
    cache: Path | None = None,
    announce: Announce,
    report: Callable[[int, int], None] | None = None,
) -> dict:
    """Generate a data set in several processes; it is byte for byte the one that `generate` makes.

    Each process takes a GPU in turn, and its share of the threads that PyTorch and OpenCV would use.

    Args:
        processes: How many; each holds its own networks and images.
        run, data, out, base_set, config, skip_unreadable, cache: As for `generate`.
        resume: Finish a set that was begun in as many processes.
        announce: Told in words what happens, once what several processes say alike.
        report: Given images done and in all.

    Returns:
        The summary that `dataset.json` keeps.

    Raises:
        AnomalyHybridError: What a process raised, or that one was ended from outside; what the others made is kept.
    """
    check_before_start(out, config, resume=resume)
    _advise(processes, announce)
    make = functools.partial(
        generate, run, data, out,
        base_set=base_set, config=config, resume=resume, skip_unreadable=skip_unreadable, cache=cache,
    )  # fmt: skip
    shards = [Shard(number=number, of=processes) for number in range(1, processes + 1)]
    started: dict[Connection, tuple[Shard, BaseProcess]] = {}
    try:
        _start(make, shards, started)
        failures = _listen({reader: shard for reader, (shard, _) in started.items()}, announce, report)
    except BaseException:
        _end([process for _, process in started.values()])
        raise
    for shard, process in started.values():
        process.join()
        if process.exitcode and shard not in failures:
            failures[shard] = AnomalyHybridError(
                f"the process of shard {shard} has ended with code {process.exitcode} (negative: a signal, as where "
                "memory runs out); what is made is kept: the same command with --resume goes on"
            )
    for shard in shards:
        if shard in failures:
            raise failures[shard]
    return (read_description(out) or {})[SUMMARY]


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Keep Ctrl-C waiting, for this process until the end and for those that it starts until they let it come."""
    resource_tracker.ensure_running()  # started with the first process, it would let it come
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@_interrupts_later()
def _start(
    make: Callable[..., dict], shards: Sequence[Shard], started: dict[Connection, tuple[Shard, BaseProcess]]
) -> None:
    """Start a process for each shard; what each says comes through a pipe of its own, which its end closes."""
    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // len(shards))
    for shard in shards:
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(make, shard, threads, writer), daemon=True)
        process.start()
        writer.close()
        started[reader] = (shard, process)


def _listen(
    readers: dict[Connection, Shard], announce: Announce, report: Callable[[int, int], None] | None
) -> dict[Shard, AnomalyHybridError]:
    """Pass on what the processes say until all have ended; what failed."""
    failures: dict[Shard, AnomalyHybridError] = {}
    said: set[str] = set()
    progress: dict[Shard, tuple[int, int]] = {}
    while readers:
        for reader in wait(list(readers)):
            assert isinstance(reader, Connection)
            try:
                kind, told = reader.recv()
            except (EOFError, OSError):  # ended, perhaps in the middle of a message
                del readers[reader]
                continue
            shard = readers[reader]
            if kind == "failed":
                failures[shard] = told
            elif kind == "said" and told not in said:
                said.add(told)
                announce(told)
            elif kind == "done":
                progress[shard] = told
                if report is not None and len(progress) == shard.of:
                    report(sum(done for done, _ in progress.values()), sum(total for _, total in progress.values()))
    return failures


def _end(processes: Sequence[BaseProcess]) -> None:
    """End processes that have had Ctrl-C too; they leave whole files, and what they half wrote goes with --resume."""
    for process in processes:
        process.join(_STOPPING_S / len(processes))
    for process in processes:
        process.terminate()
        process.join()


def _work(make: Callable[..., dict], shard: Shard, threads: int, messages: Connection) -> None:
    """Make one shard in a process of its own."""

    def say(kind: str, what: Any) -> None:
        try:
            messages.send((kind, what))
        except BrokenPipeError:  # the process that started this one is gone
            sys.exit(1)

    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ctrl-C that came since the start comes now
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(threads))
        use_gpu(shard.number - 1)
        make(
            shard=shard,
            announce=lambda text: say("said", text),
            report=lambda done, total: say("done", (done, total)),
        )
    except AnomalyHybridError as error:
        say("failed", error)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        cause = outside_cause(error)
        if cause is None:
            raise
        fewer = "; or give fewer --processes, which share it" if is_out_of_memory(error) else ""
        say("failed", AnomalyHybridError(f"the process of shard {shard}: {cause}{fewer}"))
        sys.exit(2)


def _advise(processes: int, announce: Announce) -> None:
    """Say so where processes will take turns on a GPU."""
    gpus = torch.cuda.device_count()
    if 0 < gpus < processes and not shares_by_nvidia_mps():
        announce(
            f"{processes} processes take turns on {gpus} GPU{'s' * (gpus > 1)}; NVIDIA's Multi-Process Service lets "
            "them work at the same time, 1.5 times as fast on an H200: start it with 'nvidia-cuda-mps-control -d'"
        )


def shares_by_nvidia_mps() -> bool:
    """Whether NVIDIA's Multi-Process Service is there for processes that share a GPU, by its control socket."""
    socket = os.path.join(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"), "control")
    return os.path.exists(socket)  # False as well where the folder may not be read


def use_gpu(number: int) -> None:
    """Let this process see one GPU alone, before it has used any; nothing where there is none.

    Args:
        number: Of the process on its machine; GPUs are taken in turn.
    """
    count = torch.cuda.device_count()
    if count:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(index) for index in range(count)]
        os.environ["CUDA_VISIBLE_DEVICES"] = names[number % count]
