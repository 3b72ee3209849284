"""Where a set comes from, for its report: versions, generator, seeds, settings, data; names instead of paths."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

from anomalyhybrid.generation.additions import FIRST, descriptions
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.depth_config import DepthDefectConfig
from anomalyhybrid.generation.hybrid_config import HybridConfig
from anomalyhybrid.generation.manifest import SELECTED

_LONGEST = 200  # of a value that is shown; longer ones are lists of hashes
_NOT_SHOWN = ("licence", "generator")  # said apart; the network's layout


def provenance(about: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Lines of each of a set's descriptions.

    Args:
        about: Content of `dataset.json`.

    Returns:
        ``(heading, lines)`` of the images made first and of each addition; a line is a name and a value.
    """
    sections = []
    for number, description in enumerate(descriptions(about)):
        heading = "The set" if "appended" not in about else f"Addition {number}" if number else "Made first"
        sections.append((heading, _lines(description, about)))
    return sections


def gate_limits(about: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]], list[str]]]:
    """Limits of the quality gate, as it was calibrated.

    Args:
        about: Content of `dataset.json`.

    Returns:
        ``(heading, limits, notes)`` of the images made first and of each addition made with it; a limit is a name and
        words.
    """
    found = []
    for number, description in enumerate(descriptions(about)):
        for category, entry in mapping(description.get("gate")).items():
            limits = [(name, _limit(limit)) for name, limit in mapping(mapping(entry).get("limits")).items()]
            notes = mapping(entry).get("notes")
            heading = f"{category}, addition {number}" if number else category
            found.append((heading, limits, [str(note) for note in notes] if isinstance(notes, list) else []))
    return found


def _limit(limit: Any) -> str:
    sides = {"least": "at least", "most": "at most", "by": "by what was measured on", "than": "less than"}
    own = {side: value for side, value in mapping(limit).items() if value != "none"}
    return ", ".join(f"{sides.get(side, side)} {value}" for side, value in own.items()) or "no limit"


def _lines(description: Mapping[str, Any], about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """One description; what another version wrote otherwise is left out."""
    lines = [
        (name if name == "device" else f"version of {name}", str(value))
        for name, value in mapping(description.get("versions")).items()
    ]
    lines += _model_lines("generator", mapping(description.get("model")))
    if "sister" in description:
        lines += _model_lines("AnomalyHybrid*", mapping(description.get("sister")))
    config = mapping(description.get("config"))
    lines.append(("seed", str(config.get("seed", "not recorded"))))
    if FIRST in description:
        ranges = [f"{category}: {_first(own)}" for category, own in mapping(description[FIRST]).items()]
        lines.append(("ids begin at", "; ".join(ranges)))
    lines.append(("settings other than the defaults", _changed(config, _defaults(about)) or "none"))
    for name, key in (("data", "data"), ("base set", "base_set")):
        folders = description.get(key)
        if isinstance(folders, list):
            lines.append((name, ", ".join(_name(folder) for folder in folders) or "none"))
    lines += [
        (f"content of {key.removesuffix('_sha256')}", f"sha256 {value}")
        for key, value in description.items()
        if key.endswith("_sha256") and value
    ]
    lines += [
        ("selected", f"{one['count']} of each category of {_name(one['from'])}, types as {one['types']}")
        for one in description.get(SELECTED, ())
    ]
    lines += [(f"depth: {key}", _text(value)) for key, value in mapping(description.get("depth")).items()]
    return [(name, value) for name, value in lines if len(value) <= _LONGEST or name.startswith("settings")]


def _model_lines(what: str, model: Mapping[str, Any]) -> list[tuple[str, str]]:
    metadata = mapping(model.get("metadata"))
    name = f"{_name(model['run'])}, " if "run" in model else ""
    lines = [(what, f"{name}sha256 {model.get('sha256')}")]
    licence = metadata.get("licence")
    lines.append(
        (
            f"licence of the {what}'s weights",
            str(licence)
            if licence
            else "the file names none; trained weights are bound by the licences of the images and weights that they "
            "were trained from",
        )
    )
    return lines + [
        (f"{what}: {name.replace('_', ' ')}", str(value))
        for name, value in metadata.items()
        if name not in _NOT_SHOWN and len(str(value)) <= _LONGEST
    ]


def _defaults(about: Mapping[str, Any]) -> dict[str, Any]:
    device = str(mapping(about.get("versions")).get("device", "cpu"))
    kind = HybridConfig() if about.get("kind") == "hybrids" else GenerateConfig().with_batch(device)
    return json.loads(json.dumps(asdict(DepthDefectConfig() if about.get("level") == "depth" else kind)))


def _changed(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {_text(value)}"
        for name, value in config.items()
        if name != "seed" and (name not in defaults or value != defaults[name])
    )


def _text(value: Any) -> str:
    """A setting; of a path its last part."""
    if isinstance(value, str):
        return _name(value)
    return " ".join(map(_text, value)) if isinstance(value, list) else json.dumps(value)


def _name(path: Any) -> str:
    """The last part of a path, so that a report given away says nothing of a machine."""
    return PurePath(str(path).replace("\\", "/")).name or str(path)


def _first(numbers: Any) -> str:
    return ", ".join(f"{name} {number}" for name, number in mapping(numbers).items())


def mapping(value: Any) -> Mapping[str, Any]:
    """A value of `dataset.json` that should be an object; empty where it is none."""
    return value if isinstance(value, Mapping) else {}
