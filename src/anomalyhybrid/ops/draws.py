"""A sample's randomness as one row of uniform numbers (ADR-005).

Each sample of a batch brings its own row, drawn from its own keyed stream; batched code reads the rows column by
column. A sample therefore gets the same numbers in a batch of one, of sixty-four, or on another worker.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def constant(values: Sequence[float], device: torch.device) -> Tensor:
    """Bring a few numbers to a device without waiting for it, float32 (K,)."""
    return torch.tensor(values, dtype=torch.float32).to(device, non_blocking=True)


class Draws:
    """Hands out columns of a matrix of uniform numbers, each column once.

    Args:
        rows_BK: float (B, K), uniform in [0, 1).
    """

    def __init__(self, rows_BK: Tensor) -> None:
        self._rows = rows_BK
        self._next = 0

    @classmethod
    def from_streams(cls, generators: Sequence[torch.Generator], columns: int = 2048) -> Draws:
        """One row from each generator, on the CPU."""
        return cls(torch.stack([torch.rand(columns, generator=generator) for generator in generators]))

    @classmethod
    def from_stream(cls, generator: torch.Generator, batch: int, columns: int = 2048) -> Draws:
        """All rows from one generator, on the CPU."""
        return cls(torch.rand(batch, columns, generator=generator))

    @classmethod
    def joined(cls, parts: Sequence[Draws]) -> Draws:
        """The rows of several batches as one batch, nothing handed out yet."""
        return cls(torch.cat([part._rows for part in parts]))

    def to(self, device: torch.device) -> Draws:
        """The same rows on another device, nothing handed out yet; the host does not wait for a GPU."""
        rows = self._rows.pin_memory() if device.type == "cuda" and not self._rows.is_cuda else self._rows
        return Draws(rows.to(device, non_blocking=True))

    def again(self) -> Draws:
        """The very same rows, nothing handed out yet."""
        return Draws(self._rows)

    def copy(self) -> Draws:
        """A copy of the rows, nothing handed out yet."""
        return Draws(self._rows.clone())

    def take(self, other: Draws) -> None:
        """Replace the rows by those of a batch of the same size."""
        self._rows.copy_(other._rows)

    def at(self, places: Tensor) -> Draws:
        """The rows at some places, long (N,); as much of them is handed out already."""
        part = Draws(self._rows[places])
        part._next = self._next
        return part

    def follow(self, part: Draws) -> None:
        """Count as handed out what has been handed out of some of the rows."""
        self._next = part._next

    def shard(self, index: int, count: int) -> Draws:
        """Every `count`-th row from `index` on: the share of one of `count` processes."""
        return Draws(self._rows[index::count])

    @property
    def batch(self) -> int:
        """Number of samples."""
        return self._rows.shape[0]

    def uniforms(self, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers in [low, high), float (B, count)."""
        start, self._next = self._next, self._next + count
        if self._next > self._rows.shape[1]:
            raise RuntimeError(f"a sample asked for {self._next} random numbers; its row has {self._rows.shape[1]}")
        return self._rows[:, start : self._next] * (high - low) + low

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """One uniform number for each sample, float (B,)."""
        return self.uniforms(1, low, high)[:, 0]

    def index(self, count: int) -> Tensor:
        """One index below a count for each sample, uniform, long (B,)."""
        return (self.uniform() * count).long().clamp_max(count - 1)

    def log_uniform(self, low: float, high: float) -> Tensor:
        """One number for each sample, uniform in the logarithm, float (B,)."""
        return low * (high / low) ** self.uniform()

    def normals(self, *shape: int) -> Tensor:
        """Standard normal numbers, float (B, *shape)."""
        count = 1
        for side in shape:
            count *= side
        values = self.uniforms(count).clamp(1e-6, 1 - 1e-6)
        return (torch.special.ndtri(values)).reshape(self.batch, *shape)

    def happens(self, probability: float) -> Tensor:
        """True with a probability, bool (B,)."""
        return self.uniform() < probability

    def signs(self, probability: float = 0.5) -> Tensor:
        """-1 with a probability, else 1, float (B,)."""
        return 1.0 - 2.0 * self.happens(probability).float()

    def choice(self, weights: Sequence[float]) -> Tensor:
        """Index drawn in proportion to weights, long (B,)."""
        cumulative = constant(weights, self._rows.device).cumsum(0)
        return torch.searchsorted(cumulative, self.uniform() * cumulative[-1], right=True).clamp_max(len(weights) - 1)
