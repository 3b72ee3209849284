"""Depth-level generation on real disparity (issue 4, "It must show" 2): potholes moved elsewhere on the road.

    python benchmarks/depth_potholes.py pack     --data POTHOLE_RGBD --out CARRY
    python benchmarks/depth_potholes.py train    --data CARRY --out RUN --minutes 2.5 [--vgg-weights VGG16]
    python benchmarks/depth_potholes.py generate --data CARRY --run RUN --out SET [--generator shipped]
    python benchmarks/depth_potholes.py measure  --data CARRY --set SET --out DIR --alexnet FILE --lpips-heads FILE

`--data` is a folder of rgb/, depth/ and ground_truth/ (`data/rgb_depth.py`); its depth is disparity, larger is nearer.
`pack` squeezes each image to a square of the model's size, so the aspect is lost: colour by area to JPEG, masks as
`mask_to_model`, disparity by nearest neighbour, so that every number is one of the file's own and 0 stays unmeasured.

Every image shows a pothole, so there is no good one. These rules follow:

- Split: a seeded third (`base_split`, near-duplicates on one side) is all that generators and detectors see; the other
  two thirds test. The sorted third would be one recording alone. `--split-seed` is the same for all steps.
- `train` learns from the third with `cut_out`: depth inside its potholes is left out of every term.
- Targets are the third itself. A target's own pothole and a margin are taken off the place where a new one may lie
  (`clear_of_defects`); `measure` counts pixels of own potholes that changed. The label mask shows both.
- Heights are drawn from what the third's own potholes measure against their surroundings.
- Detectors are trained without good images (`good_share` 0): the pixels outside the masks are the good ones. The third
  itself is in the training set of every method.
- Image figures are not defined, as every test image is defective; pixel figures are.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from anomalyhybrid.conditions.measured import MeasuredDepth
from anomalyhybrid.data.depth_files import read_depth
from anomalyhybrid.data.depth_preview import shaded, slope_scale
from anomalyhybrid.data.files import make_folder, write_text_atomic
from anomalyhybrid.data.loading import load_image, load_mask, mask_to_model, save_png, to_model_u8, to_rgb_u8
from anomalyhybrid.data.near_duplicates import duplicate_groups
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.splits import base_split
from anomalyhybrid.evaluation.baselines.depth import DepthImages, crop_paste_depth
from anomalyhybrid.evaluation.config import EvaluateConfig
from anomalyhybrid.evaluation.depth_samples import DepthSamples, join_depth, set_range, to_u8
from anomalyhybrid.evaluation.generation_quality import QualityConfig, QualityNetworks, generation_figures
from anomalyhybrid.evaluation.lpips import load_lpips
from anomalyhybrid.evaluation.samples import Samples
from anomalyhybrid.evaluation.segmenter import SegmenterConfig
from anomalyhybrid.generation.depth_config import DepthDefectConfig
from anomalyhybrid.generation.depth_rows import DepthRow, read_depth_rows
from anomalyhybrid.generation.manifest import Row, read_rows
from anomalyhybrid.recipes.depth_generation import clear_of_defects, generate_depth
from anomalyhybrid.recipes.depth_training import train_depth
from anomalyhybrid.recipes.evaluation.depth_data import DepthMaps, near_map
from anomalyhybrid.recipes.evaluation.depth_detection import NO_GOOD_IMAGE, detect_with_depth
from anomalyhybrid.recipes.evaluation.depth_methods import numbered
from anomalyhybrid.recipes.evaluation.pictures import Pictures, each
from anomalyhybrid.recipes.evaluation.sets import read_samples
from anomalyhybrid.recipes.sources import Sources, best_device
from anomalyhybrid.seeding import derive
from anomalyhybrid.training.config import TrainConfig

DISPARITY = MeasuredDepth(nearer_is_larger=True)
UNIT = "transformed disparity, 16 bits"
METHODS = ("ours", "CropPaste", "real third only")
SHOWN = ("pixel_ap", "pixel_auroc", "aupro")


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def write_json(path: Path, content: dict) -> None:
    """All or nothing; NaN becomes null."""

    def clean(value: object) -> object:
        if isinstance(value, dict):
            return {key: clean(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [clean(one) for one in value]
        return None if isinstance(value, float) and value != value else value

    make_folder(path.parent)
    write_text_atomic(path, json.dumps(clean(content), indent=1, allow_nan=False) + "\n")


def pack(given: argparse.Namespace) -> None:
    """Squeeze the whole set to the model's size."""
    folder = read_data(given.data)
    for name in ("rgb", "depth", "ground_truth"):
        make_folder(given.out / name)

    def squeeze(record: Record) -> int:
        pixels = load_image(record.path).pixels
        shape, stem, size = pixels.shape[:2], record.path.stem, given.size
        rgb = to_model_u8(pixels, size)
        cv2.imwrite(str(given.out / "rgb" / f"{stem}.jpg"), rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, given.quality])
        raw = DISPARITY.load(record, shape=(shape[0], shape[1])).raw
        save_png(given.out / "depth" / f"{stem}.png", cv2.resize(raw, (size, size), interpolation=cv2.INTER_NEAREST))
        if record.mask_path is not None:
            mask = mask_to_model(load_mask(record.mask_path, shape=(shape[0], shape[1])), size)
            save_png(given.out / "ground_truth" / f"{stem}.png", mask)
        return sum((given.out / name).joinpath(f"{stem}{end}").stat().st_size for name, end in FILES)

    say(f"{len(folder.records)} images, {sum(each(squeeze, folder.records)) / 1e6:.1f} MB in {given.out}")


