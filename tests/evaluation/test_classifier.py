"""Defect classification: learns two kinds, is repeatable, keeps to its mode, skips and refuses by stated rules."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tiny_sets import KINDS, noise, tiny_set

from anomalyhybrid.errors import ConfigError, DataError, WeightsError
from anomalyhybrid.evaluation.classifier import (
    ClassifierConfig,
    TrainedClassifier,
    classification_skip,
    evaluate_classifier,
    predict_kinds,
    train_classifier,
)
from anomalyhybrid.evaluation.samples import Samples
from anomalyhybrid.models.resnet import new_resnet34

TINY = ClassifierConfig(size=32, width=8, epochs=2, learning_rate=2e-3, checks=2)


def stripes(count: int, seed: int, names: tuple[str, ...] = KINDS) -> Samples:
    """Defects as bars: upright is the first kind, lying the second; half of each."""
    plain = tiny_set(0, count // 2, count - count // 2, seed=seed)
    images, masks = noise(count, seed), torch.zeros_like(plain.mask_u8)
    for index, kind in enumerate(plain.kind.tolist()):
        start = (7 * index + seed) % 24
        place = (slice(None), slice(start, start + 6)) if kind == 0 else (slice(start, start + 6), slice(None))
        images[(index, slice(None), *place)] += 100
        masks[(index, 0, *place)] = 255
    return Samples(images, masks, plain.kind, names)


@pytest.fixture(scope="module")
def learnt() -> TrainedClassifier:
    return train_classifier(stripes(48, 0), replace(TINY, epochs=6))


def test_learns_two_kinds(learnt: TrainedClassifier) -> None:
    test = stripes(30, 5)
    figures = evaluate_classifier(learnt, test, batch=7)
    assert figures.accuracy >= 0.9
    assert figures.kinds == KINDS
    assert sum(map(sum, figures.confusion)) == 30
    found = predict_kinds(learnt.model, test.image_u8)
    assert figures.accuracy == pytest.approx(float((found == test.kind).double().mean()))
    described = json.loads(json.dumps(learnt.description()))
    assert described["start"] == "random weights"
    assert described["images"] == {"square": 24, "frame": 24}
    assert learnt.fit.steps == 48 * 6 // 8


def test_figures_by_hand(learnt: TrainedClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good images do not count; a type without test images has no accuracy and is left out of the mean."""
    three = replace(learnt, kinds=("a", "b", "c"))
    base = tiny_set(2, 3, 1)
    test = Samples(base.image_u8, base.mask_u8, base.kind, ("a", "b", "c"))
    monkeypatch.setattr(
        "anomalyhybrid.evaluation.classifier.predict_kinds", lambda *_: torch.tensor([0, 0, 2, 1])
    )  # truth: 0, 0, 0, 1
    figures = evaluate_classifier(three, test)
    assert figures.confusion == ((2, 0, 1), (0, 1, 0), (0, 0, 0))
    assert figures.accuracy == pytest.approx(3 / 4)
    assert figures.accuracies == (pytest.approx(2 / 3), 1.0, None)
    assert figures.mean_of_types == pytest.approx(5 / 6)


def same(one: TrainedClassifier, other: TrainedClassifier) -> bool:
    state = other.model.state_dict()
    return all(torch.equal(value, state[key]) for key, value in one.model.state_dict().items())


def test_same_seed_same_weights_bit_for_bit_and_good_images_do_not_count() -> None:
    train, extra = stripes(16, 0), tiny_set(5, 1, 1)
    good = extra.good
    mixed = Samples(
        torch.cat([good.image_u8, train.image_u8]),
        torch.cat([good.mask_u8, train.mask_u8]),
        torch.cat([good.kind, train.kind]),
        KINDS,
    )
    torch.manual_seed(1)
    one = train_classifier(train, TINY)
    torch.manual_seed(2)
    assert same(one, train_classifier(train, TINY))
    assert same(one, train_classifier(mixed, TINY))
    assert not same(one, train_classifier(train, replace(TINY, seed=1)))


