"""The students' training: its pictures, augmentation, losses and figures, and one tiny run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from anomalyhybrid.errors import ConfigError
from anomalyhybrid.recipes.student_augment import jpeg_like, photometric, textures, warp_batch
from anomalyhybrid.recipes.student_figures import aligned_abs_rel, best_f, pearson, spearman, thin
from anomalyhybrid.recipes.student_losses import depth_loss, edge_loss, learning_rate
from anomalyhybrid.recipes.student_scenes import draw_leaves, make_scenes, plan_scenes
from anomalyhybrid.recipes.students import DEPTH_FILE, EDGE_FILE, StudentRun, train_students
from anomalyhybrid.seeding import stream

WEIGHTS = Path(__file__).resolve().parents[2].parent / "shared" / "weights"


def test_scenes_do_not_depend_on_the_number_of_workers():
    keys = plan_scenes(4, ("ring", "plate"), seed=3, stream="test", size=32)
    assert [key.defect == "good" for key in keys] == [True, True, False, False]
    alone, together = list(make_scenes(keys, workers=0)), list(make_scenes(keys, workers=2))
    for a, b in zip(alone, together, strict=True):
        assert np.array_equal(a.image_u8, b.image_u8)
        assert np.array_equal(a.depth, b.depth)


def test_leaves_have_shapes_in_range():
    scene = draw_leaves(5, 64)
    assert scene.image_u8.shape == (64, 64, 3)
    assert float(scene.depth.min()) == 0.0
    assert float(scene.depth.max()) == 1.0
    assert scene.object_mask.any()
    assert not scene.contours_u8[0].any()
    assert np.array_equal(scene.image_u8, draw_leaves(5, 64).image_u8)


def test_augmentation_keeps_shape_and_range_and_is_keyed():
    image = torch.rand(3, 3, 32, 32, generator=stream(0, "image"))
    seen = photometric(image, seed=1, step=2)
    assert seen.shape == image.shape
    assert 0.0 <= float(seen.min()) <= float(seen.max()) <= 1.0
    assert torch.equal(seen, photometric(image, seed=1, step=2))
    assert not torch.equal(seen, photometric(image, seed=1, step=3))
    drawn = textures(2, 32, generator=stream(0, "t"), device=torch.device("cpu"))
    assert drawn.shape == (2, 3, 32, 32)


def test_warp_moves_all_channels_together():
    x = torch.rand(2, 1, 32, 32).expand(2, 4, 32, 32)
    warped = warp_batch(x, generator=stream(0, "warp"))
    assert torch.allclose(warped[:, :1].expand_as(warped), warped, atol=1e-6)


def test_jpeg_like_with_tiny_steps_changes_nothing():
    image = torch.rand(2, 3, 20, 28)
    assert torch.allclose(jpeg_like(image, torch.full((2,), 1e-3)), image, atol=1e-4)
    assert not torch.allclose(jpeg_like(image, torch.full((2,), 50.0)), image, atol=1e-2)


def test_losses_prefer_the_truth():
    target = torch.zeros(1, 1, 32, 32)
    target[..., 16] = 1.0
    right, wrong = (target * 12 - 6), torch.full_like(target, -6.0)
    assert edge_loss(right, target) < edge_loss(wrong, target)
    ramp = torch.linspace(0, 1, 32).expand(1, 1, 32, 32)
    good, turned = torch.logit(0.3 * ramp + 0.2), torch.logit(0.3 * (1 - ramp) + 0.2)
    assert depth_loss(good, ramp * 5 + 2) < 0.5 * depth_loss(turned, ramp * 5 + 2)
    assert float(depth_loss(good, torch.ones_like(ramp))) == 0.0


def test_learning_rate_rises_and_falls():
    rates = [learning_rate(p, peak=1.0) for p in (0.0, 0.05, 0.5, 1.0)]
    assert rates == pytest.approx([0.05, 1.0, 0.55, 0.01], abs=0.05)


def test_edge_figures_by_hand():
    line = torch.zeros(1, 1, 40, 40)
    line[..., 4:36, 20] = 1.0
    thick = torch.nn.functional.max_pool2d(line, 5, 1, 2) * 0.9
    assert best_f(thick, line > 0)[0] > 0.95
    assert int((thin(thick) > 0).sum()) < int((thick > 0).sum()) / 2
    assert best_f(thick.roll(2, dims=3), line > 0)[0] > 0.9
    assert best_f(thick.roll(12, dims=3), line > 0)[0] < 0.1


def test_correlations_match_references():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 50)).round(1), rng.normal(size=(2, 50)).round(1)
    ours = spearman(torch.from_numpy(a), torch.from_numpy(b)).tolist()
    assert ours == pytest.approx([spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)], abs=1e-6)
    linear = pearson(torch.from_numpy(a), torch.from_numpy(b)).tolist()
    assert linear == pytest.approx([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)], abs=1e-6)
    depth = torch.rand(2, 30)
    assert aligned_abs_rel(depth * 0.3 + 4, depth).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_run_is_checked():
    with pytest.raises(ConfigError, match="multiple of 32"):
        StudentRun(size=100)


def test_tiny_run_writes_everything(tmp_path: Path):
    if not WEIGHTS.is_dir():
        pytest.skip(f"{WEIGHTS} is not here")
    run = StudentRun(scenes=6, leaves=2, held_out=("nut",), size=32, steps=2, batch=2, widths=(8, 8))
    given = {
        "hed_weights": WEIGHTS / "hed_bsds500.fp16.safetensors",
        "fastdepth_weights": WEIGHTS / "fastdepth.fp16.safetensors",
    }
    train_students(out=tmp_path, run=run, **given)
    names = {EDGE_FILE, DEPTH_FILE, "figures.json", "preview_training.png"}
    names |= {"preview_held_out_pictures.png", "preview_held_out_products.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures["held_out_products"]) == {"edge", "depth"}
    with pytest.raises(ConfigError, match="unknown products"):
        train_students(out=tmp_path, run=StudentRun(held_out=("moon",)), **given)
