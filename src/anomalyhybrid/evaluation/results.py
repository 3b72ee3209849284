"""The result of one protocol: raw rows of figures with everything needed to judge and repeat them (PROTOCOL.md).

Means and spreads are computed from the raw rows (`spread.py`) and never stored. Files are in `result_files.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.figures import figure_of, in_order

SCHEMA = 1
"""Raised when the layout of result files, or the meaning of a figure or option, changes."""

Mode = Literal["fixed", "as_published"]
Option = str | int | float | bool | None
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TOLERANCE = 1e-6  # of shares, for sums of float32


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedNetwork:
    """A network that figures were computed with.

    Attributes:
        role: What the figures are defined on: ``"inception"``, ``"lpips"`` (or ``"lpips@vgg"`` for one variant),
            ``"resnet34"`` (ImageNet-pretrained), ``"dinov2"``, ``"nearest_base"``.
        name: The network that was used.
        sha256: Of its weights, 64 hexadecimal digits; empty only for a stand-in without weights of its own.
        stand_in: Why it is not the network of the role, in a few words; empty for the real one.
    """

    role: str
    name: str
    sha256: str
    stand_in: str = ""

    def __post_init__(self) -> None:
        for part in ("role", "name"):
            _check_text(f"a network's {part}", getattr(self, part))
        if not isinstance(self.stand_in, str):
            raise DataError(
                f"network {self.name!r}: stand_in is {self.stand_in!r}; give a text, empty for the real one"
            )
        if not (self.sha256 == "" and self.stand_in):
            _check_sha256(f"network {self.name!r}", self.sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one method reached on one category with one seed.

    Attributes:
        method: As tables show it, for example ``"ours (few-shot)"``.
        category: Name of the category.
        seed: Of training, generation and evaluation.
        figures: Stored values by name (`figures.FIGURES`), shares in [0, 1]; NaN where one could not be computed
            (an infinite value becomes NaN). `notes` says why.
        samples: Sample counts by name, for example ``{"training images": 500, "test images": 63}``.
        checkpoint: sha256 of the generator's checkpoint; None where the method has none.
        notes: Remarks that are printed below each table.
    """

    method: str
    category: str
    seed: int
    figures: Mapping[str, float]
    samples: Mapping[str, int] = field(default_factory=dict)
    checkpoint: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_text("a row's method", self.method)
        _check_text("a row's category", self.category)
        place = f"row {self.method!r}, {self.category!r}"
        _check_whole(f"{place}: seed", self.seed)
        object.__setattr__(self, "figures", _checked_figures(f"{place}, seed {self.seed}", self.figures))
        for name, count in _mapping(f"{place}: samples", self.samples):
            _check_whole(f"{place}: sample count {name!r}", count, least=0)
        object.__setattr__(self, "samples", dict(self.samples))
        if self.checkpoint is not None:
            _check_sha256(f"{place}: checkpoint", self.checkpoint)
        if isinstance(self.notes, str) or not all(isinstance(note, str) for note in self.notes):
            raise DataError(f"{place}: notes are {self.notes!r}; give a tuple of texts")
        object.__setattr__(self, "notes", tuple(self.notes))

    @property
    def key(self) -> tuple[str, str, int]:
        """Method, category and seed; unique in a result."""
        return self.method, self.category, self.seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One protocol's rows, and how they were made.

    Attributes:
        protocol: For example ``"table 2"``.
        mode: ``"fixed"`` (the headline) or ``"as_published"``.
        options: Flat, everything that decides the figures: budgets, split, quirks, variants.
        seeds: All seeds asked for; rows may lack some (tables then say so).
        networks: Feature networks, one for each role.
        data_fingerprints: Of the images and masks, by category, so that categories may be run apart.
        versions: Of ``anomalyhybrid`` and ``torch`` at least.
        device: For example ``"NVIDIA H200"``.
        datasets: Public name of a category's data set (``"MVTec AD"``), by category; published figures depend on it.
            Categories of other data are left out.
        rows: Raw figures, one row for each method, category and seed.
        schema: Version of file layout and figure definitions.
    """

    protocol: str
    mode: Mode
    options: Mapping[str, Option]
    seeds: tuple[int, ...]
    networks: tuple[UsedNetwork, ...]
    data_fingerprints: Mapping[str, str]
    versions: Mapping[str, str]
    device: str
    rows: tuple[Row, ...]
    datasets: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise DataError(f"the result has schema {self.schema!r}; this version knows schema {SCHEMA}")
        for name in ("protocol", "device"):
            _check_text(f"the result's {name}", getattr(self, name))
        if self.mode not in get_args(Mode):
            raise DataError(f"the result's mode is {self.mode!r}; it must be one of {', '.join(get_args(Mode))}")
        for name in ("seeds", "networks", "rows"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check_options(self.options)
        for name in ("data_fingerprints", "datasets", "versions"):
            for key, value in _mapping(f"the result's {name}", getattr(self, name)):
                _check_text(f"the result's {name}, entry {key!r}", value)
        for name in ("options", "data_fingerprints", "datasets", "versions"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        if missing := {"anomalyhybrid", "torch"} - set(self.versions):
            raise DataError(f"the result's versions lack {sorted(missing)}; give the versions that made it")
        _check_rows(self)

    @property
    def methods(self) -> tuple[str, ...]:
        """In the order of their first rows."""
        return tuple(dict.fromkeys(row.method for row in self.rows))

    @property
    def categories(self) -> tuple[str, ...]:
        """In the order of their first rows."""
        return tuple(dict.fromkeys(row.category for row in self.rows))

    @property
    def figure_names(self) -> tuple[str, ...]:
        """All figures of the rows, in the order in which tables show them."""
        return in_order({name for row in self.rows for name in row.figures})

    def networks_of(self, figure_name: str) -> tuple[UsedNetwork, ...]:
        """The networks that a figure was computed with; empty if it needs none or none is recorded."""
        role = figure_of(figure_name).role
        if role is None:
            return ()
        variant = figure_name.partition("@")[2]
        exact = tuple(net for net in self.networks if variant and net.role == f"{role}@{variant}")
        return exact or tuple(net for net in self.networks if net.role.partition("@")[0] == role)

    def stand_ins(self, figure_name: str) -> tuple[UsedNetwork, ...]:
        """The stand-ins behind a figure; every heading has to name them."""
        return tuple(net for net in self.networks_of(figure_name) if net.stand_in)

    def on_real_network(self, figure_name: str) -> bool:
        """Whether a figure needs no network, or was computed with the one it is defined on, as recorded."""
        if figure_of(figure_name).role is None:
            return True
        networks = self.networks_of(figure_name)
        return bool(networks) and not self.stand_ins(figure_name)


def _mapping(name: str, value: object) -> list[tuple[str, object]]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) and key for key in value):
        raise DataError(f"{name} are {value!r}; give a mapping of names to values")
    return list(value.items())


def _checked_figures(place: str, figures: object) -> dict[str, float]:
    checked: dict[str, float] = {}
    for name, value in _mapping(f"{place}: figures", figures):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DataError(f"{place}: {name} is {value!r}; give a Python number, NaN where there is none")
        checked[name] = number = float(value) if math.isfinite(value) else math.nan
        bounds = figure_of(name).bounds
        if bounds and (number < bounds[0] - _TOLERANCE or number > bounds[1] + _TOLERANCE):
            raise DataError(f"{place}: {name} is {value!r}; it is a share in {list(bounds)}, not percent")
    return checked


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{name} is {value!r}; give a text that is not empty")


def _check_whole(name: str, value: object, *, least: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        raise DataError(f"{name} is {value!r}; give a whole number" + (f" >= {least}" if least is not None else ""))


def _check_sha256(name: str, value: object) -> None:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise DataError(f"{name} has sha256 {value!r}; give 64 hexadecimal digits in lower case")


def _check_options(options: object) -> None:
    for name, value in _mapping("the result's options", options):
        if value is not None and not isinstance(value, str | int | float):
            kind = type(value).__name__
            raise DataError(f"option {name!r} is a {kind}; options are flat: text, number, true, false or none")
        if isinstance(value, float) and not math.isfinite(value):
            raise DataError(f"option {name!r} is {value!r}; give a finite number, or none")


def _check_rows(result: Result) -> None:
    for seed in result.seeds:
        _check_whole("a seed", seed)
    if len(set(result.seeds)) != len(result.seeds) or not result.seeds:
        raise DataError(f"the result's seeds are {list(result.seeds)}; give at least one, each once")
    if not result.rows:
        raise DataError("the result has no rows; give one for each method, category and seed")
    roles = [network.role for network in result.networks]
    if len(set(roles)) != len(roles):
        raise DataError(f"the result's networks have the roles {roles}; give one network for each role")
    seen: set[tuple[str, str, int]] = set()
    for row in result.rows:
        if row.key in seen:
            raise DataError(f"two rows are {row.key}; give one for each method, category and seed")
        seen.add(row.key)
        if row.seed not in result.seeds:
            raise DataError(f"row {row.key} has a seed that is not among the result's, {list(result.seeds)}")
        if row.category not in result.data_fingerprints:
            raise DataError(f"row {row.key}: no fingerprint of the data of {row.category!r}; give one")
