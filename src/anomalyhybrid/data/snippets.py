"""Snippets: cut-outs of the user's own defects, each put onto a good image so that it is read as a real one (ADR-015).

What lies around a defect decides how it is levelled and where it fits. A pair of image and mask shows it: the snippet
goes where its surroundings match the good image best, and fades into it. A cut-out with alpha does not: it goes to
several places of the product, with its own colours.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from anomalyhybrid.data.decoding import decode
from anomalyhybrid.data.files import by_stem, existing_folder, make_folder, raise_problems
from anomalyhybrid.data.foreground import object_mask
from anomalyhybrid.data.headers import image_sides
from anomalyhybrid.data.loading import load_image, load_mask, save_png, to_rgb_u8
from anomalyhybrid.data.own_folders import MASK_SUFFIX, category_places, typed_images
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.windows import spread
from anomalyhybrid.errors import DataError

FLAG = "--snippets"
UNTYPED = "defect"
"""Type of snippets that lie in no folder of a type, as in a base set of ``images/`` and ``masks/``."""
PLACES = 4
"""Places at which a cut-out without surroundings is put onto good images."""
_COARSE = 384  # longest side at which places are looked for
_SHOWN = 16  # least pixels of surroundings that are matched
_ON_OBJECT = 0.95  # of the best share of a region on the product, that other places keep


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet:
    """One snippet's files.

    Attributes:
        path: Image.
        relative: POSIX path below the folder that was given.
        category: Product.
        defect: Type.
        mask_path: Mask of a pair; None for a cut-out, whose alpha it is.
    """

    path: Path
    relative: str
    category: str
    defect: str
    mask_path: Path | None

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Read it.

        Returns:
            ``(rgb_u8, region)``, uint8 (H, W, 3) and bool (H, W). Of 16 bits the upper 8 are taken, as of every
            reference; a pixel belongs to the region where its alpha is above half.

        Raises:
            DataError: Unreadable, neither alpha nor a mask or both, a region that is empty or everywhere.
        """
        pixels = decode(self.path)
        with_alpha = pixels.ndim == 3 and pixels.shape[2] == 4
        if with_alpha == (self.mask_path is not None):
            have = "has alpha and a mask; keep one of them" if with_alpha else "has neither alpha nor a mask"
            raise DataError(
                f"{self.path} {have}: a snippet is a PNG whose alpha is the defect, or an image beside "
                f"{self.path.stem}{MASK_SUFFIX}.png"
            )
        if self.mask_path is not None:
            region = load_mask(self.mask_path, shape=(pixels.shape[0], pixels.shape[1]))
        else:
            region = pixels[..., 3] > np.iinfo(pixels.dtype).max // 2
        if not region.any():
            raise DataError(f"{self.path} is transparent everywhere (no alpha above half); cut out the defect")
        if region.all():
            raise DataError(
                f"{self.mask_path or self.path} marks every pixel, so that it shows no outline; leave out what is not "
                "defect (for a rectangular one, add a border of one pixel)"
            )
        return to_rgb_u8(pixels), region


def read_snippets(root: Path, categories: Sequence[str]) -> tuple[Snippet, ...]:
    """List the snippets of a folder.

    Args:
        root: Holds snippets, or folders of snippets named after defect types, or both; of several categories below
            folders of their names.
        categories: Names of the data's categories.

    Returns:
        The snippets by category, type and name.

    Raises:
        ConfigError: A type's folder whose name cannot be a defect's.
        DataError: No snippet, a mask without its image, two images of one name.
    """
    root = existing_folder(root)
    found: list[Snippet] = []
    problems: list[str] = []
    for category, folder in category_places(FLAG, root, categories).items():
        for defect, paths in typed_images(FLAG, folder):
            stems = by_stem(paths)
            problems += [f"{' and '.join(map(str, same))}: keep one" for same in stems.values() if len(same) > 1]
            masks = {
                stem.removesuffix(MASK_SUFFIX): same[0]
                for stem, same in stems.items()
                if stem.endswith(MASK_SUFFIX) and stem.removesuffix(MASK_SUFFIX)
            }
            problems += [f"{path}: there is no {stem}.*" for stem, path in masks.items() if stem not in stems]
            found += [
                Snippet(
                    path=path,
                    relative=path.relative_to(root).as_posix(),
                    category=category,
                    defect=defect or UNTYPED,
                    mask_path=masks.get(path.stem),
                )
                for path in paths
                if path not in masks.values()
            ]
    raise_problems(f"{FLAG} {root}: images and masks do not pair; mend these:", problems)
    if not found:
        raise DataError(f"{FLAG} {root} holds no snippet; put cut-outs of defects there, as PNG with alpha")
    return tuple(found)


def snippet_records(snippets: Sequence[Snippet], normals: Sequence[Record], cache: Path) -> list[Record]:
    """Put snippets onto good images of their categories' usual size, in a folder of pictures named by their content.

    Args:
        snippets: Of `read_snippets`.
        normals: Good images.
        cache: Folder that keeps the pictures; made if it is missing.

    Returns:
        Records of real defects: one for a pair, up to `PLACES` for a cut-out. `relative` is the snippet's own.

    Raises:
        DataError: Lists the snippets that cannot be read, or are larger than the good images.
    """
    canvases = {category: _usual([r for r in normals if r.category == category]) for category in
                dict.fromkeys(snippet.category for snippet in snippets)}  # fmt: skip
    make_folder(cache)
    records: list[Record] = []
    problems: list[str] = []
    for snippet in snippets:
        try:
            for path, mask_path in _pictures(snippet, canvases[snippet.category], cache):
                records.append(
                    Record(
                        path=path,
                        relative=snippet.relative,
                        category=snippet.category,
                        defect=snippet.defect,
                        mask_path=mask_path,
                        split="train",
                    )
                )
        except DataError as error:
            problems.append(str(error))
    raise_problems("some snippets cannot be used; mend these:", problems)
    return records


