"""Downstream training: focal loss by hand, shares of the sampler, step decay, the checkpoint's choice, refusals."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from tiny_sets import tiny_set
from torch import nn

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.choice import auroc_and_ap, four_metrics
from anomalyhybrid.evaluation.detection import detection
from anomalyhybrid.evaluation.fitting import FitConfig, TrainingStep, autocast, check_choice, decayed, evaluating, fit
from anomalyhybrid.evaluation.focal import focal_loss
from anomalyhybrid.evaluation.samples import GOOD_KIND, Samples
from anomalyhybrid.evaluation.sampling import balanced_batches, check_samples, shuffled_batches


def focal_by_hand(own: float, smoothing: float = 1e-5, gamma: float = 2.0) -> float:
    p = (1 - smoothing) * own + smoothing * (1 - own) + smoothing
    return -((1 - p) ** gamma) * math.log(p)


def test_focal_loss_by_hand() -> None:
    # softmax of (0, ln 3) is (1/4, 3/4); the pixels' own classes are 1, 0, and 1 of (0, 0)
    logits = torch.tensor([[[[0.0, 0.0, 0.0]], [[math.log(3), math.log(3), 0.0]]]])
    label = torch.tensor([[[1, 0, 1]]])
    wanted = (focal_by_hand(0.75) + focal_by_hand(0.25) + focal_by_hand(0.5)) / 3
    assert float(focal_loss(logits, label)) == pytest.approx(wanted, rel=1e-5)
    assert wanted == pytest.approx((0.0179801 + 0.7797905 + 0.1732868) / 3, rel=1e-3)  # without smoothing
    assert float(focal_loss(logits, label > 0, gamma=0.0, smoothing=0.0)) == pytest.approx(
        (math.log(4 / 3) + math.log(4) + math.log(2)) / 3
    )


def test_focal_loss_of_certain_pixels_is_finite_and_its_smoothing_counts() -> None:
    logits = torch.tensor([[[[80.0]], [[-80.0]]]], requires_grad=True)
    right, wrong = (focal_loss(logits, torch.tensor([[[label]]])) for label in (0, 1))
    assert right.item() == pytest.approx(0.0, abs=1e-9)
    assert wrong.item() == pytest.approx(-((1 - 2e-5) ** 2) * math.log(2e-5), rel=1e-4)
    (right + wrong).backward()
    assert bool(logits.grad.isfinite().all())
    assert focal_loss(logits.detach().bfloat16(), torch.tensor([[[1]]])).dtype == torch.float32


def kinds(good: int, *defects: int) -> torch.Tensor:
    return torch.tensor([GOOD_KIND] * good + [kind for kind, count in enumerate(defects) for _ in range(count)])


def test_sampler_shares() -> None:
    """Half good; types alike whatever their counts; images of a type alike; an empty type is never drawn."""
    kind = kinds(7, 2, 0, 30)
    drawn = balanced_batches(kind, 2500, 8, torch.Generator().manual_seed(0))
    assert drawn.shape == (2500, 8)
    counts = torch.bincount(drawn.flatten(), minlength=len(kind)).double() / drawn.numel()
    assert float(counts[:7].sum()) == pytest.approx(0.5, abs=0.012)  # 3.4 standard deviations
    assert float(counts[7:9].sum()) == pytest.approx(0.25, abs=0.012)
    torch.testing.assert_close(counts[:7], torch.full((7,), 0.5 / 7).double(), rtol=0.08, atol=0)
    torch.testing.assert_close(counts[7:9], torch.full((2,), 0.125).double(), rtol=0.08, atol=0)
    torch.testing.assert_close(counts[9:], torch.full((30,), 0.25 / 30).double(), rtol=0.3, atol=0)


@pytest.mark.parametrize(("share", "wanted"), [(None, 0.5 * 30 / 40), (0.2, 0.1), (1.0, 0.5), (0.0, 0.0)])
def test_generated_normals_join_the_good_set(share: float | None, wanted: float) -> None:
    drawn = balanced_batches(
        kinds(10, 5), 2000, 8, torch.Generator().manual_seed(0), extra_good=30, extra_share=share
    ).flatten()
    assert float((drawn >= 15).double().mean()) == pytest.approx(wanted, abs=0.015)
    assert float(((drawn < 10) | (drawn >= 15)).double().mean()) == pytest.approx(0.5, abs=0.015)
    assert int(drawn.max()) == (44 if share != 0 else 14)


def test_sampler_is_keyed_and_refuses_what_it_cannot_draw() -> None:
    one, other, third = (balanced_batches(kinds(4, 4), 9, 8, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, other)
    assert not torch.equal(one, third)
    draw = torch.Generator()
    with pytest.raises(DataError, match="no good images"):
        balanced_batches(kinds(0, 4), 9, 8, draw)
    with pytest.raises(DataError, match="no defective images"):
        balanced_batches(kinds(4), 9, 8, draw)
    with pytest.raises(ConfigError, match=r"generated_share is 0\.5, but"):
        balanced_batches(kinds(4, 4), 9, 8, draw, extra_share=0.5)
    with pytest.raises(ConfigError, match=r"good_share is 1\.5"):
        balanced_batches(kinds(4, 4), 9, 8, draw, good_share=1.5)
    only = balanced_batches(kinds(0, 4), 9, 8, draw, extra_good=2, extra_share=1.0)
    assert set(only.flatten().tolist()) == set(range(6))


def test_shuffled_epochs_see_every_image() -> None:
    batches = shuffled_batches(10, 4, 4, torch.Generator().manual_seed(0))
    assert batches.shape == (10, 4)
    epochs = batches.flatten().view(4, 10)
    assert all(sorted(epoch.tolist()) == list(range(10)) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    assert shuffled_batches(5, 1, 4, torch.Generator()).shape == (1, 4)


def test_step_size_decays_at_80_and_90_percent() -> None:
    rates = Counter(round(decayed(FitConfig(), step, 1000) / 1e-4, 6) for step in range(1000))
    assert rates == {1.0: 800, 0.2: 100, 0.04: 100}
    assert decayed(FitConfig(), 799, 1000) == 1e-4
    assert decayed(FitConfig(), 800, 1000) == pytest.approx(2e-5)


class Counting(nn.Module):
    """A network whose one weight grows with every step, so that it names its checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))


