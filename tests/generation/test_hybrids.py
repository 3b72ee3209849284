"""Hybrids: which images are combined, what is drawn from them, and sets that are made again to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from set_files import contents, file_set, read_png

from anomalyhybrid.data.class_folders import ClassedImages, read_class_folders
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.hybrid_config import HybridConfig
from anomalyhybrid.generation.hybrid_rows import read_hybrid_rows, read_pairs
from anomalyhybrid.generation.hybrid_sheet import write_hybrid_sheet
from anomalyhybrid.generation.hybrids import (
    ListedPair,
    hybrid_at_native_size,
    listed_parents,
    pairs_of_classes,
    silhouette_depth,
)
from anomalyhybrid.recipes import hybrid_job
from anomalyhybrid.recipes.generation import generate
from anomalyhybrid.recipes.hybrids import generate_hybrids
from anomalyhybrid.seeding import stream
from anomalyhybrid.types import DecoderOutput

COLOURS = {"ash": (200, 60, 40), "birch": (40, 160, 60), "cedar": (50, 60, 190)}


class StoppedError(Exception):
    """Stands for whatever ends a run."""


def butterfly(colour: tuple[int, int, int], seed: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    """A coloured ellipse on light grey, shapes and sizes vary."""
    draw = np.random.default_rng(seed)
    height, width = size
    pixels = np.full((height, width, 3), 225, np.uint8)
    axes = (int(width * draw.uniform(0.25, 0.4)), int(height * draw.uniform(0.25, 0.4)))
    cv2.ellipse(pixels, (width // 2, height // 2), axes, 0, 0, 360, colour, -1)
    cv2.ellipse(pixels, (width // 2, height // 2), (axes[0] // 2, axes[1] // 3), 0, 0, 360, (20, 20, 20), -1)
    return pixels


@pytest.fixture(scope="module")
def wings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of three, two and one images, of two sizes."""
    root = tmp_path_factory.mktemp("data") / "wings"
    for place, (name, count) in enumerate((("ash", 3), ("birch", 2), ("cedar", 1))):
        (root / name).mkdir(parents=True)
        for number in range(count):
            size = (60, 80) if number % 2 else (70, 64)
            pixels = butterfly(COLOURS[name], 10 * place + number, size)
            cv2.imwrite(str(root / name / f"{number}.png"), pixels[..., ::-1])
    return root


@pytest.fixture(scope="module")
def classed(wings: Path) -> ClassedImages:
    return read_class_folders(wings)


@pytest.fixture(scope="module")
def make(tiny_run: Path, maps_cache: Path, wings: Path) -> Callable[..., dict]:
    """`generate_hybrids` with the tiny random generator."""

    def run(out: Path, **settings) -> dict:
        names = ("pairs", "resume", "report", "labels", "announce", "data")
        given = {name: settings.pop(name) for name in names if name in settings}
        given = {"announce": lambda text: None, "data": [wings]} | given
        config = HybridConfig(**settings)
        return generate_hybrids(str(tiny_run), out=out, config=config, cache=maps_cache / "maps", **given)

    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, make: Callable[..., dict]) -> Path:
    """All pairs of classes, four hybrids each where there are so many."""
    out = tmp_path_factory.mktemp("whole") / "set"
    make(out)
    return out


def names_of(classed: ClassedImages, config: HybridConfig) -> list[tuple[str, str, str]]:
    return [(p.reference.relative, p.target.relative, p.decoder) for p in pairs_of_classes(classed, config)]


def test_all_ordered_pairs_of_classes(classed: ClassedImages) -> None:
    work = names_of(classed, HybridConfig(count=4))
    counts: dict[tuple[str, str], int] = {}
    for reference, target, _ in work:
        pair = reference.split("/")[0], target.split("/")[0]
        counts[pair] = counts.get(pair, 0) + 1
    assert counts == {
        ("ash", "birch"): 4, ("birch", "ash"): 4, ("ash", "cedar"): 4, ("cedar", "ash"): 4,
        ("birch", "cedar"): 4, ("cedar", "birch"): 4,
    }  # fmt: skip
    assert len(set(work)) == len(work), "no pair of images twice"