def test_the_limit_takes_the_first_of_each_type() -> None:
    train = stripes(20, 0)
    limited = train_classifier(train, replace(TINY, limit=4))
    assert limited.counts == (4, 4)
    first = torch.tensor([0, 1, 2, 3, 10, 11, 12, 13])
    assert same(limited, train_classifier(train.where(first), TINY))


def test_modes() -> None:
    train, held = stripes(16, 0), stripes(6, 3)
    judged = train_classifier(train, TINY, validation=held)
    assert judged.fit.chosen_by == "validation"
    assert judged.fit.score == max(score for _, _, score in judged.fit.history)
    assert float((predict_kinds(judged.model, held.image_u8) == held.kind).double().mean()) == judged.fit.score
    published = train_classifier(train, replace(TINY, mode="as_published", checks=None), test=held)
    assert published.fit.chosen_by == "test"
    assert len(published.fit.history) == TINY.epochs
    with pytest.raises(ConfigError, match="never looks at the test set"):
        train_classifier(train, TINY, test=held)
    with pytest.raises(ConfigError, match="give test"):
        train_classifier(train, replace(TINY, mode="as_published"))


def test_imagenet_start_is_used_and_said() -> None:
    state = new_resnet34(1000, torch.Generator().manual_seed(9), width=8).state_dict()
    still = replace(TINY, learning_rate=1e-12)
    started = train_classifier(stripes(16, 0), still, imagenet=state)
    assert started.imagenet
    assert started.description()["start"] == "ImageNet"
    torch.testing.assert_close(started.model.layer3[1].conv1.weight, state["layer3.1.conv1.weight"])
    assert started.model.fc.weight.shape == (2, 64)
    with pytest.raises(WeightsError, match="do not fit ResNet-34"):
        train_classifier(stripes(16, 0), replace(TINY, width=4), imagenet=state)


def test_one_defect_type_is_skipped_and_said() -> None:
    two = tiny_set(2, 4, 4)
    one = Samples(two.image_u8[:6], two.mask_u8[:6], two.kind[:6], ("hole",))
    assert classification_skip(two) is None
    reason = classification_skip(one)
    assert (
        reason
        == "classification skipped: the category has one defect type (hole); at least two are needed to tell apart"
    )
    with pytest.raises(DataError, match=r"one defect type \(hole\)"):
        train_classifier(one, TINY)


def test_few_images_and_foreign_sets_are_refused() -> None:
    with pytest.raises(DataError, match=r"fewer than 3 training images: frame \(2\); generate more"):
        train_classifier(tiny_set(2, 8, 2), TINY)
    with pytest.raises(DataError, match=r"fewer than 1 training images: frame \(0\)"):
        train_classifier(tiny_set(2, 8, 0), replace(TINY, fewest=1))
    assert train_classifier(tiny_set(2, 8, 2), replace(TINY, fewest=2)).counts == (8, 2)
    train = stripes(16, 0)
    with pytest.raises(DataError, match=r"validation set has the defect types \('a', 'b'\)"):
        train_classifier(train, TINY, validation=stripes(6, 1, ("a", "b")))
    with pytest.raises(DataError, match="validation set has no defective images"):
        train_classifier(train, TINY, validation=tiny_set(3, 1).good)
    with pytest.raises(DataError, match="images of the training set"):
        train_classifier(train, replace(TINY, size=64))


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"limit": 0}, {"fewest": 0}, {"fewest": 501}])
def test_settings_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings))} is"):
        ClassifierConfig(**settings)


def test_bf16_autocast_trains() -> None:
    trained = train_classifier(stripes(16, 0), replace(TINY, precision="bf16"), validation=stripes(6, 3))
    floats = [value.dtype for value in trained.model.state_dict().values() if value.is_floating_point()]
    assert set(floats) == {torch.float32}
