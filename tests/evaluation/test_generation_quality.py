"""Generation figures and classification: hand-computed with networks that are plain functions, memory, skip rules."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_sets import KINDS, tiny_set

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.classification import classification_figures
from anomalyhybrid.evaluation.classifier import ClassifierConfig, evaluate_classifier, train_classifier
from anomalyhybrid.evaluation.cluster_lpips import ClusterConfig
from anomalyhybrid.evaluation.diversity import EmbeddedImages, drawn_centres, embedded, squared_distances
from anomalyhybrid.evaluation.features import FeatureOutput
from anomalyhybrid.evaluation.frechet import frechet_distance
from anomalyhybrid.evaluation.generation_quality import (
    Measured,
    QualityConfig,
    QualityNetworks,
    generation_figures,
    mask_figures,
)
from anomalyhybrid.evaluation.inception import inception_score
from anomalyhybrid.evaluation.kid import unbiased_mmd
from anomalyhybrid.evaluation.lpips import load_lpips, lpips_matrix
from anomalyhybrid.evaluation.mask_consistency import mask_consistency
from anomalyhybrid.evaluation.samples import GOOD_KIND, Samples
from anomalyhybrid.evaluation.squares import region_squares
from anomalyhybrid.ops.ranges import signed_from_u8

CPU = torch.device("cpu")
WEIGHTS = Path(__file__).parents[3] / "shared" / "weights"


def levels(values: list[int], kinds: list[int], names: tuple[str, ...] = KINDS) -> Samples:
    """Even grey images, 32 px, each with a square of its own level as the mask."""
    images = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32).contiguous()
    masks = torch.zeros(len(values), 1, 32, 32, dtype=torch.uint8)
    masks[:, :, 8:16, 8:16] = 255
    kind = torch.tensor(kinds)
    masks[kind == GOOD_KIND] = 0
    return Samples(images, masks, kind, names)


def grey(image: torch.Tensor) -> torch.Tensor:
    """An embedding whose squared distances are squared differences of mean level, in units of 10 / 255."""
    return image.mean(dim=(1, 2, 3))[:, None] * 12.75


def unit(one: float, other: float) -> float:
    return ((one - other) / 10) ** 2


def lpips_only(**settings: object) -> tuple[QualityNetworks, QualityConfig]:
    return QualityNetworks(lpips={"alex": grey}), QualityConfig(**settings)  # type: ignore[arg-type]


GENERATED = levels([50, 60, 80, 210, 90], [0, 0, 0, 1, GOOD_KIND])  # the good image does not count
TEST = levels([60, 200, 10], [0, 1, GOOD_KIND])  # clusters {50, 60, 80} and {210}
BASE = levels([50, 100, 220, 0], [0, 0, 1, GOOD_KIND])
PAIRS = (unit(50, 60) + unit(50, 80) + unit(60, 80)) / 3


def test_cluster_lpips_by_hand() -> None:
    networks, config = lpips_only()
    found, notes = generation_figures(GENERATED, BASE, TEST, networks, config, 0)
    assert notes == ()
    assert found == pytest.approx(
        {
            "ic_lpips@alex": PAIRS / 2,
            "nearest_base": (0 + unit(60, 50) + unit(80, 100) + unit(210, 220)) / 4,
            "nearest_base_minimum": 0,
        },
        abs=1e-5,
    )
    dropped = replace(config, clusters=ClusterConfig(singletons="drop"))
    assert generation_figures(GENERATED, None, TEST, networks, dropped, 0).figures == pytest.approx(
        {"ic_lpips@alex": PAIRS}, abs=1e-5
    )


def test_base_centres_are_those_of_the_type() -> None:
    """Type 0 around 50 and 100: {50, 60} and {80}; type 1 around 220: {210}. Pooled, 220 would be a cluster too."""
    networks, config = lpips_only(centres="base")
    assert generation_figures(GENERATED, BASE, TEST, networks, config, 0).figures["ic_lpips@alex"] == pytest.approx(
        (unit(50, 60) / 2 + 0) / 2, abs=1e-5
    )
    foreign = Samples(GENERATED.image_u8, GENERATED.mask_u8, GENERATED.kind.clamp(max=0), ("perlin",))
    around_all = generation_figures(foreign, BASE, TEST, networks, config, 0).figures["ic_lpips@alex"]
    assert around_all == pytest.approx(unit(50, 60) / 3, abs=1e-5)
    without = generation_figures(GENERATED, None, TEST, networks, config, 0)
    assert math.isnan(without.figures["ic_lpips@alex"])
    assert without.notes == ("ic_lpips@alex: its centres are base images, and there is no base set",)


def test_dropping_all_clusters_is_nan_with_a_note() -> None:
    networks, config = lpips_only(clusters=ClusterConfig(singletons="drop"))
    found = generation_figures(levels([50, 210], [0, 1]), None, TEST, networks, config, 0)
    assert math.isnan(found.figures["ic_lpips@alex"])
    assert "no cluster has two images" in found.notes[0]


def test_the_quirk_of_the_range_moves_the_centres_only() -> None:
    """Centres as bytes are far above all generated images, so that all are nearest to the darkest."""
    networks, config = lpips_only(centres_as_bytes=True)
    found = generation_figures(GENERATED, BASE, TEST, networks, config, 0).figures
    values = [50, 60, 80, 210]
    pairs = [unit(one, other) for number, one in enumerate(values) for other in values[:number]]
    assert found["ic_lpips@alex"] == pytest.approx(np.mean(pairs) / 2, abs=1e-4)
    assert found["nearest_base_minimum"] == pytest.approx(0, abs=1e-6)


def noisy(count: int, seed: int, size: int = 48) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def table(vectors: torch.Tensor) -> torch.Tensor:
    double = vectors.double()
    return torch.cdist(double, double, compute_mode="donot_use_mm_for_euclid_dist").square()


def test_memory_changes_nothing_but_the_passes() -> None:
    """Held: each image passes once. Not held: the members of a cluster pass again, in tiles."""
    seen: list[int] = []

    def pooled(image: torch.Tensor) -> torch.Tensor:
        seen.append(len(image))
        return torch.nn.functional.avg_pool2d(image, 4).flatten(1)

    images, centres = noisy(23, 0), noisy(3, 1)
    vectors = embedded(centres, pooled, CPU, block=2)
    seen.clear()
    held = EmbeddedImages(images, pooled, CPU, memory=1 << 30, block=4)
    to_centres, members = held.to_vectors(vectors), np.array([20, 1, 2, 9, 5, 13, 0])
    within = held.within(members)
    assert sum(seen) == 23
    assert max(seen) <= 4
    for memory in (1, 8 * 432 * 2, 8 * 432 * 5):
        tiled = EmbeddedImages(images, pooled, CPU, memory=memory, block=4)
        torch.testing.assert_close(tiled.to_vectors(vectors), to_centres)
        torch.testing.assert_close(tiled.within(members), within)
    expected = table(pooled(signed_from_u8(images[members])))
    torch.testing.assert_close(within, expected, atol=1e-4, rtol=1e-5)
    assert (within.diagonal() == 0).all()


def test_distances_of_close_vectors_keep_their_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    first = 100 + torch.rand(4, 40_000, generator=generator) * 1e-3
    torch.testing.assert_close(squared_distances(first, first), table(first), rtol=1e-3, atol=1e-7)


def test_same_as_lpips_matrix() -> None:
    if not WEIGHTS.is_dir():
        pytest.skip(f"{WEIGHTS} is not here")
    network = load_lpips(
        "alex", backbone=WEIGHTS / "alexnet_features.fp16.safetensors", heads=WEIGHTS / "lpips_v0.1_alex.pth"
    )
    images, centres = noisy(7, 0), noisy(2, 1)
    held = EmbeddedImages(images, network.embed, CPU, memory=1)
    signed = signed_from_u8(images)
    torch.testing.assert_close(
        held.to_vectors(embedded(centres, network.embed, CPU)),
        lpips_matrix(network, signed, signed_from_u8(centres)),
        atol=1e-6,
        rtol=1e-5,
    )
    matrix = lpips_matrix(network, signed, signed).fill_diagonal_(0)
    torch.testing.assert_close(held.within(np.arange(7)), matrix, atol=1e-6, rtol=1e-5)


def test_centres_are_drawn_without_replacement_and_by_the_seed() -> None:
    test = levels(list(range(0, 200, 4)), [0] * 50)
    drawn = [
        drawn_centres(test, 10, torch.Generator().manual_seed(seed)).image_u8[:, 0, 0, 0].tolist() for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] == sorted(set(drawn[0]))
    assert len(drawn[0]) == 10
    assert drawn[0] != drawn[2]
    assert drawn_centres(test, 50, torch.Generator()) is test


def logit_network(images_u8: torch.Tensor) -> FeatureOutput:
    """Class by level (0, 100, 200), surely; features are means of the channels' halves."""
    values = images_u8.float().mean(dim=(1, 2, 3))
    logits = torch.zeros(len(images_u8), 3)
    logits[torch.arange(len(values)), (values / 100).round().long().clamp(0, 2)] = 50.0
    halves = images_u8.float().unflatten(3, (2, -1)).mean(dim=(2, 4)).flatten(1) / 255
    return FeatureOutput(halves, logits)


