"""The report on all results of an output folder, with pictures of one table's first seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from anomalyhybrid.evaluation.curves import Curve, CurvePlot
from anomalyhybrid.evaluation.report import write_report
from anomalyhybrid.evaluation.report_pictures import Failure, Sheet
from anomalyhybrid.evaluation.result_files import read_results
from anomalyhybrid.recipes.evaluation.data import CategoryData
from anomalyhybrid.recipes.evaluation.evidence import curve_of, failures_of, read_evidence, sheet_of
from anomalyhybrid.recipes.evaluation.rows import RowStore, Task

REPORT = "report.html"


def write_page(tasks: Sequence[Task], store: RowStore, split: Callable[[str, int], CategoryData], out: Path) -> None:
    """Write ``report.html``.

    Args:
        tasks: Rows whose curves, failures and examples are shown; of several rows of one task the last one's.
        store: Where they are.
        split: Gives a category's split for a seed.
        out: Output folder of the evaluation.

    Raises:
        DataError: Results or pictures that cannot be read.
    """
    plots: list[CurvePlot] = []
    sheets: list[Sheet] = []
    failures: list[Failure] = []
    for folder in dict.fromkeys(task.folder for task in tasks):
        pixels: list[Curve] = []
        images: list[Curve] = []
        seed = min(task.seed for task in tasks)
        own = [task for task in tasks if task.folder == folder and task.seed == seed]
        for task in (task for task in own if store.evidence_path(task).is_file()):
            evidence, data, label = read_evidence(store.evidence_path(task)), split(folder, seed), task.labels[-1]
            for curves, points in ((pixels, evidence.pixel_curve), (images, evidence.image_curve)):
                curve = curve_of(label, points)
                curves += [] if curve is None else [curve]
            failures += failures_of(label, data, evidence)
            sheet = sheet_of(task.label, data, evidence)
            sheets += [] if sheet is None else [sheet]
        for level, curves in (("pixels", pixels), ("images", images)):
            if curves:
                plots.append(CurvePlot(f"{own[0].category}, {level}", curves, f"Seed {seed}."))
    write_report(read_results(out), out / REPORT, plots=plots, sheets=sheets, failures=failures)
