"""Defects inside training code: a data set that generates on the fly, and an augmenter for batches (ADR-016)."""

from anomalyhybrid.integration.augmenter import DefectAugmenter
from anomalyhybrid.integration.dataset import GeneratedDefects, Item

__all__ = ["DefectAugmenter", "GeneratedDefects", "Item"]
