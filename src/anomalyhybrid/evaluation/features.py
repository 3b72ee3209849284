"""The one place from which a protocol gets a feature network, with its weights' hash and what it stands in for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.errors import ConfigError, DataError, WeightsError, WeightsNotFoundError
from anomalyhybrid.evaluation.lpips import Vgg16Trunk
from anomalyhybrid.models.dinov2 import DINOV2_BASE, WEIGHTS, find_dinov2, load_dinov2
from anomalyhybrid.models.efficientnet_lite import EFFICIENTNET_LITE2_FILE, EfficientNetLite2
from anomalyhybrid.models.efficientnet_lite import SIDE as LITE_SIDE
from anomalyhybrid.models.inception import INCEPTION_FILE, INCEPTION_SHA256, InceptionV3
from anomalyhybrid.models.weights import (
    cache_folder,
    find_weights,
    load_safetensors,
    load_torch_file,
    missing_message,
    sha256_of,
)

FeatureName = Literal["inception", "vgg16", "efficientnet_lite2", "dinov2"]

VGG16_FILES = ("vgg16_features.fp16.safetensors", "vgg16-397923af.pth")
VGG16_SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
"""Of ``vgg16-397923af.pth``, torchvision's."""

_INCEPTION_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}"
_SIDE = 224  # of VGG16 and DINOv2
_MEAN = (0.485, 0.456, 0.406)  # ImageNet's
_DEVIATION = (0.229, 0.224, 0.225)


class FeatureOutput(NamedTuple):
    """Features of N images, in their order.

    Attributes:
        features: float32 (N, D) on the CPU.
        logits: Before softmax, float32 (N, classes) on the CPU; None for a network without classes.
    """

    features: Tensor
    logits: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureNetwork:
    """A network with everything that a result must say about it.

    Attributes:
        name: Which network.
        sha256: Of its weight file.
        stand_in: Empty for the network that the field's figures are defined on (Inception for IS, FID and KID;
            DINOv2-base for the hybrid heads of Table 6); otherwise which network stands in for which.
        device: Where it runs.
        compute: Maps uint8 (B, 3, H, W) on the device to features and logits.
    """

    name: FeatureName
    sha256: str
    stand_in: str
    device: torch.device
    compute: Callable[[Tensor], FeatureOutput] = field(repr=False)

    @torch.no_grad()
    def __call__(self, images_u8: Tensor, *, batch: int = 32) -> FeatureOutput:
        """Compute features and, where the network has classes, logits.

        In full float32 (no TF32, no autocast), so that the batch size changes them by rounding only.

        Args:
            images_u8: RGB, uint8 (N, 3, H, W), on any device. Each network resizes the whole image to its own
                square: Inception 299 (TensorFlow 1's bilinear), VGG16 and DINOv2 224, EfficientNet-Lite2 260
                (smoothed bilinear; DINOv2 smoothed bicubic).
            batch: Images in one pass, >= 1.

        Raises:
            DataError: Another shape or type, or no image.
            ConfigError: A batch below 1.
        """
        if images_u8.dtype != torch.uint8 or images_u8.dim() != 4 or images_u8.shape[1] != 3 or not images_u8.numel():
            raise DataError(
                f"images are {images_u8.dtype} of shape {tuple(images_u8.shape)}; features need RGB, uint8 (N, 3, H, W)"
                ", at least one image"
            )
        if batch < 1:
            raise ConfigError(f"batch is {batch}; it must be at least 1")
        with _full_precision(self.device):
            parts = [self.compute(part.to(self.device)) for part in images_u8.split(batch)]
        features = torch.cat([part.features.cpu() for part in parts])
        logits = [part.logits.cpu() for part in parts if part.logits is not None]
        return FeatureOutput(features, torch.cat(logits) if logits else None)

    def features(self, images_u8: Tensor, *, batch: int = 32) -> Tensor:
        """Compute features alone, float32 (N, D) on the CPU; as calling the network."""
        return self(images_u8, batch=batch).features


def load_features(
    name: FeatureName, *, weights: Path | None = None, allow_hub: bool = False, device: torch.device | str = "cpu"
) -> FeatureNetwork:
    """Load a feature network: explicit path > cache > hub.

    D is 2048 for ``inception`` (logits: 1008 classes, unbiased), 512 for ``vgg16`` (mean of relu5_3), 1280 for
    ``efficientnet_lite2`` (logits: 1000 classes) and 1536 for ``dinov2`` (class token, mean patch token).

    Args:
        name: Which network.
        weights: Its weight file, for ``dinov2`` a folder in transformers' layout; None looks in the cache folder,
            then at what torch.hub or the hub's client have stored on this machine.
        allow_hub: Whether ``inception`` and ``dinov2`` may be fetched when nothing is on this machine.
        device: Where to run.

    Returns:
        The network; weights of any precision are computed with as float32.

    Raises:
        ConfigError: An unknown name.
        WeightsError: No place has the weights (all places are named), or they are not the expected ones.
    """
    if name not in get_args(FeatureName):
        raise ConfigError(f"feature network is {name!r}; it must be one of {', '.join(get_args(FeatureName))}")
    with torch.random.fork_rng(devices=[]):  # building a network draws weights, which are then replaced
        net, compute, sha256, stand_in = _LOADERS[name](weights, allow_hub)
    net.to(device)
    return FeatureNetwork(name=name, sha256=sha256, stand_in=stand_in, device=torch.device(device), compute=compute)


