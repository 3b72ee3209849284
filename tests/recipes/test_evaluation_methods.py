"""Training images of the methods: what a generator may see, baselines, added base images, lines of each table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from evaluation_trees import TINY, bench_of, split_of, widget
from safetensors.torch import save_file

from anomalyhybrid.data.loading import load_image, save_png
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import ConfigError, DataError, WeightsError
from anomalyhybrid.evaluation.config import METHODS, EvaluateConfig
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import DATASET, FORMAT, Row
from anomalyhybrid.generation.writer import append_rows
from anomalyhybrid.models.weights import sha256_of
from anomalyhybrid.recipes.evaluation import methods, sets
from anomalyhybrid.recipes.evaluation.methods import Entry, check_training, checkpoint_of, entries, method_samples
from anomalyhybrid.recipes.evaluation.sets import generator_file, redrawn_normals
from anomalyhybrid.recipes.evaluation.views import write_view
from anomalyhybrid.recipes.training import BASE_IMAGES


def _line(method: str, config: EvaluateConfig = TINY) -> Entry:
    return entries(replace(config, methods=(method,)))[0]


def test_a_view_holds_what_a_generator_may_see_and_nothing_else(tmp_path: Path) -> None:
    data = split_of(widget(tmp_path))
    view = write_view(data, TINY, tmp_path / "out")
    found = read_data(view)
    assert found.categories == ("widget",)
    assert [record.path.name for record in found.normals()] == [f"{r.path.name}.png" for r in data.good_records]
    assert {(record.defect, record.path.name) for record in found.defects()} == {
        (record.defect, f"{record.path.name}.png") for record in data.base_records
    }
    for shown, own in zip(found.normals(), data.train_good.image_u8, strict=True):
        assert torch.equal(torch.tensor(load_image(shown.path).pixels).permute(2, 0, 1), own)
    held = read_data(write_view(data, TINY, tmp_path / "out", held=True))
    assert [record.path.name for record in held.normals()] == ["004.png.png", "009.png.png"]


def test_a_native_view_has_the_files_themselves(tmp_path: Path) -> None:
    data = split_of(widget(tmp_path))
    found = read_data(write_view(data, replace(TINY, native=True), tmp_path / "out"))
    assert [record.path.name for record in found.normals()] == [record.path.name for record in data.good_records]
    for shown, own in zip(found.defects(), data.base_records, strict=True):
        assert shown.path.read_bytes() == own.path.read_bytes()
        assert shown.mask_path is not None
        assert own.mask_path is not None
        assert shown.mask_path.read_bytes() == own.mask_path.read_bytes()


def test_a_view_is_another_one_for_other_data_or_size(tmp_path: Path) -> None:
    folder = widget(tmp_path)
    out = tmp_path / "out"
    first = write_view(split_of(folder), TINY, out)
    assert write_view(split_of(folder), TINY, out) == first
    larger = replace(TINY, size=64)
    assert write_view(split_of(folder, larger), larger, out) != first
    other = replace(TINY, base_split="random")
    assert write_view(split_of(folder, other, 1), other, out) != first


def test_baselines_and_the_real_base_third(tmp_path: Path) -> None:
    data, bench = split_of(widget(tmp_path)), bench_of(tmp_path / "out")
    third = method_samples(_line("base_third"), data, 0, bench)
    assert torch.equal(third.samples.image_u8, data.base.image_u8)
    pasted = method_samples(_line("crop_paste"), data, 0, bench)
    assert len(pasted.samples) == TINY.count
    assert pasted.samples.kinds == data.kinds
    assert pasted.samples.kind.tolist() == [0, 1, 0, 1, 0, 1]
    for name in ("cut_paste", "perlin", "nsa"):
        own = method_samples(_line(name), data, 0, bench)
        assert own.samples.kinds[: len(data.kinds)] == data.kinds
        assert int(own.samples.kind.min()) >= len(data.kinds)  # a zero-shot method's types are its own
        assert own.checkpoint is None
    assert not (tmp_path / "out" / "sets").exists()


def test_with_base_adds_the_third_to_few_shot_methods_only(tmp_path: Path) -> None:
    data, bench, config = split_of(widget(tmp_path)), bench_of(tmp_path / "out"), replace(TINY, with_base=True)
    pasted = method_samples(_line("crop_paste", config), data, 0, bench)
    assert len(pasted.samples) == TINY.count + len(data.base)
    assert torch.equal(pasted.samples.image_u8[: len(data.base)], data.base.image_u8)
    assert pasted.samples.kind[: len(data.base)].tolist() == data.base.kind.tolist()
    assert len(method_samples(_line("cut_paste", config), data, 0, bench).samples) == TINY.count


def test_a_share_of_real_images_is_reached_type_by_type_by_repeating_them(tmp_path: Path) -> None:
    data, bench = split_of(widget(tmp_path)), bench_of(tmp_path / "out")
    config = replace(TINY, count=12, with_base=True, base_share=0.75)
    made = method_samples(_line("crop_paste", config), data, 0, bench)
    for number in data.base.kind.unique().tolist():
        drawn = int((made.own.kind == number).sum())
        assert int((made.samples.kind[: made.real] == number).sum()) == max(
            3 * drawn, int((data.base.kind == number).sum())
        )
    known = {image.numpy().tobytes() for image in data.base.image_u8}
    assert {image.numpy().tobytes() for image in made.samples.image_u8[: made.real]} == known
    assert len(made.own) == 12
    with pytest.raises(ConfigError, match="base_share is for with_base"):
        replace(TINY, base_share=0.5)


def test_a_few_shot_method_without_base_images(tmp_path: Path) -> None:
    data = split_of(widget(tmp_path))
    bare = replace(data, base_records=(), base=data.base.where(torch.zeros(0, dtype=torch.long)))
    with pytest.raises(DataError, match=r"widget has no base images, which CropPaste draws on; leave"):
        method_samples(_line("crop_paste"), bare, 0, bench_of(tmp_path))


def test_a_set_is_asked_for_with_base_images_or_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, tuple, GenerateConfig, Path]] = []

    def generate(run, data, out, *, base_set, config, **_):
        asked.append((run, tuple(base_set), config, out))
        raise KeyboardInterrupt

    monkeypatch.setattr(sets, "generate", generate)
    monkeypatch.setattr(sets, "generator_file", lambda run: Path(__file__))
    data, bench = split_of(widget(tmp_path)), bench_of(tmp_path / "out", run="few", zero_run="zero")
    for name in ("ours", "ours+", "ours_zero", "ours_zero+"):
        with pytest.raises(KeyboardInterrupt):
            method_samples(_line(name, replace(TINY, normals=3, appearance="target")), data, 5, bench)
    runs, bases, configs, folders = zip(*asked, strict=True)
    assert runs == ("few", "few", "zero", "zero")
    assert [len(base) for base in bases] == [1, 1, 0, 0]
    assert {(config.count, config.normals, config.seed, config.appearance) for config in configs} == {
        (6, 0, 5, "target")
    }
    assert folders[0] == folders[1] == tmp_path / "out" / "sets" / "ours" / "seed_5" / "widget"
    assert folders[2] == folders[3] == tmp_path / "out" / "sets" / "ours_zero" / "seed_5" / "widget"


def _patching(run, data, out, *, config, **_):
    """A stand-in for `generate`: the view's first good images again, each with a lighter patch if it is to have one."""
    root = data[0].parent
    out.mkdir(parents=True)
    targets = sorted((data[0] / "train" / "good").iterdir())
    for index in range(config.normals):
        pixels = load_image(targets[index % 2]).pixels.copy()
        patched = config.normals_as == "patch" or (config.normals_as == "both" and index % 2 == 1)
        pixels[4 : 6 + index] += np.uint8(20 if patched else 40)
        save_png(out / f"{index}.png", pixels)
        row = dict.fromkeys(Row.__dataclass_fields__, 0) | {
            "label_mask": None,
            "image": f"{index}.png",
            "defect": "good",
        }
        row |= {"target": targets[index % 2].relative_to(root).as_posix()}
        row |= {"composition": "region" if patched else "full", "category": run}
        append_rows(out, [Row(**row)])
    (out / DATASET).write_text(json.dumps({"format": FORMAT, "data_root": str(root)}))


