"""How the quality gate's verdicts agree with labels made by looking.

    python benchmarks/gate_agreement.py --candidates DIR --labels FILE --data DIR [--base-set DIR]

DIR is what `gate_candidates.py` wrote (`set/` made with the gate off, numbered sheets). FILE is a CSV
`folder,number,label,reason` with label good or bad; rows whose folder is DIR's name count. The gate is calibrated on
the data given, at each strictness, and judges the finished images at the model's size, from their files alone: `copy`,
which needs to know the source of each, takes no part. Printed: precision and recall
of "rejected" (a bad candidate is what should be rejected), and how often each reason spoke. One JSON line each.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from anomalyhybrid.data.foreground import object_mask
from anomalyhybrid.data.loading import load_image, load_mask, mask_to_model, to_model_u8
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.gate import SCORES
from anomalyhybrid.ops.ranges import signed_from_u8
from anomalyhybrid.recipes.job import Job, load_model, prepare_job
from anomalyhybrid.recipes.sources import read_sources


def prepare(given: argparse.Namespace, strictness: float) -> Job:
    """The job of the candidates, with a calibrated gate."""
    base = [given.base_set] if given.base_set else []
    split = given.base_split if base else "all"
    config = GenerateConfig(count=1, base_split=split, gate="on", gate_strictness=strictness)
    sources = read_sources([given.data], base, base_part=split, seed=0, skip_unreadable=False, announce=print)
    return prepare_job(load_model(given.run), sources, config, given.candidates / "set", given.cache)


def judged(job: Job, category: str, root: Path, rows: list[dict]) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and broken limits of finished images, float and bool (N, 7)."""
    gate, size = job.pools[category].gate, job.pools[category].normals.color_u8.shape[-1]
    assert gate is not None
    pictures, masks = [], []
    for row in rows:
        pixels = load_image(root / f"test/{row['defect']}/{row['id']}.png").pixels
        mask = load_mask(root / f"ground_truth/{row['defect']}/{row['id']}_mask.png", shape=pixels.shape[:2])
        pictures.append(to_model_u8(pixels, size))
        masks.append(mask_to_model(mask, size))
    objects = torch.from_numpy(np.stack([object_mask(picture) for picture in pictures]))[:, None].float()
    pictures_B = signed_from_u8(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2))
    region_mask = torch.from_numpy(np.stack(masks))[:, None].float()
    unknown = torch.full((len(rows),), -1)
    scores = gate.scores(pictures_B, region_mask, objects, unknown, unknown).clone()
    scores[:, SCORES.index("copy")] = torch.nan
    return scores, gate.broken(scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--run", default="shipped")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base-set", type=Path)
    parser.add_argument("--base-split", choices=("sorted", "random", "all"), default="sorted")
    parser.add_argument("--strictness", type=float, nargs="+", default=[0.02, 0.05, 0.1])
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    with given.labels.open(newline="") as file:
        found = [row for row in csv.DictReader(file) if row["folder"] == given.candidates.name]
    bad = {int(row["number"]): row["label"] == "bad" for row in found}
    rows = [json.loads(line) for line in (given.candidates / "candidates.jsonl").read_text().splitlines()]
    numbers = sorted(bad)
    for strictness in given.strictness:
        job = prepare(given, strictness)
        (category,) = job.pools
        _, broken = judged(job, category, given.candidates / "set", [rows[number] for number in numbers])
        rejected = broken.any(dim=1).tolist()
        right = sum(fell and bad[number] for number, fell in zip(numbers, rejected, strict=True))
        reasons = Counter(SCORES[place] for one in broken for place in one.nonzero()[:, 0].tolist())
        line = {"folder": given.candidates.name, "strictness": strictness, "labelled": len(bad)}
        line |= {"bad": sum(bad.values()), "rejected": sum(rejected), "bad_rejected": right, "reasons": dict(reasons)}
        line["precision"] = round(right / max(1, sum(rejected)), 3)
        line["recall"] = round(right / max(1, sum(bad.values())), 3)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
