"""Means and spreads of a result, computed from its raw rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from anomalyhybrid.evaluation.results import Result


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over seeds.

    Attributes:
        mean: NaN where there is no value.
        std: Sample standard deviation over seeds (n - 1); NaN below two seeds.
        seeds: Seeds behind it.
        categories: Categories behind it.
    """

    mean: float
    std: float
    seeds: int
    categories: int


def over_seeds(result: Result, method: str, category: str, figure_name: str) -> Spread:
    """Summarise one method on one category over its seeds; NaN rows do not count.

    Args:
        result: The result.
        method: A method; one without rows gives NaN.
        category: A category.
        figure_name: A figure.

    Returns:
        Mean and sample standard deviation over the seeds that have the figure.
    """
    values = _by_seed(result, method, category, figure_name).values()
    return Spread(_mean(values), _std(values), len(values), int(bool(values)))


def over_categories(result: Result, method: str, figure_name: str) -> Spread:
    """Summarise one method over all categories in which it has the figure, each category weighing the same.

    Args:
        result: The result.
        method: A method.
        figure_name: A figure.

    Returns:
        Mean of the categories' means; the standard deviation is that of each seed's mean over the categories, over
        the seeds that have all of these categories. ``categories`` may be below the result's: then the mean is not
        comparable with another method's.
    """
    by_category = [_by_seed(result, method, category, figure_name) for category in result.categories]
    by_category = [values for values in by_category if values]
    if not by_category:
        return Spread(math.nan, math.nan, 0, 0)
    complete = sorted(set.intersection(*(set(values) for values in by_category)))
    each_seed = [_mean([values[seed] for values in by_category]) for seed in complete]
    mean = _mean([_mean(values.values()) for values in by_category])
    return Spread(mean, _std(each_seed), len(complete), len(by_category))


def _by_seed(result: Result, method: str, category: str, figure_name: str) -> dict[int, float]:
    rows = [row for row in result.rows if (row.method, row.category) == (method, category)]
    values = {row.seed: row.figures.get(figure_name, math.nan) for row in rows}
    return {seed: value for seed, value in values.items() if not math.isnan(value)}


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return statistics.fmean(listed) if listed else math.nan


def _std(values: Iterable[float]) -> float:
    listed = list(values)
    return statistics.stdev(listed) if len(listed) > 1 else math.nan
