"""What an extractor of structure maps is, and the depth convention that all of them keep."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from anomalyhybrid.errors import DataError

_LEAST_RANGE = 1e-6

NetT = TypeVar("NetT", bound=nn.Module)
SelfT = TypeVar("SelfT", bound="NetworkExtractor")


class EdgeExtractor(Protocol):
    """Gives one edge map for each image."""

    @property
    def name(self) -> str:
        """Id of extractor and weights, for cache keys; other weights give another name."""
        ...

    def __call__(self, image_B3HW: Tensor) -> Tensor:
        """Extract.

        Args:
            image_B3HW: RGB, float (B, 3, H, W) in [-1, 1], on any device.

        Returns:
            float (B, 1, H, W) in [0, 1], 1 is an edge, without gradient, on the extractor's device.
        """
        ...

    def to(self, device: torch.device | str) -> EdgeExtractor:
        """Move the network; returns the same object."""
        ...


class DepthExtractor(Protocol):
    """Gives one relative depth map for each image."""

    @property
    def name(self) -> str:
        """Id of extractor and weights, for cache keys; other weights give another name."""
        ...

    def __call__(self, image_B3HW: Tensor) -> Tensor:
        """Extract.

        Args:
            image_B3HW: RGB, float (B, 3, H, W) in [-1, 1], on any device.

        Returns:
            float (B, 1, H, W) in [0, 1]: 1 is the nearest point of the image and 0 the farthest, linear in
            inverse depth up to scale and shift; without gradient, on the extractor's device.
        """
        ...

    def to(self, device: torch.device | str) -> DepthExtractor:
        """Move the network; returns the same object."""
        ...


def checked_images(image_B3HW: Tensor) -> Tensor:
    """Check what an extractor is given.

    Args:
        image_B3HW: Should be float (B, 3, H, W).

    Returns:
        The same tensor as float32.

    Raises:
        DataError: If it is not.
    """
    if image_B3HW.ndim != 4 or image_B3HW.shape[1] != 3 or not image_B3HW.is_floating_point():
        raise DataError(
            f"an extractor needs RGB images as float (B, 3, H, W) in [-1, 1], got {image_B3HW.dtype} "
            f"{tuple(image_B3HW.shape)}: convert uint8 images with ops.ranges.signed_from_u8."
        )
    return image_B3HW.float()


def stretched(map_B1HW: Tensor) -> Tensor:
    """Stretch each map to [0, 1]; the convention for depth, given values that grow toward the camera.

    Args:
        map_B1HW: float (B, 1, H, W), finite.

    Returns:
        float32 (B, 1, H, W): minimum 0 and maximum 1 in each map; all zeros for a constant map.
    """
    values = map_B1HW.float()
    low, high = values.amin(dim=(2, 3), keepdim=True), values.amax(dim=(2, 3), keepdim=True)
    span = high - low
    result = (values - low) / span.clamp_min(_LEAST_RANGE)
    return torch.where(span > _LEAST_RANGE, result, torch.zeros_like(result)).clamp(0, 1)


class NetworkExtractor(Generic[NetT]):
    """What all extractors that run a network share: the network, its name and its device."""

    def __init__(self, net: NetT, *, name: str, device: torch.device | str = "cpu") -> None:
        """Wrap a network.

        Args:
            net: The network, in evaluation mode and without gradients.
            name: Id for cache keys, with a hash of the weights.
            device: Where to run.
        """
        self.name = name
        self.net = net
        self.device = torch.device(device)
        self.net.to(self.device)

    def to(self: SelfT, device: torch.device | str) -> SelfT:
        """Move the network; returns the same object."""
        self.device = torch.device(device)
        self.net.to(self.device)
        return self

    def prepared(self, image_B3HW: Tensor) -> Tensor:
        """Check images and move them to the network's device; see `checked_images`."""
        return checked_images(image_B3HW).to(self.device)
