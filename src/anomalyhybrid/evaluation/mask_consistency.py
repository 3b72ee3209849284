"""Does a defect image differ from its normal image where its mask says so, and only there?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.checks import binary

VISIBLE_U8 = 5  # levels of 255; what the quality gate calls visible


@dataclass(frozen=True, slots=True)
class MaskConsistency:
    """Agreement of one label mask with the real change; all values in [0, 1].

    Attributes:
        changed_outside: Share of the changed pixels that lie outside the mask, 0 is exact; 0 if none changed.
        outside_changed: Share of the area outside the mask that changed; 0 if the mask is the whole image.
        mask_visible: Share of the mask that visibly changed, 1 is exact.
    """

    changed_outside: float
    outside_changed: float
    mask_visible: float


def mask_consistency(
    normal_u8: np.ndarray,
    defect_u8: np.ndarray,
    label_mask: np.ndarray,
    *,
    tolerance: int = 0,
    visible: int = VISIBLE_U8,
) -> MaskConsistency:
    """Compare a defect image with the normal image that it was made from.

    Args:
        normal_u8: The image before, uint8 (H, W) or (H, W, C).
        defect_u8: The image after, uint8, the same shape.
        label_mask: The written ground truth, bool or 0/1, (H, W), not empty.
        tolerance: A pixel is changed if a channel differs by more than this, in 1/255; above 0 only for
            images that went through a lossy format.
        visible: A pixel is visibly changed if a channel differs by more than this, in 1/255.

    Returns:
        Shares for this one image.

    Raises:
        DataError: Another dtype, shapes that differ, an empty mask, or a limit not in [0, 255).
    """
    for name, image in (("normal", normal_u8), ("defect", defect_u8)):
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise DataError(f"the {name} image is {image.dtype} of shape {image.shape}; give uint8 (H, W) or (H, W, C)")
    if normal_u8.shape != defect_u8.shape or label_mask.shape != normal_u8.shape[:2]:
        raise DataError(
            f"shapes differ: normal {normal_u8.shape}, defect {defect_u8.shape}, mask {label_mask.shape}; "
            "give three of one height and width"
        )
    if not (0 <= tolerance < 255 and 0 <= visible < 255):
        raise DataError(f"limits are {tolerance} and {visible}; use 0 to 254")
    inside = binary(label_mask, "label mask")
    if not inside.any():
        raise DataError("the label mask is empty; a defect image needs at least one masked pixel")
    change = np.abs(normal_u8.astype(np.int16) - defect_u8.astype(np.int16))
    if change.ndim == 3:
        change = change.max(axis=2)
    changed = change > tolerance
    stray = int(np.count_nonzero(changed & ~inside))
    return MaskConsistency(
        changed_outside=stray / max(int(np.count_nonzero(changed)), 1),
        outside_changed=stray / max(int(np.count_nonzero(~inside)), 1),
        mask_visible=float(np.mean(change[inside] > visible)),
    )
