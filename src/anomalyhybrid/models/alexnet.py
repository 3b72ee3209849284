"""AlexNet's convolutional part with torchvision's key names, the trunk of LPIPS ``alex``."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.models.weights import load_trunk_into

SMALLEST = 32  # smallest height and width that reach the last layer


class AlexNetFeatures(nn.Module):
    """Gives the activation after each of the five convolutions; keys ``features.{0,3,6,8,10}.{weight,bias}``."""

    channels = (64, 192, 384, 256, 256)

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict(
            {
                "0": nn.Conv2d(3, 64, 11, stride=4, padding=2),
                "3": nn.Conv2d(64, 192, 5, padding=2),
                "6": nn.Conv2d(192, 384, 3, padding=1),
                "8": nn.Conv2d(384, 256, 3, padding=1),
                "10": nn.Conv2d(256, 256, 3, padding=1),
            }
        )
        self.requires_grad_(False).eval()

    def load_torchvision(self, state: dict[str, Tensor]) -> AlexNetFeatures:
        """Load ``features.N.*`` keys; the classifier's are ignored.

        Raises:
            WeightsError: A needed key is missing or has another shape.
        """
        return load_trunk_into(self, state, name="AlexNet")

    def forward(self, image_B3HW: Tensor) -> list[Tensor]:
        """Extract features, the finest first.

        Args:
            image_B3HW: float (B, 3, H, W), normalised as the caller's metric asks; H and W at least 32.

        Returns:
            Five tensors with 64, 192, 384, 256 and 256 channels.
        """
        current, outputs = image_B3HW, []
        for number, layer in self.features.items():
            if number in ("3", "6"):
                current = F.max_pool2d(current, 3, stride=2)
            current = F.relu(layer(current))
            outputs.append(current)
        return outputs
