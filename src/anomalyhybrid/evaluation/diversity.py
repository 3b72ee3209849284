"""Cluster LPIPS from images: each image passes the network once where its embedding may be held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.cluster_lpips import ClusterConfig, cluster_lpips
from anomalyhybrid.evaluation.samples import Samples
from anomalyhybrid.ops.ranges import signed_from_u8

Embed: TypeAlias = Callable[[Tensor], Tensor]
"""Takes float (B, 3, H, W) in [-1, 1], gives float (B, D) whose squared Euclidean distances are LPIPS
(`lpips.Lpips.embed`)."""

_PART = 1 << 14  # numbers of a vector that one float32 product adds up


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Measure all pairs of two sets of vectors.

    Parts of the vectors are centred (long vectors with small distances would lose digits in the product) and
    multiplied in float32; the parts are added up in float64.

    Args:
        first: float (N, D).
        second: float (M, D), on the same device.

    Returns:
        float64 (N, M) on the CPU, >= 0.

    Raises:
        DataError: Lengths that differ, or nothing on a side.
    """
    if first.dim() != 2 or second.dim() != 2 or first.shape[1] != second.shape[1] or not len(first) or not len(second):
        raise DataError(f"vectors have shapes {tuple(first.shape)} and {tuple(second.shape)}; give (N, D) and (M, D)")
    total = torch.zeros(len(first), len(second), dtype=torch.float64, device=first.device)
    for one, two in zip(first.split(_PART, dim=1), second.split(_PART, dim=1), strict=True):
        centre = two.mean(dim=0)
        one, two = one - centre, two - centre
        total += one.square().sum(dim=1, dtype=torch.float64)[:, None]
        total += two.square().sum(dim=1, dtype=torch.float64) - 2.0 * (one @ two.T).double()
    return total.clamp_min(0.0).cpu()


