"""Train one variant of augmentation or loss on one category and measure it on held-out good images.

    python benchmarks/ablation_views.py VARIANT --data CATEGORY --out DIR --vgg-weights FILE [--minutes 1]

Measured with the averaged generator, on the same views for all variants: VGG16 distance of both outputs to their
targets (training augmentation of the default), the same on edited views, mean fusion masks, edit response.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from anomalyhybrid import losses
from anomalyhybrid.augment.config import AugmentConfig
from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.imageset import ImageSet, load_image_set
from anomalyhybrid.data.reading import read_data
from anomalyhybrid.models.generator import load_generator
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.recipes.sources import make_extractors
from anomalyhybrid.recipes.training import perceptual_network, train
from anomalyhybrid.seeding import stream
from anomalyhybrid.training.config import TrainConfig
from anomalyhybrid.training.pool import TrainingPool
from anomalyhybrid.training.probe import Probe
from anomalyhybrid.training.step import draw_views

STRONG = AugmentConfig(tps_shift=0.2, tps_windows=4, affine_probability=0.9, flip_probability=0.5, independent=1.0)
VARIANTS: dict[str, dict] = {
    "default": {},
    "weak": {"augment": AugmentConfig(tps_shift=0.08, tps_windows=1, affine_probability=0.2, independent=0.1)},
    "strong": {"augment": STRONG},
    "shared": {"augment": AugmentConfig(share_reference=0.5)},
    "no_edits": {"augment": AugmentConfig(edit=0.0, blend=0.0)},
    "paper_loss": {"loss": "paper"},
}
HELD_OUT = 16


def measure(path: Path, images: ImageSet, config: TrainConfig, device: torch.device) -> dict[str, float]:
    """Figures of one generator on held-out good images."""
    model = load_generator(path)[0].to(device)
    features = perceptual_network(config, print)
    assert features is not None
    features.to(device)
    pool = TrainingPool(images, None, 1).to(device)
    figures: dict[str, float] = {}
    for name, augment in (("plain", AugmentConfig(edit=0, blend=0)), ("edited", AugmentConfig(edit=1, blend=0))):
        draws = Draws.from_stream(stream(1, "measure", name), 64).to(device)
        with torch.no_grad():
            views = draw_views(draws, pool, augment)
            outputs = model(views.conditions.stacked())
            for decoder, wanted in (("ahd", views.target_ahd), ("ahe", views.target_ahe)):
                distance = losses.perceptual(features(outputs[decoder].fused), features(wanted))
                figures[f"vgg_{name}_{decoder}"] = float(distance)
                figures[f"fusion_mask_{name}_{decoder}"] = float(outputs[decoder].fusion_mask.mean())
            copied = losses.perceptual(features(views.conditions.color), features(views.target_ahe))
            figures[f"vgg_{name}_of_copying"] = float(copied)
    probe = Probe.draw(pool, 1, 32, device)
    probe.save_grid(model, path.parent / "grid.png")
    return {name: round(value, 4) for name, value in (figures | probe.edit_response(model)).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", choices=list(VARIANTS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vgg-weights", required=True)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--start", default="auto")
    given = parser.parse_args()
    config = TrainConfig(
        size=given.size,
        start=given.start,
        steps=given.steps,
        max_minutes=given.minutes,
        batch_size=given.batch_size,
    )
    config = replace(config, view_block=8, vgg_weights=given.vgg_weights, journal_every=100, ema_decay=0.99)
    config = replace(config, **VARIANTS[given.variant])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = train([given.data], given.out, config=config, cache=given.out / "cache", announce=print)
    folder = read_data(given.data)
    edge, depth = make_extractors("lite", "lite", "", "", device)
    store = ConditionCache(None)
    records = folder.normals()[-HELD_OUT:]
    held = load_image_set(records, folder.categories, size=given.size, edge=edge, depth=depth, cache=store)
    figures = {"variant": given.variant} | measure(run / "generator.safetensors", held, config, device)
    (given.out / "figures.json").write_text(json.dumps(figures) + "\n")
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