FILES = (("rgb", ".jpg"), ("depth", ".png"), ("ground_truth", ".png"))


def split(given: argparse.Namespace) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """The third that is learnt from, and the rest."""
    records = read_data(given.data).records
    groups = duplicate_groups(records)
    base, test = base_split(records, variant="random", seed=given.split_seed, groups=groups)
    originals = len(set(groups.values()))
    say(f"{len(base)} images to learn from, {len(test)} to test on; {originals} originals of {len(groups)} images")
    return base, test


def train(given: argparse.Namespace) -> None:
    base, _ = split(given)
    config = TrainConfig(
        size=given.size,
        steps=given.steps,
        max_minutes=given.minutes,
        batch_size=given.batch_size,
        view_block=given.view_block,
        depth="measured_disparity",
        vgg_weights=given.vgg_weights,
        start=given.start,
        journal_every=given.journal_every,
        seed=given.seed,
    )
    started = time.monotonic()
    train_depth(
        base,
        (base[0].category,),
        given.out,
        config=config,
        cut_out=True,
        cache=given.cache or given.out / "cache",
        announce=say,
        report=lambda row: say(json.dumps(row)),
    )
    say(f"{len(base)} images with their potholes cut out, {time.monotonic() - started:.0f} s; {given.out}")


def measured_heights(base: tuple[Record, ...]) -> list[float]:
    """How far the potholes of each image lie below their surroundings, in the file's unit.

    The lower quartile inside against the median around: the lowest numbers inside are often matches gone wrong.
    """
    found = []
    for record in base:
        depth = DISPARITY.load(record)
        assert record.mask_path is not None
        mask = load_mask(record.mask_path, shape=(depth.valid.shape[0], depth.valid.shape[1]))
        grown = cv2.dilate(mask.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
        inside, around = mask & depth.valid, grown & ~mask & depth.valid
        if inside.any() and around.any():
            found.append(float(np.median(depth.values[around]) - np.percentile(depth.values[inside], 25)))
    return found


class OverError(Exception):
    """The time for generation is over; what is written stays."""


def generate(given: argparse.Namespace) -> None:
    """Aligned pairs; stops after `--seconds` with what is written."""
    started = time.monotonic()
    base, _ = split(given)
    heights = measured_heights(base)
    low, high = (float(value) for value in np.percentile(heights, (10, 90)))
    say(f"potholes of the third lie {low:.0f} to {high:.0f} deep ({sum(h > 0 for h in heights)} of {len(base)} deeper)")
    config = DepthDefectConfig(
        count=given.count,
        sign=given.sign,
        height=(max(low, 1.0), max(high, 1.0)),
        reference=given.reference,
        batch_size=given.batch_size,
        seed=given.seed,
    )

    def report(done: int, total: int) -> None:
        say(f"{done} of {total} pairs, {done / (time.monotonic() - started):.1f} a second")
        if given.seconds and time.monotonic() - started > given.seconds and done < total:
            raise OverError

    root = base[0].path.parents[len(Path(base[0].relative).parts) - 1]
    sources = Sources(root=root, categories=(base[0].category,), normals=base, base=base)
    try:
        summary = generate_depth(
            given.generator,
            str(given.run),
            sources,
            given.out,
            measured=DISPARITY,
            unit=UNIT,
            config=config,
            cache=given.cache or given.out.parent / "cache",
            announce=say,
            report=report,
        )
        say(json.dumps(summary))
    except OverError:
        say(f"stopped after {given.seconds:.0f} s; the pairs written so far are used")


def shown_row(folder: Path, row: Row, own: DepthRow, target: Record) -> np.ndarray:
    """Target, generated colour, disparity before and after, label mask, side by side."""
    before, after = (
        read_depth(path, nearer_is_larger=True) for path in (DISPARITY.path_of(target), folder / own.depth)
    )
    scale = slope_scale(before, after)
    label = to_rgb_u8(load_image(folder / str(row.label_mask)).pixels)
    colors = [to_rgb_u8(load_image(path).pixels) for path in (target.path, folder / row.image)]
    return np.concatenate([*colors, *(shaded(depth, scale=scale) for depth in (before, after)), label], axis=1)


def pair_figures(folder: Path, rows: list[Row], depth_rows: dict[str, DepthRow], targets: dict[str, Record]) -> dict:
    """What the pairs changed, where, and which way; only measured pixels count in depth."""
    overlap, deeper, moved, signs, profiles = 0, 0, [], [], []
    for row in rows:
        own, target = depth_rows[row.id], targets[row.target]
        before, after = (to_rgb_u8(load_image(path).pixels) for path in (target.path, folder / row.image))
        assert target.mask_path is not None
        pothole = load_mask(target.mask_path, shape=(before.shape[0], before.shape[1]))
        step = read_depth(folder / own.depth).raw.astype(np.int64) - read_depth(DISPARITY.path_of(target)).raw
        overlap += int((((before != after).any(axis=2) | (step != 0)) & pothole).sum())
        deeper += int(step.sum() < 0)
        moved.append(float(step[step != 0].mean()) if step.any() else 0.0)
        signs.append(own.sign)
        profiles.append(own.profile)
    return {
        "pairs": len(rows),
        "accepted": sum(row.accepted for row in rows),
        "deeper": deeper,
        "mean step of disparity": round(statistics.mean(moved), 1),
        "pixels of targets' own potholes that changed": overlap,
        "colour changed outside": sum(row.changed_outside for row in rows),
        "disparity changed outside": sum(depth_rows[row.id].changed_outside for row in rows),
        "signs": {name: signs.count(name) for name in sorted(set(signs))},
        "profiles": {name: profiles.count(name) for name in sorted(set(profiles))},
    }


def our_samples(folder: Path, rows: list[Row], depth_rows: dict[str, DepthRow], size: int, value_range) -> DepthSamples:
    def read(row: Row) -> tuple[np.ndarray, np.ndarray]:
        return near_map(read_depth(folder / depth_rows[row.id].depth, nearer_is_larger=True), size)

    near, valid = (torch.from_numpy(np.stack(part))[:, None] for part in zip(*each(read, rows), strict=True))
    return DepthSamples(read_samples(folder, tuple(rows), size), to_u8(near, valid, value_range))


def pasted_samples(base: DepthImages, kinds: tuple[str, ...], count: int, seed: int, value_range) -> DepthSamples:
    """CropPaste on the third itself, clear of each target's own pothole, which stays in the mask.

    One call a target, so that the target of each image is known. Where no place is left `crop_paste_depth` falls
    back to the defect's own one.
    """
    clear, total, parts = clear_of_defects(base.images), len(base), []
    kind = torch.zeros(total, dtype=torch.long, device=base.near.device)
    for number in range(total):
        share = count * (number + 1) // total - count * number // total
        if not share:
            continue
        one = torch.tensor([number], device=base.near.device)
        target = DepthImages(clear[one], base.near[one], base.valid[one])
        made = crop_paste_depth(target, base, kinds, kind, share, derive(seed, "target", number), value_range)
        mask = torch.maximum(made.color.mask_u8, base.images.region_u8[one])
        parts.append(DepthSamples(replace(made.color, mask_u8=mask).to("cpu"), made.depth_u8.cpu()))
    return join_depth(*parts)


def write_training_sheet(path: Path, made: dict[str, DepthSamples]) -> None:
    """One row a method: three of its images, each with disparity and label mask, as detectors see them."""
    strips = []
    for own in made.values():
        steps = torch.linspace(0, len(own) - 1, 3).long().tolist()
        cells = [
            part[i].expand(3, -1, -1) for i in steps for part in (own.color.image_u8, own.depth_u8, own.color.mask_u8)
        ]
        strips.append(torch.cat(cells, dim=2))
    save_png(path, torch.cat(strips, dim=1).permute(1, 2, 0).numpy())


def lpips_figures(given: argparse.Namespace, made: DepthSamples, base: DepthSamples, test: DepthSamples) -> dict:
    """Cluster LPIPS (alex) of colour and of depth; centres are test images, as the paper's."""
    device = best_device()
    network = load_lpips("alex", backbone=given.alexnet, heads=given.lpips_heads).to(device)
    networks = QualityNetworks(lpips={"alex": network.embed}, device=device)
    figures = {}
    for name in ("color", "depth"):
        sets: list[Samples] = [getattr(part, name) for part in (made, base, test)]
        found = generation_figures(sets[0], sets[1], sets[2], networks, QualityConfig(), given.seed)
        figures[name] = dict(found.figures) | ({"notes": list(found.notes)} if found.notes else {})
    return figures


def table_of(rows: list[dict]) -> dict:
    """Mean and deviation over the seeds, in percent, by the rows' names."""
    table: dict = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row["figures"] for row in rows if row["method"] == method]
        table[method] = {"seeds": len(own)}
        for name in SHOWN:
            values = [100 * figures[name] for figures in own]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            table[method][name] = [round(statistics.mean(values), 2), round(spread, 2)]
    return table