@dataclass(slots=True, eq=False)
class EmbeddedImages:
    """Images whose embeddings are made when they are first asked for, and kept where they fit.

    Attributes:
        images_u8: RGB, uint8 (N, 3, H, W), on any device.
        embed: The network.
        device: Where the network runs.
        memory: Bytes that embeddings may take. All are held if they fit (2.5 MB an image for ``alex`` at 256x256,
            32 MB for ``vgg``); otherwise they are made anew in tiles of half of it.
        block: Images in one pass of the network, >= 1.
    """

    images_u8: Tensor
    embed: Embed
    device: torch.device
    memory: int
    block: int = 16
    _held: Tensor | None = field(default=None, init=False, repr=False)
    _length: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.block < 1 or self.memory < 1:
            raise ConfigError(f"block is {self.block} and memory {self.memory}; both must be at least 1")
        if self.images_u8.dtype != torch.uint8 or self.images_u8.dim() != 4 or not len(self.images_u8):
            raise DataError(
                f"images are {self.images_u8.dtype} of shape {tuple(self.images_u8.shape)}; give uint8 (N, 3, H, W)"
            )

    def to_vectors(self, vectors_MD: Tensor) -> Tensor:
        """Distances of all images to given embeddings, float64 (N, M) on the CPU.

        Raises:
            DataError: Vectors of another length.
        """
        if (held := self._hold()) is not None:
            return squared_distances(held, vectors_MD)
        rows = []
        for start in range(0, len(self.images_u8), self.block):
            numbers = torch.arange(start, min(start + self.block, len(self.images_u8)))
            rows.append(squared_distances(self._vectors(numbers), vectors_MD))
        return torch.cat(rows)

    def within(self, members: np.ndarray) -> Tensor:
        """Distances among some images, float64 (n, n) on the CPU, for `cluster_lpips`.

        Args:
            members: Image numbers, int64 (n,), n >= 1.
        """
        numbers = torch.from_numpy(np.asarray(members, dtype=np.int64))
        places = torch.arange(len(numbers)).split(self._tile())
        matrix = torch.zeros(len(numbers), len(numbers), dtype=torch.float64)
        for index, rows in enumerate(places):
            one = self._vectors(numbers[rows])
            for columns in places[index:]:
                two = one if columns is rows else self._vectors(numbers[columns])
                part = squared_distances(one, two)
                matrix[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = part
                matrix[columns[0] : columns[-1] + 1, rows[0] : rows[-1] + 1] = part.T
        return matrix.fill_diagonal_(0.0)

    def _tile(self) -> int:
        """Images of which two sets of embeddings may be in memory at once."""
        held = self._hold()
        return len(self.images_u8) if held is not None else max(1, self.memory // (2 * 4 * self._length))

    def _vectors(self, numbers_n: Tensor) -> Tensor:
        """Embeddings of some images, float32 (n, D) on the device."""
        held = self._hold()
        if held is not None:
            return held[numbers_n.to(held.device)]
        return embedded(self.images_u8[numbers_n.to(self.images_u8.device)], self.embed, self.device, block=self.block)

    def _hold(self) -> Tensor | None:
        """All embeddings if they fit in memory, made at the first call; None if they do not."""
        if not self._length:
            first = embedded(self.images_u8[: self.block], self.embed, self.device)
            self._length = first.shape[1]
            if 4 * self._length * len(self.images_u8) <= self.memory:
                held = first.new_empty(len(self.images_u8), self._length)
                for start in range(0, len(held), self.block):
                    part = self.images_u8[start : start + self.block]
                    held[start : start + len(part)] = embedded(part, self.embed, self.device) if start else first
                self._held = held
        return self._held


@torch.no_grad()
def embedded(
    images_u8: Tensor, embed: Embed, device: torch.device, *, block: int = 16, as_bytes: bool = False
) -> Tensor:
    """Embed images in float32 proper (no TF32), as one tensor.

    Args:
        images_u8: RGB, uint8 (N, 3, H, W), N >= 1, on any device.
        embed: The network.
        device: Where the network runs.
        block: Images in one pass.
        as_bytes: Feed values in [0, 255] in place of [-1, 1], a quirk of published code (PROTOCOL).

    Returns:
        float32 (N, D) on the device.
    """
    parts: list[Tensor] = []
    with _full_convolutions():
        for part_u8 in images_u8.split(block):
            part = part_u8.to(device)
            parts.append(embed(part.float() if as_bytes else signed_from_u8(part)).float())
    return torch.cat(parts)


@contextmanager
def _full_convolutions() -> Iterator[None]:
    """Convolutions in float32 while the context lasts."""
    cudnn = torch.backends.cudnn
    with cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=cudnn.deterministic, allow_tf32=False):
        yield


def drawn_centres(test: Samples, count: int, generator: torch.Generator) -> Samples:
    """Draw centres among test defects, without replacement; they keep their order.

    Args:
        test: Defective images.
        count: Most centres; all images are taken if there are no more.
        generator: On the CPU.
    """
    if len(test) <= count:
        return test
    chosen = torch.randperm(len(test), generator=generator)[:count].sort().values
    return test.where(chosen.to(test.kind.device))


def image_cluster_lpips(
    held: EmbeddedImages,
    to_centres: Tensor,
    clusters: ClusterConfig,
    generator: torch.Generator,
) -> float:
    """Cluster LPIPS of all images around all centres (the paper's choice: centres of the category).

    Args:
        held: The generated images.
        to_centres: Their distances to the centres, float64 (N, M) on the CPU.
        clusters: Cap and singleton rule.
        generator: Draws the images of clusters above the cap.

    Raises:
        DataError: All clusters dropped, or distances that are not finite.
    """
    return cluster_lpips(to_centres, held.within, config=clusters, generator=generator).value


def typed_cluster_lpips(
    held: EmbeddedImages,
    to_centres: Tensor,
    generated: Samples,
    centres: Samples,
    clusters: ClusterConfig,
    generator: torch.Generator,
) -> float:
    """Mean over defect types of cluster LPIPS among each type's own centres (AnomalyDiffusion's choice).

    A type that the centres lack (of methods without the data set's types) is clustered around all centres.

    Args:
        held: The generated images.
        to_centres: Their distances to the centres, float64 (N, M) on the CPU.
        generated: The same images with their types.
        centres: The centres with theirs; types are matched by name.
        clusters: Cap and singleton rule.
        generator: Draws the images of clusters above the cap.

    Raises:
        DataError: All clusters of a type dropped, or distances that are not finite.
    """
    names = [centres.kinds[kind] for kind in centres.kind.tolist()]
    values = []
    for index in sorted(set(generated.kind.tolist())):
        rows = (generated.kind.cpu() == index).nonzero().flatten()
        own = [number for number, name in enumerate(names) if name == generated.kinds[index]] or list(range(len(names)))
        numbers = rows.numpy()
        found = cluster_lpips(
            to_centres[rows][:, own],
            lambda members, numbers=numbers: held.within(numbers[members]),
            config=clusters,
            generator=generator,
        )
        values.append(found.value)
    return sum(values) / len(values)
