"""Defect classification of Table 1: ResNet-34 trained on (generated) defects, tested on real ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.errors import ConfigError, DataError
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
from anomalyhybrid.evaluation.samples import Samples
from anomalyhybrid.evaluation.sampling import check_images, check_samples, shuffled_batches
from anomalyhybrid.models.resnet import ResNet34, new_resnet34
from anomalyhybrid.seeding import stream


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierConfig(FitConfig):
    """Budget of a classifier's training; the defaults are PROTOCOL's."""

    epochs: int = 30
    """Passes over the training images."""
    limit: int = 500
    """Most training images of a type; the first ones are taken."""
    fewest: int = 3
    """Fewest training images of a type; with fewer the training is refused."""
    width: int = 64
    """Channels of the first stage; 64 is ResNet-34."""

    def __post_init__(self) -> None:
        FitConfig.__post_init__(self)
        for name in ("epochs", "limit", "fewest", "width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.fewest > self.limit:
            raise ConfigError(f"fewest is {self.fewest}, more than limit, {self.limit}; lower it")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedClassifier:
    """A classifier and how it came to be.

    Attributes:
        model: On the training device, in evaluation mode, with the chosen checkpoint's weights.
        kinds: The defect types that its outputs stand for.
        config: As given.
        fit: Steps, choice, history, seconds.
        counts: Training images of each type, after the limit.
        imagenet: Whether it started from ImageNet weights; their hash is the caller's to record.
    """

    model: ResNet34
    kinds: tuple[str, ...]
    config: ClassifierConfig
    fit: Fit
    counts: tuple[int, ...]
    imagenet: bool

    def description(self) -> dict[str, object]:
        """Everything but the weights, for a JSON result."""
        counts = dict(zip(self.kinds, self.counts, strict=True))
        start = "ImageNet" if self.imagenet else "random weights"
        return {"config": asdict(self.config), "fit": asdict(self.fit), "images": counts, "start": start}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierFigures:
    """What a classifier reaches on a test set; shares in [0, 1].

    Attributes:
        accuracy: Share of the images that are classified rightly.
        kinds: The defect types.
        accuracies: Of each type; None for a type without test images.
        mean_of_types: Mean of those that are not None.
        confusion: Rows are true types, columns predicted ones; counts.
    """

    accuracy: float
    kinds: tuple[str, ...]
    accuracies: tuple[float | None, ...]
    mean_of_types: float
    confusion: tuple[tuple[int, ...], ...]


def classification_skip(train: Samples) -> str | None:
    """Say why a category takes no part in classification, or None if it does.

    A category with one defect type has nothing to tell apart; publications leave it out of the mean (PROTOCOL:
    Defect classification).
    """
    if len(train.kinds) >= 2:
        return None
    named = f"one defect type ({train.kinds[0]})" if train.kinds else "no defect types"
    return f"classification skipped: the category has {named}; at least two are needed to tell apart"


def train_classifier(
    train: Samples,
    config: ClassifierConfig,
    *,
    imagenet: dict[str, Tensor] | None = None,
    validation: Samples | None = None,
    test: Samples | None = None,
    device: torch.device | str = "cpu",
    report: Report | None = None,
) -> TrainedClassifier:
    """Train ResNet-34 on the defective images of a set, in [0, 1], without normalisation or augmentation.

    Each epoch is shuffled anew; epochs follow one another without a short batch between them. On a CPU the same
    seed gives the same weights bit for bit.

    Args:
        train: Images of the config's size; good ones are left out.
        config: Budget and mode.
        imagenet: torchvision's ResNet-34 state dict to start from; None starts from random weights.
        validation: Mode ``fixed``: a part of the base set on whose accuracy the checkpoint is chosen; None keeps
            the last one.
        test: Mode ``as_published`` only: the test set, on which the checkpoint is chosen.
        device: Where to train; the images are moved there as uint8.
        report: Called at each check.

    Returns:
        The classifier and a record of its training.

    Raises:
        ConfigError: Sets that the mode must not look at, a batch larger than all samples, a loss that diverges.
        DataError: Fewer than two defect types (ask `classification_skip` first), a type with fewer than ``fewest``
            images, sets of other types or sizes, or nothing defective to choose on.
        WeightsError: ImageNet weights that do not fit.
    """
    check_choice(config, validation=validation is not None, test=test is not None)
    if (reason := classification_skip(train)) is not None:
        raise DataError(reason)
    check_samples(train, config.size, "training")
    held = validation if config.mode == "fixed" else test
    if held is not None:
        held = _defective(held, train.kinds, config.size, "validation" if config.mode == "fixed" else "test")
    numbers_N, counts = _limited(train, config)
    model = new_resnet34(len(train.kinds), stream(config.seed, "classifier", "weights"), width=config.width)
    if imagenet is not None:
        model.load_imagenet(imagenet)
    device = torch.device(device)
    model = model.to(device, memory_format=layout(device))  # pyright: ignore[reportCallIssue]
    generator = stream(config.seed, "classifier", "batches")
    batches = numbers_N[shuffled_batches(len(numbers_N), config.epochs, config.batch_size, generator)]
    done = fit(
        model,
        _loss_of(train, config, device),
        batches.to(device),
        config,
        checks=config.checks or (config.epochs if config.mode == "as_published" else 20),
        judge=None if held is None else _judge_of(model, held.to(device), config),
        report=report,
    )
    return TrainedClassifier(
        model=model, kinds=train.kinds, config=config, fit=done, counts=counts, imagenet=imagenet is not None
    )


def _limited(train: Samples, config: ClassifierConfig) -> tuple[Tensor, tuple[int, ...]]:
    """Numbers of the images trained on, long (N,) on the CPU, and how many there are of each type."""
    kind = train.kind.cpu()
    groups = [(kind == index).nonzero().flatten()[: config.limit] for index in range(len(train.kinds))]
    counts = tuple(len(group) for group in groups)
    few = [f"{name} ({count})" for name, count in zip(train.kinds, counts, strict=True) if count < config.fewest]
    if few:
        raise DataError(
            f"defect types with fewer than {config.fewest} training images: {', '.join(few)}; generate more of them, "
            "leave the types out, or lower fewest"
        )
    return torch.cat(groups), counts


def _defective(samples: Samples, kinds: tuple[str, ...], size: int, name: str) -> Samples:
    """The defective images of a checked set."""
    check_samples(samples, size, name, empty_masks=True)
    if samples.kinds != kinds:
        raise DataError(f"the {name} set has the defect types {samples.kinds}, the training set {kinds}; use the same")
    chosen = samples.defective
    if not len(chosen):
        raise DataError(f"the {name} set has no defective images; classification is measured on them")
    return chosen


def _loss_of(train: Samples, config: ClassifierConfig, device: torch.device):
    """Cross entropy of a batch of image numbers; images stay on the device as uint8."""
    images, kinds = train.image_u8.to(device), train.kind.to(device)

    def loss_of(network: nn.Module, chosen_B: Tensor) -> Tensor:
        with autocast(device, config.precision):
            logits = network(as_input(images[chosen_B]))
        return F.cross_entropy(logits.float(), kinds[chosen_B])

    return loss_of


def _judge_of(model: ResNet34, held: Samples, config: ClassifierConfig):
    """Accuracy on a set that is already on the device."""

    def judge() -> float:
        found = predict_kinds(model, held.image_u8, precision=config.precision)
        return float((found == held.kind).double().mean())

    return judge


def predict_kinds(model: nn.Module, images_u8: Tensor, batch: int = 64, *, precision: Precision = "fp32") -> Tensor:
    """Classify images.

    Args:
        model: The classifier; its mode is left as it was.
        images_u8: uint8 (N, 3, S, S), on any device.
        batch: Images at once.
        precision: Published figures use float32.

    Returns:
        Index of the defect type, long (N,), on the model's device.

    Raises:
        DataError: Images of another shape or dtype.
    """
    check_images(images_u8, None, "given")
    device = next(model.parameters()).device
    with evaluating(model), autocast(device, precision):
        return torch.cat([model(as_input(part.to(device))).argmax(dim=1) for part in images_u8.split(batch)])


def evaluate_classifier(trained: TrainedClassifier, test: Samples, *, batch: int = 64) -> ClassifierFigures:
    """Measure a classifier on the defective images of a test set.

    Args:
        trained: The classifier.
        test: Images with the same defect types; good ones are left out.
        batch: Images at once.

    Returns:
        Accuracies and the confusion table.

    Raises:
        DataError: Other defect types or another size, or nothing defective.
    """
    held = _defective(test, trained.kinds, trained.config.size, "test")
    found, classes = predict_kinds(trained.model, held.image_u8, batch).cpu(), len(trained.kinds)
    table = torch.bincount(held.kind.cpu() * classes + found, minlength=classes**2).view(classes, classes).tolist()
    accuracies = tuple(row[index] / sum(row) if sum(row) else None for index, row in enumerate(table))
    measured = [value for value in accuracies if value is not None]
    return ClassifierFigures(
        accuracy=sum(row[index] for index, row in enumerate(table)) / len(held),
        kinds=trained.kinds,
        accuracies=accuracies,
        mean_of_types=sum(measured) / len(measured),
        confusion=tuple(tuple(row) for row in table),
    )
