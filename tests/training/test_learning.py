"""Training learns: two images are overfitted, ablations differ, each loss term counts."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_runs import CHEAP, TINY, image_set, make_trainer, tensors, tiny_generator, train_config

from anomalyhybrid.augment.config import AugmentConfig
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.models.config import DiscriminatorConfig, GeneratorConfig
from anomalyhybrid.models.discriminator import Discriminator
from anomalyhybrid.models.generator import Generator
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.ops.trees import mapped
from anomalyhybrid.seeding import stream
from anomalyhybrid.training.config import LossConfig, TrainConfig, loss_preset
from anomalyhybrid.training.pool import TrainingPool
from anomalyhybrid.training.step import Networks, crop, crop_corners, draw_views, training_step
from anomalyhybrid.types import Views

GENTLE = AugmentConfig(tps_shift=0.1, affine_probability=0.0, flip_probability=0.0)


def two_images() -> TrainingPool:
    return TrainingPool(image_set([0, 0]), None, 1)


def batch(config: AugmentConfig = GENTLE, count: int = 8, pool: TrainingPool | None = None) -> Views:
    return draw_views(Draws.from_stream(stream(5, "views"), count), pool or two_images(), config)


def source_error(model: Generator, views: Views) -> float:
    """Mean absolute error of both sources; untouched by what fusion copies."""
    with torch.no_grad():
        outputs = model(views.conditions.stacked())
    targets = {"ahd": views.target_ahd, "ahe": views.target_ahe}
    return sum(float((output.source - targets[name]).abs().mean()) for name, output in outputs.items()) / len(outputs)


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Generator, Generator, list[dict]]:
    """A generator before and after forty steps, with its journal rows."""
    config = train_config(
        steps=40, batch_size=2, view_block=10, learning_rate=3e-3, ema_decay=0.5, journal_every=20, augment=GENTLE
    )
    rows: list[dict] = []
    trainer = make_trainer(
        tmp_path_factory.mktemp("overfit"), config, pool=two_images(), loss=replace(CHEAP, source_share=0.5)
    )
    trainer.run(report=rows.append)
    return tiny_generator(), trainer.averaged_generator, rows


def test_two_images_are_overfitted(overfitted) -> None:
    before, after, _ = overfitted
    views = batch()
    assert source_error(after, views) < 0.4 * source_error(before, views)


def test_the_journal_shows_what_design_asks_to_watch(overfitted) -> None:
    _, _, rows = overfitted
    assert [row["step"] for row in rows] == [20, 40]
    for name in ("ahd", "ahe"):
        assert 0 < rows[-1][f"fusion_mask_{name}"] < 1
        assert rows[-1][f"edit_response_{name}"] > 0
    assert {name for name in rows[0] if name.startswith("loss_")} == {
        f"loss_{term}" for term in ("adversarial", "feature", "pixel", "region", "fusion", "discriminator")
    }


def test_an_ablated_group_is_not_trained_and_changes_the_result(tmp_path: Path) -> None:
    config = train_config(steps=2)
    results = {}
    for decoders in (("ahd", "ahe"), ("ahd",), ("ahe",)):
        folder = tmp_path / "-".join(decoders)
        rows: list[dict] = []
        generator = tiny_generator(replace(TINY, decoders=decoders))
        make_trainer(folder, config, generator=generator).run(report=rows.append)
        assert [name for name in ("ahd", "ahe") if f"fusion_mask_{name}" in rows[0]] == list(decoders)
        results[decoders] = tensors(folder)
    alone, both = results[("ahd",)], results[("ahd", "ahe")]
    assert not any(".ahe." in key for key in alone)
    key = "generator/encoder.stem.0.weight"
    assert not torch.equal(alone[key], both[key])
    assert not torch.equal(alone[key], results[("ahe",)][key])


def networks(config: GeneratorConfig = TINY) -> Networks:
    generator = tiny_generator(config)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        discriminator = Discriminator(DiscriminatorConfig(width=8))
    return Networks(
        generator=generator,
        discriminator=discriminator,
        features=lambda image: [image, image * 2],
        generator_optimizer=torch.optim.Adam(generator.parameters(), 1e-3),
        discriminator_optimizer=torch.optim.Adam(discriminator.parameters(), 1e-3),
    )


def step(loss: LossConfig, parts: Networks | None = None) -> dict[str, torch.Tensor]:
    return training_step(parts or networks(), loss, batch(count=4), Draws.from_stream(stream(0, "step"), 4, 16))


def test_the_paper_preset_has_two_terms_and_unknown_presets_are_refused() -> None:
    terms = {name for name in step(loss_preset("paper")) if name.startswith("loss_")}
    assert terms == {"loss_adversarial", "loss_perceptual", "loss_discriminator"}
    assert loss_preset("default") == LossConfig()
    with pytest.raises(ConfigError, match="'default' or 'paper'"):
        loss_preset("best")  # type: ignore[arg-type]


def test_weights_scale_their_terms() -> None:
    names = ("adversarial", "perceptual", "feature", "pixel", "region", "fusion")
    doubled = LossConfig(**{f"{name}_weight": 2 * getattr(LossConfig(), f"{name}_weight") for name in names})
    once, twice = step(LossConfig()), step(doubled)
    for name in names:
        assert float(twice[f"loss_{name}"]) == pytest.approx(2 * float(once[f"loss_{name}"]), rel=1e-4)
        assert float(once[f"loss_{name}"]) > 0


def test_a_step_moves_both_networks_and_leaves_the_discriminator_trainable() -> None:
    parts = networks()
    before = [parameter.clone() for net in (parts.generator, parts.discriminator) for parameter in net.parameters()]
    step(LossConfig(), parts)
    after = [parameter for net in (parts.generator, parts.discriminator) for parameter in net.parameters()]
    assert all(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(parameter.requires_grad for parameter in parts.discriminator.parameters())


def test_the_generators_loss_leaves_no_gradient_in_the_discriminator() -> None:
    """Its update must be the discriminator's own loss alone: with the generator's weights at 0 it is the same."""
    one, other = networks(), networks()
    step(LossConfig(), one)
    step(LossConfig(adversarial_weight=5.0, feature_weight=0.0), other)
    for first, second in zip(one.discriminator.parameters(), other.discriminator.parameters(), strict=True):
        assert torch.equal(first, second)


def test_crops_hold_the_edited_region() -> None:
    region = torch.zeros(6, 1, 64, 64)
    for index in range(5):
        region[index, :, 10 * index : 10 * index + 8, 50 - 10 * index : 58 - 10 * index] = 1
    top, left = crop_corners(Draws.from_stream(stream(0, "crop"), 6), region, 32)
    assert bool(((top >= 0) & (top <= 32) & (left >= 0) & (left <= 32)).all())
    kept = crop(region, top, left, 32)
    assert kept.shape == (6, 1, 32, 32)
    assert bool((kept.sum(dim=(1, 2, 3))[:5] > 0).all())
    image = torch.arange(6 * 64 * 64.0).view(6, 1, 64, 64)
    cut = crop(image, top, left, 32)
    for index in range(6):
        row, column = int(top[index]), int(left[index])
        assert torch.equal(cut[index], image[index, :, row : row + 32, column : column + 32])


def test_views_have_edits_at_their_share() -> None:
    def edited(**shares: float) -> float:
        views = batch(AugmentConfig(**shares), count=32)
        return float((views.region_mask.amax(dim=(1, 2, 3)) > 0).float().mean())

    assert edited(edit=0.0, blend=0.0) == 0
    assert edited(edit=1.0, blend=0.0) > 0.95
    assert edited(edit=0.3, blend=0.2) == pytest.approx(0.5, abs=0.2)


def test_clean_edits_show_the_good_image_and_blends_the_defect() -> None:
    """`edit`: C_r is defect-free, so C_r and target differ inside; both are aligned, so they agree outside."""
    for config in (replace(GENTLE, edit=1.0, blend=0.0), replace(GENTLE, edit=0.0, blend=1.0)):
        views = batch(config, count=16)
        assert torch.equal(views.target_ahd, views.target_ahe)
        outside = views.region_mask == 0
        error = (views.conditions.color - views.target_ahe).abs()
        assert not (error * outside).any()
        assert float((error.amax(dim=(1, 2, 3)) > 0.01).float().mean()) > 0.8


def test_slices_are_the_samples() -> None:
    views = batch(count=6)
    part = mapped(lambda values: values[2:4], views)
    assert torch.equal(part.conditions.stacked(), views.conditions.stacked()[2:4])
    assert torch.equal(part.target_ahd, views.target_ahd[2:4])
    assert torch.equal(part.region_mask, views.region_mask[2:4])


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"steps": 0}, r"train\.steps is 0"),
        ({"view_block": 0}, r"train\.view_block"),
        ({"size": 72}, "multiple of 16"),
        ({"size": 48}, "at least 64"),
        ({"ema_decay": 1.0}, r"train\.ema_decay"),
        ({"learning_rate": 0.0}, r"train\.learning_rate"),
        ({"preset": "huge"}, "one of lite, base, paper"),
        ({"loss": "eq4"}, "one of default, paper"),
        ({"decoders": ()}, r"train\.decoders"),
        ({"decoders": ("ahd", "ahd")}, "each once"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        TrainConfig(**settings)


def test_the_rate_of_a_journal_row_waits_for_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device runs behind the host; a rate taken before its values are there would be that of asking."""

    class OnADevice:
        def __float__(self) -> float:
            time.sleep(0.3)
            return 1.0

    trainer = make_trainer(tmp_path, train_config(steps=1))
    monkeypatch.setattr(trainer, "_update", lambda views, draws: {"loss": OnADevice()})
    rows: list[dict] = []
    trainer.run(report=rows.append)
    assert rows[0]["seconds"] >= 0.3
    assert rows[0]["loss"] == 1.0
