"""The relief of a defect: whose shape is taken, and what it does to measured depth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.generation.depth_profile import (
    SOURCES,
    SUPPORT,
    apply_relief,
    background_level,
    fit_profile,
    native_relief,
)

SIDE = 32


def region() -> torch.Tensor:
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., 8:20, 10:26] = 1
    return mask


def bowl(height: float) -> torch.Tensor:
    """A cosine bump of a height over the region, 0 outside."""
    down = torch.sin(torch.linspace(0, torch.pi, 12))[:, None]
    across = torch.sin(torch.linspace(0, torch.pi, 16))[None]
    values = torch.zeros(1, 1, SIDE, SIDE)
    values[0, 0, 8:20, 10:26] = height * down * across
    return values


def source_of(network: torch.Tensor, manipulation: torch.Tensor, sign: float = -1.0, least: float = 0.02) -> str:
    found = fit_profile(network, manipulation, region(), torch.tensor([sign]), least=least, smooth=0.3)
    return SOURCES[int(found.source[0])]


def fitted(height: float) -> torch.Tensor:
    """The shape of a dent that the network sees at a height."""
    return fit_profile(bowl(height), bowl(-1), region(), torch.tensor([-1.0]), least=0.01, smooth=0.3).relief


def test_the_network_is_asked_first_and_its_refusal_is_told() -> None:
    assert source_of(bowl(-0.2), bowl(-0.1)) == "network"
    assert source_of(bowl(0.2), bowl(-0.1)) == "manipulation"  # the wrong sign
    assert source_of(bowl(-0.01), bowl(-0.1)) == "manipulation"  # next to nothing
    noise = torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 0.3
    assert source_of(noise, bowl(-0.1)) == "manipulation"  # no sign at all
    assert source_of(bowl(0.2), bowl(0.1)) == "outline"
    assert source_of(bowl(0.2), bowl(-0.1), sign=1.0) == "network"


def test_shape_is_scaled_to_its_peak_and_covers_the_region() -> None:
    """A network that answers with a third of the height gives the same shape; no pixel of the region stays flat."""
    for height in (-0.1, -0.3):
        relief = fitted(height)
        assert float(relief.max()) == 1.0
        assert float(relief[region() > 0].min()) == pytest.approx(SUPPORT)
        assert not relief[region() == 0].any()
        assert float(relief[0, 0, 13, 17]) == 1.0
        assert float(relief[0, 0, 8, 10]) == pytest.approx(SUPPORT)
    torch.testing.assert_close(fitted(-0.1), fitted(-0.3))


def test_native_relief_keeps_to_the_label_mask() -> None:
    label = np.zeros((90, 120), bool)
    label[30:60, 40:90] = True
    relief = native_relief(fitted(-1.0), label)
    assert relief.max() == 1.0
    assert (relief[label] > 0).all()
    assert not relief[~label].any()
    assert relief[30, 40] < relief[45, 65]
    assert not native_relief(torch.ones(1, 1, 8, 8), np.zeros((9, 9), bool)).any()


@settings(max_examples=40, deadline=None)
@given(
    nearer_is_larger=st.booleans(),
    sign=st.sampled_from([-1, 1]),
    height=st.floats(0.001, 50.0),
    seed=st.integers(0, 1000),
)
def test_only_measured_pixels_of_the_mask_move_and_by_the_height(
    nearer_is_larger: bool, sign: int, height: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(400, 600, (24, 24)).astype(np.float32)
    valid, label = rng.random((24, 24)) > 0.2, rng.random((24, 24)) > 0.6
    relief = np.where(label, rng.uniform(0.1, 1, (24, 24)), 0)
    peak = np.argwhere(label & valid)[0]
    relief[tuple(peak)] = 1.0
    raised = apply_relief(
        values,
        valid,
        label,
        relief,
        sign=sign,
        height=height,
        nearer_is_larger=nearer_is_larger,  # type: ignore[arg-type]
    )
    moved = label & valid
    assert np.array_equal(raised.values[~moved], values[~moved])
    toward = (raised.values - values)[moved] * (1 if nearer_is_larger else -1)
    assert (np.sign(toward) == sign).all()
    assert raised.peak == pytest.approx(sign * height, rel=1e-6)
    assert raised.requested == pytest.approx(sign * height)
    assert raised.valid_share == pytest.approx(moved.sum() / label.sum())


def two_levels() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A part at distance 400 on a table at 500; a mask on the part."""
    values = np.full((40, 40), 500.0)
    values[5:35, 5:35] = 400.0
    label = np.zeros((40, 40), bool)
    label[15:25, 15:25] = True
    return values, np.ones((40, 40), bool), label


def test_a_hole_goes_to_the_background() -> None:
    values, valid, label = two_levels()
    relief = label * 1.0
    hole = apply_relief(values, valid, label, relief, sign=-1, height=3.0, nearer_is_larger=False, to_background=True)
    assert (hole.values[label] == 500).all()
    assert (hole.requested, hole.peak) == (-100, -100)
    assert background_level(values, valid, nearer_is_larger=False) == -500
    flat = np.full((40, 40), 500.0)  # nothing lies behind: the hole has the height that was asked for
    assert (
        apply_relief(
            flat, valid, label, relief, sign=-1, height=3.0, nearer_is_larger=False, to_background=True
        ).values[label]
        == 503
    ).all()


def test_a_flat_defect_moves_little_and_distances_stay_positive() -> None:
    values, valid, label = two_levels()
    flat = apply_relief(values, valid, label, label * 1.0, sign=1, height=10.0, nearer_is_larger=False, flat_share=0.1)
    assert flat.peak == pytest.approx(1.0)
    near = apply_relief(values, valid, label, label * 1.0, sign=1, height=1e4, nearer_is_larger=False)
    assert near.values.min() == pytest.approx(40)


def test_unmeasured_masks_stay_and_bad_input_is_refused() -> None:
    values, valid, label = two_levels()
    nothing = apply_relief(values, valid & ~label, label, label * 1.0, sign=1, height=1.0, nearer_is_larger=True)
    assert np.array_equal(nothing.values, values)
    assert (nothing.peak, nothing.valid_share) == (0, 0)
    with pytest.raises(ConfigError, match="above 0"):
        apply_relief(values, valid, label, label * 1.0, sign=1, height=0.0, nearer_is_larger=True)
    with pytest.raises(DataError, match="differ"):
        apply_relief(values, valid, label, np.ones((4, 4)), sign=1, height=1.0, nearer_is_larger=True)
