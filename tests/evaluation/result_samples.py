"""Small results that several tests use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from anomalyhybrid.evaluation.results import Result, Row, UsedNetwork

REAL_INCEPTION = UsedNetwork(role="inception", name="Inception-v3", sha256="a1" * 32)
STAND_IN = UsedNetwork(role="inception", name="EfficientNet-Lite2", sha256="b2" * 32, stand_in="no Inception here")
LPIPS = UsedNetwork(role="lpips", name="AlexNet", sha256="c3" * 32)

EVIL = '<script>alert("x")</script><img src=x onerror=1>\' | \x1b[2J'
"""A name that breaks out of HTML, Markdown and terminals where it is not escaped."""

Values = Mapping[tuple[str, str], list[float]]


def rows_of(figure: str, values: Values, **settings: Any) -> list[Row]:
    """One row for each value: ``{(method, category): [seed 0, seed 1, ...]}``."""
    return [
        Row(method=method, category=category, seed=seed, figures={figure: value}, **settings)
        for (method, category), own in values.items()
        for seed, value in enumerate(own)
    ]


def result_of(rows: list[Row], **changes: Any) -> Result:
    """A result with these rows, seeds 0 to the largest."""
    values: dict[str, Any] = {
        "protocol": "table 2",
        "mode": "fixed",
        "options": {"size": 256, "lr": 1e-4, "split": "sorted", "flips": False, "cap": None},
        "seeds": tuple(range(max(row.seed for row in rows) + 1)),
        "networks": (),
        "data_fingerprints": {row.category: f"print of {row.category}" for row in rows},
        "versions": {"anomalyhybrid": "0.1.0", "torch": "2.13.0"},
        "device": "CPU",
        "rows": tuple(rows),
    }
    return Result(**(values | changes))


def pixel_ap(values: Values, **changes: Any) -> Result:
    """A result of one figure."""
    return result_of(rows_of("pixel_ap", values), **changes)


def edited(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A change of a result file's content."""
    return lambda content: content | changes


WON = pixel_ap(
    {
        ("ours", "bottle"): [0.90, 0.92],
        ("ours", "tire"): [0.70, 0.72],
        ("paste", "bottle"): [0.80, 0.81],
        ("paste", "tire"): [0.60, 0.61],
    }
)
"""Means 0.81 and 0.705; seed means 0.80, 0.82 and 0.70, 0.71."""