def test_pooled_and_per_defect_inception_score_differ() -> None:
    """Each type is one class: pooled 2 classes in equal shares give 2, within a type the score is 1."""
    generated = levels([0] * 10 + [200] * 10, [0] * 10 + [1] * 10)
    config = QualityConfig(splits=1)
    found, notes = generation_figures(generated, None, TEST, QualityNetworks(features=logit_network), config, 0)
    assert found["inception_score"] == pytest.approx(2)
    assert found["inception_score_per_defect"] == pytest.approx(1)
    assert notes == ()
    ten = generation_figures(generated, None, TEST, QualityNetworks(features=logit_network), QualityConfig(), 0)
    expected = inception_score(logit_network(generated.image_u8).logits, splits=10, shuffle_seed=2020).mean  # type: ignore[arg-type]
    assert ten.figures["inception_score"] == pytest.approx(expected)
    few = generation_figures(GENERATED, None, TEST, QualityNetworks(features=logit_network), QualityConfig(), 0)
    assert math.isnan(few.figures["inception_score"])
    assert "inception_score: 10 splits of 4 images; use 1 to 4 splits" in few.notes
    assert any(note.startswith("inception_score_per_defect: 10 splits of 3") for note in few.notes)


def plain_features(images_u8: torch.Tensor) -> FeatureOutput:
    return FeatureOutput(logit_network(images_u8).features, None)


