"""What detectors and classifiers are trained and tested on, as uint8 tensors of one size."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

GOOD_KIND = -1  # of good images


@dataclass(frozen=True, slots=True)
class Samples:
    """Images with masks and defect types.

    Attributes:
        image_u8: uint8 (N, 3, S, S), RGB.
        mask_u8: uint8 (N, 1, S, S), 255 on the defect, 0 everywhere in good images.
        kind: Index into `kinds`, `GOOD_KIND` for good images, long (N,).
        kinds: Names of the defect types.
    """

    image_u8: Tensor
    mask_u8: Tensor
    kind: Tensor
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.image_u8)

    def to(self, device: torch.device | str) -> Samples:
        """The same images on another device."""
        return Samples(self.image_u8.to(device), self.mask_u8.to(device), self.kind.to(device), self.kinds)

    def where(self, chosen_N: Tensor) -> Samples:
        """Chosen images: a bool (N,) or an index."""
        return Samples(self.image_u8[chosen_N], self.mask_u8[chosen_N], self.kind[chosen_N], self.kinds)

    @property
    def good(self) -> Samples:
        """The good images."""
        return self.where(self.kind == GOOD_KIND)

    @property
    def defective(self) -> Samples:
        """The images with a defect."""
        return self.where(self.kind != GOOD_KIND)


def join(*parts: Samples) -> Samples:
    """Put sets of the same size and defect types end to end.

    Raises:
        ValueError: Their defect types differ.
    """
    if len({part.kinds for part in parts}) != 1:
        raise ValueError(f"sets of different defect types: {[part.kinds for part in parts]}")
    names = [field.name for field in fields(Samples) if field.name != "kinds"]
    return Samples(*(torch.cat([getattr(part, name) for part in parts]) for name in names), kinds=parts[0].kinds)
