"""Results: hand-computed means, refusals, files, merging."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from result_samples import LPIPS, REAL_INCEPTION, STAND_IN, edited, pixel_ap, result_of, rows_of

from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.result_files import merge, read_result, read_results, write_result
from anomalyhybrid.evaluation.results import Row, UsedNetwork
from anomalyhybrid.evaluation.spread import over_categories, over_seeds

ROW = Row(method="ours", category="bottle", seed=0, figures={"pixel_ap": 0.5, "kid": -0.001})


def test_spread_over_seeds_by_hand() -> None:
    result = pixel_ap({("ours", "bottle"): [0.90, 0.92, 0.97], ("paste", "bottle"): [0.5]})
    spread = over_seeds(result, "ours", "bottle", "pixel_ap")
    assert spread.mean == pytest.approx(0.93)
    assert spread.std == pytest.approx(math.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))  # n - 1
    assert (spread.seeds, spread.categories) == (3, 1)
    single = over_seeds(result, "paste", "bottle", "pixel_ap")
    assert single.mean == 0.5
    assert math.isnan(single.std)
    nothing = over_seeds(result, "ours", "tire", "pixel_ap")
    assert math.isnan(nothing.mean)
    assert nothing.seeds == nothing.categories == 0


def test_nan_rows_do_not_count() -> None:
    result = pixel_ap({("ours", "bottle"): [0.2, math.nan, 0.4]})
    spread = over_seeds(result, "ours", "bottle", "pixel_ap")
    assert (spread.mean, spread.seeds) == (pytest.approx(0.3), 2)


def test_mean_over_categories_weighs_them_equally_and_spreads_over_seeds() -> None:
    """Seed means are 0.5 and 0.7; the errors of the categories cancel in part, so no spread is averaged."""
    result = pixel_ap({("ours", "bottle"): [0.8, 0.8], ("ours", "tire"): [0.2, 0.6]})
    spread = over_categories(result, "ours", "pixel_ap")
    assert spread.mean == pytest.approx(0.6)
    assert spread.std == pytest.approx(math.sqrt(0.1**2 * 2))
    assert (spread.seeds, spread.categories) == (2, 2)
    uneven = pixel_ap({("ours", "bottle"): [0.8, 0.8], ("ours", "tire"): [0.2]})
    spread = over_categories(uneven, "ours", "pixel_ap")
    assert spread.mean == pytest.approx(0.5)
    assert spread.seeds == 1  # only seed 0 has both
    assert math.isnan(spread.std)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"figures": {"pixel_ap": 92.1}}, "not percent"),
        ({"figures": {"pixel_ap": -0.1}}, "share in"),
        ({"figures": {"pixel_ap": True}}, "Python number"),
        ({"figures": {"pixel_ap": "0.5"}}, "Python number"),
        ({"figures": [0.5]}, "give a mapping"),
        ({"method": " "}, "not empty"),
        ({"seed": 1.0}, "whole number"),
        ({"samples": {"test images": -1}}, ">= 0"),
        ({"checkpoint": "abc"}, "64 hexadecimal"),
        ({"notes": "one text"}, "tuple of texts"),
    ],
)
def test_rows_are_checked(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        replace(ROW, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mode": "as-published"}, "fixed, as_published"),
        ({"options": {"nested": {"a": 1}}}, "options are flat"),
        ({"options": {"lr": math.inf}}, "finite"),
        ({"seeds": (1,)}, "not among the result's"),
        ({"seeds": (0, 0)}, "each once"),
        ({"rows": ()}, "no rows"),
        ({"rows": (ROW, ROW)}, "two rows"),
        ({"data_fingerprints": {}}, "no fingerprint"),
        ({"versions": {"torch": "2"}}, "anomalyhybrid"),
        ({"networks": (STAND_IN, REAL_INCEPTION)}, "one network for each role"),
        ({"schema": 2}, "schema 2"),
        ({"device": ""}, "device"),
    ],
)
def test_results_are_checked(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        replace(result_of([ROW]), **changes)


def test_a_real_network_needs_its_hash() -> None:
    with pytest.raises(DataError, match="sha256 ''"):
        UsedNetwork(role="inception", name="Inception-v3", sha256="")
    UsedNetwork(role="resnet34", name="ResNet-34", sha256="", stand_in="random initial weights")


def test_networks_of_a_variant() -> None:
    alex, vgg = replace(LPIPS, role="lpips@alex"), replace(LPIPS, role="lpips@vgg", name="VGG16", stand_in="why")
    result = result_of([ROW], networks=(alex, vgg))
    assert result.networks_of("ic_lpips@alex") == (alex,)
    assert result.on_real_network("ic_lpips@alex")
    assert not result.on_real_network("ic_lpips@vgg")
    assert result.stand_ins("ic_lpips") == (vgg,)
    assert result.on_real_network("pixel_ap")
    assert not result.on_real_network("inception_score")  # none recorded


def test_written_and_read_back(tmp_path: Path) -> None:
    figures = {"pixel_ap": 0.1 + 0.2, "kid": math.inf, "fid": math.nan, "own figure": -7}
    row = Row(
        method="ours <few-shot>",
        category="größe",
        seed=3,
        figures=figures,
        samples={"test images": 63},
        checkpoint="ab" * 32,
        notes=("a remark",),
    )
    result = result_of([row], networks=(LPIPS, STAND_IN), datasets={"größe": "MVTec AD"}, seeds=(3, 4))
    path = write_result(result, tmp_path / "new folder" / "table2.json")
    text = path.read_text(encoding="utf-8")
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["rows"][0]["figures"] == {"pixel_ap": 0.1 + 0.2, "kid": None, "fid": None, "own figure": -7}
    back = read_result(path)
    assert back == result  # also the options' types: False, None, 1e-4
    assert {key: type(value) for key, value in back.options.items()} == {
        key: type(value) for key, value in result.options.items()
    }
    assert math.isnan(back.rows[0].figures["kid"])
    assert [entry.name for entry in path.parent.iterdir()] == ["table2.json"]


def test_writing_fails_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_result(pixel_ap({("ours", "bottle"): [0.5]}), tmp_path / "a.json")
    before = path.read_bytes()

    def broken(*_: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(DataError, match="disk is full"):
        write_result(pixel_ap({("ours", "bottle"): [0.7]}), path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def _without(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda content: {name: value for name, value in content.items() if name != key}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (edited(schema=0), "has schema 0.*knows schema 1.*run 'anomalyhybrid evaluate' again"),
        (edited(kind="other"), "no result of"),
        (lambda content: [content], "no result of"),
        (_without("rows"), "damaged.*rows.*again"),
        (edited(extra=1), "damaged.*extra"),
        (edited(mode=["fixed"]), "damaged.*mode"),
        (edited(rows={}), "must be a list"),
        (edited(rows=[]), "no rows"),
        (edited(rows=[3]), "must be an object"),
        (edited(networks=[{"role": "lpips"}]), "damaged.*sha256"),
        (lambda content: content | {"rows": [content["rows"][0] | {"figures": {"pixel_ap": "high"}}]}, "number"),
        (lambda content: content | {"rows": [content["rows"][0] | {"figures": None}]}, "must be an object"),
        (lambda content: content | {"rows": [content["rows"][0] | {"seed": None}]}, "whole number"),
        (edited(seeds=["0"]), "whole number"),
        (edited(options=None), "mapping"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], Any], words: str) -> None:
    path = write_result(pixel_ap({("ours", "bottle"): [0.5]}), tmp_path / "a.json")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(DataError, match=words) as caught:
        read_result(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"kind": NaN}', b"[" * 100_000])
def test_files_that_are_not_json_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match="not JSON"):
        read_result(tmp_path / "a.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_result(tmp_path / "b.json")


def test_a_folder_of_results(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no result"):
        read_results(tmp_path)
    (tmp_path / "students.json").write_text('{"run": 1}')  # of something else: passed over
    for number in (10, 2):
        write_result(pixel_ap({("ours", f"category {number}"): [0.5]}), tmp_path / f"part{number}.json")
    assert [result.categories for result in read_results(tmp_path)] == [("category 2",), ("category 10",)]
    content = json.loads((tmp_path / "part2.json").read_text())
    (tmp_path / "old.json").write_text(json.dumps(content | {"schema": 0}))
    (tmp_path / "cut.json").write_text("{")
    with pytest.raises(DataError, match=r"(?s)move them away.*cut\.json is not JSON.*old\.json has schema 0"):
        read_results(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        read_results(tmp_path / "absent")


def test_merging_seeds_and_categories() -> None:
    whole = pixel_ap({("ours", "bottle"): [0.1, 0.2], ("ours", "tire"): [0.3, 0.4]}, datasets={"tire": "MVTec 3D-AD"})
    parts = []
    for category in ("tire", "bottle"):
        for seed in (1, 0):
            rows = tuple(row for row in whole.rows if (row.category, row.seed) == (category, seed))
            prints = {category: whole.data_fingerprints[category]}
            names = {key: value for key, value in whole.datasets.items() if key == category}
            parts.append(
                replace(
                    whole, rows=rows, seeds=(seed,), data_fingerprints=prints, datasets=names, device=f"card {seed}"
                )
            )
    merged = merge(parts)
    assert merged.seeds == (0, 1)
    assert sorted(merged.rows, key=lambda row: row.key) == sorted(whole.rows, key=lambda row: row.key)
    assert merged.data_fingerprints == whole.data_fingerprints
    assert merged.datasets == whole.datasets
    assert merged.device == "card 1 + card 0"
    assert merge([merged, whole]).device == "card 1 + card 0 + CPU"
    assert len(merge([whole, whole]).rows) == 4
    assert merge([whole]) == whole


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol": "table 1"}, "protocol: 'table 2' and 'table 1'"),
        ({"mode": "as_published"}, "mode: 'fixed' and 'as_published'"),
        ({"options": {"size": 128}}, "(?s)option lr.*option size: 256 and 128"),
        ({"options": {"size": 256, "lr": 1e-4, "split": "sorted", "flips": 0, "cap": None}}, "flips: False and 0"),
        ({"data_fingerprints": {"bottle": "other"}}, "data of bottle"),
        ({"datasets": {"bottle": "MVTec AD"}}, None),
        ({"networks": (STAND_IN,)}, "network inception"),
    ],
)
def test_what_differs_is_not_merged(changes: dict[str, Any], words: str | None) -> None:
    first = result_of(rows_of("kid", {("ours", "bottle"): [0.1]}), networks=(REAL_INCEPTION,))
    second = replace(first, **changes)
    if words is None:  # a name that one side lacks is no contradiction
        assert merge([first, second]).datasets == {"bottle": "MVTec AD"}
        return
    with pytest.raises(DataError, match=words):
        merge([first, second])


def test_contradicting_rows_are_not_merged() -> None:
    with pytest.raises(DataError, match=r"different rows for \('ours', 'bottle', 0\)"):
        merge([pixel_ap({("ours", "bottle"): [0.1]}), pixel_ap({("ours", "bottle"): [0.2]})])
    with pytest.raises(DataError, match="no results"):
        merge([])
