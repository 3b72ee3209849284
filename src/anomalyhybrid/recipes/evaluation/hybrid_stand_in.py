"""A stand-in for Table 6 where no real hybrids are at hand: subspecies are left out as hybrids never seen.

Known subspecies are the non-hybrids. One group of subspecies plays the signal hybrid, of which training has some.
Other groups are hybrids that only the test side has. Generated hybrids join training as further positives, drawn from
training images of known subspecies alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from anomalyhybrid.data.class_folders import ClassedImages
from anomalyhybrid.data.files import make_folder
from anomalyhybrid.data.loading import load_image, save_png, to_rgb_u8
from anomalyhybrid.data.records import Record
from anomalyhybrid.errors import ConfigError
from anomalyhybrid.evaluation.features import FeatureNetwork
from anomalyhybrid.evaluation.hybrid_head import HeadConfig
from anomalyhybrid.evaluation.results import Option, Result, Row
from anomalyhybrid.generation.hybrid_config import HybridConfig
from anomalyhybrid.generation.hybrids import ListedPair, pairs_of_classes
from anomalyhybrid.generation.manifest import DATASET
from anomalyhybrid.recipes.evaluation.hybrid_measures import baselines
from anomalyhybrid.recipes.evaluation.hybrids import (
    HybridSet,
    Labelled,
    check_parents,
    head_options,
    hybrid_figures,
    image_features,
    result_of,
    row_of,
    set_features,
)
from anomalyhybrid.recipes.hybrids import generate_hybrids
from anomalyhybrid.recipes.sources import Announce
from anomalyhybrid.seeding import stream

_SPECIES = "all"  # one threshold for all, since the stand-in has no mimic species of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """Which subspecies play what."""

    signal: tuple[str, ...]
    """Classes that play the signal hybrid: half of them train as positives."""
    unseen: Mapping[str, tuple[str, ...]]
    """Classes that play hybrids never seen, by the name of their kind; the test side alone has them."""
    count: int = 4
    """Pairs of images drawn for each ordered pair of known classes; a line has so many generated hybrids."""
    train_share: float = 0.5
    """Share of each known and signal class's images that trains, drawn by seed, at least one."""
    tnr: float = 0.95
    """Recall of non-hybrids at which hybrids are counted."""
    head: HeadConfig = field(default_factory=HeadConfig)
    """Settings of the heads; the seed is replaced."""

    def __post_init__(self) -> None:
        if not self.signal or not self.unseen or not all(self.unseen.values()):
            raise ConfigError("a stand-in needs signal classes and at least one kind of unseen classes, none empty")
        left_out = [*self.signal, *(name for names in self.unseen.values() for name in names)]
        if len(set(left_out)) < len(left_out):
            raise ConfigError(f"the stand-in's classes are {left_out}; each may play one part only")
        if self.count < 1 or not 0 < self.train_share < 1:
            raise ConfigError(f"count is {self.count}, train_share {self.train_share}; give >= 1 and one in (0, 1)")

    def left_out(self) -> tuple[str, ...]:
        """Classes that a generator must not have seen: those never seen in training."""
        return tuple(name for names in self.unseen.values() for name in names)


@dataclass(frozen=True, slots=True)
class Split:
    """One seed's sides.

    Attributes:
        known_train: Non-hybrids that train.
        known_test: Non-hybrids that are tested.
        signal_train: Signal hybrids that train.
        hybrids: Hybrids that are tested, by kind.
    """

    known_train: tuple[Record, ...]
    known_test: tuple[Record, ...]
    signal_train: tuple[Record, ...]
    hybrids: Mapping[str, tuple[Record, ...]]


