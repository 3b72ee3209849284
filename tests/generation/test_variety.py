"""Measures of defects, proportions of types, and the greedy choice, against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from anomalyhybrid.generation.variety import comparable, looks, most_varied, outline, quotas, unscaled_eyes


def _on_a_line(*places: float) -> torch.Tensor:
    return torch.tensor(places)[:, None].float()


def test_the_choice_starts_at_the_medoid_and_goes_to_the_farthest() -> None:
    features = _on_a_line(0, 1, 5, 6, 20)  # mean 6.4
    assert most_varied(features, ["a"] * 5, {"a": 1}) == [3]
    assert most_varied(features, ["a"] * 5, {"a": 3}) == [3, 4, 0]
    assert most_varied(features, ["a"] * 5, {"a": 5}) == [3, 4, 0, 1, 2], "1 and 5 are equally near"


def test_of_equals_the_first_is_taken_and_copies_come_last() -> None:
    features = _on_a_line(0, 0, 4, -4, 4)
    assert most_varied(features, ["a"] * 5, {"a": 4}) == [0, 2, 3, 1]


def test_a_type_that_has_its_number_is_left_out() -> None:
    features = _on_a_line(0, 10, -11, 1, 2)
    chosen = most_varied(features, ["a", "b", "b", "a", "a"], {"a": 2, "b": 1})
    assert chosen == [0, 2, 4], "-11 is farther than 10, and no second b is taken"
    assert most_varied(features, ["a", "b", "b", "a", "a"], {"a": 0, "b": 1}) == [1], "the medoid of those allowed"


def test_proportions_are_the_sets_own() -> None:
    assert quotas({"dent": 60, "scratch": 30, "hole": 10}, 10, "set") == {"dent": 6, "scratch": 3, "hole": 1}
    assert quotas({"a": 1, "b": 1, "c": 1}, 2, "set") == {"a": 1, "b": 1, "c": 0}, "names decide between equals"
    assert quotas({"a": 99, "b": 1}, 100, "set") == {"a": 99, "b": 1}


def test_equal_types_take_what_rare_ones_lack() -> None:
    assert quotas({"dent": 60, "scratch": 30, "hole": 2}, 12, "equal") == {"dent": 5, "scratch": 5, "hole": 2}
    assert quotas({"b": 5, "a": 5}, 3, "equal") == {"a": 2, "b": 1}


@pytest.mark.parametrize("shares", ["set", "equal"])
def test_numbers_add_up_and_never_exceed_what_is_there(shares: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        available = {f"t{i}": int(n) for i, n in enumerate(rng.integers(1, 30, rng.integers(1, 6)))}
        count = int(rng.integers(1, sum(available.values()) + 1))
        chosen = quotas(available, count, shares)  # type: ignore[arg-type]
        assert sum(chosen.values()) == count
        assert all(chosen[name] <= number for name, number in available.items())


def test_each_group_counts_alike_whatever_its_units() -> None:
    generator = torch.Generator().manual_seed(0)
    wide, narrow = torch.randn(40, 30, generator=generator), torch.randn(40, 1, generator=generator)
    constant = torch.full((40, 2), 0.1)
    origins = [f"{number % 7}" for number in range(40)]
    features = comparable([wide, narrow, constant], origins)
    assert features.shape == (40, 30 + 1 + 7), "what is the same everywhere is left out"
    for part in features.split([30, 1, 7], dim=1):
        assert torch.cdist(part, part).square().mean() == pytest.approx(2, rel=1e-3)
    assert torch.equal(features, comparable([3 * wide - 1, narrow.exp(), constant], origins)), "ranks alone count"
    same = comparable([narrow], [None] * 40)
    assert torch.equal(same[:, 1:], torch.zeros(40, 1))


def test_ranks_are_shared_by_equals_and_bound_what_is_extreme() -> None:
    places = comparable([_on_a_line(3, 1, 1, 1000, -2)], [None] * 5)[:, 0]
    by_hand = torch.tensor([4, 2.5, 2.5, 5, 1]) - 3
    assert torch.allclose(places, by_hand / by_hand.square().mean().sqrt())


def test_origins_are_the_same_or_not() -> None:
    features = comparable([torch.zeros(6, 1)], ["x", "x", "y", "y", "z", None])
    apart = torch.cdist(features, features)
    assert apart[0, 1] == apart[2, 3] == 0
    assert torch.allclose(apart[0, [2, 4, 5]], apart[4, 5].expand(3))
    assert apart[4, 5] > 0


def test_outlines_by_hand() -> None:
    mask = np.zeros((40, 80), bool)
    mask[10:14, 20:60] = True
    size, x, y, wide, slant, solid, parts = outline(mask)
    assert size == pytest.approx(math.log(160 / 3200))
    assert (x, y) == pytest.approx((0.5, 0.3))
    assert wide == pytest.approx((1600 - 16) / (1600 + 16))
    assert (slant, solid, parts) == pytest.approx((0, 1, 0))
    mask[30:32, 0:2] = True
    assert outline(mask)[6] == pytest.approx(math.log(2))
    ring = np.zeros((41, 41), bool)
    ring[10:31, 10:31] = True
    ring[11:30, 11:30] = False
    assert outline(ring)[5] == pytest.approx(80 / 441)
    assert outline(np.eye(20, dtype=bool))[4] > 0.9
    assert outline(np.eye(20, dtype=bool)[:, ::-1])[4] < -0.9
    one = np.zeros((20, 20), bool)
    one[3, 4] = True
    assert outline(one) == pytest.approx((math.log(1 / 400), 4.5 / 20, 3.5 / 20, 0, 0, 1, 0))


def test_looks_tell_colour_and_texture_apart() -> None:
    pictures = np.full((3, 64, 64, 3), 120, np.uint8)
    regions = np.zeros((3, 64, 64), bool)
    regions[:, 20:40, 24:44] = True
    pictures[1, 20:40, 24:44] = (200, 120, 120)
    pictures[2, 20:40:2, 24:44] = 20  # stripes, on average as bright as before
    pictures[2, 21:40:2, 24:44] = 220
    texture, colour = looks(pictures, regions, unscaled_eyes())
    assert colour.shape == (3, 6)
    inside = colour[:, :3]
    assert inside[1, 0] - inside[0, 0] == pytest.approx(80 / 127.5, abs=1e-3)
    assert torch.allclose(inside[1, 1:], inside[0, 1:], atol=1e-3)
    assert torch.allclose(inside[2], inside[0], atol=1e-3)
    assert (texture[2] - texture[0]).norm() > 0.5 * texture[0].norm()
    pictures[:, :8] = 0  # far from the regions
    far = looks(pictures, regions, unscaled_eyes())[1]
    assert torch.equal(far, colour)
