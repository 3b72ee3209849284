"""Tables 1, 5 and 7: rows with fake networks, mask consistency of a set's files, skip rules, networks' records."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_trees import TINY, bench_of, split_of, widget
from safetensors.torch import save_file

from anomalyhybrid.data.loading import save_png
from anomalyhybrid.errors import DataError, WeightsError, WeightsNotFoundError
from anomalyhybrid.evaluation.features import FeatureNetwork, FeatureOutput
from anomalyhybrid.evaluation.generation_quality import QualityNetworks
from anomalyhybrid.evaluation.lpips import HEAD_SHA256
from anomalyhybrid.evaluation.results import Row as ResultRow
from anomalyhybrid.evaluation.results import UsedNetwork
from anomalyhybrid.evaluation.samples import join
from anomalyhybrid.generation.manifest import DATASET, Row, write_rows
from anomalyhybrid.models.alexnet import AlexNetFeatures
from anomalyhybrid.models.resnet import new_resnet34
from anomalyhybrid.models.weights import sha256_of
from anomalyhybrid.recipes.evaluation import networks as networks_module
from anomalyhybrid.recipes.evaluation import quality
from anomalyhybrid.recipes.evaluation.data import CategoryData
from anomalyhybrid.recipes.evaluation.methods import MadeSet, entries, method_samples
from anomalyhybrid.recipes.evaluation.networks import Networks, load_networks
from anomalyhybrid.recipes.evaluation.quality import OPTIONS, check_quality, mask_figures_of, quality_row

ONE = replace(TINY, table=1, count=24, classifier_epochs=2, classifier_width=4)
WEIGHTS = Path(__file__).parents[3] / "shared" / "weights"
CPU = torch.device("cpu")


def features(images_u8: torch.Tensor) -> FeatureOutput:
    small = torch.nn.functional.adaptive_avg_pool2d(images_u8.float() / 255, 4).flatten(1)
    return FeatureOutput(small, small * 4)


def fake_networks() -> Networks:
    embed = {"alex": lambda image: torch.nn.functional.avg_pool2d(image, 8).flatten(1)}
    return Networks(quality=QualityNetworks(features=features, lpips=embed), imagenet=None, used=())  # type: ignore[arg-type]


def row_of(method: str, tmp_path: Path, data: CategoryData, **settings: object) -> ResultRow:
    config = replace(ONE, methods=(method,), **settings)  # type: ignore[arg-type]
    (entry,), bench = entries(config), bench_of(tmp_path / "out")
    return quality_row(entry, data, method_samples(entry, data, 0, bench), 0, bench, fake_networks())


GENERATION = {
    "inception_score",
    "inception_score_per_defect",
    "ic_lpips@alex",
    "kid",
    "fid",
    "kid@region",
    "nearest_base",
    "nearest_base_minimum",
    "nearest_base@region",
    "nearest_base_minimum@region",
}


def test_a_method_with_defect_types(tmp_path: Path) -> None:
    data = split_of(widget(tmp_path))
    row = row_of("crop_paste", tmp_path, data)
    assert set(row.figures) == {*GENERATION, "accuracy", "accuracy_mean_of_types"}
    assert not any(math.isnan(value) for value in row.figures.values())
    assert (row.method, row.category, row.seed, row.checkpoint) == ("CropPaste", "widget", 0, None)
    assert row.samples == {
        "generated images": 24,
        "defective test images": 6,
        "base images": 3,
        "classifier images": 24,
    }
    assert row.notes == ("ResNet-34 without ImageNet weights", "classifier's checkpoint: the last")
    assert row_of("crop_paste", tmp_path, data) == row


def test_the_real_base_third_gets_the_same_steps_and_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict] = []
    real = quality.classification_figures

    def watched(train, test, config, **more):
        seen.append(more)
        return real(train, test, config, **more)

    monkeypatch.setattr(quality, "classification_figures", watched)
    data = split_of(widget(tmp_path))
    row = row_of("base_third", tmp_path, data)
    assert seen[0]["repeat_to"] == 12  # 24 images of 2 types
    assert row.figures["nearest_base"] == pytest.approx(0, abs=1e-6)
    assert math.isnan(row.figures["inception_score"])
    assert "accuracy" in row.figures
    text = "\n".join(row.notes)
    assert "fewer than 3 images: dent (1), scratch (2)" in text
    assert "repeated to 12 of each type" in text
    assert "from 3 images in place of 24" in text
    assert "inception_score: 10 splits of 3 images" in text


@pytest.mark.parametrize("method", ["cut_paste", "perlin", "nsa"])
def test_one_kind_methods_get_generation_figures_only(tmp_path: Path, method: str) -> None:
    row = row_of(method, tmp_path, split_of(widget(tmp_path)))
    assert set(row.figures) == GENERATION
    assert row.figures["inception_score"] == row.figures["inception_score_per_defect"]
    assert any("classification skipped" in note and "no defect types of the category" in note for note in row.notes)
    assert row.samples["classifier images"] == 0


def test_a_category_with_one_type_is_skipped_and_said(tmp_path: Path) -> None:
    row = row_of("crop_paste", tmp_path, split_of(widget(tmp_path, defects={"dent": 4})))
    assert set(row.figures) == GENERATION
    assert any("the category has one defect type (dent)" in note for note in row.notes)


def test_added_base_images_train_the_classifier_but_are_not_measured(tmp_path: Path) -> None:
    data = split_of(widget(tmp_path))
    plain, added = row_of("crop_paste", tmp_path, data), row_of("crop_paste", tmp_path, data, with_base=True)
    assert {name: added.figures[name] for name in GENERATION} == {name: plain.figures[name] for name in GENERATION}
    assert added.samples["generated images"] == 24
    assert added.samples["classifier images"] == 27


def test_settings_reach_the_figures(tmp_path: Path) -> None:
    data = split_of(widget(tmp_path))
    row = row_of("crop_paste", tmp_path, data, centres="base", singletons="drop", cap=2)
    plain = row_of("crop_paste", tmp_path, data)
    assert row.figures["ic_lpips@alex"] != plain.figures["ic_lpips@alex"]
    assert row.figures["kid"] == plain.figures["kid"]
    published = row_of("crop_paste", tmp_path, data, mode="as_published")
    assert published.notes[-1] == "classifier's checkpoint: the best on the test set"
    checked = split_of(widget(tmp_path / "more", defects={"scratch": 9, "dent": 9}), replace(ONE, validation_share=0.4))
    chosen = row_of("crop_paste", tmp_path, checked, validation_share=0.4)
    assert chosen.notes[-1] == "classifier's checkpoint: the best on a validation part of the base set"
    config = quality.quality_config(replace(ONE, cap=0, centre_count=7), CPU)
    assert (config.clusters.cap, config.sampled_centres) == (None, 7)
    assert set(OPTIONS) <= set(asdict(ONE))


def test_refused_before_long_work(tmp_path: Path) -> None:
    data = split_of(widget(tmp_path))
    check_quality(data, ONE)
    with pytest.raises(DataError, match="widget has no defective test image"):
        check_quality(replace(data, test=data.test.good), ONE)


def manifest_row(number: int, target: str, mask: str | None) -> Row:
    named = {"image": f"{number}.png", "label_mask": mask, "target": target, "defect": "dent"}
    texts = dict.fromkeys(("category", "reference", "decoder", "operation", "appearance", "composition"), "x")
    numbers = dict.fromkeys(("seed", "changed_outside", "mask_area", "attempt"), 0)
    means = dict.fromkeys(("change_inside", "fusion_mask"), 0.0)
    return Row(id=str(number), structure=None, model_sha256="", accepted=True, **named, **texts, **numbers, **means)  # type: ignore[arg-type]


def written_set(tmp_path: Path, targets: tuple[str, ...]) -> MadeSet:
    """One image with half of its mask changed, one with all of it and as many pixels outside."""
    normal = np.full((24, 40, 3), 90, np.uint8)
    mask = np.zeros((24, 40), np.uint8)
    mask[4:8, 4:12] = 255
    folder, rows = tmp_path / "set", []
    for number, (columns, below) in enumerate(((slice(4, 8), 8), (slice(4, 12), 12))):
        made = normal.copy()
        made[4:below, columns] += 50
        save_png(_parent(folder / f"{number}.png"), made)
        save_png(_parent(folder / f"mask_{number}.png"), mask)
        rows.append(manifest_row(number, targets[number], f"mask_{number}.png"))
        save_png(_parent(tmp_path / "data" / f"{number}.png"), normal)
    write_rows(folder, rows)
    (folder / DATASET).write_text(json.dumps({"format": 1, "data_root": str(tmp_path / "data")}))
    base = split_of(widget(tmp_path)).base
    return MadeSet(method="ours", samples=join(*[base] * 4), checkpoint="ab" * 32, folder=folder, rows=tuple(rows))


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_mask_consistency_of_a_sets_files(tmp_path: Path) -> None:
    """32 masked pixels; the second image changes 8 x 8 pixels, 32 of them outside."""
    found = mask_figures_of(written_set(tmp_path, ("0.png", "1.png")))
    assert found.notes == ()
    assert found.figures == pytest.approx(
        {"changed_outside": 0.25, "outside_changed": 32 / (24 * 40 - 32) / 2, "mask_visible": 0.75}
    )


def test_missing_targets_are_said(tmp_path: Path) -> None:
    found = mask_figures_of(written_set(tmp_path, ("0.png", "away.png")))
    assert all(math.isnan(value) for value in found.figures.values())
    assert set(found.figures) == {"changed_outside", "outside_changed", "mask_visible"}
    assert "mask consistency was not measured" in found.notes[0]
    assert "away.png" in found.notes[0]
    assert mask_figures_of(replace(written_set(tmp_path, ("0.png", "1.png")), folder=None)).figures == {}


def test_a_generated_set_has_its_checkpoint_and_masks(tmp_path: Path) -> None:
    data, made = split_of(widget(tmp_path)), written_set(tmp_path, ("0.png", "1.png"))
    entry = entries(replace(ONE, methods=("ours",)))[0]
    row = quality_row(entry, data, made, 0, bench_of(tmp_path / "out"), fake_networks())
    assert row.checkpoint == "ab" * 32
    assert row.figures["mask_visible"] == 0.75
    assert row.method == entry.label


def drawn_alex(folder: Path) -> dict[str, str]:
    """Random weights of LPIPS alex; gives the settings that name them."""
    net, generator = AlexNetFeatures(), torch.Generator().manual_seed(0)
    state = {name: torch.randn(value.shape, generator=generator) * 0.02 for name, value in net.state_dict().items()}
    save_file(state, folder / "alex.safetensors")
    heads = {f"lin{n}.model.1.weight": torch.ones(1, width, 1, 1) for n, width in enumerate(net.channels)}
    save_file(heads, folder / "heads.safetensors")
    return {"alexnet_weights": str(folder / "alex.safetensors"), "lpips_alex_heads": str(folder / "heads.safetensors")}


@pytest.fixture
def only_vgg16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An empty cache, and feature networks of which only the last is to be had; gives those looked for."""
    asked: list[str] = []

    def load(name, *, weights=None, device="cpu"):
        asked.append(name)
        if name != "vgg16":
            raise WeightsNotFoundError(f"no {name}")
        return FeatureNetwork(name=name, sha256="cd" * 32, stand_in="a stand-in", device=CPU, compute=features)

    monkeypatch.setenv("ANOMALYHYBRID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(networks_module, "load_features", load)
    return asked


def test_networks_and_their_record(tmp_path: Path, only_vgg16: list[str]) -> None:
    config = replace(ONE, **drawn_alex(tmp_path))
    found = load_networks(config, CPU)
    assert only_vgg16 == ["inception", "efficientnet_lite2", "vgg16"]
    used = {network.role: network for network in found.used}
    assert set(used) == {"inception", "lpips@alex", "nearest_base", "nearest_base@region", "resnet34"}
    assert used["inception"] == UsedNetwork(role="inception", name="vgg16", sha256="cd" * 32, stand_in="a stand-in")
    assert used["lpips@alex"].sha256 == sha256_of(tmp_path / "alex.safetensors")
    assert sha256_of(tmp_path / "heads.safetensors")[:12] in used["lpips@alex"].name
    assert used["lpips@alex"].stand_in == ""
    assert "started at random" in used["resnet34"].stand_in
    assert found.imagenet is None
    assert found.quality.lpips["alex"](torch.zeros(1, 3, 64, 64)).shape[0] == 1
    again = load_networks(config, CPU)
    assert again.used == found.used


def test_imagenet_weights_are_used_and_recorded(tmp_path: Path, only_vgg16: list[str]) -> None:
    path = tmp_path / "resnet.safetensors"
    save_file(new_resnet34(10, torch.Generator().manual_seed(0), width=4).state_dict(), path)
    config = replace(ONE, resnet34_weights=str(path), **drawn_alex(tmp_path))
    found = load_networks(config, CPU)
    assert found.imagenet is not None
    assert "conv1.weight" in found.imagenet
    (used,) = [network for network in found.used if network.role == "resnet34"]
    assert (used.sha256, used.stand_in) == (sha256_of(path), "")


def test_weights_that_are_there_must_be_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALYHYBRID_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="no file at the given path"):  # also for auto
        load_networks(replace(ONE, inception_weights=str(tmp_path / "x.pth")), CPU)
    damaged = tmp_path / "weights-inception-2015-12-05-6726825d.pth"
    damaged.write_bytes(b"half a file")
    with pytest.raises(WeightsError, match="weights-inception"):  # no other network in its place
        load_networks(ONE, CPU)


