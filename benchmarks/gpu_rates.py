"""Rates on one GPU beside their floors: generator forward, condition extraction, training step (issue 6).

    PYTHONPATH=src python benchmarks/gpu_rates.py --out rates.json [--parts ceilings forward conditions step]

Random weights and images: speed does not depend on them (PiDiNet's and VGG16's real weights are not shipped). Each
rate is images a second over the median of timed calls; ways are timed in one run, so compare their ratios. The floor
of a forward pass is the larger of its arithmetic over the measured bf16 matrix ceiling and of its least traffic
(weights once, input and output once) over the measured copy ceiling; `of_floor` is floor time over measured time.
Compile seconds are said apart. A way that fails is reported and left out. JSON is written after each line.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from results import write_result
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.conditions.lite import lite_depth, lite_edge
from anomalyhybrid.models.blocks import HeadConv2d, ReflectedConv2d, StemConv2d, UpBlock
from anomalyhybrid.models.config import DiscriminatorConfig, generator_preset
from anomalyhybrid.models.discriminator import Discriminator
from anomalyhybrid.models.generator import Generator
from anomalyhybrid.models.perceptual import VggFeatures
from anomalyhybrid.models.pidinet import PiDiNet
from anomalyhybrid.training.config import TrainConfig, loss_preset
from anomalyhybrid.training.loop import RunFiles, Trainer
from anomalyhybrid.training.pool import TrainingPool
from anomalyhybrid.training.step import as_one_graph

PARTS = ("ceilings", "forward", "conditions", "step")


def seconds_of(call: Callable[[], object], repeats: int = 9, inner: int = 3) -> float:
    """Median seconds of one call, after warm-up."""
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(inner):
            call()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / inner)
    return sorted(times)[repeats // 2]


def measured_ceilings() -> dict[str, float]:
    """Matrix products in bf16, TFLOP/s, and device copies, GB/s (bytes read and written)."""
    side = 8192
    left, right = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    matrix = 2 * side**3 / seconds_of(lambda: left @ right) / 1e12
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copied = 2 * source.numel() / seconds_of(lambda: target.copy_(source)) / 1e9
    return {"bf16_matrix_tflops": round(matrix, 1), "copy_gb_per_s": round(copied, 1)}


class Rates:
    """Collects lines and writes them as they come."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.result: dict = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": []}

    def add(self, **row: object) -> None:
        self.result["rows"].append(row)
        print(json.dumps(row), flush=True)
        self.write()

    def write(self) -> None:
        write_result(self.out, self.result)