def split_of(images: ClassedImages, plan: StandIn, seed: int) -> Split:
    """Draw one seed's sides, class by class.

    Raises:
        ConfigError: Fewer than two known classes, or a kind without an image to test.
        DataError: A class that no image has.
    """
    images.only((*plan.signal, *plan.left_out()))
    known = [name for name in images.classes if name not in (*plan.signal, *plan.left_out())]
    if len(known) < 2:
        raise ConfigError(f"the stand-in leaves {len(known)} known classes; hybrids need two, so leave out fewer")

    def halves(name: str) -> tuple[list[Record], list[Record]]:
        own = images.of_class(name)
        order = torch.randperm(len(own), generator=stream(seed, "stand-in", name)).tolist()
        cut = max(1, round(plan.train_share * len(own)))
        return [own[place] for place in sorted(order[:cut])], [own[place] for place in sorted(order[cut:])]

    knowns, signals = [halves(name) for name in known], [halves(name) for name in plan.signal]
    hybrids = {"signal": tuple(record for _, test in signals for record in test)} | {
        kind: tuple(record for name in names for record in images.of_class(name)) for kind, names in plan.unseen.items()
    }
    if empty := [kind for kind, records in hybrids.items() if not records]:
        raise ConfigError(f"no image of kind {empty[0]!r} is left to test; lower train_share or give it more classes")
    return Split(
        tuple(record for train, _ in knowns for record in train),
        tuple(record for _, test in knowns for record in test),
        tuple(record for train, _ in signals for record in train),
        hybrids,
    )


def stand_in_table_6(
    run: str,
    images: ClassedImages,
    plan: StandIn,
    network: FeatureNetwork,
    out: Path,
    *,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    config: HybridConfig | None = None,
    cache: Path | None = None,
    announce: Announce,
) -> Result:
    """Measure recalls of seen and unseen subspecies with and without generated hybrids in training.

    All lines of a seed have the same real images, and those with hybrids the same pairs of parents and as many
    hybrids; the last line has images redrawn within a class as non-hybrids besides.

    Args:
        run: ``shipped``, a run folder or a generator file; best one that never saw ``plan.left_out()``.
        images: All images.
        plan: Which classes play what.
        network: Feature network.
        out: Folder of generated sets, kept from one call to the next.
        seeds: Of splits, hybrids and heads; each is a row.
        config: Settings of the generated sets; seed, count and decoders are replaced.
        cache: Folder of condition maps; the user's cache by default.
        announce: Told each line as it is finished.

    Returns:
        One row for each line and seed, figures ``recall_signal``, ``recall_<kind>`` and ``recall_harmonic``.

    Raises:
        AnomalyHybridError: Something the caller can mend.
    """
    real = {
        record.relative: features
        for record, features in zip(
            images.records, image_features([r.path for r in images.records], network), strict=True
        )
    }
    rows: list[Row] = []
    for seed in seeds:
        split = split_of(images, plan, seed)
        positives = len(split.signal_train)
        train = Labelled(
            features=torch.stack([real[r.relative] for r in (*split.known_train, *split.signal_train)]),
            kinds=("non-hybrid",) * len(split.known_train) + ("signal",) * positives,
            species=(_SPECIES,) * (len(split.known_train) + positives),
        )
        tested = [("non-hybrid", r) for r in split.known_test]
        tested += [(kind, record) for kind, records in split.hybrids.items() for record in records]
        test = Labelled(
            features=torch.stack([real[record.relative] for _, record in tested]),
            kinds=tuple(kind for kind, _ in tested),
            species=(_SPECIES,) * len(tested),
        )
        lines = _lines(run, images, split, plan, network, out / f"seed_{seed}", seed, config, cache, announce)
        for label, (features, kinds, made) in lines.items():
            joined = train.joined(features, kinds)
            figures = hybrid_figures(joined, test, replace(plan.head, seed=seed), tnr=plan.tnr)
            rows.append(row_of(label, images.records[0].category, seed, figures, joined, test, made))
            announce(f"{label}, seed {seed}: " + ", ".join(f"{k} {v:.2f}" for k, v in figures.items() if "@" not in k))
    options: dict[str, Option] = {
        "tnr": plan.tnr,
        "count": plan.count,
        "train_share": plan.train_share,
        "signal": ", ".join(plan.signal),
        **{f"unseen_{kind}": ", ".join(names) for kind, names in plan.unseen.items()},
        "background": (config or HybridConfig()).background,
        "target_depth": (config or HybridConfig()).target_depth,
    }
    return result_of("stand-in for table 6", rows, images.records, network, options | head_options(plan.head), seeds)


