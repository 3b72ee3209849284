"""Settings from YAML: every key is a flag with underscores, checked for name and type before any work."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml

from anomalyhybrid.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Safe loader that refuses a key given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                line = node.value[position][0].start_mark.line + 1
                raise ConfigError(f"key {key!r} is given twice (again in line {line}); keep one")
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a settings file.

    Args:
        path: YAML file that holds a mapping; an empty file counts as an empty one.

    Returns:
        The mapping as written, values not yet checked.

    Raises:
        ConfigError: Missing, unreadable, not YAML, not a mapping, or a key given twice.
    """
    path = path.expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"settings file {path} cannot be read: {reason}; give a YAML file") from error
    try:
        content = yaml.load(text, Loader=_Loader)
    except ConfigError as error:
        raise ConfigError(f"settings file {path}: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"settings file {path} is not valid YAML{where}: {problem}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ConfigError(f"settings file {path} holds a {kind}; it must hold lines like 'batch_size: 8'")
    return content


def recorded_settings(out: Path) -> tuple[dict[str, Any], Path]:
    """Read the settings under which a run, a set or what is added to one was begun: ``--resume`` need not repeat them.

    Args:
        out: Folder of a training run or of a generated set.

    Returns:
        The settings and the file they are in; none where the folder records none.

    Raises:
        ConfigError: The record cannot be read.
    """
    run, dataset = out / "config.yaml", out / "dataset.json"
    if run.is_file():
        return read_yaml(run), run
    if dataset.is_file():
        about = read_yaml(dataset)  # JSON is YAML
        recorded = (about.get("appended") or [about])[-1].get("config", {})
        return {name: value for name, value in recorded.items() if value != []}, dataset  # an empty list is a default
    return {}, run


def check_settings(values: Mapping[Any, Any], schema: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Check names and types of settings against the flags of a command.

    Args:
        values: As read from YAML; groups are nested mappings (``augment: {edit: 0.4}``).
        schema: Type of every setting by its dotted name (``augment.edit``).
        source: Where the values come from, for messages.

    Returns:
        The same nesting; whole numbers and numbers in text like ``2e-4`` made floats where the type is float.

    Raises:
        ConfigError: Names the key, the value and what is allowed; for an unknown key the nearest right one.
    """
    return _checked(values, schema, source, "")


def _checked(values: Mapping, schema: Mapping[str, Any], source: str, prefix: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        is_group = any(known.startswith(f"{name}.") for known in schema)
        if is_group and isinstance(value, Mapping):
            result[key] = _checked(value, schema, source, f"{name}.")
        elif is_group:
            inner = next(known for known in schema if known.startswith(f"{name}.")).rpartition(".")[2]
            raise ConfigError(f"{source}: {name} is {value!r}; it must hold keys of its own, like {inner}")
        elif name not in schema:
            raise ConfigError(f"{source}: unknown key {name!r}{_suggestion(name, list(schema))}")
        elif not _fits(value, schema[name]):
            raise ConfigError(f"{source}: {name} is {value!r}; it must be {allowed(schema[name])}")
        else:
            result[key] = _converted(value, schema[name])
    return result


def _suggestion(name: str, known: list[str]) -> str:
    wanted = name.replace("-", "_")
    leaves = {key.rpartition(".")[2]: key for key in reversed(known)}
    near = [wanted] if wanted in known else difflib.get_close_matches(wanted, known, n=1, cutoff=0.6)
    if not near:
        near = [leaves[leaf] for leaf in difflib.get_close_matches(wanted.rpartition(".")[2], leaves, n=1)]
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"


def _options(hint: Any) -> tuple[Any, ...]:
    """Members of a union, or the type alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _number(value: Any) -> float | None:
    """A float of a number, or of text that YAML 1.1 does not take for one (2e-4)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _fits(value: Any, hint: Any) -> bool:
    for option in _options(hint):
        origin, inner = get_origin(option), get_args(option)
        if option is type(None):
            fits = value is None
        elif origin is Literal:
            fits = value in inner
        elif origin is tuple and inner[-1:] != (...,):
            fits = isinstance(value, list) and len(value) == len(inner)
            fits = fits and all(_fits(item, kind) for item, kind in zip(value, inner, strict=True))
        elif origin in (tuple, list):
            fits = isinstance(value, list) and bool(value) and all(_fits(item, inner[0]) for item in value)
        elif option is float:
            number = _number(value)
            fits = number is not None and math.isfinite(number)
        elif option in (str, Path):
            fits = isinstance(value, str)
        else:
            fits = type(value) is option
        if fits:
            return True
    return False


def _converted(value: Any, hint: Any) -> Any:
    if float in _options(hint):
        return _number(value)
    if isinstance(value, list) and float in get_args(hint):
        return [_number(item) for item in value]
    return value


def allowed(hint: Any) -> str:
    """Say in words what a type allows.

    Args:
        hint: Type of a setting.

    Returns:
        Text that completes "it must be".
    """
    words = []
    for option in _options(hint):
        origin, inner = get_origin(option), get_args(option)
        if option is type(None):
            continue
        if origin is Literal:
            words.append(" or ".join(repr(choice) for choice in inner))
        elif origin is tuple and inner[-1:] != (...,):
            words.append(f"a list of {len(inner)}: [{', '.join(allowed(kind) for kind in inner)}]")
        elif origin in (tuple, list):
            words.append(f"a list, each entry {allowed(inner[0])}")
        else:
            names = {
                int: "a whole number",
                float: "a finite number",
                bool: "true or false",
                str: "text",
                Path: "a path",
            }
            words.append(names.get(option, str(option)))
    return " or ".join(words)


def check_finite(config: Any) -> None:
    """Refuse nan and inf, which pass comparisons that guard other limits.

    Args:
        config: A config dataclass; nested ones are checked too.

    Raises:
        ConfigError: Names the setting.
    """
    for name, value in _leaves(config, ""):
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            raise ConfigError(f"{name} is {value}; it must be a finite number")


def _leaves(config: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value
