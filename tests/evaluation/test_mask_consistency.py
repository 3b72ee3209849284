"""Mask consistency: hand-computed images, limits, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.mask_consistency import mask_consistency

NORMAL = np.full((4, 5, 3), 100, np.uint8)


def mask() -> np.ndarray:
    """Four of twenty pixels."""
    label_mask = np.zeros((4, 5), bool)
    label_mask[1:3, 1:3] = True
    return label_mask


def test_by_hand() -> None:
    """Three of four masked pixels visibly changed, one barely; two of sixteen outside changed."""
    defect = NORMAL.copy()
    defect[1, 1], defect[1, 2, 0], defect[2, 1, 2], defect[2, 2, 1] = 0, 255, 106, 105
    defect[0, 0, 1] = 101
    defect[3, 4] = 99
    found = mask_consistency(NORMAL, defect, mask())
    assert (found.changed_outside, found.outside_changed, found.mask_visible) == (2 / 6, 2 / 16, 3 / 4)
    tolerant = mask_consistency(NORMAL, defect, mask(), tolerance=1, visible=6)
    assert (tolerant.changed_outside, tolerant.outside_changed, tolerant.mask_visible) == (0, 0, 2 / 4)
    swapped = mask_consistency(defect, NORMAL, mask().astype(np.uint8))
    assert swapped == found


def test_extremes() -> None:
    same = mask_consistency(NORMAL, NORMAL, mask())
    assert (same.changed_outside, same.outside_changed, same.mask_visible) == (0, 0, 0)
    redrawn = mask_consistency(NORMAL, NORMAL + 50, mask())
    assert (redrawn.changed_outside, redrawn.outside_changed, redrawn.mask_visible) == (16 / 20, 1, 1)
    whole = mask_consistency(NORMAL, NORMAL + 50, np.ones((4, 5), bool))
    assert (whole.changed_outside, whole.outside_changed, whole.mask_visible) == (0, 0, 1)
    wrap = mask_consistency(np.zeros((4, 5), np.uint8), np.full((4, 5), 255, np.uint8), mask())
    assert wrap.mask_visible == 1  # 0 and 255 are 255 apart, not 1


@pytest.mark.parametrize(
    ("normal", "defect", "label_mask", "settings", "words"),
    [
        (NORMAL / 255.0, NORMAL, mask(), {}, "normal image is float64"),
        (NORMAL, NORMAL[None], mask(), {}, "defect image is uint8 of shape"),
        (NORMAL, NORMAL[:3], mask(), {}, "shapes differ"),
        (NORMAL, NORMAL, mask()[:, :4], {}, "shapes differ"),
        (NORMAL, NORMAL, mask() * np.uint8(255), {}, "binarise"),
        (NORMAL, NORMAL, mask() & False, {}, "mask is empty"),
        (NORMAL, NORMAL, mask(), {"tolerance": -1}, "limits are -1 and 5"),
        (NORMAL, NORMAL, mask(), {"visible": 255}, "limits are 0 and 255"),
    ],
)
def test_refusals(
    normal: np.ndarray, defect: np.ndarray, label_mask: np.ndarray, settings: dict[str, int], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        mask_consistency(normal, defect, label_mask, **settings)