def test_redrawn_normals_of_a_native_view_know_their_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "generate", _patching)
    monkeypatch.setattr(sets, "generator_file", lambda run: Path(__file__))
    config = replace(TINY, normals=3, native=True)
    data, bench = split_of(widget(tmp_path), config), bench_of(tmp_path / "out")
    redrawn = redrawn_normals(data, config, 1, bench, run="some", held=False, normals_as="patch")
    assert redrawn is not None
    assert torch.equal(redrawn.target_u8, data.train_good.image_u8[[0, 1, 0]])
    assert redrawn.region_u8.any((1, 2, 3)).all()
    assert not redrawn.region_u8[:, :, 16:].any()


def test_redrawn_normals_know_where_they_were_redrawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "generate", _patching)
    monkeypatch.setattr(sets, "generator_file", lambda run: Path(__file__))
    data, bench, config = split_of(widget(tmp_path)), bench_of(tmp_path / "out"), replace(TINY, normals=4)
    for kind, held in product(("full", "patch", "both"), (False, True)):
        redrawn = redrawn_normals(data, config, 1, bench, run="some", held=held, normals_as=kind)
        assert redrawn is not None
        own = data.calibration if held else data.train_good
        for place in range(4):
            lighter = 20 if kind == "patch" or (kind == "both" and place % 2 == 1) else 40
            region = torch.zeros(32, 32, dtype=torch.uint8)
            region[4 : 6 + place] = 255
            assert torch.equal(redrawn.target_u8[place], own.image_u8[place % 2])
            assert torch.equal(redrawn.image_u8[place], own.image_u8[place % 2] + region // 255 * lighter)
            assert torch.equal(redrawn.region_u8[place, 0], region)
    assert len(list((tmp_path / "out" / "sets").iterdir())) == 6
    assert redrawn_normals(data, TINY, 1, bench, run="some", held=True, normals_as="full") is None


def test_with_generated_good_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool, str]] = []

    def redraw(data, config, seed, bench, *, run, held, normals_as):
        asked.append((run, held, normals_as))
        return sets.Redrawn(image_u8=data.base.image_u8[:2], target_u8=data.base.image_u8[:2])

    monkeypatch.setattr(methods, "redrawn_normals", redraw)
    monkeypatch.setattr(methods, "written_set", lambda *_, **__: tmp_path)
    monkeypatch.setattr(methods, "generator_file", lambda run: Path(__file__))
    monkeypatch.setattr(methods, "check_training", lambda *_, **__: "")
    monkeypatch.setattr(methods, "read_rows", lambda folder: [SimpleNamespace(label_mask="a", accepted=True)])
    data, bench = split_of(widget(tmp_path)), bench_of(tmp_path / "out", run="few", zero_run="zero")
    monkeypatch.setattr(methods, "read_samples", lambda *_: data.base)
    for name in ("ours", "ours+", "ours_zero", "ours_zero+"):
        made = method_samples(_line(name, replace(TINY, normals=2)), data, 0, bench)
        assert (made.normals_u8 is not None) == name.endswith("+")
    method_samples(_line("ours+", replace(TINY, normals=2, normals_as="full")), data, 0, bench)
    assert asked == [("few", False, "both"), ("zero", False, "both"), ("few", False, "full")]


