"""An augmenter for batches of good images, with the call of anomalib's Perlin generator (ADR-016).

anomalib is neither needed nor imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from anomalyhybrid.conditions.base import DepthExtractor, EdgeExtractor
from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.conditions.measured import MeasuredDepth
from anomalyhybrid.data.foreground import object_mask
from anomalyhybrid.data.windows import spread
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.generation.compose import at_native_size, carried, native_region, resized
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.pipeline import Before, Candidates, accepted_candidates
from anomalyhybrid.generation.pool import CategoryPool
from anomalyhybrid.integration.given import Folders, folders, sources_of
from anomalyhybrid.manipulate.policy import APPEARANCES
from anomalyhybrid.manipulate.reference import FEATHER
from anomalyhybrid.manipulate.symmetry import Symmetry
from anomalyhybrid.models.generator import Generator
from anomalyhybrid.ops.draws import constant
from anomalyhybrid.ops.ranges import LUMINANCE, signed_from_u8, signed_from_unit, unit_from_signed
from anomalyhybrid.ops.regions import soft_alpha
from anomalyhybrid.recipes.job import check_decoders, check_gives_color, extractors_of, load_model, prepare_job
from anomalyhybrid.seeding import stream
from anomalyhybrid.types import DecoderOutput

_BATCH = "batch"  # names the random streams of images that belong to no category
_BEYOND = 0.1  # by which resizing may carry values out of [0, 1]
_UNMOVED = Symmetry(flip_x=False, flip_y=False, half_turn=False, any_turn=False)  # nothing is placed without a base set


@dataclass(slots=True)
class _Parts:
    """What generates; no `nn.Module`, so that it joins neither the owner's parameters nor its checkpoints."""

    generator: Generator
    size: int
    edge: EdgeExtractor
    depth: DepthExtractor
    pool: CategoryPool | None

    def to(self, device: torch.device) -> None:
        """Move everything to the device of the batch."""
        if next(self.generator.parameters()).device == device:
            return
        self.generator.to(device)
        self.edge, self.depth = self.edge.to(device), self.depth.to(device)
        if self.pool is not None:
            base = None if self.pool.base is None else self.pool.base.to(device)
            self.pool = replace(self.pool, normals=self.pool.normals.to(device), base=base)

    def image_set(self, color_u8: Tensor) -> ImageSet:
        """Images at the model's size with their maps, extracted now.

        Args:
            color_u8: uint8 (B, 3, S, S).
        """
        device = color_u8.device
        images = list(color_u8.permute(0, 2, 3, 1).cpu().contiguous().numpy())
        edge_u8, depth_u8 = ConditionCache(None).extract(images, edge=self.edge, depth=self.depth, size=self.size)
        product = torch.stack([torch.from_numpy(object_mask(image)) for image in images])[:, None]
        return ImageSet(
            color_u8=color_u8,
            depth_u8=depth_u8.to(device),
            edge_u8=edge_u8.to(device),
            region_u8=torch.zeros_like(color_u8[:, :1]),
            object_u8=product.to(device).to(torch.uint8) * 255,
            category=torch.zeros(len(color_u8), dtype=torch.long, device=device),
        )

    def pool_of(self, fresh: ImageSet) -> CategoryPool:
        """The images of a batch, in front of those of the folder where there is one."""
        if self.pool is None:
            return CategoryPool(normals=fresh, base=None, symmetry=_UNMOVED)
        pairs = [(getattr(fresh, field.name), getattr(self.pool.normals, field.name)) for field in fields(ImageSet)]
        return replace(self.pool, normals=ImageSet(*(torch.cat(pair) for pair in pairs)))


