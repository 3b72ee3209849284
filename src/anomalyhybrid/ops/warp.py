"""Geometric warps: local thin-plate splines, affine maps, and one sampling of all channels.

Grids follow `torch.nn.functional.grid_sample` with ``align_corners=False``: float (B, H, W, 2), x then y,
-1..1 from the left/top to the right/bottom border of the image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from anomalyhybrid.ops.fused import fused, fused_at_one_shape

COARSE_SIDE = 64  # side of the grid on which spline fields are solved before they are upsampled


def identity_grid(batch: int, height: int, width: int, device: torch.device) -> Tensor:
    """Make the grid that samples every pixel at its own place, float (B, H, W, 2)."""
    ys = (torch.arange(height, device=device, dtype=torch.float32) * 2 + 1) / height - 1
    xs = (torch.arange(width, device=device, dtype=torch.float32) * 2 + 1) / width - 1
    grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], dim=-1)
    return grid.expand(batch, height, width, 2)


@fused
def _kernel(queries_BM2: Tensor, points_BN2: Tensor) -> Tensor:
    """Thin-plate kernel U(r) = r^2 log r^2 / 2 of all distances, 0 at r = 0, float (B, M, N).

    Distances by their coordinates: `torch.cdist` takes 25 times as long on a GPU (docs/log.md).
    """
    offset_x = queries_BM2[:, :, None, 0] - points_BN2[:, None, :, 0]
    offset_y = queries_BM2[:, :, None, 1] - points_BN2[:, None, :, 1]
    squared = offset_x.square() + offset_y.square()
    return 0.5 * squared * torch.log(squared.clamp_min(1e-12))


def thin_plate_displacement(points_BN2: Tensor, shifts_BN2: Tensor, queries_BM2: Tensor) -> Tensor:
    """Evaluate the interpolating thin-plate spline of minimum bending.

    Args:
        points_BN2: Control points, float32, at least 3 not on a line in each sample.
        shifts_BN2: Displacement that the spline takes at each control point.
        queries_BM2: Where to evaluate it.

    Returns:
        Displacements at the queries, float32 (B, M, 2).

    Source: Duchon 1977; the same spline as SciPy's ``RBFInterpolator(kernel="thin_plate_spline")``.
    """
    batch, count, _ = points_BN2.shape
    ones = points_BN2.new_ones(batch, count, 1)
    affine = torch.cat([ones, points_BN2], dim=2)
    kernel = _kernel(points_BN2, points_BN2)
    system = points_BN2.new_zeros(batch, count + 3, count + 3)
    system[:, :count, :count] = kernel
    system[:, :count, count:] = affine
    system[:, count:, :count] = affine.transpose(1, 2)
    values = torch.cat([shifts_BN2, shifts_BN2.new_zeros(batch, 3, 2)], dim=1)
    solved, _ = torch.linalg.solve_ex(system.double(), values.double())  # unlike solve, it does not wait for a GPU
    weights = solved.to(points_BN2.dtype)
    query_affine = torch.cat([queries_BM2.new_ones(batch, queries_BM2.shape[1], 1), queries_BM2], dim=2)
    return _kernel(queries_BM2, points_BN2) @ weights[:, :count] + query_affine @ weights[:, count:]


def _window_lattice(side: int, device: torch.device) -> Tensor:
    """Points of a side x side lattice over [-1, 1]^2, float (side * side, 2)."""
    line = torch.linspace(-1, 1, side, device=device)
    return torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1).reshape(-1, 2)


def local_tps_displacement(center_B2: Tensor, radius_B: Tensor, shifts_B92: Tensor, height: int, width: int) -> Tensor:
    """Displacement field of a local thin-plate spline: 3x3 control points move inside a window, the rest rests.

    A ring of fixed points around the window and the image's corners anchor the spline, and the field fades to
    zero at the ring, so that nothing outside ``1.7 * radius`` moves.

    Args:
        center_B2: Window centres (x, y) in grid units, -1..1.
        radius_B: Half side of each window in grid units, > 0.
        shifts_B92: Shifts of the nine control points as a fraction of the radius; keep within +-0.2 (at 0.3 the
            field folds).
        height: Rows of the field.
        width: Columns of the field.

    Returns:
        float32 (B, H, W, 2), to be added to a sampling grid.

    Source: Paper 3.3 "local TPS"; anchors by ADR-003.
    """
    return full_field(coarse_displacement(center_B2, radius_B, shifts_B92, height, width), height, width)


def coarse_displacement(center_B2: Tensor, radius_B: Tensor, shifts_B92: Tensor, height: int, width: int) -> Tensor:
    """`local_tps_displacement` before `full_field`, float32 (B, 2, h, w), sides up to `COARSE_SIDE`; they add up."""
    batch, device = center_B2.shape[0], center_B2.device
    inner = _window_lattice(3, device) * 0.6
    lattice = _window_lattice(5, device).view(5, 5, 2)
    ring = torch.cat([lattice[0], lattice[1:-1, ::4].reshape(-1, 2), lattice[-1]]) * 1.7
    local = torch.cat([inner, ring]).expand(batch, -1, 2)
    points = center_B2[:, None] + local * radius_B[:, None, None]
    corners = _window_lattice(2, device).expand(batch, 4, 2) * 1.5
    points = torch.cat([points, corners], dim=1)
    moved = shifts_B92 * radius_B[:, None, None]
    shifts = torch.cat([moved, moved.new_zeros(batch, points.shape[1] - 9, 2)], dim=1)
    rows, columns = min(COARSE_SIDE, height), min(COARSE_SIDE, width)
    queries = identity_grid(batch, rows, columns, device).reshape(batch, -1, 2)
    field = thin_plate_displacement(points, shifts, queries)
    reach = ((queries - center_B2[:, None]).abs().amax(dim=2) / radius_B[:, None]).clamp(1.0, 1.7)
    fade = 0.5 + 0.5 * torch.cos((reach - 1.0) / 0.7 * torch.pi)
    return (field * fade[..., None]).reshape(batch, rows, columns, 2).permute(0, 3, 1, 2)


@fused_at_one_shape
def full_field(coarse_B2hw: Tensor, height: int, width: int) -> Tensor:
    """Displacements of every pixel from those of a coarse lattice, float (B, H, W, 2)."""
    return F.interpolate(coarse_B2hw, (height, width), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)


def bent_grid(matrix_B23: Tensor, bend_B21: Tensor, height: int, width: int) -> Tensor:
    """Sampling grid of affine maps after a local thin-plate spline in the output's frame, float (B, H, W, 2).

    Args:
        matrix_B23: Maps from output to input coordinates.
        bend_B21: Centre (x, y) and half side of each spline's window, then the shifts of its nine control points as
            `local_tps_displacement` takes them; zero shifts give the affine map.
        height: Rows.
        width: Columns.
    """
    centre, radius, shifts = bend_B21[:, :2], bend_B21[:, 2], bend_B21[:, 3:].reshape(-1, 9, 2)
    field = local_tps_displacement(centre, radius, shifts, height, width)
    bent = identity_grid(len(matrix_B23), height, width, matrix_B23.device) + field
    rows = matrix_B23[:, None, None]  # by elements: a matrix product may depend on the batch size
    return rows[..., 0] * bent[..., :1] + rows[..., 1] * bent[..., 1:] + rows[..., 2]


def affine_grid(matrix_B23: Tensor, height: int, width: int) -> Tensor:
    """Sampling grid of affine maps from output to input coordinates, float (B, H, W, 2).

    By elements, one sum of what a row and what a column add: `F.affine_grid` is a product of matrices with three
    columns, which takes four times as long on a GPU (docs/log.md).
    """
    points = identity_grid(1, height, width, matrix_B23.device)
    across = points[:, :1, :, :1] * matrix_B23[:, None, None, :, 0]
    down = points[:, :, :1, 1:] * matrix_B23[:, None, None, :, 1] + matrix_B23[:, None, None, :, 2]
    return across + down


def similarity_matrix(
    scale_B: Tensor, angle_B: Tensor, shift_B2: Tensor, flip_B2: Tensor, pivot_B2: Tensor | None = None
) -> Tensor:
    """Affine maps (output to input) that flip, scale, rotate about a pivot, then move.

    Args:
        scale_B: Enlargement of the content, > 0 (2 shows it twice as large).
        angle_B: Rotation of the content in radians.
        shift_B2: Move of the content (x, y) in grid units.
        flip_B2: 1 or -1 for x and y.
        pivot_B2: Point of the input that flip, scale and rotation keep in place; the centre by default.

    Returns:
        float (B, 2, 3): p_in = linear (p_out - pivot - shift) + pivot.
    """
    cosine, sine = torch.cos(angle_B), torch.sin(angle_B)
    rotation = torch.stack([cosine, sine, -sine, cosine], dim=1).reshape(-1, 2, 2)
    linear = flip_B2[:, :, None] * rotation / scale_B[:, None, None]
    pivot = torch.zeros_like(shift_B2) if pivot_B2 is None else pivot_B2
    offset = pivot - (linear @ (pivot + shift_B2)[:, :, None])[:, :, 0]
    return torch.cat([linear, offset[:, :, None]], dim=2)


def sample(image: Tensor, grid: Tensor, *, nearest: bool = False, padding: str = "border") -> Tensor:
    """Sample all channels of an image at a grid.

    Args:
        image: float (B, C, H, W).
        grid: float (B, H', W', 2).
        nearest: True for masks that must stay binary.
        padding: ``border``, ``zeros`` or ``reflection``.

    Returns:
        float (B, C, H', W').
    """
    mode = "nearest" if nearest else "bilinear"
    return F.grid_sample(image, grid.to(image.dtype), mode=mode, padding_mode=padding, align_corners=False)
