"""Which appearance mode looks most like real defects: distance of generated to held-out real defect regions.

    python benchmarks/ablation_appearance.py RUN --data CATEGORY --out DIR --weights EFFICIENTNET_LITE2 [--count 80]

Each mode makes a set with references from the base third (and, for `target` and `blend`, one without real defects).
Squares around the label masks are compared with squares around the other two thirds' masks by KID (EfficientNet-Lite2,
a stand-in for Inception), and with the base third's by the distance to the nearest one (copies are near 0). The base
third itself and CropPaste stand beside them.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.imageset import load_image_set
from anomalyhybrid.data.loading import load_image, load_mask, to_model_u8
from anomalyhybrid.data.near_duplicates import duplicate_groups
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.data.splits import base_split
from anomalyhybrid.evaluation.baselines.crop_paste import crop_paste
from anomalyhybrid.evaluation.features import FeatureNetwork, load_features
from anomalyhybrid.evaluation.kid import kernel_distance
from anomalyhybrid.evaluation.squares import region_squares
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.manifest import read_rows
from anomalyhybrid.recipes.generation import generate
from anomalyhybrid.recipes.sources import best_device, make_extractors


def squares(pairs: Sequence[tuple[Path, Path]], size: int) -> torch.Tensor:
    """Squares of images and masks of any size, squeezed to the model's size first, uint8 (N, 3, 160, 160)."""
    images, masks = [], []
    for image_path, mask_path in pairs:
        pixels = load_image(image_path).pixels
        mask = load_mask(mask_path, shape=pixels.shape[:2]).astype(np.uint8)
        images.append(to_model_u8(pixels, size))
        small = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA if mask.any() else cv2.INTER_NEAREST)
        masks.append((small > 0).astype(np.uint8) * 255)
    image_u8 = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return region_squares(image_u8, torch.from_numpy(np.stack(masks))[:, None])


def nearest(features: torch.Tensor, base: torch.Tensor) -> float:
    """Mean distance to the nearest base defect in feature space."""
    return float(torch.cdist(features, base).amin(dim=1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="EfficientNet-Lite2")
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--operations", nargs="+", default=["merge", "replace", "tps"])
    given = parser.parse_args()
    network: FeatureNetwork = load_features("efficientnet_lite2", weights=given.weights, device=best_device())
    folder = read_data(given.data)
    base, test = base_split(folder.records, variant="sorted", seed=0, groups=duplicate_groups(folder.records))
    held = network.features(squares([(r.path, r.mask_path) for r in test if r.mask_path], given.size))
    known = network.features(squares([(r.path, r.mask_path) for r in base if r.mask_path], given.size))
    figures = {"base third": {"kid": kernel_distance(known, held).mean, "nearest_base": 0.0}}

    def measure(name: str, features: torch.Tensor) -> None:
        kid = kernel_distance(features, held)
        figures[name] = {"kid": kid.mean, "kid_std": kid.std, "nearest_base": nearest(features, known)}
        print(name, json.dumps(figures[name]), flush=True)

    edge, depth = make_extractors("lite", "lite", "", "", best_device())
    cache = ConditionCache(given.out / "cache")
    load = {"size": given.size, "edge": edge, "depth": depth, "cache": cache}
    good = load_image_set(folder.normals()[:100], folder.categories, **load)
    kinds = folder.defect_types()
    base_kind = torch.tensor([kinds.index(record.defect) for record in base])
    pasted = crop_paste(good, load_image_set(base, folder.categories, **load), kinds, base_kind, given.count, 0)
    measure("CropPaste", network.features(region_squares(pasted.image_u8, pasted.mask_u8)))
    for few_shot, mode in ((1, "target"), (1, "reference"), (1, "blend"), (0, "target"), (0, "blend")):
        name = f"{mode}, {'base third' if few_shot else 'no real defects'}"
        out = given.out / name.replace(", ", "-").replace(" ", "_")
        config = GenerateConfig(
            count=given.count, appearance=mode, operations=tuple(given.operations), base_split="sorted"
        )
        sources = [given.data] if few_shot else []
        generate(given.run, [given.data], out, base_set=sources, config=config, cache=given.out / "cache", announce=str)
        rows = read_rows(out)
        measure(name, network.features(squares([(out / r.image, out / str(r.label_mask)) for r in rows], given.size)))
    (given.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