def test_both_directions_and_decoders_share_their_images(classed: ClassedImages) -> None:
    work = names_of(classed, HybridConfig(count=4))
    there = [(r, t, d) for r, t, d in work if r.startswith("ash") and t.startswith("birch")]
    back = [(t, r, d) for r, t, d in work if r.startswith("birch") and t.startswith("ash")]
    assert there == back
    assert [d for _, _, d in there] == ["ahd", "ahe", "ahd", "ahe"]
    assert there[0][:2] == there[1][:2]


def test_work_list_is_a_prefix_of_a_longer_one(classed: ClassedImages) -> None:
    short, long = (set(names_of(classed, HybridConfig(count=count))) for count in (2, 6))
    assert short < long
    assert names_of(classed, HybridConfig(count=2)) == names_of(classed, HybridConfig(count=2))
    assert any(names_of(classed, HybridConfig(count=2, seed=s)) != names_of(classed, HybridConfig()) for s in (1, 2))


def test_small_classes_give_what_they_have(classed: ClassedImages) -> None:
    work = names_of(classed, HybridConfig(count=100, decoders=("ahe",)))
    assert len(work) == 2 * (3 * 2 + 3 * 1 + 2 * 1)


def test_listed_pairs(classed: ClassedImages) -> None:
    config = HybridConfig(count=2)
    lines = [
        ListedPair("ash/0.png", "cedar/0.png", "ahe"),
        ListedPair("birch/1.png", "ash/2.png"),
        ListedPair("cedar", "birch"),
        ListedPair("ash", "ash"),
    ]
    work = [(p.reference.relative, p.target.relative, p.decoder) for p in listed_parents(classed, lines, config)]
    assert work[:3] == [
        ("ash/0.png", "cedar/0.png", "ahe"),
        ("birch/1.png", "ash/2.png", "ahd"),
        ("birch/1.png", "ash/2.png", "ahe"),
    ]
    assert [name.split("/")[0] for line in work[3:5] for name in line[:2]] == ["cedar", "birch"] * 2
    assert len(work) == 7
    assert work[5][0] != work[5][1], "an image is not redrawn from itself"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (ListedPair("ash/0.png", "oak"), "names 'oak', which is no image"),
        (ListedPair("ash/0.png", "birch"), "names 'birch'"),
        (ListedPair("ash/0.png", "ash/0.png"), "with itself"),
        (ListedPair("ash", "birch", "ahe"), "asks for decoder 'ahe'"),
    ],
)
def test_wrong_pairs(classed: ClassedImages, line: ListedPair, words: str) -> None:
    with pytest.raises(DataError, match=words):
        listed_parents(classed, [line], HybridConfig(decoders=("ahd",)))


