"""The report of an evaluation: one HTML file, everything inside, readable without a computer scientist."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from anomalyhybrid.data.files import make_folder, write_text_atomic
from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.curves import HEIGHT, WIDTH, CurvePlot, geometry
from anomalyhybrid.evaluation.report_pictures import Failure, Sheet, failure_shots, picture_shot
from anomalyhybrid.evaluation.report_tables import figure_table, overview_table
from anomalyhybrid.evaluation.report_words import lead_sentence, result_notes
from anomalyhybrid.evaluation.results import Result

_TITLES = {"fixed": "fixed mode", "as_published": "as-published mode"}


def write_report(
    results: Sequence[Result],
    path: Path,
    *,
    title: str = "Evaluation",
    plots: Sequence[CurvePlot] = (),
    sheets: Sequence[Sheet] = (),
    failures: Sequence[Failure] = (),
    published: bool = True,
) -> Path:
    """Write one HTML file, pictures inside, that asks for nothing outside.

    Args:
        results: At least one; a section each, in this order.
        path: The file; its folder is made where it is missing.
        title: Heading of the page.
        plots: Precision-recall curves.
        sheets: Generated defects beside real ones. The data's licence decides who may be given the page.
        failures: Worst test images, grouped by method in the order given.
        published: Show printed figures where they are comparable.

    Returns:
        The path.

    Raises:
        DataError: No result, a picture or curve that is not as documented, or the file cannot be written.
    """
    make_folder(Path(path).parent)
    page = render_report(results, title=title, plots=plots, sheets=sheets, failures=failures, published=published)
    write_text_atomic(Path(path), page)
    return Path(path)


def render_report(
    results: Sequence[Result],
    *,
    title: str = "Evaluation",
    plots: Sequence[CurvePlot] = (),
    sheets: Sequence[Sheet] = (),
    failures: Sequence[Failure] = (),
    published: bool = True,
) -> str:
    """Make the page of `write_report`.

    Returns:
        HTML.

    Raises:
        DataError: As `write_report`.
    """
    if not results:
        raise DataError("there are no results to report; run 'anomalyhybrid evaluate' first")
    return _template().render(
        title=title,
        sections=[_section(result, published) for result in results],
        plots=_plots(plots),
        plot_width=WIDTH,
        plot_height=HEIGHT,
        sheets=[_sheet(sheet) for sheet in sheets],
        failures=_failures(failures),
    )


def _template() -> jinja2.Template:
    text = files("anomalyhybrid.evaluation").joinpath("report.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(text)


def _section(result: Result, published: bool) -> dict[str, Any]:
    names = result.figure_names
    protocol = result.protocol[:1].upper() + result.protocol[1:]
    named = [(category, result.datasets.get(category)) for category in result.categories]
    return {
        "name": f"{protocol}, {_TITLES[result.mode]}",
        "data": ", ".join(f"{name} ({dataset})" if dataset else name for name, dataset in named),
        "summary": lead_sentence(result, names[0]) if names else "This result holds no figures.",
        "overview": overview_table(result) if len(names) > 1 else None,
        "tables": [figure_table(result, name, published=published) for name in names],
        "notes": result_notes(result),
        "facts": _facts(result),
    }


def _facts(result: Result) -> list[tuple[str, str]]:
    """How the figures were made, as name and value."""
    facts = [
        ("seeds", ", ".join(map(str, result.seeds))),
        ("device", result.device),
        *((f"version of {name}", value) for name, value in result.versions.items()),
        *((f"option {name}", _option(value)) for name, value in result.options.items()),
    ]
    for network in result.networks:
        real = f"STAND-IN: {network.stand_in}" if network.stand_in else "the real network"
        facts.append((f"network {network.role}", f"{network.name} ({real}), sha256 {network.sha256 or 'none'}"))
    facts += [(f"fingerprint of {name}", value) for name, value in result.data_fingerprints.items()]
    checkpoints: dict[str, set[str]] = {}
    for row in result.rows:
        if row.checkpoint:
            checkpoints.setdefault(row.method, set()).add(row.checkpoint)
    facts += [(f"checkpoint of {method}", ", ".join(sorted(own))) for method, own in checkpoints.items()]
    return [*facts, ("result schema", str(result.schema))]


def _option(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else "none" if value is None else str(value)


def _plots(plots: Sequence[CurvePlot]) -> list[dict[str, Any]]:
    styles: dict[str, int] = {}
    for method in (curve.method for plot in plots for curve in plot.curves):
        styles.setdefault(method, len(styles) % 8)
    return [{"title": plot.title, "caption": plot.caption, "drawn": geometry(plot, styles)} for plot in plots]


def _sheet(sheet: Sheet) -> dict[str, Any]:
    return {
        "title": sheet.title,
        "caption": sheet.caption,
        "real": [picture_shot(picture, "real defect") for picture in sheet.real],
        "generated": [picture_shot(picture, "generated defect") for picture in sheet.generated],
    }


def _failures(failures: Sequence[Failure]) -> list[dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for failure in failures:
        case = {"caption": failure.caption, "shots": failure_shots(failure)}
        groups.setdefault(failure.method, []).append(case)
    return [{"method": method, "cases": cases} for method, cases in groups.items()]
