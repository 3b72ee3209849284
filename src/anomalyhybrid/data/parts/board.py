"""Circuit boards: solder mask, traces, pads, chips, resistors, holes and print."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from anomalyhybrid.data.parts import noise, texture
from anomalyhybrid.data.parts.background import background
from anomalyhybrid.data.parts.canvas import Array, Canvas, Frame, pick, smoothstep, uniform
from anomalyhybrid.data.parts.surface import Material, Surface

_SOLDER = Material(color=(0.66, 0.67, 0.68), metallic=1.0, roughness=0.28)
_GOLD = Material(color=(0.85, 0.65, 0.32), metallic=1.0, roughness=0.3)
_EPOXY = Material(color=(0.022, 0.022, 0.023), roughness=0.48)
_INK = Material(color=(0.72, 0.72, 0.70), roughness=0.7)


@dataclass(slots=True, kw_only=True)
class _Layout:
    """Shapes of a board in object space, fixed by the product."""

    half: tuple[float, float]
    traces: list[Array] = field(default_factory=list)
    vias: list[tuple[float, float]] = field(default_factory=list)
    pads: list[Array] = field(default_factory=list)
    legs: list[Array] = field(default_factory=list)
    chips: list[tuple[float, float, float, float]] = field(default_factory=list)
    smalls: list[tuple[float, float, float, float]] = field(default_factory=list)
    cans: list[tuple[float, float, float]] = field(default_factory=list)
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)


def board(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    """Build a circuit board; its layout is drawn by `p`."""
    whole = pick(p, (True, False))
    half = (1.4, 1.4) if whole else (uniform(p, 0.78, 0.86), uniform(p, 0.72, 0.84))
    layout = _lay_out(p, half)
    frame = canvas.frame(angle=uniform(i, -0.05, 0.05), shift=(uniform(i, -0.04, 0.04), uniform(i, -0.04, 0.04)))
    surface = background(canvas, p, i, depth_range=(-0.16, 0.34))
    surface.under = surface.copy()
    _bare_board(surface, frame, p, i, layout)
    bare = surface.copy()
    surface.loose = bare
    surface.component = np.zeros((canvas.n, canvas.n), np.int16)
    _smalls(surface, frame, p, i, layout)
    _chips(surface, frame, p, i, layout)
    _cans(surface, frame, layout)
    texture.soil(i, surface, frame, 0.8)
    if whole:
        surface.under = None
    return surface


def _rectangle(x: float, y: float, wide: float, high: float) -> Array:
    return np.array([(x - wide, y - high), (x + wide, y - high), (x + wide, y + high), (x - wide, y + high)])


def _disc(x: float, y: float, radius: float) -> Array:
    turn = np.linspace(0, 2 * np.pi, 37)
    return np.column_stack([x + radius * np.cos(turn), y + radius * np.sin(turn)])


def _place(p: np.random.Generator, layout: _Layout, wide: float, high: float) -> tuple[float, float] | None:
    """Find a free spot for a part of the given half sizes, on a coarse grid as designers do."""
    reach_x, reach_y = min(layout.half[0], 1.02) - wide - 0.05, min(layout.half[1], 1.02) - high - 0.05
    for _ in range(30):
        x = round(uniform(p, -reach_x, reach_x) / 0.04) * 0.04
        y = round(uniform(p, -reach_y, reach_y) / 0.04) * 0.04
        clear = all(abs(x - a) > wide + c + 0.025 or abs(y - b) > high + d + 0.025 for a, b, c, d in layout.taken)
        if clear:
            layout.taken.append((x, y, wide, high))
            return x, y
    return None


def _lay_out(p: np.random.Generator, half: tuple[float, float]) -> _Layout:
    layout = _Layout(half=half)
    for _ in range(int(p.integers(2, 5))):
        wide, high = uniform(p, 0.11, 0.24), uniform(p, 0.10, 0.18)
        spot = _place(p, layout, wide + 0.05, high + 0.05)
        if spot is not None:
            layout.chips.append((*spot, wide, high))
            quad = wide < 1.2 * high
            _add_legs(layout, spot, wide, high, quad=quad)
    for _ in range(int(p.integers(0, 4))):
        radius = uniform(p, 0.07, 0.11)
        spot = _place(p, layout, radius, radius)
        if spot is not None:
            layout.cans.append((*spot, radius))
    for _ in range(int(p.integers(14, 26))):
        long, short = pick(p, ((0.055, 0.028), (0.042, 0.022), (0.07, 0.036)))
        wide, high = (long, short) if pick(p, (True, False)) else (short, long)
        spot = _place(p, layout, wide + 0.012, high + 0.012)
        if spot is not None:
            layout.smalls.append((*spot, wide, high))
    for _ in range(int(p.integers(26, 44))):
        _add_trace(p, layout)
    return layout


def _add_legs(layout: _Layout, spot: tuple[float, float], wide: float, high: float, *, quad: bool) -> None:
    x, y = spot
    for offset in np.arange(-wide + 0.03, wide - 0.02, 0.042):
        for side in (-1, 1):
            layout.legs.append(_rectangle(x + offset, y + side * (high + 0.022), 0.011, 0.028))
            layout.pads.append(_rectangle(x + offset, y + side * (high + 0.036), 0.015, 0.026))
    if quad:
        for offset in np.arange(-high + 0.03, high - 0.02, 0.042):
            for side in (-1, 1):
                layout.legs.append(_rectangle(x + side * (wide + 0.022), y + offset, 0.028, 0.011))
                layout.pads.append(_rectangle(x + side * (wide + 0.036), y + offset, 0.026, 0.015))


def _add_trace(p: np.random.Generator, layout: _Layout) -> None:
    """Run one bundle of parallel tracks with 45-degree bends, ending in vias."""
    reach = (min(layout.half[0], 1.05) - 0.06, min(layout.half[1], 1.05) - 0.06)
    here = np.array([uniform(p, -reach[0], reach[0]), uniform(p, -reach[1], reach[1])])
    heading = int(p.integers(8))
    path = [here]
    for _ in range(int(p.integers(2, 6))):
        turn = np.pi / 4 * heading
        there = path[-1] + np.array([np.cos(turn), np.sin(turn)]) * uniform(p, 0.1, 0.45)
        path.append(np.clip(there, (-reach[0], -reach[1]), reach))
        heading += pick(p, (-1, 1))
    line = np.array(path)
    count = pick(p, (1, 1, 2, 3, 4))
    side = np.array([0.034, -0.034]) if heading % 4 in (1, 2) else np.array([0.034, 0.034])
    for k in range(count):
        moved = line + side * k * 0.85
        layout.traces.append(moved)
        layout.vias.append((float(moved[0, 0]), float(moved[0, 1])))
        layout.vias.append((float(moved[-1, 0]), float(moved[-1, 1])))


def _bare_board(
    surface: Surface, frame: Frame, p: np.random.Generator, i: np.random.Generator, layout: _Layout
) -> None:
    n = frame.n
    masks = (
        (0.012, 0.075, 0.030),
        (0.012, 0.075, 0.030),
        (0.01, 0.03, 0.10),
        (0.02, 0.02, 0.022),
        (0.14, 0.015, 0.015),
    )
    resist = Material(color=pick(p, masks), roughness=uniform(p, 0.16, 0.3))
    inset = np.maximum(np.abs(frame.u) - layout.half[0], np.abs(frame.v) - layout.half[1])
    weave = np.sin(frame.u * np.float32(190)) * np.sin(frame.v * np.float32(190))
    micro = weave * np.float32(0.00018) + texture.wavy(i, frame, 0.9)
    surface.paint(frame.inside(inset), resist, height=0.07, micro=micro)
    tracks = frame.strokes(layout.traces, 0.013)
    tracks *= surface.solid
    surface.height += tracks * np.float32(0.003)
    lift = np.array((1.9, 2.3, 2.1), np.float32) + np.array((0.004, 0.012, 0.006), np.float32)
    surface.albedo += (tracks[..., None] * surface.albedo) * (lift - 1.0)
    pour = smoothstep(0.25, 0.30, noise.smooth(p, n, 3)) * surface.solid
    surface.albedo *= 1.0 + (pour * np.float32(0.28))[..., None]
    metal = pick(p, (_SOLDER, _GOLD))
    for radius, what, level in ((0.0155, metal, 0.074), (0.0075, None, 0.02)):
        dots = np.zeros((n, n), np.uint8)
        for x, y in frame.points(np.array(layout.vias)):
            centre = (round(x * 16), round(y * 16))
            cv2.circle(dots, centre, round(radius / frame.pixel * 16), 255, -1, cv2.LINE_AA, 4)
        cover = dots.astype(np.float32) * np.float32(1 / 255) * (inset < -0.01)
        material = what or Material(color=(0.012, 0.012, 0.012), roughness=0.8)
        surface.paint(cover, material, height=level, micro=0.0, border=what is not None)
    lands = [*layout.pads]
    for x, y, wide, high in layout.smalls:
        dx, dy = (wide * 0.8, 0.0) if wide > high else (0.0, high * 0.8)
        size = min(wide, high) * 1.05
        lands += [_rectangle(x - dx, y - dy, size, size), _rectangle(x + dx, y + dy, size, size)]
    bump = noise.smooth(i, n, 60) * np.float32(0.0025)
    surface.paint(frame.polygons(lands), metal, height=0.076, micro=bump)
    _silkscreen(surface, frame, p, layout)


def _silkscreen(surface: Surface, frame: Frame, p: np.random.Generator, layout: _Layout) -> None:
    outlines = []
    for x, y, wide, high in layout.chips:
        box = _rectangle(x, y, wide + 0.07, high + 0.07)
        outlines.append(np.vstack([box, box[:1]]))
    for x, y, radius in layout.cans:
        outlines.append(_disc(x, y, radius * 1.12))
    lines = frame.strokes(outlines, 0.004) * np.float32(0.6)
    for _ in range(4):
        spot = _place(p, layout, 0.10, 0.035)
        if spot is not None:
            lines = np.maximum(
                lines, frame.text(pick(p, ("R12 C4", "U3", "J1 +5V", "GND", "SW2")), at=spot, height=0.05)
            )
    surface.paint(lines * surface.solid * 0.9, _INK, solid=False, border=False)


def _number(surface: Surface, frame: Frame, boxes: list[Array]) -> None:
    """Give each box a component number."""
    if surface.component is not None and boxes:
        first = int(surface.component.max()) + 1
        shape = frame.polygons(boxes, [float(first + k) for k in range(len(boxes))])
        surface.component = np.where(shape > 0, shape.astype(np.int16), surface.component)


def _smalls(surface: Surface, frame: Frame, p: np.random.Generator, i: np.random.Generator, layout: _Layout) -> None:
    bump = noise.smooth(i, frame.n, 50) * np.float32(0.002)
    moved = [
        (x + uniform(i, -0.004, 0.004), y + uniform(i, -0.004, 0.004), wide, high) for x, y, wide, high in layout.smalls
    ]
    boxes = [_rectangle(*part) for part in moved]
    surface.paint(frame.polygons(boxes), _SOLDER, height=0.112, micro=bump)
    _number(surface, frame, [_rectangle(x, y, w * 1.15, h * 1.15) for x, y, w, h in moved])
    for kind, color in ((0, (0.025, 0.025, 0.028)), (1, (0.42, 0.27, 0.14)), (2, (0.3, 0.26, 0.2))):
        bodies = [
            _rectangle(x, y, w * (0.62 if w > h else 1.0), h * (1.0 if w > h else 0.62))
            for k, (x, y, w, h) in enumerate(moved)
            if (k * 7 + len(moved)) % 3 == kind
        ]
        cover = frame.polygons(bodies)
        surface.paint(cover, Material(color=color, roughness=0.4), height=0.118, micro=bump)


def _chips(surface: Surface, frame: Frame, p: np.random.Generator, i: np.random.Generator, layout: _Layout) -> None:
    legs = frame.polygons(layout.legs)
    surface.paint(legs, _SOLDER, height=0.105, micro=noise.smooth(i, frame.n, 60) * np.float32(0.002))
    skin = texture.moulded(i, frame, 1.1)
    inset = np.full_like(skin, 9.0)
    ink, dents = np.zeros_like(skin), []
    for x, y, wide, high in layout.chips:
        side = np.maximum(np.abs(frame.u - np.float32(x)) - wide, np.abs(frame.v - np.float32(y)) - high)
        np.minimum(inset, side, out=inset)
        dents.append(_disc(x - wide * 0.75, y + high * 0.7, 0.02))
        word = pick(p, ("STM32F", "ATMEGA", "LM358N", "74HC14", "MAX232", "NE555P"))
        tall = min(high * 0.34, wide * 0.3)
        for line, (text, size) in enumerate(((word, tall), (pick(p, ("2143 TW", "0917 K", "B1 CHN")), tall * 0.8))):
            np.maximum(ink, frame.text(text, at=(x, y + (line - 0.5) * tall * 1.7), height=size), out=ink)
    top = 0.17 - np.maximum(inset + 0.018, 0) * np.float32(1.6) - frame.polygons(dents) * np.float32(0.008)
    surface.paint(frame.inside(inset), _EPOXY, height=top, micro=skin)
    print_ = Material(color=(0.4, 0.4, 0.4), roughness=0.6)
    surface.paint(ink * np.float32(0.55), print_, solid=False, border=False)
    if surface.component is not None:
        boxes = [_rectangle(x, y, w + 0.06, h + 0.06) for x, y, w, h in layout.chips]
        _number(surface, frame, boxes)


def _cans(surface: Surface, frame: Frame, layout: _Layout) -> None:
    if not layout.cans:
        return
    inset, across = np.full_like(frame.u, 9.0), np.full_like(frame.u, 9.0)
    for x, y, radius in layout.cans:
        du = frame.u - np.float32(x)
        gap = np.hypot(du, frame.v - np.float32(y)) - np.float32(radius)
        across = np.where(gap < inset, np.where(gap < -0.3 * radius, np.abs(du), 9.0), across)
        np.minimum(inset, gap, out=inset)
    top = 0.27 - np.maximum(inset + 0.02, 0) * np.float32(1.5) - 0.006 * smoothstep(0.006, 0.002, across)
    surface.paint(frame.inside(inset), texture.ALUMINIUM, height=top.astype(np.float32), micro=0.0)
    stripes = [_disc(x, y, radius * 0.9)[12:25] for x, y, radius in layout.cans]
    surface.paint(frame.polygons(stripes), Material(color=(0.03, 0.03, 0.05), roughness=0.4), solid=False)
    _number(surface, frame, [_disc(x, y, radius * 1.03) for x, y, radius in layout.cans])
