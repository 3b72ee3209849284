"""Two processes train like one at the same global batch."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as processes
from tiny_runs import CHEAP, cheap_trainers, make_trainer, tensors, train_config

from anomalyhybrid.augment.config import AugmentConfig
from anomalyhybrid.models.generator import load_generator
from anomalyhybrid.training.journal import read_journal

# Left out: terms that average over edited samples only (each process sees its own), and patches of other images
# of the batch (each process rolls its own batch).
LOSS = replace(CHEAP, region_weight=0.0, fusion_weight=0.0)
AUGMENT = AugmentConfig(edit=0.5, blend=0.0)
NETWORKS = ("generator/", "discriminator/", "averaged/")
CONFIG = {"steps": 2, "batch_size": 4, "view_block": 2, "augment": AUGMENT}


def join(rank: int, port: int) -> None:
    """Make this process one of two."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        ACCELERATE_USE_CPU="true",
        GLOO_SOCKET_IFNAME="lo",
    )
    torch.set_num_threads(1)
    cheap_trainers()


def leave() -> None:
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def work(rank: int, folder: Path, port: int) -> None:
    """Train together; then again, the second process being interrupted after the first step."""
    join(rank, port)
    trainer = make_trainer(folder / "two", train_config(**CONFIG), loss=LOSS)
    assert trainer.accelerator.num_processes == 2
    trainer.run()

    def interrupt(row: dict) -> None:
        if rank == 1 and row["step"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    stopped = make_trainer(folder / "stopped", train_config(**CONFIG), loss=LOSS)
    if rank == 0:
        assert stopped.run(report=interrupt) == 1
    else:
        with pytest.raises(KeyboardInterrupt):
            stopped.run(report=interrupt)
    leave()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have trained."""
    place = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes.start_processes(work, args=(place, port), nprocs=2, start_method="spawn")
    return place


def test_two_processes_train_like_one(folder: Path) -> None:
    trainer = make_trainer(folder / "one", train_config(**CONFIG), loss=LOSS)
    start = {key: value.clone() for key, value in trainer.generator.state_dict().items()}
    trainer.run()
    one, two = tensors(folder / "one"), tensors(folder / "two")
    assert one.keys() == two.keys()
    moved = max(float((one[f"generator/{key}"] - value).abs().max()) for key, value in start.items())
    error = max(float((one[key] - two[key]).abs().max()) for key in one if key.startswith(NETWORKS))
    print(f"moved {moved:.2e}, differs {error:.2e}")
    assert error < 1e-4 < moved
    assert len(read_journal(folder / "two")) == 2  # the main process alone writes


def test_an_interrupt_of_one_process_stops_both_after_the_same_step(folder: Path) -> None:
    assert load_generator(folder / "stopped" / "generator.safetensors")[1]["steps"] == "1"
    assert len(read_journal(folder / "stopped")) == 1
