"""Losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from anomalyhybrid import losses


def scales(*logits: list[float], feature: float = 0.0) -> list[list[torch.Tensor]]:
    """Discriminator outputs: for each scale a constant feature layer and the logits."""
    return [[torch.full((1, 2, 2, 2), feature), torch.tensor(row).view(1, 1, 1, -1)] for row in logits]


REAL, FAKE = ([2.0, -1.0], [0.5]), ([-1.0, 3.0], [0.0])


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        # scale 1: ((1)^2 + (-2)^2)/2/2 + (1 + 9)/2/2 = 3.75; scale 2: (0.25 + 0)/2 = 0.125
        ("least_squares", (3.75 + 0.125) / 2),
        # scale 1: (0 + 2)/2 + (0 + 4)/2 = 3; scale 2: 0.5 + 1 = 1.5
        ("hinge", (3 + 1.5) / 2),
        (
            "logistic",
            (
                (math.log1p(math.exp(-2)) + math.log1p(math.e)) / 2
                + (math.log1p(math.exp(-1)) + math.log1p(math.exp(3))) / 2
                + math.log1p(math.exp(-0.5))
                + math.log(2)
            )
            / 2,
        ),
    ],
)
def test_discriminator_loss(form, wanted: float) -> None:
    assert float(losses.discriminator_loss(scales(*REAL), scales(*FAKE), form)) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("least_squares", ((4 + 4) / 2 / 2 + 0.5) / 2),
        ("hinge", (-1.0 + 0.0) / 2),
        ("logistic", ((math.log1p(math.e) + math.log1p(math.exp(-3))) / 2 + math.log(2)) / 2),
    ],
)
def test_generator_loss(form, wanted: float) -> None:
    assert float(losses.generator_loss(scales(*FAKE), form)) == pytest.approx(wanted, rel=1e-6)


def test_the_logistic_form_is_equation_three() -> None:
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 4, 1, 6, 6, generator=generator).double() * 3
    on_real, on_fake = torch.sigmoid(real), torch.sigmoid(fake)
    wanted = -(torch.log(on_real).mean() + torch.log(1 - on_fake).mean())
    found = losses.discriminator_loss([[real]], [[fake]], "logistic")
    assert float(found) == pytest.approx(float(wanted), rel=1e-6)
    assert float(losses.generator_loss([[fake]], "logistic")) == pytest.approx(float(-torch.log(on_fake).mean()), 1e-6)


@pytest.mark.parametrize("form", ["logistic", "least_squares", "hinge"])
def test_both_sides_pull_in_opposite_directions(form) -> None:
    real, fake = (torch.tensor([[[[0.1, 0.2]]]], requires_grad=True) for _ in range(2))
    losses.discriminator_loss([[real]], [[fake]], form).backward()
    assert bool((real.grad < 0).all())  # raising logits of real images lowers the loss
    assert bool((fake.grad > 0).all())
    again = torch.tensor([[[[0.1, -0.2]]]], requires_grad=True)
    losses.generator_loss([[again]], form).backward()
    assert bool((again.grad < 0).all())


def test_extreme_logits_give_finite_losses() -> None:
    for form in ("logistic", "least_squares", "hinge"):
        extreme = [[torch.tensor([[[[300.0, -300.0]]]])]]
        assert math.isfinite(float(losses.discriminator_loss(extreme, extreme, form)))


def test_perceptual_weights_the_stages() -> None:
    zeros = [torch.zeros(1, 2, 3, 3)] * 5
    ones = [torch.full((1, 2, 3, 3), value) for value in (1.0, 2.0, 4.0, 8.0, 3.0)]
    assert float(losses.perceptual(ones, zeros)) == pytest.approx(1 / 32 + 2 / 16 + 4 / 8 + 8 / 4 + 3)
    assert float(losses.perceptual(ones[:4], zeros[:4])) == pytest.approx(1 / 32 + 2 / 16 + 4 / 8 + 8 / 4)


def test_feature_matching_leaves_the_logits_out() -> None:
    ours, theirs = scales([9.0], [9.0], feature=0.5), scales([-9.0], [-9.0], feature=0.0)
    assert float(losses.feature_matching(ours, theirs)) == pytest.approx(4 * 0.5)
    ours[1][0] = torch.full((1, 2, 2, 2), 1.5)
    assert float(losses.feature_matching(ours, theirs)) == pytest.approx(4 * 1.0)
    with pytest.raises(ValueError, match="zip"):
        losses.feature_matching(ours, theirs[:1])


def test_region_l1_sees_edited_samples_and_their_regions_only() -> None:
    real = torch.zeros(3, 3, 4, 4)
    generated = torch.full((3, 3, 4, 4), 7.0)  # outside every region, and in the unedited sample: must not count
    region = torch.zeros(3, 1, 4, 4)
    region[0, :, :2, :2] = 1
    region[1, :, 0, 0] = 1
    generated[0, :, :2, :2] = torch.tensor([0.3, 0.6, 0.9]).view(3, 1, 1)
    generated[1, :, 0, 0] = -0.2
    assert float(losses.region_l1(generated, real, region)) == pytest.approx((0.6 + 0.2 + 0) / 3)
    assert float(losses.region_l1(generated, real, region * 0)) == 0


def test_fusion_opening_asks_nothing_where_the_content_is_right() -> None:
    content = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    closed = torch.full((2, 1, 8, 8), 0.01, requires_grad=True)
    found = losses.fusion_opening(closed, content, content.clone())
    assert float(found.detach()) == 0
    found.backward()
    assert not closed.grad.any()
    assert float(losses.fusion_opening(closed.detach(), content, content + 0.03)) == 0  # too small to ask


def test_fusion_opening_is_a_weighted_cross_entropy() -> None:
    content, wanted = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    wanted[..., 0, :] = 1.0  # four pixels, weight 1
    wanted[..., 1, :2] = 0.125  # two pixels, weight 0.5
    mask = torch.full((1, 1, 4, 4), 0.5)
    mask[..., 1, :] = 0.25
    expected = (4 * math.log(2) + 2 * 0.5 * math.log(4)) / 5
    assert float(losses.fusion_opening(mask, content, wanted)) == pytest.approx(expected, rel=1e-6)
    assert float(losses.fusion_opening(torch.ones_like(mask), content, wanted)) == 0
    assert math.isfinite(float(losses.fusion_opening(torch.zeros_like(mask), content, wanted)))
