"""ResNet-34 with torchvision's key names, the classifier of Table 1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.errors import ConfigError, WeightsError
from anomalyhybrid.models.weights import load_into

BLOCKS = (3, 4, 6, 3)
IMAGENET_CLASSES = 1000


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: ``conv1, bn1, conv2, bn2`` and, where shapes differ, ``downsample``."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        same = before == after and stride == 1
        self.downsample = (
            None if same else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Transform float (B, before, H, W) to (B, after, H / stride, W / stride)."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x_BCHW)))))
        return F.relu(out + (x_BCHW if self.downsample is None else self.downsample(x_BCHW)))


class ResNet34(nn.Module):
    """ResNet of basic blocks; 21,797,672 parameters at 1000 classes and width 64.

    Args:
        classes: Outputs, at least 2.
        width: Channels of the first stage; 64 is ResNet-34, less is for tests.
        blocks: Blocks of each of the four stages; (3, 4, 6, 3) is ResNet-34.

    Raises:
        ConfigError: A number out of range.

    Source: He et al. 2016; keys ``conv1``, ``bn1``, ``layer{1..4}.N.*``, ``fc``.
    """

    def __init__(
        self, classes: int = IMAGENET_CLASSES, *, width: int = 64, blocks: tuple[int, int, int, int] = BLOCKS
    ) -> None:
        super().__init__()
        if classes < 2 or width < 1 or min(blocks) < 1:
            raise ConfigError(
                f"ResNet has classes={classes}, width={width}, blocks={blocks}; at least 2, 1 and 1 are needed"
            )
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, blocks[0], stride=1)
        self.layer2 = _stage(width, 2 * width, blocks[1], stride=2)
        self.layer3 = _stage(2 * width, 4 * width, blocks[2], stride=2)
        self.layer4 = _stage(4 * width, 8 * width, blocks[3], stride=2)
        self.fc = nn.Linear(8 * width, classes)

    def load_imagenet(self, state: dict[str, Tensor]) -> ResNet34:
        """Load torchvision's ImageNet weights; its ``fc`` only where it has as many classes as this network.

        Args:
            state: torchvision's whole state dict, ``fc`` may be absent.

        Returns:
            This network.

        Raises:
            WeightsError: A key is missing or unknown, or a shape differs.
        """
        own = self.state_dict()
        body = dict(state)
        if "conv1.weight" not in body:
            raise WeightsError(
                f"these weights have no 'conv1.weight' but {sorted(body)[:3]}; give torchvision's ResNet"
            )
        for key in ("fc.weight", "fc.bias"):
            if key not in body or body[key].shape != own[key].shape:
                body[key] = own[key]
        counters = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}
        return load_into(self, counters | body, name="ResNet-34")  # old files have no counters

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Classify images.

        Args:
            image_B3HW: float (B, 3, H, W), in the range that the weights were trained for.

        Returns:
            ``logits``, float (B, classes).
        """
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(image_B3HW))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


def _stage(before: int, after: int, count: int, *, stride: int) -> nn.Sequential:
    """Blocks of one width; the first changes the size."""
    return nn.Sequential(BasicBlock(before, after, stride), *(BasicBlock(after, after, 1) for _ in range(count - 1)))


@torch.no_grad()
def new_resnet34(
    classes: int, generator: torch.Generator, *, width: int = 64, blocks: tuple[int, int, int, int] = BLOCKS
) -> ResNet34:
    """Make a network with weights drawn from a generator; torch's global random state is left as it was.

    Convolutions are He-normal over outputs, batch norms (1, 0), the head uniform within 1 / sqrt(inputs).

    Args:
        classes: Outputs, at least 2.
        generator: On the CPU.
        width: Channels of the first stage.
        blocks: Blocks of each stage.

    Raises:
        ConfigError: As `ResNet34`.
    """
    with torch.random.fork_rng(devices=[]):
        model = ResNet34(classes, width=width, blocks=blocks)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            outputs = layer.out_channels * layer.kernel_size[0] * layer.kernel_size[1]
            layer.weight.normal_(0.0, (2.0 / outputs) ** 0.5, generator=generator)
        elif isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)
    return model
