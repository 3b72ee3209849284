"""Thin-plate-spline warps on a CPU: this package's, exact and fast, beside kornia's, with the error against SciPy.

    python benchmarks/tps_field.py [--threads 2] [--rounds 7] [--out docs/results/tps_field.json]

A batch of 32 images of 6 channels and 256 pixels, 29 control points as a local spline has them (3x3 that move, a ring
of 16 and the corners that rest). `exact` evaluates the spline at every pixel; `fast` on a 64x64 lattice that is
upsampled, as training and generation do. The ways take turns in each round; ratios are medians over rounds. The floor
is the bytes that a warp has to move (images in and out, the field once) at the rate of a copy in the same run. kornia
and SciPy are no dependencies of the package: pip install kornia scipy.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import kornia  # pyright: ignore[reportMissingImports]
import numpy as np
import scipy
import torch
import torch.nn.functional as F
from results import write_result
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from anomalyhybrid.ops.warp import COARSE_SIDE, identity_grid, local_tps_displacement, sample, thin_plate_displacement

BATCH, CHANNELS, SIZE = 32, 6, 256
COMPARED = 4  # samples that SciPy evaluates
TARGETS = {"times_kornia": 10.0, "exact_error": 1e-4, "fast_error_px": 0.6}


def splines(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Centres, radii and shifts of local splines, their control points and displacements, as `ops.warp` has them."""
    centre = torch.rand(BATCH, 2, generator=generator) * 1.2 - 0.6
    radius = torch.rand(BATCH, generator=generator) * 0.3 + 0.2
    shifts = (torch.rand(BATCH, 9, 2, generator=generator) * 2 - 1) * 0.2
    lattice = {side: _lattice(side) for side in (2, 3, 5)}
    ring = lattice[5][lattice[5].abs().amax(dim=1) > 0.99]
    local = torch.cat([lattice[3] * 0.6, ring * 1.7])
    points = centre[:, None] + local * radius[:, None, None]
    points = torch.cat([points, (lattice[2] * 1.5).expand(BATCH, 4, 2)], dim=1)
    moved = shifts * radius[:, None, None]
    resting = torch.zeros(BATCH, points.shape[1] - 9, 2)
    return centre, radius, shifts, points, torch.cat([moved, resting], dim=1)


def _lattice(side: int) -> Tensor:
    line = torch.linspace(-1, 1, side)
    return torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1).reshape(-1, 2)


def exact_field(points: Tensor, moved: Tensor) -> Tensor:
    """The spline at every pixel, float (B, H, W, 2)."""
    queries = identity_grid(len(points), SIZE, SIZE, points.device).reshape(len(points), -1, 2)
    return thin_plate_displacement(points, moved, queries).reshape(-1, SIZE, SIZE, 2)


def fast_field(points: Tensor, moved: Tensor) -> Tensor:
    """The spline on a coarse lattice, upsampled, float (B, H, W, 2); `local_tps_displacement` without its fading."""
    queries = identity_grid(len(points), COARSE_SIDE, COARSE_SIDE, points.device).reshape(len(points), -1, 2)
    coarse = thin_plate_displacement(points, moved, queries).reshape(-1, COARSE_SIDE, COARSE_SIDE, 2)
    full = F.interpolate(coarse.permute(0, 3, 1, 2), (SIZE, SIZE), mode="bilinear", align_corners=False)
    return full.permute(0, 2, 3, 1)


def kornia_warp(image: Tensor, points: Tensor, moved: Tensor) -> Tensor:
    """kornia's warp with the same control points."""
    transform = kornia.geometry.transform
    kernel, affine = transform.get_tps_transform(points, points + moved)
    return transform.warp_image_tps(image, points + moved, kernel, affine, align_corners=False)


def scipy_fields(points: Tensor, moved: Tensor) -> np.ndarray:
    """SciPy's spline of the first samples in double precision, (COMPARED, H, W, 2)."""
    queries = identity_grid(1, SIZE, SIZE, points.device).reshape(-1, 2).double().numpy()
    return np.stack(
        [
            RBFInterpolator(p.double().numpy(), m.double().numpy(), kernel="thin_plate_spline")(queries)
            for p, m in zip(points[:COMPARED], moved[:COMPARED], strict=True)
        ]
    ).reshape(COMPARED, SIZE, SIZE, 2)


def seconds(way: Callable[[], Tensor]) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def copy_rate() -> float:
    """Bytes a second of a large copy, reading and writing counted."""
    source = torch.rand(1 << 24)
    target = torch.empty_like(source)
    started = time.perf_counter()
    target.copy_(source)
    return 2 * 4 * source.numel() / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    load = os.getloadavg()[0]
    generator = torch.Generator().manual_seed(0)
    centre, radius, shifts, points, moved = splines(generator)
    image = torch.rand(BATCH, CHANNELS, SIZE, SIZE, generator=generator)
    grid = identity_grid(BATCH, SIZE, SIZE, image.device)
    ways: dict[str, Callable[[], Tensor]] = {
        "kornia": lambda: kornia_warp(image, points, moved),
        "exact": lambda: sample(image, grid + exact_field(points, moved)),
        "fast": lambda: sample(image, grid + local_tps_displacement(centre, radius, shifts, SIZE, SIZE)),
        "field_exact": lambda: exact_field(points, moved),
        "field_fast": lambda: local_tps_displacement(centre, radius, shifts, SIZE, SIZE),
        "sampling": lambda: sample(image, grid),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    rate = 0.0
    with torch.inference_mode():
        for name in ways:
            ways[name]()
        for _ in range(given.rounds):
            rate = max(rate, copy_rate())
            for name, way in ways.items():
                taken[name].append(seconds(way))
        exact, fast = exact_field(points, moved)[:COMPARED].numpy(), fast_field(points, moved)[:COMPARED].numpy()
    truth = scipy_fields(points, moved)
    moved_bytes = 4 * BATCH * SIZE * SIZE * (2 * CHANNELS + 2)
    result = {
        "benchmark": "tps_field",
        "batch": BATCH,
        "channels": CHANNELS,
        "size": SIZE,
        "control_points": points.shape[1],
        "threads": given.threads,
        "load_before": round(load, 2),
        "rounds": given.rounds,
        "versions": {"torch": torch.__version__, "kornia": kornia.__version__, "scipy": scipy.__version__},
        "targets": TARGETS,
        "img_per_s": {name: round(BATCH / statistics.median(values), 1) for name, values in taken.items()},
        "times_kornia": {
            name: round(statistics.median(k / v for k, v in zip(taken["kornia"], taken[name], strict=True)), 2)
            for name in ("exact", "fast")
        },
        "exact_error": float(np.abs(exact - truth).max()),
        "fast_error_px": float(np.abs(fast - truth).max() * SIZE / 2),
        "copy_gb_per_s": round(rate / 1e9, 2),
        "floor_img_per_s": round(BATCH / (moved_bytes / rate), 1),
    }
    result["fast_share_of_floor"] = round(result["img_per_s"]["fast"] / result["floor_img_per_s"], 3)
    print(json.dumps(result, indent=2))
    if given.out:
        write_result(given.out, result)


if __name__ == "__main__":
    main()
