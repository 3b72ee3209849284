"""The detector: learns squares on noise, is repeatable, keeps to its mode; scores and figures by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_sets import noise, tiny_set
from torch import nn

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.detection import detection, localisation
from anomalyhybrid.evaluation.samples import GOOD_KIND, Samples, join
from anomalyhybrid.evaluation.segmenter import (
    SegmenterConfig,
    TrainedSegmenter,
    evaluate_segmenter,
    image_scores,
    predict,
    train_segmenter,
)

TINY = SegmenterConfig(size=32, width=4, epochs=4, samples_per_epoch=16, learning_rate=3e-3, checks=2)


class Brightness(nn.Module):
    """A detector that is known: the logit of an anomaly is 20 x brightness - 12."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, image_B3HW: torch.Tensor) -> torch.Tensor:
        logit = image_B3HW.mean(dim=1, keepdim=True) * self.scale - 12.0
        return torch.cat([torch.zeros_like(logit), logit], dim=1)


@pytest.fixture(scope="module")
def learnt() -> tuple[TrainedSegmenter, Samples]:
    train, test = tiny_set(12, 8, 8), tiny_set(10, 10, 10, seed=50)
    return train_segmenter(train, replace(TINY, epochs=8, samples_per_epoch=80)), test


def test_learns_squares_on_noise(learnt) -> None:
    trained, test = learnt
    figures = evaluate_segmenter(trained.model, test, f1_on_grid=True)
    assert figures.pixel.ap > 0.9
    assert figures.image.auroc > 0.95
    assert type(figures.pixel_f1_on_grid) is float
    assert 0.8 < figures.pixel_f1_on_grid <= figures.pixel.f1_max
    assert (figures.good, figures.defective) == (10, 20)
    fresh = evaluate_segmenter(train_segmenter(tiny_set(4, 4), replace(TINY, learning_rate=1e-9)).model, test)
    assert fresh.pixel.ap < 0.6
    losses = [loss for _, loss, _ in trained.fit.history]
    assert losses[-1] < losses[0]


def test_row_is_in_percent_and_the_description_is_json(learnt) -> None:
    trained, test = learnt
    figures = evaluate_segmenter(trained.model, test)
    row = figures.row()
    assert set(row) == {f"{level}_{name}" for level in ("pixel", "image") for name in ("auroc", "ap", "f1")} | {"aupro"}
    assert row["pixel_ap"] == pytest.approx(100 * figures.pixel.ap)
    assert row["image_f1"] == pytest.approx(100 * figures.image.f1_max)
    described = json.loads(json.dumps(trained.description()))
    assert described["images"] == {"good": 12, "generated_normals": 0, "defective": 16}
    assert described["fit"]["chosen_by"] == "last"
    assert described["config"]["width"] == 4


def weights(trained: TrainedSegmenter) -> dict[str, torch.Tensor]:
    return trained.model.state_dict()


def same(one: TrainedSegmenter, other: TrainedSegmenter) -> bool:
    return all(torch.equal(value, weights(other)[key]) for key, value in weights(one).items())


def test_same_seed_same_weights_bit_for_bit() -> None:
    train = tiny_set(6, 4, 4)
    torch.manual_seed(1)
    one = train_segmenter(train, TINY)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    other = train_segmenter(train, TINY)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(one, other)
    assert not same(one, train_segmenter(train, replace(TINY, seed=1)))


def test_judging_changes_nothing_but_the_choice() -> None:
    train, held = tiny_set(6, 4, 4), tiny_set(0, 3, 2, seed=9)  # a part of the base set has no good images
    plain, judged = train_segmenter(train, TINY), train_segmenter(train, TINY, validation=held)
    assert [row[:2] for row in plain.fit.history] == [row[:2] for row in judged.fit.history]
    scores = [score for _, _, score in judged.fit.history]
    assert None not in scores
    assert judged.fit.chosen_by == "validation"
    assert judged.fit.score == max(scores)
    published = train_segmenter(train, replace(TINY, mode="as_published", checks=None), test=tiny_set(3, 3, 2, seed=9))
    assert published.fit.chosen_by == "test"
    assert len(published.fit.history) == TINY.epochs
    assert published.fit.score == max(score for _, _, score in published.fit.history)


