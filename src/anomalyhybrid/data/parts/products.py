"""The product kinds by name."""

from __future__ import annotations

import numpy as np

from anomalyhybrid.data.parts.board import board
from anomalyhybrid.data.parts.canvas import Canvas
from anomalyhybrid.data.parts.round_parts import nut, ring
from anomalyhybrid.data.parts.sheet_parts import fabric, plate, tread
from anomalyhybrid.data.parts.small_parts import capsule, cookie, rod
from anomalyhybrid.data.parts.surface import Surface

PRODUCTS: tuple[str, ...] = (
    "ring",
    "plate",
    "board",
    "rod",
    "nut",
    "capsule",
    "fabric",
    "tread",
    "cookie",
)
_BUILDERS = (ring, plate, board, rod, nut, capsule, fabric, tread, cookie)


def build(canvas: Canvas, product: str, p: np.random.Generator, i: np.random.Generator) -> Surface:
    """Build the good scene of a known product kind: lasting traits from `p`, small changes from `i`."""
    return _BUILDERS[PRODUCTS.index(product)](canvas, p, i)
