"""One contract for all extractors, and how they are chosen."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from anomalyhybrid.conditions.base import stretched
from anomalyhybrid.conditions.extractors import (
    DEPTH_KINDS,
    EDGE_KINDS,
    make_depth_extractor,
    make_edge_extractor,
)
from anomalyhybrid.errors import ConfigError, DataError, WeightsError

SHARED_FILES = {
    "pidinet": "pidinet_table5.pth",
    "hed": "hed_bsds500.fp16.safetensors",
    "fastdepth": "fastdepth.fp16.safetensors",
}
CASES = [("edge", kind) for kind in EDGE_KINDS] + [("depth", kind) for kind in DEPTH_KINDS if kind != "measured"]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def case(request: pytest.FixtureRequest):
    """One extractor of each kind: its role and the object."""
    role, kind = request.param
    if kind == "lite":
        weights = request.getfixturevalue("lite_weights")
    elif kind == "depth_anything":
        from anomalyhybrid.conditions.depth_anything import depth_anything_depth

        return role, depth_anything_depth(request.getfixturevalue("depth_anything_folder"), side=56)
    else:
        weights = Path(__file__).resolve().parents[2].parent / "shared" / "weights" / SHARED_FILES[kind]
        if not weights.is_file():
            pytest.skip(f"{weights} is not here")
    return role, (make_edge_extractor if role == "edge" else make_depth_extractor)(kind, weights=weights)


def images(batch: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(batch, 3, 6, 5, generator=generator) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")


@pytest.mark.parametrize("size", [(64, 64), (53, 71)])
def test_range_shape_and_no_gradient(case, size):
    _, extractor = case
    result = extractor(images(2, *size))
    assert result.shape == (2, 1, *size)
    assert result.dtype == torch.float32
    assert not result.requires_grad
    assert float(result.min()) >= 0.0
    assert float(result.max()) <= 1.0


def test_depth_spans_the_whole_range(case):
    role, extractor = case
    result = extractor(images(2, 64, 64))
    if role == "edge":  # edges are probabilities and keep their own range
        assert float(result.max()) > float(result.min())
        return
    assert result.amin(dim=(1, 2, 3)).tolist() == [0.0, 0.0]
    assert result.amax(dim=(1, 2, 3)).tolist() == [1.0, 1.0]


def test_deterministic_and_batch_independent(case):
    _, extractor = case
    batch = images(3, 64, 64)
    together = extractor(batch)
    assert torch.equal(together, extractor(batch))
    alone = torch.cat([extractor(batch[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-4)


def test_input_is_left_alone_and_to_returns_the_extractor(case):
    _, extractor = case
    batch = images(1, 64, 64)
    before = batch.clone()
    assert extractor.to("cpu") is extractor
    extractor(batch)
    assert torch.equal(batch, before)


def test_uint8_images_are_refused(case):
    _, extractor = case
    with pytest.raises(DataError, match="signed_from_u8"):
        extractor(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_name_holds_a_hash(case):
    _, extractor = case
    kind, digest = extractor.name.rsplit("-", 1)
    assert kind
    assert len(digest) == 12
    assert int(digest, 16) >= 0


def test_names_differ_with_weights(lite_weights: Path, tmp_path: Path):
    from anomalyhybrid.models.lite_unet import LiteUNet, LiteUNetConfig, save_lite

    other = tmp_path / "other.safetensors"
    save_lite(LiteUNet(LiteUNetConfig(widths=(8, 8))).eval(), other, metadata={})
    first = make_edge_extractor("lite", weights=lite_weights).name
    assert first != make_edge_extractor("lite", weights=other).name
    assert first != make_depth_extractor("lite", weights=lite_weights).name


def test_unknown_kinds_name_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'pidinet'"):
        make_edge_extractor("pidnet")
    with pytest.raises(ConfigError, match="Did you mean 'depth_anything'"):
        make_depth_extractor("depth-anything-v2")
    with pytest.raises(ConfigError, match="MeasuredDepth"):
        make_depth_extractor("measured")


def test_missing_weights_name_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANOMALYHYBRID_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="Looked in") as caught:
        make_edge_extractor("pidinet")
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(WeightsError, match="no file at the given path"):
        make_edge_extractor("pidinet", weights=tmp_path / "none.pth")


def test_missing_depth_anything_names_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("ANOMALYHYBRID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("anomalyhybrid.conditions.depth_anything.HUB_REPO", str(tmp_path / "no-such-repo"))
    with pytest.raises(WeightsError) as caught:
        make_depth_extractor("depth_anything")
    message = str(caught.value)
    cached = tmp_path / "cache" / "depth-anything-v2-small"
    for place in ("explicit path", "cache", "local copy of hub", "Nothing is downloaded", f"into {cached}"):
        assert place in message
    with pytest.raises(WeightsError, match=r"config\.json"):
        make_depth_extractor("depth_anything", weights=tmp_path)


def test_depth_anything_resizes_to_multiples_of_the_patch(depth_anything_folder: Path):
    from anomalyhybrid.conditions.depth_anything import depth_anything_depth

    extractor = depth_anything_depth(depth_anything_folder, side=56)
    seen = []
    extractor.net.register_forward_pre_hook(lambda _, __, given: seen.append(given["pixel_values"]), with_kwargs=True)
    extractor(torch.full((1, 3, 40, 61), -1.0))
    assert seen[0].shape == (1, 3, 56, 84)
    assert torch.allclose(seen[0][0, :, 0, 0], torch.tensor([-2.1179, -2.0357, -1.8044]), atol=1e-3)


def test_a_constant_map_is_stretched_to_zero():
    assert torch.equal(stretched(torch.full((1, 1, 4, 4), 7.0)), torch.zeros(1, 1, 4, 4))


def test_torchvision_is_never_imported():
    assert "torchvision" not in sys.modules
