"""The same seed gives the same bytes; `regenerate` gives one image of a set again, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from set_files import contents, file_set, folder_set, rows_of

from anomalyhybrid.errors import ConfigError, DataError, WeightsError
from anomalyhybrid.generation.manifest import DATASET, MANIFEST
from anomalyhybrid.recipes.regeneration import regenerate

Make = Callable[..., Path]


def _again(dataset: Path, image_id: str, out: Path) -> tuple[Path, list[str]]:
    told: list[str] = []
    return regenerate(dataset, image_id, out, announce=told.append), told


@pytest.fixture
def own_data(tmp_path: Path, products: Path) -> Path:
    """A copy of one category that a test may change."""
    return Path(shutil.copytree(products / "nut", tmp_path / "data" / "nut"))


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, make_set: Make, products: Path) -> None:
    settings = {"base_set": (products,), "count": 5, "normals": 2, "procedural": 0.4}
    first, second = (make_set(tmp_path / name, products, **settings) for name in ("a", "b"))
    assert contents(first) == contents(second)


def test_another_seed_gives_other_images(tmp_path: Path, make_set: Make, products: Path) -> None:
    first, second = (make_set(tmp_path / str(seed), products / "nut", count=3, seed=seed) for seed in (0, 1))
    rows = zip(rows_of(first), rows_of(second), strict=True)
    assert all((first / a["image"]).read_bytes() != (second / b["image"]).read_bytes() for a, b in rows)


def test_an_image_does_not_depend_on_how_many_are_made(tmp_path: Path, make_set: Make, products: Path) -> None:
    few = make_set(tmp_path / "few", products / "nut", count=4, normals=1, batch_size=2)
    more = make_set(tmp_path / "more", products / "nut", count=8, normals=3, batch_size=2)
    assert {name: more_bytes for name, more_bytes in contents(more).items() if (few / name).exists()} == {
        name: (few / name).read_bytes() if name not in (MANIFEST, DATASET) else (more / name).read_bytes()
        for name in file_set(few)
    }
    rows = {row["id"]: row for row in rows_of(more)}
    assert all(rows[row["id"]] == row for row in rows_of(few))


def test_decisions_do_not_depend_on_the_batch(tmp_path: Path, make_set: Make, products: Path) -> None:
    decided = ("target", "reference", "decoder", "operation", "defect", "structure")
    rows = [
        rows_of(make_set(tmp_path / str(batch), products / "nut", count=6, batch_size=batch)) for batch in (1, 4, 16)
    ]
    for one, *others in zip(*rows, strict=True):
        for other in others:
            assert [one[key] for key in decided] == [other[key] for key in decided]


@pytest.mark.parametrize("which", ["one_category", "two_categories"])
def test_regenerate_gives_identical_bytes_and_no_strays(
    request: pytest.FixtureRequest, tmp_path: Path, which: str
) -> None:
    dataset: Path = request.getfixturevalue(which)
    before = contents(dataset)
    rows = rows_of(dataset)
    defects = [row for row in rows if row["label_mask"] is not None]
    normals = [row for row in rows if row["label_mask"] is None]
    for row in (defects[0], defects[4], defects[-1], normals[-1]):
        out = tmp_path / row["id"]
        image, told = _again(dataset, row["id"], out)
        wanted = {row[key] for key in ("image", "label_mask") if row[key] is not None}
        assert image == out / row["image"]
        assert file_set(out) == wanted
        assert folder_set(out) == {parent.as_posix() for name in wanted for parent in Path(name).parents} - {"."}
        for name in wanted:
            assert (out / name).read_bytes() == (dataset / name).read_bytes()
        assert not [text for text in told if "warning" in text]
    assert contents(dataset) == before


def test_normals_of_both_kinds_are_regenerated(tmp_path: Path, normals_of_both_kinds: Path) -> None:
    for row in rows_of(normals_of_both_kinds):
        image, told = _again(normals_of_both_kinds, row["id"], tmp_path / row["id"])
        assert file_set(tmp_path / row["id"]) == {row["image"]}
        assert image.read_bytes() == (normals_of_both_kinds / row["image"]).read_bytes()
        assert not [text for text in told if "warning" in text]


def test_a_set_from_before_there_were_patches_is_regenerated(tmp_path: Path, make_set: Make, products: Path) -> None:
    out = make_set(tmp_path / "set", products / "nut", count=1, normals=2)
    about = json.loads((out / DATASET).read_text())
    assert about["config"].pop("normals_as") == "full"
    (out / DATASET).write_text(json.dumps(about))
    row = rows_of(out)[-1]
    image, told = _again(out, row["id"], tmp_path / "again")
    assert image.read_bytes() == (out / row["image"]).read_bytes()
    assert not [text for text in told if "warning" in text]


def test_several_images_are_regenerated_into_one_folder(tmp_path: Path, one_category: Path) -> None:
    rows = rows_of(one_category)[:2]
    for row in [*rows, rows[0]]:
        _again(one_category, row["id"], tmp_path)
    assert file_set(tmp_path) == {row[key] for row in rows for key in ("image", "label_mask")}


def test_regenerate_needs_no_image_of_the_set(tmp_path: Path, one_category: Path) -> None:
    row = rows_of(one_category)[1]
    for name in (MANIFEST, DATASET):
        (tmp_path / "bare").mkdir(exist_ok=True)
        (tmp_path / "bare" / name).write_bytes((one_category / name).read_bytes())
    image, _ = _again(tmp_path / "bare", row["id"], tmp_path / "out")
    assert image.read_bytes() == (one_category / row["image"]).read_bytes()


def test_a_moved_set_with_its_data_inside_is_regenerated(tmp_path: Path, make_set: Make, products: Path) -> None:
    out = tmp_path / "set"
    shutil.copytree(products / "nut", out / "source" / "nut")
    make_set(out, out / "source" / "nut", base_set=(out / "source" / "nut",), count=2, normals=1)
    moved = out.rename(tmp_path / "elsewhere")
    for row in rows_of(moved):
        image, _ = _again(moved, row["id"], tmp_path / "again")
        assert image.read_bytes() == (moved / row["image"]).read_bytes()


def test_a_linked_data_folder_keeps_its_name(tmp_path: Path, make_set: Make, dummy_folder: Callable[..., Path]) -> None:
    real = dummy_folder("volume_17", count=3)
    link = tmp_path / "bolt"
    link.symlink_to(real, target_is_directory=True)
    out = make_set(tmp_path / "set", link, count=2, normals=0)
    row = rows_of(out)[1]
    assert row["category"] == "bolt"
    image, _ = _again(out, row["id"], tmp_path / "again")
    assert image.read_bytes() == (out / row["image"]).read_bytes()


def test_an_unknown_id_is_refused(tmp_path: Path, one_category: Path) -> None:
    with pytest.raises(DataError, match=r"no image 'nut_999999'; its ids run like 'nut_000000'"):
        _again(one_category, "nut_999999", tmp_path / "out")
    with pytest.raises(DataError, match="no image"):
        _again(one_category, "", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_set_itself_and_other_sets_are_refused_as_output(
    tmp_path: Path, one_category: Path, two_categories: Path
) -> None:
    before = contents(one_category)
    image_id = rows_of(one_category)[0]["id"]
    (tmp_path / "link").symlink_to(one_category, target_is_directory=True)
    for out in (one_category, one_category / "test" / "..", tmp_path / "link"):
        with pytest.raises(DataError, match="give another folder"):
            _again(one_category, image_id, out)
    with pytest.raises(DataError, match="holds a generated set"):
        _again(two_categories, rows_of(two_categories)[0]["id"], one_category)
    assert contents(one_category) == before


def test_no_set_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(DataError, match="give the folder of a generated set"):
            _again(folder, "nut_000000", tmp_path / "out")


def test_missing_new_and_changed_data_are_refused(tmp_path: Path, make_set: Make, own_data: Path) -> None:
    out = make_set(tmp_path / "set", own_data, base_set=(own_data,), count=2, normals=1)
    image_id = rows_of(out)[0]["id"]
    first = sorted((own_data / "train" / "good").iterdir())[0]
    kept = first.read_bytes()

    def refused() -> None:
        with pytest.raises(DataError, match="are not those that") as caught:
            _again(out, image_id, tmp_path / "again")
        assert str(own_data) in str(caught.value)
        assert not (tmp_path / "again").exists()

    first.unlink()
    refused()
    first.write_bytes(b"no image")
    refused()
    first.write_bytes(kept)
    pixels = cv2.imread(str(first))
    pixels[0, 0] ^= 1
    cv2.imwrite(str(first), pixels)
    refused()
    first.write_bytes(kept)
    (own_data / "train" / "good" / "zzz.png").write_bytes(kept)
    refused()
    (own_data / "train" / "good" / "zzz.png").unlink()
    mask = sorted((own_data / "ground_truth").rglob("*.png"))[0]
    pixels = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(mask), cv2.dilate(pixels, None))
    refused()
    cv2.imwrite(str(mask), pixels)
    shutil.move(own_data, tmp_path / "moved")
    with pytest.raises(DataError, match="does not exist"):
        _again(out, image_id, tmp_path / "again")


def test_a_changed_or_missing_model_is_refused(
    tmp_path: Path, make_set: Make, products: Path, random_generator: Callable[[Path, int], Path]
) -> None:
    run = random_generator(tmp_path / "run" / "generator.safetensors", 1)
    out = make_set(tmp_path / "set", products / "nut", run=run.parent, count=2, normals=0)
    image_id = rows_of(out)[0]["id"]
    random_generator(run, 2)
    with pytest.raises(WeightsError, match="is not the generator that made"):
        _again(out, image_id, tmp_path / "again")
    run.unlink()
    with pytest.raises(WeightsError, match="do not exist"):
        _again(out, image_id, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_set_changed_by_hand_is_refused(tmp_path: Path, one_category: Path) -> None:
    dataset = tmp_path / "set"
    dataset.mkdir()
    about = json.loads((one_category / DATASET).read_text())
    (dataset / MANIFEST).write_bytes((one_category / MANIFEST).read_bytes())
    (dataset / DATASET).write_text(json.dumps(about | {"config": about["config"] | {"count": 1}}))
    with pytest.raises(DataError, match="changed by hand"):
        _again(dataset, "nut_000005", tmp_path / "again")
    (dataset / DATASET).write_text(json.dumps(about | {"config": about["config"] | {"colour": "red"}}))
    with pytest.raises(ConfigError, match="not those of this version"):
        _again(dataset, "nut_000005", tmp_path / "again")
