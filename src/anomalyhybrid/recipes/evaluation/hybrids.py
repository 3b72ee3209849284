"""Table 6: how many hybrids of each kind are told from non-hybrids, with and without generated ones in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from anomalyhybrid import __version__
from anomalyhybrid.data.files import resolve_inside
from anomalyhybrid.data.heliconius import Butterflies
from anomalyhybrid.data.loading import load_image, to_rgb_u8
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import DataError
from anomalyhybrid.evaluation.detection import detection
from anomalyhybrid.evaluation.features import FeatureNetwork
from anomalyhybrid.evaluation.hybrid_head import HeadConfig, hybrid_scores
from anomalyhybrid.evaluation.recall import harmonic_mean, recall_at_tnr
from anomalyhybrid.evaluation.results import Option, Result, Row, UsedNetwork
from anomalyhybrid.generation.hybrid_rows import HYBRID, HybridRow, read_hybrid_rows
from anomalyhybrid.generation.manifest import read_dataset
from anomalyhybrid.recipes.description import data_sha256
from anomalyhybrid.recipes.sources import Announce, Sources
from anomalyhybrid.types import Decoder

Head = Literal["sgd", "mlp", "final"]

HEADS: tuple[Head, ...] = ("sgd", "mlp", "final")


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridSet:
    """Generated images that join the training set of one line of the table.

    Attributes:
        label: The line's name in tables.
        folder: A set of hybrids.
        decoders: Hybrids of these decoders are taken.
        redrawn: Whether images redrawn within one class join as non-hybrids, so that a head cannot win by telling
            drawn images from photographs.
    """

    label: str
    folder: Path
    decoders: tuple[Decoder, ...] = ("ahd", "ahe")
    redrawn: bool = False

    def rows(self) -> list[HybridRow]:
        """The manifest rows that are taken.

        Raises:
            DataError: No set, or none of its hybrids is taken.
        """
        own = [row for row in read_hybrid_rows(self.folder) if row.decoder in self.decoders and row.accepted]
        own = [row for row in own if row.defect == HYBRID or self.redrawn]
        if not any(row.defect == HYBRID for row in own):
            raise DataError(f"{self.folder} holds no accepted hybrid by {' or '.join(self.decoders)}")
        return own


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Features with what they show.

    Attributes:
        features: float32 (N, D).
        kinds: ``non-hybrid`` or the kind of hybrid, for each.
        species: Group whose non-hybrids set the threshold, for each.
    """

    features: Tensor
    kinds: tuple[str, ...]
    species: tuple[str, ...]

    @property
    def is_hybrid(self) -> np.ndarray:
        """Bool (N,)."""
        return np.array([kind != "non-hybrid" for kind in self.kinds])

    def joined(self, features: Tensor, kinds: Sequence[str]) -> Labelled:
        """These and others; the others have no species, since they only train."""
        if not len(features):
            return self
        return Labelled(
            features=torch.cat([self.features, features]),
            kinds=(*self.kinds, *kinds),
            species=(*self.species, *("",) * len(kinds)),
        )


def image_features(paths: Sequence[Path], network: FeatureNetwork) -> Tensor:
    """Features of image files, each resized by the network from its own size, float32 (N, D)."""
    if not paths:
        return torch.zeros(0, 0)
    images = (torch.tensor(to_rgb_u8(load_image(path).pixels)).permute(2, 0, 1)[None] for path in paths)
    return torch.cat([network.features(image) for image in images])


def set_features(made: HybridSet, network: FeatureNetwork) -> tuple[Tensor, tuple[str, ...]]:
    """Features of a set's images and what each trains as: ``generated``, or ``non-hybrid`` where redrawn in class."""
    rows = made.rows()
    features = image_features([resolve_inside(made.folder, row.image) for row in rows], network)
    return features, tuple("generated" if row.defect == HYBRID else "non-hybrid" for row in rows)


def recall_figures(scores: np.ndarray, test: Labelled, *, tnr: float = 0.95) -> dict[str, float]:
    """Recall of each kind of hybrid, each species thresholded on its own non-hybrids, and their harmonic mean.

    Args:
        scores: (N,), higher is more hybrid.
        test: What they belong to.
        tnr: Share of non-hybrids of a species that must be at or below its threshold.

    Returns:
        ``recall_<kind>`` with ``_`` for ``-``, in the order of first sight, ``recall_harmonic``, and, since a recall of
        few images is coarse, ``auroc_<kind>`` against the species' non-hybrids.

    Raises:
        DataError: A species without non-hybrids, or no hybrid at all.

    Source: PROTOCOL (Butterfly hybrids).
    """
    kinds, species = np.array(test.kinds), np.array(test.species)
    found: dict[str, float] = {}
    ranked: dict[str, float] = {}
    for name in dict.fromkeys(test.species):
        own = species == name
        negatives = scores[own & (kinds == "non-hybrid")]
        hybrids = {kind: scores[own & (kinds == kind)] for kind in dict.fromkeys(kinds[own].tolist())}
        hybrids.pop("non-hybrid", None)
        if not hybrids:
            continue
        if not len(negatives):
            raise DataError(f"the test side has hybrids of species {name!r} but no non-hybrid to set its threshold on")
        for kind, recall in recall_at_tnr(negatives, hybrids, tnr=tnr).recalls:
            both = np.concatenate([negatives, hybrids[kind]])
            word = kind.replace("-", "_")
            found[f"recall_{word}"] = recall
            ranked[f"auroc_{word}"] = detection(both, np.arange(len(both)) >= len(negatives)).auroc
    if not found:
        raise DataError("the test side has no hybrid; recall is measured on them")
    return found | {"recall_harmonic": harmonic_mean(found.values())} | ranked


