"""Checks of training sets, and which image each step of a training sees."""

from __future__ import annotations

import torch
from torch import Tensor

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.samples import GOOD_KIND, Samples


def check_samples(samples: Samples, size: int, name: str, *, empty_masks: bool = False) -> None:
    """Check shapes, types and labels of a set.

    Args:
        samples: The set.
        size: Side that its images must have.
        name: What it is, for the message.
        empty_masks: Whether a defective image may have an empty mask: in a test set small defects may have got
            lost when masks were resized, and the image still counts as defective; training sets may not have them.

    Raises:
        DataError: No images; another size or dtype; counts that differ; a defect type without a name; a good image
            with a mask, or a defective one with an empty mask.
    """
    count = len(samples)
    if not count:
        raise DataError(f"the {name} set is empty; give at least one image")
    check_images(samples.image_u8, size, name)
    if samples.mask_u8.dtype != torch.uint8 or samples.mask_u8.shape != (count, 1, size, size):
        raise DataError(
            f"masks of the {name} set are {samples.mask_u8.dtype} {tuple(samples.mask_u8.shape)}; they must be uint8 "
            f"{(count, 1, size, size)}, one for each image"
        )
    if samples.kind.shape != (count,) or samples.kind.is_floating_point():
        raise DataError(f"defect types of the {name} set have shape {tuple(samples.kind.shape)}; give long ({count},)")
    low, high = int(samples.kind.min()), int(samples.kind.max())
    if low < GOOD_KIND or high >= len(samples.kinds):
        raise DataError(
            f"defect types of the {name} set run from {low} to {high}; there are {len(samples.kinds)} names"
        )
    marked, defective = (samples.mask_u8 > 127).flatten(1).any(dim=1), samples.kind != GOOD_KIND
    wrong = marked & ~defective if empty_masks else marked != defective
    if numbers := wrong.nonzero().flatten().tolist():
        raise DataError(
            f"{len(numbers)} images of the {name} set are good but have a mask, or are defective but have an empty "
            f"one (first: number {numbers[0]}); mend or leave out these images"
        )


def check_images(image_u8: Tensor, size: int | None, name: str) -> None:
    """Check images alone.

    Raises:
        DataError: Not uint8 (N, 3, size, size), or N is 0; any square size where ``size`` is None.
    """
    shape = tuple(image_u8.shape)
    side = shape[-1] if size is None and shape else size
    if image_u8.dtype != torch.uint8 or len(shape) != 4 or shape[1:] != (3, side, side) or not shape[0]:
        raise DataError(
            f"images of the {name} set are {image_u8.dtype} {shape}; they must be uint8 (N, 3, {side}, {side}), "
            "N at least 1: load them at that size"
        )


def balanced_batches(
    kind_N: Tensor,
    steps: int,
    batch_size: int,
    generator: torch.Generator,
    *,
    good_share: float = 0.5,
    extra_good: int = 0,
    extra_share: float | None = None,
) -> Tensor:
    """Draw the images of all steps: good ones with a share, else a uniform defect type, then a uniform image of it.

    Images come back (drawn with replacement, as the published loaders do). Defect types without images are never
    drawn.

    Args:
        kind_N: Defect types, `GOOD_KIND` for good images, long (N,).
        steps: Steps.
        batch_size: Images a step.
        generator: On the CPU: every device gets the same batches.
        good_share: Share of good images, in [0, 1].
        extra_good: Further good images (generated ones), with the numbers N to N + extra_good - 1.
        extra_share: Share of them among the good draws, in [0, 1]; None draws from all good images alike.

    Returns:
        Image numbers, long (steps, batch_size), on the CPU.

    Raises:
        ConfigError: A share out of range, or a share of further good images without any.
        DataError: A side that is to be drawn from has no images.
    """
    for name, share in (("good_share", good_share), ("extra_share", extra_share or 0.0)):
        if not 0 <= share <= 1:
            raise ConfigError(f"{name} is {share}; it must lie in [0, 1]")
    kind_N = kind_N.cpu()
    real = (kind_N == GOOD_KIND).nonzero().flatten()
    extra = torch.arange(len(kind_N), len(kind_N) + extra_good)
    if extra_share and not extra_good:
        raise ConfigError(f"generated_share is {extra_share}, but there are no generated normal images; give them")
    if extra_share is None:
        real, extra = torch.cat([real, extra]), real[:0]
    present = [index for index in sorted(set(kind_N.tolist())) if index != GOOD_KIND]
    groups = [real, extra, *((kind_N == index).nonzero().flatten() for index in present)]
    share = extra_share or 0.0
    if good_share and share < 1 and not len(real):
        raise DataError("the training set has no good images; half of each batch is good: add normal images")
    if good_share < 1 and not present:
        raise DataError("the training set has no defective images; the detector needs some")
    role, inner, place = torch.rand(3, steps, batch_size, generator=generator, dtype=torch.float64)
    defect = 2 + (inner * len(present)).long()
    group = torch.where(role < good_share, (inner < share).long(), defect)
    sizes = torch.tensor([len(members) for members in groups])
    starts = sizes.cumsum(0) - sizes
    return torch.cat(groups)[starts[group] + (place * sizes[group]).long()]


def shuffled_batches(count: int, epochs: int, batch_size: int, generator: torch.Generator) -> Tensor:
    """Cut shuffled epochs, end to end, into full batches; what is left at the very end is dropped.

    Args:
        count: Images of an epoch.
        epochs: Epochs.
        batch_size: Images a step.
        generator: On the CPU.

    Returns:
        Image numbers, long (count * epochs // batch_size, batch_size), on the CPU.
    """
    order = torch.cat([torch.randperm(count, generator=generator) for _ in range(epochs)])
    return order[: len(order) // batch_size * batch_size].view(-1, batch_size)
