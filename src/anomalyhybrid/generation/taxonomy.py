"""The defects of a set by name, each with settings of its own, read from a TOML or JSON file (ADR-015)."""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

from anomalyhybrid.data.own_folders import check_defect_name
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.config import GenerateConfig

SETTINGS = {
    "operations": "names",
    "kinds": "names",
    "extent": "range",
    "severity": "range",
    "appearance": "text",
    "roi": "text",
    "forbid": "text",
    "mixture": "number",
    "procedural": "number",
    "foreign": "number",
    "turn": "number",
    "min_change": "number",
}
"""Settings that an entry may have of its own, with the form of their values."""
_HIDING = ("remove", "tps")  # operations that may leave nothing of a procedural kind
_FORMS = {
    "names": 'a list of names, like ["replace"]',
    "range": "two numbers, like [0.1, 0.2]",
    "number": "a number",
    "text": "text",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One named defect.

    Attributes:
        name: In manifest and folders.
        share: Of the defect images, beside those of the other entries; above 0.
        reference: Types of real defects that it is drawn from; empty for none. None for those of its own name, or of
            every type where there are none of its name.
        settings: Of `GenerateConfig`, that hold for it instead of the set's.
    """

    name: str
    share: float = 1.0
    reference: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def config(self, common: GenerateConfig) -> GenerateConfig:
        """The set's settings with this entry's in their place."""
        return replace(common, **self.settings)

    def types(self, known: Sequence[str]) -> tuple[str, ...] | None:
        """Choose among the types of real defects of a category.

        Returns:
            Those that the entry draws from, none for procedural structure alone; None where it names types and the
            category has none of them.
        """
        if self.reference is None:
            return (self.name,) if self.name in known else tuple(known)
        chosen = tuple(name for name in known if name in self.reference)
        return chosen if chosen or not self.reference else None

    def record(self) -> dict[str, Any]:
        """What `dataset.json` keeps of it."""
        reference = None if self.reference is None else list(self.reference)
        settings = {name: list(v) if isinstance(v, tuple) else v for name, v in self.settings.items()}
        return {"name": self.name, "share": self.share, "reference": reference, **settings}


def read_taxonomy(path: Path, common: GenerateConfig) -> tuple[Entry, ...]:
    """Read a taxonomy.

    Args:
        path: TOML with a table for each defect, ``[name]``, or JSON with an object for each. Keys are `SETTINGS`,
            ``share`` and ``reference`` (a list of types of real defects, or false); `roi` and `forbid` are relative to
            the file's folder. An entry with ``kinds`` and without ``reference`` takes no real defects, and one with
            ``kinds`` no patches of other images and no operation that leaves nothing of a kind (remove, tps), unless
            it says so by ``foreign`` and ``operations``.
        common: Settings of the set, which hold where an entry has none.

    Returns:
        The entries in the file's order.

    Raises:
        ConfigError: Not such a file, an unknown key, a value of another form or out of its limits, a name that cannot
            be a folder's.
    """
    what = f"--taxonomy {path}"
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text, object_pairs_hook=_once)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{what} cannot be read: {reason}; give a .toml or .json file") from error
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"{what} names no defect; give each a table of its own, like [scratch]")
    return tuple(_entry(name, values, path, common) for name, values in content.items())


def procedural_settings(common: GenerateConfig) -> dict[str, Any]:
    """Settings under which a procedural kind looks like what it is called; those of `common` hold beside them."""
    showing = tuple(one for one in common.operations if one not in _HIDING)
    return {"operations": showing or common.operations, "foreign": 0.0}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(f"{twice[0]!r} stands twice in one object")
    return dict(pairs)


def _entry(name: str, values: Any, path: Path, common: GenerateConfig) -> Entry:
    what = f"--taxonomy {path}, entry {name!r}"
    check_defect_name(name, f"{what}: its name")
    if not isinstance(values, dict):
        raise ConfigError(f"{what} is {values!r}; give a table of settings, or an empty one")
    known = ("share", "reference", *SETTINGS)
    if unknown := [key for key in values if key not in known]:
        raise ConfigError(f"{what} has the unknown key {unknown[0]!r}; allowed are {', '.join(known)}")
    settings = {key: _value(f"{what}: {key}", values[key], form) for key, form in SETTINGS.items() if key in values}
    for key in ("roi", "forbid"):
        if settings.get(key):
            settings[key] = os.path.abspath(path.parent / Path(settings[key]).expanduser())
    if "kinds" in settings:
        settings = procedural_settings(common) | settings
    entry = Entry(
        name=name, share=_share(what, values), reference=_reference(what, values, settings, common), settings=settings
    )
    try:
        entry.config(common)
    except ConfigError as error:
        raise ConfigError(f"{what}: {str(error).removeprefix('generate.')}") from error
    return entry


def _value(what: str, value: Any, form: str) -> Any:
    """Check the form of a setting's value; lists become tuples."""
    if form == "names" and isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return tuple(value)
    if form == "range" and isinstance(value, list) and len(value) == 2:
        low, high = value
        if _is_number(low) and _is_number(high):
            return (float(low), float(high))
    if form == "number" and _is_number(value):
        return float(value)
    if form == "text" and isinstance(value, str):
        return value
    raise ConfigError(f"{what} is {value!r}; give {_FORMS[form]}")


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _share(what: str, values: dict[str, Any]) -> float:
    share = values.get("share", 1.0)
    if not _is_number(share) or share <= 0:
        raise ConfigError(f"{what}: share is {share!r}; give a number above 0, or leave the entry out")
    return float(share)


def _reference(
    what: str, values: dict[str, Any], settings: dict[str, Any], common: GenerateConfig
) -> tuple[str, ...] | None:
    """Types that an entry draws from; see `Entry.reference`."""
    given = values.get("reference")
    if given is False or (given is None and "kinds" in settings):
        return ()
    if given is None:
        return None
    if not isinstance(given, list) or not given or not all(isinstance(one, str) for one in given):
        raise ConfigError(f"{what}: reference is {given!r}; give a list of types of real defects, or false for none")
    if "kinds" in settings and not settings.get("procedural", common.procedural):
        raise ConfigError(
            f"{what} has kinds and reference; say by 'procedural' which share of its images shows those kinds"
        )
    return tuple(given)


class Turns:
    """Numbers dealt out in turn, so that at any time each has had its share to within one or so.

    Item k is the k-th number, an index into the shares; it depends on the shares alone.

    Args:
        shares: Above 0.
    """

    def __init__(self, shares: Sequence[float]) -> None:
        self._shares = [share / sum(shares) for share in shares]
        self._had = [0] * len(shares)
        self._dealt: list[int] = []

    def __getitem__(self, place: int) -> int:
        if len(self._shares) == 1:
            return 0
        while len(self._dealt) <= place:
            count = len(self._dealt) + 1
            owed = [share * count - had for share, had in zip(self._shares, self._had, strict=True)]
            self._dealt.append(owed.index(max(owed)))
            self._had[self._dealt[-1]] += 1
        return self._dealt[place]