def test_pair_files(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('reference, target ,decoder\n a/1.png, b/2.png ,ahd\n"c,d/1.png",b,\n')
    assert read_pairs(path) == [ListedPair("a/1.png", "b/2.png", "ahd"), ListedPair("c,d/1.png", "b", None)]
    path.write_text("target,reference\nb,a\n")
    assert read_pairs(path) == [ListedPair("a", "b")]
    for text, words in (
        ("a,b\n1,2\n", "must be reference,target"),
        ("reference,target\n", "lists no pair"),
        ("reference,target\na,\n", "line 2: reference or target is empty"),
        ("reference,target\na,b,c\n", "line 2: more cells"),
        ("reference,target,decoder\na,b,unet\n", "decoder is 'unet'"),
        (f"reference,target\n{'a' * 200000},b\n", "line 2 is no CSV row"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=words):
            read_pairs(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_pairs(tmp_path / "none.csv")


def output_of(source: float, opacity: float) -> DecoderOutput:
    return DecoderOutput(torch.full((1, 3, 8, 8), source), torch.full((1, 1, 8, 8), opacity), torch.zeros(1, 3, 8, 8))


def test_equation_one_at_the_targets_size() -> None:
    """0.5 C_r + 0.5 A_gen on the silhouette; outside it the target's pixels, or the generator's."""
    reference, target = torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 32, 24), -0.25)
    silhouette = torch.zeros(1, 1, 32, 24)
    silhouette[..., 8:24, 6:18] = 1
    made = hybrid_at_native_size(output_of(-0.1, 0.5), reference, target, silhouette, HybridConfig())
    assert made.shape == target.shape
    assert torch.equal(made[(silhouette == 0).expand_as(made)], target[(silhouette == 0).expand_as(made)])
    torch.testing.assert_close(made[..., 12:20, 10:14], torch.full((1, 3, 8, 4), 0.2))
    paper = hybrid_at_native_size(
        output_of(-0.1, 0.5), reference, target, silhouette, HybridConfig(background="generated")
    )
    torch.testing.assert_close(paper, torch.full_like(target, 0.2))


def test_a_flat_specimen_keeps_its_outline_alone() -> None:
    depth = torch.rand(3, 1, 64, 64, generator=stream(0, "relief"))
    silhouette = torch.zeros(3, 1, 64, 64)
    silhouette[:2, :, 16:48, 20:44] = 1
    silhouette[2] = 1  # fills the image: no silhouette
    level = silhouette_depth(depth, silhouette)
    assert torch.equal(level[2], depth[2])
    assert torch.equal(level[:2][silhouette[:2] == 0], depth[:2][silhouette[:2] == 0])
    for index in range(2):
        inside = level[index][silhouette[index] > 0]
        assert float(inside.max() - inside.min()) == 0
        assert float(inside[0]) == pytest.approx(float(depth[index, :, 18:46, 22:42].mean()), abs=0.01)


def test_written_set(whole: Path, wings: Path, classed: ClassedImages) -> None:
    rows = read_hybrid_rows(whole)
    assert len(rows) == 24
    assert [(r.reference, r.target, r.decoder) for r in rows] == names_of(classed, HybridConfig())
    assert file_set(whole) == {"dataset.json", "manifest.jsonl", *(row.image for row in rows)}
    about = json.loads((whole / "dataset.json").read_text())
    assert about["kind"] == "hybrids"
    assert about["classes"] == {"ash": 3, "birch": 2, "cedar": 1}
    assert about["summary"]["wings"]["hybrids"] == 24
    for row in rows:
        image, target = read_png(whole / row.image), read_png(wings / row.target)
        assert (image.shape, image.dtype) == (target.shape, target.dtype)
        assert row.reference_class == str(row.reference).split("/")[0]
        assert row.target_class == row.target.split("/")[0]
        assert (row.defect, row.label_mask, row.operation, row.composition) == ("hybrid", None, "none", "full")
        assert row.accepted
        assert np.array_equal(image[:3], target[:3]), "the target's own background is kept"
        assert not np.array_equal(image, target)


def test_decoders_and_directions_differ(whole: Path) -> None:
    rows = read_hybrid_rows(whole)
    first, second, back = (read_png(whole / rows[number].image) for number in (0, 1, 4))
    assert first.shape == second.shape
    assert not np.array_equal(first, second)
    assert rows[0].reference == rows[4].target
    assert first.shape != back.shape or not np.array_equal(first, back)


def test_same_bytes_whatever_the_chunk_and_where_it_stopped(
    tmp_path: Path, make: Callable[..., dict], whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomalyhybrid.recipes.hybrids._CHUNK", 5)
    written: list[Path] = []
    save = hybrid_job.save_png

    def stop(path: Path, pixels: np.ndarray) -> None:
        if len(written) == 12:
            raise StoppedError
        written.append(path)
        save(path, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(hybrid_job, "save_png", stop)
        with pytest.raises(StoppedError):
            make(tmp_path / "set")
    (tmp_path / "set" / "test" / "hybrid" / ".tmp-left").write_bytes(b"x")
    with open(tmp_path / "set" / "manifest.jsonl", "a") as stream:
        stream.write('{"id": "cut')
    assert len(read_hybrid_rows(tmp_path / "set")) == 10
    make(tmp_path / "set", resume=True)
    again, before = contents(tmp_path / "set"), contents(whole)
    for files in (again, before):
        about = json.loads(files.pop("dataset.json"))
        assert about["summary"]["wings"]["hybrids"] == 24
    assert again == before


def test_one_alone_is_the_same_as_in_its_set(tmp_path: Path, make: Callable[..., dict], whole: Path) -> None:
    row = read_hybrid_rows(whole)[7]
    make(tmp_path / "one", pairs=[ListedPair(str(row.reference), row.target, "ahe")])
    (alone,) = read_hybrid_rows(tmp_path / "one")
    assert alone.decoder == row.decoder
    assert (tmp_path / "one" / alone.image).read_bytes() == (whole / row.image).read_bytes()


def test_within_a_class_is_redrawn_and_good(tmp_path: Path, make: Callable[..., dict]) -> None:
    summary = make(tmp_path / "set", pairs=[ListedPair("ash", "ash")], count=2)
    rows = read_hybrid_rows(tmp_path / "set")
    assert [row.defect for row in rows] == ["good", "good"]
    assert all(row.image.startswith("train/good/") for row in rows)
    assert summary["wings"]["redrawn_in_class"] == 2


def test_hybrids_are_no_set_of_defects_to_resume(tiny_run: Path, whole: Path, wings: Path) -> None:
    with pytest.raises(DataError):
        generate(str(tiny_run), [wings], whole, config=GenerateConfig(), resume=True, announce=lambda text: None)


def test_refusals(tmp_path: Path, make: Callable[..., dict], whole: Path, wings: Path) -> None:
    with pytest.raises(DataError, match="already holds a generated set"):
        make(whole)
    with pytest.raises(DataError, match="begun with another config"):
        make(whole, resume=True, seed=5)
    with pytest.raises(DataError, match="begun with another pairs"):
        make(whole, resume=True, pairs=[ListedPair("ash", "birch")])
    with pytest.raises(DataError, match="no set to resume"):
        make(tmp_path / "none", resume=True)
    with pytest.raises(DataError, match="2 data folders"):
        make(tmp_path / "none", data=[wings, wings])
    with pytest.raises(DataError, match="with itself alone"):
        make(tmp_path / "none", pairs=[ListedPair("cedar", "cedar")])


def test_small_classes_are_named(tmp_path: Path, make: Callable[..., dict]) -> None:
    said: list[str] = []
    make(tmp_path / "set", classes=("birch", "cedar"), count=6, announce=said.append)
    assert any("2 pairs of classes have too few images for 6" in text and "birch on cedar 4" in text for text in said)


def test_labels(tmp_path: Path, make: Callable[..., dict], wings: Path) -> None:
    lines = ["filename,hybrid_stat,subspecies,parent_subspecies_1,parent_subspecies_2"]
    lines += ["ash/0.png,non-hybrid,1.0,,", "cedar/0.png,non-hybrid,2.0,,", "birch/0.png,hybrid,,1.0,2.0"]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    make(tmp_path / "set", labels=tmp_path / "labels.csv", decoders=("ahd",))
    rows = read_hybrid_rows(tmp_path / "set")
    assert {(row.reference_class, row.target_class) for row in rows} == {("1", "2"), ("2", "1")}
    assert "birch/0.png" not in {row.target for row in rows}


def test_sheet(tmp_path: Path, whole: Path) -> None:
    """Lines of two parents and four hybrids; the classes' three pairs come first."""
    write_hybrid_sheet(whole, tmp_path / "sheet.png", limit=3, side=64)
    page = read_png(tmp_path / "sheet.png")
    assert page.shape[1] == 6 * 68
    assert page.shape[0] % 3 == 0
    with pytest.raises(ConfigError):
        write_hybrid_sheet(whole, tmp_path / "sheet.png", limit=0)


def test_settings() -> None:
    shared = HybridConfig.from_settings(GenerateConfig(count=7, decoders=("ahe",), batch_size=3), classes=("a", "b"))
    assert (shared.count, shared.decoders, shared.classes, shared.background) == (7, ("ahe",), ("a", "b"), "target")
    assert HybridConfig.from_settings(GenerateConfig()) == HybridConfig()
    with pytest.raises(ConfigError, match=r"generate\.mixture is for local defects"):
        HybridConfig.from_settings(GenerateConfig(mixture=0.5))
    for wrong in ({"count": 0}, {"decoders": ()}, {"classes": ("a",)}, {"background": "x"}, {"min_change": -1}):
        with pytest.raises(ConfigError, match="hybrids"):
            HybridConfig(**wrong)
