"""AnomalyHybrid* learns depth and edges of a colour image; its runs resume to the same result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_runs import CHEAP, SIZE, TINY, image_set, tensors, tiny_generator, train_config

from anomalyhybrid.augment.config import AugmentConfig
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.ranges import signed_from_u8
from anomalyhybrid.ops.trees import mapped
from anomalyhybrid.recipes.depth_sets import with_depth
from anomalyhybrid.seeding import stream
from anomalyhybrid.training.loop import RunFiles
from anomalyhybrid.training.sister import SisterTrainer, masked_l1, shared_counts, slope_l1
from anomalyhybrid.training.sister_pool import DepthPool, DepthSet
from anomalyhybrid.training.sister_views import draw_sister_views

SISTER = replace(TINY, gives="maps")
STILL = AugmentConfig(
    tps_shift=0.0, affine_probability=0.0, flip_probability=0.0, edit=0.0, blend=0.0, independent=0.0, translate=0.0
)


def depth_set(categories: list[int], *, defective: bool = False, seed: int = 0, holes: bool = False) -> DepthSet:
    images = image_set(categories, defective=defective, seed=seed)
    depth = signed_from_u8(images.depth_u8[:, 0])
    valid = torch.ones_like(depth, dtype=torch.bool)
    if holes:
        valid[:, :8] = False
    return with_depth(images, depth, valid)


def pool(**settings) -> DepthPool:
    pairs = (depth_set([0, 0], seed=3), depth_set([0, 0], defective=True, seed=4))
    return DepthPool(depth_set([0, 0, 1], **settings), depth_set([1, 1], defective=True, seed=1), 2, pairs)


def draws(count: int = 8, seed: int = 0) -> Draws:
    return Draws.from_stream(stream(seed, "test"), count, 2048)


def trainer(folder: Path, *, seed: int = 0, images: DepthPool | None = None, loss=CHEAP, **settings) -> SisterTrainer:
    folder.mkdir(parents=True, exist_ok=True)
    files = RunFiles(folder=folder, fingerprint="sister", metadata={"categories": "a,b"})
    return SisterTrainer(train_config(**settings), loss, images or pool(), tiny_generator(SISTER, seed), None, files)


def test_without_warps_the_targets_are_the_maps_themselves() -> None:
    views = draw_sister_views(draws(), pool(), STILL)
    torch.testing.assert_close(views.target_depth, views.conditions.depth, atol=1e-5, rtol=0)
    torch.testing.assert_close(views.target_edge, views.conditions.edge, atol=1e-5, rtol=0)
    assert not views.region_mask.any()


def test_targets_share_the_colours_draw_alone() -> None:
    """Colour whose red is the depth: the target follows it, the reference maps lie elsewhere."""
    images = image_set([0, 0, 0])
    color = images.depth_u8.expand(-1, 3, -1, -1).contiguous()
    depth = signed_from_u8(images.depth_u8[:, 0])
    linked = with_depth(replace(images, color_u8=color), depth, torch.ones_like(depth, dtype=torch.bool))
    config = AugmentConfig(edit=0.0, blend=0.0, independent=1.0, affine_probability=1.0)
    views = draw_sister_views(draws(), DepthPool(linked, None, 1), config)
    red = views.conditions.color[:, :1]
    assert float((red - views.target_depth).abs().max()) < 2e-3
    assert float((red - views.conditions.depth).abs().mean()) > 0.05
    torch.testing.assert_close(mapped(lambda values: values[2:5], views).target_depth, views.target_depth[2:5])


def test_edited_samples_show_the_defect_in_colour_and_depth_at_one_place() -> None:
    good = replace(STILL, edit=1.0, pair_share=0.0, base_share=0.0)
    views = draw_sister_views(draws(16), pool(), good)
    change = (views.target_depth - views.conditions.depth).abs()
    assert (views.region_mask.sum(dim=(1, 2, 3)) > 0).all()
    assert float(change[views.region_mask == 0].max()) < 1e-4  # the reference keeps the good image's depth
    assert (change.amax(dim=(1, 2, 3)) > 0.01).sum() >= 12
    hinted = draw_sister_views(draws(16), pool(), replace(good, edit=0.0, blend=1.0))
    assert float((hinted.conditions.depth - views.conditions.depth).abs().max()) > 0.05


def test_unmeasured_depth_is_known_and_teaches_nothing(tmp_path: Path) -> None:
    holed = DepthPool(depth_set([0, 0], holes=True), None, 1)
    views = draw_sister_views(draws(), holed, STILL)
    assert not views.valid[:, :, :7].any()
    assert views.valid[:, :, 9:].all()
    wild = replace(views, target_depth=torch.where(views.valid > 0, views.target_depth, 1.0))
    assert not torch.equal(wild.target_depth, views.target_depth)
    losses = []
    for name, batch in (("a", views), ("b", wild)):
        run = trainer(tmp_path / name, images=holed, steps=1)
        found = run._step(mapped(lambda values: values[:2], batch), draws(2))
        losses.append({key: float(value) for key, value in found.items()})
    assert losses[0] == losses[1]


def test_four_steps_are_two_and_two(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert trainer(whole, steps=4, view_block=4).run() == 4
    assert trainer(parts, steps=2, view_block=4).run() == 2
    torch.manual_seed(99)
    assert trainer(parts, seed=5, steps=4, view_block=4).run(resume=True) == 4
    for name in ("checkpoint.safetensors", "generator.safetensors"):
        first, second = tensors(whole, name), tensors(parts, name)
        assert first.keys() == second.keys()
        assert [key for key in first if not torch.equal(first[key], second[key])] == []


def test_files_and_journal_of_a_run(tmp_path: Path) -> None:
    rows = []
    trainer(tmp_path / "run", steps=2, sample_every=2).run(report=rows.append)
    found = {path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert found == {
        "checkpoint.safetensors",
        "generator.safetensors",
        "journal.jsonl",
        "samples/step_000002.png",
    }
    assert {"relief_correlation", "sign_agreement", "loss_slope", "fusion_mask_ahd"} <= rows[-1].keys()


def test_it_learns_the_depth_of_two_images_from_colour(tmp_path: Path) -> None:
    """References come from other draws: after some steps the answer is nearer the target than the reference is."""
    images = DepthPool(depth_set([0, 0]), None, 1)
    config = replace(STILL, independent=1.0, flip_probability=0.5)
    run = trainer(tmp_path, images=images, learning_rate=4e-3)
    views = draw_sister_views(draws(4, seed=2), images, config)
    apart = float((views.conditions.depth - views.target_depth).abs().mean())
    assert apart > 0.2, "what is given is not the answer"
    for step in range(80):
        run._step(views, draws(4, seed=step))
    with torch.no_grad():
        given = run.generator(views.conditions.stacked())["ahd"].fused
    assert float((given - views.target_depth).abs().mean()) < 0.7 * apart


def test_losses_count_measured_pixels_only() -> None:
    wanted, given = torch.zeros(1, 1, 2, 3), torch.tensor([[[[1.0, 3.0, 100.0], [1.0, 3.0, 100.0]]]])
    weight = torch.tensor([[[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]]])
    counts = shared_counts(weight)
    assert float(masked_l1(given, wanted, weight, counts.depth)) == 2.0
    assert float(slope_l1(given, wanted, weight, counts.slope)) == 1.0  # two steps of 2 across, two of 0 down
    assert float(masked_l1(given, wanted, weight * 0, shared_counts(weight * 0).depth)) == 0.0


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    files = RunFiles(folder=tmp_path, fingerprint="", metadata={})
    with pytest.raises(ConfigError, match="gives='maps'"):
        SisterTrainer(train_config(), CHEAP, pool(), tiny_generator(), None, files)
    with pytest.raises(DataError, match="no good image"):
        DepthPool(depth_set([0, 0]), None, 2)
    with pytest.raises(DataError, match="validity"):
        with_depth(image_set([0]), torch.zeros(1, SIZE, SIZE), torch.ones(1, 8, 8, dtype=torch.bool))
