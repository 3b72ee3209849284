"""Weights and small networks for the tests of the extractors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anomalyhybrid.models.lite_unet import LiteUNet, LiteUNetConfig, save_lite


@pytest.fixture(scope="session")
def lite_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised lite U-Net's file."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = LiteUNet(LiteUNetConfig(widths=(8, 8, 16))).eval()
    path = tmp_path_factory.mktemp("lite") / "lite.safetensors"
    save_lite(net, path, metadata={})
    return path


@pytest.fixture(scope="session")
def depth_anything_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny, randomly initialised Depth Anything model in transformers' layout."""
    transformers = pytest.importorskip("transformers")
    backbone = transformers.Dinov2Config(
        image_size=28,
        patch_size=14,
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
        apply_layernorm=True,
        initializer_range=0.3,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        patch_size=14,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8,
        head_hidden_size=8,
        initializer_range=0.3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = transformers.DepthAnythingForDepthEstimation(config)
    folder = tmp_path_factory.mktemp("depth-anything")
    net.save_pretrained(folder)
    return folder