class Joint(nn.Module):
    """A generator that gives its images alone, both decoder groups, in bf16."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, stacked: Tensor) -> list[Tensor]:
        return [output.fused for output in self.generator(stacked).values()]


def forward_ways(net: nn.Module, data: Tensor) -> dict[str, Callable[[], Callable[[], object]]]:
    """Ways of running a network, each made on demand (compiling takes its time there)."""

    def eager(layout: torch.memory_format) -> Callable[[], object]:
        model, given = copy.deepcopy(net).to(memory_format=layout), data.contiguous(memory_format=layout)
        return lambda: model(given)

    def compiled(mode: str) -> Callable[[], object]:
        torch._dynamo.reset()
        model = torch.compile(copy.deepcopy(net).to(memory_format=torch.channels_last), mode=mode)
        given = data.contiguous(memory_format=torch.channels_last)
        return lambda: model(given)

    return {
        "eager": lambda: eager(torch.contiguous_format),
        "eager, channels last": lambda: eager(torch.channels_last),
        "compiled, channels last": lambda: compiled("default"),
        "compiled, tuned, CUDA graph, channels last": lambda: compiled("max-autotune"),
    }


@torch.inference_mode()
def time_ways(rates: Rates, name: str, net: nn.Module, data: Tensor, skip: tuple[str, ...] = ()) -> None:
    """Time a network each way and set it beside its floor."""
    with FlopCounterMode(display=False) as counter:
        net(data)
    flops = counter.get_total_flops()
    outputs = net(data)
    tensors = [data, *(outputs if isinstance(outputs, (list, tuple)) else [outputs]), *net.parameters()]
    traffic = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    floor = 0.0
    if "ceilings" in rates.result:
        known = rates.result["ceilings"]
        floor = max(flops / known["bf16_matrix_tflops"] / 1e12, traffic / known["copy_gb_per_s"] / 1e9)
    base = 0.0
    for way, make in forward_ways(net, data).items():
        if way in skip:
            continue
        try:
            start = time.perf_counter()
            call = make()
            call()
            torch.cuda.synchronize()
            first = time.perf_counter() - start
            took = seconds_of(call)
        except Exception as error:  # a way that this machine cannot run is said, not hidden
            rates.add(name=name, way=way, failed=f"{type(error).__name__}: {error}"[:300])
            continue
        base = base or took
        rates.add(
            name=name,
            way=way,
            batch=len(data),
            img_per_s=round(len(data) / took, 1),
            times_the_first_way=round(base / took, 2),
            gflop_an_image=round(flops / len(data) / 1e9, 2),
            of_floor=round(floor / took, 3),
            first_call_s=round(first, 1),
        )
        torch.cuda.empty_cache()


def upsampled_copy(block: UpBlock, features: Tensor) -> Tensor:
    """`UpBlock` as it is written down: an upsampled copy, then a convolution (before ADR-017)."""
    return block.block(F.interpolate(features, scale_factor=2, mode="nearest"))


def plain(layer: ReflectedConv2d, features: Tensor) -> Tensor:
    """A head or stem as it is written down (before ADR-017)."""
    return F.conv2d(layer.padded(features), layer.weight, layer.bias)


def use_layers(variant: str) -> None:
    """Set how layers are worked out: `as written`, `doubled` (transposed convolutions) or `in blocks` (the product)."""
    UpBlock.forward = upsampled_copy if variant == "as written" else FORWARDS[UpBlock]
    for layer in (HeadConv2d, StemConv2d):
        layer.forward = FORWARDS[layer] if variant == "in blocks" else plain


FORWARDS = {layer: layer.forward for layer in (UpBlock, HeadConv2d, StemConv2d)}
VARIANTS = ["as written", "doubled", "in blocks", "in blocks, one group"]


def forward(rates: Rates, given: argparse.Namespace) -> None:
    """Generator forward at 256 px in bf16: both decoder groups, and one, as generation needs it."""
    data = torch.randn(given.batch, 5, 256, 256, device="cuda", dtype=torch.bfloat16)
    for preset in given.presets:
        for variant in given.variants:
            name, *more = variant.split(", ")
            use_layers(name)
            groups = ("ahd",) if "one group" in more else ("ahd", "ahe")
            model = Generator(replace(generator_preset(preset), decoders=groups)).cuda().bfloat16().eval()
            million = sum(p.numel() for p in model.parameters()) / 1e6
            skip = {"eager, channels last"} if variant != given.variants[0] else set()
            skip |= set() if preset in given.tuned else {"compiled, tuned, CUDA graph, channels last"}
            time_ways(rates, f"generator {preset} ({million:.0f} M), {variant}", Joint(model), data, tuple(skip))
            if given.profile:
                top_kernels(torch.compile(Joint(model).to(memory_format=torch.channels_last)), data)
            use_layers("in blocks")
            del model
            torch.cuda.empty_cache()


@torch.inference_mode()
def top_kernels(net: Callable[[Tensor], object], data: Tensor) -> None:
    """Print which kernels take the time of a forward pass."""
    data = data.contiguous(memory_format=torch.channels_last)
    for _ in range(3):
        net(data)
    print_profile(lambda: net(data))


SPANS = ("## Call", "Optimizer.", "PART")
"""What the profiler lists beside kernels, of which they consist."""


def print_profile(call: Callable[[], object], rows: int = 18, trace: Path | None = None) -> None:
    """Print the kernels that take most of a call's time on the device, and the time that it takes unwatched."""
    torch.cuda.synchronize()
    begun = time.perf_counter()
    call()
    torch.cuda.synchronize()
    print(f"alone {1e3 * (time.perf_counter() - begun):.1f} ms", flush=True)
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, record_shapes=True) as profile:
        call()
        torch.cuda.synchronize()
    if trace is not None:
        profile.export_chrome_trace(str(trace))
    copies = [
        e for e in profile.key_averages(group_by_input_shape=True) if e.key in ("aten::copy_", "aten::contiguous")
    ]
    for event in sorted(copies, key=lambda event: -event.self_device_time_total)[:12]:
        print(f"  {event.self_device_time_total / 1e3:8.3f} ms {event.count:5d} x {event.key} {event.input_shapes}")
    on_device = [event for event in profile.key_averages() if str(event.device_type).endswith("CUDA")]
    on_device = [event for event in on_device if not event.key.startswith(SPANS)]
    kernels = sorted(on_device, key=lambda event: -event.device_time_total)
    total = sum(event.device_time_total for event in kernels)
    print(f"kernels {total / 1e3:.2f} ms in {sum(event.count for event in kernels)} calls", flush=True)
    for event in kernels[:rows]:
        share = event.device_time_total / total
        print(
            f"  {share:6.1%} {event.device_time_total / 1e3:8.3f} ms {event.count:5d} x {event.key[:110]}", flush=True
        )


