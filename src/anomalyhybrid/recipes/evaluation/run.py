"""`anomalyhybrid evaluate`: rows of one table, each kept when it is finished, then one result and a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import torch

from anomalyhybrid.data.files import make_folder
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.evaluation.baselines.textures import PROCEDURAL
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.evaluation.curves import Curve, CurvePlot
from anomalyhybrid.evaluation.figures import figure_of
from anomalyhybrid.evaluation.report import write_report
from anomalyhybrid.evaluation.report_pictures import Failure, Sheet
from anomalyhybrid.evaluation.result_files import read_results, write_result
from anomalyhybrid.evaluation.results import Option, Result, Row, UsedNetwork
from anomalyhybrid.models.weights import sha256_of
from anomalyhybrid.recipes.evaluation import detection, quality
from anomalyhybrid.recipes.evaluation.data import CategoryData, CategorySource, read_categories, split_category
from anomalyhybrid.recipes.evaluation.evidence import (
    Evidence,
    curve_of,
    examples_of,
    failures_of,
    read_evidence,
    sheet_of,
)
from anomalyhybrid.recipes.evaluation.locks import locked
from anomalyhybrid.recipes.evaluation.methods import (
    Entry,
    MadeSet,
    checkpoint_of,
    entries,
    method_samples,
)
from anomalyhybrid.recipes.evaluation.networks import load_networks
from anomalyhybrid.recipes.evaluation.rows import RowStore, Task, fingerprints, shown_name
from anomalyhybrid.recipes.evaluation.sets import SHIPPED, Bench, generator_file
from anomalyhybrid.recipes.sources import Announce, best_device

REPORT = "report.html"
VARIED = MappingProxyType({5: ("decoders",), 7: ("operations", "mixture", "remove_real")})
"""Settings that a table's lines vary: the lines' names tell them."""
Tell: TypeAlias = Callable[[dict[str, float | int | str]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """How the rows of one table are computed.

    Attributes:
        options: Names of the settings that decide its figures.
        networks: Feature networks that its figures are computed with.
        check: Refuses, before long work, a category that it cannot be computed on.
        row: Computes one row from line, data, the line's images, seed, workplace, whether to keep pictures, and
            whom to tell at each check of a training.
    """

    options: tuple[str, ...]
    networks: tuple[UsedNetwork, ...]
    check: Callable[[CategoryData, EvaluateConfig], None]
    row: Callable[[Entry, CategoryData, MadeSet, int, Bench, bool, Tell], tuple[Row, Evidence | None]]


def table_of(config: EvaluateConfig, device: torch.device) -> Table:
    """Choose the table.

    Raises:
        ConfigError: A table that is not implemented yet.
        WeightsError: Networks that it needs are missing.
    """
    match config.table:
        case 2:

            def row(
                entry: Entry, data: CategoryData, made: MadeSet, seed: int, bench: Bench, pictures: bool, tell: Tell
            ) -> tuple[Row, Evidence | None]:
                return detection.detection_row(entry, data, made, seed, bench, pictures=pictures, report=tell)

            return Table(options=detection.OPTIONS, networks=(), check=detection.check_detection, row=row)
        case 1 | 5 | 7:
            networks = load_networks(config, device)

            def measured(
                entry: Entry, data: CategoryData, made: MadeSet, seed: int, bench: Bench, pictures: bool, tell: Tell
            ) -> tuple[Row, Evidence | None]:
                found = quality.quality_row(entry, data, made, seed, bench, networks, report=tell)
                return found, examples_of(data, made) if pictures else None

            return Table(options=quality.OPTIONS, networks=networks.used, check=quality.check_quality, row=measured)
        case _:
            raise ConfigError(f"table {config.table} is not implemented yet; choose 1, 2, 5 or 7")


def evaluate(
    data: Sequence[Path],
    out: Path,
    *,
    run: str = SHIPPED,
    zero_run: str = SHIPPED,
    config: EvaluateConfig,
    skip_unreadable: bool = False,
    cache: Path | None = None,
    announce: Announce,
    report: Callable[[int, int, str], None] | None = None,
) -> Result:
    """Evaluate one table on any data, and write ``table_<n>.json`` and ``report.html``.

    Each finished row (line, category, seed) is kept in ``rows`` and never computed again; a killed evaluation goes
    on where it was. Several processes may work in one output folder, on the same rows or on different ones: they
    share the work, and the last one's result holds all rows.

    Args:
        data: Folders in MVTec AD layout, with ``test`` and ``ground_truth``.
        out: Output folder.
        run: Generator of the few-shot methods: ``shipped``, a run folder, or a generator file.
        zero_run: Generator of the zero-shot method, which must not have seen real defects; alike.
        config: Settings.
        skip_unreadable: Leave unreadable images out, by name, instead of stopping.
        cache: Folder of condition maps; by default the user's cache.
        announce: Told in words what happens.
        report: Given rows done and in all, and what is going on.

    Returns:
        All rows of the table that the output folder holds.

    Raises:
        AnomalyHybridError: Something the caller can mend; also when the folder's rows were made in another way.
    """
    lines = entries(config)
    counter = _Counter(report)
    bench = Bench(
        out=out,
        run=run,
        zero_run=zero_run,
        cache=cache,
        device=best_device(),
        announce=announce,
        note=counter.note,
    )
    checkpoints = {line.key: checkpoint_of(line.method, bench) for line in lines}
    table = table_of(config, bench.device)
    sources = read_categories(data, config, skip_unreadable=skip_unreadable, announce=announce)
    store = RowStore(
        out=make_folder(out),
        name=f"table_{config.table}" + ("" if config.mode == "fixed" else "_as_published"),
        config=config,
        options=options_of(config, table.options) | _guard_of(config, bench),
        networks=table.networks,
        fingerprints=fingerprints(sources, config),
        device=torch.cuda.get_device_name() if bench.device.type == "cuda" else "CPU",
    )
    tasks = [
        Task(
            key=line.key,
            label=line.label,
            category=shown_name(source.category, config),
            folder=source.category,
            seed=seed,
            checkpoint=checkpoints[line.key],
        )
        for source in sources
        for seed in config.seeds
        for line in lines
    ]
    store.check(tasks)
    desk = _Desk(sources, config)
    for source in sources:  # what cannot be computed is refused before long work
        for line in lines:
            table.check(desk.data(source.category, config.seeds[0]), line.config)
    _work(tasks, {line.key: line for line in lines}, table, store, desk, bench, counter)
    with locked(out / ".locks" / f"merge_{store.name}"):
        result = store.merged(tasks)
        write_result(result, out / f"{store.name}.json")
        _write_page(tasks, store, desk, out)
    return result


def options_of(config: EvaluateConfig, names: Sequence[str]) -> dict[str, Option]:
    """The settings that decide a table's figures, flat, without those that its lines vary."""
    found: dict[str, Option] = {}
    for name in (name for name in names if name not in VARIED.get(config.table, ())):
        value = getattr(config, name)
        found[name] = " + ".join(map(str, value)) if isinstance(value, tuple) else value
    if "textures" in found:
        found["textures"] = f"folder {Path(config.textures).name}" if config.textures else f"{PROCEDURAL} procedural"
    return found