_Line = tuple[torch.Tensor, tuple[str, ...], HybridSet | None]


def _lines(
    run: str,
    images: ClassedImages,
    split: Split,
    plan: StandIn,
    network: FeatureNetwork,
    out: Path,
    seed: int,
    config: HybridConfig | None,
    cache: Path | None,
    announce: Announce,
) -> dict[str, _Line]:
    """What joins the training images of each line, by the line's name."""
    known = ClassedImages(root=images.root, records=split.known_train, class_of=images.class_of)
    drawn = pairs_of_classes(known, HybridConfig(count=plan.count, decoders=("ahd",), seed=seed))
    parents = [(one.reference, one.target) for one in drawn]
    within = [
        ListedPair(own[place].relative, own[place - 1].relative)
        for name in known.classes
        for own in (known.of_class(name),)
        for place in range(len(own) if len(own) > 1 else 0)
    ]
    listed = [ListedPair(reference.relative, target.relative) for reference, target in parents] + within
    folder = out / "hybrids"
    settings = replace(config or HybridConfig(), seed=seed, decoders=("ahd", "ahe"), classes=())
    generate_hybrids(
        run,
        [images.root],
        folder,
        pairs=listed,
        config=settings,
        resume=(folder / DATASET).exists(),
        cache=cache,
        announce=lambda text: None,
    )
    lines: dict[str, _Line] = {"no generated hybrids": (torch.zeros(0, 0), (), None)}
    for name, paths in _baseline_files(parents, out / "baselines").items():
        lines[f"+ {name}"] = image_features(paths, network), ("generated",) * len(paths), None
    whole = HybridSet(label="", folder=folder, redrawn=True)
    check_parents(whole, split.known_train)
    rows, (features, kinds) = whole.rows(), set_features(whole, network)
    hybrid = torch.tensor([kind == "generated" for kind in kinds])
    decoder = torch.tensor([row.decoder == "ahe" for row in rows])
    order = {pair: place for place, pair in enumerate(dict.fromkeys((row.reference, row.target) for row in rows))}
    alternate = torch.tensor([order[row.reference, row.target] % 2 == 1 for row in rows]) == decoder
    choices = {
        "+ ours, AHD": hybrid & ~decoder,
        "+ ours, AHE": hybrid & decoder,
        "+ ours, both in turn": hybrid & alternate,
        "+ ours, both in turn, redrawn non-hybrids": alternate,
    }
    for label, chosen in choices.items():
        taken = tuple(kind for kind, take in zip(kinds, chosen.tolist(), strict=True) if take)
        lines[label] = features[chosen], taken, whole
    announce(
        f"seed {seed}: {int((hybrid & ~decoder).sum())} hybrids by each decoder, {len(within)} pairs within classes"
    )
    return lines


def _baseline_files(parents: Sequence[tuple[Record, Record]], folder: Path) -> dict[str, list[Path]]:
    """Average and colour transfer of the same parents, written beside the hybrids to be looked at."""
    files: dict[str, list[Path]] = {}
    for number, (reference, target) in enumerate(parents):
        pixels = [to_rgb_u8(load_image(record.path).pixels) for record in (reference, target)]
        for name, image in baselines(*pixels).items():
            path = make_folder(folder / name.replace(" ", "_")) / f"{number:06d}.png"
            save_png(path, image)
            files.setdefault(name, []).append(path)
    return files
