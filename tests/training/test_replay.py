"""Steps replayed as a CUDA graph are the steps themselves."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import pytest
import torch
from tiny_runs import make_trainer, train_config

from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.trees import mapped
from anomalyhybrid.training.replay import WARM_UP, ReplayedStep
from anomalyhybrid.types import Conditions, Views

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA GPU")


def test_mapped_reaches_every_tensor_at_its_place() -> None:
    numbers = itertools.count()
    maps = Conditions(*(torch.full((1,), float(next(numbers))) for _ in range(3)))
    views = Views(maps, *(torch.full((1,), float(next(numbers))) for _ in range(3)))
    added = mapped(torch.add, views, mapped(lambda values: 10 * values, views))
    found = [added.conditions.color, added.conditions.depth, added.conditions.edge]
    found += [added.target_ahd, added.target_ahe, added.region_mask]
    assert [float(values) for values in found] == [0, 11, 22, 33, 44, 55]


def test_draws_taken_over_are_handed_out_again() -> None:
    own, other = (Draws.from_stream(torch.Generator().manual_seed(seed), 2, 4) for seed in (0, 1))
    kept = own.copy()
    own.take(other)
    assert torch.equal(own.again().uniforms(4), other.again().uniforms(4))
    assert not torch.equal(kept.uniforms(4), other.uniforms(4))


@needs_gpu
def test_a_replayed_step_reads_what_it_is_given() -> None:
    total = torch.zeros(3, device="cuda")

    def step(views: torch.Tensor, draws: Draws) -> dict[str, torch.Tensor]:
        total.add_(views * draws.uniform())
        return {"sum": total.sum()}

    replayed, expected = ReplayedStep(step), torch.zeros(3)
    for number in range(WARM_UP + 4):
        rows = torch.rand(1, 2, generator=torch.Generator().manual_seed(number))
        given = torch.arange(3.0) + number
        values = replayed(given.cuda(), Draws(rows).to(torch.device("cuda")))
        expected += given * rows[0, 0]
        assert float(values["sum"]) == pytest.approx(float(expected.sum()), rel=1e-5)


@needs_gpu
def test_a_compiled_training_learns_what_a_plain_one_does(tmp_path: Path) -> None:
    def rows_of(compiles: bool) -> list[dict]:
        config = train_config(steps=12, batch_size=4, view_block=4, compile=compiles)
        rows: list[dict] = []
        make_trainer(tmp_path / str(compiles), config).run(report=rows.append)
        return rows

    plain, compiled = rows_of(False), rows_of(True)
    assert len(compiled) == len(plain) == 12
    for name in ("loss_pixel", "loss_adversarial", "loss_discriminator"):
        assert [row[name] for row in compiled] == pytest.approx([row[name] for row in plain], rel=0.1)


def test_every_block_drawn_beside_is_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one too, after which none is begun. Streams stand-in: it writes down who waits for whom."""
    said: list[str] = []

    class Stream:
        def __init__(self, name: str = "beside") -> None:
            self.name = name

        def wait_stream(self, other: Stream) -> None:
            said.append(f"{self.name} waits for {other.name}")

    main = Stream("main")
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: main)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    trainer = make_trainer(tmp_path, train_config(steps=6, view_block=2))
    trainer.compiles = True
    monkeypatch.setattr(trainer, "_draw_block", lambda first: said.append(f"draw {first}") or noise(first))
    for number in range(6):
        views = trainer._views(number)
        assert float(views.region_mask.flatten()[0]) == number - number % 2
    waits = "main waits for beside"
    assert said == ["draw 0", "beside waits for main", "draw 2", waits, "beside waits for main", "draw 4", waits]


def noise(first: int) -> Views:
    """Views of a block that tell its first step."""
    one = torch.full((4, 1, 8, 8), float(first))
    return Views(Conditions(one, one, one), one, one, one)
