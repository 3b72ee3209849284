"""Each export opened by the tool that it is for; tests of tools that are not installed are skipped."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import yaml
from exported_sets import mask_of, rows_of, write_set

Export = Callable[..., tuple]


def by_id(dataset: Path, category: str) -> dict[str, dict]:
    return {row["id"]: row for row in rows_of(dataset, category)}


@pytest.mark.parametrize("segmentation", ["rle", "polygon"])
def test_pycocotools(two_products: Path, exported: Export, segmentation: str) -> None:
    api = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    out, _ = exported(two_products, "coco", segmentation=segmentation)
    for category in ("nut", "bolt"):
        coco = api.COCO(str(out / category / "annotations" / "instances_default.json"))
        rows = by_id(two_products, category)
        assert len(coco.getImgIds()) == len(rows)
        for image in coco.loadImgs(coco.getImgIds()):
            row = rows[Path(image["file_name"]).stem]
            notes = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
            mask = np.zeros((image["height"], image["width"]), bool)
            for note in notes:
                mask |= coco.annToMask(note) > 0
                assert coco.loadCats(note["category_id"])[0]["name"] == row["defect"]
            assert np.array_equal(mask, mask_of(two_products, row))


def test_webdataset(two_products: Path, exported: Export) -> None:
    wds = pytest.importorskip("webdataset", reason="webdataset is not installed")
    out, _ = exported(two_products, "webdataset", shard_size=4)
    shards = sorted(str(path) for path in (out / "nut").glob("*.tar"))
    reader = wds.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("image.png", "mask.png", "json")
    rows, seen = by_id(two_products, "nut"), []
    for image, mask, about in reader:
        row = rows[about["id"]]
        seen.append(about["id"])
        assert np.array_equal(np.asarray(image.convert("RGB"))[..., ::-1], cv2.imread(str(two_products / row["image"])))
        assert np.array_equal(np.asarray(mask.convert("L")) > 0, mask_of(two_products, row))
    assert sorted(seen) == sorted(rows)


def test_datasets(two_products: Path, exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("HF_HUB_OFFLINE", "1"), ("HF_HOME", str(tmp_path / "home"))):
        monkeypatch.setenv(name, value)
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    out, _ = exported(two_products, "imagefolder")
    for category in ("nut", "bolt"):
        loaded = datasets.load_dataset(str(out), category, cache_dir=str(tmp_path / "cache"))
        assert list(loaded) == ["train"]
        rows = by_id(two_products, category)
        assert sorted(loaded["train"]["id"]) == sorted(rows)
        for entry in loaded["train"]:
            row = rows[entry["id"]]
            assert entry["label"] == row["defect"]
            assert entry["seed"] == row["seed"]
            pixels = np.asarray(entry["image"].convert("RGB"))[..., ::-1]
            assert np.array_equal(pixels, cv2.imread(str(two_products / row["image"])))
            assert np.array_equal(np.asarray(entry["mask"]) > 0, mask_of(two_products, row))


def test_ultralytics(two_products: Path, exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    utils = pytest.importorskip("ultralytics.data.utils", reason="ultralytics is not installed")
    out, _ = exported(two_products, "yolo", val_share=0.3)
    rows = by_id(two_products, "nut")
    settings = utils.check_det_dataset(str(out / "nut" / "data.yaml"), autodownload=False)
    assert settings["names"] == {0: "dent", 1: "dent_long", 2: "scratch"}
    seen = []
    for side in ("train", "val"):
        for path in sorted(Path(settings[side]).iterdir()):
            (label,) = utils.img2label_paths([str(path)])
            _, boxes, shape, segments, _, missing, found, empty, corrupt, message = utils.verify_image_label(
                (str(path), label, "", False, 3, 0, 0, False)
            )
            row = rows[path.stem]
            seen.append(path.stem)
            assert (missing, found, empty, corrupt, message) == (0, 1, int(row["defect"] == "good"), 0, "")
            assert len(boxes) == len(segments)
            mask = np.zeros(shape, bool)
            for segment in segments:
                corners = (segment * [shape[1], shape[0]]).reshape(1, -1)
                mask |= utils.polygon2mask(shape, corners) > 0
            assert np.array_equal(mask, mask_of(two_products, row))
            assert not len(boxes) or boxes[:, 3:].min() > 0
    assert sorted(seen) == sorted(rows)


def _check_samples(samples: object, dataset: Path, category: str) -> None:
    """Compare an anomalib table of samples with a set."""
    rows = by_id(dataset, category)
    records = samples.to_dict("records")  # type: ignore[attr-defined]
    assert sorted(Path(record["image_path"]).stem for record in records) == sorted(rows)
    for record in records:
        row = rows[Path(record["image_path"]).stem]
        assert record["label_index"] == int(row["defect"] != "good")
        assert (not record["mask_path"]) == (row["label_mask"] is None)
        if record["mask_path"]:
            mask = cv2.imread(record["mask_path"], cv2.IMREAD_GRAYSCALE)
            assert np.array_equal(mask > 0, mask_of(dataset, row))


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("exported_datamodules", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _all_samples(module: object) -> object:
    import pandas

    module.setup()  # type: ignore[attr-defined]
    parts = [
        getattr(module, f"{side}_data").samples for side in ("train", "val", "test")
    ]  # val: some of test, or it all
    return pandas.concat(parts).drop_duplicates("image_path")


def test_anomalib_folder_and_tabular(tmp_path: Path, exported: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pytest.importorskip("anomalib.data", reason="anomalib is not installed")
    dataset = write_set(tmp_path / "set", {"nut": ["dent", "scratch", "dent_long", "dent"]}, rejected=0)
    out, _ = exported(dataset, "anomalib")
    few = {"num_workers": 0, "train_batch_size": 2, "eval_batch_size": 2}
    made = _load(out / "nut" / "datamodules.py")
    for module in (made.folder(**few), made.tabular(**few)):
        _check_samples(_all_samples(module), dataset, "nut")
        (batch, *_) = module.test_dataloader()
        assert batch.gt_mask.any()
    monkeypatch.chdir(out / "nut")
    settings = yaml.safe_load(Path("folder.yaml").read_text())
    assert settings["class_path"] == "anomalib.data.Folder"
    _check_samples(_all_samples(data.Folder(**settings["init_args"], **few)), dataset, "nut")


def test_anomalib_mvtec_and_visa(tmp_path: Path, exported: Export) -> None:
    data = pytest.importorskip("anomalib.data", reason="anomalib is not installed")
    defects = {"capsules": ["dent", "scratch"], "candle": ["dent", "dent"]}  # its Visa knows VisA's names alone
    dataset = write_set(tmp_path / "set", defects, rejected=0)
    trees = {"mvtec": data.MVTecAD, "visa": data.Visa}
    for format, kind in trees.items():
        out, _ = exported(dataset, format, format)
        for category in defects:
            module = kind(root=str(out), category=category, num_workers=0)
            module.prepare_data()
            _check_samples(_all_samples(module), dataset, category)
