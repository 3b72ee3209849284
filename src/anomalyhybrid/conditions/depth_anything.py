"""Depth Anything V2 Small, the paper's depth (section 4.1), through transformers, imported only when asked
for.

Only the Small model is Apache-2.0; the larger ones are non-commercial.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.conditions.base import NetworkExtractor, stretched
from anomalyhybrid.errors import WeightsError
from anomalyhybrid.models.weights import cache_folder, missing_message, sha256_of

HUB_REPO = "depth-anything/Depth-Anything-V2-Small-hf"
CACHE_NAME = "depth-anything-v2-small"
_PATCH = 14
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class DepthAnythingDepth(NetworkExtractor[nn.Module]):
    """Depth Anything V2's relative inverse depth as a `DepthExtractor`."""

    def __init__(self, net: nn.Module, *, name: str, side: int = 518, device: torch.device | str = "cpu") -> None:
        """Wrap a network.

        Args:
            net: A transformers ``DepthAnythingForDepthEstimation`` in evaluation mode.
            name: Id for cache keys, with a hash of the weights.
            side: Length to which the shorter side is resized before the network, a multiple of 14.
            device: Where to run.
        """
        super().__init__(net, name=name, device=device)
        self._side = side

    @torch.no_grad()
    def __call__(self, image_B3HW: Tensor) -> Tensor:
        """Extract depth, float (B, 1, H, W) in [0, 1], 1 nearest; see `DepthExtractor`."""
        image = self.prepared(image_B3HW)
        size = image.shape[-2:]
        inverse = self.net(pixel_values=self._pixels(image)).predicted_depth[:, None].float()
        return stretched(F.interpolate(inverse, size=size, mode="bilinear", align_corners=False))

    def _pixels(self, image_B3HW: Tensor) -> Tensor:
        """Resize: the shorter side about 518, both multiples of 14; normalise as ImageNet."""
        height, width = image_B3HW.shape[-2:]
        scale = self._side / min(height, width)
        target = [max(_PATCH, round(side * scale / _PATCH) * _PATCH) for side in (height, width)]
        x = F.interpolate(image_B3HW, size=target, mode="bicubic", align_corners=False, antialias=True)
        mean = x.new_tensor(_MEAN).view(1, 3, 1, 1)
        std = x.new_tensor(_STD).view(1, 3, 1, 1)
        return ((x.clamp(-1, 1) + 1.0) / 2.0 - mean) / std


def depth_anything_depth(
    weights: Path | None = None,
    *,
    device: torch.device | str = "cpu",
    side: int = 518,
) -> DepthAnythingDepth:
    """Make Depth Anything: explicit folder > cache folder > the hub's copy on this machine.

    Args:
        weights: Folder in transformers' layout (``config.json``, ``model.safetensors``); None looks further.
        device: Where to run.
        side: Length of the shorter side inside, a multiple of 14.

    Raises:
        WeightsError: If transformers is not installed or no place has the model; all places are named.
    """
    if importlib.util.find_spec("transformers") is None:
        raise WeightsError("Depth Anything needs transformers: pip install 'anomalyhybrid[depth]'.")
    if weights is not None:
        net = _from_folder(Path(weights).expanduser())
        return DepthAnythingDepth(net, name=_name_of(Path(weights)), side=side, device=device)
    cached = cache_folder() / CACHE_NAME
    if (cached / "config.json").is_file():
        return DepthAnythingDepth(_from_folder(cached), name=_name_of(cached), side=side, device=device)
    tried = ["explicit path: none given", f"cache: {cached} (folder set by ANOMALYHYBRID_CACHE) is not there"]
    try:
        net = _load(HUB_REPO)
    except (OSError, ValueError) as error:
        tried.append(f"local copy of hub: {HUB_REPO}: {type(error).__name__}")
        put = f"put the hub's config.json and model.safetensors of {HUB_REPO} into {cached}"
        raise WeightsError(missing_message("Depth Anything V2 Small", tried, put=put)) from error
    return DepthAnythingDepth(net, name=_name_of_net(net), side=side, device=device)


def _load(source: str) -> nn.Module:
    """Load a depth model with transformers, from this machine alone."""
    from transformers import AutoModelForDepthEstimation

    net = AutoModelForDepthEstimation.from_pretrained(source, local_files_only=True, dtype=torch.float32)
    return net.eval().requires_grad_(False)


def _from_folder(folder: Path) -> nn.Module:
    """Load from a local folder."""
    if not (folder / "config.json").is_file():
        raise WeightsError(
            f"no Depth Anything model at {folder}: the folder must hold config.json and model.safetensors, "
            f"as in the hub's {HUB_REPO}."
        )
    try:
        return _load(str(folder))
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{folder} does not hold a usable Depth Anything model: {error}") from error


def _name_of(folder: Path) -> str:
    """Name a local model by its weight file's hash."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    joined = "".join(sha256_of(file) for file in files)
    return f"depth-anything-{hashlib.sha256(joined.encode()).hexdigest()[:12]}"


def _name_of_net(net: nn.Module) -> str:
    """Name a model by the hash of its parameters."""
    digest = hashlib.sha256()
    for key, value in sorted(net.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.float().cpu().numpy().tobytes())
    return f"depth-anything-{digest.hexdigest()[:12]}"