def test_the_kept_weights_are_those_that_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripted scores: the first of two checkpoints is the best; its weights are those of a training judged so."""
    train, held = tiny_set(6, 4, 4), tiny_set(2, 3, 2, seed=9)
    seen: list[torch.Tensor] = []

    def scripted(maps, *_: object) -> float:
        seen.append(maps.clone())
        return -float(len(seen))

    monkeypatch.setattr("anomalyhybrid.evaluation.segmenter.four_metrics", scripted)
    trained = train_segmenter(train, TINY, validation=held)
    assert trained.fit.chosen_step == TINY.steps // 2
    torch.testing.assert_close(predict(trained.model, held.image_u8), seen[0])
    assert not torch.allclose(seen[0], seen[1])


def test_fixed_mode_never_takes_the_test_set() -> None:
    train = tiny_set(4, 4)
    with pytest.raises(ConfigError, match="never looks at the test set"):
        train_segmenter(train, TINY, validation=train, test=train)
    with pytest.raises(ConfigError, match="give test"):
        train_segmenter(train, replace(TINY, mode="as_published"))


def test_generated_normals_are_added_to_the_good_set() -> None:
    """The same weights, bit for bit, as when these images stand among the good training images."""
    train, more = tiny_set(4, 4, 2), noise(6, 70) + 60
    added = join(train, Samples(more, more[:, :1] * 0, torch.full((6,), GOOD_KIND), train.kinds))
    plus = train_segmenter(train, TINY, generated_normals_u8=more)
    assert (plus.good, plus.generated, plus.defective) == (4, 6, 6)
    assert same(plus, train_segmenter(added, TINY))
    assert not same(plus, train_segmenter(train, TINY))
    assert not same(plus, train_segmenter(train, replace(TINY, generated_share=0.1), generated_normals_u8=more))


def test_bf16_autocast_trains_and_judges() -> None:
    short = replace(TINY, epochs=2)
    trained = train_segmenter(tiny_set(4, 4), replace(short, precision="bf16"), validation=tiny_set(2, 2, seed=5))
    assert {value.dtype for key, value in weights(trained).items() if "num_" not in key} == {torch.float32}
    image = noise(2, 3)
    full, half = predict(trained.model, image), predict(trained.model, image, precision="bf16")
    assert full.dtype == half.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(full, half, atol=0.05, rtol=0)
    plain = train_segmenter(tiny_set(4, 4), short)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # the package decides the precision, not the caller's context
        assert same(train_segmenter(tiny_set(4, 4), short), plain)


def test_budget() -> None:
    assert SegmenterConfig().steps == 12_500
    assert SegmenterConfig(batch_size=32).steps == 3125
    trained = train_segmenter(tiny_set(4, 4), replace(TINY, batch_size=5))
    assert trained.fit.steps == 64 // 5
    with pytest.raises(ConfigError, match="fewer samples than a batch of 65"):
        train_segmenter(tiny_set(4, 4), replace(TINY, batch_size=65))


@pytest.mark.parametrize(
    "settings", [{"size": 40}, {"epochs": 0}, {"samples_per_epoch": 0}, {"good_share": 1.2}, {"generated_share": -0.1}]
)
def test_settings_refused(settings: dict) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings))} is"):
        SegmenterConfig(**settings)


def test_sets_refused() -> None:
    train = tiny_set(4, 4)
    with pytest.raises(DataError, match=r"images of the training set .* \(N, 3, 64, 64\)"):
        train_segmenter(train, replace(TINY, size=64))
    with pytest.raises(DataError, match="images of the validation set"):
        train_segmenter(train, TINY, validation=tiny_set(2, 2, size=64))
    with pytest.raises(DataError, match="images of the generated normal set"):
        train_segmenter(train, TINY, generated_normals_u8=noise(2, 0, 64))
    with pytest.raises(DataError, match="no good images"):
        train_segmenter(tiny_set(0, 4), TINY)
    with pytest.raises(DataError, match="40 pixels wide; the U-Net needs a multiple of 32"):
        predict(Brightness(), noise(2, 0, 40))


def test_predict_by_hand_and_in_any_batches() -> None:
    model = Brightness().train()
    image = noise(5, 1)
    logit = image.float().div(255).mean(dim=1, keepdim=True) * 20 - 12
    found = predict(model, image)
    assert found.shape == (5, 1, 32, 32)
    torch.testing.assert_close(found, torch.sigmoid(logit), atol=1e-6, rtol=1e-5)
    assert torch.equal(predict(model, image, batch=2), found)
    assert model.training


def test_image_score_is_the_largest_mean_of_a_21_square() -> None:
    maps = torch.zeros(3, 1, 32, 32)
    maps[0, 0, 16, 16] = 0.5  # one pixel: 0.5 / 441
    maps[1, 0, 4:25, 5:26] = 1.0  # a whole window
    maps[2, 0, :10, :10] = 1.0  # at the corner, zeros beyond the border: 100 / 441
    torch.testing.assert_close(image_scores(maps), torch.tensor([0.5 / 441, 1.0, 100 / 441]))
    maps = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    padded = F.pad(maps, (10, 10, 10, 10))
    windows = padded.unfold(2, 21, 1).unfold(3, 21, 1)
    torch.testing.assert_close(image_scores(maps), windows.mean(dim=(-2, -1)).amax(dim=(1, 2, 3)))


def test_figures_are_those_of_the_maps() -> None:
    model, test = Brightness(), tiny_set(4, 3, 2, seed=7)
    maps = predict(model, test.image_u8)
    figures = evaluate_segmenter(model, test, batch=4, f1_on_grid=True)
    truth = test.mask_u8[:, 0] > 0
    assert figures.pixel == localisation(maps[:, 0], truth)
    assert figures.image == detection(image_scores(maps), test.kind != GOOD_KIND)
    wanted = max(
        2 * int((truth & (maps[:, 0] >= limit)).sum()) / (int((maps[:, 0] >= limit).sum()) + int(truth.sum()))
        for limit in torch.arange(21) / 20
    )
    assert figures.pixel_f1_on_grid == pytest.approx(wanted)
    assert figures.row()["pixel_f1_on_grid"] == pytest.approx(100 * wanted)
    with pytest.raises(DataError, match="need both classes"):
        evaluate_segmenter(model, test.good)
