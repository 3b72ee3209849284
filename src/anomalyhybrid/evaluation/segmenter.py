"""The detector of Tables 2 and 4: DRAEM's U-Net trained on labelled images, its maps, scores and figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.choice import four_metrics
from anomalyhybrid.evaluation.detection import Detection, Localisation, detection, f1_max_on_grid, localisation
from anomalyhybrid.evaluation.fitting import (
    Fit,
    FitConfig,
    Precision,
    Report,
    as_input,
    autocast,
    check_choice,
    evaluating,
    fit,
    layout,
)
from anomalyhybrid.evaluation.focal import focal_loss
from anomalyhybrid.evaluation.samples import GOOD_KIND, Samples
from anomalyhybrid.evaluation.sampling import balanced_batches, check_images, check_samples
from anomalyhybrid.models.draem_unet import STRIDE, DraemUNet, DraemUNetConfig, new_draem_unet
from anomalyhybrid.seeding import stream

POOL = 21  # side of the mean filter before the maximum that scores an image
F1_GRID = np.linspace(0.0, 1.0, 21)  # thresholds of the published pixel F1


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmenterConfig(FitConfig):
    """Budget and sampling of a detector's training; the defaults are PROTOCOL's."""

    epochs: int = 200
    """Epochs; they only count samples and, `as_published`, checks."""
    samples_per_epoch: int = 500
    """Images drawn in an epoch."""
    width: int = 64
    """Base width of the U-Net."""
    good_share: float = 0.5
    """Share of good images in what is drawn; the others are of a uniformly drawn defect type."""
    generated_share: float | None = None
    """Share of generated normal images (AnoHybrid+) among the good ones; None adds them to the good set and draws
    from all alike, as the paper says."""

    def __post_init__(self) -> None:
        FitConfig.__post_init__(self)
        for name in ("epochs", "samples_per_epoch", "width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.size % STRIDE:
            raise ConfigError(f"size is {self.size}; the U-Net needs a multiple of {STRIDE}")
        for name in ("good_share", "generated_share"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ConfigError(f"{name} is {share}; it must lie in [0, 1]")

    @property
    def steps(self) -> int:
        """Optimiser steps: the samples of all epochs, cut into full batches."""
        return self.epochs * self.samples_per_epoch // self.batch_size


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedSegmenter:
    """A detector and how it came to be.

    Attributes:
        model: On the training device, in evaluation mode, with the chosen checkpoint's weights.
        config: As given.
        fit: Steps, choice, history, seconds.
        good: Real good training images.
        generated: Generated normal training images.
        defective: Defective training images.
    """

    model: DraemUNet
    config: SegmenterConfig
    fit: Fit
    good: int
    generated: int
    defective: int

    def description(self) -> dict[str, object]:
        """Everything but the weights, for a JSON result."""
        counts = {"good": self.good, "generated_normals": self.generated, "defective": self.defective}
        return {"config": asdict(self.config), "fit": asdict(self.fit), "images": counts}


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmenterFigures:
    """What a detector reaches on a test set; shares in [0, 1].

    Attributes:
        image: AUROC, AP, F1-max of the image scores.
        pixel: AUROC, AP, F1-max of the maps, and AUPRO to a false-positive rate of 0.3.
        pixel_f1_on_grid: Largest pixel F1 over thresholds 0, 0.05, ... 1 (as published), None if not asked for.
        good: Good test images.
        defective: Defective ones.
    """

    image: Detection
    pixel: Localisation
    pixel_f1_on_grid: float | None
    good: int
    defective: int

    def row(self) -> dict[str, float]:
        """The figures in percent, by the names that tables print."""
        row = {
            f"{level}_{name}": 100.0 * value
            for level, found in (("pixel", self.pixel), ("image", self.image))
            for name, value in (("auroc", found.auroc), ("ap", found.ap), ("f1", found.f1_max))
        }
        row["aupro"] = 100.0 * self.pixel.aupro
        if self.pixel_f1_on_grid is not None:
            row["pixel_f1_on_grid"] = 100.0 * self.pixel_f1_on_grid
        return row


def train_segmenter(
    train: Samples,
    config: SegmenterConfig,
    *,
    validation: Samples | None = None,
    test: Samples | None = None,
    generated_normals_u8: Tensor | None = None,
    device: torch.device | str = "cpu",
    report: Report | None = None,
) -> TrainedSegmenter:
    """Train DRAEM's U-Net on labelled images, without augmentation.

    Nothing global is changed and no file is written, so several trainings (seeds, categories) may run at once on
    one GPU, one process each. On a CPU the same seed gives the same weights bit for bit; on a GPU the batches and
    the initial weights are the same, but bilinear upsampling adds its gradients up in no fixed order.

    Args:
        train: Good and defective images of the config's size.
        config: Budget, sampling, mode.
        validation: Mode ``fixed``: a part of the base set that the checkpoint is chosen on, by the sum of four
            metrics (`choice.four_metrics`); None keeps the last checkpoint.
        test: Mode ``as_published`` only: the test set, on which the checkpoint is chosen.
        generated_normals_u8: AnoHybrid+: generated normal images, uint8 (M, 3, S, S); they join the good set.
        device: Where to train; the images are moved there as uint8.
        report: Called at each check.

    Returns:
        The detector and a record of its training.

    Raises:
        ConfigError: Sets that the mode must not look at, a batch larger than all samples, a loss that diverges.
        DataError: A set that is empty, of another size or wrongly labelled, or lacks good or defective images.
    """
    check_choice(config, validation=validation is not None, test=test is not None)
    held = validation if config.mode == "fixed" else test
    check_samples(train, config.size, "training")
    if held is not None:
        check_samples(held, config.size, "validation" if config.mode == "fixed" else "test", empty_masks=True)
    if generated_normals_u8 is not None:
        check_images(generated_normals_u8, config.size, "generated normal")
    device = torch.device(device)
    extra = 0 if generated_normals_u8 is None else len(generated_normals_u8)
    batches = balanced_batches(
        train.kind,
        config.steps,
        config.batch_size,
        stream(config.seed, "segmenter", "batches"),
        good_share=config.good_share,
        extra_good=extra,
        extra_share=config.generated_share,
    )
    model = new_draem_unet(DraemUNetConfig(width=config.width), stream(config.seed, "segmenter", "weights"))
    model = model.to(device, memory_format=layout(device))  # pyright: ignore[reportCallIssue]
    done = fit(
        model,
        _loss_of(train, generated_normals_u8, config, device),
        batches.to(device),
        config,
        checks=config.checks or (config.epochs if config.mode == "as_published" else 20),
        judge=None if held is None else _judge_of(model, held.to(device), config),
        report=report,
    )
    good = int((train.kind == GOOD_KIND).sum())
    return TrainedSegmenter(
        model=model, config=config, fit=done, good=good, generated=extra, defective=len(train) - good
    )


def _loss_of(train: Samples, generated_u8: Tensor | None, config: SegmenterConfig, device: torch.device):
    """The loss of a batch of image numbers; images stay on the device as uint8."""
    images, masks = train.image_u8.to(device), train.mask_u8.to(device)
    if generated_u8 is not None:
        images = torch.cat([images, generated_u8.to(device)])
        masks = torch.cat([masks, masks.new_zeros(len(generated_u8), *masks.shape[1:])])

    def loss_of(network: nn.Module, chosen_B: Tensor) -> Tensor:
        with autocast(device, config.precision):
            logits = network(as_input(images[chosen_B]))
        return focal_loss(logits, masks[chosen_B].squeeze(1) > 127)

    return loss_of


def _judge_of(model: DraemUNet, held: Samples, config: SegmenterConfig):
    """The figure of the checkpoint's choice on a set that is already on the device."""
    truth, defective = held.mask_u8 > 127, held.kind != GOOD_KIND

    def judge() -> float:
        maps = predict(model, held.image_u8, precision=config.precision)
        return four_metrics(maps, truth, image_scores(maps), defective)

    return judge


