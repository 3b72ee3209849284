"""How varied a selection is against random draws with the same types, by measures that it does not use (ADR-020).

    anomalyhybrid select SET --count 30 --out SELECTED
    python benchmarks/selection.py SET=SELECTED --backbone alexnet_features.fp16.safetensors \\
        --heads lpips_v0.1_alex.pth --out selection.json

Of each measure: the selection's, the mean of 5 random draws, mean and deviation of 50. Sets of one category.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.data.files import write_text_atomic
from anomalyhybrid.data.loading import load_image, load_mask, to_rgb_u8
from anomalyhybrid.evaluation.lpips import Lpips, load_lpips, lpips_matrix
from anomalyhybrid.generation.manifest import Row, read_rows
from anomalyhybrid.generation.pictures import zoomed

FAINT = 10  # mean change in 1/255 below which a defect is hard to see
DRAWS = 50
SIDE = 128  # of the crops


def crops(dataset: Path, rows: list[Row]) -> Tensor:
    """Pictures around the masks, float (N, 3, SIDE, SIDE) in [-1, 1]."""
    found = []
    for row in rows:
        image = to_rgb_u8(load_image(dataset / row.image).pixels)
        mask = load_mask(dataset / str(row.label_mask), shape=(image.shape[0], image.shape[1]))
        found.append(cv2.resize(zoomed(image, mask), (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 127.5 - 1


def measures(chosen: list[int], rows: list[Row], apart: dict[str, Tensor]) -> dict[str, float]:
    """Of each distance the mean to the nearest other one and the mean of all pairs; origins; faint ones."""
    found: dict[str, float] = {}
    for name, distances in apart.items():
        own = distances[chosen][:, chosen].double()
        found[f"{name}, pairs"] = float(own.sum() / (len(chosen) * (len(chosen) - 1)))
        found[f"{name}, nearest"] = float(own.fill_diagonal_(torch.inf).amin(dim=1).mean())
    found["different origins"] = len({rows[place].structure for place in chosen})
    found["share of faint ones"] = sum(rows[place].change_inside < FAINT for place in chosen) / len(chosen)
    return found


def compare(dataset: Path, selected: Path, network: Lpips) -> dict:
    """A selection beside random draws: counts by type, and of each measure its value and those of the draws."""
    rows = [row for row in read_rows(dataset) if row.label_mask is not None and row.accepted]
    ids = {row.id for row in read_rows(selected) if row.label_mask is not None}
    chosen = [place for place, row in enumerate(rows) if row.id in ids]
    wanted = Counter(rows[place].defect for place in chosen)
    of_type = {name: [place for place, row in enumerate(rows) if row.defect == name] for name in sorted(wanted)}
    pictures = crops(dataset, rows)
    flat = pictures.flatten(1) * 127.5 / pictures[0].numel() ** 0.5
    apart = {"LPIPS": lpips_matrix(network, pictures, pictures).fill_diagonal_(0), "pixels": torch.cdist(flat, flat)}

    def drawn(seed: int) -> dict[str, float]:
        rng = np.random.default_rng(seed)
        places = [int(p) for name, own in of_type.items() for p in rng.choice(own, wanted[name], replace=False)]
        return measures(places, rows, apart)

    draws, found = [drawn(seed) for seed in range(DRAWS)], {}
    for name, value in measures(chosen, rows, apart).items():
        own = np.array([one[name] for one in draws])
        numbers = {"selected": value, "random_5": own[:5].mean(), "random": own.mean(), "deviation": own.std()}
        found[name] = {key: round(float(number), 4) for key, number in numbers.items()}
    return {"defects": len(rows), "chosen": dict(wanted), "measures": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", help="SET=SELECTED, folders of a set and of a selection from it")
    parser.add_argument("--backbone", type=Path, required=True)
    parser.add_argument("--heads", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    given = parser.parse_args()
    network, found = load_lpips("alex", backbone=given.backbone, heads=given.heads), {}
    for pair in given.pairs:
        dataset, _, selected = pair.partition("=")
        found[Path(selected).name] = compare(Path(dataset), Path(selected), network)
        print(Path(selected).name, found[Path(selected).name]["chosen"], "of", found[Path(selected).name]["defects"])
        for name, numbers in found[Path(selected).name]["measures"].items():
            print(f"  {name:20s}", *(f"{key} {number:8.3f}" for key, number in numbers.items()))
    write_text_atomic(given.out, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
