"""Heads that tell hybrids from features: calibrated SGD and an MLP; the final score is the larger (Table 6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.checks import Array, binary, finite
from anomalyhybrid.seeding import derive, stream


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """How both heads are trained; PROTOCOL gives the SGD's settings and the MLP's widths, the rest is ours."""

    alpha: float = 1e-3
    """Weight of the SGD's penalty."""
    folds: int = 5
    """Folds of the SGD's calibration; as many as the rarer class has samples, where that is fewer."""
    widths: tuple[int, ...] = (1024, 1024, 512)
    """Hidden layers of the MLP."""
    epochs: int = 40
    """Passes over the training features."""
    batch_size: int = 64
    """Samples a step; at least 2, for batch norm."""
    learning_rate: float = 1e-4
    """Adam's step size."""
    weight_decay: float = 1e-4
    """Of Adam."""
    seed: int = 0
    """Root of all random streams."""

    def __post_init__(self) -> None:
        least = {"folds": 2, "epochs": 1, "batch_size": 2}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ConfigError(f"head.{name} is {getattr(self, name)}; it must be at least {bound}")
        if self.alpha <= 0 or self.learning_rate <= 0 or self.weight_decay < 0:
            raise ConfigError("head.alpha and head.learning_rate must be above 0, head.weight_decay at least 0")
        if not self.widths or min(self.widths) < 1:
            raise ConfigError(f"head.widths is {self.widths}; give at least one layer of at least 1")


@dataclass(frozen=True, slots=True)
class HeadScores:
    """Probabilities of being a hybrid, float64 (N,) in [0, 1].

    Attributes:
        sgd: Of the calibrated SGD.
        mlp: Of the MLP.
        final: The larger of both.
    """

    sgd: np.ndarray
    mlp: np.ndarray
    final: np.ndarray


def hybrid_scores(train: Array, labels: Array, test: Array, config: HeadConfig) -> HeadScores:
    """Train both heads and score test features.

    Args:
        train: (N, D); features of non-hybrids and hybrids.
        labels: (N,), 1 for hybrids; at least two of each.
        test: (M, D).
        config: Settings.

    Returns:
        Scores in the order of `test`; the same on every call with one seed on one CPU.

    Raises:
        DataError: Shapes that do not fit, values that are not finite, fewer than two of a class.
        ConfigError: scikit-learn is not installed.

    Source: PROTOCOL (Butterfly hybrids); paper: Table 6.
    """
    train_ND, test_MD = finite(train, "training features", ndim=2), finite(test, "test features", ndim=2)
    label_N = binary(labels, "labels")
    if train_ND.shape[1] != test_MD.shape[1] or label_N.shape != train_ND.shape[:1]:
        raise DataError(f"features {train_ND.shape} and {test_MD.shape}, labels {label_N.shape} do not fit together")
    counts = int(label_N.sum()), int((~label_N).sum())
    if min(counts) < 2:
        raise DataError(f"{counts[0]} hybrids and {counts[1]} non-hybrids to train on; heads need at least 2 of each")
    sgd = sgd_scores(train_ND, label_N, test_MD, config)
    mlp = mlp_scores(train_ND, label_N, test_MD, config)
    return HeadScores(sgd, mlp, np.maximum(sgd, mlp))


def sgd_scores(train: np.ndarray, labels: np.ndarray, test: np.ndarray, config: HeadConfig) -> np.ndarray:
    """Calibrated probabilities of a linear classifier trained by SGD (log loss, adaptive steps, balanced classes).

    Args:
        train: (N, D).
        labels: Bool (N,).
        test: (M, D).
        config: Settings.

    Returns:
        float64 (M,).

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    try:
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.linear_model import SGDClassifier
        from sklearn.model_selection import StratifiedKFold
    except ImportError as error:
        raise ConfigError("the SGD head of Table 6 needs scikit-learn: pip install 'anomalyhybrid[hybrids]'") from error
    seed = derive(config.seed, "hybrid head", "sgd") % 2**32
    linear = SGDClassifier(
        loss="log_loss",
        alpha=config.alpha,
        learning_rate="adaptive",
        eta0=0.01,
        class_weight="balanced",
        random_state=seed,
    )
    folds = min(config.folds, int(min(labels.sum(), (~labels).sum())))
    drawn = StratifiedKFold(folds, shuffle=True, random_state=seed)  # blocks would follow the order of the samples
    calibrated = CalibratedClassifierCV(linear, cv=drawn).fit(train, labels.astype(np.int64))
    return calibrated.predict_proba(test)[:, 1].astype(np.float64)


def new_mlp(width: int, config: HeadConfig) -> nn.Sequential:
    """Build the MLP: linear layers with batch norm and ReLU between them, two outputs; weights from the seed."""
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "hybrid head", "mlp", "weights"))
        for after in config.widths:
            layers += [nn.Linear(width, after), nn.BatchNorm1d(after), nn.ReLU()]
            width = after
        return nn.Sequential(*layers, nn.Linear(width, 2))


def mlp_scores(train: np.ndarray, labels: np.ndarray, test: np.ndarray, config: HeadConfig) -> np.ndarray:
    """Probabilities of the MLP, trained with balanced cross entropy by Adam.

    Args:
        train: (N, D).
        labels: Bool (N,).
        test: (M, D).
        config: Settings.

    Returns:
        float64 (M,).
    """
    features, kinds = torch.from_numpy(train).float(), torch.from_numpy(labels.astype(np.int64))
    network = new_mlp(train.shape[1], config).train()
    weight = len(kinds) / (2 * torch.bincount(kinds, minlength=2).float())
    adam = torch.optim.Adam(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    generator = stream(config.seed, "hybrid head", "mlp", "batches")
    for _ in range(config.epochs):
        for chosen in _batches(len(kinds), config.batch_size, generator):
            loss = F.cross_entropy(network(features[chosen]), kinds[chosen], weight=weight)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
    network.eval()
    with torch.inference_mode():
        return network(torch.from_numpy(test).float()).double().softmax(dim=1)[:, 1].numpy()


def _batches(count: int, size: int, generator: torch.Generator) -> list[Tensor]:
    """A shuffled epoch; a last batch of one sample joins the one before it, because batch norm needs two."""
    parts = list(torch.randperm(count, generator=generator).split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts
