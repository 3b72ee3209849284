"""Work is done for the chosen samples alone, and draws go on as if it had been done for all."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.parts import among, sparing
from anomalyhybrid.ops.structures import draw_region

CHOICES = [[True, False, True, False, False], [False] * 5, [True] * 5]


@dataclass(frozen=True)
class Pair:
    one: Tensor
    two: Tensor


def rows(columns: int = 300) -> Draws:
    return Draws.from_stream(torch.Generator().manual_seed(0), 5, columns)


class OnAGpu:
    """Stand-in for a choice that only a GPU knows: whoever asks for its places waits."""

    is_cuda = True
    device = torch.device("cpu")
    asked = 0

    def nonzero(self) -> Tensor:
        self.asked += 1
        return torch.tensor([[1], [3]])

    def __len__(self) -> int:
        return 5


def test_a_gpu_is_waited_for_only_where_that_is_allowed() -> None:
    chosen, values = OnAGpu(), torch.arange(5.0)
    assert torch.equal(among(chosen, torch.square, values), values**2)  # type: ignore[arg-type]
    assert chosen.asked == 0
    with sparing():
        assert among(chosen, torch.square, values).tolist() == [0, 1, 0, 9, 0]  # type: ignore[arg-type]
    assert chosen.asked == 1


@pytest.mark.parametrize("choice", CHOICES)
def test_the_chosen_samples_get_what_the_whole_batch_would(choice: list[bool]) -> None:
    chosen, values = torch.tensor(choice), torch.arange(10.0).view(5, 2)
    seen: list[int] = []

    def function(draws: Draws, pair: Pair, nothing: None) -> tuple[Pair, Tensor]:
        seen.append(draws.batch)
        assert nothing is None
        return Pair(pair.one + draws.uniforms(2), pair.two), pair.two.long()

    whole, alike = rows(), rows()
    assert torch.equal(whole.uniform(), alike.uniform())
    expected, index = function(whole, Pair(values, values * 2), None)
    found, its_index = among(chosen, function, alike, Pair(values, values * 2), None)
    assert seen[1] == max(1, sum(choice))
    for given, wanted in ((found.one, expected.one), (found.two, expected.two), (its_index, index)):
        assert given.dtype == wanted.dtype
        assert given.shape == wanted.shape
        assert torch.equal(given[chosen], wanted[chosen])
    assert torch.equal(alike.uniforms(7), whole.uniforms(7))  # numbers that follow are those that would have followed


def test_regions_are_the_same_whatever_the_rest_of_the_batch_is() -> None:
    """Each kind is drawn by code of its own, for its samples alone."""
    kind = torch.tensor([0, 1, 2, 3, 4])
    center, extent = torch.linspace(-0.4, 0.4, 10).view(5, 2), torch.full((5,), 0.3)
    together = draw_region(rows(), kind, center, extent, 32, 32)
    for place in range(5):
        own = rows().at(torch.tensor([place]))
        alone = draw_region(own, kind[place : place + 1], center[place : place + 1], extent[place : place + 1], 32, 32)
        assert torch.equal(alone[0], together[place])
        assert alone.any()
