"""Contact sheet of the baselines on MVTec-layout folders: one row for each baseline, with masks below.

    python benchmarks/baseline_sheet.py OUT.png FOLDER [FOLDER ...] [--columns 8] [--base-part all]

Needs no condition maps. Folders whose defects are already a base set (benchmarks/pack_data.py) take --base-part all.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.data.foreground import object_mask
from anomalyhybrid.data.loading import load_image, load_mask, mask_to_model, save_png, to_model_u8
from anomalyhybrid.data.near_duplicates import duplicate_groups
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.data.records import Record
from anomalyhybrid.data.splits import base_split
from anomalyhybrid.evaluation.baselines.making import BASELINES, make_baseline
from anomalyhybrid.evaluation.samples import Samples


def load(records: list[Record], size: int) -> ImageSet:
    """Images, regions and objects; the structure maps stay empty."""
    colors, regions, objects = [], [], []
    for record in records:
        pixels = load_image(record.path).pixels
        colors.append(to_model_u8(pixels, size))
        region = np.zeros((size, size), bool)
        if record.mask_path is not None:
            region = mask_to_model(load_mask(record.mask_path, shape=pixels.shape[:2]), size)
        regions.append(region)
        objects.append(object_mask(colors[-1]))
    region_u8, object_u8 = (torch.from_numpy(np.stack(part))[:, None].byte() * 255 for part in (regions, objects))
    empty = torch.zeros_like(region_u8)
    return ImageSet(
        color_u8=torch.from_numpy(np.stack(colors)).permute(0, 3, 1, 2).contiguous(),
        depth_u8=empty,
        edge_u8=empty,
        region_u8=region_u8,
        object_u8=object_u8,
        category=torch.zeros(len(records), dtype=torch.long),
    )


def rows(samples: Samples) -> np.ndarray:
    """Images side by side, their masks' outlines drawn on them below."""
    images = samples.image_u8.cpu().permute(0, 2, 3, 1).numpy()
    masks = samples.mask_u8.cpu().numpy()[:, 0]
    marked = []
    for image, mask in zip(images, masks, strict=True):
        outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        marked.append(cv2.drawContours(image.copy(order="C"), outlines, -1, (0, 255, 0), 1))
    return np.concatenate([np.concatenate(list(images), axis=1), np.concatenate(marked, axis=1)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--base-part", choices=("sorted", "all"), default="sorted")
    given = parser.parse_args()
    sheet = []
    for root in given.folders:
        folder = read_data(root)
        base = [record for record in folder.records if not record.is_good]
        if given.base_part == "sorted":
            groups = duplicate_groups(folder.records)
            base = list(base_split(folder.records, variant="sorted", seed=0, groups=groups)[0])
        kinds = tuple(sorted({record.defect for record in base}))
        good, real = load(list(folder.normals()), given.size), load(base, given.size)
        base_kind = torch.tensor([kinds.index(record.defect) for record in base])
        for name in BASELINES:
            began = time.perf_counter()
            samples = make_baseline(name, good, given.columns, given.seed, base=real, kinds=kinds, base_kind=base_kind)
            area = (samples.mask_u8 > 127).float().mean()
            print(f"{root.name} {name}: {time.perf_counter() - began:.2f} s, mean area {area:.4f}", flush=True)
            sheet.append(rows(samples))
    save_png(given.out, np.concatenate(sheet))


if __name__ == "__main__":
    main()
