"""Finding and reading weight files: explicit path, then the cache folder; nothing is fetched from a network."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from anomalyhybrid.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

    ModuleT = TypeVar("ModuleT", bound=nn.Module)

_CHUNK = 1 << 20


def cache_folder() -> Path:
    """Give the folder in which weights are looked for; it is not created.

    Returns:
        ``$ANOMALYHYBRID_CACHE`` where that is set, else ``~/.cache/anomalyhybrid``.
    """
    named = os.environ.get("ANOMALYHYBRID_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "anomalyhybrid"


def find_weights(name: str, *, explicit: Path | None = None) -> Path:
    """Find a weight file: explicit path > cache folder.

    Args:
        name: File name, for example ``"pidinet_table5.pth"``.
        explicit: The path that the caller gave; when given, nothing else is tried.

    Returns:
        The path of a file that exists.

    Raises:
        WeightsError: If no place has it; the message names every place.
    """
    if explicit is not None:
        path = Path(explicit).expanduser()
        if path.is_file():
            return path
        raise WeightsError(f"weights {name!r}: no file at the given path {path}. Give the path of the file.")
    cached = cache_folder() / name
    if cached.is_file():
        return cached
    tried = [
        "explicit path: none given",
        f"cache: {cached} (folder set by ANOMALYHYBRID_CACHE) has no such file",
    ]
    raise WeightsError(missing_message(name, tried))


def missing_message(name: str, tried: list[str], *, put: str | None = None) -> str:
    """Word the message for weights that are nowhere.

    Args:
        name: What was looked for.
        tried: One line for each place, in the order looked in.
        put: What to put where, if it is not one file into the cache folder.

    Returns:
        The message, with what to do at its end.
    """
    places = "".join(f"\n  {number}. {line}" for number, line in enumerate(tried, 1))
    put = put or f"put the file into {cache_folder()}"
    return f"weights {name!r} not found. Looked in:{places}\nNothing is downloaded: give a path, or {put}."


def shipped(name: str) -> Path:
    """Give the path of a weight file that is part of the package.

    Args:
        name: File name inside ``anomalyhybrid/weights``.

    Returns:
        The path of a file that exists.

    Raises:
        WeightsError: If the package does not hold it.
    """
    folder = Path(__file__).resolve().parents[1] / "weights"
    path = folder / name
    if path.is_file():
        return path
    held = ", ".join(sorted(p.name for p in folder.glob("*.safetensors"))) or "none"
    raise WeightsError(
        f"shipped weights {name!r} are not in {folder} (there: {held}). Reinstall the package, or make them "
        "with 'python -m anomalyhybrid.recipes.students'."
    )


def sha256_of(path: Path) -> str:
    """Hash a file.

    Args:
        path: An existing file.

    Returns:
        64 hexadecimal digits.

    Raises:
        WeightsError: If the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise WeightsError(f"cannot read weights {path}: {error.strerror}. Give the path of the file.") from error
    return digest.hexdigest()


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file as float32.

    Args:
        path: A ``.safetensors`` file.

    Returns:
        Tensors by key, on the CPU; floating-point ones as float32.

    Raises:
        WeightsError: If the file is missing or is no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise WeightsError(f"no weights at {path}. Give the path of a .safetensors file.")
    try:
        state = load_file(str(path))
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a readable safetensors file ({error}). Fetch it again.") from error
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def safetensors_metadata(path: Path) -> dict[str, str]:
    """Read the header's text entries of a safetensors file.

    Args:
        path: An existing ``.safetensors`` file.

    Returns:
        The entries; empty where the file has none.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file ({error}). Fetch it again.") from error


def load_torch_file(path: Path, *, sha256: str | None) -> dict[str, Tensor]:
    """Read a third-party ``.pth`` file, only if it is exactly the file that was vetted.

    Args:
        path: The file.
        sha256: Expected hash, 64 hexadecimal digits. None refuses: an unpinned pickle is never opened.

    Returns:
        The state dict, float32; ``{"state_dict": ...}`` wrappers are removed.

    Raises:
        WeightsError: If the file is missing, has another hash or none is pinned.
    """
    given = sha256_of(path)
    if sha256 is None:
        raise WeightsError(
            f"{path} has no pinned hash, so it is not opened. Its sha256 is {given}; pass it as sha256= only "
            "if you trust the file's source, or convert the file to .safetensors."
        )
    if given != sha256.lower():
        raise WeightsError(
            f"{path} is not the expected file: its sha256 is {given}, expected {sha256}. Fetch the published "
            "file again, or convert yours to .safetensors."
        )
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, dict):
        raise WeightsError(f"{path} holds a {type(state).__name__}, not a state dict. Give a state dict's file.")
    tensors = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


def load_into(module: ModuleT, state: dict[str, Tensor], *, name: str) -> ModuleT:
    """Put weights into a network, every key and shape matching.

    Args:
        module: The network; changed in place.
        state: Tensors by key.
        name: The network's name, for the message.

    Returns:
        ``module``.

    Raises:
        WeightsError: If a key is missing or unknown, or a shape differs.
    """
    own = module.state_dict()
    problems = []
    if missing := sorted(own.keys() - state.keys()):
        problems.append(f"missing keys: {_short(missing)}")
    if unexpected := sorted(state.keys() - own.keys()):
        problems.append(f"unexpected keys: {_short(unexpected)}")
    for key in sorted(own.keys() & state.keys()):
        if own[key].shape != state[key].shape:
            problems.append(f"{key}: shape {tuple(state[key].shape)}, expected {tuple(own[key].shape)}")
    if problems:
        shown = "\n  ".join(problems[:8])
        raise WeightsError(f"the weights do not fit {name}:\n  {shown}\nGive weights made for {name}.")
    module.load_state_dict(state)
    return module


def load_trunk_into(module: ModuleT, state: dict[str, Tensor], *, name: str) -> ModuleT:
    """Put the keys that a network has into it, as float32; the rest of a larger network is ignored.

    Args:
        module: The network; changed in place.
        state: Tensors by torchvision's keys.
        name: The network's name, for the message.

    Returns:
        ``module``.

    Raises:
        WeightsError: A needed key is missing or has another shape.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in state or state[key].shape != own[key].shape]
    if missing:
        raise WeightsError(f"{name} weights lack {missing[:4]} ({len(missing)} keys); give torchvision's state dict")
    module.load_state_dict({key: state[key].float() for key in own})
    return module


def _short(keys: list[str]) -> str:
    """List up to six keys, then a count."""
    return ", ".join(keys[:6]) + (f" and {len(keys) - 6} more" if len(keys) > 6 else "")
