"""Result files: written all or nothing, read with every value checked, merged where runs were split."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from anomalyhybrid.data.files import list_folder, make_folder, raise_problems, write_text_atomic
from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.results import SCHEMA, Result, Row, UsedNetwork

KIND = "anomalyhybrid evaluation"
"""Value of a result file's key ``kind``, by which it is told from other JSON files."""
_AGAIN = "run 'anomalyhybrid evaluate' again to make it anew"


def write_result(result: Result, path: Path) -> Path:
    """Write a result as JSON, all or nothing; NaN becomes null. The folder is made where it is missing.

    Args:
        result: The result.
        path: The file; an existing one is replaced.

    Returns:
        The path.

    Raises:
        DataError: The file cannot be written.
    """
    content = {
        "kind": KIND,
        "schema": result.schema,
        **_as_json(result, without=frozenset({"schema", "rows", "networks"})),
    }
    content["networks"] = [_as_json(network) for network in result.networks]
    content["rows"] = [_row_as_json(row) for row in result.rows]
    make_folder(Path(path).parent)
    write_text_atomic(Path(path), json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return Path(path)


def read_result(path: Path) -> Result:
    """Read a result and check all of it.

    Args:
        path: A file of `write_result`.

    Returns:
        The result; null figures are NaN.

    Raises:
        DataError: No file, not JSON, not a result, of another schema, or with a value that is not allowed.
    """
    content = _read_json(Path(path))
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise DataError(f"{path} is no result of 'anomalyhybrid evaluate' (no kind {KIND!r}); give one of its files")
    if content.get("schema") != SCHEMA:
        raise DataError(
            f"{path} has schema {content.get('schema')!r}, this version of anomalyhybrid knows schema {SCHEMA}: its "
            f"figures are defined otherwise; {_AGAIN}, or read it with the version that wrote it"
        )
    try:
        return _from_json(content)
    except DataError as error:
        raise DataError(f"{path} is damaged: {error}. Or {_AGAIN}") from error


def read_results(folder: Path) -> list[Result]:
    """Read all results of a folder; its other JSON files and subfolders are passed over.

    Args:
        folder: For example ``docs/results``.

    Returns:
        The results, in natural order of their file names; at least one.

    Raises:
        DataError: No such folder, no result in it, or results of another schema or damaged: all are listed.
    """
    if not Path(folder).is_dir():
        raise DataError(f"{folder} is no folder; give the folder of 'anomalyhybrid evaluate''s results")
    _, _, others = list_folder(Path(folder))
    results: list[Result] = []
    problems: list[str] = []
    for path in (path for path in others if path.suffix == ".json"):
        try:
            content = _read_json(path)
            if isinstance(content, dict) and content.get("kind") == KIND:
                results.append(read_result(path))
        except DataError as error:
            problems.append(str(error))
    raise_problems(f"{folder} holds results that cannot be used; move them away or make them anew:", problems)
    if not results:
        raise DataError(f"{folder} holds no result; run 'anomalyhybrid evaluate' first, or give another folder")
    return results


def merge(results: Sequence[Result]) -> Result:
    """Put results of one protocol together whose seeds, categories or methods were run apart.

    Args:
        results: At least one; the same protocol, mode, options and networks, and the same data where they
            share a category. Versions and devices may differ: all are kept, joined by ``" + "``.

    Returns:
        One result: all rows in the order given, all seeds ascending. Rows that are equal are kept once.

    Raises:
        DataError: None given, something differs, or one method, category and seed has different rows.
    """
    if not results:
        raise DataError("there are no results to merge; give at least one")
    first = results[0]
    for other in results[1:]:
        _check_same(first, other)
    rows: dict[tuple[str, str, int], Row] = {}
    for row in (row for result in results for row in result.rows):
        if rows.setdefault(row.key, row) != row:
            raise DataError(f"the results have different rows for {row.key}; leave one of the runs out")
    return Result(
        protocol=first.protocol,
        mode=first.mode,
        options=first.options,
        seeds=tuple(sorted({seed for result in results for seed in result.seeds})),
        networks=tuple({network.role: network for result in results for network in result.networks}.values()),
        data_fingerprints={key: value for result in results for key, value in result.data_fingerprints.items()},
        versions=_joined_versions(results),
        device=_joined([result.device for result in results]),
        rows=tuple(rows.values()),
        datasets={key: value for result in results for key, value in result.datasets.items()},
    )


def _check_same(first: Result, other: Result) -> None:
    """Refuse results that were not made in the same way."""
    problems: list[str] = []
    for name in ("protocol", "mode"):
        if getattr(first, name) != getattr(other, name):
            problems.append(f"{name}: {getattr(first, name)!r} and {getattr(other, name)!r}")
    problems += _differing("option", first.options, other.options, both=True)
    problems += _differing("data of", first.data_fingerprints, other.data_fingerprints)
    problems += _differing("data set of", first.datasets, other.datasets)
    networks = [{network.role: network for network in result.networks} for result in (first, other)]
    problems += _differing("network", *networks)
    raise_problems("these results cannot be merged; merge only runs of one protocol and setting:", problems)


def _differing(name: str, first: Mapping[str, object], other: Mapping[str, object], *, both: bool = False) -> list[str]:
    """Keys whose values differ in value or type; with ``both``, also keys that only one side has."""
    keys = first.keys() | other.keys() if both else first.keys() & other.keys()
    absent = "not given"
    pairs = [(key, first.get(key, absent), other.get(key, absent)) for key in sorted(keys)]
    return [f"{name} {key}: {a!r} and {b!r}" for key, a, b in pairs if a != b or type(a) is not type(b)]


def _joined(texts: Sequence[str]) -> str:
    return " + ".join(dict.fromkeys(part for text in texts for part in text.split(" + ")))


def _joined_versions(results: Sequence[Result]) -> dict[str, str]:
    names = dict.fromkeys(name for result in results for name in result.versions)
    return {name: _joined([result.versions[name] for result in results if name in result.versions]) for name in names}


def _as_json(value: Any, *, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    return {part.name: getattr(value, part.name) for part in fields(value) if part.name not in without}


def _row_as_json(row: Row) -> dict[str, Any]:
    figures = {name: None if math.isnan(value) else value for name, value in row.figures.items()}
    return _as_json(row) | {"figures": figures}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; give a result file") from error
    except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8
        raise DataError(f"{path} is not JSON ({error}); {_AGAIN}") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _from_json(content: dict[str, Any]) -> Result:
    values = {key: value for key, value in content.items() if key != "kind"}
    _check_keys("the result", values, Result)
    for name in ("seeds", "networks", "rows"):
        if not isinstance(values[name], list):
            raise DataError(f"{name} is {values[name]!r}; it must be a list")
    networks = []
    for entry in values["networks"]:
        _check_keys("a network", entry, UsedNetwork)
        networks.append(UsedNetwork(**entry))
    rows = [_row_from_json(entry) for entry in values["rows"]]
    return Result(**(values | {"networks": networks, "rows": rows}))


def _row_from_json(entry: Any) -> Row:
    _check_keys("a row", entry, Row)
    if not isinstance(entry["figures"], dict) or not isinstance(entry["notes"], list):
        raise DataError("a row's figures must be an object and its notes a list")
    figures = {name: math.nan if value is None else value for name, value in entry["figures"].items()}
    return Row(**(entry | {"figures": figures}))


def _check_keys(name: str, entry: Any, kind: type) -> None:
    if not isinstance(entry, dict):
        raise DataError(f"{name} is {entry!r}; it must be an object")
    known = {part.name for part in fields(kind)}
    if wrong := sorted(known ^ entry.keys()):
        raise DataError(f"{name} lacks, or has more than allowed: {', '.join(map(str, wrong))}")
