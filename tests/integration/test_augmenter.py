"""The augmenter: its call, the mask contract on tensors, seeds, and what it leaves alone."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import anomalyhybrid
from anomalyhybrid.errors import AnomalyHybridError, ConfigError, DataError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.integration import DefectAugmenter

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Build = Callable[..., DefectAugmenter]


@pytest.fixture(scope="session")
def build(tiny_run: Path, maps_cache: Path) -> Build:
    """``build(probability=1.0, data=..., ..., seed=1)``; arguments that are settings go to the configuration."""

    def made(**given: object) -> DefectAugmenter:
        own = ("probability", "data", "base_set", "mean", "std", "donors")
        config = GenerateConfig(**{"max_attempts": 2} | {k: v for k, v in given.items() if k not in own})  # type: ignore[arg-type]
        return DefectAugmenter(
            tiny_run, config=config, cache=maps_cache / "conditions", **{k: v for k, v in given.items() if k in own}
        )  # type: ignore[arg-type]

    return made


def check_contract(given: torch.Tensor, augmented: torch.Tensor, masks: torch.Tensor) -> None:
    assert augmented.shape == given.shape
    assert augmented.dtype == given.dtype
    assert masks.shape == (*given.shape[:-3], 1, *given.shape[-2:])
    assert set(masks.unique().tolist()) <= {0.0, 1.0}
    outside = (masks == 0).expand_as(given)
    assert torch.equal(augmented[outside], given[outside])
    inside = ((augmented != given).any(dim=-3, keepdim=True) & (masks > 0)).float().mean() / masks.mean()
    assert inside > 0.9


@pytest.mark.parametrize(
    ("shape", "with_folder"), [((64, 64), True), ((48, 48), False), ((80, 112), True), ((33, 200), False)]
)
def test_outside_the_masks_nothing_changes(
    build: Build, good_images: torch.Tensor, products: Path, shape: tuple[int, int], with_folder: bool
) -> None:
    folder = {"data": products / "nut", "base_set": products / "nut", "procedural": 0.5} if with_folder else {}
    augmenter = build(probability=1.0, **folder)
    given = F.interpolate(good_images, shape, mode="bilinear", antialias=True)
    before = given.clone()
    augmented, masks = augmenter(given)
    check_contract(given, augmented, masks)
    assert torch.equal(given, before)
    assert all(mask.any() for mask in masks)
    assert augmented.min() >= 0
    assert augmented.max() <= 1


@pytest.mark.parametrize("appearance", ["target", "reference", "blend"])
def test_each_appearance_keeps_the_contract(build: Build, good_images: torch.Tensor, appearance: str) -> None:
    given = F.interpolate(good_images, (72, 90), mode="bilinear", antialias=True)
    check_contract(given, *build(probability=1.0, appearance=appearance)(given))


def test_one_image_is_a_batch_of_one(build: Build, good_images: torch.Tensor) -> None:
    image, mask = build(probability=1.0)(good_images[0])
    check_contract(good_images[0], image, mask)
    together = build(probability=1.0)(good_images[:1])
    assert torch.equal(image, together[0][0])
    assert torch.equal(mask, together[1][0])


def test_mixed_precision_around_it_changes_nothing(build: Build, good_images: torch.Tensor) -> None:
    plain = build(probability=1.0)(good_images[:2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = build(probability=1.0)(good_images[:2])
    assert all(torch.equal(*pair) for pair in zip(plain, mixed, strict=True))
    check_contract(good_images[:2].half(), *build(probability=1.0)(good_images[:2].half()))


def test_a_grey_image_stays_grey(build: Build, good_images: torch.Tensor) -> None:
    grey = good_images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1).contiguous()
    augmented, masks = build(probability=1.0)(grey)
    check_contract(grey, augmented, masks)
    assert torch.allclose(augmented, augmented[:, :1].expand_as(augmented), atol=1e-6)


def test_normalised_images_get_the_same_defects(build: Build, good_images: torch.Tensor) -> None:
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    normalised = (good_images - mean) / std
    augmented, masks = build(probability=1.0, mean=MEAN, std=STD)(normalised)
    check_contract(normalised, augmented, masks)
    plain, plain_masks = build(probability=1.0)(good_images)
    assert torch.equal(masks, plain_masks)
    assert torch.allclose(augmented * std + mean, plain, atol=1e-3)
    with pytest.raises(DataError, match="they must lie in \\[0, 1\\]"):
        build()(normalised)


def test_the_share_of_defects_is_the_probability(build: Build, good_images: torch.Tensor) -> None:
    augmented, masks = build(probability=0.0)(good_images)
    assert torch.equal(augmented, good_images)
    assert not masks.any()
    augmenter = build(probability=0.3)
    happens = [augmenter._happens(number) for number in range(4000)]
    assert abs(sum(happens) / 4000 - 0.3) < 0.03  # four deviations of a binomial share
    augmenter = build(probability=0.5, max_attempts=1)
    given = good_images.repeat(4, 1, 1, 1)
    _, masks = augmenter(given)
    assert [bool(mask.any()) for mask in masks] == [augmenter._happens(number) for number in range(16)]


def test_seeds_and_counts_decide(build: Build, good_images: torch.Tensor) -> None:
    first, again, other = build(probability=1.0), build(probability=1.0), build(probability=1.0, seed=1)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, two = first(good_images), first(good_images)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.drawn == 8
    torch.manual_seed(6)
    assert torch.equal(again(good_images)[0], one[0])
    assert not torch.equal(two[1], one[1])
    assert not torch.equal(other(good_images)[1], one[1])
    again.drawn = 4
    assert torch.equal(again(good_images)[0], two[0])


def test_real_defects_are_drawn_on(build: Build, good_images: torch.Tensor, products: Path) -> None:
    nut = products / "nut"
    without = build(probability=1.0, data=nut)(good_images)
    assert not torch.equal(build(probability=1.0, data=nut, base_set=nut)(good_images)[1], without[1])


def test_what_it_gives_trains_and_what_it_holds_does_not(build: Build, good_images: torch.Tensor) -> None:
    augmenter = build(probability=1.0)
    assert list(augmenter.parameters()) == []
    assert augmenter.state_dict() == {}  # so that a detector's checkpoint loads without this package
    net = nn.Conv2d(3, 1, 3, padding=1)
    augmented, masks = augmenter(good_images)
    assert not augmented.requires_grad
    F.binary_cross_entropy_with_logits(net(augmented), masks).backward()
    assert net.weight.grad is not None
    twin = copy.deepcopy(augmenter)
    assert torch.equal(twin(good_images)[0], augmenter(good_images)[0])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"roi": "roi.png"}, "generate.roi does not go with a batch augmenter"),
        ({"per_image": (1, 3)}, "generate.per_image"),
        ({"composition": "full"}, "composition 'full'"),
        ({"window": 64}, "generate.window"),
        ({"gate": "on"}, "generate.gate"),
        ({"probability": 1.5}, "probability is 1.5"),
        ({"donors": 0}, "donors is 0"),
        ({"mean": (0.5, 0.5)}, "give three numbers each"),
        ({"std": (1.0, 0.0, 1.0)}, "std above 0"),
        ({"base_set": "somewhere"}, "need data"),
    ],
)
def test_settings_that_do_not_fit(build: Build, settings: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(**settings)


def test_data_of_two_products(build: Build, products: Path) -> None:
    with pytest.raises(ConfigError, match="2 categories; give the folder of one"):
        build(data=products)


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(2, 1, 64, 64), torch.zeros(64, 64), torch.zeros(2, 3, 8, 64), torch.zeros(2, 3, 64, 64).byte()],
)
def test_batches_that_are_none(build: Build, wrong: torch.Tensor) -> None:
    with pytest.raises(AnomalyHybridError, match="give float \\(B, 3, H, W\\)"):
        build()(wrong)


def test_nan_is_refused(build: Build, good_images: torch.Tensor) -> None:
    broken = good_images.clone()
    broken[0, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match="nan"):
        build()(broken)


def test_the_package_does_not_import_anomalib() -> None:
    words = re.compile(r"^\s*(?:from|import)\s+anomalib\b", re.MULTILINE)  # also in texts, so that a parser decides
    paths = list(Path(anomalyhybrid.__file__).parent.rglob("*.py"))
    assert len(paths) > 100
    for path in paths:
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if words.search(text) else ():
            named = isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "anomalib"
            plain = isinstance(node, ast.Import) and any(name.name.split(".")[0] == "anomalib" for name in node.names)
            assert not named, path
            assert not plain, path
