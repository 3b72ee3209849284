"""Where defects may fall: regions of interest and forbidden regions, as mask files or polygons (ADR-012)."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from anomalyhybrid.data.decoding import decode
from anomalyhybrid.data.files import by_stem, list_folder, raise_problems
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import ConfigError, DataError

Name = Literal["roi", "forbid"]
Polygon = tuple[tuple[float, float], ...]

ALL = "all"
"""Key of a polygon file for every category that has no polygons of its own."""
_POLYGON_SUFFIXES = (".json", ".toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """One marked area of each image.

    Attributes:
        name: The setting it comes from.
        path: Mask file, folder of mask files, or polygon file.
        polygons: Of a polygon file, by category or `ALL`; None for masks.
        masks: Of a folder, by category (empty for a mask that lies at the folder's root) and stem; None else.
    """

    name: Name
    path: Path
    polygons: Mapping[str, tuple[Polygon, ...]] | None = None
    masks: Mapping[tuple[str, str], Path] | None = None

    def file(self, record: Record) -> Path | None:
        """The file that marks an image's area; None where a folder has none for it."""
        if self.masks is None:
            return self.path
        stem = record.path.stem
        return self.masks.get((record.category, stem), self.masks.get(("", stem)))

    def mask(self, record: Record, shape: tuple[int, int]) -> np.ndarray:
        """The area in an image's own pixels, bool (H, W).

        Raises:
            DataError: The mask is unreadable or of another size than the image.
        """
        if self.polygons is not None:
            chosen = self.polygons.get(record.category, self.polygons.get(ALL, ()))
            return np.logical_or.reduce([inside_polygon(polygon, shape) for polygon in chosen])
        path = self.file(record)
        assert path is not None, "checked by check_areas"
        pixels = decode(path)
        if pixels.shape[:2] != shape:
            raise DataError(
                f"--{self.name} {path} is a mask of {pixels.shape[1]}x{pixels.shape[0]} pixels but {record.relative} "
                f"has {shape[1]}x{shape[0]}; make both the same size"
            )
        values = pixels if pixels.ndim == 2 else pixels[..., :3].max(axis=2)
        return values > (0 if values.max() == 1 else np.iinfo(values.dtype).max // 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Areas:
    """Where defects may fall in each image: inside the region of interest and outside the forbidden one.

    Attributes:
        roi: Region of interest; None for the whole image.
        forbid: Forbidden region; None for none.
    """

    roi: Area | None = None
    forbid: Area | None = None

    def __bool__(self) -> bool:
        return self.roi is not None or self.forbid is not None

    def allowed(self, record: Record, shape: tuple[int, int]) -> np.ndarray:
        """Pixels of a record that a defect may cover.

        Args:
            record: An image, or a window of it.
            shape: Height and width of the whole image.

        Returns:
            Bool (H, W), of the record's window where it has one.

        Raises:
            DataError: A mask is unreadable or of another size than the image.
        """
        allowed = np.ones(shape, bool) if self.roi is None else self.roi.mask(record, shape)
        if self.forbid is not None:
            allowed = allowed & ~self.forbid.mask(record, shape)
        return allowed if record.window is None else record.window.crop(allowed, repeat=False)

    def sha256(self, records: Sequence[Record]) -> str:
        """Hash of what the files say about the given images, in order; where they lie does not count."""
        hashes: dict[Path, str] = {}
        lines = []
        for area in [area for area in (self.roi, self.forbid) if area is not None]:
            for record in records:
                path = area.file(record)
                assert path is not None, "checked by check_areas"
                if path not in hashes:
                    hashes[path] = hashlib.sha256(path.read_bytes()).hexdigest()
                lines.append(f"{area.name} {record.category} {hashes[path]}\n")
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_areas(roi: str, forbid: str, records: Sequence[Record]) -> Areas:
    """Read the settings `roi` and `forbid` for given images.

    Args:
        roi: Path of a mask file for all images, of a folder of masks by the images' stems (below a folder of the
            category's name, or at its root), or of a polygon file (.json or .toml); empty for none.
        forbid: Likewise.
        records: The images that defects fall on.

    Raises:
        ConfigError: A polygon file that is not one, a corner outside the image, a category without polygons.
        DataError: A missing path, images without a mask or with several.
    """
    return Areas(roi=_read_area("roi", roi, records), forbid=_read_area("forbid", forbid, records))


def _read_area(name: Name, given: str, records: Sequence[Record]) -> Area | None:
    if not given:
        return None
    path = Path(given).expanduser()
    if not path.exists():
        raise DataError(f"--{name} {path} does not exist; give a mask file, a folder of masks or a polygon file")
    if path.is_dir():
        area = Area(name=name, path=path, masks=_masks_below(name, path, records))
        _check_stems(area, records)
        return area
    if path.suffix.lower() not in _POLYGON_SUFFIXES:
        return Area(name=name, path=path)
    polygons = read_polygons(path, f"--{name} {path}")
    missing = sorted({record.category for record in records} - set(polygons)) if ALL not in polygons else []
    if missing:
        raise ConfigError(
            f"--{name} {path} has no polygon for {', '.join(missing)}; add {'them' if len(missing) > 1 else 'it'}, or "
            f"{ALL!r} for every category"
        )
    return Area(name=name, path=path, polygons=polygons)


def _masks_below(name: Name, folder: Path, records: Sequence[Record]) -> dict[tuple[str, str], Path]:
    """Mask files by category (empty at the folder's root) and stem."""
    found: dict[tuple[str, str], Path] = {}
    for category in ("", *dict.fromkeys(record.category for record in records)):
        images, _, _ = list_folder(folder / category)
        for stem, paths in by_stem(images).items():
            if len(paths) > 1:
                raise DataError(f"--{name} has {' and '.join(map(str, paths))} for one image; keep one of them")
            found[category, stem] = paths[0]
    return found


def _check_stems(area: Area, records: Sequence[Record]) -> None:
    """Each image has a mask, and no mask two images of one category."""
    lacking = [record.relative for record in records if area.file(record) is None]
    raise_problems(
        f"--{area.name} {area.path} has no mask for {len(lacking)} of {len(records)} images; masks are found by the "
        "image's name without its ending, below a folder named after the category or at the root. Add them (an empty "
        "one forbids nothing), or give one mask file for all:",
        lacking,
    )
    owners: dict[tuple[str, str], Record] = {}
    for record in records:
        other = owners.setdefault((record.category, record.path.stem), record)
        if other is not record:
            raise DataError(
                f"--{area.name} {area.path} finds masks by names, but {other.relative} and {record.relative} share one;"
                " rename one of them"
            )


def read_polygons(path: Path, what: str) -> dict[str, tuple[Polygon, ...]]:
    """Read a polygon file: ``[[x, y], ...]`` or a list of such for all images, or a mapping of these by category.

    Args:
        path: JSON, or TOML, which holds a mapping.
        what: Its name in errors.

    Returns:
        Polygons by category, or by `ALL`; corners are shares of the width and of the height, in [0, 1].

    Raises:
        ConfigError: Not JSON or TOML, not polygons of at least three corners, or a corner outside [0, 1].
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{what} cannot be read: {error}") from error
    groups = content if isinstance(content, dict) else {ALL: content}
    if not groups:
        raise ConfigError(f"{what} holds no polygon; give [[x, y], ...] or a mapping of such by category")
    return {str(category): _polygons(given, f"{what}, {category}") for category, given in groups.items()}


def _polygons(given: Any, what: str) -> tuple[Polygon, ...]:
    """Check one polygon or a list of them."""
    wanted = "give [[x, y], ...] with at least three corners, x and y as shares of the width and height"
    try:
        single = not isinstance(given[0][0], (list, tuple))
        polygons = tuple(
            tuple((_share(x), _share(y)) for x, y in corners) for corners in ([given] if single else given)
        )
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ConfigError(f"{what} is {str(given)[:80]}; {wanted}") from error
    for corners in polygons:
        if len(corners) < 3:
            raise ConfigError(f"{what} has a polygon of {len(corners)} corners; {wanted}")
        for x, y in corners:
            if not (0 <= x <= 1 and 0 <= y <= 1):
                raise ConfigError(f"{what} has the corner [{x:g}, {y:g}] outside [0, 1]; {wanted}")
    return polygons


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def inside_polygon(corners: Polygon, shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres lie in a polygon, by the even-odd rule, bool (H, W).

    Args:
        corners: At least three, (x, y) as shares of the width and height.
        shape: Height and width in pixels.
    """
    height, width = shape
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    inside = np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        crossed = (y0 * height > rows) != (y1 * height > rows)
        if crossed.any():
            at = width * (x0 + (rows[crossed] / height - y0) / (y1 - y0) * (x1 - x0))
            inside[crossed] ^= columns[None] < at[:, None]
    return inside


def allowed_at_model_size(allowed: np.ndarray, size: int) -> np.ndarray:
    """Squeeze allowed pixels to the model's square: a pixel stays only where all that it covers is allowed.

    Args:
        allowed: Bool (H, W).
        size: Side in pixels.

    Returns:
        Bool (size, size).
    """
    height, width = allowed.shape
    whole = np.repeat(np.repeat(allowed, -(-size // height), 0), -(-size // width), 1)  # only ever shrunk below
    forbidden = cv2.resize((~whole).astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    return forbidden <= 1e-6