class DefectAugmenter(nn.Module):
    """Draws defects on the good images that it is given; the masks say where.

    It takes and gives what anomalib's `PerlinAnomalyGenerator` does, and replaces it in `Draem` and, with
    ``probability=1``, in the synthetic split:

        model = Draem()
        model.augmenter = DefectAugmenter(data="bottle/train/good")
        with unittest.mock.patch("anomalib.data.utils.synthetic.PerlinAnomalyGenerator",
                                 return_value=DefectAugmenter(probability=1.0)): ...

    The incoming images are the targets; their maps are extracted here, by the extractors that the generator was
    trained with. Image number n, counted over all calls in `drawn`, has its own random stream, so that runs with one
    seed agree and no global generator is touched. `drawn` is not in checkpoints; processes that train together need
    a seed each. Gradients do not pass.

    Args:
        run: ``shipped``, a run folder, or a generator file.
        data: Folder of good images of the product; patches and appearance come from them and from the batch. Without
            it, from the batch alone.
        base_set: Folder with real defects and masks to take references from; needs `data`.
        config: Settings, of which the number of images is not used; an image gets one defect.
        probability: Share of images that get a defect; the others are given back as they are, with an empty mask.
        mean: Mean of each channel, where images come normalised; None for images in [0, 1], as `Draem` has them.
        std: Deviation of each channel, likewise.
        donors: Images of `data` that are kept, evenly spread over them; a fixed memory whatever the folder holds.
        cache: Folder of condition maps of `data` and `base_set`; the user's cache by default.

    Raises:
        ConfigError: Settings that a batch cannot follow (regions of interest, drawn masks, a taxonomy, windows, several
            defects, whole images redrawn, the quality gate).
        AnomalyHybridError: Anything else that the caller can mend, as for `generate`.
    """

    def __init__(
        self,
        run: str | Path = "shipped",
        *,
        data: Folders = (),
        base_set: Folders = (),
        config: GenerateConfig | None = None,
        probability: float = 0.5,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        donors: int = 64,
        cache: Path | None = None,
    ) -> None:
        super().__init__()
        self.config = GenerateConfig() if config is None else config
        self.probability = probability
        self.drawn = 0
        """Images given so far, those without a defect too; set it to go on after a break."""
        _check_settings(self.config, probability, donors)
        self._mean, self._std = _normalisation(mean, std)
        model = load_model(str(run))
        check_gives_color(model)
        check_decoders(model, self.config.decoders, "generate")
        edge, depth = extractors_of(model, self.config.edge_weights, self.config.depth_weights)
        if isinstance(depth, MeasuredDepth):
            raise ConfigError(f"{model.path} was trained with measured depth, which a batch of images has not")
        pool = None
        if folders(data):
            sources = sources_of(data, base_set, self.config, cache)
            if len(sources.categories) != 1:
                raise ConfigError(f"data hold {len(sources.categories)} categories; give the folder of one")
            sources = replace(sources, normals=tuple(spread(sources.normals, donors)))
            whole = replace(self.config, window="whole")  # as the batch shows its images
            pool = prepare_job(model, sources, whole, folder=Path(), cache=cache).pools[sources.categories[0]]
        elif folders(base_set) or self.config.snippets:
            raise ConfigError("real defects (base_set, snippets) need data: its good images tell their scale and turns")
        self._parts = _Parts(model.generator, int(model.metadata["size"]), edge, depth, pool)

    @torch.no_grad()
    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Draw defects on some of the images.

        Args:
            image: Good images, float (B, 3, H, W), or one, (3, H, W); in [0, 1] unless normalisation was given.

        Returns:
            The images, of the same shape, type and device, equal to those given, bit for bit, wherever the mask is 0;
            and the masks, float (B, 1, H, W) or (1, H, W), 1 on the defect and 0 elsewhere.

        Raises:
            DataError: Another shape or type, or values out of range.
        """
        batch = image[None] if image.dim() == 3 else image
        unit = self._unit(batch)
        augmented, masks = batch.clone(), torch.zeros_like(batch[:, :1])
        numbers = list(range(self.drawn, self.drawn + len(batch)))
        self.drawn += len(batch)
        chosen = [place for place, number in enumerate(numbers) if self._happens(number)]
        self._parts.to(batch.device)
        together = self.config.with_batch(batch.device.type).batch_size
        for start in range(0, len(chosen), together):
            places = chosen[start : start + together]
            with torch.autocast(batch.device.type, enabled=False):  # a trainer's is not ours
                shown, region = self._with_defects(unit[places], [numbers[place] for place in places])
            shown = ((shown - self._mean.to(shown.device)) / self._std.to(shown.device)).to(batch.dtype)
            augmented[places] = torch.where(region > 0, shown, batch[places])
            masks[places] = region.to(masks.dtype)
        return (augmented[0], masks[0]) if image.dim() == 3 else (augmented, masks)

    def _happens(self, number: int) -> bool:
        drawn = torch.rand((), generator=stream(self.config.seed, "augmenter", number))
        return float(drawn) < self.probability

    def _unit(self, batch: Tensor) -> Tensor:
        """Images in [0, 1], whatever they came as."""
        if batch.dim() != 4 or batch.shape[1] != 3 or not batch.is_floating_point() or min(batch.shape[2:]) < 16:
            raise DataError(
                f"images of shape {tuple(batch.shape)} and type {batch.dtype}; give float (B, 3, H, W) or (3, H, W) "
                "of 16x16 or more"
            )
        unit = batch.float() * self._std.to(batch.device) + self._mean.to(batch.device)
        low, high = (float(value) for value in torch.aminmax(unit)) if len(unit) else (0.0, 0.0)
        if not (low >= -_BEYOND and high <= 1 + _BEYOND):  # so that NaN is refused too
            raise DataError(
                f"images with values from {low:.3g} to {high:.3g}; they must lie in [0, 1], after taking off the "
                "normalisation that mean= and std= tell"
            )
        return unit.clamp(0, 1)

    def _with_defects(self, unit: Tensor, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images with defects, float (B, 3, H, W) in [0, 1], and their regions, float (B, 1, H, W)."""
        size = self._parts.size
        color_u8 = resized(unit, size, size).mul(255).round().clamp(0, 255).byte()
        pool = self._parts.pool_of(self._parts.image_set(color_u8))
        target_index = torch.arange(len(unit), device=unit.device)
        nothing = torch.zeros(len(unit), 1, size, size, device=unit.device)
        before = Before(0, target_index, nothing)
        found = accepted_candidates(self._parts.generator, pool, self.config, _BATCH, numbers, before=before)
        native, small = signed_from_unit(unit), signed_from_u8(color_u8)
        pairs = [_composed(native[i : i + 1], small[i : i + 1], found, i) for i in range(len(unit))]
        shown, region = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return unit_from_signed(shown).clamp(0, 1), region


