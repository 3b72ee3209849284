"""Shaded previews: where the light comes from, holes, and one scale for two maps."""

from __future__ import annotations

import numpy as np
import pytest

from anomalyhybrid.data.depth_files import DepthImage
from anomalyhybrid.data.depth_preview import HOLE_COLOR_U8, shaded, slope_scale
from anomalyhybrid.errors import ConfigError, DataError


def make(values: np.ndarray, *, nearer_is_larger: bool) -> DepthImage:
    valid = np.isfinite(values) & (values != 0)
    return DepthImage(
        values=np.where(valid, values, 0).astype(np.float32),
        valid=valid,
        raw=values,
        kind="tiff",
        nearer_is_larger=nearer_is_larger,
    )


def bump(height: float) -> np.ndarray:
    y, x = np.mgrid[-32:32, -32:32] + 0.5
    return 100 + height * np.exp(-(x**2 + y**2) / 128)


@pytest.mark.parametrize("nearer_is_larger", [True, False])
def test_light_comes_from_the_upper_left(nearer_is_larger: bool) -> None:
    sign = 1 if nearer_is_larger else -1
    rise = shaded(make(bump(sign * 10), nearer_is_larger=nearer_is_larger)).astype(int)
    pit = shaded(make(bump(-sign * 10), nearer_is_larger=nearer_is_larger)).astype(int)
    assert (rise.shape, rise[0, 0].tolist()) == ((64, 64, 3), pit[0, 0].tolist())
    upper_left, lower_right = np.s_[22:28, 22:28], np.s_[36:42, 36:42]
    flat = rise[0, 0, 0]
    assert rise[upper_left].mean() > flat + 20
    assert rise[lower_right].mean() < flat - 20
    assert pit[upper_left].mean() < flat - 20
    assert pit[lower_right].mean() > flat + 20


def test_a_ramp_at_the_scale_has_the_shade_of_45_degrees() -> None:
    ramp = make(np.tile(np.arange(1.0, 41.0) * 3, (40, 1)), nearer_is_larger=True)
    assert slope_scale(ramp, smoothing=0) == pytest.approx(3)
    light = np.array([-1, -1, 1.4]) / np.sqrt(1 + 1 + 1.4**2)
    expected = round(20 + 235 * float(light @ [-1, 0, 1]) / np.sqrt(2))
    assert np.unique(shaded(ramp, smoothing=0)).tolist() == [expected]


def test_holes_are_flat_and_do_not_bend_their_neighbours() -> None:
    values = np.tile(np.arange(1.0, 41.0), (40, 1))
    values[10:20, 10:20] = np.nan
    values[30, 30] = 0
    picture = shaded(make(values, nearer_is_larger=True), smoothing=0)
    assert (picture[10:20, 10:20] == HOLE_COLOR_U8).all()
    assert (picture[30, 30] == HOLE_COLOR_U8).all()
    picture[10:20, 10:20] = picture[30, 30] = picture[0, 0]
    assert (picture == picture[0, 0]).all()


def test_one_scale_shows_small_and_large_differently() -> None:
    before, after = (make(bump(height), nearer_is_larger=True) for height in (1.0, 10.0))
    own = shaded(before).std()
    common = slope_scale(before, after)
    assert shaded(before, scale=common).std() < own / 2
    assert shaded(after, scale=common).std() > own / 2


def test_flat_maps_are_one_shade() -> None:
    flat = make(np.full((20, 20), 5e8), nearer_is_larger=False)
    assert slope_scale(flat) == 1
    assert len(np.unique(shaded(flat))) == 1


def test_wrong_arguments_are_refused() -> None:
    flat = make(np.ones((20, 20)), nearer_is_larger=False)
    with pytest.raises(DataError, match="no depth map"):
        slope_scale()
    for settings in ({"scale": 0.0}, {"scale": float("nan")}, {"smoothing": -1.0}):
        with pytest.raises(ConfigError, match="above 0"):
            shaded(flat, **settings)
