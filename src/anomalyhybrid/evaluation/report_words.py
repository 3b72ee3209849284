"""What a report says in words: who wins and by how much, how it was measured, what to know besides."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from anomalyhybrid.evaluation.figures import Figure, figure_of
from anomalyhybrid.evaluation.results import Result
from anomalyhybrid.evaluation.spread import Spread, over_categories, over_seeds

_MODES = {
    "fixed": "fixed mode (nothing chosen on the test part)",
    "as_published": "as-published mode (the compared papers' settings, quirks included)",
}


@dataclass(frozen=True, slots=True)
class Ranking:
    """Who wins one figure.

    Attributes:
        best: Methods level at the shown precision, best mean first; empty where nothing can win.
        second: The next method, and None where there is none.
        spreads: Of all methods with a value, best first; only comparable ones.
        exceeds: Whether best and second differ by more than both standard deviations together; None: unknown.
        left_out: Methods that lack a category which others have.
    """

    best: tuple[str, ...]
    second: str | None
    spreads: dict[str, Spread]
    exceeds: bool | None
    left_out: tuple[str, ...]


def heading(result: Result, figure_name: str) -> str:
    """A figure's heading, with the name of every stand-in network behind it."""
    names = [net.name for net in result.stand_ins(figure_name)]
    return " ".join([figure_of(figure_name).label, *([f"[stand-in: {', '.join(names)}]"] if names else [])])


def stand_in_notes(result: Result, figure_names: Sequence[str]) -> tuple[str, ...]:
    """One sentence for each stand-in behind some figures: its name and why it was used."""
    networks = dict.fromkeys(net for name in figure_names for net in result.stand_ins(name))
    return tuple(f"Stand-in {net.name}: {net.stand_in}." for net in networks)


def measured_categories(result: Result, figure_name: str) -> tuple[str, ...]:
    """Categories in which at least one method has the figure."""
    have = {row.category for row in result.rows if not math.isnan(row.figures.get(figure_name, math.nan))}
    return tuple(category for category in result.categories if category in have)


def ranking(result: Result, figure_name: str) -> Ranking:
    """Rank the methods by their mean over all measured categories; published figures take no part."""
    figure = figure_of(figure_name)
    needed = len(measured_categories(result, figure_name))
    spreads = {method: over_categories(result, method, figure_name) for method in result.methods}
    left_out = tuple(method for method, own in spreads.items() if 0 < own.categories < needed)
    sign = {"high": -1.0, "low": 1.0, None: 0.0}[figure.better]
    complete = {method: own for method, own in spreads.items() if own.categories == needed > 0}
    order = sorted(complete, key=lambda method: sign * complete[method].mean)
    ranked = {method: complete[method] for method in order}
    if figure.better is None or not order:
        return Ranking((), None, ranked, None, left_out)
    top = figure.shown(ranked[order[0]].mean)
    best = tuple(method for method in order if figure.shown(ranked[method].mean) == top)
    second = order[len(best)] if len(order) > len(best) else None
    exceeds = None if second is None else _exceeds(ranked[best[0]], ranked[second])
    return Ranking(best, second, ranked, exceeds, left_out)


def lead_sentence(result: Result, figure_name: str) -> str:
    """Say which method wins a figure, by how much, and whether that is more than the spread over seeds."""
    figure, ranks = figure_of(figure_name), ranking(result, figure_name)
    categories = measured_categories(result, figure_name)
    place = f"the mean of {len(categories)} categories" if len(categories) > 1 else "".join(categories)
    parts: list[str] = []
    if not ranks.spreads:
        parts.append(f"No method has {figure.label} in all categories." if categories else "Nothing was measured.")
    elif not ranks.best:
        parts.append(f"{figure.label} has no better direction by itself, so no method wins.")
    elif len(ranks.spreads) == 1:
        parts.append(f"Only {ranks.best[0]} was measured: {figure.label} {_value(figure, ranks, ranks.best[0])}.")
    elif len(ranks.best) == 1:
        parts.append(_winner(figure, ranks, place))
        if len(categories) > 1:
            parts.append(_wins(result, figure_name, ranks.best[0], categories))
        parts.append(_judged(ranks, len(result.seeds)))
    else:
        value = _value(figure, ranks, ranks.best[0])
        parts.append(f"{_listed(ranks.best)} are level and best on {place}: {figure.label} {value}.")
    if ranks.left_out:
        parts.append(f"Not compared, as categories are missing: {', '.join(ranks.left_out)}.")
    return " ".join(parts)


def result_notes(result: Result, *, missing: str | None = None) -> tuple[str, ...]:
    """Collect the rows' notes, each once, with the categories and methods that have it.

    Args:
        result: The result.
        missing: Only notes of rows that lack this figure.
    """
    owners: dict[str, dict[str, list[str]]] = {}
    for row in result.rows:
        if missing is None or math.isnan(row.figures.get(missing, math.nan)):
            for note in row.notes:
                methods = owners.setdefault(note, {}).setdefault(row.category, [])
                if row.method not in methods:
                    methods.append(row.method)
    everyone = {name: {row.method for row in result.rows if row.category == name} for name in result.categories}
    return tuple(
        "; ".join(
            name if set(own) == everyone[name] else f"{name}, {', '.join(own)}" for name, own in by_category.items()
        )
        + f": {note}"
        for note, by_category in owners.items()
    )


