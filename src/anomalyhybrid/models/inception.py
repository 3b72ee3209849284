"""The Inception v3 on which Inception Score, FID and KID are defined, with torch-fidelity's key names.

It is TensorFlow's network of 2015-12-05, which differs from the one of torchvision: 1008 classes, average
pools that leave the padding out, a max pool in the last block, and a resize that does not align pixel centres.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.errors import DataError
from anomalyhybrid.models.weights import load_into

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""Of `INCEPTION_FILE` as torch-fidelity publishes it (pytorch-fid's ``pt_inception-2015-12-05`` is the same file)."""

SIDE = 299
WIDTH = 2048
CLASSES = 1008
_BN_EPS = 1e-3

Pool = Literal["average", "max", "halve"]


class InceptionOutput(NamedTuple):
    """What the metrics are computed from.

    Attributes:
        pooled: Means of the last feature map, float (B, 2048): FID and KID.
        logits_unbiased: The last layer's products without its bias, float (B, 1008): Inception Score.
    """

    pooled: Tensor
    logits_unbiased: Tensor


class _Branch(NamedTuple):
    """One branch of a block: convolutions (channels, height, width), the last with ``stride``; a fork may follow."""

    name: str
    layers: tuple[tuple[int, int, int], ...]
    stride: int = 1
    fork: int = 0  # channels of each of the two convolutions, 1x3 and 3x1, that end the branch side by side


class _Block(NamedTuple):
    """Branches side by side, then a pooled one: pool and 1x1 convolution, or for ``halve`` the pool alone."""

    branches: tuple[_Branch, ...]
    pool: Pool
    pool_channels: int = 0


def _block_35(pool_channels: int) -> _Block:
    """At 35x35."""
    branches = (
        _Branch("branch1x1", ((64, 1, 1),)),
        _Branch("branch5x5", ((48, 1, 1), (64, 5, 5))),
        _Branch("branch3x3dbl", ((64, 1, 1), (96, 3, 3), (96, 3, 3))),
    )
    return _Block(branches, "average", pool_channels)


def _block_17(inner: int) -> _Block:
    """At 17x17, with 7x7 kernels as pairs of 1x7 and 7x1."""
    double = ((inner, 1, 1), (inner, 7, 1), (inner, 1, 7), (inner, 7, 1), (192, 1, 7))
    branches = (
        _Branch("branch1x1", ((192, 1, 1),)),
        _Branch("branch7x7", ((inner, 1, 1), (inner, 1, 7), (192, 7, 1))),
        _Branch("branch7x7dbl", double),
    )
    return _Block(branches, "average", 192)


def _block_8(pool: Pool) -> _Block:
    """At 8x8, two branches with forked ends."""
    branches = (
        _Branch("branch1x1", ((320, 1, 1),)),
        _Branch("branch3x3", ((384, 1, 1),), fork=384),
        _Branch("branch3x3dbl", ((448, 1, 1), (384, 3, 3)), fork=384),
    )
    return _Block(branches, pool, 192)


_HALVE_35 = _Block(
    (
        _Branch("branch3x3", ((384, 3, 3),), stride=2),
        _Branch("branch3x3dbl", ((64, 1, 1), (96, 3, 3), (96, 3, 3)), stride=2),
    ),
    "halve",
)
_HALVE_17 = _Block(
    (
        _Branch("branch3x3", ((192, 1, 1), (320, 3, 3)), stride=2),
        _Branch("branch7x7x3", ((192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3)), stride=2),
    ),
    "halve",
)
_BLOCKS = {
    "Mixed_5b": _block_35(32),
    "Mixed_5c": _block_35(64),
    "Mixed_5d": _block_35(64),
    "Mixed_6a": _HALVE_35,
    "Mixed_6b": _block_17(128),
    "Mixed_6c": _block_17(160),
    "Mixed_6d": _block_17(160),
    "Mixed_6e": _block_17(192),
    "Mixed_7a": _HALVE_17,
    "Mixed_7b": _block_8("average"),
    "Mixed_7c": _block_8("max"),  # TensorFlow's graph has a max pool here
}


class _Conv(nn.Module):
    """Convolution without bias, batch norm, ReLU; a stride above 1 goes with no padding."""

    def __init__(self, before: int, after: int, kernel: tuple[int, int], *, stride: int = 1, pad: bool = True) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if pad and stride == 1 else 0
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=_BN_EPS)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x_BCHW)))


