"""Training and generation in colour and depth, end to end on rendered parts with 16-bit and x, y, z depth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from anomalyhybrid.conditions.lite import lite_depth, lite_edge
from anomalyhybrid.conditions.measured import MeasuredDepth
from anomalyhybrid.data.depth_files import read_depth
from anomalyhybrid.data.loading import load_image, load_mask
from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.data.reading import read_base_set, read_data
from anomalyhybrid.data.records import DataFolder
from anomalyhybrid.errors import CheckpointError, ConfigError, DataError, WeightsError
from anomalyhybrid.generation.depth_config import DepthDefectConfig
from anomalyhybrid.generation.depth_rows import read_depth_rows
from anomalyhybrid.generation.manifest import read_rows
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import Generator, load_generator, save_generator
from anomalyhybrid.models.weights import shipped
from anomalyhybrid.recipes import depth_training
from anomalyhybrid.recipes.depth_generation import generate_depth
from anomalyhybrid.recipes.depth_sets import with_readable_depth
from anomalyhybrid.recipes.depth_training import sister_start, train_depth
from anomalyhybrid.recipes.sources import Sources
from anomalyhybrid.training import loop
from anomalyhybrid.training.config import TrainConfig

SIZE = 64
SMALL = {"width": 8, "downsamplings": 2, "max_width": 16, "blocks": 1}


def network(path: Path, gives: str, **about: str) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Generator(GeneratorConfig(**SMALL, gives=gives))  # type: ignore[arg-type]
    metadata = {"edge": "lite", "depth": "lite", "edge_name": lite_edge().name, "depth_name": lite_depth().name}
    save_generator(path, model, metadata | {"size": str(SIZE)} | about)
    return path


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    root = tmp_path_factory.mktemp("parts")
    write_dataset(
        root, product="nut", product_seed=1, seed=3, train_good=4, defects_per_kind=1, size=SIZE, with_depth=True
    )
    folder = read_data(root / "nut")
    assert all(record.depth_path is not None for record in folder.records)
    return folder


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("networks")
    return network(folder / "color.safetensors", "color"), network(folder / "maps.safetensors", "maps")


def sources(folder: DataFolder, *, base: bool = False) -> Sources:
    defects = folder.defects() if base else ()
    return Sources(root=folder.root, categories=folder.categories, normals=folder.normals(), base=defects)


def make(tmp: Path, networks: tuple[Path, Path], given: Sources, *, larger: bool = True, **settings) -> Path:
    words: list[str] = []
    resume, report = settings.pop("resume", False), settings.pop("report", None)
    generate_depth(
        str(networks[0]),
        str(networks[1]),
        given,
        tmp / "set",
        measured=MeasuredDepth(nearer_is_larger=larger),
        unit="levels",
        config=DepthDefectConfig(**({"count": 8, "batch_size": 4, "max_attempts": 2} | settings)),
        resume=resume,
        cache=tmp / "cache",
        announce=words.append,
        report=report,
    )
    return tmp / "set"


def check_contract(folder: Path, given: Sources, *, larger: bool) -> None:
    """Outside the label masks images and stored depth are the targets', bit for bit; inside, the sign is right."""
    by_name = {record.relative: record for record in given.normals}
    rows = {row.id: row for row in read_rows(folder)}
    depth_rows = read_depth_rows(folder)
    assert [row.id for row in depth_rows] == list(rows)
    for own in depth_rows:
        row, record = rows[own.id], by_name[rows[own.id].target]
        before, after = load_image(record.path).pixels, load_image(folder / row.image).pixels
        label = load_mask(folder / str(row.label_mask), shape=before.shape[:2])
        assert record.depth_path is not None
        old = read_depth(record.depth_path, nearer_is_larger=larger)
        new = read_depth(folder / own.depth, nearer_is_larger=larger)
        assert np.array_equal(before[~label], after[~label])
        assert new.raw.dtype == old.raw.dtype
        assert new.kind == old.kind == own.kind
        assert np.array_equal(new.raw[~label], old.raw[~label], equal_nan=new.raw.dtype.kind == "f")
        assert np.array_equal(new.valid, old.valid)
        if own.valid_share:
            assert own.requested_height * own.generated_height > 0
            toward = (new.values - old.values)[label & old.valid] * old.nearer_sign
            wanted = 1 if own.sign in ("protrusion", "flat") else -1
            assert (toward * wanted >= 0).all()
            assert np.abs(toward).max() == pytest.approx(abs(own.generated_height), rel=1e-4)
            assert own.generated_height == pytest.approx(own.requested_height, rel=0.05, abs=2.0)
        assert own.changed_outside == row.changed_outside == 0
        assert (folder / own.preview).is_file()