class Fused(nn.Module):
    """PiDiNet's fused edge map alone."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image)[-1]


def conditions(rates: Rates, given: argparse.Namespace) -> None:
    """Edge and depth extraction at 256 px: the networks in bf16, and the lite extractors as they are called."""
    data = torch.rand(given.batch, 3, 256, 256, device="cuda")
    for extractor in (lite_edge(device="cuda"), lite_depth(device="cuda")):
        name = type(extractor).__name__
        took = seconds_of(lambda extractor=extractor: extractor(data))
        rates.add(name=f"{name} as called, float32", way="eager", batch=len(data), img_per_s=round(len(data) / took, 1))
        time_ways(rates, f"{name} network", copy.deepcopy(extractor.net).bfloat16().eval(), data.bfloat16())
    net = Fused(PiDiNet().to_vanilla()).cuda().bfloat16().eval()
    time_ways(rates, "PiDiNet, converted", net, data.bfloat16())


def random_pool(size: int) -> TrainingPool:
    """64 noise images as a pool with pairs, so that every part of a step runs."""
    color = torch.randint(0, 255, (64, 3, size, size), dtype=torch.uint8)
    one = color[:, :1].contiguous()
    images = ImageSet(color, one, one, one, one, torch.zeros(64, dtype=torch.long))
    return TrainingPool(images, None, 1, pairs=(images, images))


def eight_steps(trainer: Trainer, numbers: Iterator[int]) -> None:
    """A block of steps, without journal or average."""
    for number in itertools.islice(numbers, 8):
        trainer._update(trainer._views(number), trainer._rows("step", number, 16).to(trainer.device))


def unreplayed(trainer: Trainer) -> None:
    """Issue a compiled step's kernels one by one, and draw views between steps."""
    trainer._replayed, trainer._draw_ahead = None, lambda first: None


STEP_WAYS = {"eager": None, "compiled, not replayed": unreplayed, "compiled": lambda _: None}


