"""The manifest, dataset.json and the folder they describe."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from set_files import data_root, file_set, folder_set, read_mask, read_png, rows_of

from anomalyhybrid import __version__
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.errors import ConfigError, DataError, WeightsError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import DATASET, MANIFEST, read_dataset, read_rows
from anomalyhybrid.models.weights import sha256_of
from anomalyhybrid.ops.structures import KINDS

Make = Callable[..., Path]
KEYS = [
    "id",
    "image",
    "label_mask",
    "category",
    "defect",
    "target",
    "reference",
    "decoder",
    "operation",
    "appearance",
    "composition",
    "seed",
    "model_sha256",
    "changed_outside",
    "mask_area",
    "change_inside",
    "structure",
    "fusion_mask",
    "attempt",
    "accepted",
]


@pytest.fixture(params=["one_category", "two_categories"])
def any_set(request: pytest.FixtureRequest) -> Path:
    """Each of the shared sets."""
    return request.getfixturevalue(request.param)


def test_rows_have_their_keys_and_unique_ids(any_set: Path) -> None:
    rows = rows_of(any_set)
    assert all(list(row) == KEYS for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)
    assert len({row["seed"] for row in rows if row["label_mask"]}) == len([row for row in rows if row["label_mask"]])
    for row in rows:
        assert row["decoder"] in ("ahd", "ahe")
        assert 0 < row["fusion_mask"] < 1
        assert isinstance(row["accepted"], bool)


def test_the_files_are_those_of_the_manifest_and_no_others(any_set: Path) -> None:
    rows = rows_of(any_set)
    listed = {row[key] for row in rows for key in ("image", "label_mask") if row[key] is not None}
    assert file_set(any_set) == listed | {MANIFEST, DATASET}
    parents = {parent.as_posix() for name in listed for parent in Path(name).parents} - {"."}
    assert folder_set(any_set) == parents
    for row in rows:
        for name in (row["target"], row["reference"]):
            path = data_root(any_set) / name
            assert path.is_file()
            assert path.resolve().is_relative_to(data_root(any_set).resolve())


def test_one_category_lies_at_the_root_and_several_in_folders(one_category: Path, two_categories: Path) -> None:
    for root, prefixes in ((one_category, {"nut": ""}), (two_categories, {"nut": "nut/", "capsule": "capsule/"})):
        for row in rows_of(root):
            prefix = prefixes[row["category"]]
            if row["label_mask"] is None:
                assert row["image"] == f"{prefix}train/good/{row['id']}.png"
            else:
                assert row["image"] == f"{prefix}test/{row['defect']}/{row['id']}.png"
                assert row["label_mask"] == f"{prefix}ground_truth/{row['defect']}/{row['id']}_mask.png"


def test_masks_are_single_channel_files_of_the_images_size(any_set: Path) -> None:
    for row in rows_of(any_set):
        if row["label_mask"] is not None:
            assert read_mask(any_set, row).shape == read_png(any_set / row["image"]).shape[:2]


def test_counts_are_those_asked_for(any_set: Path) -> None:
    config = read_dataset(any_set)["config"]
    for category in read_dataset(any_set)["categories"]:
        own = [row for row in rows_of(any_set) if row["category"] == category]
        assert sum(row["label_mask"] is not None for row in own) == config["count"]
        assert sum(row["label_mask"] is None for row in own) == config["normals"]


def test_generated_normals_say_so(any_set: Path) -> None:
    normals = [row for row in rows_of(any_set) if row["label_mask"] is None]
    assert normals
    for row in normals:
        assert row["defect"] == "good"
        assert row["operation"] == "none"
        assert row["composition"] == "full"
        assert row["structure"] == row["target"]
        assert (row["changed_outside"], row["mask_area"], row["attempt"]) == (0, 0, 0)


def test_the_defect_class_is_the_references(two_categories: Path) -> None:
    defects = [row for row in rows_of(two_categories) if row["label_mask"] is not None]
    donors = [row for row in defects if not row["structure"].startswith("procedural:")]
    real = [row for row in donors if row["defect"] != "foreign"]
    drawn = [row for row in defects if row["structure"].startswith("procedural:")]
    assert real
    assert drawn
    for row in real:
        category, split, defect, _ = row["structure"].split("/")
        assert (category, split, defect) == (row["category"], "test", row["defect"])
        assert row["reference"] in (row["structure"], row["target"])
    for row in donors:
        if row not in real:  # a patch of another good image
            assert row["structure"].startswith(f"{row['category']}/train/good/")
    for row in drawn:
        assert row["structure"].removeprefix("procedural:") in KINDS
    for row in defects:
        assert row["target"].startswith(f"{row['category']}/train/good/")


def test_the_description_names_model_data_settings_and_versions(
    two_categories: Path, products: Path, tiny_run: Path
) -> None:
    about = json.loads((two_categories / DATASET).read_text())
    assert about["format"] == 1
    assert Path(about["data_root"]) == products
    assert [Path(path) for path in about["data"]] == [products]
    assert [Path(path) for path in about["base_set"]] == [products]
    assert about["categories"] == ["capsule", "nut"]
    assert about["versions"]["anomalyhybrid"] == __version__
    assert about["versions"]["torch"] == torch.__version__
    assert about["versions"]["device"] in ("cpu", "cuda")
    assert len(about["data_sha256"]) == 64
    sha256 = sha256_of(tiny_run / "generator.safetensors")
    assert about["model"]["sha256"] == sha256
    assert {row["model_sha256"] for row in rows_of(two_categories)} == {sha256}
    config = GenerateConfig.from_json(about["config"])
    assert (config.count, config.normals, config.batch_size) == (8, 2, 3)
    figures = about["summary"]["nut"]
    assert (figures["defects"], figures["normals"], figures["images_changed_outside"]) == (8, 2, 0)
    assert sum(figures["by_defect"].values()) == 8


def test_data_inside_the_set_are_named_relative_to_it(tmp_path: Path, make_set: Make, products: Path) -> None:
    out = tmp_path / "set"
    for path in sorted((products / "nut" / "train").rglob("*.png")):
        copy = out / "source" / "nut" / path.relative_to(products / "nut")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    make_set(out, out / "source" / "nut", count=1, normals=1)
    assert read_dataset(out)["data_root"] == "source/nut"
    assert read_dataset(out)["data"] == ["source/nut"]
    assert str(tmp_path) not in (out / MANIFEST).read_text()
    moved = out.rename(tmp_path / "moved")
    assert all((moved / "source" / "nut" / row["target"]).is_file() for row in rows_of(moved))


def test_the_set_is_read_back_as_data_and_base_set(any_set: Path, tmp_path: Path, make_set: Make) -> None:
    found = read_data(any_set)
    assert found.layout == "mvtec_ad"
    rows = read_rows(any_set)
    defects = {any_set / row.image: row for row in rows if row.label_mask is not None}
    assert {record.path for record in found.normals()} == {any_set / row.image for row in rows if not row.label_mask}
    assert {record.path for record in found.defects()} == set(defects)
    for record in found.defects():
        row = defects[record.path]
        assert record.defect == row.defect
        assert row.label_mask is not None
        assert record.mask_path == any_set / row.label_mask
    again = make_set(tmp_path / "again", any_set, base_set=(any_set,), count=2, normals=1)
    assert len(rows_of(again)) == 3 * len(found.categories)


def test_an_existing_set_is_refused_and_left_alone(one_category: Path, make_set: Make, products: Path) -> None:
    before = (one_category / MANIFEST).read_bytes()
    with pytest.raises(DataError, match="already holds a generated set"):
        make_set(one_category, products / "nut")
    assert (one_category / MANIFEST).read_bytes() == before


def test_a_decoder_that_the_model_lacks_is_refused(
    tmp_path: Path, make_set: Make, products: Path, tiny_run: Path
) -> None:
    from anomalyhybrid.models.config import GeneratorConfig
    from anomalyhybrid.models.generator import Generator, load_generator, save_generator

    _, metadata = load_generator(tiny_run / "generator.safetensors")
    alone = Generator(GeneratorConfig(width=8, max_width=16, blocks=1, decoders=("ahd",)))
    save_generator(tmp_path / "alone.safetensors", alone, metadata)
    with pytest.raises(ConfigError, match="ahe"):
        make_set(tmp_path / "set", products / "nut", run=tmp_path / "alone.safetensors")
    out = make_set(tmp_path / "ahd", products / "nut", run=tmp_path / "alone.safetensors", decoders=("ahd",), count=2)
    assert {row["decoder"] for row in rows_of(out)} == {"ahd"}


def test_maps_by_another_extractor_are_refused(tmp_path: Path, make_set: Make, products: Path, tiny_run: Path) -> None:
    from anomalyhybrid.models.generator import load_generator, save_generator

    model, metadata = load_generator(tiny_run / "generator.safetensors")
    save_generator(tmp_path / "other.safetensors", model, metadata | {"depth_name": "lite-of-another-day"})
    with pytest.raises(WeightsError, match="lite-of-another-day"):
        make_set(tmp_path / "set", products / "nut", run=tmp_path / "other.safetensors")
    assert not (tmp_path / "set" / DATASET).exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": -1}, "count is -1"),
        ({"count": 0, "normals": 0}, "both 0"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"max_attempts": 0}, "max_attempts is 0"),
        ({"decoders": ()}, "give at least one of ahd, ahe"),
        ({"operations": ()}, "give at least one of merge"),
        ({"mixture": 1.5}, "mixture is 1.5"),
        ({"procedural": -0.1}, "procedural is -0.1"),
        ({"extent": (0.3, 0.1)}, "extent"),
        ({"normals_as": "half"}, "normals_as is 'half'; give one of full, patch, both"),
    ],
)
def test_settings_out_of_range_name_value_and_limit(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GenerateConfig(**settings)


def test_only_normals_or_only_defects(tmp_path: Path, make_set: Make, products: Path) -> None:
    normals = make_set(tmp_path / "normals", products / "nut", count=0, normals=3)
    assert file_set(normals) == {f"train/good/nut_n{i:06d}.png" for i in range(3)} | {MANIFEST, DATASET}
    defects = make_set(tmp_path / "defects", products / "nut", count=3, normals=0)
    assert not (defects / "train").exists()


def test_a_manifest_or_description_that_is_none_is_named(tmp_path: Path, one_category: Path) -> None:
    for read in (read_rows, read_dataset):
        with pytest.raises(DataError, match="give the folder of a generated set"):
            read(tmp_path)
    lines = (one_category / MANIFEST).read_text().splitlines(keepends=True)
    (tmp_path / MANIFEST).write_text("".join(lines[:3]) + lines[3][:40])
    assert [row.id for row in read_rows(tmp_path)] == [json.loads(line)["id"] for line in lines[:3]]
    (tmp_path / MANIFEST).write_text(lines[0] + lines[1][:40] + "\n" + lines[2])
    with pytest.raises(DataError, match="line 2 is not a manifest row"):
        read_rows(tmp_path)
    (tmp_path / MANIFEST).write_text(lines[0] + '{"id": "whole, but no row"}\n')
    with pytest.raises(DataError, match="line 2 is not a manifest row"):
        read_rows(tmp_path)
    (tmp_path / DATASET).write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        read_dataset(tmp_path)
    (tmp_path / DATASET).write_text('{"format": 99}')
    with pytest.raises(DataError, match="format 99"):
        read_dataset(tmp_path)
