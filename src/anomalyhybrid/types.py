"""Values that several packages exchange; frozen dataclasses with documented shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Decoder = Literal["ahd", "ahe"]


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the encoder reads (paper 3.2): appearance of the reference, structure of the target.

    Attributes:
        color: C_r, float (B, 3, H, W) in [-1, 1].
        depth: C_d, float (B, 1, H, W) in [-1, 1]; 1 is nearest to the camera.
        edge: C_e, float (B, 1, H, W) in [-1, 1]; 1 is an edge.
    """

    color: Tensor
    depth: Tensor
    edge: Tensor

    def stacked(self) -> Tensor:
        """Concatenate to the encoder's input, float (B, 5, H, W)."""
        return torch.cat([self.color, self.depth, self.edge], dim=1)


@dataclass(frozen=True, slots=True)
class Views:
    """One training sample of Fig. 4a: independently warped conditions and the targets that share their draws.

    Attributes:
        conditions: C_r, C_d, C_e.
        target_ahd: A_d, the image under the depth condition's draw, float (B, 3, H, W) in [-1, 1].
        target_ahe: A_e, the image under the edge condition's draw, float (B, 3, H, W) in [-1, 1].
        region_mask: Where the sample was edited, float (B, 1, H, W) in [0, 1]; zeros for unedited samples.
    """

    conditions: Conditions
    target_ahd: Tensor
    target_ahe: Tensor
    region_mask: Tensor


class DecoderOutput(NamedTuple):
    """What one decoder group gives (Eq. 1); a named tuple, so that compilers and wrappers see through it.

    Attributes:
        source: A_gen, float (B, 3, H, W) in [-1, 1].
        fusion_mask: M_gen, float (B, 1, H, W) in [0, 1].
        fused: A_out = C_in (1 - M_gen) + A_gen M_gen, float (B, 3, H, W) in [-1, 1].
    """

    source: Tensor
    fusion_mask: Tensor
    fused: Tensor
