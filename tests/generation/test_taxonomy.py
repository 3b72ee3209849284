"""The taxonomy file: what it says, what it may not say, and how images are shared among its entries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.config import KINDS, GenerateConfig
from anomalyhybrid.generation.taxonomy import Turns, read_taxonomy
from anomalyhybrid.ops import structures

TOML = """
["deep scratch"]
kinds = ["scratch", "crack"]
extent = [0.05, 0.2]
severity = [0.8, 1.2]
share = 2
roi = "rim.json"

[chip]
reference = ["broken"]
appearance = "blend"

[anything]
"""


def test_the_kinds_are_those_of_the_structures() -> None:
    assert KINDS == structures.KINDS


@pytest.mark.parametrize("form", ["toml", "json"])
def test_an_entry_overrides_the_settings_of_the_set(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"defects.{form}"
    entries = {
        "deep scratch": {
            "kinds": ["scratch", "crack"], "extent": [0.05, 0.2], "severity": [0.8, 1.2], "share": 2, "roi": "rim.json"
        },
        "chip": {"reference": ["broken"], "appearance": "blend"},
        "anything": {},
    }  # fmt: skip
    path.write_text(TOML if form == "toml" else json.dumps(entries))
    common = GenerateConfig(extent=(0.3, 0.35), foreign=0.5, seed=4)
    scratch, chip, anything = read_taxonomy(path, common)
    assert (scratch.name, scratch.share, scratch.reference) == ("deep scratch", 2.0, ())
    own = scratch.config(common)
    assert (own.kinds, own.extent, own.severity) == (("scratch", "crack"), (0.05, 0.2), (0.8, 1.2))
    assert (own.roi, own.seed) == (str(tmp_path / "rim.json"), 4)
    assert (own.foreign, own.operations) == (0.0, ("merge", "replace"))  # it shall look like a scratch
    assert (chip.reference, chip.config(common).extent) == (("broken",), (0.3, 0.35))
    assert anything.config(common) == common
    assert scratch.types(["broken"]) == ()
    assert chip.types(["spot", "broken"]) == ("broken",)
    assert chip.types(["spot"]) is None
    assert anything.types(["spot", "broken"]) == ("spot", "broken")
    assert anything.types(["spot", "anything"]) == ("anything",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a]\nsize = 3", r"defects\.toml, entry 'a' has the unknown key 'size'; allowed are share, reference, operat"),
        ('["a/b"]', "'a/b', which cannot be a defect's folder"),
        ("[good]", "'good', which cannot be a defect's folder"),
        ('[a]\nkinds = ["dust"]', r"entry 'a': kinds is \('dust',\); give at least one of scratch, dent, bump"),
        ('[a]\nkinds = "dent"', r"entry 'a': kinds is 'dent'; give a list of names"),
        ('[a]\noperations = ["melt"]', "entry 'a': operations is"),
        ("[a]\nextent = [0.3, 0.1]", "entry 'a': extent is"),
        ("[a]\nextent = 0.3", r"entry 'a': extent is 0.3; give two numbers"),
        ("[a]\nextent = [0.1, true]", "entry 'a': extent is"),
        ("[a]\nshare = 0", "entry 'a': share is 0; give a number above 0"),
        ("[a]\nreference = true", "reference is True; give a list of types of real defects, or false"),
        ('[a]\nkinds = ["dent"]\nreference = ["b"]', "has kinds and reference; say by 'procedural'"),
        ("a = 3", "entry 'a' is 3; give a table"),
        ("", "names no defect"),
        ("[a", "cannot be read"),
    ],
)
def test_what_is_no_taxonomy_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "defects.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        read_taxonomy(path, GenerateConfig())


def test_json_with_one_name_twice_and_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "defects.json"
    path.write_text('{"a": {}, "a": {"share": 2}}')
    with pytest.raises(ConfigError, match="'a' stands twice"):
        read_taxonomy(path, GenerateConfig())
    with pytest.raises(ConfigError, match="No such file"):
        read_taxonomy(tmp_path / "none.toml", GenerateConfig())


def test_numbers_are_dealt_in_turn_by_share() -> None:
    assert [Turns([1, 1, 1])[place] for place in range(6)] == [0, 1, 2, 0, 1, 2]
    assert [Turns([2, 1])[place] for place in (2, 1, 0, 5, 4, 3)] == [0, 1, 0, 0, 1, 0]  # whatever is asked first
    order = Turns([0.5, 3, 1.2])
    had = [0, 0, 0]
    for place in range(500):
        had[order[place]] += 1
        for share, count in zip((0.5, 3, 1.2), had, strict=True):
            assert abs(share / 4.7 * (place + 1) - count) <= 1