def _usual(records: Sequence[Record]) -> list[Record]:
    """The good images of the commonest size, at most `PLACES`, evenly spread."""
    sides = [image_sides(record.path) for record in records]
    usual = Counter(sides).most_common(1)[0][0]
    fitting = [record for record, own in zip(records, sides, strict=True) if own == usual]
    return spread(fitting, PLACES)


def _pictures(snippet: Snippet, canvases: Sequence[Record], cache: Path) -> list[tuple[Path, Path]]:
    """Pictures of a snippet and their masks; those that are in the cache are not made again."""
    rgb, region = snippet.load()
    surrounded = snippet.mask_path is not None and int((~region).sum()) >= _SHOWN
    made = []
    for number in range(1 if surrounded else PLACES):
        canvas = canvases[number % len(canvases)]
        key = hashlib.sha256(b"1")
        for path in (snippet.path, snippet.mask_path, canvas.path):
            key.update(b"" if path is None else hashlib.sha256(path.read_bytes()).digest())
        name = f"{key.hexdigest()}_{number}"
        path, mask_path = cache / f"{name}.png", cache / f"{name}{MASK_SUFFIX}.png"
        if not (path.is_file() and mask_path.is_file()):
            good = to_rgb_u8(load_image(canvas.path).pixels)
            _check_fits(snippet, region.shape, good.shape)
            rng = np.random.default_rng(int(name[:16], 16) + number)
            y, x = matched_place(rgb, region, good) if surrounded else place_on_product(region, good, rng)
            picture, mask = put_onto(good, rgb, region, (y, x), faded=surrounded)
            save_png(mask_path, mask)
            save_png(path, picture)
        made.append((path, mask_path))
    return made


def _check_fits(snippet: Snippet, shape: tuple[int, ...], good: tuple[int, ...]) -> None:
    if shape[0] > good[0] or shape[1] > good[1]:
        raise DataError(
            f"{snippet.path} has {shape[1]}x{shape[0]} pixels, more than the good images of {snippet.category} with "
            f"{good[1]}x{good[0]}; cut it down to the defect, at the scale of these images"
        )


def put_onto(
    good: np.ndarray, rgb: np.ndarray, region: np.ndarray, place: tuple[int, int], *, faded: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Put a snippet onto a good image.

    Args:
        good: uint8 (H, W, 3).
        rgb: The snippet's pixels, uint8 (h, w, 3).
        region: Its region, bool (h, w).
        place: Row and column of its upper left corner.
        faded: Show its surroundings too, opaque at the region and fading to nothing at the snippet's border.

    Returns:
        The picture, uint8 (H, W, 3), in the region exactly the snippet's pixels, and the region in it, bool (H, W).
    """
    where = (slice(place[0], place[0] + region.shape[0]), slice(place[1], place[1] + region.shape[1]))
    opacity = region.astype(np.float32)
    if faded:
        away = cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, 5)
        inside = np.pad(np.ones_like(opacity, np.uint8), 1)
        border = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1] - 1
        opacity = np.where(region, 1.0, border / np.maximum(away + border, 1e-6)).astype(np.float32)
    picture, mask = good.copy(), np.zeros(good.shape[:2], bool)
    mixed = good[where] + opacity[..., None] * (rgb.astype(np.float32) - good[where])
    picture[where] = np.rint(mixed).clip(0, 255).astype(np.uint8)
    mask[where] = region
    return picture, mask


def matched_place(rgb: np.ndarray, region: np.ndarray, good: np.ndarray) -> tuple[int, int]:
    """Find where a snippet's surroundings match a good image best; arguments as for `put_onto`.

    Returns:
        Row and column of the snippet's upper left corner, as exact as the image shrunk to `_COARSE` pixels allows.
    """
    known = np.repeat(_shrunk((~region).astype(np.float32), good)[..., None], 3, axis=2)
    misfit = cv2.matchTemplate(_shrunk(good, good), _shrunk(rgb, good), cv2.TM_SQDIFF, mask=known)
    return _native(np.unravel_index(int(misfit.argmin()), misfit.shape), misfit.shape, region, good)


def place_on_product(region: np.ndarray, good: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """Draw a place at which a region lies on the product; arguments as for `put_onto`.

    Returns:
        Row and column of the snippet's upper left corner.
    """
    product = object_mask(_shrunk(good, good)).astype(np.float32)
    share = cv2.matchTemplate(product, _shrunk(region.astype(np.float32), good), cv2.TM_CCORR)
    places = np.argwhere(share >= _ON_OBJECT * share.max())
    return _native(places[rng.integers(len(places))], share.shape, region, good)


def _shrunk(pixels: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Pixels of a good image, or of a part of it, at the scale at which the image has `_COARSE` on its longer side."""
    factor = min(1.0, _COARSE / max(good.shape[:2]))
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(pixels.dtype, copy=False)


def _native(place: Sequence, places: tuple[int, ...], region: np.ndarray, good: np.ndarray) -> tuple[int, int]:
    """A place among those of `_shrunk` in native pixels, so that the snippet lies inside the image."""
    y, x = (
        round(int(at) * (whole - part) / max(1, count - 1))
        for at, count, whole, part in zip(place, places, good.shape[:2], region.shape, strict=True)
    )
    return y, x
