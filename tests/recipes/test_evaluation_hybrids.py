"""Table 6, its stand-in and the distances, on small coloured wings with a network that sees mean colours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from anomalyhybrid.conditions.lite import lite_depth, lite_edge
from anomalyhybrid.data.class_folders import ClassedImages, read_class_folders
from anomalyhybrid.data.heliconius import Butterflies, Butterfly, Kind
from anomalyhybrid.errors import ConfigError, DataError
from anomalyhybrid.evaluation.features import FeatureNetwork, FeatureOutput
from anomalyhybrid.evaluation.hybrid_head import HeadConfig
from anomalyhybrid.evaluation.recall import harmonic_mean
from anomalyhybrid.evaluation.result_files import read_result, write_result
from anomalyhybrid.evaluation.results import Result
from anomalyhybrid.generation.hybrid_config import HybridConfig
from anomalyhybrid.generation.hybrid_rows import read_hybrid_rows
from anomalyhybrid.generation.hybrids import ListedPair
from anomalyhybrid.models.config import GeneratorConfig
from anomalyhybrid.models.generator import Generator, save_generator
from anomalyhybrid.recipes.evaluation.hybrid_measures import measure_hybrids
from anomalyhybrid.recipes.evaluation.hybrid_stand_in import StandIn, split_of, stand_in_table_6
from anomalyhybrid.recipes.evaluation.hybrids import HybridSet, Labelled, recall_figures, table_6
from anomalyhybrid.recipes.hybrids import generate_hybrids

COLOURS = {"ash": (200, 60, 40), "birch": (40, 160, 60), "elm": (50, 60, 190), "fir": (190, 190, 30)}
HEAD = HeadConfig(widths=(8,), epochs=15, batch_size=8, learning_rate=1e-2)
PLAN = StandIn(signal=("elm",), unseen={"far": ("fir",)}, count=2, head=HEAD)


def mean_colour() -> FeatureNetwork:
    """Mean and deviation of each channel."""

    def compute(image_u8: torch.Tensor) -> FeatureOutput:
        values = image_u8.float().flatten(2) / 255
        return FeatureOutput(torch.cat([values.mean(dim=2), values.std(dim=2)], dim=1), None)

    device = torch.device("cpu")
    return FeatureNetwork(name="vgg16", sha256="0" * 64, stand_in="colours", device=device, compute=compute)


@pytest.fixture(scope="module")
def wings(tmp_path_factory: pytest.TempPathFactory) -> ClassedImages:
    """Four classes of four ellipses each, no two images alike."""
    root, draw = tmp_path_factory.mktemp("data") / "wings", np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.full((48, 64, 3), 225, np.uint8)
            axes = int(draw.integers(14, 26)), int(draw.integers(10, 18))
            shade = tuple(int(c) for c in np.clip(np.array(colour) + draw.integers(-15, 15, 3), 0, 255))
            cv2.ellipse(pixels, (32, 24), axes, 0, 0, 360, shade, -1)
            cv2.imwrite(str(root / name / f"{number}.png"), pixels[..., ::-1])
    return read_class_folders(root)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny generator with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Generator(GeneratorConfig(width=8, max_width=16, blocks=1))
    names = {"edge_name": lite_edge().name, "depth_name": lite_depth().name}
    path = tmp_path_factory.mktemp("run") / "generator.safetensors"
    save_generator(path, model, {"edge": "lite", "depth": "lite", "size": "64", "categories": "none"} | names)
    return str(path)


def make_set(run: str, wings: ClassedImages, out: Path, **settings) -> Path:
    pairs = settings.pop("pairs", None)
    generate_hybrids(
        run, [wings.root], out, pairs=pairs, config=HybridConfig(**settings), cache=out.parent / "maps", announce=str
    )
    return out


def side(wings: ClassedImages, kinds: dict[str, tuple[Kind, str]], numbers: range) -> Butterflies:
    """Some images of each class as butterflies of a kind and a species."""
    listed = [
        Butterfly(record=record, kind=kind, species="A" if species == "A" else "mimic", subspecies=name)
        for name, (kind, species) in kinds.items()
        for record in wings.of_class(name)[numbers.start : numbers.stop]
    ]
    return Butterflies(root=wings.root, listed=tuple(listed))


def test_each_species_has_its_own_threshold() -> None:
    """By hand: A's threshold is 0.5, the mimic's 0.9; at A's alone the mimic's recall would be 1."""
    kinds = ("non-hybrid", "non-hybrid", "signal", "signal", "non-signal", "non-hybrid", "mimic", "mimic")
    species = ("A",) * 5 + ("mimic",) * 3
    test = Labelled(features=torch.zeros(8, 1), kinds=kinds, species=species)
    found = recall_figures(np.array([0.1, 0.5, 0.6, 0.5, 0.7, 0.9, 0.95, 0.8]), test)
    assert list(found) == [
        "recall_signal", "recall_non_signal", "recall_mimic", "recall_harmonic",
        "auroc_signal", "auroc_non_signal", "auroc_mimic",
    ]  # fmt: skip
    assert (found["recall_signal"], found["recall_non_signal"], found["recall_mimic"]) == (0.5, 1.0, 0.5)
    assert found["recall_harmonic"] == pytest.approx(harmonic_mean([0.5, 1, 0.5]))
    assert found["auroc_signal"] == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    with pytest.raises(DataError, match="'mimic' but no non-hybrid"):
        recall_figures(np.ones(1), Labelled(features=torch.zeros(1, 1), kinds=("mimic",), species=("mimic",)))
    with pytest.raises(DataError, match="no hybrid"):
        recall_figures(np.ones(1), Labelled(features=torch.zeros(1, 1), kinds=("non-hybrid",), species=("A",)))


def test_table_6(tmp_path: Path, run: str, wings: ClassedImages) -> None:
    """Elm is the signal hybrid, fir another one; both sides are apart; rows and their counts, kept in a file."""
    folder = make_set(run, wings, tmp_path / "set", classes=("ash", "birch"), count=2)
    train = side(wings, {"ash": ("non-hybrid", "A"), "birch": ("non-hybrid", "A"), "elm": ("signal", "A")}, range(4))
    with pytest.raises(DataError, match="on both sides"):
        table_6(train, train, [], mean_colour(), announce=str)
    tested = (*train.listed, *side(wings, {"fir": ("non-signal", "A")}, range(4)).listed)
    copies = tuple(replace(one, record=copied(one.record, tmp_path)) for one in tested)
    test = Butterflies(root=wings.root, listed=copies)
    sets = [HybridSet(label="ours, AHE", folder=folder, decoders=("ahe",)), HybridSet(label="ours", folder=folder)]
    said: list[str] = []
    result = table_6(train, test, sets, mean_colour(), seeds=(0, 1), head=HEAD, announce=said.append)
    assert result.methods == ("training set alone", "ours, AHE", "ours")
    assert len(said) == len(result.rows) == 6
    assert result.rows[0].samples["training non-hybrid"] == 8
    assert "training generated" not in result.rows[0].samples
    assert [row.samples["training generated"] for row in result.rows[2::2]] == [2, 4]
    assert result.rows[0].checkpoint is None
    assert result.rows[2].checkpoint == read_hybrid_rows(folder)[0].model_sha256
    assert {"recall_signal", "recall_non_signal", "recall_harmonic", "recall_signal@sgd", "recall_signal@mlp"} <= set(
        result.rows[0].figures
    )
    assert result.stand_ins("recall_signal@mlp")[0].stand_in == "vgg16 in place of DINOv2-base"
    assert result.rows[0].figures["recall_signal"] > 0.7, "seen kinds of plain colours are found"
    assert read_result(write_result(result, tmp_path / "result.json")) == result
    with pytest.raises(DataError, match="no training image"):
        table_6(side(wings, {"ash": ("non-hybrid", "A")}, range(4)), test, sets, mean_colour(), announce=str)


def copied(record, folder: Path):
    """The same picture under another name."""
    path = folder / f"copy_{record.relative.replace('/', '_')}"
    path.write_bytes(record.path.read_bytes())
    return replace(record, path=path)


def test_splits_keep_unseen_classes_out(wings: ClassedImages) -> None:
    split = split_of(wings, PLAN, 0)
    sides = [split.known_train, split.known_test, split.signal_train, *split.hybrids.values()]
    assert [len(records) for records in sides] == [4, 4, 2, 2, 4]
    everything = [record.relative for records in sides for record in records]
    assert len(set(everything)) == len(everything) == 16
    assert {record.relative.split("/")[0] for record in split.known_train} == {"ash", "birch"}
    assert {record.relative.split("/")[0] for record in split.hybrids["far"]} == {"fir"}
    assert split_of(wings, PLAN, 0) == split
    assert any(split_of(wings, PLAN, seed) != split for seed in (1, 2, 3))
    with pytest.raises(ConfigError, match="1 known classes"):
        split_of(wings, replace(PLAN, signal=("elm", "ash")), 0)
    with pytest.raises(DataError, match="no image of class 'oak'"):
        split_of(wings, replace(PLAN, signal=("oak",)), 0)
    for wrong in ({"signal": ()}, {"unseen": {"far": ()}}, {"signal": ("fir",)}, {"count": 0}, {"train_share": 1.0}):
        with pytest.raises(ConfigError):
            replace(PLAN, **wrong)


def test_stand_in(tmp_path: Path, run: str, wings: ClassedImages) -> None:
    def measure() -> Result:
        return stand_in_table_6(
            run, wings, PLAN, mean_colour(), tmp_path / "out", seeds=(0, 1), cache=tmp_path / "maps", announce=str
        )

    result = measure()
    assert result.methods == (
        "no generated hybrids", "+ average", "+ colour transfer", "+ ours, AHD", "+ ours, AHE", "+ ours, both in turn",
        "+ ours, both in turn, redrawn non-hybrids",
    )  # fmt: skip
    first = {row.method: row.samples for row in result.rows if row.seed == 0}
    assert [first[method].get("training generated", 0) for method in result.methods] == [0, 4, 4, 4, 4, 4, 4]
    assert first["+ ours, AHD"]["training non-hybrid"] == 4
    assert first["+ ours, both in turn, redrawn non-hybrids"]["training non-hybrid"] == 8
    assert all(samples["test far"] == 4 and samples["test signal"] == 2 for samples in first.values())
    assert set(result.rows[0].figures) >= {"recall_signal", "recall_far", "recall_harmonic", "auroc_far"}
    for seed in (0, 1):
        allowed = {record.relative for record in split_of(wings, PLAN, seed).known_train}
        rows = read_hybrid_rows(tmp_path / "out" / f"seed_{seed}" / "hybrids")
        assert {path for row in rows for path in (row.reference, row.target)} <= allowed
    assert measure() == result, "kept sets give the same figures again"


def test_distances_of_a_set(tmp_path: Path, run: str, wings: ClassedImages) -> None:
    pairs = [ListedPair("ash/0.png", "elm/1.png"), ListedPair("ash", "ash")]
    folder = make_set(run, wings, tmp_path / "set", pairs=pairs)
    found = measure_hybrids(folder, size=64)
    assert set(found) == {"ours, ahd", "ours, ahe", "average", "colour transfer"}
    assert all(own["images"] == 1 for own in found.values()), "images redrawn within a class are no hybrids"
    parents = {own["colour"]["between_parents"] for own in found.values()}
    assert len(parents) == 1
    transfer = found["colour transfer"]
    assert transfer["colour"]["nearer_reference"] == 1
    assert transfer["silhouette"]["to_target"] < transfer["silhouette"]["to_reference"]
    assert found["average"]["colour"]["place"] == pytest.approx(0.5, abs=0.2)
    assert "lpips" not in transfer
    with pytest.raises(DataError, match="no hybrid"):
        measure_hybrids(make_set(run, wings, tmp_path / "good", pairs=[ListedPair("ash", "ash")]))
