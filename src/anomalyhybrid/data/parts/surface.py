"""The state of a scene before light: a height field and its material maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomalyhybrid.data.parts.canvas import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """How one substance answers light.

    Attributes:
        color: Linear RGB in [0, 1]: diffuse albedo, or reflectance of a metal.
        metallic: 0 dielectric, 1 metal.
        roughness: 0 mirror, 1 matt.
    """

    color: tuple[float, float, float]
    metallic: float = 0.0
    roughness: float = 0.5


@dataclass(slots=True, kw_only=True)
class Surface:
    """Height and material of every grid pixel; painted in place while a scene is built.

    Attributes:
        height: float32 (N, N), scene units, greater is nearer to the camera.
        micro: float32 (N, N), fine relief in scene units that only bends normals.
        albedo: float32 (N, N, 3) linear RGB.
        metallic: float32 (N, N) in [0, 1].
        roughness: float32 (N, N) in [0, 1].
        emission: float32 (N, N), light passed from below, multiplied by albedo.
        region: int16 (N, N), a number for each painted substance; borders become contours.
        solid: bool (N, N), True on the object.
        depth_range: Heights that map to depth 0 and 1.
        under: The scene without the object, seen through holes; None where the object fills the picture.
        loose: The scene without removable components, seen where one is missing.
        component: int16 (N, N), a number for each removable component, 0 elsewhere; None when there is none.
    """

    height: Array
    micro: Array
    albedo: Array
    metallic: Array
    roughness: Array
    emission: Array
    region: Array
    solid: Array
    depth_range: tuple[float, float] = (-0.3, 0.5)
    under: Surface | None = None
    loose: Surface | None = None
    component: Array | None = None

    @classmethod
    def flat(cls, n: int, material: Material, depth_range: tuple[float, float]) -> Surface:
        """Make an even surface of one material at height 0, not part of an object."""
        plane = np.zeros((n, n), np.float32)
        return cls(
            height=plane.copy(),
            micro=plane.copy(),
            albedo=np.tile(np.array(material.color, np.float32), (n, n, 1)),
            metallic=plane + np.float32(material.metallic),
            roughness=plane + np.float32(material.roughness),
            emission=plane,
            region=np.zeros((n, n), np.int16),
            solid=np.zeros((n, n), bool),
            depth_range=depth_range,
        )

    def copy(self) -> Surface:
        """Copy the maps; `under`, `loose` and `component` are shared."""
        return Surface(
            height=self.height.copy(),
            micro=self.micro.copy(),
            albedo=self.albedo.copy(),
            metallic=self.metallic.copy(),
            roughness=self.roughness.copy(),
            emission=self.emission.copy(),
            region=self.region.copy(),
            solid=self.solid.copy(),
            depth_range=self.depth_range,
            under=self.under,
            loose=self.loose,
            component=self.component,
        )

    def paint(
        self,
        cover: Array,
        material: Material,
        *,
        height: Array | float | None = None,
        micro: Array | float | None = None,
        emission: float = 0.0,
        solid: bool = True,
        border: bool = True,
    ) -> None:
        """Lay a material over the scene.

        Args:
            cover: float32 (N, N) in [0, 1], how much of each pixel is covered.
            material: What is laid.
            height: New height under the cover; None keeps it.
            micro: New fine relief; None keeps it.
            emission: Light passed from below.
            solid: Whether the cover belongs to the object.
            border: Whether its edge is a true contour.
        """
        index = np.flatnonzero(cover)
        share = cover.ravel()[index]
        colors = self.albedo.reshape(-1, 3)
        old = colors[index]
        colors[index] = old + share[:, None] * (np.array(material.color, np.float32) - old)
        _blend_at(self.metallic, index, share, material.metallic)
        _blend_at(self.roughness, index, share, material.roughness)
        _blend_at(self.emission, index, share, emission)
        if height is not None:
            _blend_at(self.height, index, share, height)
        if micro is not None:
            _blend_at(self.micro, index, share, micro)
        if solid or border:
            core = cover > 0.5
            if border:
                self.region[core] = self.region.max() + 1
            if solid:
                self.solid |= core

    def tint(self, factor: Array, cover: Array | None = None) -> None:
        """Multiply the albedo by a field (N, N), kept in [0, 1]; `cover` limits where."""
        if cover is not None:
            factor = 1.0 + (factor - 1.0) * cover
        self.albedo *= np.maximum(factor, 0.05)[..., None]
        np.minimum(self.albedo, 1.0, out=self.albedo)

    def replace(self, other: Surface, where: Array) -> None:
        """Take every map of `other` where the bool field (N, N) is True."""
        for name in ("height", "micro", "albedo", "metallic", "roughness", "emission", "region", "solid"):
            getattr(self, name)[where] = getattr(other, name)[where]


def _blend_at(field: Array, index: Array, share: Array, value: Array | float) -> None:
    """Move a contiguous `field` in place to `value` by `share` at flat positions."""
    flat = field.reshape(-1)
    old = flat[index]
    new = value.reshape(-1)[index] if isinstance(value, np.ndarray) else value
    flat[index] = old + share * (new - old)


def blend(field: Array, cover: Array, value: Array | float) -> None:
    """Move `field` in place to `value` by `cover`."""
    field += cover * (value - field)


def tone(surface: Surface, where: Array) -> float:
    """Mean albedo of the substance in a bool region (N, N); 0.2 when the region is empty."""
    return float(surface.albedo[where].mean()) if where.any() else 0.2
