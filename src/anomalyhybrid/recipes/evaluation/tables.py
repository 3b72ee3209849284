"""How the rows of each table are computed: its lines, settings, networks, and what it does to one category."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from anomalyhybrid.errors import ConfigError
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.evaluation.published import MVTEC_3D_DEPTH, MVTEC_3D_RGB
from anomalyhybrid.evaluation.results import Row, UsedNetwork
from anomalyhybrid.recipes.evaluation import depth_methods, depth_tables, detection, quality
from anomalyhybrid.recipes.evaluation.data import CategoryData
from anomalyhybrid.recipes.evaluation.depth_data import DepthCategory, DepthMaps, depth_category
from anomalyhybrid.recipes.evaluation.depth_detection import MODALITIES
from anomalyhybrid.recipes.evaluation.evidence import Evidence, examples_of
from anomalyhybrid.recipes.evaluation.methods import (
    Entry,
    checkpoint_of,
    depth_entries,
    entries,
    method_samples,
)
from anomalyhybrid.recipes.evaluation.networks import Networks, load_networks
from anomalyhybrid.recipes.evaluation.sets import Bench

Tell: TypeAlias = Callable[[dict[str, float | int | str]], None]
Rows: TypeAlias = tuple[tuple[Row, ...], Evidence | None]

NO_SISTER = (
    "ours is left out in depth: it needs evaluate.depth_run, an AnomalyHybrid* that was trained on these data "
    "(same size and edges as the generator)"
)
NO_DEPTH = "the data have no measured depth: there is the RGB level only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table, or one level of it.

    Attributes:
        name: As in file names, without the mode: ``table_2``.
        protocol: As in headings: ``table 2``.
        lines: Its lines.
        checkpoints: sha256 of the generator behind each line, by its key.
        options: Names of the settings that decide its figures.
        networks: Feature networks that its figures are computed with.
        check: Refuses, before long work, a category that it cannot be computed on.
        rows: Computes a line's rows from line, data, seed, workplace, whether to keep pictures, and whom to tell at
            each check of a training.
        parts: Rows of each line, as their labels end; empty for one.
        deep: Whether it needs measured depth.
        datasets: Public data sets that have another name at this level.
        note: What a reader of every row has to know.
    """

    name: str
    protocol: str
    lines: tuple[Entry, ...]
    checkpoints: Mapping[str, str | None]
    options: tuple[str, ...]
    networks: tuple[UsedNetwork, ...]
    check: Callable[[CategoryData, EvaluateConfig], None]
    rows: Callable[[Entry, CategoryData, int, Bench, bool, Tell], Rows]
    parts: tuple[str, ...] = ()
    deep: bool = False
    datasets: Mapping[str, str]
    note: str = ""


def tables_of(config: EvaluateConfig, bench: Bench) -> tuple[Table, ...]:
    """Choose the table; Table 3 has two levels.

    Raises:
        ConfigError: Methods for a table that varies ours alone, or none that the table has.
        WeightsError: Networks or generators that it needs are missing.
    """
    match config.table:
        case 2:
            return (_detection(config, bench),)
        case 4:
            return (_depth_detection(config, bench),)
        case 3:
            networks = load_networks(config, bench.device)
            used = tuple(net for net in networks.used if net.role != "resnet34")
            levels = _quality(config, bench, networks, used), _depth_quality(config, bench, networks, used)
            if not levels[1].lines:  # then the RGB level's readers are told
                levels = replace(levels[0], note=levels[1].note), levels[1]
            found = tuple(level for level in levels if level.lines)
            if not found:
                raise ConfigError(f"no line is left of table 3: {NO_SISTER}")
            return found
        case 1 | 5 | 7:
            networks = load_networks(config, bench.device)
            return (_quality(config, bench, networks, networks.used),)
        case _:
            raise ConfigError(f"table {config.table} has no rows by category; it is evaluated by itself")


def _colour_checkpoints(lines: tuple[Entry, ...], bench: Bench) -> dict[str, str | None]:
    return {line.key: checkpoint_of(line.method, bench) for line in lines}