def counted(config: FitConfig, scores: list[float] | None, steps: int = 8):
    model, given = Counting(), iter(scores or [])
    rows: list[dict] = []
    done = fit(
        model,
        lambda network, chosen_B: -network.weight + 0 * chosen_B.sum(),
        torch.zeros(steps, config.batch_size, dtype=torch.long),
        config,
        checks=4,
        judge=None if scores is None else lambda: next(given),
        report=rows.append,
    )
    return model, done, rows


@pytest.mark.parametrize(
    ("mode", "scores", "chosen", "by"),
    [
        ("fixed", [0.1, 0.9, 0.3, 0.2], 4, "validation"),
        ("as_published", [0.1, 0.9, 0.3, 0.2], 4, "test"),
        ("fixed", [0.5, 0.9, 0.9, 0.2], 6, "validation"),  # level: the later
        ("as_published", [0.5, 0.9, 0.9, 0.2], 4, "test"),  # level: the earlier
        ("fixed", None, 8, "last"),
    ],
)
def test_the_best_checkpoint_is_kept(mode, scores: list[float] | None, chosen: int, by: str) -> None:
    config = FitConfig(mode=mode, learning_rate=1.0, decay_at=())
    model, done, rows = counted(config, scores)
    assert (done.steps, done.chosen_step, done.chosen_by) == (8, chosen, by)
    assert model.weight.item() == pytest.approx(chosen, rel=1e-4)  # Adam moves by the step size
    assert done.score == (max(scores) if scores else None)
    assert [step for step, _, _ in done.history] == [2, 4, 6, 8]
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    assert done.history[1][1] == pytest.approx(-2.5, rel=1e-4)  # mean of the losses -2 and -3
    assert not model.training


def test_the_step_size_reaches_the_optimiser() -> None:
    model, _, rows = counted(FitConfig(learning_rate=1.0, decay=0.5, decay_at=(0.5, 0.75)), None)
    assert [row["rate"] for row in rows] == [1.0, 1.0, 0.5, 0.25]
    assert model.weight.item() == pytest.approx(4 + 2 * 0.5 + 2 * 0.25, rel=1e-3)


def test_a_diverging_loss_and_too_few_samples_are_named() -> None:
    nan = Counting()
    nan.weight.data.fill_(math.nan)
    with pytest.raises(ConfigError, match="the loss is nan at step 2; lower learning_rate"):
        fit(nan, lambda m, _: m.weight * 1, torch.zeros(2, 8).long(), FitConfig(), checks=1, judge=None)
    with pytest.raises(ConfigError, match="fewer samples than a batch of 8"):
        fit(Counting(), lambda m, _: m.weight * 1, torch.zeros(0, 8).long(), FitConfig(), checks=1, judge=None)


