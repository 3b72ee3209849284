"""How far the losses of several processes that train together are from those of one, step by step (ADR-019).

    python benchmarks/ddp_equality.py [--processes 2] [--steps 20] [--out docs/results/ddp_equality.json]

The shipped generator and the full discriminator go on training on rendered parts, on the CPU, with all terms of the
default loss but VGG's. In double precision a difference is a mistake of the code. In single precision GAN training
multiplies rounding, whatever shares the work: `reordered` is one process whose batch is in another order.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import fields, is_dataclass
from pathlib import Path

import torch
from results import write_result

from anomalyhybrid.conditions.cache import ConditionCache
from anomalyhybrid.conditions.imageset import load_image_set
from anomalyhybrid.conditions.lite import lite_depth, lite_edge
from anomalyhybrid.data.parts import write_dataset
from anomalyhybrid.data.reading import read_many
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.recipes.training import initial_generator
from anomalyhybrid.training.config import TrainConfig, loss_preset
from anomalyhybrid.training.loop import RunFiles, Trainer
from anomalyhybrid.training.pool import TrainingPool

PRODUCTS = ("capsule", "nut")
LIMIT = 1e-4


def doubled(value):
    """A dataclass of tensors in double precision."""
    if is_dataclass(value):
        return type(value)(**{field.name: doubled(getattr(value, field.name)) for field in fields(value)})
    return value.double()


class Recorded(Trainer):
    """Keeps the losses of every step, unrounded; writes nothing."""

    double = reordered = False

    def record(self, *, double: bool, reordered: bool) -> list[dict[str, float]]:
        """Train; losses of each step, means over the whole batch."""
        self.double, self.reordered, self.rows = double, reordered, []
        if double:
            for module in (self.generator, self.discriminator, self.averaged_generator):
                module.double()
        self.run()
        return self.rows

    def _rows(self, kind, step, columns):
        rows = super()._rows(kind, step, columns)
        return Draws.joined([rows.shard(1, 2), rows.shard(0, 2)]) if self.reordered else rows

    def _views(self, step):
        views = super()._views(step)
        return doubled(views) if self.double else views

    def _step(self, views, draws):
        report = super()._step(views, draws)
        self.rows.append({name: float(value) for name, value in self.processes.mean_of_each(report).items()})
        return report

    def _row(self, step, report, seconds, images):
        return {"step": step}

    def _save(self, step) -> None:
        self.processes.wait()


def work(given: argparse.Namespace) -> None:
    """One of the processes that train together."""
    torch.set_num_threads(1)
    config = TrainConfig(
        size=given.size, steps=given.steps, batch_size=given.batch_size, view_block=2, sample_every=given.steps + 1
    )
    found = read_many([given.data / name for name in PRODUCTS])
    maps = {"size": config.size, "edge": lite_edge(), "depth": lite_depth(), "cache": ConditionCache(None)}
    normals = load_image_set(found.normals(), found.categories, **maps)
    files = RunFiles(folder=given.work, fingerprint="benchmark", metadata={})
    generator = initial_generator(config, lambda text: None)
    pool = TrainingPool(normals, None, len(found.categories))
    trainer = Recorded(config, loss_preset("default"), pool, generator, None, files)
    rows = trainer.record(double=given.double, reordered=given.reordered)
    if trainer.processes.is_main:
        (given.work / "rows.json").write_text(json.dumps(rows))


def losses(given: argparse.Namespace, folder: Path, processes: int, *flags: str) -> list[dict[str, float]]:
    """Losses of each step of a run in that many processes."""
    folder.mkdir()
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    settings = [f"--steps={given.steps}", f"--size={given.size}", f"--batch-size={given.batch_size}"]
    words = [__file__, *settings, f"--data={given.data}", f"--work={folder}", *flags]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *(launcher if processes > 1 else []), *words], check=True, env=environment)
    return json.loads((folder / "rows.json").read_text())


def differences(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> dict:
    """Largest difference of each loss over all steps, and of any loss at each step."""
    names = [name for name in ours[0] if name.startswith("loss_")]
    pairs = list(zip(ours, theirs, strict=True))
    steps = [max(abs(one[name] - two[name]) for name in names) for one, two in pairs]
    return {
        "largest": float(f"{max(steps):.2e}"),
        "by_loss": {name: float(f"{max(abs(one[name] - two[name]) for one, two in pairs):.2e}") for name in names},
        "by_step": [float(f"{value:.2e}") for value in steps],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--out", type=Path)
    for name in ("data", "work"):
        parser.add_argument(f"--{name}", type=Path, help=argparse.SUPPRESS)
    for name in ("double", "reordered"):
        parser.add_argument(f"--{name}", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        return work(given)
    with tempfile.TemporaryDirectory() as name:
        place = given.data = Path(name)
        for number, product in enumerate(PRODUCTS):
            write_dataset(place, product=product, product_seed=number, seed=3, train_good=6, size=given.size)
        double = [losses(given, place / f"double_{n}", n, "--double") for n in (1, given.processes)]
        single = [losses(given, place / f"single_{n}", n) for n in (1, given.processes)]
        reordered = losses(given, place / "reordered", 1, "--reordered")
    result = {
        "benchmark": "ddp_equality",
        "device": "cpu",
        "torch": torch.__version__,
        "processes": given.processes,
        "steps": given.steps,
        "size": given.size,
        "batch_size": given.batch_size,
        "limit": LIMIT,
        "last_losses": {name: round(value, 4) for name, value in single[0][-1].items()},
        "double_precision": differences(*double),
        "single_precision": differences(*single),
        "single_precision_reordered_in_one_process": differences(single[0], reordered),
    }
    result["reached"] = {kind: result[kind]["largest"] < LIMIT for kind in ("double_precision", "single_precision")}
    print(json.dumps(result, indent=2))
    if given.out:
        write_result(given.out, result)


if __name__ == "__main__":
    main()