def overview_lead(result: Result, figure_names: Sequence[str]) -> str:
    """Say how many figures each method wins, and how many of them by more than the spread over seeds."""
    ranks = [ranking(result, name) for name in figure_names]
    contested = [own for own in ranks if own.best and len(own.spreads) > 1]
    if not contested:
        return "No figure has two methods to compare."
    alone = [own for own in contested if len(own.best) == 1]
    wins: dict[str, list[Ranking]] = {}
    for own in alone:
        wins.setdefault(own.best[0], []).append(own)
    parts = []
    for method, own in sorted(wins.items(), key=lambda item: -len(item[1])):
        clear = sum(bool(one.exceeds) for one in own)
        parts.append(
            f"{method} is best in {len(own)} of {len(contested)} figures, {clear or 'none'} of them by more than the "
            "spread over seeds"
        )
    if level := len(contested) - len(alone):
        parts.append(f"the best are level in {level} of {len(contested)} figures")
    return f"{'; '.join(parts)}."


def setting(result: Result) -> str:
    """Seeds and mode, for captions."""
    seeds = ", ".join(map(str, result.seeds))
    several = len(result.seeds) > 1
    return (
        f"{f'Mean ± standard deviation over seeds {seeds}' if several else f'One seed: {seeds}'}; {_MODES[result.mode]}"
    )


def caption(result: Result, figure: Figure) -> str:
    """Seeds, mode, direction, meaning and sample counts of one figure's table."""
    way = {"high": "higher is better", "low": "lower is better", None: "no direction is better by itself"}
    what = f"{figure.label}{' in %' if figure.is_share else ''}: {figure.meaning}; " if figure.meaning else ""
    text = f"{what}{way[figure.better]}. {setting(result)}."
    samples = _samples(result, figure.name)
    return f"{text} Samples: {samples}." if samples else text


def _samples(result: Result, figure_name: str) -> str:
    """Each count's name, with one number where all rows agree, by category where these agree, else as a range."""
    counts: dict[str, dict[str, set[int]]] = {}
    for row in result.rows:
        if not math.isnan(row.figures.get(figure_name, math.nan)):
            for name, count in row.samples.items():
                counts.setdefault(name, {}).setdefault(row.category, set()).add(count)
    parts = []
    for name, by_category in counts.items():
        everything = set().union(*by_category.values())
        if len(everything) == 1:
            parts.append(f"{name} {everything.pop()}")
        else:
            each = [f"{category} {_range(own)}" for category, own in by_category.items()]
            parts.append(f"{name} {', '.join(each)}")
    return "; ".join(parts)


def _range(counts: set[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high} (by method or seed)"


def _winner(figure: Figure, ranks: Ranking, place: str) -> str:
    best = ranks.best[0]
    said = f"{best} is best on {place}: {figure.label} {_value(figure, ranks, best)}"
    if ranks.second is None:
        return f"{said}."
    gap = abs(ranks.spreads[best].mean - ranks.spreads[ranks.second].mean)
    side = "above" if figure.better == "high" else "below"
    return f"{said}, {figure.shown(gap)}{figure.unit} {side} {ranks.second} ({_value(figure, ranks, ranks.second)})."


def _judged(ranks: Ranking, seeds: int) -> str:
    if ranks.exceeds is None:
        return "One seed only, so the spread is unknown." if seeds == 1 else "The spread over seeds is unknown."
    if ranks.exceeds:
        return "The difference exceeds the spread over seeds (mean ± standard deviation do not overlap)."
    return "The difference is within the spread over seeds: read it as a tie."


def _wins(result: Result, figure_name: str, method: str, categories: Sequence[str]) -> str:
    """In how many categories a method is best, alone or level."""
    figure = figure_of(figure_name)
    choose = max if figure.better == "high" else min
    wins = 0
    for category in categories:
        means = {other: over_seeds(result, other, category, figure_name).mean for other in result.methods}
        best = choose(mean for mean in means.values() if not math.isnan(mean))
        wins += figure.shown(means[method]) == figure.shown(best)
    return f"It is best in {wins} of the {len(categories)} categories."


def _exceeds(one: Spread, two: Spread) -> bool | None:
    if math.isnan(one.std) or math.isnan(two.std):
        return None
    return abs(one.mean - two.mean) > one.std + two.std


def _value(figure: Figure, ranks: Ranking, method: str) -> str:
    own = ranks.spreads[method]
    return figure.shown(own.mean) + ("" if math.isnan(own.std) else f" ± {figure.shown(own.std)}")


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