def test_images_that_were_not_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, bench = split_of(widget(tmp_path)), bench_of(tmp_path / "out", run="few")
    monkeypatch.setattr(methods, "written_set", lambda *_, **__: tmp_path)
    monkeypatch.setattr(methods, "generator_file", lambda run: Path(__file__))
    monkeypatch.setattr(methods, "check_training", lambda *_, **__: "")
    monkeypatch.setattr(methods, "read_samples", lambda folder, rows, size: data.base)
    for accepted, kept, note in (
        ([True, False, True], 2, "1 of 3 generated images changed too little to be accepted and were left out"),
        ([False, False], 2, "2 of 2 generated images changed too little to be accepted and were kept, because none"),
        ([True], 1, None),
    ):
        rows = [SimpleNamespace(label_mask="a", accepted=value) for value in accepted]
        monkeypatch.setattr(methods, "read_rows", lambda folder, rows=rows: rows)
        made = method_samples(_line("ours"), data, 0, bench)
        assert len(made.rows) == kept
        assert any("changed too little" in text for text in made.notes) == (note is not None)
        assert note is None or any(text.startswith(note) for text in made.notes)


def test_lines_of_the_tables() -> None:
    assert [line.method for line in entries(replace(TINY, normals=1))] == list(METHODS)
    assert not {"ours+", "ours_zero+"} & {line.method for line in entries(TINY)}  # they need generated good images
    five = entries(replace(TINY, table=5))
    assert [(line.label, line.config.decoders) for line in five] == [
        ("AHD", ("ahd",)),
        ("AHE", ("ahe",)),
        ("AHD + AHE", ("ahd", "ahe")),
    ]
    seven = entries(replace(TINY, table=7, methods=("ours_zero",)))
    assert [(line.label, line.config.mixture, line.config.remove_real) for line in seven] == [
        ("merge", 0.0, True),
        ("remove", 0.0, True),
        ("replace", 0.0, True),
        ("merge + remove + replace", 0.0, True),
        ("merge + remove + replace + tps", 0.25, True),
    ]
    one = {line.method for line in entries(replace(TINY, table=1, normals=1))}
    assert one == set(METHODS) - {"ours+", "ours_zero+"}
    assert {line.method for line in seven} == {"ours_zero"}
    assert len({line.key for line in (*five, *seven)}) == 8
    with pytest.raises(ConfigError, match="table 5 varies one generating method"):
        entries(replace(TINY, table=5, methods=("nsa",)))


