"""What generation looks at of the images of a set: windows of large ones, the others whole (ADR-013)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from anomalyhybrid.data.records import Record
from anomalyhybrid.data.regions_of_interest import Areas
from anomalyhybrid.data.tiling import MOST_TARGETS, reference_windows, target_windows, usual_side
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.quality import LEAST_AREA
from anomalyhybrid.recipes.sources import Sources


def in_windows(
    sources: Sources, config: GenerateConfig, *, size: int, areas: Areas, most: int = MOST_TARGETS
) -> Sources:
    """Replace large or elongated images by windows, as `config.window` says.

    Real defects get windows where the good images of their category do.

    Args:
        sources: The images of a set.
        config: Its settings.
        size: Side of the model's square.
        areas: Where defects may fall.
        most: Windows of a category's good images, as far as each image may keep one.

    Raises:
        ConfigError: Whole images are to be redrawn, but some have windows.
        DataError: An image cannot be read, or no window of it has room for a defect.
    """
    normals: list[Record] = []
    base: list[Record] = []
    for category in sources.categories:
        good = [record for record in sources.normals if record.category == category]
        found = target_windows(good, config.window, size=size, areas=areas, least_room=LEAST_AREA, most=most)
        _check_patches_only(found, config)
        defects = [record for record in sources.base if record.category == category]
        side = usual_side(found)
        normals += found
        base += defects if side is None else reference_windows(defects, side)
    return replace(sources, normals=tuple(normals), base=tuple(base))


def _check_patches_only(records: Sequence[Record], config: GenerateConfig) -> None:
    """Refuse to redraw whole images that are looked at in windows.

    Raises:
        ConfigError: Names one.
    """
    first = next((record for record in records if record.window is not None), None)
    if first is None or first.window is None:
        return
    side = first.window.width
    seen = f"{first.relative} is looked at in windows of {side}x{side} pixels"
    if config.composition == "full":
        raise ConfigError(
            f"generate.composition is 'full', which redraws whole images, but {seen}; use 'region', or --window whole "
            "to squeeze images to the model's square"
        )
    if config.normals and config.normals_as != "patch":
        raise ConfigError(
            f"generate.normals_as is {config.normals_as!r}, which redraws whole good images, but {seen}; use 'patch', "
            "or --window whole to squeeze images to the model's square"
        )
