"""Tables of results, independent of how they are printed: cells, the best of each column, the sentence above."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.figures import Figure, figure_of
from anomalyhybrid.evaluation.published import (
    CATEGORIES,
    MEAN,
    Published,
    departures,
    has_all_categories,
    published_beside,
    why_not_comparable,
)
from anomalyhybrid.evaluation.report_words import (
    caption,
    heading,
    lead_sentence,
    measured_categories,
    overview_lead,
    result_notes,
    setting,
    stand_in_notes,
)
from anomalyhybrid.evaluation.results import Result
from anomalyhybrid.evaluation.spread import Spread, over_categories, over_seeds

_PRINTED = "Published rows were printed by others, were not measured in this run and take no part in the ranking."


@dataclass(frozen=True, slots=True)
class Cell:
    """One value.

    Attributes:
        text: The mean.
        spread: ``"± 0.4"``, or empty.
        lacking: ``"(2 of 3 seeds)"`` where something is missing, else empty.
        best: Whether it is the best of its column.
    """

    text: str
    spread: str = ""
    lacking: str = ""
    best: bool = False

    @property
    def extra(self) -> str:
        """Spread and what is missing, in one line."""
        return f"{self.spread} {self.lacking}".strip()


@dataclass(frozen=True, slots=True)
class Line:
    """A method and its cells."""

    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table ready to print.

    Attributes:
        heading: Names the figure, and every stand-in network behind it.
        lead: Who wins and by how much, in plain words.
        columns: Headings of the cells, without that of the methods.
        lines: Ours and the baselines, all measured in this run.
        published: Printed by others; to be set apart.
        caption: Seeds, mode, direction, sample counts.
        notes: What a reader has to know besides.
    """

    heading: str
    lead: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    published: tuple[Line, ...]
    caption: str
    notes: tuple[str, ...]


def figure_table(result: Result, figure_name: str, *, published: bool = True) -> Table:
    """Lay out one figure: methods down, categories across, then the mean over the categories.

    Args:
        result: The result.
        figure_name: One of its figures.
        published: Also give the printed values that may stand beside it.

    Returns:
        The table.

    Raises:
        DataError: The result lacks the figure.
    """
    figure = _figure(result, figure_name)
    measured = measured_categories(result, figure_name)
    by_column = [
        {method: over_seeds(result, method, category, figure_name) for method in result.methods}
        for category in result.categories
    ]
    columns = list(result.categories)
    if len(result.categories) > 1:
        columns.append(f"mean of {len(measured)}")
        by_column.append({method: over_categories(result, method, figure_name) for method in result.methods})
    # a column of one category is complete with it; the mean column needs all measured categories
    needed = [1] * len(result.categories) + [len(measured)] * (len(columns) - len(result.categories))
    cells = [_column(figure, own, len(result.seeds), least) for own, least in zip(by_column, needed, strict=True)]
    lines = tuple(Line(method, tuple(column[method] for column in cells)) for method in result.methods)
    beside, said = _published_lines(result, figure) if published else ((), ())
    return Table(
        heading=heading(result, figure_name),
        lead=lead_sentence(result, figure_name),
        columns=tuple(columns),
        lines=lines,
        published=beside,
        caption=caption(result, figure),
        notes=(*stand_in_notes(result, [figure_name]), *said, *result_notes(result, missing=figure_name)),
    )


def overview_table(result: Result, figure_names: Sequence[str] = ()) -> Table:
    """Lay out several figures: methods down, figures across, each the mean over the categories.

    Args:
        result: The result.
        figure_names: Some of its figures; empty for all.

    Returns:
        The table.

    Raises:
        DataError: The result lacks a figure.
    """
    names = tuple(figure_names) or result.figure_names
    columns: list[str] = []
    cells: list[dict[str, Cell]] = []
    for name in names:
        figure = _figure(result, name)
        arrow = {"high": "\u00a0↑", "low": "\u00a0↓", None: ""}[figure.better]
        measured = len(measured_categories(result, name))
        few = f" ({measured} of {len(result.categories)} categories)" if measured < len(result.categories) else ""
        columns.append(f"{heading(result, name)}{arrow}{few}")
        spreads = {method: over_categories(result, method, name) for method in result.methods}
        cells.append(_column(figure, spreads, len(result.seeds), measured))
    several = len(result.categories) > 1
    over = f"mean of {len(result.categories)} categories" if several else result.categories[0]
    return Table(
        heading=f"Overview: {over}",
        lead=overview_lead(result, names),
        columns=tuple(columns),
        lines=tuple(Line(method, tuple(column[method] for column in cells)) for method in result.methods),
        published=(),
        caption=f"{setting(result)}; ↑ higher is better, ↓ lower is better.",
        notes=stand_in_notes(result, names),
    )


