"""Distances between hybrids and parents: hand-computed values, properties, the baselines."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.hybrid_distance import (
    Distance,
    average,
    chamfer_distance,
    colour_distance,
    colour_transfer,
    contours,
    lab,
    silhouette,
    silhouette_distance,
    summarise_distances,
)

ALL = np.ones((16, 16), bool)


def flat(colour: tuple[int, int, int], side: int = 16) -> np.ndarray:
    return np.full((side, side, 3), colour, np.uint8)


def disc(radius: float, side: int = 64) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side / 2 + 0.5
    return y**2 + x**2 < radius**2


def test_lab_of_known_colours() -> None:
    """White, black and pure red in CIE Lab (D65), to half a unit."""
    for colour, wanted in (((255, 255, 255), (100, 0, 0)), ((0, 0, 0), (0, 0, 0)), ((255, 0, 0), (53.2, 80.1, 67.2))):
        assert np.allclose(lab(flat(colour))[0, 0], wanted, atol=0.5)
    with pytest.raises(DataError, match="8-bit RGB"):
        lab(flat((0, 0, 0)).astype(np.uint16))


@pytest.mark.parametrize("pair", [((20, 20, 20), (230, 230, 230)), ((200, 60, 40), (40, 160, 60))])
def test_one_shift_of_all_colours_is_its_length(pair: tuple) -> None:
    first, second = (flat(colour) for colour in pair)
    length = float(np.linalg.norm(lab(first)[0, 0] - lab(second)[0, 0]))
    assert colour_distance(first, ALL, second, ALL) == pytest.approx(length, rel=0.05)


def test_colours_count_wherever_they_are() -> None:
    """Moved pixels do not matter, pixels outside the silhouette do not, other shares of a colour do."""
    image = flat((200, 60, 40))
    image[:8] = (30, 30, 30)
    assert colour_distance(image, ALL, image[::-1].copy(), ALL) == pytest.approx(0, abs=1e-9)
    assert colour_distance(image, ALL, np.repeat(image, 2, axis=0), np.ones((32, 16), bool)) == pytest.approx(
        0, abs=0.5
    )
    half, top = ALL.copy(), ALL.copy()
    top[8:] = False
    assert colour_distance(image, top, flat((30, 30, 30)), half) == pytest.approx(0, abs=1e-9)
    quarter = flat((200, 60, 40))
    quarter[:4] = (30, 30, 30)
    near = colour_distance(image, ALL, quarter, ALL)
    assert 0 < near < colour_distance(image, ALL, flat((200, 60, 40)), ALL)
    assert near == pytest.approx(colour_distance(quarter, ALL, image, ALL))
    with pytest.raises(DataError, match="0 pixels"):
        colour_distance(image, ~ALL, image, ALL)


def test_silhouettes_by_hand() -> None:
    first, second = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    first[:2], second[1:3] = True, True
    assert silhouette_distance(first, second) == pytest.approx(1 - 4 / 12)
    assert silhouette_distance(first, first) == 0
    with pytest.raises(DataError, match="empty"):
        silhouette_distance(first & ~first, first & ~first)
    with pytest.raises(DataError, match="one size"):
        silhouette_distance(first, second[:3])


def test_chamfer_by_hand() -> None:
    """A line three pixels away is 3; of a point 4 away from one end of a line, both ways count."""
    first, second = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    first[1], second[4] = True, True
    assert chamfer_distance(first, second) == pytest.approx(3)
    assert chamfer_distance(first, first) == 0
    point, pair = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    point[0, 0] = pair[0, 0] = pair[0, 4] = True
    assert chamfer_distance(point, pair) == pytest.approx((0 + (0 + 4) / 2) / 2)
    assert chamfer_distance(point, point & ~point) == pytest.approx(math.hypot(9, 9))


def test_contours_and_silhouette_of_a_disc() -> None:
    image = np.where(disc(20)[..., None], (30, 30, 30), (230, 230, 230)).astype(np.uint8)
    found = silhouette(image)
    assert found is not None
    assert silhouette_distance(found, disc(20)) < 0.1
    y, x = np.nonzero(contours(image))
    assert np.abs(np.hypot(y - 31.5, x - 31.5) - 20).max() < 2.5
    assert silhouette(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)) is None


def test_places_and_shares() -> None:
    at_reference, middle, beyond = Distance(0, 4, 4), Distance(2, 2, 4), Distance(5, 6, 4)
    assert [d.place for d in (at_reference, middle)] == [0, 0.5]
    assert [d.is_between for d in (at_reference, middle, beyond)] == [False, True, False]
    assert math.isnan(Distance(0, 0, 0).place)
    found = summarise_distances([at_reference, middle, beyond])
    assert found["to_reference"] == pytest.approx(7 / 3)
    assert found["nearer_reference"] == pytest.approx(2.5 / 3)
    assert found["between"] == pytest.approx(1 / 3)
    assert found["place"] == pytest.approx((0 + 0.5 + 5 / 11) / 3)
    with pytest.raises(DataError):
        summarise_distances([])


def test_average_by_hand() -> None:
    made = average(flat((10, 20, 30), 16), flat((20, 40, 61), 8))
    assert made.shape == (8, 8, 3)
    assert (made == (15, 30, 46)).all()


def test_colour_transfer_takes_mean_and_deviation() -> None:
    """Inside the silhouette the reference's Lab statistics, outside the target bit for bit."""
    draw = np.random.default_rng(0)
    reference = np.clip(draw.normal((150, 110, 80), 12, (32, 32, 3)), 0, 255).astype(np.uint8)
    target = np.clip(draw.normal((90, 120, 130), 6, (24, 24, 3)), 0, 255).astype(np.uint8)
    inside = np.zeros((24, 24), bool)
    inside[4:20, 4:20] = True
    made = colour_transfer(reference, np.ones((32, 32), bool), target, inside)
    assert np.array_equal(made[~inside], target[~inside])
    for statistic in (np.mean, np.std):
        wanted = statistic(lab(reference).reshape(-1, 3), axis=0)
        assert np.allclose(statistic(lab(made)[inside], axis=0), wanted, atol=0.5)
    with pytest.raises(DataError, match="silhouette"):
        colour_transfer(reference, np.zeros((32, 32), bool), target, inside)