class _Mixed(nn.Module):
    """One block; convolutions are named ``branch_1, branch_2, ..`` (without number where a branch has only one)."""

    def __init__(self, before: int, block: _Block) -> None:
        super().__init__()
        self.pool: Pool = block.pool
        self.chains: list[list[str]] = []
        self.forks: list[list[str]] = []
        self.width = before if block.pool == "halve" else block.pool_channels
        for branch in block.branches:
            self.width += self._add(before, branch)
        if block.pool != "halve":
            self.branch_pool = _Conv(before, block.pool_channels, (1, 1))

    def _add(self, before: int, branch: _Branch) -> int:
        """Add the convolutions of a branch; gives its number of output channels."""
        single = len(branch.layers) == 1 and not branch.fork
        chain, count = [], len(branch.layers)
        for number, (channels, height, width) in enumerate(branch.layers, 1):
            name = branch.name if single else f"{branch.name}_{number}"
            stride = branch.stride if number == count else 1
            self.add_module(name, _Conv(before, channels, (height, width), stride=stride))
            chain.append(name)
            before = channels
        fork = []
        for letter, kernel in (("a", (1, 3)), ("b", (3, 1))) if branch.fork else ():
            fork.append(f"{branch.name}_{count + 1}{letter}")
            self.add_module(fork[-1], _Conv(before, branch.fork, kernel))
        self.chains.append(chain)
        self.forks.append(fork)
        return 2 * branch.fork or before

    def forward(self, x_BCHW: Tensor) -> Tensor:
        outputs = []
        for chain, fork in zip(self.chains, self.forks, strict=True):
            current = x_BCHW
            for name in chain:
                current = self.get_submodule(name)(current)
            outputs += [self.get_submodule(name)(current) for name in fork] or [current]
        return torch.cat([*outputs, self._pooled(x_BCHW)], dim=1)

    def _pooled(self, x_BCHW: Tensor) -> Tensor:
        if self.pool == "halve":
            return F.max_pool2d(x_BCHW, 3, 2)
        if self.pool == "max":
            return self.branch_pool(F.max_pool2d(x_BCHW, 3, 1, 1))
        return self.branch_pool(F.avg_pool2d(x_BCHW, 3, 1, 1, count_include_pad=False))


class InceptionV3(nn.Module):
    """94 convolutions and a linear layer; starts with random weights, without gradients, in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, (3, 3), stride=2)
        self.Conv2d_2a_3x3 = _Conv(32, 32, (3, 3), pad=False)
        self.Conv2d_2b_3x3 = _Conv(32, 64, (3, 3))
        self.Conv2d_3b_1x1 = _Conv(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = _Conv(80, 192, (3, 3), pad=False)
        before = 192
        for name, block in _BLOCKS.items():
            mixed = _Mixed(before, block)
            self.add_module(name, mixed)
            before = mixed.width
        self.fc = nn.Linear(before, CLASSES)
        self.requires_grad_(False).eval()

    def load_fidelity(self, state: dict[str, Tensor]) -> InceptionV3:
        """Load torch-fidelity's state dict; the batch norms' step counters, which nothing reads, may be absent.

        Returns:
            This network.

        Raises:
            WeightsError: A key is missing or unknown, or a shape differs.
        """
        counters = {key: value for key, value in self.state_dict().items() if key.endswith("num_batches_tracked")}
        return load_into(self, counters | state, name="Inception v3 (torch-fidelity)")

    def forward(self, image_B3HW: Tensor) -> InceptionOutput:
        """Compute features.

        Args:
            image_B3HW: RGB, float (B, 3, H, W) in [-1, 1): ``(byte - 128) / 128``. Resized inside to 299x299.

        Returns:
            Pooled features and unbiased logits.

        Raises:
            DataError: Another shape, or integers.
        """
        if image_B3HW.dim() != 4 or image_B3HW.shape[1] != 3 or not image_B3HW.is_floating_point():
            raise DataError(
                f"Inception got {image_B3HW.dtype} of shape {tuple(image_B3HW.shape)}; "
                "give float (B, 3, H, W) in [-1, 1), (byte - 128) / 128"
            )
        x = resize_tensorflow1(image_B3HW, SIDE)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name in _BLOCKS:
            x = self.get_submodule(name)(x)
        pooled = x.mean(dim=(2, 3))
        return InceptionOutput(pooled, pooled @ self.fc.weight.T)


def resize_tensorflow1(image_BCHW: Tensor, side: int) -> Tensor:
    """Resize as TensorFlow 1's ``resize_bilinear``: output pixel i is read at i * input / output, no smoothing.

    Args:
        image_BCHW: float (B, C, H, W).
        side: Height and width of the result.

    Returns:
        float (B, C, side, side); the last rows and columns repeat the edge.
    """
    for dim in (3, 2):
        size = image_BCHW.shape[dim]
        scale = torch.tensor(size / side, dtype=torch.float32, device=image_BCHW.device)
        position = torch.arange(side, dtype=torch.float32, device=image_BCHW.device) * scale
        low = position.long()
        share = (position - low).to(image_BCHW.dtype).view(-1, *[1] * (3 - dim))
        first = image_BCHW.index_select(dim, low)
        image_BCHW = first + (image_BCHW.index_select(dim, (low + 1).clamp_max(size - 1)) - first) * share
    return image_BCHW
