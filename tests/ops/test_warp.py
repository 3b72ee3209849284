"""Warps: the spline against SciPy, locality, no folding, what each number of a similarity means."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.interpolate import RBFInterpolator

from anomalyhybrid.ops import warp

SIZE = 64


def rand(*shape: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * (high - low) + low


def jacobian(grid_BHW2: torch.Tensor) -> torch.Tensor:
    """Determinant of the map's derivative by forward differences, 1 for the identity."""
    height, width = grid_BHW2.shape[1:3]
    along_x = (grid_BHW2[:, :-1, 1:] - grid_BHW2[:, :-1, :-1]) * width / 2
    along_y = (grid_BHW2[:, 1:, :-1] - grid_BHW2[:, :-1, :-1]) * height / 2
    return along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]


def impulse(x: int, y: int, size: int = SIZE) -> torch.Tensor:
    """One soft spot centred on the pixel corner (x, y)."""
    ys, xs = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    return torch.exp(-((xs - x) ** 2 + (ys - y) ** 2) / 8)[None, None]


def centroid(image: torch.Tensor) -> tuple[float, float]:
    """Centre of mass (x, y) in grid units."""
    grid = warp.identity_grid(1, *image.shape[-2:], image.device)[0]
    weight = image[0, 0, :, :, None]
    x, y = ((grid * weight).sum(dim=(0, 1)) / weight.sum()).tolist()
    return x, y


def similarity(
    scale: float = 1.0,
    angle: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
    flip: tuple[float, float] = (1.0, 1.0),
    pivot: tuple[float, float] | None = None,
) -> torch.Tensor:
    at = None if pivot is None else torch.tensor([pivot])
    return warp.similarity_matrix(
        torch.tensor([scale]), torch.tensor([angle]), torch.tensor([shift]), torch.tensor([flip]), at
    )


def show(image: torch.Tensor, matrix: torch.Tensor, padding: str = "zeros") -> torch.Tensor:
    return warp.sample(image, warp.affine_grid(matrix, *image.shape[-2:]), padding=padding)


@pytest.mark.parametrize("seed", range(4))
def test_spline_is_scipys(seed: int) -> None:
    points, shifts = rand(2, 12, 2, seed=seed, low=-1, high=1), rand(2, 12, 2, seed=seed + 50, low=-0.3, high=0.3)
    queries = rand(2, 200, 2, seed=seed + 90, low=-1.2, high=1.2)
    ours = warp.thin_plate_displacement(points, shifts, queries)
    for index in range(2):
        spline = RBFInterpolator(
            points[index].double().numpy(), shifts[index].double().numpy(), kernel="thin_plate_spline", degree=1
        )
        np.testing.assert_allclose(ours[index].numpy(), spline(queries[index].double().numpy()), atol=1e-4)


def test_spline_passes_through_its_points_and_keeps_affine_maps() -> None:
    points, shifts = rand(3, 9, 2, low=-1, high=1), rand(3, 9, 2, seed=1, low=-0.3, high=0.3)
    torch.testing.assert_close(warp.thin_plate_displacement(points, shifts, points), shifts, atol=1e-4, rtol=0)
    linear = torch.tensor([[0.1, -0.2], [0.3, 0.05]])
    queries = rand(3, 40, 2, seed=2, low=-2, high=2)
    bent = warp.thin_plate_displacement(points, points @ linear + 0.07, queries)
    torch.testing.assert_close(bent, queries @ linear + 0.07, atol=1e-4, rtol=0)


def test_zero_shifts_move_nothing() -> None:
    field = warp.local_tps_displacement(rand(4, 2) - 0.5, rand(4, low=0.2, high=0.5), torch.zeros(4, 9, 2), 40, 64)
    assert field.shape == (4, 40, 64, 2)
    assert not field.any()


def test_nothing_moves_outside_the_ring_and_something_inside() -> None:
    center, radius = rand(16, 2, low=-0.8, high=0.8), rand(16, seed=1, low=0.2, high=0.5)
    shifts = rand(16, 9, 2, seed=2, low=-0.15, high=0.15)
    field = warp.local_tps_displacement(center, radius, shifts, SIZE, SIZE)
    grid = warp.identity_grid(16, SIZE, SIZE, center.device)
    reach = (grid - center[:, None, None]).abs().amax(dim=3) / radius[:, None, None]
    assert float(field[reach >= 1.7].abs().max()) < 1e-6
    inner = field.norm(dim=3) * (reach < 1)
    assert bool((inner.amax(dim=(1, 2)) > 0.03 * radius).all())


def test_control_points_move_by_their_shift() -> None:
    """At the window's nine points the field is the shift: look where a control point lies on a grid point."""
    center = torch.full((1, 2), 1 / SIZE)  # a pixel's centre
    radius = torch.tensor([40 / SIZE / 0.6])  # the lattice of +-0.6 radius then falls on pixel centres too
    shifts = rand(1, 9, 2, low=-0.15, high=0.15)
    field = warp.local_tps_displacement(center, radius, shifts, SIZE, SIZE)[0]
    middle, step = SIZE // 2, 20
    rows = [field[middle + step * x, middle + step * y] for x in (-1, 0, 1) for y in (-1, 0, 1)]
    found = torch.stack(rows).reshape(3, 3, 2).transpose(0, 1).reshape(9, 2)
    wanted = shifts[0] * radius
    errors = [float((found[list(order)] - wanted).abs().max()) for order in (range(9), (0, 3, 6, 1, 4, 7, 2, 5, 8))]
    assert min(errors) < 1e-4


