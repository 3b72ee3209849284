"""Run lengths and polygons, by hand and against rasterisers that share no code with them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from exported_sets import awkward_mask

from anomalyhybrid.export.outlines import Component, centre_polygon, components, edge_polygons, run_lengths


def masks() -> Iterator[np.ndarray]:
    """Random masks, from specks to nets and blobs, and the awkward one."""
    rng = np.random.default_rng(0)
    yield awkward_mask(0, 34, 40)
    for _ in range(100):
        height, width = rng.integers(1, 20, 2)
        yield rng.random((height, width)) < rng.choice([0.1, 0.3, 0.5, 0.7, 0.9])
    for _ in range(10):
        yield cv2.GaussianBlur(rng.random((60, 80)), (0, 0), 3) > 0.5


def even_odd(polygon: list[tuple[int, int]], shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres see an odd number of vertical edges to their left."""
    crossed = np.zeros(shape, int)
    for (x, y), (other_x, other_y) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        assert x == other_x or y == other_y, "edges follow the pixels'"
        if x == other_x:
            crossed[min(y, other_y) : max(y, other_y), x:] += 1
    return crossed % 2 == 1


def from_runs(counts: list[int], shape: tuple[int, int]) -> np.ndarray:
    values = np.repeat(np.arange(len(counts)) % 2, counts)
    return values.reshape(shape, order="F").astype(bool)


def test_by_hand() -> None:
    # a ring of 3 x 3 at (1, 0) in an image 4 high and 5 wide
    ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
    part = Component(1, 0, ring)
    assert run_lengths(part, (4, 5)) == [4, 3, 1, 1, 1, 1, 1, 3, 5]
    assert run_lengths(Component(0, 0, np.ones((1, 1), bool)), (2, 2)) == [0, 1, 3]
    assert run_lengths(Component(1, 1, np.ones((1, 1), bool)), (2, 2)) == [3, 1]
    assert edge_polygons(Component(2, 3, np.ones((1, 2), bool))) == [[(2, 3), (4, 3), (4, 4), (2, 4)]]
    (polygon,) = edge_polygons(part)
    # the cut to the hole runs from its corner (2, 1) left to the outline at (1, 1)
    assert {(1, 0), (4, 0), (4, 3), (1, 3), (2, 1), (3, 1), (3, 2), (2, 2), (1, 1)} == set(polygon)
    assert centre_polygon(Component(2, 3, np.ones((1, 1), bool))) == [
        (2.25, 3.25),
        (2.75, 3.25),
        (2.75, 3.75),
        (2.25, 3.75),
    ]


def test_components_hang_together_at_corners_and_cover_the_mask() -> None:
    diagonal = np.eye(3, dtype=bool)
    assert len(list(components(diagonal))) == 1
    assert len(list(components(diagonal, connectivity=4))) == 3
    mask = awkward_mask(0, 34, 40)
    total = np.zeros(mask.shape, int)
    for part in components(mask):
        height, width = part.pixels.shape
        total[part.y : part.y + height, part.x : part.x + width] += part.pixels
    assert np.array_equal(total, mask.astype(int))


def test_run_lengths_and_polygons_are_exact() -> None:
    for mask in masks():
        height, width = mask.shape
        runs, edges, centres = (np.zeros((height, width), bool) for _ in range(3))
        for part in components(mask):
            counts = run_lengths(part, (height, width))
            assert min(counts[1:], default=1) > 0
            runs |= from_runs(counts, (height, width))
            for polygon in edge_polygons(part):
                edges |= even_odd(polygon, (height, width))
            corners = np.array(centre_polygon(part))
            assert len(corners) >= 3
            assert (corners > 0).all()
            assert (corners < [width, height]).all()
            filled = np.zeros((height, width), np.uint8)
            cv2.fillPoly(filled, [corners.astype(np.int32)], 1)
            centres |= filled > 0
        for drawn in (runs, edges, centres):
            assert np.array_equal(drawn, mask)


def test_pycocotools_reads_them_exactly() -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    for mask in masks():
        size = [int(side) for side in mask.shape]
        for part in components(mask):
            alone = np.zeros(mask.shape, bool)
            alone[part.y : part.y + part.pixels.shape[0], part.x : part.x + part.pixels.shape[1]] = part.pixels
            runs = coco.frPyObjects({"size": size, "counts": run_lengths(part, (size[0], size[1]))}, *size)
            flat = [[value for corner in polygon for value in corner] for polygon in edge_polygons(part)]
            for rle in (runs, coco.merge(coco.frPyObjects(flat, *size))):
                assert np.array_equal(coco.decode(rle) > 0, alone)
            assert int(coco.area(runs)) == alone.sum()


def test_large_masks_take_seconds_at_most() -> None:
    mask = cv2.GaussianBlur(np.random.default_rng(0).random((700, 700)), (0, 0), 4) > 0.51
    begin = time.process_time()
    for part in components(mask):
        run_lengths(part, (700, 700)), edge_polygons(part), centre_polygon(part)
    assert time.process_time() - begin < 5