def _guard_of(config: EvaluateConfig, bench: Bench) -> dict[str, Option]:
    """The generator that redraws good images to test all methods for false alarms (Table 2)."""
    if config.table != 2 or not config.normals:
        return {}
    return {"guard_generator": sha256_of(generator_file(bench.run))[:16]}


class _Counter:
    """Rows done and in all, told together with what is going on."""

    def __init__(self, report: Callable[[int, int, str], None] | None) -> None:
        self._report, self._done, self._total = report, 0, 0

    def count(self, done: int, total: int) -> None:
        """Tell how many rows are done."""
        self._done, self._total = done, total
        self.note("")

    def note(self, text: str) -> None:
        """Tell what is going on."""
        if self._report is not None:
            self._report(self._done, self._total, text)


class _Desk:
    """Splits of the categories, made when they are first needed; one is kept at a time."""

    def __init__(self, sources: Sequence[CategorySource], config: EvaluateConfig) -> None:
        self._sources = {source.category: source for source in sources}
        self._config = config
        self._key: tuple[str, int] | None = None
        self._data: CategoryData | None = None

    def data(self, folder: str, seed: int) -> CategoryData:
        """A category split for a seed."""
        if self._data is None or self._key != (folder, seed):
            self._data = split_category(self._sources[folder], self._config, seed)
            self._key = folder, seed
        return self._data


