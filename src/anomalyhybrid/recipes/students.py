"""Training of the shipped lite students: edges distilled from HED, depth from rendered truth.

FastDepth is only a yardstick here: it was trained on rooms, and on photographs of parts from above its maps
do not follow the object (looked at; its correlation with the truth is among the figures), so it adds nothing
as a teacher.

Run with ``python -m anomalyhybrid.recipes.students --help``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from anomalyhybrid.errors import ConfigError
from anomalyhybrid.models.fastdepth import FastDepth, load_fastdepth
from anomalyhybrid.models.hed import Hed, load_hed
from anomalyhybrid.models.lite_unet import LiteUNet, LiteUNetConfig, load_lite, save_lite
from anomalyhybrid.recipes.student_augment import photometric, warp_batch
from anomalyhybrid.recipes.student_data import StudentSet, fill_edges, join, render_set, with_textured_grounds
from anomalyhybrid.recipes.student_figures import depth_figures, edge_figures
from anomalyhybrid.recipes.student_losses import depth_loss, edge_loss, learning_rate, normalised_depth
from anomalyhybrid.recipes.student_scenes import LEAVES, SceneKey, plan_scenes
from anomalyhybrid.seeding import derive, stream

EDGE_FILE = "lite_edge.safetensors"
DEPTH_FILE = "lite_depth.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentRun:
    """One training run of the two students."""

    scenes: int = 2600
    """Rendered parts to train on; each is used as it is and with another ground."""
    leaves: int = 900
    """Pictures of stacked shapes to train on."""
    held_out: tuple[str, ...] = ()
    """Products that are never trained on."""
    size: int = 256
    """Side of the pictures in pixels, a multiple of 32."""
    steps: int = 2500
    """Training steps."""
    minutes: float | None = None
    """Stop the training loop after this time, its schedule shortened to fit; None runs all steps."""
    batch: int = 64
    """Pictures a step."""
    peak_rate: float = 3e-3
    """Highest learning rate (AdamW)."""
    widths: tuple[int, ...] = (24, 48, 96, 96, 96)
    """Channels of the students' levels."""
    seed: int = 0
    """Root seed."""

    def __post_init__(self) -> None:
        for name in ("scenes", "steps", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1.")
        if self.size % 32 or self.size < 32:
            raise ConfigError(f"size={self.size}: must be a multiple of 32.")


@dataclass(frozen=True, slots=True)
class _Sets:
    """The pictures of a run: to train on, of trained products held out, and of products held out."""

    train: StudentSet
    test: StudentSet
    unseen: StudentSet | None


def _draw_sets(run: StudentRun, hed: Hed, *, workers: int, device: torch.device) -> _Sets:
    """Draw all pictures with one pool of workers, then compute the edge targets."""
    from anomalyhybrid.data.parts import PRODUCTS

    if unknown := sorted(set(run.held_out) - set(PRODUCTS)):
        raise ConfigError(f"held_out={unknown}: unknown products. Known: {', '.join(PRODUCTS)}.")
    known = [product for product in PRODUCTS if product not in run.held_out]
    if not known:
        raise ConfigError(f"held_out={list(run.held_out)}: no product is left to train on.")
    tests = max(4, run.scenes // 20)
    seed, size = run.seed, run.size
    keys = plan_scenes(run.scenes, known, seed=seed, stream="students/train", size=size)
    keys += [
        SceneKey(product=LEAVES, defect="good", seed=derive(seed, "students/leaves", index), size=size)
        for index in range(run.leaves)
    ]
    keys += plan_scenes(tests, known, seed=seed, stream="students/test", size=size)
    unseen_count = tests if run.held_out else 0
    keys += plan_scenes(unseen_count, run.held_out, seed=seed, stream="students/unseen", size=size)
    drawn = render_set(keys, workers=workers, device=device)
    bounds = np.cumsum([run.scenes, run.leaves, tests, unseen_count])
    parts, leaves, test, unseen = (
        drawn.select(torch.arange(stop - count, stop, device=device))
        for stop, count in zip(bounds, (run.scenes, run.leaves, tests, unseen_count), strict=True)
    )
    train = join(with_textured_grounds(parts, seed=seed), leaves)
    hed.to(device)  # only now: the workers were forked from a process without a CUDA context
    for part in (train, test, *([unseen] if unseen_count else [])):
        fill_edges(part, hed)
    return _Sets(train, test, unseen if unseen_count else None)


def _training_batch(scenes: StudentSet, *, batch: int, seed: int, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw one augmented batch: image in [-1, 1], edge target in [0, 1], depth."""
    generator = stream(seed, "students", "batch", step)
    index = torch.randint(0, len(scenes), (batch,), generator=generator).to(scenes.images_u8.device)
    image = scenes.images_u8[index].float() / 255.0
    edges = scenes.edges_u8[index].float() / 255.0
    warped = warp_batch(torch.cat([image, edges, scenes.depth[index].float()], dim=1), generator=generator)
    seen = photometric(warped[:, :3].clamp(0, 1), seed=seed, step=step)
    return seen * 2.0 - 1.0, warped[:, 3:4].clamp(0, 1), warped[:, 4:5]


def _fit(run: StudentRun, scenes: StudentSet) -> tuple[LiteUNet, LiteUNet]:
    """Train both students on the same batches; their losses and parameters are independent."""
    device = scenes.images_u8.device
    nets = []
    for name in ("edge", "depth"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(run.seed, "students", "initial", name))
            net = LiteUNet(LiteUNetConfig(widths=run.widths))
        net = net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        nets.append(net.to(device).train())
    edge, depth = nets
    parameters = [*edge.parameters(), *depth.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=run.peak_rate, weight_decay=1e-3, betas=(0.9, 0.99))
    started = time.monotonic()
    for step in range(run.steps):
        progress = step / run.steps
        if run.minutes is not None:
            progress = max(progress, (time.monotonic() - started) / (60 * run.minutes))
        if progress >= 1.0:
            break
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(progress, peak=run.peak_rate)
        image, edge_target, depth_target = _training_batch(scenes, batch=run.batch, seed=run.seed, step=step)
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            edge_logits, depth_logits = edge(image), depth(image)
        losses = edge_loss(edge_logits.float(), edge_target), depth_loss(depth_logits.float(), depth_target)
        optimiser.zero_grad(set_to_none=True)
        (losses[0] + losses[1]).backward()
        for net in nets:
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        if step % max(1, run.steps // 25) == 0 or step == run.steps - 1:
            took = time.monotonic() - started
            values = f"edge {losses[0].item():.4f} depth {losses[1].item():.4f}"
            print(f"  step {step}/{run.steps} {values} {took:.1f} s", flush=True)
    return edge.eval(), depth.eval()


@torch.inference_mode()
def _preview(path: Path, edge: LiteUNet, depth: LiteUNet, scenes: StudentSet, *, count: int = 10) -> None:
    """Write rows of image, edge target, edge, true depth, depth."""
    index = torch.linspace(0, len(scenes) - 1, min(count, len(scenes))).round().long()
    some = scenes.select(index.to(scenes.images_u8.device))
    image = some.images_u8.float() / 127.5 - 1.0
    maps = [
        some.edges_u8.float() / 255.0,
        edge(image).sigmoid(),
        normalised_depth(some.depth.float())[0],
        normalised_depth(depth(image).sigmoid())[0],
    ]
    columns = [some.images_u8.float() / 255.0, *(m.expand(-1, 3, -1, -1) for m in maps)]
    rows = torch.cat(columns, dim=3).permute(0, 2, 3, 1).flatten(0, 1)
    cv2.imwrite(str(path), (rows.flip(-1) * 255.0).byte().cpu().numpy())


def train_students(
    *,
    out: Path,
    hed_weights: Path,
    fastdepth_weights: Path,
    run: StudentRun,
    device: str = "cpu",
    workers: int = 0,
) -> dict[str, object]:
    """Draw pictures, train both students, write weights, figures and a preview.

    Args:
        out: Folder to write ``lite_edge.safetensors``, ``lite_depth.safetensors``, ``figures.json`` and
            ``preview*.png`` into; made if missing.
        hed_weights: HED's file.
        fastdepth_weights: FastDepth's file.
        run: What to train.
        device: torch device name.
        workers: Processes that draw pictures; 0 draws in this one.

    Returns:
        What ``figures.json`` holds.

    Raises:
        WeightsError: If a teacher's file is missing or does not fit.
        ConfigError: If a held-out product is not known.
    """
    started = time.monotonic()
    where = torch.device(device)
    hed, fastdepth = load_hed(hed_weights), load_fastdepth(fastdepth_weights)
    out.mkdir(parents=True, exist_ok=True)
    sets = _draw_sets(run, hed, workers=workers, device=where)
    print(f"{len(sets.train)} training pictures after {time.monotonic() - started:.1f} s", flush=True)
    edge, depth = _fit(run, sets.train)
    about = {"made_by": "python -m anomalyhybrid.recipes.students", "run": json.dumps(asdict(run))}
    about |= {"licence": "Apache-2.0", "trained_on": "pictures drawn by this project only"}
    about |= {"teachers": "edges: HED (MIT) and true contours; depth: the truth alone"}
    save_lite(edge, out / EDGE_FILE, metadata=about)
    save_lite(depth, out / DEPTH_FILE, metadata=about)
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else device
    figures: dict[str, object] = {"run": asdict(run), "device": name}
    figures |= _measure(out, sets, hed, fastdepth.to(where))
    figures["seconds"] = round(time.monotonic() - started, 1)
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def _measure(out: Path, sets: _Sets, hed: Hed, fastdepth: FastDepth) -> dict[str, object]:
    """Measure the files as written, on held-out pictures and products, and write the previews."""
    where = sets.test.images_u8.device
    edge, depth = (load_lite(out / name).to(where) for name in (EDGE_FILE, DEPTH_FILE))
    groups = {"held_out_pictures": sets.test} | ({"held_out_products": sets.unseen} if sets.unseen else {})
    figures: dict[str, object] = {}
    for name, scenes in groups.items():
        figures[name] = {
            "edge": edge_figures(edge, hed, scenes),
            "depth": depth_figures(depth, fastdepth, scenes),
        }
        _preview(out / f"preview_{name}.png", edge, depth, scenes)
    _preview(out / "preview_training.png", edge, depth, sets.train)
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and train.

    Args:
        arguments: Words of the command line; None reads ``sys.argv``.
    """
    defaults = StudentRun()
    parser = argparse.ArgumentParser(prog="python -m anomalyhybrid.recipes.students", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hed", type=Path, required=True, help="hed_bsds500.fp16.safetensors")
    parser.add_argument("--fastdepth", type=Path, required=True, help="fastdepth.fp16.safetensors")
    parser.add_argument("--held-out", default="", help="products never trained on, separated by commas")
    for name in ("scenes", "leaves", "size", "steps", "batch", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(defaults, name))
    parser.add_argument("--minutes", type=float, default=None, help="cap on the training loop")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args(arguments)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    run = StudentRun(
        scenes=given.scenes,
        leaves=given.leaves,
        held_out=tuple(name for name in given.held_out.split(",") if name),
        size=given.size,
        steps=given.steps,
        minutes=given.minutes,
        batch=given.batch,
        seed=given.seed,
    )
    figures = train_students(
        out=given.out,
        hed_weights=given.hed,
        fastdepth_weights=given.fastdepth,
        run=run,
        device=given.device,
        workers=given.workers,
    )
    print(json.dumps(figures, indent=2), flush=True)


if __name__ == "__main__":
    main()
