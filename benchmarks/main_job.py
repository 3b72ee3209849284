"""The main job on real data: train one model on several categories, generate, report.

    python benchmarks/main_job.py --data DIR ... --out DIR --vgg-weights FILE [--few-shot] [--minutes 4] [--count 1000]
    python benchmarks/main_job.py --data DIR ... --out DIR --run shipped [--count 1000]

Reported for each category: images with pixels changed outside the mask, share of images whose mean absolute change
inside the mask exceeds 6/255, mean fusion masks and edit response, seconds.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.imageset import load_image_set
from anomalyhybrid.data.reading import read_many
from anomalyhybrid.generation.config import GenerateConfig
from anomalyhybrid.generation.sheet import write_contact_png
from anomalyhybrid.recipes.generation import generate
from anomalyhybrid.recipes.job import load_model
from anomalyhybrid.recipes.sources import make_extractors
from anomalyhybrid.recipes.training import train
from anomalyhybrid.training.config import TrainConfig
from anomalyhybrid.training.pool import TrainingPool
from anomalyhybrid.training.probe import Probe


def probe_figures(run: str, data: list[Path], cache: Path, probed: int) -> dict[str, dict[str, float]]:
    """Edit response and mean fusion masks on edited maps, for each category."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_model(run)
    generator = model.generator.to(device)
    folder = read_many(data)
    edge, depth = make_extractors(model.metadata["edge"], model.metadata["depth"], "", "", device)
    figures = {}
    for category in folder.categories:
        records = folder.normals(category)[:probed]
        size, store = int(model.metadata["size"]), ConditionCache(cache)
        images = load_image_set(records, (category,), size=size, edge=edge, depth=depth, cache=store)
        probe = Probe.draw(TrainingPool(images, None, 1).to(device), 0, probed, device)
        with torch.no_grad():
            outputs = generator(probe.edited.stacked())
        masks = {f"fusion_mask_{name}": float(output.fusion_mask.mean()) for name, output in outputs.items()}
        inside = {
            f"fusion_mask_in_region_{name}": float(
                (output.fusion_mask * probe.region_mask).sum() / probe.region_mask.sum()
            )
            for name, output in outputs.items()
        }
        rounded = (masks | inside | probe.edit_response(generator)).items()
        figures[category] = {name: round(value, 3) for name, value in rounded}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", default="", help="generator to use; empty trains one")
    parser.add_argument("--few-shot", action="store_true", help="learn from and draw on the base third of each defect")
    parser.add_argument("--base-split", default="sorted")
    parser.add_argument("--vgg-weights", default="")
    parser.add_argument("--start", default="auto")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--view-block", type=int, default=8)
    parser.add_argument("--probed", type=int, default=64, help="good images of a category that masks are measured on")
    parser.add_argument("--count", type=int, default=1000)
    given = parser.parse_args()
    base, cache = (given.data if given.few_shot else []), given.out / "cache"
    started = time.monotonic()
    run = given.run
    if not run:
        config = TrainConfig(
            steps=given.steps,
            max_minutes=given.minutes,
            batch_size=given.batch_size,
            view_block=given.view_block,
            size=given.size,
            vgg_weights=given.vgg_weights,
            start=given.start,
            base_split=given.base_split,
            journal_every=100,
        )

        def report(row: dict) -> None:
            print(json.dumps(row), flush=True)

        folder = given.out / "run"
        train(given.data, folder, base_set=base, config=config, cache=cache, announce=print, report=report)
        run = str(folder)
    trained = time.monotonic()
    settings = GenerateConfig(
        count=given.count, normals=min(100, given.count), batch_size=32, base_split=given.base_split
    )
    summary = generate(run, given.data, given.out / "set", base_set=base, config=settings, cache=cache, announce=print)
    generated = time.monotonic()
    write_contact_png(given.out / "set", given.out / "contact.png", columns=12, limit=96)
    report = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "few_shot": given.few_shot,
        "seconds_training": round(trained - started, 1),
        "seconds_generation": round(generated - trained, 1),
        "generated": summary,
        "probe": probe_figures(run, given.data, cache, given.probed),
    }
    (given.out / "figures.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
