"""Views of Fig. 4: which draws are shared, and that every target follows its own condition."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from anomalyhybrid.augment.config import AugmentConfig
from anomalyhybrid.augment.views import draw_grids, make_views
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.warp import identity_grid
from anomalyhybrid.seeding import stream

SIZE, BATCH = 64, 24


def grids(config: AugmentConfig, aligned: bool | torch.Tensor = False, seed: int = 0) -> list[torch.Tensor]:
    chosen = torch.full((BATCH,), aligned) if isinstance(aligned, bool) else aligned
    return draw_grids(Draws.from_stream(stream(seed, "grids"), BATCH), config, chosen, SIZE, SIZE)


def differ(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Largest difference of two grids for each sample, in pixels."""
    return (one - other).abs().amax(dim=(1, 2, 3)) * SIZE / 2


def flipped(grid: torch.Tensor) -> torch.Tensor:
    """Whether an axis of the grid runs backwards, bool (B,)."""
    along_x, along_y = grid[:, :, -1, 0] - grid[:, :, 0, 0], grid[:, -1, :, 1] - grid[:, 0, :, 1]
    return (along_x.mean(1) < 0) | (along_y.mean(1) < 0)


def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(BATCH, 4, 8, 8, generator=generator) * 2 - 1
    smooth = F.interpolate(coarse, (SIZE, SIZE), mode="bilinear")
    return smooth[:, :3], smooth[:, 3:]


def test_the_three_conditions_are_warped_independently() -> None:
    first, second, third = grids(AugmentConfig())
    for one, other in ((first, second), (first, third), (second, third)):
        assert float(differ(one, other).min()) > 0.3


def test_flip_and_resize_are_shared_unless_drawn_alone() -> None:
    rigid = AugmentConfig(tps_shift=0.0, affine_probability=1.0, independent=0.0)
    first, second, third = grids(rigid)
    assert torch.equal(first, second)
    assert torch.equal(second, third)
    assert 0.2 < float(flipped(first).float().mean()) < 0.8  # 1 - 0.75^2 = 0.44
    alone = grids(replace(rigid, independent=1.0))
    assert float(differ(alone[0], alone[1]).min()) > 0.1
    some = differ(*grids(replace(rigid, independent=0.5))[:2]) > 0.1
    assert 0 < int(some.sum()) < BATCH


def test_strength_zero_is_the_identity() -> None:
    still = AugmentConfig(tps_shift=0.0, affine_probability=0.0, flip_probability=0.0)
    for grid in grids(still):
        torch.testing.assert_close(grid, identity_grid(BATCH, SIZE, SIZE, grid.device), atol=1e-6, rtol=0)


def test_splines_move_only_part_of_the_image() -> None:
    local = AugmentConfig(affine_probability=0.0, flip_probability=0.0, tps_radius=(0.2, 0.3))
    moved = (grids(local)[0] - identity_grid(BATCH, SIZE, SIZE, torch.device("cpu"))).norm(dim=3) > 1e-4
    share = moved.float().mean(dim=(1, 2))
    assert float(share.min()) > 0.05
    assert float(share.max()) < 0.8


def folded(config: AugmentConfig, seeds: int) -> float:
    """Share of pixels at which a grid turns over."""
    shares = []
    for grid in (grid for seed in range(seeds) for grid in grids(config, seed=seed)):
        along_x = (grid[:, :-1, 1:] - grid[:, :-1, :-1]) * SIZE / 2
        along_y = (grid[:, 1:, :-1] - grid[:, :-1, :-1]) * SIZE / 2
        area = along_x[..., 0] * along_y[..., 1] - along_x[..., 1] * along_y[..., 0]
        shares.append((area <= 0).float().mean())
    return float(torch.stack(shares).mean())


def test_one_window_never_folds_and_two_hardly_ever() -> None:
    assert folded(AugmentConfig(flip_probability=0.0, tps_windows=1), seeds=12) == 0
    assert folded(AugmentConfig(flip_probability=0.0), seeds=12) < 1e-5  # where two windows pull at the same place


