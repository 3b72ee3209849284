"""Depth-level generation on rendered parts, whose truth is known (issue 4, "It must show" 1).

    python benchmarks/depth_parts.py render  --scenes FILE.npz --count 1600 --size 256 --workers 16
    python benchmarks/depth_parts.py train   --scenes FILE.npz --out DIR --minutes 8 [--vgg-weights FILE]
    python benchmarks/depth_parts.py measure --scenes FILE.npz --run DIR --out DIR [--generator shipped] [--count 200]
    python benchmarks/depth_parts.py detect  --scenes FILE.npz --run DIR --out DIR [--samples 4000] [--graph]

`render` draws each scene good and defective, with true depth; products `nut` and `capsule` are held out: every scene of
theirs is left for `measure`. `train` learns AnomalyHybrid* on the others. `measure` reports, for each kind:

- network: AnomalyHybrid* reads held-out rendered defects in colour, with the good scene's maps as reference: share of
  signs it gets right, correlation of its relief with the true one over the regions' pixels, and of the heights.
- generated: aligned pairs on held-out good scenes, heights requested at random: sign agreement, correlation of
  generated with requested height, IoU of visibly changed colour with changed depth, pixels changed outside the mask,
  and where the profiles came from.
- colour alone: the sign that AnomalyHybrid* reads in the generated colour image with the *untouched* maps as
  reference: whether the colour shows what the depth does.

`detect` is Table 4: UNets on colour, on depth, and the mean of their maps, trained on our aligned pairs, on Perlin
depth (EasyNet) or on smoothed Perlin depth (3DSR). Good scenes of half of the held-out products' scenes train; the
others, good and defective, test. Neither generator saw these products, and no method sees a rendered defect of theirs;
ours come from generators that learnt from rendered defects of other products.
"""

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from results import write_result

from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.conditions.lite import lite_depth, lite_edge
from anomalyhybrid.data.depth_files import DepthImage
from anomalyhybrid.data.depth_preview import shaded, slope_scale
from anomalyhybrid.data.files import make_folder
from anomalyhybrid.data.loading import save_png
from anomalyhybrid.data.parts import DEFECTS, PRODUCTS, render_pair
from anomalyhybrid.evaluation.baselines.depth import DepthImages, PerlinDepthConfig, perlin_depth
from anomalyhybrid.evaluation.depth_samples import DepthSamples, join_depth, set_range, to_u8
from anomalyhybrid.evaluation.samples import GOOD_KIND, Samples
from anomalyhybrid.evaluation.segmenter import SegmenterConfig
from anomalyhybrid.generation.compose import native_tensor
from anomalyhybrid.generation.depth_config import SIGNS, DepthDefectConfig, Sign
from anomalyhybrid.generation.depth_defects import Pairs, accepted_pairs, composed_color, read_relief
from anomalyhybrid.generation.depth_pool import DENT, FLAT, HOLE, PairPool
from anomalyhybrid.generation.depth_profile import SOURCES, apply_relief, native_relief
from anomalyhybrid.generation.depth_writer import compose_pair
from anomalyhybrid.generation.pool import CategoryPool, maps_of
from anomalyhybrid.generation.quality import visible_region
from anomalyhybrid.manipulate.symmetry import Symmetry
from anomalyhybrid.models.config import generator_preset
from anomalyhybrid.models.generator import Generator, load_generator
from anomalyhybrid.models.weights import shipped
from anomalyhybrid.ops.regions import masked_mean
from anomalyhybrid.recipes.depth_sets import with_depth
from anomalyhybrid.recipes.depth_training import sister_start
from anomalyhybrid.recipes.evaluation.depth_detection import detect_with_depth
from anomalyhybrid.recipes.sources import best_device
from anomalyhybrid.recipes.training import perceptual_network
from anomalyhybrid.seeding import derive
from anomalyhybrid.training.config import TrainConfig, loss_preset
from anomalyhybrid.training.loop import RunFiles
from anomalyhybrid.training.sister import SisterTrainer
from anomalyhybrid.training.sister_pool import DepthPool, DepthSet, gather

HELD_OUT = ("nut", "capsule")
HEIGHTS = (0.03, 0.2)  # range of requested heights, in units of a product's depth range
FLAT_SHARE = DepthDefectConfig().flat_share