def _work(
    tasks: Sequence[Task],
    lines: dict[str, Entry],
    table: Table,
    store: RowStore,
    desk: _Desk,
    bench: Bench,
    counter: _Counter,
) -> None:
    """Compute all missing rows: first those that no other process is at, then those that it did not finish."""
    left = list(tasks)
    counter.count(0, len(tasks))
    for wait in (False, True):
        later: list[Task] = []
        for task in left:
            with locked(bench.out / ".locks" / f"row_{store.name}_{_file_name(task)}", wait=wait) as held:
                if not held:
                    later.append(task)
                    continue
                if not store.path(task).is_file():
                    _row(task, lines[task.key], table, store, desk, bench)
            counter.count(sum(store.path(each).is_file() for each in tasks), len(tasks))
        left = later


def _file_name(task: Task) -> str:
    return f"{task.folder}_{task.key}_{task.seed}"


def _row(task: Task, line: Entry, table: Table, store: RowStore, desk: _Desk, bench: Bench) -> None:
    """Compute and keep one row."""
    data = desk.data(task.folder, task.seed)
    table.check(data, line.config)
    made = method_samples(line, data, task.seed, bench)
    bench.announce(f"{task.category}, seed {task.seed}: {task.label}")
    first = task.seed == min(line.config.seeds)

    def tell(check: dict[str, float | int | str]) -> None:
        bench.note(f"{task.category}, {task.label}: step {check['step']}, {check['img_per_s']} images/s")

    row, evidence = table.row(line, data, made, task.seed, bench, first, tell)
    store.write(task, replace(row, category=task.category), evidence)
    shown = [f"{figure_of(name).label} {figure_of(name).shown(row.figures[name])}" for name in list(row.figures)[:4]]
    bench.announce(f"{task.category}, seed {task.seed}: {task.label}: {', '.join(shown)}")


def _write_page(tasks: Sequence[Task], store: RowStore, desk: _Desk, out: Path) -> None:
    """The report on all results of the output folder, with pictures of this table's first seed."""
    plots: list[CurvePlot] = []
    sheets: list[Sheet] = []
    failures: list[Failure] = []
    for folder in dict.fromkeys(task.folder for task in tasks):
        pixels: list[Curve] = []
        images: list[Curve] = []
        seed = min(task.seed for task in tasks)
        own = [task for task in tasks if task.folder == folder and task.seed == seed]
        for task in (task for task in own if store.evidence_path(task).is_file()):
            evidence, data = read_evidence(store.evidence_path(task)), desk.data(folder, seed)
            for curves, points in ((pixels, evidence.pixel_curve), (images, evidence.image_curve)):
                curve = curve_of(task.label, points)
                curves += [] if curve is None else [curve]
            failures += failures_of(task.label, data, evidence)
            sheet = sheet_of(task.label, data, evidence)
            sheets += [] if sheet is None else [sheet]
        for level, curves in (("pixels", pixels), ("images", images)):
            if curves:
                plots.append(CurvePlot(f"{own[0].category}, {level}", curves, f"Seed {seed}."))
    write_report(read_results(out), out / REPORT, plots=plots, sheets=sheets, failures=failures)