def test_pairs_in_16_bits(tmp_path: Path, parts: DataFolder, networks: tuple[Path, Path]) -> None:
    given = sources(parts, base=True)
    folder = make(tmp_path, networks, given, procedural=0.5)
    check_contract(folder, given, larger=True)
    about = json.loads((folder / "dataset.json").read_text())
    assert about["level"] == "depth"
    assert about["depth"]["unit"] == "levels"
    assert sum(about["summary"]["depth"]["profiles"].values()) == 8
    assert {path.name for path in folder.iterdir()} == {
        "dataset.json", "depth", "depth.jsonl", "ground_truth", "manifest.jsonl", "preview", "test",
    }  # fmt: skip
    read = read_base_set(folder).defects()  # the set itself is a base set with depth
    assert len(read) == 8
    assert all(record.depth_path is not None for record in read)


def test_a_killed_run_is_finished_to_the_same_set(
    tmp_path: Path, parts: DataFolder, networks: tuple[Path, Path]
) -> None:
    given = sources(parts)
    whole = make(tmp_path / "a", networks, given)
    part = make(tmp_path / "b", networks, given)
    lost = read_depth_rows(part)[5]
    (part / lost.depth).unlink()
    with pytest.raises(DataError, match="already holds"):
        make(tmp_path / "b", networks, given)
    with pytest.raises(DataError, match="another config"):
        make(tmp_path / "b", networks, given, resume=True, seed=1)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "b", networks, given, resume=True, report=stop)
    assert len({row.id for row in read_rows(part)}) >= 7, "a stopped resume loses no finished pair"
    make(tmp_path / "b", networks, given, resume=True)
    for path in sorted(p for p in whole.rglob("*") if p.is_file() and p.name != "dataset.json"):
        assert path.read_bytes() == (part / path.relative_to(whole)).read_bytes(), path


def cloud(folder: Path, parts: DataFolder) -> Sources:
    """The same parts as organised clouds in metres, with unmeasured points."""
    records = []
    for number, record in enumerate(parts.normals()):
        assert record.depth_path is not None
        near = read_depth(record.depth_path, nearer_is_larger=True).values / 65535
        rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
        xyz = np.stack([columns / 100, rows / 100, 0.6 - 0.1 * near], axis=2).astype(np.float32)
        xyz[::7, ::5] = 0
        path = folder / f"{number}.tiff"
        tifffile.imwrite(path, xyz, photometric="rgb")
        records.append(replace(record, depth_path=path))
    return Sources(root=folder, categories=parts.categories, normals=tuple(records), base=())


def test_clouds_keep_their_points(tmp_path: Path, parts: DataFolder, networks: tuple[Path, Path]) -> None:
    folder = tmp_path / "clouds"
    folder.mkdir()
    given = cloud(folder, parts)
    made = make(tmp_path, networks, given, larger=False, height=(0.002, 0.004), sign="protrusion", count=3)
    check_contract(made, given, larger=False)
    for row in read_depth_rows(made):
        assert row.kind == "xyz"
        assert 0.0019 < row.generated_height < 0.0041
        old, new = tifffile.imread(folder / row.source), tifffile.imread(made / row.depth)
        assert np.array_equal(old[..., :2], new[..., :2])
        assert new.dtype == np.float32
        assert (new[..., 2] <= old[..., 2]).all()
    with pytest.raises(ConfigError, match="millimetres"):
        make(tmp_path / "mm", networks, given, larger=False, height=(2.0, 4.0))