def predict(model: nn.Module, images_u8: Tensor, batch: int = 32, *, precision: Precision = "fp32") -> Tensor:
    """Give the probability that each pixel is anomalous.

    Args:
        model: The detector; its mode is left as it was.
        images_u8: uint8 (N, 3, S, S), S a multiple of 32, on any device.
        batch: Images at once.
        precision: Published figures use float32.

    Returns:
        ``anomaly_map``, float32 (N, 1, S, S) in [0, 1], on the model's device.

    Raises:
        DataError: Images of another shape or dtype, or a side that the U-Net cannot halve five times.
    """
    check_images(images_u8, None, "given")
    if images_u8.shape[-1] % STRIDE:
        raise DataError(f"images are {images_u8.shape[-1]} pixels wide; the U-Net needs a multiple of {STRIDE}")
    device = next(model.parameters()).device
    with evaluating(model), autocast(device, precision):
        maps = [
            torch.softmax(model(as_input(part.to(device))).float(), dim=1)[:, 1:] for part in images_u8.split(batch)
        ]
    return torch.cat(maps)


def image_scores(anomaly_map_N1SS: Tensor) -> Tensor:
    """Score images: the maximum of the map's 21 x 21 means, stride 1, zeros beyond the border.

    Args:
        anomaly_map_N1SS: float (N, 1, S, S).

    Returns:
        ``pred_score``, float (N,).

    Source: DRAEM; PROTOCOL: Detection and localisation.
    """
    return F.avg_pool2d(anomaly_map_N1SS, POOL, stride=1, padding=POOL // 2).amax(dim=(1, 2, 3))


def evaluate_segmenter(
    model: nn.Module, test: Samples, *, batch: int = 32, f1_on_grid: bool = False
) -> SegmenterFigures:
    """Measure a detector on a test set.

    Two of the published quirks are not decided here: the checkpoint (the config's mode), and ground truth that was
    resized bilinearly and truncated to integers, which erodes masks (done, or not, where the images are loaded).

    Args:
        model: The detector.
        test: Good and defective images; masks count where they are above 127.
        batch: Images at once.
        f1_on_grid: Also give the published pixel F1, over thresholds 0, 0.05, ... 1.

    Returns:
        Figures of images and pixels.

    Raises:
        DataError: A set that is empty, misshapen or wrongly labelled, or that has one class only.
    """
    check_samples(test, test.image_u8.shape[-1], "test", empty_masks=True)
    maps = predict(model, test.image_u8, batch)
    scores = image_scores(maps).cpu().numpy()
    pixels, truth = maps[:, 0].cpu().numpy(), (test.mask_u8[:, 0] > 127).cpu().numpy()
    defective = (test.kind != GOOD_KIND).cpu().numpy()
    return SegmenterFigures(
        image=detection(scores, defective),
        pixel=localisation(pixels, truth, fpr_limit=0.3),
        pixel_f1_on_grid=float(f1_max_on_grid(pixels.ravel(), truth.ravel(), F1_GRID)) if f1_on_grid else None,
        good=int((~defective).sum()),
        defective=int(defective.sum()),
    )
