"""LPIPS v0.1 (Zhang et al. 2018), networks ``alex`` and ``vgg``, on weight files that the caller names.

Every head weight is >= 0, so LPIPS is a squared Euclidean distance: unit-length features, times the root of
their head weight over the number of positions, put end to end. Each image then passes the network once,
and all pairs of two sets are one matrix product.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.errors import DataError, WeightsError
from anomalyhybrid.models.alexnet import SMALLEST, AlexNetFeatures
from anomalyhybrid.models.weights import load_safetensors, load_torch_file, load_trunk_into

Network = Literal["alex", "vgg"]

HEAD_SHA256 = {
    "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
}  # PyPI lpips 0.1.4, weights/v0.1/*.pth

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_TINY = 1e-10  # added to a feature's length
_PART = 1 << 14  # numbers that one float32 product adds up
_VGG_BLOCKS = (((0, 2), 64), ((5, 7), 128), ((10, 12, 14), 256), ((17, 19, 21), 512), ((24, 26, 28), 512))


class Vgg16Trunk(nn.Module):
    """All 13 convolutions of VGG16; gives the last activation of each block (relu1_2 .. relu5_3)."""

    channels = (64, 128, 256, 512, 512)

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict()
        before = 3
        for numbers, channels in _VGG_BLOCKS:
            for number in numbers:
                self.features[str(number)] = nn.Conv2d(before, channels, 3, padding=1)
                before = channels
        self.requires_grad_(False).eval()

    def load_torchvision(self, state: dict[str, Tensor]) -> Vgg16Trunk:
        """Load ``features.N.*`` keys; the classifier's are ignored.

        Raises:
            WeightsError: A needed key is missing or has another shape.
        """
        return load_trunk_into(self, state, name="VGG16")

    def forward(self, image_B3HW: Tensor) -> list[Tensor]:
        """Extract five feature maps of a normalised image, float (B, 3, H, W); the finest first."""
        current, outputs = image_B3HW, []
        for block, (numbers, _) in enumerate(_VGG_BLOCKS):
            if block:
                current = F.max_pool2d(current, 2)
            for number in numbers:
                current = F.relu(self.features[str(number)](current))
            outputs.append(current)
        return outputs


class Lpips(nn.Module):
    """The perceptual distance of image pairs; no dropout, no gradients in its weights.

    Args:
        trunk: Features of five layers.
        heads: One weight for each channel, float (C,), for each layer, >= 0.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: AlexNetFeatures | Vgg16Trunk, heads: list[Tensor]) -> None:
        super().__init__()
        shapes = [tuple(head.shape) for head in heads]
        if shapes != [(channels,) for channels in trunk.channels]:
            raise WeightsError(f"LPIPS heads have shapes {shapes}; {type(trunk).__name__} needs {trunk.channels}")
        if any(not bool((head >= 0).all()) for head in heads):
            raise WeightsError("LPIPS heads hold negative weights or NaN; give the published heads (v0.1)")
        self.trunk = trunk
        for index, head in enumerate(heads):
            self.register_buffer(f"head{index}", head.float().view(1, -1, 1, 1))
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)
        self.eval()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Measure pairs.

        Args:
            first: float (B, 3, H, W) in [-1, 1], H and W at least 32.
            second: The same shape and range.

        Returns:
            float (B,), >= 0.

        Raises:
            DataError: Shapes that differ or do not fit.
        """
        if first.shape != second.shape:
            raise DataError(f"images have shapes {tuple(first.shape)} and {tuple(second.shape)}; give equal ones")
        return (self.embed(first) - self.embed(second)).square().sum(dim=1)

    def embed(self, image: Tensor) -> Tensor:
        """Give vectors whose squared Euclidean distance is LPIPS.

        Args:
            image: float (B, 3, H, W) in [-1, 1], H and W at least 32.

        Returns:
            float (B, D); at 256x256 D is 0.63 million for ``alex`` and 8.0 million for ``vgg``.

        Raises:
            DataError: Another shape, or too small an image.
        """
        if image.dim() != 4 or image.shape[1] != 3 or min(image.shape[2:]) < SMALLEST or not len(image):
            raise DataError(f"images have shape {tuple(image.shape)}; LPIPS needs (B, 3, H, W), H and W >= {SMALLEST}")
        parts = []
        for index, feature in enumerate(self.trunk((image - self.shift) / self.scale)):
            unit = feature / (feature.norm(dim=1, keepdim=True) + _TINY)
            head = cast(Tensor, getattr(self, f"head{index}"))
            positions = feature.shape[2] * feature.shape[3]
            parts.append((unit * (head / positions).sqrt()).flatten(1))
        return torch.cat(parts, dim=1)


@torch.no_grad()
def lpips_matrix(network: Lpips, first: Tensor, second: Tensor, *, block: int = 16) -> Tensor:
    """Measure all pairs of two image sets.

    Args:
        network: On the device of the images.
        first: float (N, 3, H, W) in [-1, 1].
        second: float (M, 3, H, W) in [-1, 1]; its embeddings are held in memory (32 MB an image for ``vgg``
            at 256x256, 2.5 MB for ``alex``), so give the smaller set here.
        block: Images in one pass of the network.

    Returns:
        float64 (N, M) on the CPU, >= 0; equal to `Lpips` within about 1e-6, so that copies are near 0, not 0.

    Raises:
        DataError: Shapes that do not fit, or a block below 1.
    """
    if first.shape[1:] != second.shape[1:] or not len(first) or not len(second):
        raise DataError(
            f"images have shapes {tuple(first.shape)} and {tuple(second.shape)}; give two sets of one image size"
        )
    if block < 1:
        raise DataError(f"block is {block}; it must be at least 1")
    held = torch.cat([network.embed(part) for part in second.split(block)])
    centre = held.mean(dim=0)
    held -= centre  # long vectors with small distances would lose digits in the product
    held_lengths = held.square().sum(dim=1, dtype=torch.float64)
    rows = []
    for part in first.split(block):
        embedded = network.embed(part) - centre
        lengths = embedded.square().sum(dim=1, dtype=torch.float64)
        squared = lengths[:, None] + held_lengths - 2.0 * _products(embedded, held)
        rows.append(squared.clamp_min(0.0).cpu())
    return torch.cat(rows)


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Give the inner products (N, M) of (N, D) and (M, D), float64; parts of D are added up in float64."""
    total = torch.zeros(len(first), len(second), dtype=torch.float64, device=first.device)
    for one, two in zip(first.split(_PART, dim=1), second.split(_PART, dim=1), strict=True):
        total += (one @ two.T).double()
    return total


