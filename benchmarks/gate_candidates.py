"""Numbered candidates to label by looking: the quality gate's scores and verdict beside sheets of pictures.

    python benchmarks/gate_candidates.py --run RUN --data DIR --out DIR [--base-set DIR] [--base-split sorted]
        [--count 60] [--seed 0] [--cache DIR]

Draws as `generate` does with the gate off, writes the set into OUT/set, sheets as OUT/sheet_NN.png (each candidate as
a crop with context, the same outlined, and the whole image small) and OUT/candidates.jsonl: number, id, defect, whether
enough changed, scores, and the reasons for which the gate at its usual strictness would reject it. The sheets show no
score, so that labels stay blind.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from anomalyhybrid.data.loading import load_image, load_mask, save_png, to_rgb_u8
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.gate import gate_entry
from anomalyhybrid.generation.manifest import Row
from anomalyhybrid.generation.pipeline import Candidates, as_composed, judged
from anomalyhybrid.generation.pool import CategoryPool, maps_of
from anomalyhybrid.generation.quality import choose
from anomalyhybrid.generation.several import draw_defects
from anomalyhybrid.generation.sheet import outlined, shrunk
from anomalyhybrid.manipulate.policy import APPEARANCES
from anomalyhybrid.recipes.job import Job, load_model, prepare_job, with_gate
from anomalyhybrid.recipes.sources import read_sources

CROP = 172  # side of the crop and its outlined copy
WHOLE = 116  # longest side of the whole image
TEXT = 16  # height of the line above
COLUMNS, ROWS = 4, 6


def crop_around(image_u8: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mask's neighbourhood, 1.8 times its extent and 64 pixels at least, scaled to `CROP`: image and outlined."""
    spans = [(int(found.min()), int(found.max()) + 1) for found in np.nonzero(mask)]
    side = max(64, *(int(1.8 * (end - start)) for start, end in spans))
    where = []
    for (start, end), length in zip(spans, mask.shape, strict=True):
        own = min(side, length)
        first = int(np.clip((start + end - own) // 2, 0, length - own))
        where.append(slice(first, first + own))
    part = image_u8[tuple(where)]
    factor = CROP / max(part.shape[:2])
    size = max(1, round(part.shape[1] * factor)), max(1, round(part.shape[0] * factor))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(part, size, interpolation=how).astype(np.uint8, copy=False)
    inside = cv2.resize(mask[tuple(where)].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return picture, outlined(picture, inside, CROP)


def cell(root: Path, number: int, row: Row) -> np.ndarray:
    """One candidate: number and defect above, crop, outlined crop, whole image."""
    image = to_rgb_u8(load_image(root / row.image).pixels)
    assert row.label_mask is not None
    mask = load_mask(root / row.label_mask, shape=(image.shape[0], image.shape[1]))
    whole = outlined(shrunk(image, WHOLE), shrunk(mask.astype(np.uint8) * 255, WHOLE) > 0, WHOLE)
    picture = np.full((CROP + TEXT + 6, 2 * CROP + WHOLE + 12, 3), 255, np.uint8)
    for left, shown in zip((0, CROP + 3, 2 * CROP + 6), (*crop_around(image, mask), whole), strict=True):
        picture[TEXT : TEXT + shown.shape[0], left : left + shown.shape[1]] = shown
    text = f"{number:03d} {row.defect}".encode("ascii", "replace").decode()
    cv2.putText(picture, text, (2, TEXT - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return picture


def write_sheets(root: Path, rows: list[Row], folder: Path) -> list[Path]:
    """Sheets of 24 candidates in order, numbered from 0."""
    paths = []
    for start in range(0, len(rows), COLUMNS * ROWS):
        some = list(enumerate(rows))[start : start + COLUMNS * ROWS]
        cells = [cell(root, number, row) for number, row in some]
        cells += [np.full_like(cells[0], 255)] * (-len(cells) % COLUMNS)
        lines = [np.hstack(cells[at : at + COLUMNS]) for at in range(0, len(cells), COLUMNS)]
        paths.append(folder / f"sheet_{start // (COLUMNS * ROWS):02d}.png")
        save_png(paths[-1], np.vstack(lines))
    return paths


def prepare(given: argparse.Namespace) -> Job:
    """The job that `generate` would run, with the gate off."""
    base = [given.base_set] if given.base_set else []
    config = GenerateConfig(count=given.count, seed=given.seed, base_split=given.base_split if base else "all")
    sources = read_sources(
        [given.data], base, base_part=config.base_split, seed=given.seed, skip_unreadable=False, announce=print
    )
    return prepare_job(load_model(given.run), sources, config, given.out / "set", given.cache)


@torch.inference_mode()
def verdicts_of(pool: CategoryPool, drawn: Candidates) -> list[dict]:
    """Scores of candidates by name, and the reasons for which the pool's gate would reject them."""
    target = maps_of(pool.normals, drawn.target_index)[0]
    under = choose(drawn.plan.appearance == APPEARANCES.index("blend"), drawn.content, target)
    shown = as_composed(target, under, drawn.fused, drawn.region_mask, drawn.opacity)
    scores, rejected = judged(
        pool, shown, drawn.region_mask, drawn.target_index, drawn.plan.uses_base, drawn.reference_index, drawn.accepted
    )
    return [gate_entry(one, reasons) for one, reasons in zip(scores.cpu(), rejected.cpu(), strict=True)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="shipped")
    parser.add_argument("--data", type=Path, required=True, help="folder of one category")
    parser.add_argument("--base-set", type=Path)
    parser.add_argument("--base-split", choices=("sorted", "random", "all"), default="sorted")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path)
    return parser.parse_args()


def main() -> None:
    given = arguments()
    job = prepare(given)
    (category,) = job.pools
    pool, writer = job.pools[category], job.writers[category]
    gated = with_gate(pool, replace(job.config, gate="on"), category, writer.base)
    rows: list[Row] = []
    verdicts: list[dict] = []
    for _, _, indices in job.chunks():
        found = draw_defects(job.model.generator, pool, job.config, category, indices)
        verdicts += verdicts_of(gated, found[0].candidates)
        colors = pool.normals.color_u8[found[0].candidates.target_index].cpu()
        rows += writer.write_defects([defects.cpu() for defects in found], colors, indices)
        print(f"{len(rows)} of {given.count}", flush=True)
    lines = [
        {"number": number, "id": row.id, "defect": row.defect, "accepted": row.accepted} | verdict
        for number, (row, verdict) in enumerate(zip(rows, verdicts, strict=True))
    ]
    for path in write_sheets(given.out / "set", rows, given.out):
        print(path)
    (given.out / "candidates.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