def test_aligned_samples_share_one_grid_and_are_never_flipped() -> None:
    aligned = torch.arange(BATCH) % 2 == 0
    first, second, third = grids(AugmentConfig(flip_probability=1.0), aligned)
    assert torch.equal(first[aligned], third[aligned])
    assert torch.equal(second[aligned], third[aligned])
    assert not flipped(third)[aligned].any()
    assert flipped(third)[~aligned].all()
    assert float(differ(first, third)[~aligned].min()) > 0.3
    still = identity_grid(BATCH, SIZE, SIZE, third.device)
    assert float(differ(third, still)[aligned].min()) > 0.3  # aligned, not unwarped


def test_share_reference_gives_the_reference_the_edge_draw() -> None:
    first, second, third = grids(AugmentConfig(share_reference=1.0))
    assert torch.equal(first, third)
    assert float(differ(second, third).min()) > 0.3
    half = (differ(*grids(AugmentConfig(share_reference=0.5))[::2]) == 0).float().mean()
    assert 0.2 < float(half) < 0.8


def test_a_sample_is_warped_alike_in_any_batch() -> None:
    def draw(numbers: list[int]) -> list[torch.Tensor]:
        rows = Draws.from_streams([stream(1, number) for number in numbers])
        return draw_grids(rows, AugmentConfig(), torch.zeros(len(numbers), dtype=torch.bool), SIZE, SIZE)

    for many, one in zip(draw([0, 1, 2]), draw([1]), strict=True):
        torch.testing.assert_close(many[1:2], one, atol=1e-5, rtol=0)


def test_targets_share_the_draw_of_their_condition() -> None:
    """Depth copies the red channel, edges the green one: they must still agree in the targets."""
    image, _ = images()
    views = make_views(
        grids(AugmentConfig()), image, image, depth=image[:, :1], edge=image[:, 1:2], region_mask=image[:, 2:] * 0 + 1
    )
    assert torch.equal(views.target_ahd[:, :1], views.conditions.depth)
    assert torch.equal(views.target_ahe[:, 1:2], views.conditions.edge)
    assert float((views.target_ahd - views.target_ahe).abs().mean()) > 0.02
    assert float((views.target_ahd - views.conditions.color).abs().mean()) > 0.02
    assert views.conditions.stacked().shape == (BATCH, 5, SIZE, SIZE)


def test_reference_and_image_may_show_different_things() -> None:
    image, other = images()
    reference = other.expand(-1, 3, -1, -1)
    still = [identity_grid(BATCH, SIZE, SIZE, image.device)] * 3
    views = make_views(still, reference, image, image[:, :1], image[:, 1:2], image[:, 2:])
    torch.testing.assert_close(views.conditions.color, reference, atol=1e-5, rtol=0)
    for target in (views.target_ahd, views.target_ahe):
        torch.testing.assert_close(target, image, atol=1e-5, rtol=0)
    torch.testing.assert_close(views.region_mask, image[:, 2:], atol=1e-5, rtol=0)


def test_the_region_follows_the_edge_draw() -> None:
    image, _ = images()
    region = torch.zeros(BATCH, 1, SIZE, SIZE)
    region[:, :, 20:40, 24:44] = 1
    views = make_views(grids(AugmentConfig()), image, region.expand(-1, 3, -1, -1), region, region, region)
    assert torch.equal(views.region_mask, views.conditions.edge)
    assert torch.equal(views.target_ahe[:, :1], views.region_mask)
    assert not torch.equal(views.target_ahd[:, :1], views.region_mask)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"independent": 1.5}, r"augment\.independent is 1\.5"),
        ({"flip_probability": -0.1}, r"augment\.flip_probability"),
        ({"edit": 0.7, "blend": 0.5}, "at most 1"),
        ({"tps_shift": 0.4}, r"augment\.tps_shift is 0\.4"),
        ({"tps_shift": -0.1}, r"augment\.tps_shift"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        AugmentConfig(**settings)