def measure(given: argparse.Namespace) -> None:
    """Sheet, cluster LPIPS, detection; `figures.json` is written after each part and each training."""
    started, device = time.monotonic(), best_device()
    base, test = split(given)
    targets, kinds = {record.relative: record for record in base}, (base[0].defect,)
    make_folder(given.out)
    all_rows, depth_rows = read_rows(given.set), {row.id: row for row in read_depth_rows(given.set)}
    rows = [row for row in all_rows if row.accepted] or all_rows
    sheet = [shown_row(given.set, row, depth_rows[row.id], targets[row.target]) for row in rows[: given.rows]]
    save_png(given.out / "potholes.png", np.concatenate(sheet))
    figures = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "size": given.size,
        "base images": len(base),
        "test images": len(test),
        "rule": NO_GOOD_IMAGE,
        "pairs": pair_figures(given.set, all_rows, depth_rows, targets),
    }
    write_json(given.out / "figures.json", figures)
    say(json.dumps(figures["pairs"]))
    pictures, maps = Pictures(given.size), DepthMaps(EvaluateConfig(size=given.size, nearer_is_larger=True))
    (near, valid), test_depth = maps.stack(base), maps.stack(test)
    value_range = set_range(near, valid)
    base_samples = DepthSamples(pictures.samples(base, kinds), to_u8(near, valid, value_range))
    test_samples = DepthSamples(pictures.samples(test, kinds), to_u8(*test_depth, value_range))
    images = DepthImages(pictures.image_set(base).to(device), near.to(device), valid.to(device))
    ours = numbered(our_samples(given.set, rows, depth_rows, given.size, value_range), kinds)
    pasted = pasted_samples(images, kinds, len(ours), given.seed, value_range)
    made = {"ours": ours, "CropPaste": pasted}
    write_training_sheet(given.out / "training.png", made | {METHODS[2]: base_samples})
    say(f"sets are read and pasted after {time.monotonic() - started:.0f} s")
    if given.alexnet and given.lpips_heads:
        figures["cluster LPIPS"] = {
            name: lpips_figures(given, own, base_samples, test_samples) for name, own in made.items()
        }
        write_json(given.out / "figures.json", figures)
        say(json.dumps(figures["cluster LPIPS"]))
    figures |= {"samples a detector": given.samples, "defects": len(ours), "rows": []}
    sets = {name: join_depth(base_samples, own) for name, own in made.items()} | {METHODS[2]: base_samples}
    begun = time.monotonic()
    for seed in given.seeds:
        for method in METHODS:
            if given.seconds and time.monotonic() - begun > given.seconds:
                say(f"stopped before {method}, seed {seed}: {given.seconds:.0f} s of detection are over")
                return
            detect(given, method, sets[method], test_samples, seed, figures, kinds)


