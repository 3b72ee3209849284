"""Global generation on class folders (issue 4): train, generate hybrids, measure them, a stand-in for Table 6.

    python benchmarks/hybrids_heliconius.py train --data HELICONIUS --out RUN --vgg-weights VGG16 --minutes 6
    python benchmarks/hybrids_heliconius.py generate --run RUN --data HELICONIUS --out SET
    python benchmarks/hybrids_heliconius.py measure SET --out FIGURES.json --alexnet FILE --lpips-heads FILE
    python benchmarks/hybrids_heliconius.py table6 --run RUN --data HELICONIUS --out DIR --weights EFFICIENTNET_LITE2

`train` starts from the shipped generator; `--leave-out` keeps classes from it (for `table6`: those of `--unseen`). In
training the reference is always a warped view of the target's own photograph, so a network that knows the photographs
by their structure could take the colours from there and ignore the reference. So each photograph is shown in other
colours too (`--recolours`): the structure then no longer tells them. There are no pseudo-defects (`--edit 0`,
`--blend 0`), since a hybrid is a whole image, unedited; `--independent` is how often a condition has a pose
of its own. `--run` is a run folder, a generator file, or `shipped`. Runs with PYTHONPATH=src where the package is not
installed; `table6` needs scikit-learn; a generator file and a CPU will do.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import cv2
import numpy as np

from anomalyhybrid.augment.config import AugmentConfig
from anomalyhybrid.data.class_folders import read_class_folders
from anomalyhybrid.data.loading import load_image, save_png, to_rgb_u8
from anomalyhybrid.evaluation.features import load_features
from anomalyhybrid.evaluation.lpips import load_lpips
from anomalyhybrid.evaluation.result_files import write_result
from anomalyhybrid.evaluation.results import Result
from anomalyhybrid.generation.hybrid_config import HybridConfig
from anomalyhybrid.generation.hybrid_sheet import write_hybrid_sheet
from anomalyhybrid.recipes.evaluation.hybrid_measures import measure_hybrids
from anomalyhybrid.recipes.evaluation.hybrid_stand_in import StandIn, stand_in_table_6
from anomalyhybrid.recipes.hybrids import generate_hybrids
from anomalyhybrid.recipes.training import train
from anomalyhybrid.seeding import derive
from anomalyhybrid.training.config import TrainConfig

SIGNAL = ["H.e.emma", "H.e.etylus"]
UNSEEN = ["banded=H.e.favorinus,H.e.phyllis,H.m.amaryllis", "lookalike=H.m.malleti,H.m.melpomeneFG"]
"""Banded ones carry a yellow hindwing bar that no known subspecies has; look-alikes share a known one's pattern."""


GAMMA = (0.6, 1.6)
"""Range of the exponents by which the channels of a recoloured photograph differ."""


def recoloured(image_u8: np.ndarray, seed: int) -> np.ndarray:
    """The photograph with channels exchanged and bent each by an exponent of its own; black and white stay."""
    rng = np.random.default_rng(seed)
    exponents = np.exp(rng.uniform(np.log(GAMMA[0]), np.log(GAMMA[1]), 3))
    shown = (image_u8[..., rng.permutation(3)] / 255.0) ** exponents
    return np.rint(255 * shown).astype(np.uint8)


def training_folder(given: argparse.Namespace) -> Path:
    """The classes that train, each photograph with its recoloured copies."""
    images = read_class_folders(given.data)
    if given.leave_out:
        images.only(tuple(given.leave_out))  # refuses names that are no class
    data = given.out / "data" / given.data.name
    for record in images.records:
        name = images.class_of[record.relative]
        if name in given.leave_out:
            continue
        pixels = to_rgb_u8(load_image(record.path).pixels)
        height, width = pixels.shape[:2]
        scale = 2 * given.size / max(height, width)  # more would only be read, not seen
        if scale < 1:
            new = round(width * scale), round(height * scale)
            pixels = cv2.resize(pixels, new, interpolation=cv2.INTER_AREA)
        (data / name).mkdir(parents=True, exist_ok=True)
        save_png(data / name / f"{record.path.stem}.png", pixels)
        for number in range(given.recolours):
            copy = recoloured(pixels, derive(given.seed, "recolour", record.relative, number))
            save_png(data / name / f"{record.path.stem}_recoloured_{number}.png", copy)
    return data


def train_run(given: argparse.Namespace) -> None:
    """Train one generator on all classes, or on all but some, as one category."""
    data = training_folder(given)
    config = TrainConfig(
        steps=given.steps,
        max_minutes=given.minutes,
        batch_size=given.batch_size,
        size=given.size,
        view_block=given.view_block,
        start=given.start,
        preset=given.preset,
        vgg_weights=given.vgg_weights,
        augment=AugmentConfig(edit=given.edit, blend=given.blend, independent=given.independent),
        journal_every=100,
        seed=given.seed,
    )
    train(
        [data],
        given.out / "run",
        config=config,
        cache=given.cache or given.out / "cache",
        announce=print,
        report=lambda row: print(json.dumps(row), flush=True),
    )
    print(given.out / "run")