def draw_pair(index: int, size: int, seed: int) -> tuple:
    """One scene good and defective: pictures, depths, label mask, object mask, numbers of product and defect."""
    product = index % len(PRODUCTS)
    defect = (index // len(PRODUCTS)) % len(DEFECTS)
    good, bad = render_pair(
        PRODUCTS[product],
        product_seed=derive(seed, "product", index // 4),
        image_seed=derive(seed, "image", index),
        defect=DEFECTS[defect],
        defect_seed=derive(seed, "defect", index),
        size=size,
    )
    depths = good.depth.astype(np.float16), bad.depth.astype(np.float16)
    return good.image_u8, bad.image_u8, *depths, bad.label_mask, good.object_mask, product, defect


NAMES = ("good", "bad", "good_depth", "bad_depth", "label_mask", "object_mask", "product", "defect")


def render(given: argparse.Namespace) -> None:
    with ProcessPoolExecutor(given.workers) as pool:
        drawn = list(pool.map(partial(draw_pair, size=given.size, seed=given.seed), range(given.count), chunksize=8))
    arrays = {name: np.stack(part) for name, part in zip(NAMES, zip(*drawn, strict=True), strict=True)}
    temporary = given.scenes.with_name(f"partial-{given.scenes.name}")
    np.savez(temporary, **arrays)
    temporary.replace(given.scenes)
    print(f"{given.count} scenes in {given.scenes}")


def scene_sets(arrays: dict, chosen: np.ndarray) -> tuple[DepthSet, DepthSet, ImageSet, ImageSet]:
    """Good and defective scenes with true depth, and the same with the depth that the shipped generator knows."""
    device = best_device()
    size = arrays["good"].shape[1]
    extract = partial(
        ConditionCache(None, batch=64).extract, edge=lite_edge(device=device), depth=lite_depth(device=device)
    )
    sets, plain = [], []
    for name in ("good", "bad"):
        images = arrays[name][chosen]
        edges, depths = extract(list(images), size=size)
        region = arrays["label_mask"][chosen] if name == "bad" else np.zeros_like(arrays["label_mask"][chosen])
        masks = [torch.from_numpy(m)[:, None].to(torch.uint8) * 255 for m in (region, arrays["object_mask"][chosen])]
        color = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        category = torch.zeros(len(images), dtype=torch.long)
        plain.append(ImageSet(color, torch.as_tensor(depths), torch.as_tensor(edges), *masks, category))
        depth = torch.from_numpy(arrays[f"{name}_depth"][chosen].astype(np.float32)) * 2 - 1
        sets.append(with_depth(plain[-1], depth, torch.ones_like(depth, dtype=torch.bool)))
    return sets[0], sets[1], plain[0], plain[1]


def load_scenes(path: Path) -> tuple[dict, np.ndarray]:
    """Arrays, and bool: the scene shows a held-out product."""
    arrays = dict(np.load(path))
    held = np.isin(arrays["product"], [PRODUCTS.index(name) for name in HELD_OUT])
    return arrays, held


def train(given: argparse.Namespace) -> None:
    arrays, held = load_scenes(given.scenes)
    good, bad, _, _ = scene_sets(arrays, np.flatnonzero(~held))
    config = TrainConfig(
        size=arrays["good"].shape[1],
        steps=given.steps,
        max_minutes=given.minutes,
        batch_size=given.batch_size,
        view_block=given.view_block,
        seed=given.seed,
        vgg_weights=given.vgg_weights,
        journal_every=given.journal_every,
        sample_every=500,
        start=given.start,
    )
    config = replace(config, augment=replace(config.augment, edit=0.35, blend=0.25, pair_share=0.7))
    loss = loss_preset("default")
    wanted = replace(generator_preset(config.preset), gives="maps")
    generator = Generator(replace(wanted, width=given.width, max_width=8 * given.width)) if given.width else None
    generator = generator or sister_start(config, print)
    metadata = {
        "edge": "lite",
        "edge_name": lite_edge().name,
        "depth": "measured",
        "depth_name": "true depth of rendered parts",
        "size": str(config.size),
        "categories": "rendered parts",
        "licence": "Apache-2.0",
        "made_by": "benchmarks/depth_parts.py",
    }
    files = RunFiles(folder=make_folder(given.out), fingerprint="depth parts", metadata=metadata)
    features = perceptual_network(config, print) if given.vgg_weights else None
    trainer = SisterTrainer(config, loss, DepthPool(good, None, 1, (good, bad)), generator, features, files)
    started = time.monotonic()
    steps = trainer.run(report=lambda row: print(json.dumps(row), flush=True))
    print(f"{steps} steps in {time.monotonic() - started:.0f} s; {given.out}")


def correlation(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Pearson's, 0 where one of them does not vary."""
    a, b = np.array(ours) - np.mean(ours), np.array(theirs) - np.mean(theirs)
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return round(float((a * b).sum() / scale), 4) if scale > 1e-12 else 0.0


def all_maps(images: DepthSet) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Colour, depth and edge of all images as model values on the best device."""
    found = gather(images.to(best_device()), torch.arange(len(images), device=best_device()))
    return found.maps.color, found.maps.depth, found.maps.edge


def network_figures(sister: Generator, good: DepthSet, bad: DepthSet, defect: np.ndarray) -> dict:
    """How well AnomalyHybrid* reads true defects in colour, for each kind of defect."""
    rows: dict[str, list] = {}
    for start in range(0, len(good), 32):
        part = slice(start, start + 32)
        own, seen = all_maps(good[part]), all_maps(bad[part])
        change = read_relief(sister, seen[0], own[1], own[2]) - read_relief(sister, *own)
        true = seen[1] - own[1]
        inside = bad[part].region_u8.to(change.device) > 127
        for row in range(len(change)):
            mask = inside[row]
            if mask.any():
                ours, theirs = change[row][mask].float().cpu().numpy(), true[row][mask].float().cpu().numpy()
                rows.setdefault(DEFECTS[int(defect[start + row])], []).append((ours, theirs))
    figures = {}
    for kind, found in rows.items():
        known = [(a.mean(), b.mean()) for a, b in found if abs(b.mean()) > 0.01]
        peaks = [(float(a[np.abs(a).argmax()]), float(b[np.abs(b).argmax()])) for a, b in found]
        figures[kind] = {
            "scenes": len(found),
            "with_relief": len(known),
            "sign_agreement": round(float(np.mean([a * b > 0 for a, b in known])), 4) if known else None,
            "pixel_correlation": correlation(*(np.concatenate([pair[i] for pair in found]) for i in (0, 1))),
            "height_correlation": correlation([a for a, _ in peaks], [b for _, b in peaks]),
        }
    return figures


def finish(pairs: Pairs, row: int, images: ImageSet, depth: np.ndarray, height: float) -> dict:
    """Compose one pair at the scenes' own size and measure it; depth in units of the product's range, larger nearer."""
    color_u8 = images.color_u8[int(pairs.target_index[row])].cpu()
    target = color_u8.permute(1, 2, 0).numpy()
    composed = compose_pair(pairs, row, color_u8, target)
    label, sign = composed.label_mask, int(pairs.sign[row])
    raised = apply_relief(
        depth,
        np.ones(depth.shape, bool),
        label,
        native_relief(pairs.relief[row : row + 1], label),
        sign=-1 if sign in (DENT, HOLE) else 1,
        height=height,
        nearer_is_larger=True,
        to_background=sign == HOLE,
        flat_share=FLAT_SHARE if sign == FLAT else None,
    )
    moved = np.abs(raised.values - depth) > 0.03 * max(abs(raised.peak), 1e-9)
    shown = [native_tensor(image) for image in (target, composed.pixels)]
    seen = visible_region(*shown, torch.from_numpy(label).float()[None, None])[0, 0].numpy() > 0
    return {
        "pixels": composed.pixels,
        "depth": raised.values,
        "label": label,
        "requested": raised.requested,
        "generated": raised.peak,
        "iou": float((seen & moved).sum() / max(1, (seen | moved).sum())),
        "outside": int((raised.values != depth)[~label].sum()) + composed.changed_outside,
    }


def pair_figures(found: list[dict], alone: list[float], sources: list[str], sign: str) -> dict:
    """What was asked for against what came out, over the pairs of one sign."""
    toward = -1 if sign in ("dent", "hole") else 1
    generated, requested = ([row[name] for row in found] for name in ("generated", "requested"))
    errors = [abs(a - b) / abs(b) for a, b in zip(generated, requested, strict=True)]
    return {
        "pairs": len(found),
        "sign_agreement": round(float(np.mean([value * toward > 0 for value in generated])), 4),
        "height_correlation": correlation(generated, requested),
        "height_error": round(float(np.mean(errors)), 4),
        "iou": round(float(np.mean([row["iou"] for row in found])), 4),
        "iou_over_0.8": round(float(np.mean([row["iou"] >= 0.8 for row in found])), 4),
        "pixels_outside": sum(row["outside"] for row in found),
        "colour_alone_sign": round(float(np.mean([value * toward > 0 for value in alone])), 4),
        "profiles": {name: sources.count(name) for name in SOURCES},
    }


def generated_figures(
    model: Generator, sister: Generator, pool: PairPool, truth: np.ndarray, sign: Sign, given: argparse.Namespace
) -> tuple[dict, list]:
    """Aligned pairs of one sign: their figures, and a few of them to look at."""
    config = DepthDefectConfig(sign=sign, count=given.count, seed=given.seed, reference=given.reference)
    found, alone, sheet, sources = [], [], [], []
    for start in range(0, given.count, 32):
        indices = list(range(start, min(start + 32, given.count)))
        pairs = accepted_pairs(model, sister, pool, config, "parts", indices)
        color, _, edge = maps_of(pool.colour.normals, pairs.target_index)
        measured = pool.depth[pairs.target_index].float()
        shown = composed_color(pairs, color)
        change = read_relief(sister, shown, measured, edge) - read_relief(sister, color, measured, edge)
        alone += masked_mean(change, pairs.region_mask).flatten().tolist()
        pairs = pairs.each(torch.Tensor.cpu)
        sources += [SOURCES[int(value)] for value in pairs.profile]
        for row in range(len(indices)):
            depth = truth[int(pairs.target_index[row])]
            height = HEIGHTS[0] + float(pairs.height[row]) * (HEIGHTS[1] - HEIGHTS[0])
            result = finish(pairs, row, pool.colour.normals, depth, height)
            if len(sheet) < 3:
                sheet.append((pool.colour.normals.color_u8[int(pairs.target_index[row])].cpu(), depth, result))
            found.append({name: result[name] for name in ("requested", "generated", "iou", "outside")})
    return pair_figures(found, alone, sources, sign), sheet


def write_sheet(path: Path, entries: list) -> None:
    """One row a pair: target, its depth shaded, generated image, generated depth shaded, label mask."""
    strips = []
    for target, before, result in entries:
        depths = [
            DepthImage(values=v, valid=np.ones(v.shape, bool), raw=v, kind="tiff", nearer_is_larger=True)
            for v in (before.astype(np.float64), result["depth"])
        ]
        scale = slope_scale(*depths)
        label = np.repeat(result["label"][..., None], 3, axis=2).astype(np.uint8) * 255
        pictures = [target.permute(1, 2, 0).numpy(), shaded(depths[0], scale=scale), result["pixels"]]
        strips.append(np.concatenate([*pictures, shaded(depths[1], scale=scale), label], axis=1))
    save_png(path, np.concatenate(strips))


def load_both(given: argparse.Namespace) -> tuple[Generator, Generator]:
    """AnomalyHybrid and AnomalyHybrid*, on the best device."""
    device = best_device()
    colour_file = shipped("generator.safetensors") if given.generator == "shipped" else Path(given.generator)
    model = load_generator(colour_file)[0].to(device)
    return model, load_generator(given.run / "generator.safetensors")[0].to(device)


def pair_pool(good: DepthSet, plain: ImageSet) -> PairPool:
    """Good scenes as generation of aligned pairs takes them; procedural structure alone, no turn or flip."""
    device = best_device()
    symmetry = Symmetry(flip_x=False, flip_y=False, half_turn=False, any_turn=False)
    return PairPool(CategoryPool(plain.to(device), None, symmetry), good.depth.to(device))


def heading(arrays: dict, given: argparse.Namespace) -> dict:
    """What every file of figures begins with."""
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "size": arrays["good"].shape[1],
        "heights": HEIGHTS,
        "reference": given.reference,
    }


def measure(given: argparse.Namespace) -> None:
    arrays, held = load_scenes(given.scenes)
    chosen = np.flatnonzero(held)
    good, bad, plain, _ = scene_sets(arrays, chosen)
    model, sister = load_both(given)
    pool = pair_pool(good, plain)
    truth = arrays["good_depth"][chosen].astype(np.float32)
    figures = heading(arrays, given)
    figures |= {"network": network_figures(sister, good, bad, arrays["defect"][chosen]), "generated": {}}
    print(json.dumps(figures["network"]), flush=True)
    make_folder(given.out)
    entries = []
    for sign in SIGNS:
        figures["generated"][sign], sheet = generated_figures(model, sister, pool, truth, sign, given)
        entries += sheet
        print(sign, json.dumps(figures["generated"][sign]), flush=True)
        write_result(given.out / "figures.json", figures)
    write_sheet(given.out / "pairs.png", entries)


def stacked(pixels: Sequence[np.ndarray], masks: Sequence[np.ndarray], kind: Sequence[int], kinds) -> Samples:
    """Pictures (S, S, 3) and bool masks (S, S) as a detector takes them."""
    image = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    mask = torch.from_numpy(np.stack(masks).astype(np.uint8) * 255)[:, None]
    return Samples(image, mask, torch.as_tensor(kind, dtype=torch.long), tuple(kinds))


def near_of(depths: Sequence[np.ndarray]) -> torch.Tensor:
    """Depth, larger nearer, float (N, 1, S, S)."""
    return torch.from_numpy(np.stack(depths).astype(np.float32))[:, None]


def shown_depth(depths: Sequence[np.ndarray], value_range: tuple[float, float]) -> torch.Tensor:
    near = near_of(depths)
    return to_u8(near, torch.ones_like(near, dtype=torch.bool), value_range)


def our_pairs(
    model: Generator,
    sister: Generator,
    pool: PairPool,
    truth: np.ndarray,
    value_range: tuple[float, float],
    seed: int,
    given: argparse.Namespace,
) -> DepthSamples:
    """Aligned pairs in equal shares of the signs, heights drawn as in `measure`; what changed nothing is left out."""
    made, kind = [], []
    for number, sign in enumerate(SIGNS):
        count = given.pairs // len(SIGNS)
        config = DepthDefectConfig(sign=sign, count=count, seed=seed, reference=given.reference)
        for start in range(0, count, 32):
            indices = list(range(start, min(start + 32, count)))
            pairs = accepted_pairs(model, sister, pool, config, "parts", indices).each(torch.Tensor.cpu)
            for row in range(len(indices)):
                depth = truth[int(pairs.target_index[row])]
                height = HEIGHTS[0] + float(pairs.height[row]) * (HEIGHTS[1] - HEIGHTS[0])
                result = finish(pairs, row, pool.colour.normals, depth, height)
                if result["label"].any():
                    made.append(result)
                    kind.append(number)
    pixels, labels, depths = ([result[name] for result in made] for name in ("pixels", "label", "depth"))
    return DepthSamples(stacked(pixels, labels, kind, SIGNS), shown_depth(depths, value_range))


def test_side(arrays: dict, chosen: np.ndarray, value_range: tuple[float, float]) -> DepthSamples:
    """Scenes good and defective."""
    empty = np.zeros_like(arrays["label_mask"][chosen])
    pixels = [*arrays["good"][chosen], *arrays["bad"][chosen]]
    kind = [GOOD_KIND] * len(chosen) + arrays["defect"][chosen].tolist()
    depths = [*arrays["good_depth"][chosen], *arrays["bad_depth"][chosen]]
    masks = [*empty, *(arrays["label_mask"][chosen] > 0)]
    return DepthSamples(stacked(pixels, masks, kind, DEFECTS), shown_depth(depths, value_range))


FORMS: dict[str, Literal["values", "smooth"]] = {
    "Perlin depth (EasyNet)": "values",
    "smooth Perlin depth (3DSR)": "smooth",
}
METHODS = ("ours", *FORMS)


def write_training_sheet(path: Path, shown: dict[str, DepthSamples]) -> None:
    """One row a method: three of its images, each with its depth and mask."""
    strips = []
    for made in shown.values():
        steps = torch.linspace(0, len(made) - 1, 3).long().tolist()
        parts = [(made.color.image_u8[i], made.depth_u8[i], made.color.mask_u8[i]) for i in steps]
        cells = [part.expand(3, -1, -1).permute(1, 2, 0).numpy() for row in parts for part in row]
        strips.append(np.concatenate(cells, axis=1))
    save_png(path, np.concatenate(strips))


def detector_config(given: argparse.Namespace, seed: int, size: int) -> SegmenterConfig:
    return SegmenterConfig(
        seed=seed,
        size=size,
        epochs=1,
        samples_per_epoch=given.samples,
        batch_size=given.detector_batch,
        width=given.detector_width,
        graph=given.graph,
    )


def detect(given: argparse.Namespace) -> None:
    """Table 4 on held-out rendered products; figures are written after each method and seed."""
    started, device = time.monotonic(), best_device()
    arrays, held = load_scenes(given.scenes)
    held_out = np.flatnonzero(held)
    side = held_out // len(PRODUCTS) // len(DEFECTS) % 2  # whole rounds of products and defects on one side
    train_on, test_on = held_out[side == 0], held_out[side == 1]
    good, _, plain, _ = scene_sets(arrays, train_on)
    truth = arrays["good_depth"][train_on].astype(np.float32)
    near = near_of(truth)
    valid = torch.ones_like(near, dtype=torch.bool)
    value_range = set_range(near, valid)
    images = DepthImages(plain.to(device), near.to(device), valid.to(device))
    test = test_side(arrays, test_on, value_range)
    empty = [np.zeros(truth.shape[1:], bool)] * len(train_on)
    good_pictures = arrays["good"][train_on], empty, [GOOD_KIND] * len(train_on)
    model, sister = load_both(given)
    ours = partial(our_pairs, model, sister, pair_pool(good, plain), truth, value_range)
    figures = heading(arrays, given) | {"samples a detector": given.samples, "defects": given.pairs, "rows": []}
    make_folder(given.out)
    shown = {}
    for seed in given.seeds:
        for method in METHODS:
            if given.seconds and time.monotonic() - started > given.seconds:
                print(f"stopped before {method}, seed {seed}: {given.seconds} s are over", flush=True)
                return
            if method == "ours":
                made = ours(seed, given)
            else:
                form = PerlinDepthConfig(form=FORMS[method])
                made = perlin_depth(images, given.pairs, seed, value_range, config=form)
                made = DepthSamples(made.color.to("cpu"), made.depth_u8.cpu())
            color = stacked(*good_pictures, made.color.kinds)
            train_images = join_depth(DepthSamples(color, shown_depth(truth, value_range)), made)
            config = detector_config(given, seed, arrays["good"].shape[1])
            found = detect_with_depth(
                train_images, test, config, method=method, category="rendered parts", device=device
            )
            for row in found.rows:
                values = {name: round(100 * value, 2) for name, value in row.figures.items()}
                figures["rows"].append({"method": row.method, "seed": seed, **values, "samples": dict(row.samples)})
                print(f"{time.monotonic() - started:.0f} s, {row.method}, {seed}: {json.dumps(values)}", flush=True)
            write_result(given.out / "detection.json", figures)
            if len(shown) < len(METHODS):
                shown[method] = made
                write_training_sheet(given.out / "training.png", shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["render", "train", "measure", "detect"])
    parser.add_argument("--scenes", type=Path, required=True, help="the .npz file between the steps")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--run", type=Path, help="folder of the trained AnomalyHybrid*")
    parser.add_argument("--generator", default="shipped", help="AnomalyHybrid that draws the colour")
    parser.add_argument("--count", type=int, default=200, help="scenes to render, or pairs of each kind to generate")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--view-block", type=int, default=4)
    parser.add_argument("--journal-every", type=int, default=100)
    parser.add_argument("--vgg-weights", default="")
    parser.add_argument("--start", default="auto")
    parser.add_argument("--width", type=int, default=0, help="width of a smaller network, for trials; 0 is the preset")
    parser.add_argument("--reference", choices=["edited", "measured"], default="edited", help="of DepthDefectConfig")
    parser.add_argument("--seed", type=int, default=0)
    detector = parser.add_argument_group("detect")
    detector.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    detector.add_argument("--pairs", type=int, default=500, help="defects that each method makes")
    detector.add_argument("--samples", type=int, default=4000, help="images that each detector sees")
    detector.add_argument("--detector-batch", type=int, default=8)
    detector.add_argument("--detector-width", type=int, default=64)
    detector.add_argument("--graph", action="store_true", help="replay the training step as a CUDA graph")
    detector.add_argument("--seconds", type=float, default=0.0, help="begin no method after so long; 0 for no limit")
    given = parser.parse_args()
    {"render": render, "train": train, "measure": measure, "detect": detect}[given.step](given)


if __name__ == "__main__":
    main()