def _composed(native: Tensor, small: Tensor, candidates: Candidates, position: int) -> tuple[Tensor, Tensor]:
    """One image with its defect at its own size, as `generation.compose` does it, in floats and on the device.

    Args:
        native: The target, float (1, 3, H, W) in [-1, 1].
        small: At the model's size, float (1, 3, S, S).
        candidates: Of the batch.
        position: Of the image in it.

    Returns:
        The image, and its region, binary float (1, 1, H, W).
    """
    one = slice(position, position + 1)
    height, width = native.shape[-2:]
    appearance = APPEARANCES[int(candidates.plan.appearance[position])]
    if appearance == "reference":
        content = resized(candidates.content[one], height, width)
    else:
        content = carried(native, candidates.content[one], small)
    output = DecoderOutput(candidates.source[one], candidates.fusion_mask[one], candidates.fused[one])
    generated = at_native_size(output, content, candidates.content[one])
    region = native_region(candidates.region_mask[one], height, width)
    feather = max(1, round(FEATHER * min(height, width) / small.shape[-1]))
    mixed = torch.lerp(content if appearance == "blend" else native, generated, soft_alpha(region, feather))
    mixed = torch.lerp(native, mixed, candidates.opacity[position])
    if bool((native[:, :1] == native).all()):  # a grey image stays grey
        weights = constant(LUMINANCE, native.device).view(1, 3, 1, 1)
        mixed = (mixed * weights).sum(dim=1, keepdim=True).expand_as(native)
    return mixed, region


def _check_settings(config: GenerateConfig, probability: float, donors: int) -> None:
    if not 0 <= probability <= 1:
        raise ConfigError(f"probability is {probability}; it must lie between 0 and 1")
    if donors < 1:
        raise ConfigError(f"donors is {donors}; keep at least 1 image of data")
    for name, given in (
        ("roi", config.roi),
        ("forbid", config.forbid),
        ("masks", config.masks),
        ("taxonomy", config.taxonomy),
        ("gate", config.gate == "on"),
        ("window", config.window not in ("auto", "whole")),
        ("per_image", config.has_parts),
        ("composition 'full'", config.composition == "full"),
    ):
        if given:
            raise ConfigError(f"generate.{name} does not go with a batch augmenter; use GeneratedDefects, or leave it")


def _normalisation(mean: Sequence[float] | None, std: Sequence[float] | None) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, float (3, 1, 1)."""
    mean, std = (0.0, 0.0, 0.0) if mean is None else mean, (1.0, 1.0, 1.0) if std is None else std
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ConfigError(f"mean is {tuple(mean)} and std {tuple(std)}; give three numbers each, std above 0")
    return torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