def test_targets_with_defects_keep_them_in_the_truth(
    tmp_path: Path, parts: DataFolder, networks: tuple[Path, Path]
) -> None:
    shown = tuple(parts.defects())
    given = Sources(root=parts.root, categories=parts.categories, normals=shown, base=())
    folder = make(tmp_path, networks, given, count=4, sign="dent")
    by_name = {record.relative: record for record in shown}
    for row in read_rows(folder):
        own = by_name[row.target]
        assert own.mask_path is not None
        before = load_mask(own.mask_path, shape=(SIZE, SIZE))
        written = load_mask(folder / str(row.label_mask), shape=(SIZE, SIZE))
        assert written[before].all()
        assert row.mask_area == written.sum()


def test_depth_that_cannot_be_read_is_left_out_by_name(
    tmp_path: Path, parts: DataFolder, networks: tuple[Path, Path]
) -> None:
    first, *others = parts.normals()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    given = Sources(
        root=parts.root, categories=parts.categories, normals=(replace(first, depth_path=broken), *others), base=()
    )
    with pytest.raises(DataError, match=r"(?s)depth cannot be used.*broken\.png"):
        make(tmp_path, networks, given, count=2)
    words: list[str] = []
    kept = with_readable_depth(given, MeasuredDepth(nearer_is_larger=True), skip_unreadable=True, announce=words.append)
    assert kept.normals == tuple(others)
    assert words[0].startswith(f"skipped {first.relative}: ")


def test_every_file_and_both_heights_are_checked(
    tmp_path: Path, parts: DataFolder, networks: tuple[Path, Path]
) -> None:
    (tmp_path / "clouds").mkdir()
    given = cloud(tmp_path / "clouds", parts)
    with pytest.raises(ConfigError, match="below what the depth files can show"):
        make(tmp_path, networks, given, larger=False, height=(1e-9, 0.004))
    record = given.normals[1]
    assert record.depth_path is not None
    path = tmp_path / "millimetres.tiff"
    tifffile.imwrite(path, tifffile.imread(record.depth_path) * 1000, photometric="rgb")
    mixed = [given.normals[0]] * 100
    mixed[77] = replace(record, depth_path=path)
    with pytest.raises(DataError, match="different units"):
        MeasuredDepth().check_units(mixed)


def test_networks_that_do_not_fit_are_refused(tmp_path: Path, parts: DataFolder, networks: tuple[Path, Path]) -> None:
    color, maps = networks
    given = sources(parts)
    with pytest.raises(WeightsError, match=r"is not AnomalyHybrid\*"):
        make(tmp_path, (color, color), given)
    with pytest.raises(WeightsError, match="is not AnomalyHybrid:"):
        make(tmp_path, (maps, maps), given)
    other = network(tmp_path / "other.safetensors", "maps", size="128")
    with pytest.raises(WeightsError, match="size 64"):
        make(tmp_path, (color, other), given)


def test_training_from_folders(tmp_path: Path, parts: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    small = GeneratorConfig(**SMALL)
    monkeypatch.setattr(depth_training, "generator_preset", lambda name: small)
    monkeypatch.setattr(loop, "PROBES", 2)
    config = TrainConfig(size=SIZE, steps=2, batch_size=2, view_block=2, depth="measured_disparity", journal_every=1)
    words: list[str] = []
    train = {"base": parts.defects(), "cache": tmp_path / "cache", "announce": words.append}
    out = train_depth(parts.normals(), parts.categories, tmp_path / "run", config=config, **train)  # type: ignore[arg-type]
    model, metadata = load_generator(out / "generator.safetensors")
    assert model.config.gives == "maps"
    assert metadata["depth_name"] == "measured_disparity"
    assert len(json.loads(metadata["base_images"])) == len(parts.defects())
    assert "start: random, because the shipped generator does not fit preset 'lite'" in words
    with pytest.raises(CheckpointError, match="already holds a run"):
        train_depth(parts.normals(), parts.categories, out, config=config, **train)  # type: ignore[arg-type]


def test_the_start_takes_what_fits_of_the_shipped_generator() -> None:
    words: list[str] = []
    model = sister_start(TrainConfig(), words.append)
    whole, _ = load_generator(shipped("generator.safetensors"))
    key = "encoder.stem.0.weight"
    assert torch.equal(model.state_dict()[key], whole.state_dict()[key])
    assert model.decoders["ahd"].source.head.out_channels == 1  # type: ignore[union-attr]
    assert words == ["start: the shipped generator, 4 of 103 tensors random"]
