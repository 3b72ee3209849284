"""Configuration of the networks; free of torch, so that the command line reads it at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anomalyhybrid.choices import check_choices
from anomalyhybrid.errors import ConfigError

Preset = Literal["lite", "base", "paper"]
Gives = Literal["color", "maps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorConfig:
    """Size of the generator."""

    width: int = 32
    """Channels at full resolution; each scale doubles them up to `max_width`."""
    downsamplings: int = 3
    """Halvings of the resolution: 3 give the paper's four scales."""
    max_width: int = 256
    """Largest number of channels."""
    blocks: int = 4
    """Residual blocks at the coarsest scale."""
    skips: bool = True
    """Whether decoders read the encoder's finer scales ("multi-scale features", paper 3.2)."""
    mask_narrowing: int = 2
    """How many times narrower the fusion-mask branch is than the source branch."""
    decoders: tuple[Literal["ahd", "ahe"], ...] = ("ahd", "ahe")
    """Decoder groups to build; one alone is the ablation of Table 5."""
    gives: Gives = "color"
    """`color` is AnomalyHybrid: both groups redraw C_r. `maps` is AnomalyHybrid*: ahd gives depth from C_d, ahe edges
    from C_e (paper Fig. 4b)."""

    def __post_init__(self) -> None:
        check_choices(self, "generator", ("gives",))
        for name in ("width", "downsamplings", "max_width", "blocks", "mask_narrowing"):
            if getattr(self, name) < 1:
                raise ConfigError(f"generator.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("width", "max_width"):
            if getattr(self, name) % (4 * self.mask_narrowing):
                raise ConfigError(
                    f"generator.{name} is {getattr(self, name)}; it must be a multiple of {4 * self.mask_narrowing}"
                )
        if not self.decoders or set(self.decoders) - {"ahd", "ahe"}:
            raise ConfigError(f"generator.decoders is {self.decoders}; give 'ahd', 'ahe' or both")

    @property
    def stride(self) -> int:
        """Image sides must be multiples of this many pixels."""
        return 2**self.downsamplings

    def content_channels(self, decoder: Literal["ahd", "ahe"]) -> slice:
        """Channels of the stacked conditions that are C_in of a decoder group, which are as many as it gives."""
        if self.gives == "color":
            return slice(0, 3)
        return slice(3, 4) if decoder == "ahd" else slice(4, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscriminatorConfig:
    """Size of the conditional patch discriminator."""

    width: int = 48
    """Channels of the first layer."""
    layers: int = 3
    """Strided layers of each scale's network."""
    scales: int = 2
    """Networks, each on an image half the size of the one before."""
    image_channels: int = 3
    """Channels of what is judged: 3 for colour, 2 for depth and edge together (AnomalyHybrid*)."""


def generator_preset(name: Preset) -> GeneratorConfig:
    """Sizes by name: `lite` 6 M parameters, `base` 49 M, `paper` the width of pix2pixHD (201 M).

    Raises:
        ConfigError: the name is none of the three.
    """
    if name == "lite":
        return GeneratorConfig()
    if name == "base":
        return GeneratorConfig(downsamplings=4, max_width=512, blocks=9)
    if name == "paper":
        return GeneratorConfig(width=64, downsamplings=4, max_width=1024, blocks=9, skips=False, mask_narrowing=1)
    raise ConfigError(f"preset is {name!r}; it must be 'lite', 'base' or 'paper'")
