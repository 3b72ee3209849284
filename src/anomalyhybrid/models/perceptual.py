"""VGG16 and VGG19 feature extractors with torchvision's key names, for the perceptual loss (Eq. 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anomalyhybrid.errors import WeightsError
from anomalyhybrid.models.blocks import Conv2d
from anomalyhybrid.models.weights import load_trunk_into

_VGG_LAYERS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
_WIDTHS = (64, 128, 256, 512, 512)
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


class VggFeatures(nn.Module):
    """Gives the activation after the first ReLU of each stage (relu1_1 .. relu5_1), as pix2pixHD uses them.

    Args:
        kind: ``vgg16`` or ``vgg19``.
        stages: How many stages to run, 1 to 5; later convolutions are not built.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, kind: str = "vgg16", stages: int = 5) -> None:
        super().__init__()
        if kind not in _VGG_LAYERS:
            raise WeightsError(f"perceptual network is {kind!r}; it must be 'vgg16' or 'vgg19'")
        self.taps: list[int] = []
        self.features = nn.ModuleDict()
        inputs, position = 3, 0
        for stage in range(stages):
            if stage:
                self.features[str(position)] = nn.MaxPool2d(2)
                position += 1
            for layer in range(_VGG_LAYERS[kind][stage]):
                if stage == stages - 1 and layer:
                    break
                self.features[str(position)] = Conv2d(inputs, _WIDTHS[stage], 3, padding=1)
                self.features[str(position + 1)] = nn.ReLU()
                if layer == 0:
                    self.taps.append(position + 1)
                inputs, position = _WIDTHS[stage], position + 2
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def load_torchvision(self, state: dict[str, Tensor]) -> VggFeatures:
        """Load ``features.N.*`` keys; convolutions beyond the built stages are ignored.

        Raises:
            WeightsError: a needed key is missing or has another shape.
        """
        return load_trunk_into(self, state, name="VGG")

    def forward(self, image: Tensor) -> list[Tensor]:
        """Extract features of an image, float (B, 3, H, W) in [-1, 1]; the finest first."""
        current = ((image + 1) * 0.5 - self.mean) / self.deviation
        outputs = []
        for name, layer in self.features.items():
            current = layer(current)
            if int(name) in self.taps:
                outputs.append(current)
        return outputs
