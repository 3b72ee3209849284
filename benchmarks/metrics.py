"""Localisation metrics on a CPU: this package's one exact sort beside scikit-learn's and torchmetrics' functions.

    python benchmarks/metrics.py [--images 60] [--rounds 3] [--out docs/results/metrics.json]

Score maps of 256 x 256 with a blob as the defect in two thirds of them: pixel AUROC, average precision and largest F1;
ours gives AUPRO over the connected regions with them. The ways take turns in each round; rates are medians of images a
second. `numpy.argsort` of all scores is timed beside them, for scale: exact curves need an order.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sklearn
import torch
import torchmetrics
from results import write_result
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from anomalyhybrid.evaluation.detection import localisation

SIZE = 256


def drawn_maps(images: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores, float32 (N, H, W) in [0, 1], and truth, bool (N, H, W)."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    truth = np.zeros((images, SIZE, SIZE), bool)
    for index in range(0, images, 3):
        for place in (index, index + 1):
            if place < images:
                y, x, radius = *random.integers(40, SIZE - 40, 2), random.integers(5, 30)
                truth[place] = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
    noise = random.random(truth.shape, dtype=np.float32)
    return np.where(truth, 0.3 + 0.7 * noise, noise).astype(np.float32), truth


def by_sklearn(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """AUROC, AP and largest F1, each by its function."""
    flat, labels = scores.ravel(), truth.ravel()
    precision, recall, _ = precision_recall_curve(labels, flat)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    area, mean = roc_auc_score(labels, flat), average_precision_score(labels, flat)
    return {"auroc": float(area), "ap": float(mean), "f1": float(f1.max())}


def by_torchmetrics(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """AUROC and AP, exact (thresholds=None)."""
    flat, labels = torch.from_numpy(scores).flatten(), torch.from_numpy(truth).flatten().long()
    return {"auroc": float(binary_auroc(flat, labels)), "ap": float(binary_average_precision(flat, labels))}


def by_us(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """AUROC, AP, largest F1 and AUPRO."""
    found = localisation(scores, truth)
    return {"auroc": found.auroc, "ap": found.ap, "f1": found.f1_max, "aupro": found.aupro}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/results/metrics.json"))
    given = parser.parse_args()
    scores, truth = drawn_maps(given.images)
    ways: dict[str, Callable[[], object]] = {
        "ours: AUROC, AP, F1, AUPRO": lambda: by_us(scores, truth),
        "scikit-learn: AUROC, AP, F1": lambda: by_sklearn(scores, truth),
        "torchmetrics: AUROC, AP": lambda: by_torchmetrics(scores, truth),
        "numpy.argsort alone": lambda: np.argsort(scores, axis=None),
    }
    load, seconds = os.getloadavg()[0], {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begun)
    ours, theirs = by_us(scores, truth), by_sklearn(scores, truth)
    result = {
        "versions": {"scikit-learn": sklearn.__version__, "torchmetrics": torchmetrics.__version__},
        "images": given.images,
        "pixels": SIZE,
        "load_before": round(load, 2),
        "img_per_s": {name: round(given.images / statistics.median(taken), 1) for name, taken in seconds.items()},
        "largest_difference_from_scikit_learn": max(abs(ours[name] - theirs[name]) for name in theirs),
    }
    print(json.dumps(result, indent=2))
    write_result(given.out, result)


if __name__ == "__main__":
    main()
