"""Small loose parts: `rod` (bolts and screws), `capsule` (pills), `cookie` (baked goods)."""

from __future__ import annotations

import cv2
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


def rod(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    """Build a bolt or screw lying on its side."""
    free = pick(p, (True, False))
    turn = uniform(i, -np.pi, np.pi) if free else uniform(p, -0.8, 0.8) + uniform(i, -0.04, 0.04)
    shift = (uniform(i, -0.05, 0.05), uniform(i, -0.05, 0.05))
    frame = canvas.frame(angle=turn, shift=shift, scale=uniform(p, 0.95, 1.12) * uniform(i, 0.99, 1.01))
    surface = background(canvas, p, i, depth_range=(-0.1, 0.62))
    surface.under = surface.copy()
    metal = pick(p, (*texture.METALS, texture.COPPER))
    wood_screw = pick(p, (True, False))
    radius = uniform(p, 0.13, 0.17) if wood_screw else uniform(p, 0.15, 0.21)
    rest = uniform(p, 0.22, 0.27)
    head_end = -0.80 + uniform(p, 0.13, 0.2)
    _shaft(surface, frame, p, i, metal, radius=radius, rest=rest, start=head_end, taper=wood_screw)
    kind = "cone" if wood_screw else pick(p, ("hex", "knurl", "button"))
    _head(surface, frame, i, metal, kind=kind, radius=radius, rest=rest, end=head_end)
    texture.soil(i, surface, frame)
    texture.wear_edges(surface, i, 0.3)
    return surface


def _shaft(
    surface: Surface,
    frame: Frame,
    p: np.random.Generator,
    i: np.random.Generator,
    metal: Material,
    *,
    radius: float,
    rest: float,
    start: float,
    taper: bool,
) -> None:
    u, v = frame.u, frame.v
    pitch = uniform(p, 0.075, 0.10) if taper else uniform(p, 0.045, 0.07)
    depth = pitch * (0.62 if taper else 0.5)
    plain_end = start + uniform(p, 0.0, 0.6)
    stop = 0.82
    core = np.full_like(u, radius)
    if taper:
        core = radius * np.clip((stop - u) / uniform(p, 0.22, 0.4), 0.0, 1.0) ** 0.75
    else:
        core -= np.maximum(u - stop + 0.05, 0.0) * 0.9
    angle = np.arcsin(np.clip(v / np.maximum(core, 0.01), -1.0, 1.0))
    wave = triangle(u / np.float32(pitch) + angle / np.float32(_TAU) + uniform(i, 0, 1))
    wave = np.clip(wave * 2.6, 0.0, 1.0) if taper else np.clip(wave * 1.25 - 0.1, 0.0, 1.0)
    threaded = smoothstep(plain_end, plain_end + 0.04, u)
    cut = depth * threaded * wave
    profile = core - cut if not taper else core * (1 - 0.32 * threaded * wave)
    cover = np.maximum(np.abs(v) - profile, np.maximum(start - u, u - stop))
    height = rest + bounded_root(profile**2 - v**2)
    micro = texture.brushed(i, frame, 0.5) + texture.moulded(i, frame, 0.8)
    surface.paint(frame.inside(cover), metal, height=height.astype(np.float32), micro=micro)
    groove = wave * threaded
    surface.tint(1.0 - 0.45 * groove.astype(np.float32), frame.inside(cover))


def _head(
    surface: Surface,
    frame: Frame,
    i: np.random.Generator,
    metal: Material,
    *,
    kind: str,
    radius: float,
    rest: float,
    end: float,
) -> None:
    u, v = frame.u, frame.v
    wide = min(radius * 1.85, rest * 1.45)
    roll = uniform(i, -0.25, 0.25)
    if kind == "cone":
        reach = wide - np.clip((u + 0.78) / (end + 0.02 + 0.78), 0, 1) * (wide - radius)
        profile, left = reach, -0.80
        height = rest + bounded_root(profile**2 - v**2)
    elif kind == "hex":
        profile, left = np.full_like(u, wide), -0.80
        span = np.clip(v / wide, -1, 1)
        slopes = np.minimum(1.95 - 1.75 * span - roll, 1.95 + 1.75 * span)
        height = rest + wide * 0.866 * np.minimum(1.0, slopes)
        height -= np.maximum(0.03 - (u - left), 0) * 0.9
    else:
        profile = wide - np.maximum(0.025 - (u + 0.80), 0) * 0.8 - np.maximum(0.02 - (end - u), 0) * 0.8
        left = -0.80
        if kind == "button":
            profile = wide * bounded_root(1 - np.clip((end - u) / (end + 0.82), 0, 1) ** 2.4)
        height = rest + bounded_root(profile**2 - v**2)
        if kind == "knurl":
            angle = np.arcsin(np.clip(v / wide, -1, 1))
            height = height - 0.012 * triangle(angle * 9.0) * smoothstep(0.0, 0.03, profile - np.abs(v))
    cover = np.maximum(np.abs(v) - profile, np.maximum(left - u, u - end))
    micro = texture.brushed(i, frame, 0.6)
    surface.paint(frame.inside(cover), metal, height=height.astype(np.float32), micro=micro)


def capsule(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    """Build a two-part capsule, a printed tablet or a soft gel."""
    free = pick(p, (True, False, False))
    turn = uniform(i, -np.pi, np.pi) if free else uniform(p, -0.4, 0.4) + uniform(i, -0.08, 0.08)
    shift = (uniform(i, -0.06, 0.06), uniform(i, -0.06, 0.06))
    frame = canvas.frame(angle=turn, shift=shift, scale=uniform(p, 0.95, 1.1))
    surface = background(canvas, p, i, depth_range=(-0.12, 0.75))
    surface.under = surface.copy()
    build = pick(p, (_two_part, _tablet, _two_part, _tablet))
    build(surface, frame, p, i)
    return surface


_DYES = (
    (0.55, 0.05, 0.03),
    (0.75, 0.72, 0.66),
    (0.06, 0.20, 0.42),
    (0.75, 0.42, 0.05),
    (0.10, 0.30, 0.12),
    (0.62, 0.50, 0.30),
    (0.10, 0.09, 0.09),
    (0.72, 0.35, 0.38),
)


def _two_part(surface: Surface, frame: Frame, p: np.random.Generator, i: np.random.Generator) -> None:
    u, v = frame.u, frame.v
    long, radius = uniform(p, 0.72, 0.8), uniform(p, 0.25, 0.31)
    seam = uniform(p, -0.1, 0.1)
    first, second = (_DYES[k] for k in p.permutation(len(_DYES))[:2])
    gloss = uniform(p, 0.05, 0.14)
    past = np.maximum(np.abs(u) - (long - radius), 0.0)
    gap = np.hypot(past, v)
    micro = texture.wavy(i, frame, 1.0) + texture.moulded(i, frame, 0.05)
    for color, cap in ((first, radius), (second, radius * 1.045)):
        body = Material(color=color, roughness=gloss)
        cover = gap - cap if cap == radius else np.maximum(gap - cap, u - seam)
        height = radius * 0.95 + bounded_root(cap**2 - gap**2)
        if cap != radius:
            height -= np.maximum(0.012 - (seam - u), 0) * 0.8
            ridge = seam - 0.09
            height -= 0.010 * np.exp(-(((u - ridge) / 0.014) ** 2))
        surface.paint(frame.inside(cover), body, height=height.astype(np.float32), micro=micro)
    depth_in = smoothstep(0.0, radius * 0.5, radius - gap)
    surface.tint((0.72 + 0.28 * depth_in).astype(np.float32), frame.inside(gap - radius))
    surface.emission += (0.22 * (1 - depth_in) * frame.inside(gap - radius)).astype(np.float32)
    word = pick(p, ("500", "LX 7", "RX 20", "A 15", "TL 8"))
    bright = sum(first) > 0.7
    ink = Material(color=(0.03, 0.03, 0.04) if bright else (0.75, 0.75, 0.72), roughness=0.5)
    middle = ((long + seam) / 2 - 0.02, uniform(i, -0.08, 0.08))
    worn = frame.text(word, at=middle, height=radius * 0.55) * (0.85 + 0.15 * noise.smooth(i, frame.n, 90))
    surface.paint(np.clip(worn, 0, 1), ink, solid=False, border=False)


def _tablet(surface: Surface, frame: Frame, p: np.random.Generator, i: np.random.Generator) -> None:
    u, v = frame.u, frame.v
    stretch = pick(p, (1.0, 1.0, 1.6))
    radius = uniform(p, 0.60, 0.68) if stretch == 1.0 else 0.44
    r = np.hypot(u / stretch, v)
    tones = (
        (0.78, 0.76, 0.70),
        (0.74, 0.72, 0.68),
        (0.72, 0.45, 0.38),
        (0.70, 0.62, 0.36),
        (0.42, 0.55, 0.62),
    )
    chalk = Material(color=pick(p, tones), roughness=uniform(p, 0.45, 0.7))
    inset = radius - r
    height = 0.26 + 0.10 * (1 - (r / radius) ** 2) - 1.2 * np.maximum(0.06 - inset, 0)
    height += 0.01 * np.exp(-(((inset - 0.065) / 0.012) ** 2))
    if pick(p, (True, False)):
        height -= 0.05 * np.exp(-((u / 0.025) ** 2)) * smoothstep(0.05, 0.10, inset)
        places = ((-radius * stretch * 0.45, 0.0), (radius * stretch * 0.45, 0.0))
    else:
        places = ((0.0, 0.0),)
    letters = frame.text(pick(p, ("E", "M", "20", "G4", "X")), at=places[0], height=radius * 0.42)
    if len(places) > 1:
        letters = np.maximum(letters, frame.text(pick(p, ("5", "10", "L", "T")), at=places[1], height=radius * 0.42))
    pressed = cv2.GaussianBlur(letters, (0, 0), 0.008 / frame.pixel + 0.3)
    height -= 0.035 * pressed
    micro = noise.fractal(i, frame.n, 60, 3, 0.7) * np.float32(0.0009) + texture.wavy(i, frame, 0.4)
    surface.paint(frame.inside(-inset), chalk, height=height.astype(np.float32), micro=micro)
    specks = smoothstep(1.9, 2.4, noise.smooth(i, frame.n, 110)) * uniform(p, 0.0, 0.5)
    surface.tint(1.0 - specks, frame.inside(-inset))
    surface.tint(1.0 + 0.02 * noise.fractal(i, frame.n, 8, 4), frame.inside(-inset))


def cookie(canvas: Canvas, p: np.random.Generator, i: np.random.Generator) -> Surface:
    """Build a baked biscuit: irregular outline, browned relief, loose chips on top."""
    frame = canvas.frame(angle=uniform(i, -np.pi, np.pi), shift=(uniform(i, -0.05, 0.05), uniform(i, -0.05, 0.05)))
    surface = background(canvas, p, i, depth_range=(-0.12, 0.5))
    surface.under = surface.copy()
    n = frame.n
    turn = np.arctan2(frame.v, frame.u)
    r = np.hypot(frame.u, frame.v)
    edge = uniform(p, 0.66, 0.76) + 0.0 * turn
    for k in range(2, 9):
        edge += 0.035 / k * np.cos(turn * k + uniform(i, 0, _TAU))
    edge += noise.fractal(i, n, 18, 3) * 0.006
    lumps = noise.fractal(i, n, uniform(p, 9, 14), 5, 0.6)
    dome = 0.10 + 0.13 * bounded_root(1 - np.clip(r / edge, 0, 1) ** 3)
    spacing, _ = noise.cells(i, n, int(p.integers(40, 90)))
    crust = smoothstep(0.5, 0.85, noise.warped(spacing, i, 14, 0.012))
    height = (dome + 0.016 * lumps - 0.028 * crust * smoothstep(0.0, 0.8, lumps + 0.6)).astype(np.float32)
    dough = Material(color=pick(p, ((0.52, 0.30, 0.11), (0.60, 0.38, 0.17), (0.20, 0.09, 0.04))), roughness=0.8)
    micro = noise.fractal(i, n, 70, 3, 0.7) * np.float32(0.0022)
    cover = frame.inside(r - edge)
    surface.paint(cover, dough, height=height, micro=micro)
    browned = 1.0 - 0.45 * smoothstep(0.2, 0.0, edge - r) + 0.10 * lumps - 0.25 * crust
    surface.tint(browned.astype(np.float32), cover)
    surface.albedo *= 1.0 - (cover * (1 - browned) * 0.35)[..., None] * np.array((0.0, 0.3, 0.8), np.float32)
    np.clip(surface.albedo, 0.004, 1.0, out=surface.albedo)
    _toppings(surface, frame, p, i, edge=uniform(p, 0.5, 0.58), micro=micro)
    return surface


def _toppings(
    surface: Surface,
    frame: Frame,
    p: np.random.Generator,
    i: np.random.Generator,
    *,
    edge: float,
    micro: Array,
) -> None:
    """Scatter chocolate chips or nuts; each can go missing."""
    n, bare = frame.n, surface.copy()
    bare.under = None
    chip = pick(
        p,
        (
            Material(color=(0.045, 0.018, 0.010), roughness=0.32),
            Material(color=(0.62, 0.50, 0.32), roughness=0.5),
        ),
    )
    component = np.zeros((n, n), np.int16)
    spread = noise.fractal(i, n, 16, 3) * np.float32(0.012)
    above = np.full_like(spread, -1.0)
    for k in range(int(p.integers(6, 11))):
        turn, far = uniform(i, 0, _TAU), edge * uniform(i, 0.05, 1.0) ** 0.5
        size, squash = np.float32(uniform(i, 0.055, 0.10)), np.float32(uniform(i, 0.8, 1.3))
        du, dv = frame.u - np.float32(far * np.cos(turn)), (frame.v - np.float32(far * np.sin(turn))) * squash
        near = np.sqrt(du * du + dv * dv) + spread
        component[near < size] = k + 1
        np.maximum(above, size * size - near * near, out=above)
    cover = (above > 0).astype(np.float32)
    lift = surface.height + np.float32(0.55) * bounded_root(above)
    surface.paint(cover, chip, height=lift, micro=micro * np.float32(0.3))
    bare.height -= np.float32(0.03) * (component > 0)
    bare.tint(np.where(component > 0, np.float32(0.75), np.float32(1.0)))
    bare.under = surface.under
    surface.component = component
    surface.loose = bare
