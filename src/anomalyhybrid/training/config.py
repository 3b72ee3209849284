"""Configuration of a training run; free of torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from anomalyhybrid.augment.config import AugmentConfig
from anomalyhybrid.choices import check_choices
from anomalyhybrid.errors import ConfigError

LossPreset = Literal["default", "paper"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Terms of the generator's loss; `loss_preset` gives the two that are named."""

    adversarial: Literal["logistic", "least_squares", "hinge"] = "least_squares"
    """Form of the GAN loss; the paper's Eq. 3 is logistic."""
    adversarial_weight: float = 1.0
    """Weight of the adversarial term."""
    perceptual_weight: float = 10.0
    """Weight of the VGG term (Eq. 2); needs VGG weights unless 0."""
    feature_weight: float = 10.0
    """Weight of discriminator feature matching; 0 in the paper."""
    pixel_weight: float = 10.0
    """Weight of the mean absolute difference of the whole image; 0 in the paper."""
    region_weight: float = 40.0
    """Weight of the mean absolute difference inside edited regions; 0 in the paper."""
    fusion_weight: float = 0.3
    """Weight of the term that opens the fusion mask where the content is wrong; 0 in the paper (ADR-008)."""
    source_share: float = 0.3
    """Share of samples judged on the source branch alone, so that it learns even where copying would do (ADR-008)."""
    perceptual_crop: int = 128
    """Side of the square on which VGG compares, at the edited region where there is one; 0 takes the whole image."""


def loss_preset(name: LossPreset) -> LossConfig:
    """`paper` is Eqs. 2-4 and nothing else, `default` what worked best so far (docs/log.md; provisional).

    Raises:
        ConfigError: the name is neither.
    """
    if name == "default":
        return LossConfig()
    if name == "paper":
        return LossConfig(
            adversarial="logistic",
            perceptual_weight=1.0,
            feature_weight=0.0,
            pixel_weight=0.0,
            region_weight=0.0,
            fusion_weight=0.0,
            source_share=0.0,
            perceptual_crop=0,
        )
    raise ConfigError(f"loss preset is {name!r}; it must be 'default' or 'paper'")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run."""

    preset: Literal["lite", "base", "paper"] = "lite"
    """Size of the generator."""
    decoders: tuple[Literal["ahd", "ahe"], ...] = ("ahd", "ahe")
    """Decoder groups to train; one alone is the ablation of Table 5."""
    start: str = "auto"
    """`auto` fine-tunes the shipped generator where the preset fits it, `scratch` starts at random, else a path."""
    size: int = 256
    """Side of the training images in pixels."""
    steps: int = 4000
    """Optimiser steps."""
    max_minutes: float = 0.0
    """Stop after this many minutes, with a checkpoint; 0 for no limit."""
    batch_size: int = 16
    """Images a step (over all processes)."""
    learning_rate: float = 2e-4
    """Adam's step size for both networks."""
    ema_decay: float = 0.998
    """Decay of the averaged generator, the one that is used afterwards."""
    loss: Literal["default", "paper"] = "default"
    """Loss preset."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """How views are drawn."""
    edge: Literal["lite", "pidinet"] = "lite"
    """Edge extractor."""
    depth: Literal["lite", "depth_anything", "fastdepth", "measured", "measured_disparity"] = "lite"
    """Depth extractor, or measured depth files (distances, or values that are larger nearer)."""
    edge_weights: str = ""
    """Weight file of the edge extractor; needed for pidinet."""
    depth_weights: str = ""
    """Weight file or folder of the depth extractor. For measured depth the folder of its files, paired by path; empty
    takes the depth that the data set itself has for each image."""
    vgg_weights: str = ""
    """VGG16 or VGG19 with torchvision's keys (.safetensors or .pth); without it there is no perceptual term."""
    base_split: Literal["sorted", "random", "all"] = "all"
    """Part of the base-set folder used: a third of each defect (sorted or seeded random), or all of it."""
    seed: int = 0
    """Root of all random streams."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    journal_every: int = 50
    """Steps between journal rows."""
    sample_every: int = 500
    """Steps between sample grids."""
    view_block: int = 4
    """Steps whose views are drawn together; larger blocks cost memory and save launches on a GPU."""
    compile: bool = False
    """Compile the networks (on a GPU): costs about two minutes at the start, pays in runs of more than ten."""

    def __post_init__(self) -> None:
        check_choices(self, "train", ("preset", "loss", "edge", "depth", "base_split"))
        if not self.decoders or set(self.decoders) - {"ahd", "ahe"} or len(set(self.decoders)) < len(self.decoders):
            raise ConfigError(f"train.decoders is {self.decoders}; give 'ahd', 'ahe' or both, each once")
        for name in ("steps", "batch_size", "checkpoint_every", "journal_every", "sample_every", "view_block"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name} is {getattr(self, name)}; it must be at least 1")
        if self.size < 64 or self.size % 16:
            raise ConfigError(f"train.size is {self.size}; it must be a multiple of 16, at least 64")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"train.ema_decay is {self.ema_decay}; it must lie in [0, 1)")
        if self.learning_rate <= 0:
            raise ConfigError(f"train.learning_rate is {self.learning_rate}; it must be above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainDepthConfig(TrainConfig):
    """One training run of AnomalyHybrid*: as of AnomalyHybrid, on measured depth unless told otherwise."""

    depth: Literal["lite", "depth_anything", "fastdepth", "measured", "measured_disparity"] = "measured"
    """What the data's depth files hold: distances, or values that are larger nearer; or an extractor's name, to do
    without measured depth."""