def test_distances_to_the_test_defects() -> None:
    generated, test, base = (tiny_set(2, count, count, seed=seed) for count, seed in ((6, 0), (4, 1), (2, 2)))
    found, notes = generation_figures(
        generated, base, test, QualityNetworks(features=plain_features), QualityConfig(kid_subsets=1), 0
    )
    assert set(found) == {"kid", "fid", "kid@region", "nearest_base@region", "nearest_base_minimum@region"}
    made, real = (plain_features(part.defective.image_u8).features for part in (generated, test))
    assert found["fid"] == pytest.approx(frechet_distance(made, real))
    squares = [
        plain_features(region_squares(part.defective.image_u8, part.defective.mask_u8)).features
        for part in (generated, test, base)
    ]
    assert found["nearest_base@region"] == pytest.approx(
        float(torch.cdist(squares[0], squares[2]).amin(dim=1).mean()), abs=1e-5
    )
    everything = generation_figures(
        test, base, test, QualityNetworks(features=plain_features), QualityConfig(kid_subsets=1), 0
    )
    assert everything.figures["kid"] == pytest.approx(unbiased_mmd(real, real))
    assert everything.figures["fid"] == pytest.approx(0, abs=1e-6)
    assert everything.figures["kid@region"] == pytest.approx(unbiased_mmd(squares[1], squares[1]))
    assert notes == ()


def test_lost_masks_and_single_images_are_said() -> None:
    lost = levels([50, 60, 80], [0, 0, 0])
    lost.mask_u8[0] = 0
    found, notes = generation_figures(lost, None, TEST, QualityNetworks(features=plain_features), QualityConfig(), 0)
    assert notes == ("1 of 3 images have an empty mask and no region",)
    assert math.isfinite(found["kid@region"])
    one = generation_figures(
        levels([50], [0]), None, TEST, QualityNetworks(features=plain_features), QualityConfig(), 0
    )
    assert all(math.isnan(one.figures[name]) for name in ("kid", "fid", "kid@region"))
    assert any("both sets need at least 2" in note for note in one.notes)
    lost.mask_u8[:] = 0
    none = generation_figures(lost, None, TEST, QualityNetworks(features=plain_features), QualityConfig(), 0)
    assert math.isnan(none.figures["kid@region"])
    assert "kid@region: no image has a mask" in none.notes


