"""Cluster LPIPS and nearest-base distance: hand-computed tables, variants, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.cluster_lpips import ClusterConfig, ClusterLpips, assign, cluster_lpips
from anomalyhybrid.evaluation.memorisation import nearest_base, nearest_within

POINTS = torch.tensor([[0.0], [1.0], [4.0], [11.0], [21.0]])  # generated, on a line
CENTRES = torch.tensor([[1.0], [12.0], [20.0], [99.0]])  # clusters {0, 1, 4}, {11}, {21}, {}


def table(points: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    return torch.cdist(points, others)


def measure(config: ClusterConfig | None = None, **settings: torch.Generator | None) -> ClusterLpips:
    return cluster_lpips(table(POINTS, CENTRES), table(POINTS, POINTS), config=config or ClusterConfig(), **settings)


def test_hand_computed() -> None:
    """Pairs of the one real cluster: |0 - 1|, |0 - 4|, |1 - 4|: mean 8/3; over 4 clusters, or over 1."""
    zero, drop = measure(), measure(ClusterConfig(singletons="drop"))
    assert zero.value == pytest.approx(8 / 3 / 4)
    assert drop.value == pytest.approx(8 / 3)
    assert zero.sizes == drop.sizes == (3, 1, 1, 0)
    assert zero.cluster_means == pytest.approx((8 / 3, None, None, None))


def test_cap_takes_the_first_or_draws() -> None:
    capped = ClusterConfig(cap=2, singletons="drop")
    first = measure(capped)
    assert first.value == pytest.approx(1)
    assert first.sizes == (3, 1, 1, 0)
    drawn = {measure(capped, generator=torch.Generator().manual_seed(seed)).value for seed in range(30)}
    assert drawn == {1.0, 3.0, 4.0}
    again = [measure(capped, generator=torch.Generator().manual_seed(5)) for _ in range(2)]
    assert again[0] == again[1]
    assert measure(ClusterConfig(cap=None)) == measure()


def test_a_function_gets_the_members_that_are_paired() -> None:
    asked: list[list[int]] = []

    def within(members: np.ndarray) -> torch.Tensor:
        asked.append(members.tolist())
        return table(POINTS[members], POINTS[members])

    assert cluster_lpips(table(POINTS, CENTRES), within, config=ClusterConfig()) == measure()
    assert asked == [[0, 1, 2]]


def test_ties_go_to_the_first_centre_and_order_does_not_matter() -> None:
    assert assign(np.array([[1.0, 1.0], [2.0, 1.0]])).tolist() == [0, 1]
    order = torch.tensor([3, 0, 4, 2, 1])
    shuffled = cluster_lpips(table(POINTS[order], CENTRES), table(POINTS[order], POINTS[order]), config=ClusterConfig())
    assert shuffled.value == pytest.approx(measure().value)
    copies = torch.zeros(6, 1)
    assert cluster_lpips(table(copies, CENTRES), table(copies, copies), config=ClusterConfig()).value == 0


@pytest.mark.parametrize("settings", [{"cap": 1}, {"cap": 0}, {"singletons": "nan"}])
def test_settings_are_checked(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        ClusterConfig(**settings)  # type: ignore[arg-type]


def test_nearest_base_by_hand() -> None:
    for block in (1, 2, 100):
        found = nearest_base(POINTS, CENTRES, table, block=block)
        assert found.distances.tolist() == [1, 0, 3, 1, 1]
        assert found.nearest.tolist() == [0, 0, 0, 1, 2]
        assert (found.mean, found.minimum) == (1.2, 0)
    within = nearest_within(CENTRES, table)
    assert within.distances.tolist() == [11, 8, 8, 79]
    assert within.nearest.tolist() == [1, 2, 1, 2]


def dropped() -> ClusterLpips:
    few = torch.tensor([[0.0], [50.0]])
    return cluster_lpips(table(few, few), table(few, few), config=ClusterConfig(singletons="drop"))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: assign(np.zeros((0, 3))), "centres are empty"),
        (lambda: assign(np.zeros((3, 0))), "centres are empty"),
        (lambda: assign(np.full((2, 2), np.nan)), "4 of 4 distances"),
        (dropped, "no cluster has two images"),
        (
            lambda: cluster_lpips(table(POINTS, CENTRES), np.zeros((3, 3)), config=ClusterConfig()),
            r"shape \(3, 3\).*5 images need \(5, 5\)",
        ),
        (
            lambda: cluster_lpips(table(POINTS, CENTRES), lambda members: np.zeros((1, 1)), config=ClusterConfig()),
            "cluster of 3 images",
        ),
        (lambda: nearest_base(POINTS[:0], CENTRES, table), "0 images and 4 base images"),
        (lambda: nearest_base(POINTS, CENTRES[:0], table), "5 images and 0 base images"),
        (lambda: nearest_within(CENTRES[:1], table), "give at least 1 and 2"),
        (lambda: nearest_base(POINTS, CENTRES, lambda one, two: torch.zeros(2, 2)), "for 5 and 4 images"),
        (lambda: nearest_base(POINTS, CENTRES, lambda one, two: table(one, two) * torch.nan), "NaN"),
    ],
)
def test_refusals(call: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        call()