def test_missing_weights_name_all_places(tmp_path: Path, only_vgg16: list[str]) -> None:
    with pytest.raises(WeightsError, match=r"'AlexNet' not found.*\n.*explicit path.*\n.*cache"):
        load_networks(ONE, CPU)
    with pytest.raises(WeightsError, match="no inception"):
        load_networks(replace(ONE, features="inception"), CPU)
    given = drawn_alex(tmp_path) | {"resnet34_weights": str(tmp_path / "none.safetensors")}
    with pytest.raises(WeightsError, match="no file at the given path"):
        load_networks(replace(ONE, **given), CPU)


def test_the_shared_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not WEIGHTS.is_dir():
        pytest.skip(f"{WEIGHTS} is not here")
    monkeypatch.setenv("ANOMALYHYBRID_CACHE", str(WEIGHTS))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    found = load_networks(replace(ONE, lpips=("alex", "vgg")), CPU)
    used = {network.role: network for network in found.used}
    assert used["inception"].name == "efficientnet_lite2"
    assert used["inception"].stand_in == "EfficientNet-Lite2 in place of Inception v3"
    assert used["lpips@alex"].name == f"LPIPS v0.1 alex (heads {HEAD_SHA256['alex'][:12]})"
    assert used["lpips@vgg"].sha256 == sha256_of(WEIGHTS / "vgg16_features.fp16.safetensors")
    assert used["nearest_base"].sha256 == used["lpips@alex"].sha256
