"""Tables as Markdown for documents and as plain text for terminals."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from anomalyhybrid.evaluation.report_tables import Cell, Table, figure_table, overview_table
from anomalyhybrid.evaluation.report_words import result_notes
from anomalyhybrid.evaluation.results import Result

_WIDTH = 120
_PUBLISHED = "published, not measured here"


def markdown_table(result: Result, figure_names: Sequence[str] = (), *, published: bool = True) -> str:
    """Write a result as Markdown, for ``docs/log.md``.

    Args:
        result: The result.
        figure_names: One gives the figure's table of methods and categories; several, or none for all, give one
            table of methods and figures, each the mean over the categories.
        published: Also give printed values, in the table of one figure.

    Returns:
        The sentence that says who wins, the table with the best in bold, caption and notes; ends with a new line.

    Raises:
        DataError: The result lacks a figure.
    """
    table = _table(result, figure_names, published)
    head = [f"**{_escaped(table.heading)}**" if len(figure_names) == 1 else "method", *map(_escaped, table.columns)]
    rows = [head, ["---"] + ["---:"] * len(table.columns)]
    rows += [[_escaped(line.label), *map(_markdown_cell, line.cells)] for line in table.lines]
    if table.published:
        rows.append([f"*{_PUBLISHED}:*", *[""] * len(table.columns)])
        rows += [[f"*{_escaped(line.label)}*", *map(_markdown_cell, line.cells)] for line in table.published]
    drawn = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    below = "\n".join(_wrapped(f"- {_escaped(note)}", "  ") for note in table.notes)
    parts = [_wrapped(_escaped(table.lead)), drawn, _wrapped(_escaped(table.caption)), below]
    return "\n\n".join(part for part in parts if part) + "\n"


def text_table(result: Result, figure_names: Sequence[str] = (), *, published: bool = True) -> str:
    """Write a result as plain text, for the terminal; the best of each column is marked ``*``.

    Args:
        result: The result.
        figure_names: As `markdown_table`.
        published: As `markdown_table`.

    Returns:
        Heading, sentence, table, caption and notes; control characters of names are replaced. Ends with a new line.

    Raises:
        DataError: The result lacks a figure.
    """
    table = _table(result, figure_names, published)
    head = ["", *map(_plain, table.columns)]
    ours = [[_plain(line.label), *map(_text_cell, line.cells)] for line in table.lines]
    others = [[f"  {_plain(line.label)}", *map(_text_cell, line.cells)] for line in table.published]
    widths = [max(map(len, column)) for column in zip(head, *ours, *others, strict=True)]
    drawn = [_padded(head, widths), "  ".join("-" * width for width in widths), *(_padded(row, widths) for row in ours)]
    if others:
        drawn += [f"{_PUBLISHED}:", *(_padded(row, widths) for row in others)]
    below = [_wrapped(_plain(text)) for text in (f"* best. {table.caption}", *table.notes)]
    title = _plain(f"{result.protocol}: {table.heading}")
    return "\n".join([title, _wrapped(_plain(table.lead)), "", *drawn, "", *below]) + "\n"


def _table(result: Result, figure_names: Sequence[str], published: bool) -> Table:
    if len(figure_names) == 1:
        return figure_table(result, figure_names[0], published=published)
    table = overview_table(result, figure_names)
    return Table(
        heading=table.heading,
        lead=table.lead,
        columns=table.columns,
        lines=table.lines,
        published=(),
        caption=table.caption,
        notes=(*table.notes, *result_notes(result)),
    )


def _markdown_cell(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.best else cell.text
    return f"{text} {cell.extra}".rstrip()


def _text_cell(cell: Cell) -> str:
    return f"{cell.text}{'*' if cell.best else ''} {cell.extra}".rstrip()


def _padded(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = row
    cells = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
    return "  ".join([first.ljust(widths[0]), *cells]).rstrip()


def _plain(text: str) -> str:
    """Without line ends and control characters, which could move the terminal's cursor."""
    return "".join(char if char.isprintable() else " " for char in text)


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", _plain(text))


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