def hybrid_figures(train: Labelled, test: Labelled, config: HeadConfig, *, tnr: float = 0.95) -> dict[str, float]:
    """Train both heads and measure them and their maximum.

    Returns:
        Figures of the final score by their names, those of the heads with ``@sgd`` and ``@mlp`` behind.
    """
    scores = hybrid_scores(train.features, train.is_hybrid, test.features, config)
    figures: dict[str, float] = {}
    for head in HEADS:
        variant = "" if head == "final" else f"@{head}"
        own = recall_figures(getattr(scores, head), test, tnr=tnr)
        figures |= {f"{name}{variant}": value for name, value in own.items()}
    return figures


def table_6(
    train: Butterflies,
    test: Butterflies,
    sets: Sequence[HybridSet],
    network: FeatureNetwork,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    head: HeadConfig | None = None,
    tnr: float = 0.95,
    announce: Announce,
) -> Result:
    """Evaluate hybrid detection: a line without generated images, then one for each set.

    Args:
        train: Training CSV: non-hybrids and signal hybrids.
        test: Reference CSV; its images must not be among the training images.
        sets: Generated hybrids, by line. Their parents must be training images.
        network: DINOv2-base, or a named stand-in.
        seeds: Of the heads' training; each is a row.
        head: Settings of the heads; the seed is replaced.
        tnr: Recall of non-hybrids at which hybrids are counted.
        announce: Told each line as it is finished.

    Returns:
        One row for each line and seed.

    Raises:
        DataError: The sides overlap, a set drawn from other images, or too few images of a kind.
    """
    overlap = {one.record.path.name for one in train.listed} & {one.record.path.name for one in test.listed}
    if overlap:
        raise DataError(f"{len(overlap)} images are on both sides, for example {min(overlap)}; give separate CSV files")
    for made in sets:
        check_parents(made, [one.record for one in train.listed])
    sides = [labelled(side, network) for side in (train, test)]
    records = [one.record for side in (train, test) for one in side.listed]
    rows: list[Row] = []
    for made in (None, *sets):
        extra = None if made is None else set_features(made, network)
        joined = sides[0] if extra is None else sides[0].joined(*extra)
        label = "training set alone" if made is None else made.label
        for seed in seeds:
            figures = hybrid_figures(joined, sides[1], replace(head or HeadConfig(), seed=seed), tnr=tnr)
            rows.append(row_of(label, records[0].category, seed, figures, joined, sides[1], made))
            announce(f"{label}, seed {seed}: harmonic mean {figures['recall_harmonic']:.3f}")
    options = {"tnr": tnr} | head_options(head or HeadConfig())
    return result_of("table 6", rows, records, network, options, seeds)


def labelled(side: Butterflies, network: FeatureNetwork) -> Labelled:
    """Features and labels of one CSV's butterflies."""
    return Labelled(
        features=image_features([one.record.path for one in side.listed], network),
        kinds=tuple(one.kind for one in side.listed),
        species=tuple(one.species for one in side.listed),
    )


def check_parents(made: HybridSet, allowed: Sequence[Record]) -> None:
    """Refuse a set that was drawn from images that may not train.

    Raises:
        DataError: Names the first parent that is not allowed.
    """
    root = made.folder / read_dataset(made.folder)["data_root"]
    known = {record.path.resolve() for record in allowed}
    for row in made.rows():
        for parent in (str(row.reference), row.target):
            if resolve_inside(root, parent) not in known:
                raise DataError(f"{made.folder}: {row.id} was drawn from {parent}, which is no training image")


def row_of(
    label: str,
    category: str,
    seed: int,
    figures: Mapping[str, float],
    train: Labelled,
    test: Labelled,
    made: HybridSet | None = None,
) -> Row:
    """One row of the result with its sample counts."""
    samples = {f"training {kind}": train.kinds.count(kind) for kind in dict.fromkeys(train.kinds)}
    samples |= {f"test {kind}": test.kinds.count(kind) for kind in dict.fromkeys(test.kinds)}
    checkpoint = None if made is None else made.rows()[0].model_sha256
    return Row(method=label, category=category, seed=seed, figures=figures, samples=samples, checkpoint=checkpoint)


def head_options(head: HeadConfig) -> dict[str, Option]:
    """The heads' settings as flat options of a result, without the seed."""
    values = {name: value for name, value in asdict(head).items() if name != "seed"}
    return {f"head_{k}": "-".join(map(str, v)) if isinstance(v, tuple) else v for k, v in values.items()}


def result_of(
    protocol: str,
    rows: Sequence[Row],
    records: Sequence[Record],
    network: FeatureNetwork,
    options: Mapping[str, Option],
    seeds: Sequence[int],
) -> Result:
    """The result of rows that were measured with one feature network; a stand-in is named in it."""
    stand_in = "" if network.name == "dinov2" and not network.stand_in else f"{network.name} in place of DINOv2-base"
    category = records[0].category
    sources = Sources(root=records[0].path.parent, categories=(category,), normals=tuple(records), base=())
    return Result(
        protocol=protocol,
        mode="fixed",
        options=options,
        seeds=tuple(seeds),
        networks=(UsedNetwork(role="dinov2", name=network.name, sha256=network.sha256, stand_in=stand_in),),
        data_fingerprints={category: data_sha256(sources)},
        versions={"anomalyhybrid": __version__, "torch": torch.__version__},
        device=str(network.device),
        rows=tuple(rows),
    )
