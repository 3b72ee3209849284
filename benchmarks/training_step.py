"""Where the time of a training step goes on a GPU, part by part, and what layout, norm and padding change.

    python benchmarks/training_step.py [--batch 32] [--size 256]

Random images; times are medians of CUDA-event timings in milliseconds.
"""

import argparse
import copy
import json
import time

import torch
from torch import nn

from anomalyhybrid.augment.config import AugmentConfig
from anomalyhybrid.conditions.imageset import ImageSet
from anomalyhybrid.models.config import DiscriminatorConfig, GeneratorConfig
from anomalyhybrid.models.discriminator import Discriminator
from anomalyhybrid.models.generator import Generator
from anomalyhybrid.models.perceptual import VggFeatures
from anomalyhybrid.ops.draws import Draws
from anomalyhybrid.seeding import stream
from anomalyhybrid.training.pool import TrainingPool
from anomalyhybrid.training.step import draw_views


def timed(function, repeats: int = 5) -> float:
    """Median time of a call in milliseconds."""
    for _ in range(2):
        function()
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1e3)
    return sorted(times)[repeats // 2]


def with_padding(model: nn.Module, mode: str) -> nn.Module:
    """A copy whose convolutions pad another way."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.padding_mode = mode
    return model


def with_group_norm(model: nn.Module) -> nn.Module:
    """A copy with group norm of one channel a group for instance norm: the same function, another kernel."""
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.InstanceNorm2d):
                setattr(parent, name, nn.GroupNorm(layer.num_features, layer.num_features).cuda())
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=256)
    given = parser.parse_args()
    batch, size = given.batch, given.size
    torch.backends.cudnn.benchmark = True
    results: dict[str, float] = {}

    def report(name: str, value: float) -> None:
        results[name] = round(value, 2)
        print(f"{name:55s} {value:9.2f} ms", flush=True)

    u8 = torch.randint(0, 255, (64, 3, size, size), dtype=torch.uint8, device="cuda")
    one, category = u8[:, :1].contiguous(), torch.zeros(64, dtype=torch.long, device="cuda")
    images = ImageSet(u8, one, one, one, one, category)
    pool = TrainingPool(images, None, 1, pairs=(images, images))
    for block in (1, 4):
        rows = Draws.from_stream(stream(0, "t"), batch * block).to(torch.device("cuda"))
        call = lambda rows=rows: draw_views(rows.again(), pool, AugmentConfig())  # noqa: E731
        report(f"views, {block} steps", timed(call, 3))
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        call()
        torch.cuda.synchronize()
    print(profiler.key_averages().table(sort_by="cuda_time_total", row_limit=14, max_name_column_width=60)[:5000])

    generator = Generator(GeneratorConfig()).cuda()
    variants = {
        "plain": generator,
        "channels last": copy.deepcopy(generator).to(memory_format=torch.channels_last),
        "zero padding": with_padding(generator, "zeros"),
        "zero padding, channels last": with_padding(generator, "zeros").to(memory_format=torch.channels_last),
        "group norm": with_group_norm(generator),
        "group norm, zero padding, channels last": with_group_norm(with_padding(generator, "zeros")).to(
            memory_format=torch.channels_last
        ),
    }
    x = torch.randn(batch, 5, size, size, device="cuda")
    for name, model in variants.items():
        layout = torch.channels_last if "last" in name else torch.contiguous_format
        data = x.contiguous(memory_format=layout)

        def step(model=model, data=data) -> None:
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = sum(o.fused.mean() + o.source.mean() for o in model(data).values())
            loss.backward()

        report(f"generator fwd+bwd, {name}", timed(step, 3))
    for side, layout in ((size, "plain"), (size, "channels last"), (size // 2, "plain")):
        net = Discriminator(DiscriminatorConfig()).cuda()
        form = torch.channels_last if layout != "plain" else torch.contiguous_format
        net = net.to(memory_format=form)
        c = torch.randn(4 * batch, 5, side, side, device="cuda").contiguous(memory_format=form)
        im = torch.randn(4 * batch, 3, side, side, device="cuda").contiguous(memory_format=form)

        def judge(net=net, c=c, im=im) -> None:
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = sum(s[-1].float().mean() for s in net(c, im))
            loss.backward()

        report(f"discriminator fwd+bwd, 4 x {batch} of {side}, {layout}", timed(judge, 3))
    vgg = VggFeatures().cuda()
    crops = torch.randn(2 * batch, 3, 128, 128, device="cuda", requires_grad=True)

    def look() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            with torch.no_grad():
                vgg(crops)
            loss = sum(f.float().mean() for f in vgg(crops))
        loss.backward()

    report(f"VGG16 fwd, fwd+bwd, 2 x {batch} of 128", timed(look, 3))
    optimizer = torch.optim.Adam(generator.parameters(), fused=True)
    report("Adam, generator", timed(optimizer.step, 3))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
