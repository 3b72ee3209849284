"""Keyed random streams: the same seed and keys give the same numbers, whatever ran before (DESIGN: Randomness)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, *keys: str | int) -> int:
    """Derive a 63-bit seed from a root seed and a path of keys.

    Args:
        seed: Root seed, any int.
        keys: Names and indices of the stream, for example ``("generate", 17)``.

    Returns:
        An int in [0, 2**63).
    """
    text = "/".join([str(seed), *(f"{type(key).__name__}:{key}" for key in keys)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def stream(seed: int, *keys: str | int) -> torch.Generator:
    """Make a CPU generator for one keyed stream; parameters are drawn on the CPU so that devices agree.

    Args:
        seed: Root seed.
        keys: Names and indices of the stream.

    Returns:
        A fresh ``torch.Generator`` on the CPU.
    """
    import torch

    return torch.Generator().manual_seed(derive(seed, *keys))
