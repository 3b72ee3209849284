"""PiDiNet edge detector (Su et al., "Pixel Difference Networks for Efficient Edge Detection", ICCV 2021).

The published table 5 network: configuration carv4 (central, angular, radial difference and vanilla
convolutions in turn), 60 channels, dilation modules (CDCM) and spatial attention (CSAM). Written from the
paper; parameter names are those of the published weights. The weights are for research only and are never
shipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.models.weights import load_into, load_safetensors, load_torch_file

PIDINET_FILE = "pidinet_table5.pth"
PIDINET_SHA256 = "80860ac267258b5f27486e0ef152a211d0b08120f62aeb185a050acc30da486c"

Operation = Literal["cd", "ad", "rd", "cv"]
_CARV: tuple[Operation, ...] = ("cd", "ad", "rd", "cv")
_WIDTH, _REDUCED = 60, 24
_STAGES = ((1, 3), (2, 4), (4, 4), (4, 4))  # (multiple of the width, blocks) of each stage
_ANGULAR = (3, 0, 1, 6, 4, 2, 7, 8, 5)  # neighbour of each 3x3 position, one step round the centre
_OUTER = (0, 2, 4, 10, 14, 20, 22, 24)  # 5x5 positions of the radial pairs' outer pixels
_INNER = (6, 7, 8, 11, 13, 16, 17, 18)  # and of their inner pixels


def vanilla_weight(weight_OI33: Tensor, operation: Operation) -> Tensor:
    """Rewrite a pixel difference convolution as a plain one (the paper, section 3.2).

    Args:
        weight_OI33: Learned weight, float (O, I, 3, 3).
        operation: Central (cd), angular (ad), radial (rd) difference, or plain (cv).

    Returns:
        float (O, I, 3, 3), for rd (O, I, 5, 5); pad by 1, for rd by 2.
    """
    outer, inner = weight_OI33.shape[:2]
    flat = weight_OI33.reshape(outer, inner, 9)
    if operation == "cd":
        centre = torch.zeros_like(flat)
        centre[..., 4] = flat.sum(dim=-1)
        return (flat - centre).reshape(outer, inner, 3, 3)
    if operation == "ad":
        return (flat - flat[..., _ANGULAR]).reshape(outer, inner, 3, 3)
    if operation == "rd":
        wide = flat.new_zeros(outer, inner, 25)
        wide[..., _OUTER] = flat[..., 1:]
        wide[..., _INNER] = -flat[..., 1:]
        return wide.reshape(outer, inner, 5, 5)
    return weight_OI33


class DifferenceConv(nn.Module):
    """3x3 convolution over pixel differences, stride 1, no bias."""

    def __init__(self, before: int, after: int, operation: Operation, *, groups: int = 1) -> None:
        super().__init__()
        self.operation: Operation = operation
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(after, before // groups, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Convolve: float (B, before, H, W) to (B, after, H, W)."""
        if self.operation == "cd":
            differences = F.conv2d(x_BCHW, self.weight, padding=1, groups=self.groups)
            total = self.weight.sum(dim=(2, 3), keepdim=True)
            return differences - F.conv2d(x_BCHW, total, groups=self.groups)
        weight = vanilla_weight(self.weight, self.operation)
        return F.conv2d(x_BCHW, weight, padding=weight.shape[-1] // 2, groups=self.groups)

    def to_vanilla(self) -> nn.Conv2d:
        """Make the plain convolution that gives the same."""
        weight = vanilla_weight(self.weight.detach(), self.operation)
        after, per_group, kernel, _ = weight.shape
        before = per_group * self.groups
        plain = nn.Conv2d(before, after, kernel, padding=kernel // 2, groups=self.groups, bias=False)
        plain.weight = nn.Parameter(weight.clone(), requires_grad=self.weight.requires_grad)
        return plain


class _Block(nn.Module):
    """Depthwise difference convolution, ReLU, 1x1 convolution, residual; a stage's first halves the size."""

    def __init__(self, before: int, after: int, operation: Operation, *, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.shortcut = nn.Conv2d(before, after, 1) if halve else None
        self.conv1: nn.Module = DifferenceConv(before, before, operation, groups=before)
        self.conv2 = nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Apply the block."""
        x = F.max_pool2d(x_BCHW, 2) if self.halve else x_BCHW
        y = self.conv2(F.relu(self.conv1(x)))
        return y + (x if self.shortcut is None else self.shortcut(x))


class _Dilation(nn.Module):
    """CDCM: reduce the channels, then sum four dilated convolutions."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, _REDUCED, 1)
        for index, dilation in enumerate((5, 7, 9, 11), 1):
            conv = nn.Conv2d(_REDUCED, _REDUCED, 3, dilation=dilation, padding=dilation, bias=False)
            self.add_module(f"conv2_{index}", conv)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Apply: float (B, before, H, W) to (B, 24, H, W)."""
        x = self.conv1(F.relu(x_BCHW))
        return torch.stack([self.get_submodule(f"conv2_{index}")(x) for index in range(1, 5)]).sum(dim=0)


class _Attention(nn.Module):
    """CSAM: weigh each position by a learned map in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(_REDUCED, 4, 1)
        self.conv2 = nn.Conv2d(4, 1, 3, padding=1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Apply; the shape stays."""
        return x_BCHW * self.conv2(self.conv1(F.relu(x_BCHW))).sigmoid()


class _Reduce(nn.Module):
    """One channel out of 24."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(_REDUCED, 1, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Apply."""
        return self.conv(x_BCHW)


class PiDiNet(nn.Module):
    """Four stages of difference convolutions with a side output each, and their fusion."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.init_block: nn.Module = DifferenceConv(3, _WIDTH, _CARV[0])
        self._names: list[list[str]] = []
        before, layer, widths = _WIDTH, 1, []
        for stage, (multiple, blocks) in enumerate(_STAGES, 1):
            after, names = _WIDTH * multiple, []
            for number in range(1, blocks + 1):
                names.append(f"block{stage}_{number}")
                block = _Block(before, after, _CARV[layer % 4], halve=stage > 1 and number == 1)
                self.add_module(names[-1], block)
                before, layer = after, layer + 1
            self._names.append(names)
            widths.append(after)
        self.dilations = nn.ModuleList(_Dilation(width) for width in widths)
        self.attentions = nn.ModuleList(_Attention() for _ in widths)
        self.conv_reduces = nn.ModuleList(_Reduce() for _ in widths)
        self.classifier = nn.Conv2d(len(widths), 1, 1)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def forward(self, image_B3HW: Tensor) -> list[Tensor]:
        """Detect edges.

        Args:
            image_B3HW: RGB, float (B, 3, H, W) in [-1, 1], sides of at least 8.

        Returns:
            Five probability maps, each float (B, 1, H, W) in [0, 1]: the four granularities, finest first
            (the paper uses the first), and the fused one.
        """
        size = image_B3HW.shape[-2:]
        x = self.init_block(((image_B3HW + 1.0) / 2.0 - self.mean) / self.std)
        sides = []
        for index, names in enumerate(self._names):
            for name in names:
                x = self.get_submodule(name)(x)
            side = self.conv_reduces[index](self.attentions[index](self.dilations[index](x)))
            sides.append(F.interpolate(side, size=size, mode="bilinear", align_corners=False))
        fused = self.classifier(torch.cat(sides, dim=1))
        return [logits.sigmoid() for logits in (*sides, fused)]

    def to_vanilla(self) -> PiDiNet:
        """Replace every difference convolution by the plain one that gives the same, in place (quicker).

        Returns:
            This network.
        """
        for module in list(self.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, DifferenceConv):
                    setattr(module, name, child.to_vanilla().to(child.weight.device))
        return self


def load_pidinet(path: Path, *, sha256: str | None = PIDINET_SHA256) -> PiDiNet:
    """Build PiDiNet with published weights.

    Args:
        path: ``pidinet_table5.pth`` as published, or a safetensors file with its keys.
        sha256: Hash that a ``.pth`` file must have; safetensors files need none.

    Returns:
        The unconverted network in evaluation mode, without gradients, on the CPU.

    Raises:
        WeightsError: If the file is missing, is another one, or does not fit.
    """
    is_safe = Path(path).suffix == ".safetensors"
    state = load_safetensors(path) if is_safe else load_torch_file(path, sha256=sha256)
    state = {key.removeprefix("module."): value for key, value in state.items()}
    return load_into(PiDiNet(), state, name="PiDiNet (table 5)").eval().requires_grad_(False)