def test_same_seed_same_figures_whatever_the_block() -> None:
    generated, test = tiny_set(0, 30, 10, seed=0), tiny_set(3, 8, 8, seed=1)
    networks = QualityNetworks(features=logit_network, lpips={"alex": grey, "vgg": lambda image: image.flatten(1)})
    config = QualityConfig(sampled_centres=3, clusters=ClusterConfig(cap=4))

    def run(seed: int, **changes: int) -> Measured:
        torch.rand(1)  # the global stream moves on, and must not matter
        return generation_figures(generated, test, test, networks, replace(config, **changes), seed)

    one = run(0)
    assert {"ic_lpips@alex", "ic_lpips@vgg"} <= set(one.figures)
    assert run(0).figures == one.figures
    assert run(0, block=3, memory=1).figures == pytest.approx(one.figures, rel=1e-4, abs=1e-7)
    assert run(1).figures["ic_lpips@vgg"] != one.figures["ic_lpips@vgg"]


def test_squares() -> None:
    """A region of 30 x 20 pixels gives a square of int(1.6 x 29) = 46 pixels, at least 48, centred on it."""
    image = torch.arange(64, dtype=torch.uint8).view(1, 1, 1, 64).expand(1, 3, 64, 64) * 4
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    mask[:, :, 20:50, 22:42] = 255  # columns 22..41: start (63 - 48) // 2 = 7
    square = region_squares(image, mask, side=48)
    assert torch.equal(square[0, 0, 0], image[0, 0, 0, 7:55])
    small = region_squares(image, mask, side=48, least=1)
    assert small[0, 0, 0, 0] == 8 * 4  # 46 pixels, from (63 - 46) // 2 = 8 on
    assert region_squares(image, mask).shape == (1, 3, 160, 160)


@pytest.mark.parametrize("corner", [(0, 0), (60, 3), (30, 63)])
def test_squares_mirror_at_the_border_as_numpy_does(corner: tuple[int, int]) -> None:
    image, mask = noisy(1, 0, 64), torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    top, left = corner
    mask[0, 0, top, left] = 255
    padded = np.pad(image[0].numpy(), ((0, 0), (200, 200), (200, 200)), mode="reflect")
    top, left = (2 * top - 150) // 2 + 200, (2 * left - 150) // 2 + 200
    found = region_squares(image, mask, side=150, least=150)
    np.testing.assert_array_equal(found[0].numpy(), padded[:, top : top + 150, left : left + 150])


def test_mask_figures_are_means_of_the_images() -> None:
    targets = noisy(3, 0, 32) // 2
    masks = torch.zeros(3, 1, 32, 32, dtype=torch.uint8)
    masks[:, :, 4:12, 4:12] = 255
    masks[2] = 0  # left out
    made = targets.clone()
    made[0, :, 4:12, 4:8] += 20  # half of the mask
    made[1, :, 4:12, 4:12] += 20
    made[1, :, 20, :16] += 20  # 16 pixels outside, 64 inside
    found = mask_figures(made, targets, masks)
    assert found == pytest.approx(
        {"changed_outside": 16 / 80 / 2, "outside_changed": 16 / (1024 - 64) / 2, "mask_visible": 0.75}
    )
    one = mask_consistency(
        targets[1].permute(1, 2, 0).numpy(), made[1].permute(1, 2, 0).numpy(), masks[1, 0].numpy() > 0
    )
    assert mask_figures(made[1:2], targets[1:2], masks[1:2])["changed_outside"] == pytest.approx(one.changed_outside)
    assert mask_figures(made[2:], targets[2:], masks[2:]) == {}
    good_first = levels([9, 60], [GOOD_KIND, 0])
    through = generation_figures(
        good_first, None, TEST, QualityNetworks(), QualityConfig(), 0, targets_u8=levels([0, 60], [0, 0]).image_u8
    )
    assert through.figures == {"changed_outside": 0, "outside_changed": 0, "mask_visible": 0}


