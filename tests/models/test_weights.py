"""Finding and reading weights: what is refused, and what the messages say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from anomalyhybrid.errors import WeightsError
from anomalyhybrid.models.weights import (
    find_weights,
    load_into,
    load_safetensors,
    load_torch_file,
    sha256_of,
    shipped,
)


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    path = tmp_path / "net.pth"
    torch.save({"epoch": 3, "state_dict": {"weight": torch.ones(2, dtype=torch.float16)}}, path)
    return path


def test_pinned_hash_opens_the_file(pickled: Path):
    state = load_torch_file(pickled, sha256=sha256_of(pickled).upper())
    assert list(state) == ["weight"]
    assert state["weight"].dtype == torch.float32


def test_another_hash_is_refused_before_opening(pickled: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(WeightsError, match="expected 0000") as caught:
        load_torch_file(pickled, sha256="0" * 64)
    assert sha256_of(pickled) in str(caught.value)
    with pytest.raises(WeightsError, match="no pinned hash"):
        load_torch_file(pickled, sha256=None)


def test_missing_files(tmp_path: Path):
    with pytest.raises(WeightsError, match="cannot read"):
        load_torch_file(tmp_path / "none.pth", sha256="0" * 64)
    with pytest.raises(WeightsError, match="no weights at"):
        load_safetensors(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="Reinstall"):
        shipped("none.safetensors")


def test_safetensors_come_as_float32(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(2, dtype=torch.float16), "n": torch.ones(1, dtype=torch.int64)}, path)
    state = load_safetensors(path)
    assert (state["a"].dtype, state["n"].dtype) == (torch.float32, torch.int64)
    path.write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="not a readable safetensors"):
        load_safetensors(path)


def test_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANOMALYHYBRID_CACHE", str(tmp_path / "cache"))
    explicit, cached = tmp_path / "mine.pth", tmp_path / "cache" / "net.pth"
    with pytest.raises(WeightsError, match="not found") as caught:
        find_weights("net.pth")
    assert str(cached) in str(caught.value)
    assert f"Nothing is downloaded: give a path, or put the file into {cached.parent}" in str(caught.value)
    assert not cached.parent.exists()
    cached.parent.mkdir()
    cached.write_bytes(b"1")
    assert find_weights("net.pth") == cached
    with pytest.raises(WeightsError, match="given path"):
        find_weights("net.pth", explicit=explicit)
    explicit.write_bytes(b"2")
    assert find_weights("net.pth", explicit=explicit) == explicit


def test_load_into_lists_what_does_not_fit():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    good = {key: value.clone() for key, value in net.state_dict().items()}
    assert load_into(net, good, name="the net") is net
    bad = {**good, "extra": torch.zeros(1), "0.bias": torch.zeros(9)}
    del bad["1.bias"]
    with pytest.raises(WeightsError) as caught:
        load_into(net, bad, name="the net")
    message = str(caught.value)
    for part in (
        "the net",
        "missing keys: 1.bias",
        "unexpected keys: extra",
        "0.bias: shape (9,), expected (3,)",
    ):
        assert part in message
