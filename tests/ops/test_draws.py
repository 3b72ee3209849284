"""Rows of uniform numbers: batch, shard and order change nothing; distributions are what they say."""

from __future__ import annotations

import pytest
import torch

from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.seeding import stream


def streams(*numbers: int) -> list[torch.Generator]:
    return [stream(0, "row", number) for number in numbers]


def use(draws: Draws) -> list[torch.Tensor]:
    """One call of everything."""
    return [
        draws.uniform(-2, 3),
        draws.uniforms(4),
        draws.normals(2, 3),
        draws.log_uniform(0.1, 10),
        draws.happens(0.5).float(),
        draws.signs(),
        draws.choice([1.0, 2.0, 3.0]).float(),
    ]


def test_a_row_is_the_same_alone_in_a_batch_and_sharded() -> None:
    whole = use(Draws.from_streams(streams(0, 1, 2, 3)))
    for number in range(4):
        for one, many in zip(use(Draws.from_streams(streams(number))), whole, strict=True):
            assert torch.equal(one, many[number : number + 1])
    parts = [use(Draws.from_streams(streams(0, 1, 2, 3)).shard(index, 2)) for index in range(2)]
    for first, second, many in zip(*parts, whole, strict=True):
        assert torch.equal(torch.stack([first, second], dim=1).flatten(0, 1), many)
    assert not torch.equal(whole[1][0], whole[1][1])


def test_joined_rows_are_the_parts_rows() -> None:
    parts = [Draws.from_stream(stream(0, "part", number), 2) for number in range(3)]
    joined = Draws.joined(parts)
    assert joined.batch == 6
    values = joined.uniforms(5)
    assert torch.equal(values, torch.cat([part.uniforms(5) for part in parts]))


def test_another_device_starts_at_the_first_column() -> None:
    draws = Draws.from_streams(streams(0, 1))
    first = draws.uniforms(3)
    assert torch.equal(draws.to(torch.device("cpu")).uniforms(3), first)
    assert not torch.equal(draws.uniforms(3), first)


def test_an_exhausted_row_raises() -> None:
    draws = Draws.from_streams(streams(0), columns=8)
    draws.uniforms(8)
    with pytest.raises(RuntimeError, match="9 random numbers; its row has 8"):
        draws.uniform()


def test_normals_are_standard_normal() -> None:
    values = Draws.from_stream(stream(1), 100).normals(40, 50).flatten().sort().values
    assert abs(float(values.mean())) < 0.01
    assert abs(float(values.std()) - 1) < 0.01
    expected = torch.special.ndtr(values.double())
    distance = (expected - torch.linspace(0, 1, len(values), dtype=torch.float64)).abs().max()
    assert float(distance) < 0.004  # Kolmogorov-Smirnov at 200 000 numbers: 0.0043 at the 0.1 % level


def test_extreme_uniforms_give_finite_normals() -> None:
    assert bool(Draws(torch.tensor([[0.0, 1 - 2**-24]])).normals(2).isfinite().all())


def test_choice_follows_weights_and_never_takes_a_zero_weight() -> None:
    draws = Draws.from_stream(stream(2), 20000, columns=1)
    share = torch.bincount(draws.choice([0.0, 1.0, 0.0, 3.0, 0.0]), minlength=5) / 20000
    assert share[[0, 2, 4]].tolist() == [0, 0, 0]
    assert float(share[1]) == pytest.approx(0.25, abs=0.012)
    ends = Draws(torch.tensor([[0.0], [1 - 2**-24]]))
    assert ends.choice([0.0, 1.0, 3.0, 0.0]).tolist() == [1, 2]


def test_ranges_and_probabilities() -> None:
    draws = Draws.from_stream(stream(3), 20000, columns=8)
    values = draws.uniform(-2, 3)
    assert (float(values.min()), float(values.max())) == pytest.approx((-2, 3), abs=0.01)
    logs = draws.log_uniform(0.1, 10).log10()
    assert (float(logs.min()), float(logs.max())) == pytest.approx((-1, 1), abs=0.01)
    assert float(logs.mean()) == pytest.approx(0, abs=0.02)
    assert float(draws.happens(0.3).float().mean()) == pytest.approx(0.3, abs=0.015)
    assert float(draws.signs(0.25).mean()) == pytest.approx(0.5, abs=0.03)
    assert not draws.happens(0.0).any()
    assert draws.happens(1.0).all()
    assert bool((draws.signs(0.0) == 1).all())
