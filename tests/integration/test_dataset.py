"""The data set: what its items are, that they are those of `generate`, and that workers change nothing."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from anomalyhybrid.errors import ConfigError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.integration import GeneratedDefects, Item
from anomalyhybrid.recipes.generation import generate

Build = Callable[..., GeneratedDefects]


@pytest.fixture(scope="session")
def build(tiny_run: Path, products: Path, maps_cache: Path) -> Build:
    """``build("nut", good=2, base_set=..., count=6, ...)``."""

    def made(*names: str, good: int = 0, base: bool = False, **settings: object) -> GeneratedDefects:
        config = GenerateConfig(**({"count": 6, "max_attempts": 2} | settings))  # type: ignore[arg-type]
        base_set = (products,) if base and not names else tuple(products / name for name in names) if base else ()
        data = [products / name for name in names] or products
        cache = maps_cache / "conditions"
        return GeneratedDefects(tiny_run, data, base_set=base_set, config=config, good=good, cache=cache)

    return made


def same(first: Item, second: Item) -> bool:
    """Whether two items agree in everything, tensors bit for bit."""
    return all(
        torch.equal(value, second[key]) if isinstance(value, torch.Tensor) else value == second[key]
        for key, value in first.items()
    )


@pytest.mark.parametrize("base", [False, True])
def test_outside_the_mask_an_item_is_its_target(build: Build, base: bool) -> None:
    data = build("nut", base=base, per_image=(1, 2))
    for item in (data[index] for index in range(len(data))):
        image, mask, target = item["image"], item["label_mask"], item["target"]
        assert image.shape == target.shape == (3, 64, 64)
        assert image.dtype == mask.dtype == target.dtype == torch.float32
        assert mask.shape == (1, 64, 64)
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(image * (1 - mask), target * (1 - mask))
        assert ((image != target).any(dim=0) & (mask[0] > 0)).any()
        assert item["label"] == 1
        assert image.min() >= 0
        assert image.max() <= 1
        assert torch.equal((image * 255).round() / 255, image)  # steps of 1/255, as from a file


@pytest.mark.parametrize("settings", [{}, {"base": True, "procedural": 0.3}, {"composition": "full"}])
def test_the_first_epoch_is_what_generate_writes(
    build: Build, tiny_run: Path, products: Path, maps_cache: Path, tmp_path: Path, settings: dict
) -> None:
    config = GenerateConfig(
        **{"count": 6, "normals": 3, "normals_as": "both", "max_attempts": 2, "batch_size": 1}
        | {key: value for key, value in settings.items() if key != "base"}  # type: ignore[arg-type]
    )
    base_set = (products / "nut",) if settings.get("base") else ()
    generate(
        str(tiny_run), [products / "nut"], tmp_path / "set", base_set=base_set, config=config,
        cache=maps_cache / "conditions", announce=lambda text: None,
    )  # fmt: skip
    data = build("nut", **({"normals": 3, "normals_as": "both"} | settings))
    rows = {row["id"]: row for row in map(json.loads, (tmp_path / "set/manifest.jsonl").read_text().splitlines())}
    assert len(data) == len(rows) == 9
    for item in (data[index] for index in range(len(data))):
        row = rows[item["id"]]
        assert (item["defect"], item["category"], item["accepted"]) == (row["defect"], "nut", row["accepted"])
        image = cv2.imread(str(tmp_path / "set" / row["image"]), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
        shown = (item["image"] * 255).round().permute(1, 2, 0).numpy().astype(int)
        assert abs(image - shown).max() <= 1
        if row["label_mask"] is None:
            assert item["label"] == 0
            assert item["label_mask"].sum() == 0
        else:
            mask = cv2.imread(str(tmp_path / "set" / row["label_mask"]), cv2.IMREAD_GRAYSCALE) > 0
            assert np.array_equal(mask, item["label_mask"][0].numpy() > 0)


def test_an_epoch_goes_on_where_the_last_ended(build: Build) -> None:
    short, long = build("nut", count=2, normals=1), build("nut", count=6, normals=3)
    short.set_epoch(2)
    assert same(short[1], long[5])
    assert same(short[2], long[8])
    short.set_epoch(0)
    assert same(short[1], long[1])
    assert not torch.equal(short[0]["image"], long[4]["image"])


def batches(data: GeneratedDefects, workers: int, epochs: int = 2) -> list[dict]:
    loader = DataLoader(data, batch_size=3, num_workers=workers, persistent_workers=workers > 0)
    found = []
    for epoch in range(epochs):
        data.set_epoch(epoch)
        found += list(loader)
    data.set_epoch(0)
    return found


def test_workers_change_nothing(build: Build) -> None:
    data = build("nut", count=3, normals=1, good=1, base=True, procedural=0.3)
    alone = batches(data, 0)
    assert [batch["label"].tolist() for batch in alone] == [[1, 1, 1], [0, 0]] * 2
    assert alone[0]["id"] != alone[2]["id"]  # workers that stay alive see the next epoch
    for workers in (1, 2):
        for first, second in zip(alone, batches(data, workers), strict=True):
            assert same(first, second)  # type: ignore[arg-type]


def test_a_copy_by_pickle_gives_the_same(build: Build) -> None:
    data = build("nut", base=True)
    copy = pickle.loads(pickle.dumps(data))
    assert all(same(data[index], copy[index]) for index in (0, 4))


def test_items_made_together_keep_their_places(build: Build) -> None:
    data = build(count=3, normals=1, good=2, batch_size=2)
    order = [11, 0, 7, 3, 5, 2, 8, 1]
    together, alone = data._made(order), [data[index] for index in order]  # what a GPU does, here on the CPU
    for first, second in zip(together, alone, strict=True):
        assert [first[key] for key in ("id", "defect", "category", "label", "accepted")] == [
            second[key] for key in ("id", "defect", "category", "label", "accepted")
        ]
        assert torch.equal(first["label_mask"], second["label_mask"])
        assert (first["image"] - second["image"]).abs().max() <= 1.01 / 255
    assert all(same(*pair) for pair in zip(data.__getitems__(order), alone, strict=True))


def test_sorts_and_categories_follow_each_other(build: Build) -> None:
    data = build(count=2, normals=1, good=6)
    assert len(data) == 2 * 9
    items = [data[index] for index in range(9, 18)]
    assert {item["category"] for item in items} == {"nut"}
    assert [item["label"] for item in items] == [1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert [item["id"] for item in items[:3]] == ["nut_000000", "nut_000001", "nut_n000000"]
    untouched = items[3:]
    assert all(torch.equal(item["image"], item["target"]) for item in untouched)
    assert torch.equal(untouched[0]["image"], untouched[4]["image"])  # four good images take turns
    assert len({item["image"].sum().item() for item in untouched[:4]}) == 4
    assert same(data[-1], data[17])


def test_a_taxonomy_names_the_defects(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "defects.toml"
    path.write_text('[dented]\nkinds = ["dent"]\nforeign = 0.0\n[scored]\nkinds = ["scratch"]\nforeign = 0.0\n')
    data = build("nut", count=4, taxonomy=str(path))
    assert [data[index]["defect"] for index in range(4)] == ["dented", "scored"] * 2


def test_nothing_is_written(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = build("nut", count=2, normals=1, good=1)
    assert len(list(data)) == 4
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_is_said(build: Build, tiny_run: Path, products: Path) -> None:
    data = build("nut", count=2)
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"index {index} of a data set of 2"):
            data[index]
    with pytest.raises(ConfigError, match="epoch is -1"):
        data.set_epoch(-1)
    with pytest.raises(ConfigError, match="good is -1"):
        build("nut", good=-1)
    with pytest.raises(ConfigError, match="'warp' is not known; give 'cpu' or 'cuda'"):
        GeneratedDefects(tiny_run, products, device="warp")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="PyTorch sees no GPU"):
            GeneratedDefects(tiny_run, products, device="cuda")