def test_refusals() -> None:
    networks, config = lpips_only()
    with pytest.raises(DataError, match="the test set has no defective images"):
        generation_figures(GENERATED, BASE, TEST.good, networks, config, 0)
    with pytest.raises(DataError, match="images of the base set"):
        generation_figures(GENERATED, tiny_set(0, 2, size=64), TEST, networks, config, 0)
    with pytest.raises(DataError, match="2 targets for 5 generated images"):
        generation_figures(GENERATED, BASE, TEST, networks, config, 0, targets_u8=GENERATED.image_u8[:2])
    with pytest.raises(DataError, match="a mask is empty"):
        region_squares(GENERATED.image_u8, GENERATED.mask_u8)
    with pytest.raises(DataError, match=r"masks \(1, 1, 32, 32\)"):
        region_squares(GENERATED.image_u8, GENERATED.mask_u8[:1])
    with pytest.raises(DataError, match="vectors have shapes"):
        squared_distances(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ConfigError, match="memory 0"):
        EmbeddedImages(GENERATED.image_u8, grey, CPU, memory=0)


@pytest.mark.parametrize("settings", [{"splits": 0}, {"centres": "all"}, {"sampled_centres": 0}, {"memory": 0}])
def test_settings_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings))} is .*must be"):
        QualityConfig(**settings)  # type: ignore[arg-type]


TINY = ClassifierConfig(size=32, width=8, epochs=6, learning_rate=2e-3, checks=2)


def halves(count: int, seed: int, *, good: int = 2) -> Samples:
    """Good noise first; then defects of the upper half (type 0) and of the left half (type 1), in turn."""
    plain = tiny_set(good, count, 0, seed=seed)
    kind = torch.tensor([GOOD_KIND] * good + [number % 2 for number in range(count)])
    images, masks = plain.image_u8.clone(), torch.zeros_like(plain.mask_u8)
    for index, one in enumerate(kind.tolist()):
        place = (slice(None), slice(0, 16), slice(None)) if one == 0 else (slice(None), slice(None), slice(0, 16))
        if one != GOOD_KIND:
            images[index][place] //= 2
            masks[index][place] = 255
    return Samples(images, masks, kind, KINDS)


def test_classification_learns_and_says_how() -> None:
    train, test, longer = halves(48, 0), halves(20, 1), replace(TINY, epochs=10)
    found = classification_figures(train, test, longer)
    assert found.figures["accuracy"] >= 0.9
    assert found.notes == ("ResNet-34 without ImageNet weights", "classifier's checkpoint: the last")
    expected = evaluate_classifier(train_classifier(train.defective, longer), test)
    assert found.figures == {"accuracy": expected.accuracy, "accuracy_mean_of_types": expected.mean_of_types}
    published = classification_figures(train, test, replace(TINY, mode="as_published", epochs=1))
    assert published.notes[-1] == "classifier's checkpoint: the best on the test set"
    chosen = classification_figures(train, test, replace(TINY, epochs=1), validation=halves(4, 5))
    assert chosen.notes[-1] == "classifier's checkpoint: the best on a validation part of the base set"


def test_few_base_images_are_repeated_for_the_same_budget() -> None:
    """Two images of one type and one of the other, repeated to 8 each: the steps of 16 images."""
    train = halves(3, 0)
    found = classification_figures(train, halves(6, 1), replace(TINY, epochs=1), repeat_to=8)
    assert found.notes[1:3] == (
        "the classifier learnt types from fewer than 3 images: square (2), frame (1)",
        "the classifier's images are repeated to 8 of each type, for as many steps as others",
    )
    order = torch.tensor([0, 2] * 4 + [1] * 8)
    by_hand = train_classifier(train.defective.where(order), replace(TINY, epochs=1))
    assert found.figures["accuracy"] == evaluate_classifier(by_hand, halves(6, 1)).accuracy
    unrepeated = classification_figures(train, halves(6, 1), replace(TINY, epochs=4))
    assert not any("repeated" in note for note in unrepeated.notes)
    assert "accuracy" in unrepeated.figures


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        (levels([1, 2], [0, 0], ("hole",)), levels([3], [0], ("hole",)), r"the category has one defect type \(hole\)"),
        (levels([1, 2], [0, 0], ("perlin",)), TEST, "perlin: no defect types of the category"),
        (levels([1, 2], [0, 1], ("a", "b")), TEST, "a, b: no defect types of the category"),
        (levels([1, 2], [0, 0]), TEST, "the method has no images of frame"),
    ],
)
def test_classification_is_skipped_and_said(train: Samples, test: Samples, words: str) -> None:
    figures, notes = classification_figures(train, test, TINY)
    assert figures == {}
    assert len(notes) == 1
    assert re.match(f"classification skipped: .*{words}", notes[0])
