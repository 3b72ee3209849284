"""Label masks as run lengths and as polygons, all exact; pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Point = tuple[int, int]
"""x, y."""

_STEPS: tuple[Point, ...] = ((1, 0), (0, 1), (-1, 0), (0, -1))


@dataclass(frozen=True, slots=True)
class Component:
    """Pixels of a mask that touch, also at corners.

    Attributes:
        x: Left edge in the image, in pixels.
        y: Top edge.
        pixels: Bool (h, w), True on the component; no empty row or column at the border.
    """

    x: int
    y: int
    pixels: np.ndarray


def components(mask: np.ndarray, *, connectivity: int = 8) -> Iterator[Component]:
    """Cut a mask, bool (H, W), into connected components, in the order in which rows meet them."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    for label in range(1, count):
        x, y, width, height = (int(value) for value in stats[label, :4])
        yield Component(x, y, labels[y : y + height, x : x + width] == label)


def run_lengths(part: Component, shape: tuple[int, int]) -> list[int]:
    """Uncompressed COCO run lengths of a component.

    Args:
        part: The component.
        shape: ``(height, width)`` of its image.

    Returns:
        Lengths of runs along the columns, beginning with one of zeros (which may be 0); they sum to H x W.

    Source: COCO's description of its `counts`.
    """
    height, width = shape
    columns = np.zeros((height, part.pixels.shape[1]), bool)
    columns[part.y : part.y + part.pixels.shape[0]] = part.pixels
    flips = np.flatnonzero(np.diff(columns.ravel(order="F"), prepend=False, append=False)) + part.x * height
    counts = np.diff(flips, prepend=0, append=height * width).tolist()
    return counts if counts[-1] else counts[:-1]


def edge_polygons(part: Component) -> list[list[Point]]:
    """Outline a component along the edges of its pixels, holes included.

    Args:
        part: The component.

    Returns:
        One polygon of corners (x, y) on the pixel grid, in the image, for each piece whose pixels share sides. Under
        the even-odd rule their union is exactly the component; a hole hangs on its outline by a cut of no width.
    """
    polygons = []
    for piece in components(part.pixels, connectivity=4):
        loops = sorted(_edge_loops(piece.pixels), key=min)
        x, y = part.x + piece.x, part.y + piece.y
        polygons.append([(x + px, y + py) for px, py in _corners(_joined(loops))])
    return polygons


def centre_polygon(part: Component) -> list[tuple[float, float]]:
    """Outline a component through the centres of its border pixels, holes included, as one polygon.

    Args:
        part: The component.

    Returns:
        At least 3 corners (x, y) in pixels, pixel centres at halves. Cut off to whole numbers and filled with
        ``cv2.fillPoly``, as ultralytics does, it is exactly the component. A component one pixel wide is outlined a
        quarter pixel inside its edges, since a polygon of no area would be dropped.
    """
    height, width = part.pixels.shape
    if min(height, width) == 1:
        left, top, right, bottom = part.x + 0.25, part.y + 0.25, part.x + width - 0.25, part.y + height - 0.25
        return [(left, top), (right, top), (right, bottom), (left, bottom)]
    contours, tree = cv2.findContours(part.pixels.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    loops = [[(int(x), int(y)) for x, y in contour[:, 0]] for contour in contours]
    outer = [loop for loop, entry in zip(loops, tree[0], strict=True) if entry[3] < 0]
    holes = [loop for loop, entry in zip(loops, tree[0], strict=True) if entry[3] >= 0]
    corners = _corners(_joined([*outer, *sorted(holes, key=min)]))
    if len(corners) == 2:
        corners.append(corners[0])
    return [(part.x + x + 0.5, part.y + y + 0.5) for x, y in corners]


def _edge_loops(piece: np.ndarray) -> list[list[Point]]:
    """Closed loops along the pixel edges of pixels that share sides; every grid point is listed, inside lies right."""
    padded = np.pad(piece, 1)
    beyond = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])
    edges: dict[tuple[int, int, int], None] = {}
    for way, (outside, (right, below)) in enumerate(zip(beyond, ((0, 0), (1, 0), (1, 1), (0, 1)), strict=True)):
        edges |= dict.fromkeys((x + right, y + below, way) for y, x in np.argwhere(piece & ~outside).tolist())
    left, loops = set(edges), []
    for edge in edges:
        loop = []
        while edge in left:
            left.remove(edge)
            x, y, way = edge
            loop.append((x, y))
            x, y = x + _STEPS[way][0], y + _STEPS[way][1]
            # where two pixels touch at a corner, the turn to the right stays on the same one
            edge = next((x, y, turn % 4) for turn in (way + 1, way, way + 3) if (x, y, turn % 4) in edges)
        if loop:
            loops.append(loop)
    return loops


def _joined(loops: Sequence[list[Point]]) -> list[Point]:
    """Hang holes on an outline: from each hole's leftmost point straight left to what is joined already.

    Args:
        loops: The outline, then the holes sorted by their least point; every grid point on the way is listed.
    """
    joined, seen = list(loops[0]), set(loops[0])
    for hole in loops[1:]:
        x, y = min(hole)
        at = hole.index((x, y))
        door = x
        while (door, y) not in seen:
            door -= 1
        place = joined.index((door, y))
        joined[place : place + 1] = [(door, y), *hole[at:], *hole[: at + 1], (door, y)]
        seen.update(hole)
    return joined


def _corners(points: list[Point]) -> list[Point]:
    """Drop repeated points and those in the middle of a straight run."""
    distinct = [point for point, following in zip(points, [*points[1:], points[0]], strict=True) if point != following]

    def towards(a: Point, b: Point) -> tuple[int, int]:
        return int(np.sign(b[0] - a[0])), int(np.sign(b[1] - a[1]))

    around = zip([distinct[-1], *distinct[:-1]], distinct, [*distinct[1:], distinct[0]], strict=True)
    return [point for before, point, after in around if towards(before, point) != towards(point, after)]
