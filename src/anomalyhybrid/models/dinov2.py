"""DINOv2 through transformers, imported only when asked for: the features of the hybrid heads (Table 6)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from anomalyhybrid.errors import WeightsError
from anomalyhybrid.models.weights import cache_folder, missing_message

DINOV2_REPO = "facebook/dinov2-base"
DINOV2_FOLDER = "dinov2-base"
"""Folder in the cache with the hub's `CONFIG` and `WEIGHTS`."""
CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Dinov2Shape(NamedTuple):
    """What tells the sizes of DINOv2 apart."""

    width: int
    layers: int
    patch: int


DINOV2_BASE = Dinov2Shape(width=768, layers=12, patch=14)


def find_dinov2(weights: Path | None = None, *, allow_hub: bool = False) -> Path:
    """Find DINOv2-base: explicit folder > cache folder > the hub's copy on this machine > the hub.

    Args:
        weights: Folder in transformers' layout; when given, nothing else is tried.
        allow_hub: Whether to fetch it where no other place has it.

    Returns:
        A folder that holds ``config.json`` and ``model.safetensors``.

    Raises:
        WeightsError: transformers is not installed, or no place has the model; all places are named.
    """
    if importlib.util.find_spec("transformers") is None:
        raise WeightsError("DINOv2 needs transformers: pip install 'anomalyhybrid[depth]'.")
    if weights is not None:
        folder = Path(weights).expanduser()
        if _is_model(folder):
            return folder
        raise WeightsError(f"no DINOv2 at {folder}: give a folder that holds {CONFIG} and {WEIGHTS}.")
    cached = cache_folder() / DINOV2_FOLDER
    if _is_model(cached):
        return cached
    tried = ["explicit path: none given", f"cache: {cached} does not hold {CONFIG} and {WEIGHTS}"]
    for local in (True, False) if allow_hub else (True,):
        folder, outcome = _from_hub(local=local)
        if folder is not None:
            return folder
        tried.append(f"{'local copy of hub' if local else 'hub'}: {DINOV2_REPO}: {outcome}")
    if not allow_hub:
        tried.append("hub: not allowed (allow_hub)")
    raise WeightsError(
        missing_message("DINOv2", tried, put=f"put {CONFIG} and {WEIGHTS} of the hub's {DINOV2_REPO} into {cached}")
    )


def _from_hub(*, local: bool) -> tuple[Path | None, str]:
    """Give the hub's folder on this machine, or None with the reason."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(DINOV2_REPO, local_files_only=local, allow_patterns=[CONFIG, WEIGHTS]))
    except (OSError, ValueError) as error:
        return None, type(error).__name__
    return (folder, "") if _is_model(folder) else (None, f"{folder} is incomplete")


def _is_model(folder: Path) -> bool:
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def load_dinov2(folder: Path) -> tuple[nn.Module, Dinov2Shape]:
    """Load a DINOv2, from this machine alone.

    Args:
        folder: With ``config.json`` and ``model.safetensors``.

    Returns:
        A transformers ``Dinov2Model``, float32, in evaluation mode, without gradients, on the CPU; its size.

    Raises:
        WeightsError: Another kind of model, or weights that are broken or incomplete.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig, Dinov2Model

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if config.model_type != "dinov2":
            raise WeightsError(f"{folder} holds a {config.model_type!r} model; give a DINOv2 (without registers).")
        loaded: Any = Dinov2Model.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{folder} does not hold a usable DINOv2 ({error}). Fetch it again.") from error
    net, report = cast(tuple[nn.Module, dict[str, Any]], loaded)
    # transformers draws absent weights at random; the mask token is not used
    if missing := sorted(key for key in report["missing_keys"] if not key.endswith("mask_token")):
        raise WeightsError(
            f"{folder} lacks {len(missing)} weights of DINOv2, for example {missing[0]}: fetch it again."
        )
    shape = Dinov2Shape(width=config.hidden_size, layers=config.num_hidden_layers, patch=config.patch_size)
    return net.eval().requires_grad_(False), shape