def detect(
    given: argparse.Namespace,
    method: str,
    train_on: DepthSamples,
    test: DepthSamples,
    seed: int,
    figures: dict,
    kinds: tuple[str, ...],
) -> None:
    """Train one detector on colour and one on depth; three rows."""
    started = time.monotonic()
    config = SegmenterConfig(
        seed=seed,
        size=given.size,
        epochs=1,
        samples_per_epoch=given.samples,
        batch_size=given.detector_batch,
        width=given.detector_width,
        graph=given.graph,
        good_share=0.0,
        checks=1,
    )
    speeds: list[float] = []
    found = detect_with_depth(
        train_on,
        test,
        config,
        method=method,
        category=kinds[0],
        device=best_device(),
        report=lambda row: speeds.append(float(row["img_per_s"])),
    )
    for row in found.rows:
        figures["rows"].append({"method": row.method, "seed": seed, "figures": dict(row.figures), "notes": row.notes})
    figures["table"] = table_of(figures["rows"])
    write_json(given.out / "figures.json", figures)
    shown = ", ".join(f"{row.method.split(', ')[1]} {100 * row.figures['pixel_ap']:.1f}" for row in found.rows)
    seconds = time.monotonic() - started
    say(f"{method}, seed {seed}: pixel AP {shown}; {', '.join(f'{s:.0f}' for s in speeds)} img/s, {seconds:.0f} s")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    def command(name: str, function) -> argparse.ArgumentParser:
        added = commands.add_parser(name)
        added.set_defaults(function=function)
        added.add_argument("--data", type=Path, required=True)
        added.add_argument("--out", type=Path, required=True)
        added.add_argument("--size", type=int, default=256)
        added.add_argument("--seed", type=int, default=0)
        added.add_argument("--split-seed", type=int, default=0)
        added.add_argument("--cache", type=Path, default=None)
        return added

    one = command("pack", pack)
    one.add_argument("--quality", type=int, default=93)
    one = command("train", train)
    one.add_argument("--minutes", type=float, default=2.5)
    one.add_argument("--steps", type=int, default=20000)
    one.add_argument("--batch-size", type=int, default=16)
    one.add_argument("--view-block", type=int, default=8)
    one.add_argument("--journal-every", type=int, default=100)
    one.add_argument("--start", default="auto")
    one.add_argument("--vgg-weights", default="")
    one = command("generate", generate)
    one.add_argument("--run", type=Path, required=True, help="folder of the trained AnomalyHybrid*")
    one.add_argument("--generator", default="shipped", help="AnomalyHybrid that draws the colour")
    one.add_argument("--count", type=int, default=200)
    one.add_argument("--sign", default="auto", choices=["auto", "dent", "hole"])
    one.add_argument("--reference", choices=["edited", "measured"], default="edited", help="of DepthDefectConfig")
    one.add_argument("--batch-size", type=int, default=16)
    one.add_argument("--seconds", type=float, default=60.0, help="begin no batch after so long; 0 for no limit")
    one = command("measure", measure)
    one.add_argument("--set", type=Path, required=True)
    one.add_argument("--alexnet", type=Path, default=None)
    one.add_argument("--lpips-heads", type=Path, default=None)
    one.add_argument("--rows", type=int, default=12, help="of the sheet")
    one.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    one.add_argument("--samples", type=int, default=1000, help="images that each detector sees")
    one.add_argument("--detector-batch", type=int, default=8)
    one.add_argument("--detector-width", type=int, default=64)
    one.add_argument("--graph", action="store_true", help="replay the training step as a CUDA graph")
    one.add_argument("--seconds", type=float, default=100.0, help="begin no detector after so long; 0 for no limit")
    return parser.parse_args()


if __name__ == "__main__":
    given = arguments()
    given.function(given)
