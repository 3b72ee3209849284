"""Round parts from above: `ring` (bottle mouth, bearing, seal, washer) and `nut` (hex nut, gear)."""

from __future__ import annotations

import numpy as np

from anomalyhybrid.data.parts import noise, texture
from anomalyhybrid.data.parts.background import background
from anomalyhybrid.data.parts.canvas import (
    Array,
    Canvas,
    Frame,
    bounded_root,
    pick,
    smoothstep,
    triangle,
    uniform,
)
from anomalyhybrid.data.parts.surface import Material, Surface

_TAU = 2 * np.pi


def _pose(canvas: Canvas, p: np.random.Generator, i: np.random.Generator, size: float) -> Frame:
    free = pick(p, (True, False))
    turn = uniform(i, -np.pi, np.pi) if free else uniform(i, -0.06, 0.06)
    shift = (uniform(i, -0.04, 0.04), uniform(i, -0.04, 0.04))
    return canvas.frame(angle=turn, shift=shift, scale=size * uniform(i, 0.985, 1.015))


def ring(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    """Build a ring-like product; the variant is drawn by `p`."""
    build = pick(p, (_washer, _bottle, _seal, _bearing, _bearing))
    return build(canvas, p, i)


def _bottle(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    frame = _pose(canvas, p, i, uniform(p, 0.92, 1.05))
    surface = background(canvas, p, i, kinds=("table", "table", "table", "cloth"), depth_range=(-0.5, 0.55))
    surface.under = surface.copy()
    u, v = frame.u, frame.v
    r, turn = np.hypot(u, v), np.arctan2(v, u)
    dark = pick(p, ((0.055, 0.018, 0.006), (0.018, 0.045, 0.016), (0.03, 0.05, 0.06), (0.05, 0.03, 0.012)))
    glass = Material(color=dark, roughness=0.07)
    lip, half = uniform(p, 0.52, 0.58), uniform(p, 0.10, 0.14)
    outer = uniform(p, 0.78, 0.84)
    shoulder = 0.16 - 0.5 * np.maximum(r - lip - half, 0) - 1.2 * np.maximum(r - outer + 0.07, 0)
    torus = 0.16 + 0.16 * bounded_root(1.0 - ((r - lip) / half) ** 2)
    bore = -0.18 - 0.20 * smoothstep(lip, 0.0, r) + 0.03 * np.cos(r * 19)
    height = np.where(r < lip - half, bore, np.where(np.abs(r - lip) < half, torus, shoulder))
    ripple = noise.along(i, r * np.float32(16), np.abs(turn) * np.float32(0.35)) * np.float32(0.0035)
    micro = ripple + texture.wavy(i, frame, 1.2)
    surface.paint(frame.inside(r - outer), glass, height=height.astype(np.float32), micro=micro)
    surface.paint(frame.inside(r - (lip - half)), glass, solid=False)
    surface.paint(frame.inside(np.abs(r - lip) - half), glass, solid=False)
    phase = uniform(p, 0, _TAU) + uniform(i, -0.3, 0.3)
    caustic = noise.along(i, r * np.float32(22), np.abs(turn) * np.float32(1.4)) * 0.5
    glow = 1.2 * np.exp(-(((r - lip + half * 1.02) / 0.018) ** 2)) + 0.7 * np.exp(-(((r - outer + 0.02) / 0.014) ** 2))
    arc = 0.5 + 0.5 * np.cos(turn * 2 + phase) + 0.25 * np.cos(turn * 5 + phase * 3)
    inner = smoothstep(lip - half, lip - half - 0.03, r) * (
        0.10 + 0.9 * np.exp(-(((r - lip + half * 1.9) / 0.022) ** 2)) * arc
    )
    bands = glow * (1.0 + 8.0 * np.maximum(arc + 0.4 * caustic, 0)) + inner * (1.1 + 1.6 * caustic)
    surface.emission += (np.maximum(bands, 0) * frame.inside(r - outer)).astype(np.float32)
    return surface


def _bearing(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    frame = _pose(canvas, p, i, uniform(p, 0.9, 1.05))
    surface = background(canvas, p, i)
    surface.under = surface.copy()
    r, turn = np.hypot(frame.u, frame.v), np.arctan2(frame.v, frame.u)
    steel = pick(p, (texture.STEEL, texture.ZINC))
    lathe = texture.turned(i, frame, uniform(p, 0.5, 1.0))
    outer, gap_out, gap_in, bore = (
        0.82,
        uniform(p, 0.63, 0.66),
        uniform(p, 0.42, 0.46),
        uniform(p, 0.28, 0.33),
    )
    floor = Material(color=(0.03, 0.03, 0.03), roughness=0.5)
    whole = np.maximum(r - outer, bore - r)
    surface.paint(frame.inside(whole), floor, height=0.05)
    for low, high in ((gap_out, outer), (bore, gap_in)):
        inset = np.minimum(r - low, high - r)
        race = 0.26 - np.maximum(0.035 - inset, 0) * 1.0
        surface.paint(frame.inside(-inset), steel, height=race.astype(np.float32), micro=lathe)
    mid, width = (gap_out + gap_in) / 2, (gap_out - gap_in) / 2
    if pick(p, ("shield", "balls")) == "shield":
        plastic = pick(p, (texture.ZINC, texture.RUBBER, Material(color=(0.25, 0.03, 0.02), roughness=0.45)))
        edge = np.abs(r - mid) - width + 0.018
        relief = 0.225 - 0.02 * np.exp(-(((r - mid - width * 0.45) / 0.012) ** 2))
        relief -= 0.012 * np.exp(-(((r - mid + width * 0.5) / 0.01) ** 2))
        skin = lathe if plastic is texture.ZINC else texture.moulded(i, frame)
        surface.paint(frame.inside(edge), plastic, height=relief.astype(np.float32), micro=skin)
        if plastic is not texture.ZINC:
            words = f"{pick(p, ('6203', '6004', '608', '6201'))}-2RS"
            ink = frame.text(words, at=(0.0, -mid), height=width * 0.7)
            surface.paint(ink, Material(color=(0.5, 0.5, 0.48), roughness=0.6), solid=False, border=False)
    else:
        count = int(p.integers(8, 12))
        phase = uniform(i, 0, 1)
        offset = (turn / _TAU * count + phase) % 1.0 - 0.5
        x, y = offset * (_TAU * mid / count), r - mid
        ball = width * 0.92
        cage = pick(p, (texture.BRASS, texture.ZINC, Material(color=(0.3, 0.17, 0.06), roughness=0.4)))
        surface.paint(frame.inside(np.abs(y) - width * 0.6), cage, height=0.14, micro=lathe)
        near = np.hypot(x, y)
        surface.paint(
            frame.inside(near - ball),
            Material(color=(0.72, 0.72, 0.72), metallic=1.0, roughness=0.08),
            height=(0.10 + bounded_root(ball * ball - near * near)).astype(np.float32),
            micro=0.0,
        )
    texture.soil(i, surface, frame)
    return surface


def _seal(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    frame = _pose(canvas, p, i, uniform(p, 0.9, 1.05))
    surface = background(canvas, p, i)
    surface.under = surface.copy()
    turn = np.arctan2(frame.v, frame.u)
    wobble = 0.012 * np.cos(turn * 2 + uniform(i, 0, _TAU)) + 0.006 * np.cos(turn * 3 + uniform(i, 0, _TAU))
    r = np.hypot(frame.u, frame.v) + wobble
    tones = (
        (0.02, 0.02, 0.022),
        (0.03, 0.10, 0.05),
        (0.35, 0.05, 0.03),
        (0.16, 0.06, 0.025),
        (0.45, 0.42, 0.36),
    )
    skin = Material(color=pick(p, tones), roughness=uniform(p, 0.28, 0.5))
    mid, half = uniform(p, 0.55, 0.66), uniform(p, 0.10, 0.18)
    section = ((r - mid) / half).astype(np.float32)
    height = half * (0.9 + bounded_root(1 - section**2))
    if pick(p, (True, False)):
        height -= 0.03 * np.exp(-((section / 0.22) ** 2))
    height += 0.008 * np.exp(-(((section - 0.8) / 0.05) ** 2))
    micro = texture.moulded(i, frame, uniform(p, 0.5, 1.6)) + texture.wavy(i, frame, 1.2)
    surface.paint(frame.inside(np.abs(r - mid) - half), skin, height=height, micro=micro)
    texture.soil(i, surface, frame, 1.3)
    return surface


def _washer(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    frame = _pose(canvas, p, i, uniform(p, 0.92, 1.05))
    surface = background(canvas, p, i, depth_range=(-0.15, 0.3))
    surface.under = surface.copy()
    r, turn = np.hypot(frame.u, frame.v), np.arctan2(frame.v, frame.u)
    metal = pick(p, texture.METALS)
    outer, bore = uniform(p, 0.74, 0.84), uniform(p, 0.3, 0.42)
    inset = np.minimum(outer - r, r - bore)
    height = 0.12 - np.maximum(0.025 - inset, 0) * 0.9
    if pick(p, (True, False)):
        teeth = triangle(turn / _TAU * int(p.integers(28, 44)) + r * 1.5)
        height += 0.02 * teeth * smoothstep(0.04, 0.10, inset)
    micro = texture.finish(p, i, frame, metal)
    surface.paint(frame.inside(-inset), metal, height=height.astype(np.float32), micro=micro)
    texture.soil(i, surface, frame)
    texture.wear_edges(surface, i, 0.25)
    return surface


def nut(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    """Build a hex nut, a flange nut or a gear; the variant is drawn by `p`."""
    kind = pick(p, ("hex", "flange", "gear"))
    frame = _pose(canvas, p, i, uniform(p, 0.92, 1.06))
    surface = background(canvas, p, i)
    surface.under = surface.copy()
    metal = pick(p, texture.METALS)
    if kind == "gear" and pick(p, (True, False)):
        metal = Material(color=pick(p, ((0.62, 0.6, 0.55), (0.03, 0.03, 0.035), (0.5, 0.16, 0.04))), roughness=0.42)
    skin = texture.finish(p, i, frame, metal)
    r = np.hypot(frame.u, frame.v)
    if kind == "gear":
        bore = _gear(surface, frame, p, metal, skin)
    else:
        bore = _hexagon(surface, frame, p, metal, skin, flange=kind == "flange")
    _threaded_bore(surface, frame, r, bore, metal, threaded=kind != "gear")
    texture.soil(i, surface, frame)
    texture.wear_edges(surface, i, 0.3)
    return surface


def _hexagon(
    surface: Surface, frame: Frame, p: np.random.Generator, metal: Material, skin: Array, *, flange: bool
) -> float:
    r = np.hypot(frame.u, frame.v)
    flat = uniform(p, 0.56, 0.60) if flange else uniform(p, 0.64, 0.70)
    if flange:
        rim = 0.82
        plate = 0.10 + 0.25 * np.maximum(rim - r, 0) - np.maximum(0.03 - (rim - r), 0)
        surface.paint(frame.inside(r - rim), metal, height=plate.astype(np.float32), micro=skin)
    side = np.full_like(r, -1.0)
    for k in range(3):
        a = k * np.pi / 3
        np.maximum(side, np.abs(frame.u * np.float32(np.cos(a)) + frame.v * np.float32(np.sin(a))) - flat, out=side)
    top = 0.42 - 0.55 * np.maximum(r - flat * 0.96, 0) - 0.7 * np.maximum(0.02 + side, 0)
    surface.paint(frame.inside(side), metal, height=top.astype(np.float32), micro=skin)
    return uniform(p, 0.34, 0.42)


def _gear(surface: Surface, frame: Frame, p: np.random.Generator, metal: Material, skin: Array) -> float:
    r, turn = np.hypot(frame.u, frame.v), np.arctan2(frame.v, frame.u)
    count, root = int(p.integers(16, 34)), uniform(p, 0.66, 0.72)
    tooth = np.clip((triangle(turn / _TAU * count) - 0.28) * 2.6, 0, 1)
    outline = r - (root + 0.13 * tooth)
    height = 0.30 - np.maximum(0.02 + outline, 0) * 1.2
    hub, rim = uniform(p, 0.32, 0.38), root - uniform(p, 0.08, 0.14)
    web = smoothstep(hub, hub + 0.02, r) * smoothstep(rim, rim - 0.02, r)
    height = height - web * uniform(p, 0.08, 0.14)
    surface.paint(frame.inside(outline), metal, height=height.astype(np.float32), micro=skin)
    holes = pick(p, (0, 4, 5, 6))
    if holes:
        sector = np.mod(turn / _TAU * holes, 1.0) - 0.5
        middle = (hub + rim) / 2
        near = np.hypot(sector * (_TAU * middle / holes), r - middle)
        gap = frame.inside(near - (rim - hub) * 0.36) > 0.5
        if surface.under is not None:
            surface.replace(surface.under, gap)
    return hub * uniform(p, 0.45, 0.6)


def _threaded_bore(surface: Surface, frame: Frame, r: Array, bore: float, metal: Material, *, threaded: bool) -> None:
    if surface.under is None:
        return
    wide = bore * 1.12 if threaded else bore * 1.05
    cone = surface.height - np.maximum(wide - r, 0) * 1.1
    surface.paint(frame.inside(r - wide), metal, height=cone.astype(np.float32))
    if threaded:
        turn = np.arctan2(frame.v, frame.u) / _TAU
        depth = (bore - r) / (bore * 0.16)
        wall = 0.30 - 0.24 * np.clip(depth, 0, 1) + 0.018 * triangle(depth * 2.5 + turn)
        surface.paint(frame.inside(r - bore), metal, height=wall.astype(np.float32), micro=0.0)
        surface.tint(np.float32(0.55) + 0 * r, frame.inside(r - bore))
    through = frame.inside(r - bore * (0.84 if threaded else 1.0)) > 0.5
    surface.replace(surface.under, through)