def _detection(config: EvaluateConfig, bench: Bench) -> Table:
    def rows(entry: Entry, data: CategoryData, seed: int, bench: Bench, pictures: bool, tell: Tell) -> Rows:
        made = method_samples(entry, data, seed, bench)
        row, evidence = detection.detection_row(entry, data, made, seed, bench, pictures=pictures, report=tell)
        return (row,), evidence

    lines = entries(config)
    return Table(
        name="table_2",
        protocol="table 2",
        lines=lines,
        checkpoints=_colour_checkpoints(lines, bench),
        options=detection.OPTIONS,
        networks=(),
        check=detection.check_detection,
        rows=rows,
        datasets={},
    )


def _quality(config: EvaluateConfig, bench: Bench, networks: Networks, used: tuple[UsedNetwork, ...]) -> Table:
    level = config.table == 3
    more = {"classify": False} if level else {}

    def rows(entry: Entry, data: CategoryData, seed: int, bench: Bench, pictures: bool, tell: Tell) -> Rows:
        made = method_samples(entry, data, seed, bench)
        row = quality.quality_row(entry, data, made, seed, bench, networks, report=tell, **more)
        return (row,), examples_of(data, made) if pictures else None

    lines = entries(config)
    return Table(
        name=f"table_{config.table}",
        protocol=f"table {config.table}" + (", RGB level" if level else ""),
        lines=lines,
        checkpoints=_colour_checkpoints(lines, bench),
        options=quality.GENERATION_OPTIONS if level else quality.OPTIONS,
        networks=used,
        check=quality.check_quality,
        rows=rows,
        datasets={},
    )


class _DeepDesk:
    """Depth of one category at a time, and its split for one seed."""

    def __init__(self, config: EvaluateConfig) -> None:
        self._config = config
        self._maps: tuple[str, DepthMaps] | None = None
        self._kept: tuple[CategoryData, DepthCategory] | None = None

    def deep(self, data: CategoryData) -> DepthCategory:
        """Join a split with its depth."""
        if self._kept is None or self._kept[0] is not data:
            if self._maps is None or self._maps[0] != data.category:
                self._maps = data.category, DepthMaps(self._config)
            self._kept = data, depth_category(data, self._maps[1])
        return self._kept[1]


def _depth_checkpoints(lines: tuple[Entry, ...], config: EvaluateConfig, bench: Bench) -> dict[str, str | None]:
    return {
        line.key: depth_methods.pair_checkpoint(bench.run, config.depth_run) if line.method == "ours" else None
        for line in lines
    }


def _sister_note(config: EvaluateConfig) -> str:
    return NO_SISTER if not config.depth_run and not config.methods else ""


def _depth_detection(config: EvaluateConfig, bench: Bench) -> Table:
    desk = _DeepDesk(config)

    def rows(entry: Entry, data: CategoryData, seed: int, bench: Bench, pictures: bool, tell: Tell) -> Rows:
        deep = desk.deep(data)
        made = depth_methods.depth_samples_of(entry, deep, seed, bench)
        return depth_tables.depth_detection_rows(entry, deep, made, seed, bench, pictures=pictures, report=tell)

    lines = depth_entries(config)
    return Table(
        name="table_4",
        protocol="table 4",
        lines=lines,
        checkpoints=_depth_checkpoints(lines, config, bench),
        options=depth_tables.DETECTION_OPTIONS,
        networks=(),
        check=depth_tables.check_depth_detection,
        rows=rows,
        parts=MODALITIES,
        deep=True,
        datasets={},
        note=_sister_note(config),
    )


def _depth_quality(config: EvaluateConfig, bench: Bench, networks: Networks, used: tuple[UsedNetwork, ...]) -> Table:
    desk = _DeepDesk(config)

    def rows(entry: Entry, data: CategoryData, seed: int, bench: Bench, pictures: bool, tell: Tell) -> Rows:
        deep = desk.deep(data)
        made = depth_methods.depth_samples_of(entry, deep, seed, bench)
        return (depth_tables.depth_quality_row(entry, deep, made, seed, bench, networks),), None

    lines = depth_entries(config)
    return Table(
        name="table_3_depth",
        protocol="table 3, depth level",
        lines=lines,
        checkpoints=_depth_checkpoints(lines, config, bench),
        options=depth_tables.QUALITY_OPTIONS,
        networks=used,
        check=depth_tables.check_depth_quality,
        rows=rows,
        deep=True,
        datasets={MVTEC_3D_RGB: MVTEC_3D_DEPTH},
        note=NO_SISTER if not config.depth_run and (not config.methods or "ours" in config.methods) else "",
    )
