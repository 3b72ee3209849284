"""The lite student: a small U-Net from an RGB image to one map, quick on a CPU."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.errors import ConfigError, WeightsError
from anomalyhybrid.models.weights import load_into, load_safetensors, safetensors_metadata

_CONFIG_KEY = "config"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteUNetConfig:
    """Size of a lite U-Net."""

    widths: tuple[int, ...] = (24, 48, 96, 96, 96)
    """Channels of each level; the first works at half of the image's size, each next at half of that."""
    folded: bool = False
    """Whether the batch norms are folded into the convolutions, as in shipped weights."""

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or min(self.widths) < 4:
            raise ConfigError(f"widths={self.widths}: at least two levels of at least 4 channels each are needed.")


class ConvUnit(nn.Module):
    """Convolution, batch norm (absent when folded), optional ReLU."""

    def __init__(self, before: int, after: int, *, kernel: int = 3, stride: int = 1, folded: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=folded)
        self.norm = None if folded else nn.BatchNorm2d(after)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Apply convolution and norm: float (B, before, H, W) to (B, after, H', W'), no activation."""
        x = self.conv(x_BCHW)
        return x if self.norm is None else self.norm(x)

    def folded_state(self) -> dict[str, Tensor]:
        """Give the weight and bias of the one convolution that equals this unit in evaluation mode."""
        weight = self.conv.weight.detach().double()
        norm = self.norm
        if norm is None:
            assert self.conv.bias is not None
            return {"conv.weight": weight.float(), "conv.bias": self.conv.bias.detach().clone()}
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
        bias = norm.bias.detach().double() - norm.running_mean.double() * scale
        return {"conv.weight": (weight * scale.view(-1, 1, 1, 1)).float(), "conv.bias": bias.float()}


class LiteUNet(nn.Module):
    """Space-to-depth, an encoder of two convolutions a level, additive skips, sub-pixel output.

    The image is folded 2x2 into channels first and the logits are unfolded at the end, so no convolution runs
    at full size; the bottom level also sees the image's mean features, which depth needs.
    """

    def __init__(self, config: LiteUNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, folded = config.widths, config.folded
        before = (12, *widths[:-1])
        self.down = nn.ModuleList(
            ConvUnit(b, w, stride=1 if i == 0 else 2, folded=folded)
            for i, (b, w) in enumerate(zip(before, widths, strict=True))
        )
        self.refine = nn.ModuleList(ConvUnit(w, w, folded=folded) for w in widths)
        self.context = nn.Conv2d(widths[-1], widths[-1], 1)
        self.lateral = nn.ModuleList(ConvUnit(deep, w, kernel=1, folded=folded) for w, deep in pairwise(widths))
        self.merge = nn.ModuleList(ConvUnit(w, w, folded=folded) for w in widths[:-1])
        self.head = nn.Conv2d(widths[0], 4, 3, padding=1)
        with torch.no_grad():  # the four sub-pixels start equal, so that no checkerboard has to be unlearned
            self.head.weight.copy_(self.head.weight[:1].expand_as(self.head.weight).clone())
            nn.init.zeros_(self.head.bias)  # pyright: ignore[reportArgumentType]

    @property
    def step(self) -> int:
        """The multiple of pixels to which inputs are padded inside."""
        return 2 ** len(self.config.widths)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Predict one map.

        Args:
            image_B3HW: RGB, float (B, 3, H, W) in [-1, 1]; any size.

        Returns:
            Logits, float (B, 1, H, W).
        """
        height, width = image_B3HW.shape[-2:]
        pad_right, pad_bottom = -width % self.step, -height % self.step
        x = image_B3HW
        if pad_right or pad_bottom:
            x = F.pad(x, (0, pad_right, 0, pad_bottom), mode="replicate")
        x = F.pixel_unshuffle(x, 2)
        skips = []
        for down, refine in zip(self.down, self.refine, strict=True):
            x = F.relu(down(x))
            x = F.relu(refine(x) + x)
            skips.append(x)
        x = x + self.context(x.mean(dim=(2, 3), keepdim=True))
        for level in range(len(self.merge) - 1, -1, -1):
            raised = F.interpolate(self.lateral[level](x), scale_factor=2, mode="bilinear", align_corners=False)
            x = F.relu(raised + skips[level])
            x = F.relu(self.merge[level](x) + x)
        logits = F.pixel_shuffle(self.head(x), 2)
        return logits[..., :height, :width]

    def fold(self) -> LiteUNet:
        """Make the network without batch norms that equals this one in evaluation mode.

        Returns:
            A new network in evaluation mode, float32, on the CPU.
        """
        state: dict[str, Tensor] = {}
        for name, module in self.named_modules():
            if isinstance(module, ConvUnit):
                state |= {f"{name}.{key}": value.cpu() for key, value in module.folded_state().items()}
        for name in ("context", "head"):
            part = self.get_submodule(name)
            state |= {f"{name}.{key}": value.detach().float().cpu() for key, value in part.state_dict().items()}
        bare = LiteUNet(LiteUNetConfig(widths=self.config.widths, folded=True))
        return load_into(bare, state, name="the folded lite U-Net").eval()


def save_lite(net: LiteUNet, path: Path, *, metadata: dict[str, str]) -> None:
    """Write a folded network as fp16 safetensors with its config in the header.

    Args:
        net: Any lite U-Net; folded here if it is not yet.
        path: File to write; its folder exists.
        metadata: Further text entries of the header (source, seed, figures).
    """
    from safetensors.torch import save_file

    bare = net if net.config.folded else net.fold()
    state = {key: value.detach().half().contiguous().cpu() for key, value in bare.state_dict().items()}
    save_file(state, str(path), metadata={**metadata, _CONFIG_KEY: json.dumps(asdict(bare.config))})


def load_lite(path: Path) -> LiteUNet:
    """Read a network that ``save_lite`` wrote.

    Args:
        path: A ``.safetensors`` file.

    Returns:
        The network in evaluation mode, float32, without gradients, on the CPU.

    Raises:
        WeightsError: If the file is missing, has no config in its header, or does not fit.
    """
    state = load_safetensors(path)
    text = safetensors_metadata(path).get(_CONFIG_KEY)
    if text is None:
        raise WeightsError(f"{path} has no {_CONFIG_KEY!r} entry in its header: it is no lite U-Net's file.")
    fields = json.loads(text)
    config = LiteUNetConfig(widths=tuple(fields["widths"]), folded=fields["folded"])
    net = load_into(LiteUNet(config), state, name="the lite U-Net").eval().requires_grad_(False)
    return net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
