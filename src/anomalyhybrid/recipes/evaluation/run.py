"""`anomalyhybrid evaluate`: rows of one table, each kept when it is finished, then its result and a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import torch

from anomalyhybrid.data.files import make_folder
from anomalyhybrid.data.locks import locked
from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.baselines.textures import PROCEDURAL
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.evaluation.figures import figure_of
from anomalyhybrid.evaluation.report_text import text_table
from anomalyhybrid.evaluation.result_files import write_result
from anomalyhybrid.evaluation.results import Option, Result
from anomalyhybrid.models.weights import sha256_of
from anomalyhybrid.recipes.evaluation.data import CategoryData, CategorySource, read_categories, split_category
from anomalyhybrid.recipes.evaluation.depth_data import check_depth_files, depth_fingerprint, has_depth
from anomalyhybrid.recipes.evaluation.hybrid_table import hybrid_table
from anomalyhybrid.recipes.evaluation.methods import Entry
from anomalyhybrid.recipes.evaluation.page import write_page
from anomalyhybrid.recipes.evaluation.rows import RowStore, Task, fingerprints, shown_name
from anomalyhybrid.recipes.evaluation.sets import SHIPPED, Bench, generator_file
from anomalyhybrid.recipes.evaluation.tables import NO_DEPTH, Table, tables_of
from anomalyhybrid.recipes.sources import Announce, best_device

VARIED = MappingProxyType({5: ("decoders",), 7: ("operations", "mixture", "remove_real")})
"""Settings that a table's lines vary: the lines' names tell them."""


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
    share the work, and the last one's result holds all rows. Table 3 writes its depth level, where the data have
    depth, as ``table_3_depth.json``; Table 6 is of whole images (`hybrid_table`).

    Args:
        data: Folders in MVTec AD, MVTec 3D-AD or Eyecandies layout, with a test side; for Table 6 one folder of class
            folders, or of the butterflies that both CSV files name.
        out: Output folder.
        run: Generator of the few-shot methods: ``shipped``, a run folder, or a generator file.
        zero_run: Generator of the zero-shot method, which must not have seen real defects; alike.
        config: Settings.
        skip_unreadable: Leave unreadable images out, by name, instead of stopping.
        cache: Folder of condition maps; by default the user's cache.
        announce: Told in words what happens.
        report: Given rows done and in all, and what is going on.

    Returns:
        All rows of the table (of Table 3, of its RGB level) that the output folder holds.

    Raises:
        AnomalyHybridError: Something the caller can mend; also when the folder's rows were made in another way.
    """
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
    if config.table == 6:
        return hybrid_table(data, config, bench, skip_unreadable=skip_unreadable)
    tables = tables_of(config, bench)
    sources = read_categories(data, config, skip_unreadable=skip_unreadable, announce=announce)
    tables = _with_data(tables, sources, announce)
    works = [_Work(table, sources, config, bench, counter) for table in tables]
    for work in works:  # what cannot be computed is refused before long work
        work.check()
    results = [work.finish() for work in works]
    for other in results[1:]:
        announce(text_table(other))
    return results[0]


def _with_data(tables: Sequence[Table], sources: Sequence[CategorySource], announce: Announce) -> tuple[Table, ...]:
    """The levels that the data allow, each with what its readers have to know.

    Raises:
        DataError: Nothing is left.
    """
    flat = [source.category for source in sources if not has_depth(source)]
    levels = any(table.name == "table_3_depth" for table in tables)
    kept: list[Table] = []
    for table in tables:
        note = table.note
        if levels and flat and not table.deep:
            where = "" if len(flat) == len(sources) else f"{', '.join(flat)}: "
            note = where + NO_DEPTH
        if table.name == "table_3_depth" and len(flat) == len(sources):
            continue
        if note:
            announce(note)
        kept.append(replace(table, note=note))
    if not kept:
        raise DataError("no image has measured depth, which these methods need; add depth, or choose other methods")
    return tuple(kept)


class _Work:
    """One table's rows on all categories that it can be computed on."""

    def __init__(
        self,
        table: Table,
        sources: Sequence[CategorySource],
        config: EvaluateConfig,
        bench: Bench,
        counter: _Counter,
    ) -> None:
        self._table, self._config, self._bench, self._counter = table, config, bench, counter
        partial = table.name == "table_3_depth"
        self._sources = tuple(source for source in sources if not partial or has_depth(source))
        self._desk = _Desk(self._sources, config)
        self._store = RowStore(
            out=make_folder(bench.out),
            name=table.name + ("" if config.mode == "fixed" else "_as_published"),
            protocol=table.protocol,
            config=config,
            options=options_of(config, table.options) | _guard_of(config, bench),
            networks=table.networks,
            fingerprints=self._fingerprints(sources),
            device=torch.cuda.get_device_name() if bench.device.type == "cuda" else "CPU",
            renamed=table.datasets,
        )
        self._tasks = [
            Task(
                key=line.key,
                label=line.label,
                category=shown_name(source.category, config),
                folder=source.category,
                seed=seed,
                checkpoint=table.checkpoints[line.key],
                parts=table.parts,
            )
            for seed in config.seeds  # a run cut short has whole seeds
            for source in self._sources
            for line in table.lines
        ]

    def _fingerprints(self, sources: Sequence[CategorySource]) -> dict[str, str]:
        """Fingerprints by the categories' names in tables, of depth too where the table needs it."""
        found = fingerprints(sources, self._config)
        own = {shown_name(source.category, self._config): source for source in self._sources}
        return {name: depth_fingerprint(source) for name, source in own.items()} if self._table.deep else found

    def check(self) -> None:
        """Refuse older rows that do not fit, and categories that the table cannot be computed on."""
        if self._table.deep:
            for source in self._sources:
                check_depth_files(source, self._config)
        self._store.check(self._tasks)
        for source in self._sources:
            for line in self._table.lines:
                self._table.check(self._desk.data(source.category, self._config.seeds[0]), line.config)

    def finish(self) -> Result:
        """Compute what is missing, and write result and report."""
        lines = {line.key: line for line in self._table.lines}
        _work(self._tasks, lines, self._table, self._store, self._desk, self._bench, self._counter)
        out = self._bench.out
        with locked(out / ".locks" / f"merge_{self._store.name}"):
            result = _noted(self._store.merged(self._tasks), self._table.note)
            write_result(result, out / f"{self._store.name}.json")
            write_page(self._tasks, self._store, self._desk.data, out)
        return result


def _noted(result: Result, note: str) -> Result:
    """Add a note to every row; it is kept in no row's file, as a later call may fill what is missing."""
    if not note:
        return result
    return replace(result, rows=tuple(replace(row, notes=(*row.notes, note)) for row in result.rows))


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
    """Compute and keep one line's rows."""
    data = desk.data(task.folder, task.seed)
    table.check(data, line.config)
    bench.announce(f"{task.category}, seed {task.seed}: {task.label}")
    first = task.seed == min(line.config.seeds)

    def tell(check: dict[str, float | int | str]) -> None:
        bench.note(f"{task.category}, {task.label}: step {check['step']}, {check['img_per_s']} images/s")

    rows, evidence = table.rows(line, data, task.seed, bench, first, tell)
    rows = tuple(replace(row, category=task.category) for row in rows)
    store.write(task, rows, evidence)
    for row in rows:
        figures = [f"{figure_of(name).label} {figure_of(name).shown(row.figures[name])}" for name in row.figures]
        bench.announce(f"{task.category}, seed {task.seed}: {row.method}: {', '.join(figures[:4])}")
