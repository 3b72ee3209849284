"""`anomalyhybrid doctor`: what is installed, which weights are where, and what to do about the rest."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from anomalyhybrid.errors import WeightsError

_CORE = ("numpy", "safetensors", "opencv-python-headless", "pillow", "tifffile", "accelerate", "cyclopts")
_EXTRAS = {
    "depth": (("transformers",), "Depth Anything as depth extractor"),
    "hybrids": (("sklearn",), "evaluate --table 6"),
    "openvino": (("openvino",), "two to three times the images a second on a CPU"),
    "onnx": (("onnxruntime", "onnx", "onnxscript"), "the same with ONNX Runtime, and export-model --format onnx"),
    "dev": (("pytest", "ruff"), "make test"),
}
_LOW_DISK = 5e9


def report(*, cache: Path | None = None) -> list[str]:
    """Look at the installation; nothing is changed or fetched.

    Args:
        cache: Cache folder; None is the one that all commands use.

    Returns:
        Lines of text; those that need action start with ``->``.
    """
    system = f"Python {platform.python_version()}, {platform.platform()}"
    lines = [f"anomalyhybrid {_version('anomalyhybrid')}, {system}"]
    lines += ["", "device", *_indented(_device())]
    lines += [
        "",
        "packages",
        *_indented([f"{name} {_version(name)}" for name in _CORE]),
        *_indented(_extras()),
    ]
    try:
        weights = importlib.import_module("anomalyhybrid.models.weights")
    except ImportError as error:
        return [*lines, "", "weights", f"  not looked for: {error}"]
    lines += ["", "weights", *_indented(_weights(weights))]
    folder = cache.expanduser() if cache is not None else weights.cache_folder()
    return [*lines, "", "cache", *_indented(_cache(folder))]


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "is missing"


def _device() -> list[str]:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return [f"torch cannot be imported: {error}", "-> pip install torch"]
    lines = [f"torch {torch.__version__}, CUDA build {torch.version.cuda or 'none'}"]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            lines.append(f"cuda:{index} {properties.name}, {properties.total_memory / 1e9:.0f} GB")
        return [*lines, "training and generation use the GPU"]
    lines.append(f"no GPU is usable; {os.cpu_count()} CPU cores, {torch.get_num_threads()} threads")
    return [*lines, "generation is quick enough on a CPU; for training on your own data a GPU is advised"]


def _extras() -> list[str]:
    lines = []
    for extra, (modules, purpose) in _EXTRAS.items():
        missing = [name for name in modules if find_spec(name) is None]
        if missing:
            lines.append(f"extra {extra}: {', '.join(missing)} missing")
            lines.append(f"-> only for {purpose}: pip install 'anomalyhybrid[{extra}]'")
        else:
            lines.append(f"extra {extra}: installed ({purpose})")
    return lines


def _weights(weights) -> list[str]:  # the module, so that a broken torch is reported and not raised
    from anomalyhybrid.conditions import depth_anything, fastdepth, lite, pidinet
    from anomalyhybrid.recipes.training import SHIPPED_GENERATOR

    lines = []
    for name in (lite.EDGE_FILE, lite.DEPTH_FILE, SHIPPED_GENERATOR):
        try:
            path = weights.shipped(name)
            lines.append(f"shipped {name}: {_megabytes(path)}, sha256 {weights.sha256_of(path)[:12]}")
        except WeightsError:
            lines.append(f"shipped {name}: missing")
            lines.append("-> reinstall the package: the demo and the defaults need this file")
    optional = (
        (pidinet.PIDINET_FILE, "edge pidinet", "--edge-weights"),
        (fastdepth.FASTDEPTH_FILE, "depth fastdepth", "--depth-weights"),
    )
    for name, use, flag in optional:
        path = weights.cache_folder() / name
        lines += _optional(path, path.is_file(), use, flag)
    folder = weights.cache_folder() / depth_anything.CACHE_NAME
    return [
        *lines,
        *_optional(folder, (folder / "config.json").is_file(), "depth depth_anything", "--depth-weights"),
    ]


def _optional(path: Path, is_there: bool, use: str, flag: str) -> list[str]:
    if is_there:
        return [f"optional, {use}: {path}"]
    return [
        f"optional, {use}: not in the cache",
        f"-> only for {use}: put it at {path}, or name it with {flag}",
    ]


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def _cache(folder: Path) -> list[str]:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if folder.is_dir():
        sizes = [entry.stat().st_size for entry in folder.rglob("*") if entry.is_file()]
        lines = [f"{folder}: {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB"]
    else:
        lines = [f"{folder}: not made yet (set ANOMALYHYBRID_CACHE for another place)"]
    if (folder / "conditions").is_dir():
        lines.append("its folder conditions may be deleted: maps are extracted again when they are needed")
    if not os.access(existing, os.W_OK | os.X_OK):
        lines += [
            f"{existing} is read-only for this user",
            "-> set ANOMALYHYBRID_CACHE to a folder that is not",
        ]
    lines.append(f"free disk space there: {free / 1e9:.1f} GB")
    return lines + (["-> free some space before training or generating many images"] if free < _LOW_DISK else [])
