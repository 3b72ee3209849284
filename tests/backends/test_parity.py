"""OpenVINO and ONNX Runtime against PyTorch: every network, two batch sizes, float32 within 1e-3."""

from __future__ import annotations

import pytest
import torch

from anomalyhybrid.backends.choice import BackendName, choose_backend, missing_packages, unfit
from anomalyhybrid.backends.graphs import GraphGenerator
from anomalyhybrid.backends.networks import on_backend
from anomalyhybrid.conditions.accelerated import extractor_on_backend
from anomalyhybrid.conditions.lite import lite_depth, lite_edge
from anomalyhybrid.generation.pipeline import redraw
from anomalyhybrid.models.generator import Generator, load_generator
from anomalyhybrid.models.weights import shipped
from anomalyhybrid.types import Conditions

BOUND = 1e-3
SIZE = 64


def runtimes() -> list:
    return [
        pytest.param(name, marks=pytest.mark.skipif(bool(missing_packages(name)), reason=f"extra {name} is missing"))
        for name in ("openvino", "onnx")
    ]


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def generator() -> Generator:
    """The shipped one: its weights are what the bound is worth knowing for."""
    return load_generator(shipped("generator.safetensors"))[0]


@pytest.fixture(scope="module", params=runtimes())
def name(request: pytest.FixtureRequest) -> BackendName:
    return request.param


@pytest.fixture(scope="module")
def converted(generator: Generator, name: BackendName) -> Generator:
    return on_backend(generator, choose_backend(name, "cpu"))


def test_every_decoder_with_the_encoder_at_two_batch_sizes(generator, converted) -> None:
    assert isinstance(converted, GraphGenerator)
    for batch in (1, 3):
        stacked = rand(batch, 5, SIZE, SIZE, seed=batch)
        with torch.inference_mode():
            expected, given = generator(stacked), converted(stacked)
        assert given.keys() == expected.keys() == {"ahd", "ahe"}
        for decoder, output in expected.items():
            for field, one, other in zip(output._fields, given[decoder], output, strict=True):
                assert one.shape == other.shape, (decoder, field)
                assert float((one - other).abs().max()) <= BOUND, (decoder, field)


@pytest.mark.parametrize("decoder_B", [[0, 1, 0], [1, 1, 1]])
def test_generation_draws_each_image_by_its_own_decoder(generator, converted, decoder_B) -> None:
    stacked = rand(3, 5, SIZE, SIZE)
    conditions = Conditions(color=stacked[:, :3], depth=stacked[:, 3:4], edge=stacked[:, 4:])
    with torch.inference_mode():
        expected, given = (
            redraw(model, conditions, ("ahd", "ahe"), torch.tensor(decoder_B)) for model in (generator, converted)
        )
        other_decoder = generator.redraw(conditions, "ahd").fused[1]
    for one, other in zip(given, expected, strict=True):
        assert float((one - other).abs().max()) <= BOUND
    assert float((given.fused[1] - other_decoder).abs().max()) > BOUND  # image 1 is AHE's


def test_the_same_batch_gives_the_same_bits_again(converted) -> None:
    stacked = rand(3, 5, SIZE, SIZE)
    with torch.inference_mode():
        first, again = converted(stacked)["ahe"], converted(stacked)["ahe"]
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)
        assert one.data_ptr() != other.data_ptr()  # the runtime does not hand out memory that it writes to again


@pytest.mark.parametrize("make", [lite_edge, lite_depth])
def test_the_students(make, name) -> None:
    plain, backend = make(), choose_backend(name, "cpu")
    fast = extractor_on_backend(plain, backend)
    assert fast.name == f"{plain.name}-{name}-{backend.version}"  # maps of one are not taken for the other's
    for batch, side in ((1, SIZE), (3, SIZE), (2, 50)):  # 50 is padded inside
        image = rand(batch, 3, side, side, seed=batch)
        assert float((fast(image) - plain(image)).abs().max()) <= BOUND


@pytest.mark.skipif(
    bool(missing_packages("openvino-bf16")) or unfit("openvino-bf16"),
    reason="extra openvino is missing, or bfloat16 in this CPU",
)
def test_bfloat16_is_near_and_does_not_depend_on_the_batch(generator) -> None:
    fast = on_backend(generator, choose_backend("openvino-bf16", "cpu"))
    side = 256  # that of the generator; at 64 pixels some CPUs choose other kernels for other batches
    smooth = torch.nn.functional.interpolate(rand(3, 5, 8, 8), (side, side), mode="bilinear")
    with torch.inference_mode():
        expected, given, alone = generator(smooth)["ahd"], fast(smooth)["ahd"], fast(smooth[:1])["ahd"]
    for one, other, single in zip(given, expected, alone, strict=True):
        assert float((one - other).abs().max()) < 0.1
        assert float((one - other).abs().mean()) < 0.004
        assert torch.equal(one[:1], single)
