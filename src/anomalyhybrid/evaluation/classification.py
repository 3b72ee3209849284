"""Defect classification of one method on one category (PROTOCOL; Table 1): skip rules, equal budgets, figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from anomalyhybrid.evaluation.classifier import (
    ClassifierConfig,
    classification_skip,
    evaluate_classifier,
    train_classifier,
)
from anomalyhybrid.evaluation.fitting import Report
from anomalyhybrid.evaluation.samples import Samples

FEW = 3  # with fewer training images of a type, its accuracy says little


class Measured(NamedTuple):
    """Figures by their names in `figures.FIGURES`, shares in [0, 1]; and remarks for the result's row."""

    figures: dict[str, float]
    notes: tuple[str, ...] = ()


def classification_figures(
    train: Samples,
    test: Samples,
    config: ClassifierConfig,
    *,
    imagenet: Mapping[str, Tensor] | None = None,
    validation: Samples | None = None,
    repeat_to: int = 0,
    device: torch.device | str = "cpu",
    report: Report | None = None,
) -> Measured:
    """Train ResNet-34 on a method's images and name the types of the real test defects.

    A category with one defect type, and a method that makes other types or lacks one of the category's, is skipped:
    no figures, and a note.

    Args:
        train: The method's images; at most ``config.limit`` a type are used. Types are matched by name.
        test: The test set, whose defect types are the category's; good images are left out on both sides.
        config: Budget and mode.
        imagenet: ImageNet weights to start from; the notes say whether there were any.
        validation: Mode ``fixed``: defects of the base set on which the checkpoint is chosen; None keeps the last.
        repeat_to: Repeat each type's images up to this number, so that a method with few images (the base set
            itself) gets as many steps as the others; 0 leaves them as they are.
        device: Where to train.
        report: Called at each check.

    Returns:
        ``accuracy`` and ``accuracy_mean_of_types``, shares in [0, 1]; notes.

    Raises:
        ConfigError, DataError: As `train_classifier`.

    Source: PROTOCOL, Defect classification (Table 1).
    """
    train = train.defective
    if (reason := classification_skip(test) or _foreign(train, test.kinds)) is not None:
        return Measured({}, (reason,))
    train = _numbered(train, test.kinds)
    named = dict(zip(train.kinds, train.kind.cpu().bincount(minlength=len(train.kinds)).tolist(), strict=True))
    if absent := [name for name, count in named.items() if not count]:
        return Measured({}, (f"classification skipped: the method has no images of {', '.join(absent)}",))
    notes = [
        "ResNet-34 started from ImageNet weights" if imagenet is not None else "ResNet-34 without ImageNet weights"
    ]
    if few := [f"{name} ({count})" for name, count in named.items() if count < FEW]:
        notes.append(f"the classifier learnt types from fewer than {FEW} images: {', '.join(few)}")
    if repeat_to > max(named.values()):
        train = _repeated(train, repeat_to)
        notes.append(f"the classifier's images are repeated to {repeat_to} of each type, for as many steps as others")
    fewest = min(config.fewest, int(train.kind.bincount(minlength=len(train.kinds)).min()))
    trained = train_classifier(
        train,
        replace(config, fewest=fewest),
        imagenet=None if imagenet is None else dict(imagenet),
        validation=validation if config.mode == "fixed" else None,
        test=test if config.mode == "as_published" else None,
        device=device,
        report=report,
    )
    notes.append(f"classifier's checkpoint: {_CHOICES[trained.fit.chosen_by]}")
    figures = evaluate_classifier(trained, test)
    return Measured({"accuracy": figures.accuracy, "accuracy_mean_of_types": figures.mean_of_types}, tuple(notes))


_CHOICES = {
    "last": "the last",
    "validation": "the best on a validation part of the base set",
    "test": "the best on the test set",
}


def _foreign(train: Samples, kinds: tuple[str, ...]) -> str | None:
    """Why a method whose images are of other types than the category's takes no part."""
    made = [train.kinds[index] for index in sorted(set(train.kind.tolist()))]
    other = [name for name in made if name not in kinds]
    return f"classification skipped: {', '.join(other)}: no defect types of the category" if other else None


def _numbered(train: Samples, kinds: tuple[str, ...]) -> Samples:
    """The same images, their types numbered as the category's; types without images are dropped."""
    numbers = torch.tensor([kinds.index(name) if name in kinds else -1 for name in train.kinds])
    return replace(train, kind=numbers.to(train.kind.device)[train.kind], kinds=kinds)


def _repeated(train: Samples, count: int) -> Samples:
    """Each type's images over and over, ``count`` of each type."""
    kind = train.kind.cpu()
    groups = [(kind == index).nonzero().flatten() for index in range(len(train.kinds))]
    chosen = torch.cat([group[torch.arange(count) % len(group)] for group in groups])
    return train.where(chosen.to(train.kind.device))
