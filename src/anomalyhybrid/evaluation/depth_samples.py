"""Images with depth as detectors see them: depth in 8 bits over one range for the whole data set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.samples import Samples, join

TAILS = (0.002, 0.998)  # quantiles of a set's valid depth that map to 0 and 255


@dataclass(frozen=True, slots=True)
class DepthSamples:
    """Images with masks, types and depth.

    Attributes:
        color: Colour images with masks and types.
        depth_u8: uint8 (N, 1, S, S), nearer is larger, `to_u8` over the data set's own range.

    Raises:
        DataError: Depth of another number or size than the images.
    """

    color: Samples
    depth_u8: Tensor

    def __post_init__(self) -> None:
        wanted = (len(self.color), 1, *self.color.image_u8.shape[-2:])
        if self.depth_u8.dtype != torch.uint8 or tuple(self.depth_u8.shape) != wanted:
            raise DataError(
                f"depth is {self.depth_u8.dtype} {tuple(self.depth_u8.shape)}; these images need uint8 {wanted}"
            )

    def __len__(self) -> int:
        return len(self.color)

    @property
    def depth(self) -> Samples:
        """Depth in place of colour: one channel three times, for the same detector."""
        image_u8 = self.depth_u8.expand(-1, 3, -1, -1).contiguous()
        return Samples(image_u8, self.color.mask_u8, self.color.kind, self.color.kinds)

    def where(self, chosen_N: Tensor) -> DepthSamples:
        """Chosen images: a bool (N,) or an index."""
        return DepthSamples(self.color.where(chosen_N), self.depth_u8[chosen_N])


def join_depth(*parts: DepthSamples) -> DepthSamples:
    """Put sets of the same size and defect types end to end."""
    return DepthSamples(join(*(part.color for part in parts)), torch.cat([part.depth_u8 for part in parts]))


def set_range(near_N1SS: Tensor, valid_N1SS: Tensor) -> tuple[float, float]:
    """Range of a whole set's depth, its outliers left out; of the good training images, say.

    Args:
        near_N1SS: float (N, 1, S, S), any unit, nearer is larger.
        valid_N1SS: bool (N, 1, S, S).

    Raises:
        DataError: No valid pixel, or one value only.
    """
    known = near_N1SS[valid_N1SS].double()
    if not known.numel():
        raise DataError("no pixel of these depth maps was measured")
    ordered = known.sort().values
    low, high = (float(ordered[round(tail * (len(ordered) - 1))]) for tail in TAILS)
    if not low < high:
        raise DataError(f"all measured depth is {low}; a detector on depth has nothing to see")
    return low, high


def to_u8(near_N1SS: Tensor, valid_N1SS: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Depth in 8 bits over a set's range, uint8; unmeasured pixels are 0.

    Args:
        near_N1SS: float (N, 1, S, S), nearer is larger.
        valid_N1SS: bool (N, 1, S, S).
        value_range: `set_range`, the same for training and test images.
    """
    low, high = value_range
    unit = ((near_N1SS.double() - low) / (high - low)).clamp(0, 1)
    values = (unit * 254).round() + 1
    return torch.where(valid_N1SS, values, torch.zeros_like(values)).to(torch.uint8)
