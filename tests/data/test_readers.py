"""Readers: every layout, pairing by stem, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from anomalyhybrid.data.reading import read_base_set, read_data, read_many
from anomalyhybrid.data.records import DataFolder
from anomalyhybrid.errors import DataError

Build = Callable[..., Path]
Put = Callable[[Path, np.ndarray], Path]

OUTPUTS = [
    {"dataset.json": "{}", "manifest.jsonl": ""},
    {"dataset.json": '{"format": 1}'},
    {"checkpoint.safetensors": ""},
    {"generator.safetensors": ""},
]
"""Files by which a generated set or a training run is known."""


def _names(folder: DataFolder) -> list[str]:
    return [record.relative for record in folder.records]


def test_plain_folder(tmp_path: Path, rgb_image: np.ndarray, put_image: Put) -> None:
    root = tmp_path / "screws"
    for name in ("b10.png", "b2.PNG", "deep/er/c.jpeg", "d.bmp", "e.tiff", "f.webp", "ü x.jpg"):
        put_image(root / name, rgb_image)
    for name in (".hidden.png", "Thumbs.db", "notes.txt", ".cache/x.png", "__MACOSX/y.png"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    folder = read_data(root)
    assert folder.layout == "folder"
    assert _names(folder) == ["b2.PNG", "b10.png", "d.bmp", "deep/er/c.jpeg", "e.tiff", "f.webp", "ü x.jpg"]
    assert folder.ignored == ("notes.txt",)
    record = folder.records[0]
    assert (record.path, record.category, record.defect) == (root / "b2.PNG", "screws", "good")
    assert (record.mask_path, record.split) == (None, "train")
    assert folder.normals("screws") == folder.records
    assert folder.normals(split="test") == folder.defects() == ()
    assert "plain folder of good images" in folder.describe()
    assert "7 good images" in folder.describe()


def test_folder_problems(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_data(tmp_path / "none")
    with pytest.raises(DataError, match=r"holds no image; files that are read end in \.png"):
        read_data(tmp_path)
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="is a file"):
        read_data(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp"])
def test_one_category(dummy_mvtec: Build, suffix: str) -> None:
    root = dummy_mvtec("bottle", suffix=suffix)
    (root / "license.txt").write_text("x")
    folder = read_data(root)
    assert (folder.layout, folder.categories, folder.root) == ("mvtec_ad", ("bottle",), root)
    assert [len(folder.normals()), len(folder.normals(split="test")), len(folder.defects())] == [4, 2, 6]
    assert folder.defect_types("bottle") == ("dent", "scratch")
    record = folder.defects("bottle", defect="scratch")[1]
    assert record.relative == f"test/scratch/001{suffix}"
    assert record.mask_path == root / "ground_truth" / "scratch" / "001_mask.png"
    assert record.split == "test"
    assert folder.ignored == ("license.txt",)
    assert "6 defects with masks (dent 2, scratch 4)" in folder.describe()


def test_several_categories(tmp_path: Path, dummy_mvtec: Build) -> None:
    dummy_mvtec("set/cable")
    dummy_mvtec("set/bottle", defects={})
    (tmp_path / "set" / "other").mkdir()
    folder = read_data(tmp_path / "set")
    assert folder.categories == ("bottle", "cable")
    assert folder.records[0].relative == "bottle/train/good/000.png"
    assert folder.ignored == ("other",)
    assert len(folder.defects("cable")) == 6
    assert folder.defects("bottle") == ()


def test_masks_pair_by_stem_not_by_order(dummy_mvtec: Build, put_image: Put, disc_mask: np.ndarray) -> None:
    root = dummy_mvtec("bottle", defects={"dent": 3})
    truth = root / "ground_truth" / "dent"
    (truth / "000_mask.png").unlink()
    put_image(truth / "000.bmp", disc_mask)  # same stem, another ending; sorts elsewhere
    pairs = {r.path.stem: r.mask_path.name for r in read_data(root).defects() if r.mask_path}
    assert pairs == {"000": "000.bmp", "001": "001_mask.png", "002": "002_mask.png"}


def test_black_masks_of_good_images_are_left_alone(dummy_mvtec: Build, put_image: Put) -> None:
    root = dummy_mvtec("bottle")
    put_image(root / "ground_truth" / "good" / "000_mask.png", np.zeros((48, 64), np.uint8))
    assert len(read_data(root).defects()) == 6


def test_all_pairing_problems_are_listed(dummy_mvtec: Build, put_image: Put, disc_mask: np.ndarray) -> None:
    root = dummy_mvtec("bottle", defects={"dent": 6})
    truth = root / "ground_truth"
    (truth / "dent" / "000_mask.png").unlink()
    put_image(truth / "dent" / "099_mask.png", disc_mask)
    put_image(truth / "dent" / "004.png", disc_mask)
    put_image(truth / "rust" / "000_mask.png", disc_mask)
    with pytest.raises(DataError) as caught:
        read_data(root)
    text = str(caught.value)
    assert "test/dent/000.png: no mask named 000_mask.png" in text
    assert "ground_truth/dent/099_mask.png: a mask without an image" in text
    assert "test/dent/004.png: several masks" in text
    assert "ground_truth/rust/000_mask.png: a mask without an image" in text


def test_reading_opens_no_mask(dummy_mvtec: Build) -> None:
    root = dummy_mvtec("bottle")
    (root / "ground_truth" / "dent" / "000_mask.png").write_text("no image")
    assert len(read_data(root).defects()) == len(read_base_set(root).records) == 6


def test_two_images_of_one_stem(dummy_mvtec: Build, put_image: Put, rgb_image: np.ndarray) -> None:
    root = dummy_mvtec("bottle")
    put_image(root / "test" / "dent" / "000.jpg", rgb_image)
    with pytest.raises(DataError, match="several images of one stem"):
        read_data(root)


def test_problem_list_is_cut(dummy_mvtec: Build) -> None:
    root = dummy_mvtec("bottle", defects={"dent": 14})
    for path in (root / "ground_truth" / "dent").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"009\.png: no mask.*\n  \.\.\. and 4 more$"):
        read_data(root)


def test_half_an_mvtec_layout(dummy_mvtec: Build, tmp_path: Path) -> None:
    root = dummy_mvtec("bottle", train=0)
    with pytest.raises(DataError, match="looks like MVTec AD layout but has no train/good"):
        read_data(root)
    (root / "train" / "good" / "rgb").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no image; it looks like MVTec 3D-AD without its depth: put the xyz/"):
        read_data(root)


def test_read_many(tmp_path: Path, dummy_mvtec: Build, dummy_folder: Build) -> None:
    roots = [dummy_mvtec("a/bottle"), dummy_folder("b/parts")]
    folder = read_many(roots)
    assert (folder.root, folder.layout) == (tmp_path, "mixed")
    assert folder.categories == ("bottle", "parts")
    assert folder.records[0].relative == "a/bottle/train/good/000.png"
    assert folder.records[-1].relative == "b/parts/img2.png"
    assert read_many(roots[:1]) == read_data(roots[0])
    assert read_many([roots[0], dummy_mvtec("a/cable")]).layout == "mvtec_ad"


def test_read_many_refuses_overlaps(tmp_path: Path, dummy_mvtec: Build, dummy_folder: Build) -> None:
    bottle = dummy_mvtec("a/bottle")
    with pytest.raises(DataError, match="at least one"):
        read_many([])
    with pytest.raises(DataError, match="inside"):
        read_many([bottle, tmp_path / "a"])
    with pytest.raises(DataError, match="inside"):
        read_many([bottle, bottle])
    with pytest.raises(DataError, match=r"category 'bottle' is in .* and in"):
        read_many([bottle, dummy_folder("b/bottle")])


def test_base_set_in_mvtec_layout(dummy_mvtec: Build) -> None:
    root = dummy_mvtec("bottle")
    folder = read_base_set(root, category="flask")
    assert folder.categories == ("flask",)
    assert len(folder.records) == len(folder.defects()) == 6
    assert {record.split for record in folder.records} == {"train"}
    with pytest.raises(DataError, match="no defect image"):
        read_base_set(dummy_mvtec("plain", defects={}))


def test_base_set_may_lack_good_images(tmp_path: Path, dummy_mvtec: Build) -> None:
    one = dummy_mvtec("one", train=0, test=0)
    (one / "dataset.json").write_text('{"format": 1}')
    (one / "manifest.jsonl").write_text("")
    folder = read_base_set(one)
    assert (folder.layout, folder.categories, len(folder.records)) == ("mvtec_ad", ("one",), 6)
    assert folder.ignored == ("dataset.json", "manifest.jsonl")
    with pytest.raises(DataError, match=r"one looks like MVTec AD layout but has no train/good; .*--normals"):
        read_data(one)

    for name in ("a", "b"):
        dummy_mvtec(f"many/{name}", train=0, test=0)
    many = tmp_path / "many"
    assert read_base_set(many).categories == ("a", "b")
    with pytest.raises(DataError, match=r"without train/good \(a, b\); .*--normals"):
        read_data(many)


@pytest.mark.parametrize("files", OUTPUTS)
def test_outputs_inside_the_data_are_not_read(
    tmp_path: Path, dummy_folder: Build, dummy_mvtec: Build, put_image: Put, rgb_image: np.ndarray, files: dict
) -> None:
    def put_output(folder: Path) -> None:
        put_image(folder / "samples" / "000.png", rgb_image)
        dummy_mvtec((folder / "cat").relative_to(tmp_path).as_posix())
        for name, text in files.items():
            (folder / name).write_text(text)

    data = dummy_folder("parts")
    before = _names(read_data(data))
    put_output(data / "deep" / "out")
    found = read_data(data)
    assert _names(found) == before
    assert found.ignored == ("deep/out",)

    bottle = dummy_mvtec("set/bottle")
    expected = _names(read_data(bottle))
    put_output(bottle / "out")
    put_output(bottle / "test" / "out")
    put_output(tmp_path / "set" / "out")
    assert _names(read_data(bottle)) == expected
    assert set(read_data(bottle).ignored) == {"out", "test/out"}
    whole = read_data(tmp_path / "set")
    assert (whole.categories, "out" in whole.ignored) == (("bottle",), True)

    put_output(tmp_path / "alone" / "out")
    with pytest.raises(DataError, match=r"holds no image; .*generated sets and training runs: out"):
        read_data(tmp_path / "alone")


def test_folders_with_other_files_of_those_names_are_read(
    tmp_path: Path, put_image: Put, rgb_image: np.ndarray
) -> None:
    for name, text in (("a", "{}"), ("b", "no json"), ("c", "[1]")):
        put_image(tmp_path / "set" / name / "x.png", rgb_image)
        (tmp_path / "set" / name / "dataset.json").write_text(text)
    put_image(tmp_path / "set" / "d" / "x.png", rgb_image)
    (tmp_path / "set" / "d" / "manifest.jsonl").write_text("")
    assert _names(read_data(tmp_path / "set")) == ["a/x.png", "b/x.png", "c/x.png", "d/x.png"]
    (tmp_path / "set" / "dataset.json").write_text('{"format": 1}')  # the root itself is always read
    assert len(read_data(tmp_path / "set").records) == 4


def test_base_set_of_defect_folders(
    tmp_path: Path, rgb_image: np.ndarray, disc_mask: np.ndarray, put_image: Put
) -> None:
    root = tmp_path / "real"
    for defect, stem in (("dent", "a"), ("dent", "b"), ("rust", "a")):
        put_image(root / defect / f"{stem}.jpg", rgb_image)
        put_image(root / defect / f"{stem}_mask.png", disc_mask)
    folder = read_base_set(root)
    assert (folder.layout, folder.categories) == ("defect_folders", ("real",))
    assert _names(folder) == ["dent/a.jpg", "dent/b.jpg", "rust/a.jpg"]
    assert folder.records[2].mask_path == root / "rust" / "a_mask.png"
    (root / "dent" / "b_mask.png").unlink()
    with pytest.raises(DataError, match=r"dent/b\.jpg: no mask named b_mask\.png"):
        read_base_set(root)


def test_base_set_of_images_and_masks(
    tmp_path: Path, rgb_image: np.ndarray, disc_mask: np.ndarray, put_image: Put
) -> None:
    root = tmp_path / "real"
    for stem in ("x", "y"):
        put_image(root / "images" / f"{stem}.jpg", rgb_image)
        put_image(root / "masks" / f"{stem}.png", disc_mask)
    folder = read_base_set(root, category="bottle")
    assert (folder.layout, folder.categories) == ("images_masks", ("bottle",))
    assert [(r.defect, r.mask_path) for r in folder.records][1] == ("defect", root / "masks" / "y.png")
    (root / "images" / "x.jpg").unlink()
    with pytest.raises(DataError, match=r"masks/x\.png: a mask without an image"):
        read_base_set(root)


def test_base_set_of_no_layout(dummy_folder: Build, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a base set"):
        read_base_set(dummy_folder("parts"))
    (tmp_path / "only").mkdir()
    dummy_folder("only/good")
    with pytest.raises(DataError, match="a folder named good"):
        read_base_set(tmp_path / "only")


@pytest.mark.parametrize(
    ("name", "train", "test", "defects"),
    [("mvtec_ad_bottle", 209, 20, 63), ("mvtec_3d_tire", 210, 25, 87), ("magnetic_tile", 761, 191, 388)],
)
def test_shared_sets(shared_dir: Path, name: str, train: int, test: int, defects: int) -> None:
    folder = read_data(shared_dir / "data" / name)
    found = [len(folder.normals()), len(folder.normals(split="test")), len(folder.defects())]
    assert found == [train, test, defects]
