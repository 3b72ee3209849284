"""HED and FastDepth load from the shared weights and do what they are for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anomalyhybrid.errors import DataError, WeightsError
from anomalyhybrid.models.fastdepth import FastDepth, load_fastdepth
from anomalyhybrid.models.hed import load_hed

WEIGHTS = Path(__file__).resolve().parents[2].parent / "shared" / "weights"


def shared(name: str) -> Path:
    path = WEIGHTS / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    return path


def test_hed_sees_an_edge():
    net = load_hed(shared("hed_bsds500.fp16.safetensors"))
    image = torch.full((1, 3, 64, 64), -0.6)
    image[..., 32:] = 0.6
    with torch.inference_mode():
        sides, fused = net(image)
    assert [side.shape for side in (*sides, fused)] == [(1, 1, 64, 64)] * 6
    edges = fused.sigmoid()[0, 0, 16:48]
    assert float(edges[:, 31:33].mean()) > 0.8
    assert float(edges[:, 10:20].mean()) < 0.1


def test_fastdepth_gives_plausible_metres():
    net = load_fastdepth(shared("fastdepth.fp16.safetensors"))
    generator = torch.Generator().manual_seed(0)
    image = torch.nn.functional.interpolate(
        torch.rand(1, 3, 4, 4, generator=generator), size=(224, 224), mode="bicubic"
    )
    with torch.inference_mode():
        metres = net(image.clamp(0, 1) * 2 - 1)
    assert metres.shape == (1, 1, 224, 224)
    assert 0.3 < float(metres.mean()) < 10.0
    assert float(metres.std()) > 0.05


def test_fastdepth_needs_multiples_of_32():
    with pytest.raises(DataError, match="multiples of 32"):
        FastDepth()(torch.zeros(1, 3, 40, 64))


def test_missing_teacher(tmp_path: Path):
    with pytest.raises(WeightsError, match="no weights at"):
        load_hed(tmp_path / "hed.safetensors")
