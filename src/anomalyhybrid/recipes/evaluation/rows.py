"""Finished rows of an evaluation: one result file each, checked before they are used again, merged at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from anomalyhybrid import __version__
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.evaluation.result_files import merge, read_result, write_result
from anomalyhybrid.evaluation.results import Option, Result, Row, UsedNetwork
from anomalyhybrid.recipes.evaluation.data import CategorySource
from anomalyhybrid.recipes.evaluation.evidence import Evidence, write_evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One row that is asked for.

    Attributes:
        key: The line's name in file paths.
        label: The line's name in tables.
        category: The category's name in tables.
        folder: The category's name in the data.
        seed: The seed.
        checkpoint: sha256 of the generator that its images are made by, or None.
        parts: Rows that are computed together, as their labels end; empty for one row of the label alone.
    """

    key: str
    label: str
    category: str
    folder: str
    seed: int
    checkpoint: str | None
    parts: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The rows' names in tables."""
        return tuple(f"{self.label}, {part}" for part in self.parts) or (self.label,)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowStore:
    """Row files of one table in an output folder.

    Attributes:
        out: The evaluation's output folder.
        name: The table, as in file names: ``table_2``.
        protocol: The table, as headings name it: ``table 2``.
        config: The evaluation's settings.
        options: Those of them that decide the table's figures.
        networks: Feature networks behind its figures.
        fingerprints: Of the data, by the categories' names in tables.
        device: Name of the device.
        renamed: Public data sets that have another name at the table's level.
    """

    out: Path
    name: str
    protocol: str
    config: EvaluateConfig
    options: Mapping[str, Option]
    networks: tuple[UsedNetwork, ...]
    fingerprints: Mapping[str, str]
    device: str
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Folder of the row files."""
        return self.out / "rows" / self.name

    def path(self, task: Task) -> Path:
        """File of a row."""
        return self.folder / task.folder / task.key / f"seed_{task.seed}.json"

    def evidence_path(self, task: Task) -> Path:
        """File of what the report shows of a row besides figures."""
        return self.path(task).with_suffix(".npz")

    def write(self, task: Task, rows: Sequence[Row], evidence: Evidence | None) -> None:
        """Keep a task's finished rows; it counts as finished once its JSON file stands.

        Raises:
            DataError: The files cannot be written.
        """
        if evidence is not None:
            write_evidence(evidence, self.evidence_path(task))
        write_result(self._result(tuple(rows)), self.path(task))

    def _result(self, rows: tuple[Row, ...]) -> Result:
        row = rows[0]
        own = [(dataset, name) for dataset, name in self.config.dataset_names().values() if name == row.category]
        named = {name: self.renamed.get(dataset, dataset) for dataset, name in own}
        return Result(
            protocol=self.protocol,
            mode=self.config.mode,
            options=self.options,
            seeds=(row.seed,),
            networks=self.networks,
            data_fingerprints={row.category: self.fingerprints[row.category]},
            versions={"anomalyhybrid": __version__, "torch": torch.__version__},
            device=self.device,
            rows=rows,
            datasets=named,
        )

    def check(self, tasks: Sequence[Task]) -> None:
        """Refuse rows, asked for or not, that were made in another way than this evaluation makes them.

        Raises:
            ConfigError: Names the row and what differs.
            DataError: A row file is damaged.
        """
        asked = {self.path(task): task for task in tasks}
        for path in sorted(self.folder.rglob("*.json")):
            found = read_result(path)
            differences = _differences("option", self.options, found.options)
            networks = [
                {net.role: f"{net.name} {net.sha256}" for net in own} for own in (self.networks, found.networks)
            ]
            differences += _differences("network", *networks)
            for category, fingerprint in found.data_fingerprints.items():
                if self.fingerprints.get(category, fingerprint) != fingerprint:
                    differences.append(f"the content of {category}'s images")
            task = asked.get(path)
            if task is not None and found.rows[0].checkpoint != task.checkpoint:
                differences.append("the generator")
            if differences:
                raise ConfigError(
                    f"{path} was made with other settings or data ({'; '.join(differences)}); go on with the same "
                    "ones, give another --out, or remove this row"
                )

    def merged(self, tasks: Sequence[Task]) -> Result:
        """All finished rows of the table, those of other processes and of earlier calls too.

        Args:
            tasks: Give the order of lines and categories; others come behind.

        Raises:
            DataError: No row, or rows that do not belong together.
        """
        results = [read_result(path) for path in sorted(self.folder.rglob("*.json"))]
        if not results:
            raise DataError(f"{self.folder} holds no finished row; run the evaluation again")
        labels = list(dict.fromkeys(label for task in tasks for label in task.labels))
        categories = list(dict.fromkeys(task.category for task in tasks))

        def place(result: Result) -> tuple:
            row = result.rows[0]
            return (*_place(labels, row.method), *_place(categories, row.category), row.seed)

        return merge(sorted(results, key=place))


def _place(known: Sequence[str], name: str) -> tuple[int, str]:
    return (known.index(name), "") if name in known else (len(known), name)


def _differences(what: str, now: Mapping[str, Option], before: Mapping[str, Option]) -> list[str]:
    names = dict.fromkeys((*now, *before))
    return [
        f"{what} {name}: {before.get(name, 'absent')}, now {now.get(name, 'absent')}"
        for name in names
        if now.get(name, "absent") != before.get(name, "absent")
    ]


def fingerprints(sources: Sequence[CategorySource], config: EvaluateConfig) -> dict[str, str]:
    """Fingerprints by the categories' names in tables.

    Raises:
        ConfigError: Two categories of one name, or a data set of a category that the data lack.
    """
    names = config.dataset_names()
    found: dict[str, str] = {}
    for source in sources:
        name = shown_name(source.category, config)
        if name in found:
            raise ConfigError(f"evaluate.datasets names two categories {name!r}; give each another name")
        found[name] = source.fingerprint
    known = {source.category for source in sources}
    missing = [name for name in names if name not in known]
    if missing and not config.categories:
        raise ConfigError(f"evaluate.datasets names {missing[0]!r}, which is no category of the data")
    return found


def shown_name(category: str, config: EvaluateConfig) -> str:
    """A category's name in tables."""
    return config.dataset_names().get(category, ("", category))[1]
