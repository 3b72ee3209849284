"""Region masks: ramps that end at the border, growth, shapes against OpenCV and hand-made cases."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from anomalyhybrid.ops import regions
from anomalyhybrid.ops.warp import identity_grid

SIZE = 64


def rand(*shape: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * (high - low) + low


def box(top: int, bottom: int, left: int, right: int, size: int = SIZE) -> torch.Tensor:
    mask = torch.zeros(1, 1, size, size)
    mask[..., top:bottom, left:right] = 1
    return mask


def ragged_masks() -> torch.Tensor:
    """Random shapes, some cut by the border, some one pixel wide."""
    noise = regions.smooth_noise(torch.randn(8, 1, 10, 10, generator=torch.Generator().manual_seed(5)), SIZE, SIZE)
    return (noise > torch.linspace(-0.5, 2, 8).view(8, 1, 1, 1)).float()


@pytest.mark.parametrize("width", [0, 1, 3, 7])
def test_soft_alpha_is_zero_outside_and_above_zero_inside(width: int) -> None:
    masks = ragged_masks()
    alpha = regions.soft_alpha(masks, width)
    assert alpha.shape == masks.shape
    assert not alpha[masks == 0].any()
    assert float(alpha[masks == 1].min()) > 0
    assert float(alpha.max()) <= 1


def test_soft_alpha_rises_evenly_from_the_border() -> None:
    alpha = regions.soft_alpha(box(10, 40, 10, 40), 3)[0, 0]
    np.testing.assert_allclose(alpha[25, 8:16], [0, 0, 0.25, 0.5, 0.75, 1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(alpha[8:16, 25], alpha[25, 8:16], atol=1e-6)
    assert float(alpha[10, 10]) == 0.25
    inside = regions.soft_alpha(box(5, 60, 5, 60), 8)[0, 0, 32]
    assert bool((inside[:32].diff() >= 0).all())


def test_soft_alpha_has_no_ramp_where_the_image_ends() -> None:
    assert float(regions.soft_alpha(torch.ones(1, 1, 16, 16), 4).min()) == 1
    alpha = regions.soft_alpha(box(0, 20, 0, SIZE), 4)[0, 0]
    assert float(alpha[:16].min()) == 1
    np.testing.assert_allclose(alpha[15:21, 0], [1, 0.8, 0.6, 0.4, 0.2, 0], atol=1e-6)


def test_dilate_and_erode_are_squares_and_duals() -> None:
    grown = regions.dilate(box(30, 31, 20, 21), 2)
    assert torch.equal(grown, box(28, 33, 18, 23))
    assert torch.equal(regions.erode(grown, 2), box(30, 31, 20, 21))
    masks = ragged_masks()
    assert torch.equal(regions.dilate(masks, 0), masks)
    assert torch.equal(regions.erode(masks, 0), masks)
    assert bool((regions.erode(masks, 2) <= masks).all())
    opened = regions.dilate(regions.erode(masks, 2), 2)
    assert bool((opened <= masks).all())


@pytest.mark.parametrize("radius", [1, 2, 3, 4, 7, 12, 20])
def test_dilate_is_opencvs(radius: int) -> None:
    mask = (torch.rand(2, 1, 17, 31, generator=torch.Generator().manual_seed(0)) > 0.97).float()
    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    expected = [cv2.dilate(one.numpy(), square) for one in mask[:, 0]]
    assert np.array_equal(regions.dilate(mask, radius)[:, 0].numpy(), np.stack(expected))


def test_erode_counts_the_outside_of_the_image_as_inside() -> None:
    assert torch.equal(regions.erode(box(0, 20, 0, SIZE), 3), box(0, 17, 0, SIZE))


def test_masked_mean_is_the_mean_over_the_mask() -> None:
    image, mask = rand(3, 2, 16, 16), (rand(3, 1, 16, 16, seed=1) > 0.6).float()
    mask[2] = 0
    mean = regions.masked_mean(image, mask)
    assert mean.shape == (3, 2, 1, 1)
    for sample in range(2):
        for channel in range(2):
            wanted = image[sample, channel][mask[sample, 0] > 0].mean()
            assert float(mean[sample, channel]) == pytest.approx(float(wanted), abs=1e-5)
    assert not mean[2].any()


def test_blur_keeps_constants_channels_and_total() -> None:
    constant = torch.full((2, 3, 20, 30), 0.7)
    torch.testing.assert_close(regions.blur(constant, 4.0), constant, atol=1e-5, rtol=0)
    spot = torch.zeros(1, 2, 41, 41)
    spot[0, 0, 20, 20] = 1
    blurred = regions.blur(spot, 2.0)
    assert not blurred[0, 1].any()
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-5)
    offsets = torch.arange(41.0) - 20
    variance = float((blurred[0, 0].sum(0) * offsets.square()).sum())
    assert variance == pytest.approx(4, rel=0.05)  # the kernel is cut at 3 sigma
    assert regions.blur(spot, 0.0) is spot
    ours = regions.blur(rand(1, 1, 32, 32), 1.5)[0, 0].numpy()
    theirs = cv2.GaussianBlur(rand(1, 1, 32, 32)[0, 0].numpy(), (9, 9), 1.5, borderType=cv2.BORDER_REPLICATE)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_smooth_noise_has_about_unit_deviation_and_is_smooth() -> None:
    coarse = torch.randn(64, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    noise = regions.smooth_noise(coarse, SIZE, SIZE)
    assert 0.8 < float(noise.std()) < 1.2
    assert float(noise.diff(dim=3).abs().mean()) < 0.3  # white noise: 1.1


def test_a_smooth_blob_is_the_ellipse() -> None:
    center, radii, angle = torch.tensor([[0.2, -0.1]]), torch.tensor([[0.5, 0.25]]), torch.tensor([0.6])
    blob = regions.blob(center, radii, angle, torch.zeros(1, SIZE, SIZE), torch.zeros(1))
    grid = identity_grid(1, SIZE, SIZE, center.device)
    area = float(blob.sum()) * (2 / SIZE) ** 2
    assert area == pytest.approx(np.pi * 0.5 * 0.25, rel=0.02)
    np.testing.assert_allclose((grid * blob[:, 0, :, :, None]).sum((0, 1, 2)) / blob.sum(), [0.2, -0.1], atol=5e-3)
    tip = center + 0.47 * torch.tensor([[np.cos(0.6), np.sin(0.6)]])  # the long axis points along the angle
    column, row = ((tip[0] + 1) * SIZE / 2).long().tolist()
    assert float(blob[0, 0, row, column]) == 1


def test_shapes_are_not_empty_and_in_place() -> None:
    centers = rand(16, 2, low=-0.7, high=0.7)
    noise = regions.smooth_noise(torch.randn(16, 1, 12, 12, generator=torch.Generator().manual_seed(1)), SIZE, SIZE)[
        :, 0
    ]
    rough = rand(16, seed=3, low=0.1, high=0.4)
    blobs = regions.blob(centers, rand(16, 2, seed=2, low=0.15, high=0.3), rand(16, seed=4), noise, rough)
    path = centers[:, None] + torch.linspace(-0.2, 0.2, 5)[None, :, None]
    strokes = regions.stroke(path, torch.full((16,), 0.05), noise, rough)
    turn = torch.linspace(0, 2 * np.pi, 8)[:-1]
    ring = torch.stack([turn.cos(), turn.sin()], dim=1) * 0.2
    polygons = regions.polygon(centers[:, None] + ring, SIZE, SIZE)
    grid = identity_grid(16, SIZE, SIZE, centers.device)
    distance = (grid - centers[:, None, None]).abs().amax(dim=3)
    for masks in (blobs, strokes, polygons):
        assert masks.shape == (16, 1, SIZE, SIZE)
        assert set(masks.unique().tolist()) == {0.0, 1.0}
        assert bool((masks.sum(dim=(1, 2, 3)) >= 4).all())
        assert not masks[:, 0][distance > 1.0].any()
    assert not polygons[:, 0][distance > 0.21].any()


def test_a_stroke_is_as_wide_as_it_says() -> None:
    ends = torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]])
    stroke = regions.stroke(ends, torch.tensor([4 / SIZE]), torch.zeros(1, SIZE, SIZE), torch.zeros(1))[0, 0]
    assert int(stroke[:, SIZE // 2].sum()) == 4  # half width 4/64 in grid units is 2 pixels
    assert bool(stroke[30:34, 17:47].all())
    assert not stroke[:, :13].any()


@pytest.mark.parametrize("seed", range(6))
def test_convex_polygons_are_opencvs(seed: int) -> None:
    turns = (torch.arange(7) + rand(7, seed=seed) * 0.8) * (2 * np.pi / 7)
    vertices = torch.stack([turns.cos() * 0.7, turns.sin() * 0.5], dim=1) + 0.1
    ours = regions.polygon(vertices[None], SIZE, SIZE)[0, 0].numpy()
    pixels = ((vertices.numpy() + 1) * SIZE / 2 - 0.5) * 256
    theirs = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(theirs, [np.round(pixels).astype(np.int32)], 1, shift=8)
    kernel = np.ones((3, 3), np.uint8)  # OpenCV draws the outline on top, up to a pixel outside
    assert not (ours > cv2.dilate(theirs, kernel)).any()
    assert not (cv2.erode(theirs, kernel) > ours).any()
    assert (ours != theirs).sum() < 0.7 * (theirs - cv2.erode(theirs, kernel)).sum()  # the outline at most
    x, y = vertices[:, 0], vertices[:, 1]
    exact = 0.5 * float((x * y.roll(-1) - x.roll(-1) * y).sum())
    assert ours.sum() * (2 / SIZE) ** 2 == pytest.approx(exact, rel=0.02)


def test_polygons_fill_by_the_even_odd_rule() -> None:
    square = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    assert torch.equal(regions.polygon(square[None], SIZE, SIZE), box(16, 48, 16, 48))
    twice = torch.cat([square, square])[None]
    assert not regions.polygon(twice, SIZE, SIZE).any()


def test_spread_keeps_what_is_known_and_continues_a_slope_between() -> None:
    slope = torch.linspace(-1, 1, 32).expand(1, 2, 32, 32).clone()
    known = torch.zeros(1, 1, 32, 32)
    known[..., :8] = 1
    known[..., -8:] = 1
    filled = regions.spread(slope * known, known)
    assert torch.equal(filled[..., :8], slope[..., :8])
    assert (filled - slope).abs().max() < 0.25  # a constant would be 0.5 off
    assert float(regions.spread(slope, torch.zeros_like(known)).abs().max()) == 0.0


@pytest.mark.parametrize("sigma", [0.7, 2.0, 6.0, 30.0])
def test_a_blur_by_banded_matrices_is_the_blur(sigma: float) -> None:
    """What a GPU takes for wide filters."""
    image = torch.rand(2, 3, 40, 57, generator=torch.Generator().manual_seed(0))
    radius = max(1, round(3 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma).square())
    kernel = kernel / kernel.sum()
    found = regions._banded(kernel, 40) @ (image @ regions._banded(kernel, 57).T)
    torch.testing.assert_close(found, regions.blur(image, sigma), atol=2e-6, rtol=0)


@pytest.fixture
def by_opencv(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each plane that OpenCV blurs."""
    planes: list[int] = []
    blur = cv2.sepFilter2D
    monkeypatch.setattr(cv2, "sepFilter2D", lambda *given, **named: planes.append(1) or blur(*given, **named))
    return planes


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("sides", [(40, 57), (3, 9), (1, 1)])
def test_opencvs_blur_is_pytorchs(sides: tuple[int, int], sigma: float, by_opencv: list[int]) -> None:
    """Also of images smaller than the filter, and of views that do not lie in one piece."""
    images = torch.rand(2, 5, *sides, generator=torch.Generator().manual_seed(0))
    for image in (images, images[:, 1:4], images.transpose(2, 3), images[:1, :1].expand(2, 3, -1, -1)):
        before = image.clone()
        differentiated = regions.blur(image.clone().requires_grad_(), sigma)
        assert differentiated.requires_grad
        assert not by_opencv
        found = regions.blur(image, sigma)
        assert len(by_opencv) == image.shape[0] * image.shape[1]
        by_opencv.clear()
        torch.testing.assert_close(found, differentiated.detach(), atol=1e-6, rtol=0)
        assert torch.equal(image, before)


def test_what_opencv_cannot_blur_is_pytorchs(by_opencv: list[int]) -> None:
    image = rand(2, 3, 20, 30)
    expected = regions.blur(image, 1.5)
    by_opencv.clear()
    for dtype, off in ((torch.float64, 1e-6), (torch.bfloat16, 0.02)):
        found = regions.blur(image.to(dtype), 1.5)
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), expected, atol=off, rtol=0)
    compiled = torch.compile(lambda image: regions.blur(image, 1.5), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(image), expected, atol=1e-6, rtol=0)
    assert not by_opencv