def test_modes_refuse_the_wrong_set() -> None:
    check_choice(FitConfig(), validation=False, test=False)
    check_choice(FitConfig(), validation=True, test=False)
    check_choice(FitConfig(mode="as_published"), validation=False, test=True)
    with pytest.raises(ConfigError, match="'fixed' never looks at the test set"):
        check_choice(FitConfig(), validation=True, test=True)
    for validation, test in ((True, True), (False, False), (True, False)):
        with pytest.raises(ConfigError, match="'as_published' chooses the checkpoint on the test set"):
            check_choice(FitConfig(mode="as_published"), validation=validation, test=test)


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "published"},
        {"precision": "fp16"},
        {"size": 0},
        {"batch_size": 0},
        {"checks": 0},
        {"learning_rate": math.nan},
        {"decay": 0.0},
        {"decay_at": (0.8, 1.0)},
    ],
)
def test_settings_refused(settings: dict) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings)).removesuffix('_at')} is"):
        FitConfig(**settings)


def test_precision_follows_the_device() -> None:
    a = torch.ones(2, 2)
    assert [_product(a, precision) for precision in ("auto", "fp32", "bf16")] == [
        torch.float32,
        torch.float32,
        torch.bfloat16,
    ]
    assert autocast(torch.device("cpu"), "auto")._enabled is False


def _product(a: torch.Tensor, precision) -> torch.dtype:
    with autocast(torch.device("cpu"), precision):
        return (a @ a).dtype


def test_evaluating_gives_the_mode_back_after_an_error() -> None:
    model, seen = Counting().train(), []

    def fail() -> None:
        with evaluating(model):
            seen.append((model.training, torch.is_grad_enabled()))
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert seen == [(False, False)]
    assert model.training


def test_a_step_adds_losses_up_and_starts_anew() -> None:
    step = TrainingStep(Counting(), lambda m, b: m.weight * 0 + b.sum(), FitConfig(batch_size=2), torch.device("cpu"))
    step(torch.tensor([1, 2]))
    step(torch.tensor([3, 4]))
    assert step.mean_loss(2) == 5.0
    assert step.mean_loss(1) == 0.0


@pytest.mark.parametrize("levels", [3, 1000])
def test_quick_metrics_equal_the_exact_ones(levels: int) -> None:
    """With many ties and with few."""
    generator = torch.Generator().manual_seed(levels)
    scores = torch.randint(0, levels, (400,), generator=generator) / levels
    label = torch.rand(400, generator=generator) < 0.2 + 0.5 * scores
    exact = detection(scores, label)
    assert auroc_and_ap(scores, label) == pytest.approx((exact.auroc, exact.ap), abs=1e-12)
    with pytest.raises(DataError, match="all 3 samples are of one class"):
        auroc_and_ap(scores[:3], torch.zeros(3, dtype=torch.bool))


def test_four_metrics_by_hand() -> None:
    maps = torch.tensor([[0.1, 0.4], [0.35, 0.8]]).view(2, 1, 1, 2)
    masks = torch.tensor([[0, 0], [1, 1]], dtype=torch.bool).view(2, 1, 1, 2)
    scores = torch.tensor([0.4, 0.8])
    assert four_metrics(maps, masks, scores, torch.tensor([False, True])) == pytest.approx(3 / 4 + 5 / 6 + 1 + 1)
    assert four_metrics(maps, masks, scores, torch.tensor([True, True])) == pytest.approx(3 / 4 + 5 / 6)


def test_sets_are_checked() -> None:
    good = tiny_set(2, 2, 1)
    check_samples(good, 32, "training")
    images, masks, kind, names = good.image_u8, good.mask_u8, good.kind, good.kinds
    for wrong, message in (
        (good.where(torch.zeros(5, dtype=torch.bool)), "training set is empty"),
        (Samples(images.float(), masks, kind, names), r"images of the training set are torch\.float32"),
        (Samples(images[..., :16], masks, kind, names), r"must be uint8 \(N, 3, 32, 32\)"),
        (Samples(images, masks[:4], kind, names), r"masks of the training set .* \(5, 1, 32, 32\)"),
        (Samples(images, masks, kind[:4], names), r"give long \(5,\)"),
        (Samples(images, masks, kind, ("square",)), "from -1 to 1; there are 1 names"),
        (Samples(images, masks.flip(0), kind, names), "4 images of the training set are good but have a mask"),
        (Samples(images, masks * 0, kind, names), r"empty one \(first: number 2\)"),
    ):
        with pytest.raises(DataError, match=message):
            check_samples(wrong, 32, "training")
    check_samples(Samples(images, masks * 0, kind, names), 32, "test", empty_masks=True)
    with pytest.raises(DataError, match="2 images of the test set are good but have a mask"):
        check_samples(Samples(images, masks * 0 + 255, kind, names), 32, "test", empty_masks=True)
