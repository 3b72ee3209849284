"""Losses of training (paper Eqs. 2-4), pure functions of network outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Adversarial = Literal["logistic", "least_squares", "hinge"]

VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)  # of relu1_1 .. relu5_1, as pix2pixHD


def perceptual(generated: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Weighted mean absolute difference of network features.

    Args:
        generated: Feature maps of the generated image, finest first.
        real: Feature maps of the target, same shapes, no gradient needed.

    Returns:
        Scalar.

    Source: Paper Eq. 2, L_vgg(G(C_x), A_y).
    """
    pairs = zip(VGG_WEIGHTS, generated, real, strict=False)
    return torch.stack([weight * F.l1_loss(ours, theirs) for weight, ours, theirs in pairs]).sum()


def feature_matching(generated: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]]) -> Tensor:
    """Mean absolute difference of discriminator features over scales and layers, logits left out; scalar."""
    terms = [
        F.l1_loss(ours, theirs)
        for ours_scale, theirs_scale in zip(generated, real, strict=True)
        for ours, theirs in zip(ours_scale[:-1], theirs_scale[:-1], strict=True)
    ]
    return torch.stack(terms).sum() * (4.0 / len(terms))


def region_l1(generated: Tensor, real: Tensor, region_mask: Tensor) -> Tensor:
    """Mean absolute difference inside each sample's region, 0 for a sample without one; mean over the batch.

    Args:
        generated: float (B, 3, H, W).
        real: float (B, 3, H, W).
        region_mask: float (B, 1, H, W) in [0, 1].
    """
    area = region_mask.sum(dim=(1, 2, 3))
    error = ((generated - real).abs().mean(dim=1, keepdim=True) * region_mask).sum(dim=(1, 2, 3))
    return (error / area.clamp_min(1.0)).mean()


def fusion_opening(fusion_mask: Tensor, content: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy of the fusion mask with 1, weighted in each sample by how wrong the content is; batch mean.

    Where content and target agree nothing is asked, so that copying stays possible.

    Args:
        fusion_mask: M_gen, float (B, 1, H, W) in [0, 1].
        content: C_in, float (B, 3, H, W) in [-1, 1].
        wanted: Target, float (B, 3, H, W) in [-1, 1].

    Source: ADR-008.
    """
    wrong = ((content - wanted).abs().mean(dim=1, keepdim=True) * 4).clamp(0, 1)
    wrong = wrong * (wrong > 0.15)
    surprise = -torch.log(fusion_mask.float().clamp_min(1e-4))
    return ((wrong * surprise).sum(dim=(1, 2, 3)) / wrong.sum(dim=(1, 2, 3)).clamp_min(1.0)).mean()


def discriminator_loss(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]], form: Adversarial) -> Tensor:
    """Loss that the discriminator minimises, mean over scales and patches.

    Args:
        real: Discriminator outputs for real images; the last of each scale are the logits.
        fake: The same for generated images.
        form: ``logistic`` is the paper's Eq. 3 on logits: -log D(real) - log(1 - D(fake)).

    Returns:
        Scalar.
    """
    terms = []
    for real_scale, fake_scale in zip(real, fake, strict=True):
        on_real, on_fake = real_scale[-1].float(), fake_scale[-1].float()
        if form == "logistic":
            terms.append(F.softplus(-on_real).mean() + F.softplus(on_fake).mean())
        elif form == "least_squares":
            terms.append(0.5 * ((on_real - 1).square().mean() + on_fake.square().mean()))
        else:
            terms.append(F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean())
    return torch.stack(terms).mean()


def generator_loss(fake: Sequence[Sequence[Tensor]], form: Adversarial) -> Tensor:
    """Adversarial loss that the generator minimises (non-saturating for ``logistic``); scalar."""
    terms = []
    for scale in fake:
        logits = scale[-1].float()
        if form == "logistic":
            terms.append(F.softplus(-logits).mean())
        elif form == "least_squares":
            terms.append(0.5 * (logits - 1).square().mean())
        else:
            terms.append(-logits.mean())
    return torch.stack(terms).mean()
