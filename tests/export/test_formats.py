"""Each format read back by a strict parser of its own: the exact file set, images bit for bit, masks identical."""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from exported_sets import contents, mask_of, rows_of, write_set

from anomalyhybrid.data.reading import read_data

Export = Callable[..., tuple]
FORMATS = ("mvtec", "visa", "coco", "yolo", "anomalib", "imagefolder", "webdataset")


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def decode(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("format", FORMATS)
def test_same_set_same_bytes(two_products: Path, exported: Export, format: str) -> None:
    before = contents(two_products)
    first, said = exported(two_products, format, "first")
    second, _ = exported(two_products, format, "second")
    assert contents(first) == contents(second)
    assert contents(two_products) == before
    assert (said.defects, said.good, said.left_out, said.categories) == (5, 4, 2, ("nut", "bolt"))
    record = json.loads((first / "export.json").read_text())
    assert record["config"]["format"] == format
    assert not list(first.parent.glob(".tmp-*"))
    assert str(two_products.parent) not in "".join(
        text.decode(errors="replace") for name, text in contents(first).items() if not name.endswith((".png", ".tar"))
    )


@pytest.mark.parametrize("format", FORMATS)
def test_rejected_images_are_taken_on_request(two_products: Path, exported: Export, format: str) -> None:
    _, said = exported(two_products, format, all=True)
    assert (said.defects, said.left_out) == (7, 0)


@pytest.mark.parametrize("kind", ["rgb8", "grey8", "grey16", "rgba8"])
def test_mvtec(tmp_path: Path, exported: Export, kind: str) -> None:
    dataset = write_set(tmp_path / "set", {"nut": ["dent", "scratch", "dent"]}, kind=kind)
    out, _ = exported(dataset, "mvtec")
    source = contents(dataset)
    expected = {}
    for row in rows_of(dataset):
        expected[f"nut/{row['image']}"] = source[row["image"]]
        if row["label_mask"]:
            expected[f"nut/{row['label_mask']}"] = source[row["label_mask"]]
    found = contents(out)
    del found["export.json"]
    assert found == expected


def test_mvtec_is_read_by_our_own_reader(two_products: Path, exported: Export) -> None:
    out, _ = exported(two_products, "mvtec")
    data = read_data(out)
    masks = {record.path.stem: record.mask_path for record in data.records}
    assert set(masks) == {row["id"] for row in rows_of(two_products)}
    for row in rows_of(two_products):
        path = masks[row["id"]]
        assert (path is None) == (row["label_mask"] is None)
        if path is not None:
            assert np.array_equal(decode(path.read_bytes()) > 0, mask_of(two_products, row))


def test_good_images_of_the_test_side_stay_there(tmp_path: Path, exported: Export) -> None:
    dataset = write_set(tmp_path / "set", {"nut": ["dent"]}, good=1, rejected=0)
    (dataset / "test" / "good").mkdir()
    (dataset / "train/good/nut_n000000.png").rename(dataset / "test/good/nut_n000000.png")
    text = (dataset / "manifest.jsonl").read_text().replace('"train/good/nut_n', '"test/good/nut_n')
    (dataset / "manifest.jsonl").write_text(text)
    assert (exported(dataset, "mvtec", "a")[0] / "nut/test/good/nut_n000000.png").is_file()
    out, _ = exported(dataset, "anomalib", "b")
    arguments = yaml.safe_load((out / "nut/folder.yaml").read_text())["init_args"]
    assert arguments["normal_test_dir"] == "test/good"
    assert "normal_dir" not in arguments
    rows = read_csv(exported(dataset, "visa", "c")[0] / "split_csv/1cls.csv")
    assert [(row["split"], row["label"]) for row in rows] == [("test", "anomaly"), ("test", "normal")]


def test_visa(two_products: Path, exported: Export) -> None:
    out, _ = exported(two_products, "visa")
    found, source = contents(out), contents(two_products)
    rows = read_csv(out / "split_csv" / "1cls.csv")
    assert list(rows[0]) == ["object", "split", "label", "image", "mask"]
    kept = rows_of(two_products)
    for row, listed in zip(kept, rows, strict=True):
        good = row["defect"] == "good"
        side = "Normal" if good else "Anomaly"
        assert listed["object"] == row["category"]
        assert (listed["split"], listed["label"]) == (("train", "normal") if good else ("test", "anomaly"))
        assert listed["image"] == f"{row['category']}/Data/Images/{side}/{row['id']}.png"
        assert found.pop(listed["image"]) == source[row["image"]]
        assert listed["mask"] == ("" if good else f"{row['category']}/Data/Masks/Anomaly/{row['id']}.png")
        assert good or found.pop(listed["mask"]) == source[row["label_mask"]]
    notes = [note for category in ("nut", "bolt") for note in read_csv(out / category / "image_anno.csv")]
    labels = ["normal" if row["defect"] == "good" else row["defect"] for row in kept]
    assert [note["label"] for note in notes] == labels
    assert set(found) == {"export.json", "split_csv/1cls.csv", "nut/image_anno.csv", "bolt/image_anno.csv"}


@pytest.mark.parametrize("segmentation", ["rle", "polygon"])
def test_coco(two_products: Path, exported: Export, segmentation: str) -> None:
    out, _ = exported(two_products, "coco", segmentation=segmentation)
    for category, names in (("nut", ["dent", "dent_long", "scratch"]), ("bolt", ["dent"])):
        content = json.loads((out / category / "annotations" / "instances_default.json").read_text())
        kept = rows_of(two_products, category)
        assert [entry["name"] for entry in content["categories"]] == names
        assert [entry["id"] for entry in content["categories"]] == list(range(1, len(names) + 1))
        assert [entry["file_name"] for entry in content["images"]] == [f"{row['id']}.png" for row in kept]
        assert {path.name for path in (out / category / "images").iterdir()} == {f"{row['id']}.png" for row in kept}
        ids = [entry["id"] for entry in content["annotations"]]
        assert ids == list(range(1, len(ids) + 1))
        for row, entry in zip(kept, content["images"], strict=True):
            mask = mask_of(two_products, row)
            assert (entry["height"], entry["width"]) == mask.shape
            assert (out / category / "images" / entry["file_name"]).read_bytes() == (
                two_products / row["image"]
            ).read_bytes()
            own = [note for note in content["annotations"] if note["image_id"] == entry["id"]]
            count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
            boxes = sorted((*note["bbox"], note["area"]) for note in own)
            assert boxes == sorted(map(tuple, stats[1:count].tolist()))
            for note in own:
                assert names[note["category_id"] - 1] == row["defect"]
                assert note["iscrowd"] == 0
                if segmentation == "polygon":
                    assert all(len(polygon) % 2 == 0 and len(polygon) >= 8 for polygon in note["segmentation"])
                else:
                    assert sum(note["segmentation"]["counts"]) == mask.size
                    assert sum(note["segmentation"]["counts"][1::2]) == note["area"]


def read_yolo(folder: Path, side: str, name: str, shape: tuple[int, int], classes: int) -> dict[int, np.ndarray]:
    """Bool mask of each class, drawn as ultralytics draws polygons."""
    masks = {number: np.zeros(shape, np.uint8) for number in range(classes)}
    for line in (folder / "labels" / side / f"{name}.txt").read_text().splitlines():
        number, *values = line.split(" ")
        corners = np.array(values, float).reshape(-1, 2)
        assert len(corners) >= 3
        assert ((corners > 0) & (corners < 1)).all()
        assert np.ptp(corners, axis=0).min() > 0, "a box of no area is dropped by ultralytics"
        cv2.fillPoly(masks[int(number)], [(corners * [shape[1], shape[0]]).astype(np.int32)], 1)
    return {number: mask > 0 for number, mask in masks.items()}


def test_yolo(two_products: Path, exported: Export) -> None:
    out, _ = exported(two_products, "yolo", val_share=0.3)
    for category, names in (("nut", ["dent", "dent_long", "scratch"]), ("bolt", ["dent"])):
        folder = out / category
        settings = yaml.safe_load((folder / "data.yaml").read_text())
        assert settings == {"train": "images/train", "val": "images/val", "names": dict(enumerate(names))}
        kept = rows_of(two_products, category)
        sides = {side: {p.stem for p in (folder / "images" / side).iterdir()} for side in ("train", "val")}
        assert not sides["train"] & sides["val"]
        assert sides["train"] | sides["val"] == {row["id"] for row in kept}
        assert len(sides["val"]) >= 0.3 * len(kept)
        targets = [{row["target"] for row in kept if row["id"] in found} for found in sides.values()]
        assert not targets[0] & targets[1], "images of one target are on one side"
        for row in kept:
            side = "val" if row["id"] in sides["val"] else "train"
            source = (two_products / row["image"]).read_bytes()
            assert (folder / "images" / side / f"{row['id']}.png").read_bytes() == source
            mask = mask_of(two_products, row)
            drawn = read_yolo(folder, side, row["id"], (mask.shape[0], mask.shape[1]), len(names))
            for number, name in enumerate(names):
                assert np.array_equal(drawn[number], mask & (name == row["defect"]))


def test_yolo_without_validation_says_so(two_products: Path, exported: Export) -> None:
    out, _ = exported(two_products, "yolo", val_share=0.0)
    text = (out / "nut" / "data.yaml").read_text()
    assert yaml.safe_load(text)["val"] == "images/train"
    assert "--val-share 0" in text
    assert not (out / "nut" / "images" / "val").exists()


def test_anomalib(two_products: Path, exported: Export) -> None:
    out, _ = exported(two_products, "anomalib")
    nut = out / "nut"
    settings = yaml.safe_load((nut / "folder.yaml").read_text())
    assert settings["class_path"] == "anomalib.data.Folder"
    assert settings["init_args"] == {
        "root": ".",
        "name": "nut",
        "normal_dir": "train/good",
        "abnormal_dir": ["test/dent", "test/dent_long", "test/scratch"],
        "mask_dir": ["ground_truth/dent", "ground_truth/dent_long", "ground_truth/scratch"],
    }
    for row, listed in zip(rows_of(two_products, "nut"), read_csv(nut / "samples.csv"), strict=True):
        good = row["defect"] == "good"
        assert (listed["label_index"], listed["split"]) == (("0", "train") if good else ("1", "test"))
        assert (nut / listed["image_path"]).read_bytes() == (two_products / row["image"]).read_bytes()
        assert (listed["mask_path"] == "") == good
        if not good:
            assert (nut / listed["mask_path"]).read_bytes() == (two_products / row["label_mask"]).read_bytes()
            assert Path(listed["mask_path"]).name == Path(listed["image_path"]).name


def test_imagefolder(two_products: Path, exported: Export) -> None:
    out, _ = exported(two_products, "imagefolder")
    card = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
    assert [entry["config_name"] for entry in card["configs"]] == ["nut", "bolt"]
    for category in ("nut", "bolt"):
        lines = [json.loads(line) for line in (out / category / "metadata.jsonl").read_text().splitlines()]
        for row, line in zip(rows_of(two_products, category), lines, strict=True):
            assert (out / category / line["file_name"]).read_bytes() == (two_products / row["image"]).read_bytes()
            mask = decode((out / category / line["mask_file_name"]).read_bytes())
            assert set(np.unique(mask)) <= {0, 255}
            assert np.array_equal(mask > 0, mask_of(two_products, row))
            assert (line["label"], line["is_anomalous"]) == (row["defect"], row["defect"] != "good")
            for name in ("id", "target", "seed", "operation", "accepted", "model_sha256"):
                assert line[name] == row[name]
            assert not {"image", "label_mask"} & set(line)


def test_webdataset(two_products: Path, exported: Export) -> None:
    out, _ = exported(two_products, "webdataset", shard_size=4)
    assert {path.name for path in (out / "nut").iterdir()} == {"shard-000000.tar", "shard-000001.tar"}
    assert {path.name for path in (out / "bolt").iterdir()} == {"shard-000000.tar"}
    members: dict[str, bytes] = {}
    order: list[str] = []
    for number in (0, 1):
        with tarfile.open(out / "nut" / f"shard-{number:06d}.tar") as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid, member.uname, member.mode) == (0, 0, 0, "", 0o644)
                order.append(member.name)
                members[member.name] = tar.extractfile(member).read()  # type: ignore[union-attr]
    keys = [name.partition(".")[0] for name in order]
    assert keys == [key for key in dict.fromkeys(keys) for _ in range(3)], "members of a sample lie together"
    kept = rows_of(two_products, "nut")
    assert set(keys) == {row["id"] for row in kept}
    for row in kept:
        assert members[f"{row['id']}.image.png"] == (two_products / row["image"]).read_bytes()
        assert np.array_equal(decode(members[f"{row['id']}.mask.png"]) > 0, mask_of(two_products, row))
        about = json.loads(members[f"{row['id']}.json"])
        assert (about["id"], about["label"], about["seed"]) == (row["id"], row["defect"], row["seed"])


def test_dots_in_names_do_not_cut_keys(tmp_path: Path, exported: Export) -> None:
    dataset = write_set(tmp_path / "set", {"nut.v2": ["dent"]}, good=0, rejected=0)
    out, _ = exported(dataset, "webdataset")
    with tarfile.open(out / "nut.v2" / "shard-000000.tar") as tar:
        assert tar.getnames() == [f"nut_v2_000000.{ending}" for ending in ("image.png", "mask.png", "json")]


def test_hybrids_have_no_masks(tmp_path: Path, exported: Export) -> None:
    dataset = write_set(tmp_path / "set", {"moth": ["hybrid", "hybrid"]}, rejected=0, hybrids=True)
    out, _ = exported(dataset, "imagefolder", "a")
    assert not (out / "moth" / "masks").exists()
    assert "mask_file_name" not in (out / "moth" / "metadata.jsonl").read_text()
    out, _ = exported(dataset, "webdataset", "b")
    with tarfile.open(out / "moth" / "shard-000000.tar") as tar:
        assert not [name for name in tar.getnames() if "mask" in name]
