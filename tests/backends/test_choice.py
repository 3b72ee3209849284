"""Which runtime is chosen, and what is said where it cannot be."""

from __future__ import annotations

import pytest
import torch

from anomalyhybrid.backends import choice
from anomalyhybrid.backends.choice import BACKEND, Backend, check_installed, choose_backend, recorded_backend
from anomalyhybrid.backends.networks import on_backend
from anomalyhybrid.conditions.accelerated import extractor_on_backend
from anomalyhybrid.conditions.lite import lite_edge
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import Generator

VERSIONS = {"torch": "2.9", "openvino": "2026.1", "onnxruntime": "1.30", "onnx": "1.20", "onnxscript": "0.6"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """Say which packages there are."""

    def use(*names: str, bf16: bool = False) -> None:
        there = {"torch", *names}
        monkeypatch.setattr(choice, "find_spec", lambda name: object() if name in there else None)
        monkeypatch.setattr(choice, "version", VERSIONS.__getitem__)
        monkeypatch.setattr(choice, "unfit", lambda name: name.endswith("bf16") and not bf16)

    return use


@pytest.mark.parametrize(
    ("packages", "device", "name", "version"),
    [
        ((), "cpu", "torch", "2.9"),
        (("onnxruntime",), "cpu", "torch", "2.9"),  # the converter is missing
        (("onnxruntime", "onnx", "onnxscript"), "cpu", "onnx", "1.30"),
        (("onnxruntime", "onnx", "onnxscript", "openvino"), "cpu", "openvino", "2026.1"),
        (("onnxruntime", "onnx", "onnxscript", "openvino"), "cuda", "torch", "2.9"),
    ],
)
def test_auto_takes_what_is_installed_and_fits_the_device(installed, packages, device, name, version) -> None:
    installed(*packages)
    assert choose_backend("auto", device) == Backend(name, version)
    assert choose_backend("torch", device) == Backend("torch", "2.9")


def test_bfloat16_where_the_cpu_has_it(installed) -> None:
    installed("openvino", bf16=True)
    assert choose_backend("auto", "cpu") == Backend("openvino-bf16", "2026.1")
    assert choose_backend("openvino", "cpu").exact == choose_backend("openvino-bf16", "cpu").exact
    begun = {BACKEND: Backend("openvino-bf16", "2026.1").record()}
    assert recorded_backend(begun, "cpu").name == "openvino-bf16"
    installed("openvino")
    with pytest.raises(ConfigError, match="instructions for bfloat16; give auto or openvino"):
        choose_backend("openvino-bf16", "cpu")
    with pytest.raises(DataError, match=r"begun with backend openvino-bf16 2026\.1.*go on on one that has"):
        recorded_backend(begun, "cpu")
    installed()
    with pytest.raises(ConfigError, match=r"anomalyhybrid\[openvino\]"):
        choose_backend("openvino-bf16", "cpu")


def test_a_missing_or_unfit_runtime_is_refused_with_what_to_do(installed) -> None:
    installed("openvino")
    with pytest.raises(
        ConfigError, match=r"onnx needs onnxruntime, onnx, onnxscript: pip install 'anomalyhybrid\[onnx"
    ):
        choose_backend("onnx", "cpu")
    with pytest.raises(ConfigError, match=r"anomalyhybrid\[onnx\]'$"):
        check_installed("onnx")
    with pytest.raises(ConfigError, match=r"runs on the CPU.*CUDA_VISIBLE_DEVICES"):
        choose_backend("openvino", "cuda")


def test_a_set_goes_on_only_with_its_own_runtime(installed) -> None:
    installed("openvino")
    assert recorded_backend({}, "cpu").name == "torch"  # older than the record
    assert recorded_backend({BACKEND: {"name": "torch", "version": "1.0"}}, "cuda").name == "torch"
    begun = {BACKEND: Backend("openvino", "2026.1").record()}
    assert recorded_backend(begun, "cpu") == Backend("openvino", "2026.1")
    with pytest.raises(DataError, match=r"begun with backend openvino 2025\.4, but 2026\.1 is installed"):
        recorded_backend({BACKEND: {"name": "openvino", "version": "2025.4"}}, "cpu")
    with pytest.raises(DataError, match=r"pip install 'onnxruntime==1\.30'"):
        recorded_backend({BACKEND: {"name": "onnx", "version": "1.30"}}, "cpu")
    with pytest.raises(DataError, match="runs on the CPU"):
        recorded_backend(begun, "cuda")
    with pytest.raises(DataError, match="begun with backend tensorrt 10"):
        recorded_backend({BACKEND: {"name": "tensorrt", "version": "10"}}, "cpu")


def test_under_torch_networks_are_the_very_same() -> None:
    with torch.device("meta"):
        generator = Generator(GeneratorConfig(width=8, downsamplings=1, max_width=8, blocks=1))
    edge, plain = lite_edge(), Backend("torch", torch.__version__)
    assert on_backend(generator, plain) is generator
    assert extractor_on_backend(edge, plain) is edge
