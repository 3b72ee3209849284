"""All baselines by name."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.evaluation.baselines.crop_paste import crop_paste
from anomalyhybrid.evaluation.baselines.cut_paste import cut_paste
from anomalyhybrid.evaluation.baselines.drawing import BLOCK
from anomalyhybrid.evaluation.baselines.nsa import nsa
from anomalyhybrid.evaluation.baselines.perlin import perlin
from anomalyhybrid.evaluation.baselines.textures import Textures
from anomalyhybrid.evaluation.samples import Samples

Baseline = Literal["crop_paste", "cut_paste", "perlin", "nsa"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)


def make_baseline(
    name: Baseline,
    good: ImageSet,
    count: int,
    seed: int,
    *,
    base: ImageSet | None = None,
    kinds: tuple[str, ...] = (),
    base_kind: Tensor | None = None,
    types: Literal["equal", "base"] = "equal",
    textures: Textures | None = None,
    block: int = BLOCK,
) -> Samples:
    """Make a baseline's images with its default settings.

    Args:
        name: One of `BASELINES`.
        good: Good images of one category.
        count: Images to make.
        seed: Root seed.
        base: Real defects, for ``crop_paste``.
        kinds: Their types, for ``crop_paste``.
        base_kind: Index into `kinds` of each base image, for ``crop_paste``.
        types: How often each type is drawn, for ``crop_paste``.
        textures: For ``perlin``; None draws procedural ones.
        block: Images drawn together.

    Returns:
        Samples on the device of `good`, all defective.

    Raises:
        ConfigError: Unknown name, `count` or `block` below 1, or ``crop_paste`` without a base set.
        DataError: Images that do not fit.
    """
    match name:
        case "crop_paste":
            if base is None or base_kind is None:
                raise ConfigError("crop_paste pastes real defects; give base, kinds and base_kind")
            return crop_paste(good, base, kinds, base_kind, count, seed, types=types, block=block)
        case "cut_paste":
            return cut_paste(good, count, seed, block=block)
        case "perlin":
            return perlin(good, count, seed, textures=textures, block=block)
        case "nsa":
            return nsa(good, count, seed, block=block)
    raise ConfigError(f"baseline {name!r} is unknown; choose one of {', '.join(BASELINES)}")
