"""Measured depth for AnomalyHybrid*: holes filled, linear in the unit, 1 nearest."""

from __future__ import annotations

import numpy as np
import pytest

from anomalyhybrid.conditions.relief import filled, object_relief, signed_depth
from anomalyhybrid.errors import DataError


def plane() -> np.ndarray:
    """A slope from 100 to 200."""
    return np.tile(np.linspace(100, 200, 64, dtype=np.float32), (64, 1))


def test_holes_take_the_nearest_value() -> None:
    values = np.array([[1, 0, 9], [1, 0, 9], [1, 1, 9]], np.float32)
    valid = values > 0
    valid[0, 1] = valid[1, 1] = False
    result = filled(values, valid)
    assert result[0, 1] in (1, 9)
    assert result[1, 1] in (1, 9)
    assert np.array_equal(result[valid], values[valid])
    line = np.array([[5, 0, 0, 0, 0, 7]], np.float32)
    assert filled(line, line > 0).tolist() == [[5, 5, 5, 7, 7, 7]]


@pytest.mark.parametrize("nearer_is_larger", [True, False])
def test_the_model_sees_equal_steps_and_the_near_side_positive(nearer_is_larger: bool) -> None:
    depth, valid = signed_depth(plane(), np.ones((64, 64), bool), 32, nearer_is_larger=nearer_is_larger)
    assert valid.all()
    steps = np.diff(depth[0, 2:-2])
    np.testing.assert_allclose(steps, steps[0], rtol=1e-4)
    assert (steps[0] > 0) == nearer_is_larger
    assert -1 <= depth.min() < -0.97
    assert 0.97 < depth.max() <= 1


def test_invalid_pixels_do_not_stretch_the_range() -> None:
    values, valid = plane(), np.ones((64, 64), bool)
    values[10:20, 10:20], valid[10:20, 10:20] = 0, False
    depth, known = signed_depth(values, valid, 32, nearer_is_larger=True)
    whole, _ = signed_depth(plane(), np.ones((64, 64), bool), 32, nearer_is_larger=True)
    assert not known[6:9, 6:9].any()
    np.testing.assert_allclose(depth[known], whole[known], atol=0.06)


def test_relief_is_of_the_object_alone() -> None:
    values, valid = plane(), np.ones((64, 64), bool)
    product = np.zeros((64, 64), bool)
    product[:, :32] = True
    whole = object_relief(values, valid, np.ones((64, 64), bool))
    assert 85 < whole < 95
    assert object_relief(values, valid, product) == pytest.approx(whole / 2, rel=0.05)
    assert object_relief(values, valid, ~valid) == whole  # no product: the whole map


def test_bad_maps_are_refused() -> None:
    with pytest.raises(DataError, match="no pixel"):
        signed_depth(plane(), np.zeros((64, 64), bool), 32, nearer_is_larger=True)
    with pytest.raises(DataError, match="NaN"):
        filled(np.full((4, 4), np.nan, np.float32), np.ones((4, 4), bool))
    with pytest.raises(DataError, match="both must be"):
        filled(plane(), np.ones((4, 4), bool))
    with pytest.raises(DataError, match="flat"):
        object_relief(np.full((8, 8), 3, np.float32), np.ones((8, 8), bool), np.ones((8, 8), bool))
    flat, _ = signed_depth(np.full((8, 8), 3, np.float32), np.ones((8, 8), bool), 8, nearer_is_larger=True)
    assert not flat.any()
