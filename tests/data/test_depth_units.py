"""Units of depth: ranges, noise, and what betrays metres among millimetres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anomalyhybrid.data.depth_files import DepthImage, read_depth
from anomalyhybrid.data.depth_units import DepthStats, check_units, depth_stats, height_range, resolution
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.errors import ConfigError, DataError


def make(raw: np.ndarray, *, stored_range: tuple[float, float] | None = None) -> DepthImage:
    values = raw.astype(np.float64)
    if stored_range is not None:
        values = stored_range[0] + values * (stored_range[1] - stored_range[0]) / 65535
    return DepthImage(
        values=values,
        valid=raw != 0,
        raw=raw,
        kind="png16" if raw.dtype.kind == "u" else "tiff",
        nearer_is_larger=False,
        stored_range=stored_range,
    )


def scene(unit: float = 1.0, noise: float = 1e-4) -> DepthImage:
    """A tilted table 0.5 m away with a 2 cm block on it, in ``1 / unit`` metres."""
    rng = np.random.default_rng(0)
    depth = 0.5 + np.linspace(0, 0.05, 80)[None] + rng.normal(0, noise, (60, 80))
    depth[20:40, 20:40] -= 0.02
    return make((depth * unit).astype(np.float32))


def test_range_is_robust_and_local() -> None:
    raw = np.arange(1, 10_001, dtype=np.float32).reshape(100, 100)
    raw[0, 0] = 1e9
    low, high = height_range(make(raw))
    assert low == pytest.approx(101, abs=1.5)
    assert high == pytest.approx(9901, abs=1.5)
    region = np.zeros((100, 100), bool)
    region[50, :2] = True
    assert height_range(make(raw), region) == pytest.approx((5001.01, 5001.99))
    with pytest.raises(DataError, match="no measured depth in the region"):
        height_range(make(raw), np.zeros((100, 100), bool))


def test_resolution_is_the_noise_not_the_tilt() -> None:
    assert resolution(scene(noise=1e-4)) == pytest.approx(1e-4, rel=0.06)
    assert resolution(scene(1000, noise=1e-4)) == pytest.approx(0.1, rel=0.06)


def test_resolution_is_at_least_one_step() -> None:
    flat = np.full((20, 20), 700, np.uint16)
    assert resolution(make(flat)) == 1
    assert resolution(make(flat, stored_range=(0.5, 2.5))) == pytest.approx(2 / 65535)
    assert resolution(make(flat.astype(np.float32))) == pytest.approx(700 * 1.2e-7, rel=0.5)


def test_stats() -> None:
    stats = depth_stats(scene())
    assert stats.median == pytest.approx(0.523, abs=3e-3)
    assert 0.05 < stats.relief < stats.extent < 0.08


def test_two_units_in_one_set_are_said() -> None:
    stats = {"a.tiff": depth_stats(scene()), "b.tiff": depth_stats(scene(1000)), "c.tiff": depth_stats(scene())}
    with pytest.raises(DataError, match=r"0\.52.* in [ac]\.tiff and 52.* in b\.tiff \(factor 1e\+03\).*millimetres"):
        check_units(stats)
    check_units({"a.tiff": depth_stats(scene()), "d.tiff": depth_stats(scene(20))})


@pytest.mark.parametrize(
    ("unit", "height", "match"),
    [
        (1, 5.0, r"more than the whole depth range.*in millimetres and the data in metres: give 0\.005"),
        (1, -5.0, r"give -0\.005"),
        (1000, 0.005, r"below what the depth files can show.*in metres and the data in millimetres: give 5$"),
        (1, 1e6, r"more than the whole depth range.*give a height from"),
        (1, 1e-9, r"below what the depth files can show.*give a height from"),
        (1, 0.0, "other than 0"),
        (1, float("nan"), "other than 0"),
    ],
)
def test_heights_of_another_unit_are_said(unit: float, height: float, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        check_units({"a": depth_stats(scene(unit))}, heights=(height,))


@pytest.mark.parametrize(("unit", "height"), [(1, 0.005), (1, -0.02), (1000, 5.0), (1000, -20.0)])
def test_fitting_heights_pass(unit: float, height: float) -> None:
    check_units({"a": depth_stats(scene(unit))}, heights=(height,))


def test_no_map_is_refused() -> None:
    with pytest.raises(DataError, match="no depth map"):
        check_units({})


def test_a_median_of_zero_is_another_unit() -> None:
    one = DepthStats(median=0.0, relief=1, extent=1, resolution=0.1)
    with pytest.raises(DataError, match="the other is 0"):
        check_units({"a": one, "b": DepthStats(median=2.0, relief=1, extent=1, resolution=0.1)})


def test_shared_road_has_one_unit(shared_dir: Path) -> None:
    records = read_data(shared_dir / "data" / "pothole_rgbd").records[::10]
    stats = {r.relative: depth_stats(read_depth(r.depth_path, nearer_is_larger=True)) for r in records if r.depth_path}
    check_units(stats, heights=(-5000,))
    with pytest.raises(ConfigError, match="below what"):
        check_units(stats, heights=(0.5,))
