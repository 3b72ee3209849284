"""Finished rows: refused when made in another way, merged in order; locks; what the report shows besides."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_trees import TINY, split_of, widget

from anomalyhybrid.data.locks import locked
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.results import Row, UsedNetwork
from anomalyhybrid.evaluation.samples import GOOD_KIND
from anomalyhybrid.recipes.evaluation.evidence import (
    Evidence,
    evidence_of,
    failures_of,
    read_evidence,
    sheet_of,
    write_evidence,
)
from anomalyhybrid.recipes.evaluation.methods import MadeSet
from anomalyhybrid.recipes.evaluation.rows import RowStore, Task, fingerprints
from anomalyhybrid.recipes.evaluation.run import options_of

NETWORK = UsedNetwork(role="lpips", name="alex", sha256="a" * 64)


def _store(out: Path, **changes: object) -> RowStore:
    store = RowStore(
        out=out,
        name="table_2",
        protocol="table 2",
        config=TINY,
        options={"size": 32, "native": False},
        networks=(NETWORK,),
        fingerprints={"nut": "one", "bolt": "two"},
        device="CPU",
    )
    return replace(store, **changes)  # type: ignore[arg-type]


def _task(key: str = "ours", category: str = "nut", seed: int = 0, checkpoint: str | None = "b" * 64) -> Task:
    return Task(key=key, label=key.upper(), category=category, folder=category, seed=seed, checkpoint=checkpoint)


def _row(task: Task, value: float = 0.5) -> Row:
    return Row(
        method=task.label,
        category=task.category,
        seed=task.seed,
        figures={"pixel_ap": value},
        checkpoint=task.checkpoint,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"size": 64, "native": False}}, "option size: 32, now 64"),
        ({"options": {"size": 32}}, "option native: False, now absent"),
        ({"networks": (replace(NETWORK, sha256="c" * 64),)}, "network lpips: alex aaa.*, now alex ccc"),
        ({"fingerprints": {"nut": "other", "bolt": "two"}}, "the content of nut's images"),
    ],
)
def test_rows_made_otherwise_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    _store(tmp_path).write(_task(), (_row(_task()),), None)
    _store(tmp_path).check([_task()])
    for tasks in ([_task()], [_task("nsa")]):  # also when the row is not asked for: it could not be merged
        with pytest.raises(ConfigError, match=rf"seed_0.json was made with other .*{message}.*another --out"):
            _store(tmp_path, **changes).check(tasks)


def test_a_row_of_another_generator_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.write(_task(), (_row(_task()),), None)
    store.check([_task("nsa", checkpoint=None)])
    with pytest.raises(ConfigError, match="the generator"):
        store.check([_task(checkpoint="d" * 64)])


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    store = _store(tmp_path)
    store.write(_task(), (_row(_task()),), None)
    store.path(_task()).write_text("{")
    with pytest.raises(DataError, match=r"seed_0\.json"):
        store.check([_task()])


def test_rows_are_merged_in_the_order_of_the_tasks(tmp_path: Path) -> None:
    store = _store(tmp_path)
    tasks = [_task(key, category, seed) for category in ("nut", "bolt") for seed in (1, 0) for key in ("ours", "nsa")]
    for number, task in enumerate(tasks):
        store.write(task, (_row(task, number / 10),), None)
    extra = _task("perlin", "nut", 2)
    store.write(extra, (_row(extra),), None)
    result = store.merged(tasks)
    assert result.seeds == (0, 1, 2)
    assert [row.key for row in result.rows] == [
        *[("OURS", category, seed) for category in ("nut", "bolt") for seed in (0, 1)],
        *[("NSA", category, seed) for category in ("nut", "bolt") for seed in (0, 1)],
        ("PERLIN", "nut", 2),
    ]
    assert result.data_fingerprints == {"nut": "one", "bolt": "two"}
    assert result.protocol == "table 2"


def test_names_of_categories_and_data_sets(tmp_path: Path) -> None:
    data = split_of(widget(tmp_path))
    source = type("Source", (), {"category": "widget", "fingerprint": data.fingerprint})
    named = replace(TINY, datasets=("widget=MVTec AD/bottle",))
    assert fingerprints([source], named) == {"bottle": data.fingerprint}  # type: ignore[list-item]
    task = Task(key="nsa", label="NSA", category="bottle", folder="widget", seed=0, checkpoint=None)
    store = _store(tmp_path, config=named, fingerprints={"bottle": "x"})
    store.write(task, (_row(task),), None)
    assert store.merged([task]).datasets == {"bottle": "MVTec AD"}
    with pytest.raises(ConfigError, match="'gadget', which is no category"):
        fingerprints([source], replace(TINY, datasets=("gadget=MVTec AD",)))  # type: ignore[list-item]


def test_options_are_flat_and_hold_no_path() -> None:
    config = replace(TINY, textures="/somewhere/dtd")
    options = options_of(config, ("size", "decoders", "textures", "native"))
    assert options == {"size": 32, "decoders": "ahd + ahe", "textures": "folder dtd", "native": False}
    assert options_of(TINY, ("textures",)) == {"textures": "128 procedural"}


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "row"
    with locked(path) as held:
        assert held
        with locked(path, wait=False) as second:
            assert not second
    with locked(path, wait=False) as again:
        assert again


def _evidence(tmp_path: Path, pictures: bool = True):
    data = split_of(widget(tmp_path))
    truth = data.test.mask_u8[:, 0].clone()  # a perfect detector ...
    defects = (data.test.kind != GOOD_KIND).nonzero().flatten().tolist()
    good = (data.test.kind == GOOD_KIND).nonzero().flatten().tolist()
    truth[defects[1]] = 0  # ... that overlooks one defect,
    truth[defects[3]] = truth[defects[3]] // 4  # sees another weakly,
    truth[good[1], :8] = 255  # and flags a good image
    made = MadeSet(method="crop_paste", samples=data.base)
    return data, evidence_of(data, made, truth, pictures=pictures), (defects[1], defects[3], good[1])


def test_the_worst_test_images_are_shown(tmp_path: Path) -> None:
    data, evidence, worst = _evidence(tmp_path)
    assert tuple(evidence.failure_index.tolist()) == worst
    failures = failures_of("CropPaste", data, evidence)
    record = data.test_records[worst[0]]
    assert failures[0].caption == f"widget, {record.defect}/{record.path.name}, score 0.00"
    assert np.array_equal(failures[0].image_u8.transpose(2, 0, 1), data.test.image_u8[worst[0]].numpy())
    assert not failures[0].map_u8.any()
    assert not failures[2].gt_mask.any()


def test_curves_of_a_detector_that_misses_defects_and_flags_a_good_image(tmp_path: Path) -> None:
    data, evidence, _ = _evidence(tmp_path)
    recall, precision = evidence.pixel_curve
    seen = recall < 1
    flagged = (data.test.mask_u8 > 127).sum() - (data.test.mask_u8[list(_evidence(tmp_path)[2])[:2]] > 127).sum()
    assert precision[seen][0] == pytest.approx(int(flagged) / (int(flagged) + 8 * 32), abs=1e-3)
    assert recall[-1] == 1
    assert evidence.image_curve.shape[0] == 2


def test_evidence_is_kept_whole_or_named(tmp_path: Path) -> None:
    data, evidence, _ = _evidence(tmp_path)
    path = tmp_path / "rows" / "seed_0.npz"
    write_evidence(evidence, path)
    again = read_evidence(path)
    for part in fields(Evidence):
        assert np.array_equal(getattr(again, part.name), getattr(evidence, part.name))
    sheet = sheet_of("CropPaste", data, again)
    assert sheet is not None
    assert len(sheet.generated) == len(data.base)
    assert len(sheet.real) == 6
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"seed_0.npz cannot be read.*run again"):
        read_evidence(path)


def test_no_examples_of_later_seeds(tmp_path: Path) -> None:
    data, evidence, _ = _evidence(tmp_path, pictures=False)
    assert evidence.example_images.shape == (0, 32, 32, 3)
    assert sheet_of("CropPaste", data, evidence) is None
    third = evidence_of(
        data, MadeSet(method="base_third", samples=data.base), torch.zeros(8, 32, 32).byte(), pictures=True
    )
    assert not len(third.example_images)
