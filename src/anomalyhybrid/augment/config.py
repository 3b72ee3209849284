"""Configuration of the training augmentation; free of torch."""

from __future__ import annotations

from dataclasses import dataclass

from anomalyhybrid.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """How the views of Fig. 4 are drawn (strengths by ADR-003)."""

    tps_shift: float = 0.15
    """Largest shift of a control point as a share of its window's half side; folding starts above 0.2."""
    tps_windows: int = 2
    """Local spline windows in each draw."""
    tps_radius: tuple[float, float] = (0.2, 0.5)
    """Half side of a window in grid units (the image is 2 wide)."""
    affine_probability: float = 0.5
    """How often resize-translate-pad is applied."""
    scale: tuple[float, float] = (0.8, 1.25)
    """Range of the resize."""
    translate: float = 0.12
    """Largest move as a share of half the image."""
    flip_probability: float = 0.25
    """How often each axis is flipped."""
    independent: float = 0.3
    """How often a condition draws flip and resize of its own; else the three share them (local TPS never shared)."""
    share_reference: float = 0.0
    """How often the reference takes the edge draw whole; above 0 the edge decoder learns to copy (ADR-003)."""
    edit: float = 0.4
    """Share of samples that are pseudo-defects on an otherwise aligned view (ADR-006)."""
    blend: float = 0.2
    """Share of samples whose reference shows the pseudo-defect roughly pasted, to be harmonised."""
    base_share: float = 0.5
    """Of pseudo-defects, the share taken from the base set, where there is one."""
    pair_share: float = 0.3
    """Of edited samples, the share taken from rendered scene pairs, where there are some."""

    def __post_init__(self) -> None:
        for name in (
            "affine_probability",
            "flip_probability",
            "independent",
            "share_reference",
            "edit",
            "blend",
            "base_share",
            "pair_share",
        ):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"augment.{name} is {value}; it must lie between 0 and 1")
        if self.edit + self.blend > 1:
            raise ConfigError(f"augment.edit + augment.blend is {self.edit + self.blend}; at most 1 is possible")
        if not 0 <= self.tps_shift <= 0.3:
            raise ConfigError(f"augment.tps_shift is {self.tps_shift}; keep it between 0 and 0.3 (0.2 starts to fold)")
        for name in ("scale", "tps_radius"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ConfigError(f"augment.{name} is {(low, high)}; give two numbers with 0 < first <= second")
        if not 1 <= self.tps_windows <= 8:
            raise ConfigError(f"augment.tps_windows is {self.tps_windows}; it must lie between 1 and 8")
        if self.translate < 0:
            raise ConfigError(f"augment.translate is {self.translate}; it must be at least 0")
