"""Full training state in one safetensors file: networks, averaged generator, optimisers, step (no pickle)."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from anomalyhybrid.errors import CheckpointError

FILE_NAME = "checkpoint.safetensors"


def _optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """State tensors of an optimiser by parameter position and name."""
    state = optimizer.state_dict()["state"]
    return {
        f"{prefix}/{index}/{name}": torch.as_tensor(value)
        for index, entry in state.items()
        for name, value in entry.items()
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], prefix: str) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(f"{prefix}/"):
            _, index, name = key.split("/", 2)
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    modules: dict[str, nn.Module],
    optimizers: dict[str, torch.optim.Optimizer],
    fingerprint: str,
) -> Path:
    """Write the state after `step` steps, by a temporary name.

    Args:
        folder: The run's folder.
        step: Steps done.
        modules: By name.
        optimizers: By name.
        fingerprint: Identifies configuration and images; a resume under another one is refused.

    Returns:
        The file's path.
    """
    from safetensors.torch import save_file

    tensors = {
        f"{name}/{key}": value.detach().cpu().contiguous().clone()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    for name, optimizer in optimizers.items():
        entries = _optimizer_tensors(optimizer, name)
        tensors |= {key: value.detach().cpu().contiguous().clone() for key, value in entries.items()}
    path = folder / FILE_NAME
    temporary = path.with_name(path.name + ".tmp")
    try:
        save_file(tensors, temporary, metadata={"step": json.dumps(step), "fingerprint": fingerprint})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def load_checkpoint(
    folder: Path,
    *,
    modules: dict[str, nn.Module],
    optimizers: dict[str, torch.optim.Optimizer],
    fingerprint: str,
) -> int:
    """Restore what `save_checkpoint` wrote, in place.

    Returns:
        Steps done.

    Raises:
        CheckpointError: no checkpoint, an unreadable one, or one of another configuration or of other images.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / FILE_NAME
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no {FILE_NAME}; nothing to resume (start without --resume)")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not readable ({error}); delete it and start again") from error
    if metadata.get("fingerprint") != fingerprint:
        raise CheckpointError(
            f"{path} was made under another configuration or from other images; resume with the settings of"
            f" {folder / 'config.yaml'} and the same data, or give another --out"
        )
    for name, module in modules.items():
        prefix = f"{name}/"
        module.load_state_dict({key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)})
    for name, optimizer in optimizers.items():
        _load_optimizer(optimizer, tensors, name)
    return int(json.loads(metadata["step"]))