_Loaded = tuple[nn.Module, Callable[[Tensor], FeatureOutput], str, str]


def _inception(weights: Path | None, allow_hub: bool) -> _Loaded:
    path = _find("Inception v3", (INCEPTION_FILE,), weights, url=_INCEPTION_URL, sha256=INCEPTION_SHA256, hub=allow_hub)
    net, sha256 = InceptionV3().load_fidelity(_read(path, INCEPTION_SHA256)), sha256_of(path)
    published = sha256 == INCEPTION_SHA256
    stand_in = "" if published else "Inception v3 with other weights in place of torch-fidelity's published file"
    return net, lambda image_u8: FeatureOutput(*net((image_u8.float() - 128) / 128)), sha256, stand_in


def _vgg16(weights: Path | None, allow_hub: bool) -> _Loaded:
    path = _find("VGG16", VGG16_FILES, weights)
    net = Vgg16Trunk().load_torchvision(_read(path, VGG16_SHA256))

    def compute(image_u8: Tensor) -> FeatureOutput:
        relu5_3 = net(_normalised(_resized(image_u8, _SIDE, "bilinear")))[-1]
        return FeatureOutput(relu5_3.mean(dim=(2, 3)), None)

    return net, compute, sha256_of(path), "VGG16 (mean of relu5_3) in place of Inception v3"


def _efficientnet_lite2(weights: Path | None, allow_hub: bool) -> _Loaded:
    path = _find("EfficientNet-Lite2", (EFFICIENTNET_LITE2_FILE,), weights)
    net = EfficientNetLite2().load_published(_read(path, None))

    def compute(image_u8: Tensor) -> FeatureOutput:
        return FeatureOutput(*net((_resized(image_u8, LITE_SIDE, "bilinear") - 127) / 128))

    return net, compute, sha256_of(path), "EfficientNet-Lite2 in place of Inception v3"


def _dinov2(weights: Path | None, allow_hub: bool) -> _Loaded:
    folder = find_dinov2(weights, allow_hub=allow_hub)
    net, shape = load_dinov2(folder)

    def compute(image_u8: Tensor) -> FeatureOutput:
        pixels = _normalised(_resized(image_u8, _SIDE, "bicubic"))
        tokens = net(pixel_values=pixels).last_hidden_state
        return FeatureOutput(torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1), None)

    other = f"DINOv2 of width {shape.width}, {shape.layers} layers, patch {shape.patch} in place of DINOv2-base"
    return net, compute, sha256_of(folder / WEIGHTS), "" if shape == DINOV2_BASE else other


_LOADERS: dict[FeatureName, Callable[[Path | None, bool], _Loaded]] = {
    "inception": _inception,
    "vgg16": _vgg16,
    "efficientnet_lite2": _efficientnet_lite2,
    "dinov2": _dinov2,
}


def _find(
    title: str, files: tuple[str, ...], weights: Path | None, *, url: str = "", sha256: str = "", hub: bool = False
) -> Path:
    """Give the weight file: explicit path > cache folder > torch.hub's folder > fetched into the cache folder."""
    if weights is not None:
        return find_weights(files[0], explicit=weights)
    wanted, tried = " or ".join(files), ["explicit path: none given"]
    for kind, folder in (("cache", cache_folder()), ("torch.hub's cache", Path(torch.hub.get_dir()) / "checkpoints")):
        for path in (folder / file for file in files):
            if path.is_file():
                return path
        tried.append(f"{kind}: {folder} has no {wanted}")
    put = f"put {wanted} into {cache_folder()}"
    if url and hub:
        path = cache_folder() / files[0]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256, progress=False)
            return path
        except (OSError, RuntimeError) as error:
            tried.append(f"hub: {url}: {error}")
            raise WeightsNotFoundError(missing_message(title, tried, put=put)) from error
    tried.append(f"hub: {'not allowed (allow_hub)' if url else 'none is known for it'}")
    raise WeightsNotFoundError(missing_message(title, tried, put=put))


def _read(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """Read ``.safetensors``, or the one pickle whose hash is pinned."""
    if path.suffix != ".safetensors" and sha256 is None:
        raise WeightsError(f"{path} is no .safetensors file, and no other kind is opened for this network: convert it.")
    return load_safetensors(path) if path.suffix == ".safetensors" else load_torch_file(path, sha256=sha256)


def _resized(image_u8: Tensor, side: int, mode: Literal["bilinear", "bicubic"]) -> Tensor:
    """Resize to a square with smoothing; float in [0, 255]."""
    image = F.interpolate(image_u8.float(), size=(side, side), mode=mode, antialias=True, align_corners=False)
    return image.clamp(0, 255)


def _normalised(image_255: Tensor) -> Tensor:
    """Take ImageNet's mean and deviation from values in [0, 255]."""
    mean, deviation = (image_255.new_tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _DEVIATION))
    return (image_255 / 255 - mean) / deviation


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Compute in float32 proper while the context lasts; torch's settings are then as they were."""
    before, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn
    flags = cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=cudnn.deterministic, allow_tf32=False)
    torch.set_float32_matmul_precision("highest")
    try:
        with flags, torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
