"""Configuration of defects in colour and depth together; free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from anomalyhybrid.choices import check_choices
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.config import GenerateConfig

Sign = Literal["dent", "protrusion", "hole", "flat"]
SIGNS: tuple[Sign, ...] = get_args(Sign)
"""A dent lies farther from the camera, a protrusion nearer, a hole at the background, a flat defect where it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthDefectConfig:
    """One generated set of aligned defects."""

    count: int = 100
    """Defect images for each category."""
    sign: Literal["auto", "dent", "protrusion", "hole", "flat"] = "auto"
    """What the defects do to the depth; `auto` is what the manipulation does: of procedural structure each in equal
    shares, in turn by the image's number, of a real defect what its own measured relief says."""
    height: tuple[float, float] | Literal["auto"] = "auto"
    """Least and largest height in the depth files' own unit; `auto` takes a share of the object's relief."""
    auto_share: tuple[float, float] = (0.05, 0.2)
    """Shares of the object's relief that `auto` draws from."""
    flat_share: float = 0.1
    """Height of a flat defect as a share of the height that was drawn."""
    smooth: float = 0.008
    """Deviation of the Gaussian over the profile as a share of the image's side, against the network's noise."""
    reference: Literal["edited", "measured"] = "edited"
    """Depth that AnomalyHybrid* is given: with the manipulation, or as measured, so that it reads colour alone."""
    least_relief: float = 0.01
    """Peak of the network's relief, as a share of the depth's range, below which its profile is not used."""
    appearance: Literal["auto", "target", "blend"] = "auto"
    """Where C_r comes from; `auto` is `blend`, and `target` for half of the procedural structure (docs/adr/004)."""
    decoders: tuple[Literal["ahd", "ahe"], ...] = ("ahd", "ahe")
    """Decoder groups of AnomalyHybrid that draw the colour, in equal shares."""
    procedural: float = 0.0
    """Share of images with procedural structure although real defects are given."""
    extent: tuple[float, float] = (0.08, 0.28)
    """Half size of procedural regions, in halves of the image's side."""
    min_change: float = 8.0
    """Least mean absolute change of colour inside the mask, in 1/255, for a candidate to be accepted."""
    max_attempts: int = 10
    """Candidates tried for one image; the strongest is kept and marked when none is accepted."""
    batch_size: int = 16
    """Images generated together; part of what an image's pixels depend on, so recorded."""
    seed: int = 0
    """Root of all random streams."""
    edge_weights: str = ""
    """Weight file of the edge extractor that both generators were trained with, where it is not shipped."""
    depth_weights: str = ""
    """Weight file or folder of the depth extractor that AnomalyHybrid was trained with, where it is not shipped."""

    def __post_init__(self) -> None:
        check_choices(self, "depth", ("sign", "reference", "appearance"))
        for name in ("count", "max_attempts", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"depth.{name} is {getattr(self, name)}; it must be at least 1")
        if not self.decoders or set(self.decoders) - {"ahd", "ahe"}:
            raise ConfigError(f"depth.decoders is {self.decoders}; give 'ahd', 'ahe' or both")
        if isinstance(self.height, str) and self.height != "auto":
            raise ConfigError(f"depth.height is {self.height!r}; give 'auto' or two heights in the data's unit")
        ranges = {"auto_share": self.auto_share, "extent": self.extent}
        if not isinstance(self.height, str):
            ranges["height"] = self.height
        for name, given in ranges.items():
            if len(given) != 2 or not 0 < given[0] <= given[1]:
                raise ConfigError(f"depth.{name} is {given}; give two numbers with 0 < first <= second")
        for name in ("procedural", "flat_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"depth.{name} is {getattr(self, name)}; it must lie between 0 and 1")
        if not 0 <= self.smooth <= 0.1:
            raise ConfigError(f"depth.smooth is {self.smooth}; it must lie between 0 and 0.1 of the image's side")
        if self.least_relief < 0 or self.min_change < 0:
            raise ConfigError(
                f"depth.least_relief is {self.least_relief}, depth.min_change {self.min_change}; both must be >= 0"
            )

    def colour(self) -> GenerateConfig:
        """Settings of `generate` that the colour of the pairs is made with: shared ones as here, others by default."""
        return GenerateConfig(
            count=self.count,
            decoders=self.decoders,
            procedural=self.procedural,
            extent=self.extent,
            min_change=self.min_change,
            max_attempts=self.max_attempts,
            batch_size=self.batch_size,
            seed=self.seed,
        )
