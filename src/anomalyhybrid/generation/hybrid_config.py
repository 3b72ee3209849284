"""Configuration of global generation; free of torch."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from anomalyhybrid.choices import check_choices
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.config import GenerateConfig

Background = Literal["target", "generated"]
TargetDepth = Literal["silhouette", "estimated"]

_SHARED = ("count", "decoders", "seed", "edge_weights", "depth_weights", "min_change")
_WITHOUT_EFFECT = ("batch_size", "composition")  # images pass the network one by one, and are always composed whole


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridConfig:
    """One set of hybrids: reference's appearance on target's structure (paper 3.5)."""

    count: int = 4
    """Hybrids for each ordered pair of classes, decoders in turn; fewer where the images give no more pairs."""
    decoders: tuple[Literal["ahd", "ahe"], ...] = ("ahd", "ahe")
    """Decoder groups to use; each draws every pair of images."""
    classes: tuple[str, ...] = ()
    """Classes to combine; empty for all."""
    background: Background = "target"
    """Outside the target's silhouette: `target` keeps its own pixels, `generated` takes the generator's (the paper)."""
    target_depth: TargetDepth = "silhouette"
    """The target's depth: its `silhouette`, level inside, or as `estimated` (the paper). Flat specimens have no relief,
    and the shipped depth network takes their light patches for some."""
    min_change: float = 2.0
    """Least mean absolute difference from either parent on the target's silhouette, in 1/255, to be marked accepted."""
    seed: int = 0
    """Root of all random streams."""
    edge_weights: str = ""
    """Weight file of the edge extractor that the generator was trained with, where it is not shipped."""
    depth_weights: str = ""
    """Weight file or folder of the depth extractor that the generator was trained with, where it is not shipped."""

    def __post_init__(self) -> None:
        check_choices(self, "hybrids", ("background", "target_depth"))
        if self.count < 1:
            raise ConfigError(f"hybrids.count is {self.count}; it must be at least 1")
        given = self.decoders
        if not given or set(given) - {"ahd", "ahe"} or len(set(given)) < len(given):
            raise ConfigError(f"hybrids.decoders is {given}; give 'ahd', 'ahe' or both, each once")
        if len(self.classes) == 1 or len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"hybrids.classes is {self.classes}; give at least two, each once, or none for all")
        if not 0 <= self.min_change <= 255:
            raise ConfigError(f"hybrids.min_change is {self.min_change}; it must lie in [0, 255]")

    @classmethod
    def from_settings(
        cls,
        settings: GenerateConfig,
        *,
        classes: tuple[str, ...] = (),
        background: Background = "target",
        target_depth: TargetDepth = "silhouette",
    ) -> HybridConfig:
        """Take what global and local generation share from the settings of ``generate``.

        Values that are still `GenerateConfig`'s defaults give this class's own defaults.

        Args:
            settings: As the command line read them.
            classes: Classes to combine.
            background: Outside the silhouette.
            target_depth: Inside it.

        Raises:
            ConfigError: A setting that only local generation has was changed.
        """
        plain = GenerateConfig()
        changed = [
            field.name for field in fields(settings) if getattr(settings, field.name) != getattr(plain, field.name)
        ]
        if wrong := [name for name in changed if name not in (*_SHARED, *_WITHOUT_EFFECT)]:
            raise ConfigError(
                f"generate.{wrong[0]} is for local defects and has no meaning with --global; leave it out "
                f"({', '.join(_SHARED)} apply)"
            )
        shared: dict[str, Any] = {name: getattr(settings, name) for name in changed if name in _SHARED}
        return cls(classes=classes, background=background, target_depth=target_depth, **shared)