def _figure(result: Result, figure_name: str) -> Figure:
    if figure_name not in result.figure_names:
        raise DataError(f"the result has no figure {figure_name!r}; it has {', '.join(result.figure_names)}")
    return figure_of(figure_name)


def _column(figure: Figure, spreads: Mapping[str, Spread], seeds: int, needed: int) -> dict[str, Cell]:
    """One column's cells by method; those over fewer than ``needed`` categories are marked and cannot be best."""
    complete = {method for method, own in spreads.items() if own.categories == needed and not math.isnan(own.mean)}
    best = math.nan
    if figure.better is not None and complete:
        choose = max if figure.better == "high" else min
        best = choose(spreads[method].mean for method in complete)
    return {
        method: Cell(
            figure.shown(own.mean),
            "" if math.isnan(own.std) else f"± {figure.shown(own.std)}",
            _lacking(own, seeds, needed),
            method in complete and figure.shown(own.mean) == figure.shown(best),
        )
        for method, own in spreads.items()
    }


def _lacking(own: Spread, seeds: int, needed: int) -> str:
    if math.isnan(own.mean):
        return ""
    categories = f"{own.categories} of {needed} categories" if own.categories < needed else ""
    few = f"{own.seeds} of {seeds} seeds" if own.seeds < seeds else ""
    return f"({', '.join(filter(None, (categories, few)))})" if categories or few else ""


def _published_lines(result: Result, figure: Figure) -> tuple[tuple[Line, ...], tuple[str, ...]]:
    """Printed values by method, and the notes that they need."""
    if reason := why_not_comparable(result, figure.name):
        return (), (reason,)
    beside = published_beside(result, figure.name)
    if not beside:
        return (), ()
    base = figure.name.partition("@")[0]

    def printed(entry: Published) -> str:
        return figure.shown(entry.figures[base], digits=min(figure.digits, 2))

    by_label: dict[str, dict[str, str]] = {}
    for entry in beside:
        by_label.setdefault(entry.label, {})[entry.category] = printed(entry)
    several, all_there = len(result.categories) > 1, has_all_categories(result)
    lines = []
    for label, values in by_label.items():
        texts = [values.get(category, "–") for category in result.categories]
        texts += [values.get(MEAN, "–") if all_there else "–"] * several
        if set(texts) != {"–"}:
            lines.append(Line(label, tuple(Cell(text) for text in texts)))
    notes = [note for note in (_PRINTED, departures(result)) if note]
    for dataset in dict.fromkeys(entry.dataset for entry in beside if entry.category == MEAN and not all_there):
        own = [entry for entry in beside if (entry.category, entry.dataset) == (MEAN, dataset)]
        means = "; ".join(f"{entry.label} {printed(entry)}" for entry in own)
        total = f"all {CATEGORIES[dataset]} categories of {dataset}"
        notes.append(f"Published means over {total}, not over those of this table: {means}.")
    if base == "ic_lpips":
        notes.append("Published IC-LPIPS differ in network (alex or vgg), centres and cap from source to source.")
    elif result.mode == "fixed" and base != "inception_score":
        notes.append("The published runs kept the best test epoch, which fixed mode does not.")
    remarks = dict.fromkeys((entry.label, entry.remark) for entry in beside if entry.remark)
    notes += [f"{label}: {remark}." for label, remark in remarks]
    return tuple(lines), tuple(notes)
