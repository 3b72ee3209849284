"""`evaluate --table 6`: hybrid detection by the HDR butterflies' CSV files, or its stand-in on class folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from anomalyhybrid.data.class_folders import ClassedImages
from anomalyhybrid.data.files import make_folder
from anomalyhybrid.data.heliconius import read_butterflies
from anomalyhybrid.data.locks import locked
from anomalyhybrid.errors import ConfigError, DataError, WeightsError, WeightsNotFoundError
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.evaluation.features import FeatureName, FeatureNetwork, load_features
from anomalyhybrid.evaluation.hybrid_head import HeadConfig
from anomalyhybrid.evaluation.report import write_report
from anomalyhybrid.evaluation.result_files import read_results, write_result
from anomalyhybrid.evaluation.results import Result
from anomalyhybrid.generation.hybrid_config import HybridConfig
from anomalyhybrid.generation.manifest import DATASET
from anomalyhybrid.models.dinov2 import find_dinov2
from anomalyhybrid.recipes.evaluation.hybrid_stand_in import StandIn, stand_in_table_6
from anomalyhybrid.recipes.evaluation.hybrids import HybridSet, table_6
from anomalyhybrid.recipes.evaluation.page import REPORT
from anomalyhybrid.recipes.evaluation.sets import SHIPPED, Bench
from anomalyhybrid.recipes.hybrids import generate_hybrids, read_classed
from anomalyhybrid.types import Decoder

AUTO: tuple[FeatureName, ...] = ("dinov2", "efficientnet_lite2", "vgg16")
"""Networks in the order in which ``auto`` looks for their weights; all but the first are stand-ins."""
LEFT_OUT = 0.25  # share of the classes that plays each part of the stand-in where none is named
UNKNOWN_TRAINING = "whether the generator was trained on the classes left out is not recorded in its file"


def hybrid_table(
    data: Sequence[Path], config: EvaluateConfig, bench: Bench, *, skip_unreadable: bool = False
) -> Result:
    """Evaluate Table 6 and write ``table_6.json`` (of the stand-in ``table_6_stand_in.json``) and the report.

    With both CSV files: the training set alone, then with hybrids by each decoder and by both, all drawn from the
    training non-hybrids. Without: the stand-in, on class folders. Generated sets are kept in ``sets``; heads train
    anew, which takes seconds.

    Args:
        data: One folder: of the images that the CSV files name, or of class folders.
        config: CSV files, parts of the stand-in, features, seeds, `pairs`.
        bench: Where to work.
        skip_unreadable: Leave unreadable images out, by name.

    Returns:
        The result.

    Raises:
        ConfigError: Too few classes for a stand-in, or decoders that it cannot take.
        DataError: No class folders, CSV files that do not fit, a set begun with other settings.
        WeightsError: No generator or no feature network.
    """
    out, stand_in = bench.out, not config.train_csv
    network = hybrid_features(config, bench)
    make_folder(out)
    with locked(out / ".locks" / "table_6"):
        if stand_in:
            images = read_classed(data, None, skip_unreadable=skip_unreadable, announce=bench.announce)
            result = _stand_in(images, network, config, bench)
        else:
            result = _published(data, network, config, bench, skip_unreadable=skip_unreadable)
        write_result(result, out / ("table_6_stand_in.json" if stand_in else "table_6.json"))
        write_report(read_results(out), out / REPORT)
    return result


def hybrid_features(config: EvaluateConfig, bench: Bench) -> FeatureNetwork:
    """Load the feature network; ``auto`` takes DINOv2-base where its weights are, else the first stand-in.

    Raises:
        WeightsError: No network's weights are found (all places are named), or a given path is not right.
    """
    names = AUTO if config.hybrid_features == "auto" else (config.hybrid_features,)
    if config.dinov2_weights and config.hybrid_features == "auto":
        names = ("dinov2",)  # a path that is given must be right
    problems: list[WeightsError] = []
    for name in names:
        path = getattr(config, f"{name}_weights")
        if name == "dinov2" and not path and (absent := _absent_dinov2()):
            problems.append(absent)
            continue
        try:
            network = load_features(name, weights=Path(path) if path else None, device=bench.device)
        except WeightsNotFoundError as error:
            problems.append(error)
            continue
        if name != "dinov2":
            bench.announce(f"features: {name}, a stand-in for DINOv2-base (give evaluate.dinov2_weights for the real)")
        return network
    raise WeightsError("\n".join(map(str, problems)))


def _absent_dinov2() -> WeightsError | None:
    """Why DINOv2 is nowhere on this machine; None where it is. One that is there must load."""
    try:
        find_dinov2()
    except WeightsError as error:
        return error
    return None


def plan_of(images: ClassedImages, config: EvaluateConfig) -> StandIn:
    """Which classes play what: those named, else the last quarter (at least one) unseen, the quarter before signal.

    Raises:
        ConfigError: Fewer than four classes, or fewer than two left as known ones.
        DataError: A named class that the data lack.
    """
    images.only((*config.signal, *config.unseen))
    size = max(1, round(LEFT_OUT * len(images.classes)))
    free = [name for name in images.classes if name not in (*config.signal, *config.unseen)]
    unseen = config.unseen or tuple(free[len(free) - size :])
    free = [name for name in free if name not in unseen]
    signal = config.signal or tuple(free[len(free) - size :])
    known = [name for name in free if name not in signal]
    if len(known) < 2:
        raise ConfigError(
            f"{images.root} has {len(images.classes)} classes, which leaves {len(known)} known ones; a stand-in for "
            "table 6 needs two known classes, one signal and one unseen: give four classes or more, or name fewer"
        )
    return StandIn(signal=signal, unseen={"unseen": unseen}, count=config.pairs, head=_head(config))


def _head(config: EvaluateConfig) -> HeadConfig:
    return HeadConfig(epochs=config.head_epochs)


def _stand_in(images: ClassedImages, network: FeatureNetwork, config: EvaluateConfig, bench: Bench) -> Result:
    if set(config.decoders) != {"ahd", "ahe"}:
        raise ConfigError("the stand-in for table 6 compares both decoders; leave evaluate.decoders as it is")
    plan = plan_of(images, config)
    bench.announce(
        f"STAND-IN for table 6, no real hybrids: {', '.join(plan.signal)} play the signal hybrid, "
        f"{', '.join(plan.left_out())} hybrids never seen"
    )
    result = stand_in_table_6(
        bench.run,
        images,
        plan,
        network,
        bench.out / "sets" / "table_6_stand_in",
        seeds=config.seeds,
        config=_settings(config, config.seeds[0]),
        cache=bench.cache,
        announce=bench.announce,
    )
    if bench.run == SHIPPED:
        return result
    rows = [replace(row, notes=(*row.notes, UNKNOWN_TRAINING)) if row.checkpoint else row for row in result.rows]
    return replace(result, rows=tuple(rows))


def _settings(config: EvaluateConfig, seed: int) -> HybridConfig:
    return HybridConfig(
        count=config.pairs * len(config.decoders),
        decoders=config.decoders,
        seed=seed,
        edge_weights=config.edge_weights,
        depth_weights=config.depth_weights,
    )


def _published(
    data: Sequence[Path], network: FeatureNetwork, config: EvaluateConfig, bench: Bench, *, skip_unreadable: bool
) -> Result:
    """Table 6 itself: sides from both CSV files, hybrids from the training side."""
    if len(data) != 1:
        raise DataError(f"{len(data)} data folders given; table 6 needs the one folder of the butterflies' images")
    train, test = (read_butterflies(Path(table), data[0]) for table in (config.train_csv, config.test_csv))
    for name, side in (("training", train), ("test", test)):
        bench.announce(f"{name}: {side.describe()}")
    folder = bench.out / "sets" / "hybrids"
    generate_hybrids(
        bench.run,
        data,
        folder,
        labels=Path(config.train_csv),
        config=_settings(config, config.seeds[0]),
        resume=(folder / DATASET).exists(),
        skip_unreadable=skip_unreadable,
        cache=bench.cache,
        announce=bench.announce,
        report=lambda done, total: bench.note(f"hybrids: {done} of {total} images"),
    )
    lines: list[tuple[Decoder, ...]] = [(name,) for name in config.decoders]
    lines += [config.decoders] if len(config.decoders) > 1 else []
    sets = [HybridSet(label=f"ours, {' + '.join(names).upper()}", folder=folder, decoders=names) for names in lines]
    result = table_6(train, test, sets, network, seeds=config.seeds, head=_head(config), announce=bench.announce)
    named = config.dataset_names()
    options = {**result.options, "pairs": config.pairs, "decoders": " + ".join(config.decoders)}
    datasets = {name: named[name][0] for name in result.categories if name in named}
    return replace(result, options=options, datasets=datasets)