def test_a_generator_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"generator.safetensors does not exist; give a run's folder"):
        generator_file(str(tmp_path))
    assert checkpoint_of("nsa", bench_of(tmp_path, run=str(tmp_path))) is None
    with pytest.raises(WeightsError):
        checkpoint_of("ours", bench_of(tmp_path, run=str(tmp_path)))


def test_a_generator_that_has_seen_what_it_must_not(tmp_path: Path) -> None:
    data = split_of(widget(tmp_path))

    def check(records: Sequence[Record] | None, few_shot: bool) -> str:
        known = None if records is None else json.dumps([sha256_of(record.path) for record in records])
        path = tmp_path / "generator.safetensors"
        save_file({"a": torch.zeros(1)}, path, metadata={} if known is None else {BASE_IMAGES: known})
        return check_training(str(tmp_path), data, few_shot=few_shot)

    assert check(data.base_records, True) == ""
    assert check((), False) == ""
    assert "not recorded" in check(None, False)
    with pytest.raises(DataError, match=r"trained on 1 test images, .* on the same base set"):
        check([record for record in data.test_records if not record.is_good][:1], True)
    with pytest.raises(DataError, match=r"base images, .* without real defects"):
        check(data.base_records[:1], False)
    assert check_training("shipped", data, few_shot=False) == "shipped generator, not trained on these data"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ("crop_past",)}, "did you mean 'crop_paste'"),
        ({"methods": ("ours", "ours")}, "give each once"),
        ({"methods": ("ours+",), "normals": 0}, "evaluate.normals is 0"),
        ({"methods": ("nsa", "ours_zero+"), "normals": 0}, r"'ours_zero\+' trains .* evaluate.normals is 0"),
        ({"methods": ("ours_zero+",), "table": 1}, r"'ours_zero\+' .* it is for table 2"),
        ({"normals_as": "half"}, "full, patch, both"),
        ({"table": 8}, "one of 1 to 7"),
        ({"seeds": ()}, "evaluate.seeds is empty"),
        ({"size": 100}, "multiple of 32"),
        ({"count": 0}, "at least 1"),
        ({"cap": 1}, "at least 2, or 0"),
        ({"validation_share": 1.0}, r"\[0, 1\)"),
        ({"validation_share": 0.2, "mode": "as_published"}, "for mode fixed"),
        ({"mode": "honest"}, "fixed, as_published"),
        ({"datasets": ("MVTec AD",)}, "CATEGORY=DATA SET"),
    ],
)
def test_settings_that_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EvaluateConfig(**settings)


def test_names_of_data_sets() -> None:
    config = EvaluateConfig(datasets=("bottle=MVTec AD", "tire_small=MVTec 3D-AD, RGB/tire"))
    assert config.dataset_names() == {
        "bottle": ("MVTec AD", "bottle"),
        "tire_small": ("MVTec 3D-AD, RGB", "tire"),
    }