def test_no_folding_at_the_default_strength() -> None:
    center, radius = rand(200, 2, low=-0.8, high=0.8), rand(200, seed=1, low=0.2, high=0.5)
    shifts = rand(200, 9, 2, seed=2, low=-0.15, high=0.15)
    field = warp.local_tps_displacement(center, radius, shifts, SIZE, SIZE)
    smallest = jacobian(warp.identity_grid(200, SIZE, SIZE, center.device) + field).amin(dim=(1, 2))
    assert float(smallest.min()) > 0
    assert float(smallest.median()) < 0.95  # the draws do bend


def test_the_coarse_solution_is_close_to_the_full_one(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (rand(8, 2, low=-0.8, high=0.8), rand(8, seed=1, low=0.2, high=0.5))
    shifts = rand(8, 9, 2, seed=2, low=-0.15, high=0.15)
    coarse = warp.local_tps_displacement(*arguments, shifts, 256, 256)
    monkeypatch.setattr(warp, "COARSE_SIDE", 256)
    full = warp.local_tps_displacement(*arguments, shifts, 256, 256)
    error = float((coarse - full).abs().max()) * 128
    assert 0 < error < 0.6  # pixels of 256


def test_identity_grid_samples_every_pixel_itself() -> None:
    image = rand(2, 3, 17, 24)
    grid = warp.identity_grid(2, 17, 24, image.device)
    torch.testing.assert_close(warp.sample(image, grid), image, atol=1e-5, rtol=0)
    assert torch.equal(warp.sample(image, grid, nearest=True), image)
    torch.testing.assert_close(warp.affine_grid(similarity(), 17, 24), grid[:1])


def test_affine_grids_are_those_of_torch() -> None:
    matrices = rand(5, 2, 3, low=-2, high=2)
    expected = F.affine_grid(matrices, [5, 1, 17, 24], align_corners=False)
    torch.testing.assert_close(warp.affine_grid(matrices, 17, 24), expected)


def test_scale_two_shows_the_content_twice_as_large() -> None:
    square = torch.zeros(1, 1, SIZE, SIZE)
    square[..., 24:40, 28:36] = 1
    enlarged = show(square, similarity(scale=2.0)) > 0.5
    assert int(enlarged.sum()) == 4 * 16 * 8
    assert torch.equal(enlarged[0, 0].nonzero().amin(0), torch.tensor([16, 24]))


def test_shift_moves_the_content() -> None:
    x, y = centroid(show(impulse(24, 36), similarity(shift=(0.25, -0.5))))
    assert (x, y) == pytest.approx((24 / 32 - 1 + 0.25, 36 / 32 - 1 - 0.5), abs=1e-3)


@pytest.mark.parametrize("flip", [(-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)])
def test_flip_mirrors_the_axes_marked_minus_one(flip: tuple[float, float]) -> None:
    image = rand(1, 3, 16, 24)
    axes = [axis for axis, sign in zip((3, 2), flip, strict=True) if sign < 0]
    torch.testing.assert_close(show(image, similarity(flip=flip)), image.flip(axes), atol=1e-5, rtol=0)


def test_a_positive_angle_turns_the_content_from_x_towards_y() -> None:
    x, y = centroid(show(impulse(48, 32), similarity(angle=math.pi / 2)))
    assert (x, y) == pytest.approx((0.0, 0.5), abs=1e-3)
    x, y = centroid(show(impulse(48, 32), similarity(angle=math.pi / 6)))
    assert (x, y) == pytest.approx((0.5 * math.cos(math.pi / 6), 0.5 * math.sin(math.pi / 6)), abs=1e-3)


def test_the_content_is_flipped_before_it_is_turned_and_moved() -> None:
    x, y = centroid(show(impulse(48, 32), similarity(angle=math.pi / 2, flip=(-1.0, 1.0), shift=(0.25, 0.0))))
    assert (x, y) == pytest.approx((0.25, -0.5), abs=1e-3)


def test_the_pivot_stays_and_is_what_the_shift_moves() -> None:
    pivot = (0.25, -0.375)
    settings = {"scale": 1.5, "angle": 0.7, "flip": (-1.0, 1.0), "pivot": pivot}
    spot = impulse(40, 20)  # at the pivot
    assert centroid(show(spot, similarity(**settings))) == pytest.approx(pivot, abs=2e-3)
    moved = centroid(show(spot, similarity(**settings, shift=(-0.25, 0.25))))
    assert moved == pytest.approx((0.0, -0.125), abs=2e-3)


def test_image_and_mask_move_together() -> None:
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 20:44, 12:40] = 1
    grid = warp.affine_grid(similarity(scale=0.9, angle=0.5, shift=(0.1, -0.1)), SIZE, SIZE)
    grid = grid + warp.local_tps_displacement(
        torch.zeros(1, 2), torch.tensor([0.5]), rand(1, 9, 2, low=-0.15, high=0.15), SIZE, SIZE
    )
    together = warp.sample(torch.cat([mask * 2 - 1, mask], dim=1), grid)
    torch.testing.assert_close(together[:, :1], together[:, 1:] * 2 - 1, atol=1e-5, rtol=0)
    kept = warp.sample(mask, grid, nearest=True)
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(kept, mask)
    assert float((kept - together[:, 1:]).abs().max()) <= 0.76  # a nearest mask follows the bilinear one


def test_padding() -> None:
    image = torch.ones(1, 1, 8, 8)
    far = warp.identity_grid(1, 8, 8, image.device) + 5
    assert float(warp.sample(image, far).min()) == 1
    assert float(warp.sample(image, far, padding="zeros").max()) == 0