def load_lpips(network: Network, *, backbone: Path, heads: Path, backbone_sha256: str | None = None) -> Lpips:
    """Build LPIPS from two weight files.

    Args:
        network: ``alex`` or ``vgg``.
        backbone: ImageNet weights with torchvision's keys; ``.safetensors``, or ``.pth`` with its hash.
        heads: ``lpips_v0.1_*.pth`` as PyPI lpips 0.1.4 has it (its hash is pinned), or a ``.safetensors`` copy.
        backbone_sha256: Hash of a ``.pth`` backbone; not used for ``.safetensors``.

    Returns:
        The network in evaluation mode on the CPU.

    Raises:
        WeightsError: An unknown network, or files that are missing, are not the expected ones or do not fit.
    """
    if network not in HEAD_SHA256:
        raise WeightsError(f"LPIPS network is {network!r}; it must be 'alex' or 'vgg'")
    trunk = AlexNetFeatures() if network == "alex" else Vgg16Trunk()
    trunk.load_torchvision(_read(backbone, backbone_sha256))
    state = _read(heads, HEAD_SHA256[network])
    keys = [f"lin{index}.model.1.weight" for index in range(len(trunk.channels))]
    if missing := [key for key in keys if key not in state]:
        raise WeightsError(f"{heads} lacks {missing}; give the LPIPS v0.1 heads of {network!r}")
    return Lpips(trunk, [state[key].flatten() for key in keys])


def _read(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """Read a weight file by its ending."""
    return load_safetensors(path) if Path(path).suffix == ".safetensors" else load_torch_file(path, sha256=sha256)
