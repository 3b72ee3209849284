"""The patch discriminator: one network for each scale, one logit for each patch, conditions included."""

from __future__ import annotations

import pytest
import torch

from anomalyhybrid.models.config import DiscriminatorConfig
from anomalyhybrid.models.discriminator import Discriminator


def make(**settings: int) -> Discriminator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Discriminator(DiscriminatorConfig(width=8, **settings))


def inputs(size: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 5, size, size, generator=generator), torch.rand(2, 3, size, size, generator=generator)


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_one_list_for_each_scale(scales: int) -> None:
    results = make(scales=scales)(*inputs(128))
    assert len(results) == scales
    sides = [result[-1].shape[-1] for result in results]
    assert sides == [14, 6, 2][:scales]


def test_layers_and_logits() -> None:
    first, second = make()(*inputs())
    assert [tuple(layer.shape[1:]) for layer in first] == [(8, 32, 32), (16, 16, 16), (32, 8, 8), (64, 7, 7), (1, 6, 6)]
    assert second[-1].shape == (2, 1, 2, 2)
    assert make(layers=2)(*inputs())[0][-1].shape[-1] > first[-1].shape[-1]


def test_conditions_and_image_both_count() -> None:
    model, (stacked, image) = make(), inputs()
    with torch.no_grad():
        before = model(stacked, image)
        for channel in range(5):
            changed = stacked.clone()
            changed[:, channel] = changed[:, channel].flip(-1)
            assert float((model(changed, image)[0][-1] - before[0][-1]).abs().max()) > 1e-4
        for scale in range(2):
            assert float((model(stacked, image.flip(-1))[scale][-1] - before[scale][-1]).abs().max()) > 1e-4


def test_the_second_scale_sees_the_halved_image() -> None:
    """A pattern that averages away in 2x2 blocks exists for the first network only."""
    model, (stacked, image) = make(), inputs()
    checks = torch.ones(64, 64)
    checks[::2, ::2] = checks[1::2, 1::2] = -1
    with torch.no_grad():
        before, after = model(stacked, image), model(stacked, image + 0.5 * checks)
    assert float((after[0][-1] - before[0][-1]).abs().max()) > 1e-3
    torch.testing.assert_close(after[1][-1], before[1][-1], atol=1e-4, rtol=0)


def test_every_weight_gets_a_gradient() -> None:
    model = make()
    sum(scale[-1].square().mean() for scale in model(*inputs())).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
