"""Which runtime the networks run in; free of torch (ADR-017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Literal, cast

from anomalyhybrid.errors import ConfigError, DataError

BackendName = Literal["torch", "compiled", "onnx", "openvino", "openvino-bf16"]
Asked = Literal["auto", "torch", "compiled", "onnx", "openvino", "openvino-bf16"]

BF16 = "-bf16"
BACKEND = "backend"
"""Entry of `dataset.json`: name and version of the runtime that the set's pixels came from."""
PACKAGES: dict[BackendName, tuple[str, ...]] = {
    "openvino-bf16": ("openvino",),
    "openvino": ("openvino",),
    "onnx": ("onnxruntime", "onnx", "onnxscript"),
    "torch": ("torch",),
    "compiled": ("torch",),
}
"""What each runtime needs; the first gives the version."""
ON_CPU: tuple[BackendName, ...] = ("openvino-bf16", "openvino", "onnx", "torch")
"""Those for a CPU, in the order in which `auto` looks."""
ON_GPU: tuple[BackendName, ...] = ("torch", "compiled")
"""Those for a GPU; `auto` takes the first, which needs no compiling."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A runtime of this installation.

    Attributes:
        name: Which.
        version: Of its package.
    """

    name: BackendName
    version: str

    @property
    def exact(self) -> Backend:
        """The same runtime in float32."""
        return replace(self, name=cast(BackendName, self.name.removesuffix(BF16)))

    def record(self) -> dict[str, str]:
        """As `dataset.json` keeps it."""
        return asdict(self)


def unfit(name: BackendName) -> bool:
    """Whether a runtime that is installed rounds to what this machine's CPU has no instructions for."""
    if not name.endswith(BF16):
        return False
    try:
        from openvino import Core  # pyright: ignore[reportMissingImports]
    except ImportError:  # installed in part
        return True
    return "BF16" not in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def missing_packages(name: BackendName) -> list[str]:
    """Packages that a runtime needs and this installation lacks."""
    return [package for package in PACKAGES[name] if find_spec(package) is None]


def check_installed(name: BackendName, otherwise: str = "") -> None:
    """Refuse a runtime that is not installed.

    Args:
        name: Which.
        otherwise: What else can be done, to end the message with.

    Raises:
        ConfigError: Names the packages and the extra that brings them.
    """
    if missing := missing_packages(name):
        extra = name.removesuffix(BF16)
        raise ConfigError(f"{name} needs {', '.join(missing)}: pip install 'anomalyhybrid[{extra}]'{otherwise}")


def choose_backend(asked: Asked, device: str) -> Backend:
    """Choose a runtime.

    Args:
        asked: A name, or ``auto``: PyTorch on a GPU; on a CPU OpenVINO (in bfloat16 where the CPU has instructions for
            it), else ONNX Runtime, else PyTorch, whichever is installed first.
        device: ``cpu``, or the GPU's type.

    Raises:
        ConfigError: It is not installed, or does not run on this machine.
    """
    if asked == "auto":
        names = ON_CPU if device == "cpu" else ON_GPU
        asked = next(name for name in names if not missing_packages(name) and not unfit(name))
    check_installed(asked, ", or give --backend auto or torch")
    if asked not in ON_CPU and device == "cpu":
        raise ConfigError(f"backend {asked!r} needs a GPU, and this machine has none; give auto or torch")
    if asked not in ON_GPU and device != "cpu":
        raise ConfigError(
            f"backend {asked!r} runs on the CPU, and this machine generates on its GPU; give auto or torch, or "
            "hide the GPU with CUDA_VISIBLE_DEVICES="
        )
    if unfit(asked):
        raise ConfigError(f"backend {asked!r} needs a CPU with instructions for bfloat16; give auto or openvino")
    return Backend(asked, version(PACKAGES[asked][0]))


def recorded_backend(description: Mapping[str, Any], device: str) -> Backend:
    """The runtime that images were begun with; sets older than the record came from PyTorch.

    Args:
        description: Of the images in `dataset.json`.
        device: ``cpu``, or the GPU's type.

    Raises:
        DataError: This installation does not have it in that version, so that pixels would differ in their last bits.
            PyTorch's version is not looked at: `regenerate` compares what it gives, as ever.
    """
    record = description.get(BACKEND, {"name": "torch"})
    name = record["name"]
    if name == "compiled" and device == "cpu":
        raise DataError("the images were begun with backend compiled on a GPU, which this machine lacks; go on there")
    if name in ON_GPU:  # PyTorch both
        return choose_backend(name, device)
    about = f"the images were begun with backend {name} {record['version']}"
    package = PACKAGES[name][0] if name in PACKAGES else name
    if name not in PACKAGES or missing_packages(name):
        raise DataError(f"{about}, which is not installed: pip install '{package}=={record['version']}'")
    if device == "cpu" and unfit(name):
        raise DataError(f"{about}, and this CPU has no instructions for bfloat16; go on on one that has")
    try:
        here = choose_backend(name, device)
    except ConfigError as error:
        raise DataError(f"{about}: {error}") from error
    if here.version != record["version"]:
        raise DataError(
            f"{about}, but {here.version} is installed and gives other last bits: pip install "
            f"'{package}=={record['version']}'"
        )
    return here