def generate_set(given: argparse.Namespace) -> None:
    """Hybrids of all ordered pairs of classes by both decoders, and a sheet with the parents."""
    started = time.monotonic()
    config = HybridConfig(
        count=given.count,
        seed=given.seed,
        classes=tuple(given.classes),
        background=given.background,
        target_depth=given.target_depth,
    )
    summary = generate_hybrids(
        given.run,
        [given.data],
        given.out,
        pairs=given.pairs,
        config=config,
        resume=(given.out / "dataset.json").exists(),
        cache=given.cache,
        announce=print,
    )
    sheet = given.sheet or given.out / "sheet.png"
    write_hybrid_sheet(given.out, sheet, limit=given.lines)
    print(json.dumps(summary), f"{time.monotonic() - started:.0f} s, look at {sheet}", flush=True)


def measure_set(given: argparse.Namespace) -> None:
    """Distances to both parents, beside the average and the colour transfer of the same parents."""
    lpips = None
    if given.alexnet:
        lpips = load_lpips("alex", backbone=given.alexnet, heads=given.lpips_heads)
    figures = measure_hybrids(given.set, lpips=lpips, size=given.size)
    for method, own in figures.items():
        print(f"{method}: {own['images']} images, {own['without_silhouette']} without a silhouette")
        for kind, values in own.items():
            if isinstance(values, dict):
                print(f"  {kind:10s} " + ", ".join(f"{name} {value:.3f}" for name, value in values.items()))
    if given.out:
        given.out.write_text(json.dumps(figures, indent=1) + "\n")


def table_of(result: Result) -> list[str]:
    """Mean and deviation over seeds, one line a method."""
    lines = []
    for method in result.methods:
        own = [row.figures for row in result.rows if row.method == method]
        shown = []
        for name in own[0]:
            values = [figures[name] for figures in own]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            shown.append(f"{name} {100 * statistics.mean(values):.1f} ± {100 * spread:.1f}")
        lines.append(f"{method}: " + ", ".join(shown))
    return lines


def table6(given: argparse.Namespace) -> None:
    """The stand-in for Table 6 on real photographs."""
    unseen = {kind: tuple(names.split(",")) for kind, _, names in (text.partition("=") for text in given.unseen)}
    plan = StandIn(signal=tuple(given.signal), unseen=unseen, count=given.count, train_share=given.train_share)
    network = load_features(given.features, weights=given.weights)
    result = stand_in_table_6(
        given.run,
        read_class_folders(given.data),
        plan,
        network,
        given.out,
        seeds=given.seeds,
        config=HybridConfig(background=given.background, target_depth=given.target_depth),
        cache=given.cache,
        announce=lambda text: print(text, flush=True),
    )
    write_result(result, given.out / "result.json")
    print("features:", *(net.stand_in or net.name for net in result.networks))
    print("\n".join(table_of(result)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(name: str, function, *, data: bool = True, out: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name)
        added.set_defaults(function=function)
        if data:
            added.add_argument("--data", type=Path, required=True)
            added.add_argument("--seed", type=int, default=0)
            added.add_argument("--cache", type=Path, default=None)
        added.add_argument("--out", type=Path, required=out)
        return added

    one = command("train", train_run)
    one.add_argument("--minutes", type=float, default=6.0)
    one.add_argument("--steps", type=int, default=100000)
    one.add_argument("--batch-size", type=int, default=16)
    one.add_argument("--size", type=int, default=256)
    one.add_argument("--view-block", type=int, default=8)
    one.add_argument("--start", default="auto")
    one.add_argument("--preset", default="lite")
    one.add_argument("--vgg-weights", default="")
    one.add_argument("--edit", type=float, default=0.0, help="share of pseudo-defects")
    one.add_argument("--blend", type=float, default=0.0, help="share of pasted pseudo-defects")
    one.add_argument("--independent", type=float, default=0.7, help="share of conditions with a pose of their own")
    one.add_argument("--recolours", type=int, default=6, help="recoloured copies of each photograph")
    one.add_argument("--leave-out", nargs="*", default=[])
    one = command("generate", generate_set)
    one.add_argument("--run", default="shipped")
    one.add_argument("--count", type=int, default=2, help="hybrids of each ordered pair of classes")
    one.add_argument("--classes", nargs="*", default=[])
    one.add_argument("--pairs", type=Path, default=None)
    one.add_argument("--background", choices=["target", "generated"], default="target")
    one.add_argument("--target-depth", choices=["silhouette", "estimated"], default="silhouette")
    one.add_argument("--sheet", type=Path, default=None)
    one.add_argument("--lines", type=int, default=16, help="of the sheet")
    one = command("measure", measure_set, data=False, out=False)
    one.add_argument("set", type=Path)
    one.add_argument("--alexnet", type=Path, default=None, help="AlexNet features, for LPIPS")
    one.add_argument("--lpips-heads", type=Path, default=None)
    one.add_argument("--size", type=int, default=256)
    one = command("table6", table6)
    one.add_argument("--run", default="shipped")
    one.add_argument("--features", default="efficientnet_lite2")
    one.add_argument("--weights", type=Path, default=None)
    one.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    one.add_argument("--count", type=int, default=4)
    one.add_argument("--train-share", type=float, default=0.5)
    one.add_argument("--signal", nargs="+", default=SIGNAL)
    one.add_argument("--unseen", nargs="+", default=UNSEEN)
    one.add_argument("--background", choices=["target", "generated"], default="target")
    one.add_argument("--target-depth", choices=["silhouette", "estimated"], default="silhouette")
    given = parser.parse_args()
    given.function(given)


if __name__ == "__main__":
    main()
