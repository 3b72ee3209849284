"""The networks of generation quality and classification, loaded once, each with what a result must say about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from anomalyhybrid.errors import WeightsError, WeightsNotFoundError
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.evaluation.diversity import Embed
from anomalyhybrid.evaluation.features import VGG16_FILES, VGG16_SHA256, FeatureName, FeatureNetwork, load_features
from anomalyhybrid.evaluation.generation_quality import QualityNetworks
from anomalyhybrid.evaluation.lpips import Lpips, Network, load_lpips
from anomalyhybrid.evaluation.results import UsedNetwork
from anomalyhybrid.models.weights import (
    cache_folder,
    find_weights,
    load_safetensors,
    load_torch_file,
    missing_message,
    sha256_of,
)

ALEXNET_FILES = ("alexnet_features.fp16.safetensors", "alexnet_features.safetensors")
RESNET34_FILE = "resnet34.safetensors"
AUTO: tuple[FeatureName, ...] = ("inception", "efficientnet_lite2", "vgg16")
"""Networks of IS, KID and FID, in the order in which ``auto`` looks for their weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """What Tables 1, 3, 5 and 7 are measured with.

    Attributes:
        quality: Networks of the generation figures.
        imagenet: ResNet-34's ImageNet weights; None starts classifiers at random.
        used: For the result, one for each role.
    """

    quality: QualityNetworks
    imagenet: Mapping[str, Tensor] | None
    used: tuple[UsedNetwork, ...]


def load_networks(config: EvaluateConfig, device: torch.device) -> Networks:
    """Load all networks that the settings ask for.

    Args:
        config: Which networks, and their weight files; empty paths look in the cache folder.
        device: Where feature and LPIPS networks run.

    Returns:
        The networks and their record: hashes, and which network stands in for which.

    Raises:
        WeightsError: Weights that are missing (all places are named) or not the expected ones. Missing ImageNet
            weights of ResNet-34 are no error; the record says that it started at random.
    """
    features = _features(config, device)
    lpips: dict[Network, tuple[Lpips, Path, Path]] = {name: _lpips(name, config) for name in config.lpips}
    imagenet, resnet = _resnet34(config)
    (first, (_, backbone, heads)), *_ = lpips.items()
    used = [
        UsedNetwork(role="inception", name=features.name, sha256=features.sha256, stand_in=features.stand_in),
        *(_used_lpips(f"lpips@{name}", name, parts[1], parts[2]) for name, parts in lpips.items()),
        _used_lpips("nearest_base", first, backbone, heads),
        UsedNetwork(role="nearest_base@region", name=features.name, sha256=features.sha256),
        resnet,
    ]
    embeds: dict[Network, Embed] = {name: network.to(device).embed for name, (network, *_) in lpips.items()}
    quality = QualityNetworks(features=features, lpips=embeds, device=device)
    return Networks(quality=quality, imagenet=imagenet, used=tuple(used))


def _features(config: EvaluateConfig, device: torch.device) -> FeatureNetwork:
    """The network asked for; ``auto`` takes the first whose weights are there. A file that is there must be right."""
    names: tuple[FeatureName, ...] = AUTO if config.features == "auto" else (config.features,)
    paths: dict[FeatureName, str] = {
        "inception": config.inception_weights,
        "efficientnet_lite2": config.efficientnet_lite2_weights,
        "vgg16": config.vgg16_weights,
    }
    problems: list[WeightsError] = []
    for name in names:
        try:
            return load_features(name, weights=Path(paths[name]) if paths[name] else None, device=device)
        except WeightsNotFoundError as error:
            problems.append(error)
    raise WeightsError("\n".join(map(str, problems)))


def _lpips(name: Network, config: EvaluateConfig) -> tuple[Lpips, Path, Path]:
    """The network, and the files of its backbone and of its heads."""
    if name == "alex":
        backbone = _find("AlexNet", config.alexnet_weights, ALEXNET_FILES)
        heads = _find("LPIPS heads of alex", config.lpips_alex_heads, _head_files(name))
        return load_lpips(name, backbone=backbone, heads=heads), backbone, heads
    backbone = _find("VGG16", config.vgg16_weights, VGG16_FILES)
    heads = _find("LPIPS heads of vgg", config.lpips_vgg_heads, _head_files(name))
    return load_lpips(name, backbone=backbone, heads=heads, backbone_sha256=VGG16_SHA256), backbone, heads


def _head_files(name: Network) -> tuple[str, ...]:
    return f"lpips_v0.1_{name}.pth", f"lpips_v0.1_{name}.safetensors"


def _used_lpips(role: str, name: Network, backbone: Path, heads: Path) -> UsedNetwork:
    """The record of an LPIPS network: its backbone's hash, the beginning of its heads' in the name."""
    return UsedNetwork(role=role, name=f"LPIPS v0.1 {name} (heads {sha256_of(heads)[:12]})", sha256=sha256_of(backbone))


def _resnet34(config: EvaluateConfig) -> tuple[Mapping[str, Tensor] | None, UsedNetwork]:
    """ImageNet weights where they are, and the record of what classifiers start from."""
    cached = cache_folder() / RESNET34_FILE
    if not config.resnet34_weights and not cached.is_file():
        return None, UsedNetwork(
            role="resnet34", name="ResNet-34", sha256="", stand_in="ResNet-34 started at random, not from ImageNet"
        )
    path = find_weights(RESNET34_FILE, explicit=Path(config.resnet34_weights) if config.resnet34_weights else None)
    state = load_safetensors(path) if path.suffix == ".safetensors" else load_torch_file(path, sha256=None)
    return state, UsedNetwork(role="resnet34", name="ResNet-34, ImageNet", sha256=sha256_of(path))


def _find(title: str, given: str, files: tuple[str, ...]) -> Path:
    """Give a weight file: explicit path > cache folder, under any of its names."""
    if given:
        return find_weights(files[0], explicit=Path(given))
    for file in files:
        if (path := cache_folder() / file).is_file():
            return path
    tried = ["explicit path: none given", f"cache: {cache_folder()} has no {' or '.join(files)}"]
    raise WeightsError(missing_message(title, tried, put=f"put {' or '.join(files)} into {cache_folder()}"))