def step_gflop(preset: str) -> float:
    """Arithmetic of a compiled step for each image, which judges each image once; counted on the CPU."""
    image, crop = torch.rand(1, 3, 256, 256, requires_grad=True), torch.rand(1, 3, 128, 128, requires_grad=True)
    stacked, judge, vgg = torch.rand(1, 5, 256, 256), Discriminator(DiscriminatorConfig()), VggFeatures()
    generator = Generator(generator_preset(preset))
    groups = len(generator.config.decoders)

    def counted(call: Callable[[], object]) -> float:
        with FlopCounterMode(display=False) as counter:
            call()
        return counter.get_total_flops() / 1e9

    def back(outputs: list[Tensor]) -> None:
        torch.stack([output.mean() for output in outputs]).sum().backward()

    drawn = counted(lambda: back([output.fused for output in generator(stacked).values()]))
    own = counted(lambda: back([scale[-1] for scale in judge(stacked, image.detach())]))
    judge.requires_grad_(False)
    judged = counted(lambda: back([scale[-1] for scale in judge(stacked, image)]))
    judged -= counted(lambda: judge(stacked, image.detach()))  # the pass itself is in `own`
    compared = counted(lambda: back(vgg(crop))) + counted(lambda: vgg(crop.detach()))
    return drawn + groups * (2 * own + judged + compared)


def step(rates: Rates, given: argparse.Namespace) -> None:
    """Whole training steps as `train` takes them: views, generator, discriminator, VGG16, average; last journal row."""
    for preset in given.step_presets:
        gflop = step_gflop(preset)
        for way in given.step_ways:
            config = TrainConfig(
                preset=preset,
                steps=given.steps,
                batch_size=32,
                journal_every=max(1, given.steps // 4),
                checkpoint_every=10**9,
                sample_every=10**9,
                view_block=8,
                compile=STEP_WAYS[way] is not None,
            )
            torch._dynamo.reset()
            as_one_graph.cache_clear()
            row: dict = {"name": f"training step, {preset}, batch 32", "way": way}
            with tempfile.TemporaryDirectory() as folder:
                files = RunFiles(folder=Path(folder), fingerprint="rates", metadata={})
                generator = Generator(generator_preset(preset))
                trainer = Trainer(config, loss_preset("default"), random_pool(256), generator, VggFeatures(), files)
                if (change := STEP_WAYS[way]) is not None:
                    change(trainer)
                rows: list[dict] = []
                try:
                    trainer.run(report=rows.append)
                except Exception as error:  # as above
                    rates.add(**row, failed=f"{type(error).__name__}: {error}"[:300])
                    continue
            if given.profile:
                numbers = itertools.count()
                print_profile(lambda trainer=trainer, n=numbers: eight_steps(trainer, n), 40, given.trace)
            rate = max(row["img_per_s"] for row in rows[1:])
            known = rates.result.get("ceilings")
            of_floor = round(rate * gflop / 1e3 / known["bf16_matrix_tflops"], 3) if known else None
            more = {"gflop_an_image": round(gflop, 1), "of_floor": of_floor, "first_rows_s": rows[0]["seconds"]}
            rates.add(**row, img_per_s=rate, **more)
            del trainer, generator
            torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--presets", nargs="+", default=["lite", "paper", "base"])
    parser.add_argument("--tuned", nargs="*", default=["lite", "paper"], help="presets also tuned, which takes minutes")
    parser.add_argument("--variants", nargs="+", default=VARIANTS)
    parser.add_argument("--trace", type=Path, default=None, help="with --profile: keep eight training steps' trace")
    parser.add_argument("--profile", action="store_true", help="print the kernels that take the time")
    parser.add_argument("--step-presets", nargs="+", default=["lite", "base"])
    parser.add_argument("--step-ways", nargs="+", choices=STEP_WAYS, default=list(STEP_WAYS))
    parser.add_argument("--steps", type=int, default=80)
    given = parser.parse_args()
    torch.backends.cudnn.benchmark = True
    rates = Rates(given.out)
    if "ceilings" in given.parts:
        rates.result["ceilings"] = measured_ceilings()
        print(json.dumps(rates.result["ceilings"]), flush=True)
    for name, part in (("forward", forward), ("conditions", conditions), ("step", step)):
        if name in given.parts:
            part(rates, given)
    rates.write()


if __name__ == "__main__":
    main()
