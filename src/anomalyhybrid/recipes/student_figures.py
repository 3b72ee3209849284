"""How well the lite students agree with teachers and truth, on pictures they were not trained on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyhybrid.models.fastdepth import FastDepth
from anomalyhybrid.models.hed import Hed
from anomalyhybrid.recipes.student_augment import gaussian_blur
from anomalyhybrid.recipes.student_data import StudentSet, teacher_edges

TOLERANCE_PX = 2
_REFERENCE_THRESHOLD = 0.5


def thin(edges_B1HW: Tensor) -> Tensor:
    """Keep only the ridges of an edge map (non-maximum suppression across the line's direction).

    Args:
        edges_B1HW: float in [0, 1].

    Returns:
        float (B, 1, H, W): the value on ridges, else 0.
    """
    smooth = F.pad(gaussian_blur(edges_B1HW, 1.0), (1, 1, 1, 1), mode="replicate")
    centre = smooth[..., 1:-1, 1:-1]
    dxx = smooth[..., 1:-1, 2:] + smooth[..., 1:-1, :-2] - 2 * centre
    dyy = smooth[..., 2:, 1:-1] + smooth[..., :-2, 1:-1] - 2 * centre
    dxy = (smooth[..., 2:, 2:] + smooth[..., :-2, :-2] - smooth[..., 2:, :-2] - smooth[..., :-2, 2:]) / 4
    angle = 0.5 * torch.atan2(2 * dxy, dxx - dyy) + torch.pi / 2
    # The normal of a bright line is the direction of the most negative second derivative.
    height, width = centre.shape[-2:]
    ys = torch.arange(height, device=centre.device, dtype=torch.float32).view(1, -1, 1)
    xs = torch.arange(width, device=centre.device, dtype=torch.float32).view(1, 1, -1)
    keep = torch.ones_like(centre, dtype=torch.bool)
    for sign in (-1.0, 1.0):
        across = torch.stack([xs + sign * angle[:, 0].cos(), ys + sign * angle[:, 0].sin()], dim=-1)
        scale = torch.tensor([2.0 / width, 2.0 / height], device=centre.device)
        grid = (across + 0.5) * scale - 1.0
        beside = F.grid_sample(centre, grid, padding_mode="border", align_corners=False)
        keep &= centre >= beside
    return torch.where(keep, edges_B1HW, torch.zeros_like(edges_B1HW))


def best_f(predicted_N1HW: Tensor, reference_N1HW: Tensor) -> tuple[float, float]:
    """Measure edges as BSDS does at one threshold for all pictures (ODS), with dilation in place of matching.

    Args:
        predicted_N1HW: Edge probabilities in [0, 1]; thinned here.
        reference_N1HW: bool, thin reference lines.

    Returns:
        The best F over 19 thresholds, and that threshold. A pixel counts as matched if the other side has one
        within ``TOLERANCE_PX`` (square neighbourhood), so F is a little higher than one-to-one matching
        gives.
    """
    ridges = thin(predicted_N1HW)
    window = 2 * TOLERANCE_PX + 1
    reference = reference_N1HW.float()
    near_reference = F.max_pool2d(reference, window, 1, TOLERANCE_PX) > 0
    best = (0.0, 0.0)
    for number in range(1, 20):
        threshold = number / 20
        kept = ridges >= threshold
        near_kept = F.max_pool2d(kept.float(), window, 1, TOLERANCE_PX) > 0
        precision = float((kept & near_reference).sum()) / max(float(kept.sum()), 1.0)
        recall = float((reference_N1HW & near_kept).sum()) / max(float(reference_N1HW.sum()), 1.0)
        score = 2 * precision * recall / max(precision + recall, 1e-9)
        best = max(best, (score, threshold))
    return best


def pearson(a_NP: Tensor, b_NP: Tensor) -> Tensor:
    """Correlate each row of two float (N, P) tensors; constant rows give 0. Returns float (N,)."""
    a = a_NP.double() - a_NP.double().mean(dim=1, keepdim=True)
    b = b_NP.double() - b_NP.double().mean(dim=1, keepdim=True)
    norm = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(norm > 1e-9, (a * b).sum(dim=1) / norm.clamp_min(1e-9), torch.zeros_like(norm)).float()


def spearman(a_NP: Tensor, b_NP: Tensor) -> Tensor:
    """Correlate the ranks of each row of two float (N, P) tensors, ties by mean rank: float (N,)."""
    return pearson(_ranks(a_NP), _ranks(b_NP))


def _ranks(values_NP: Tensor) -> Tensor:
    """Rank each row's values, ties by their mean rank."""
    rows = []
    for row in values_NP:
        _, inverse, counts = row.unique(return_inverse=True, return_counts=True)
        last = counts.cumsum(0).double()
        rows.append((last - (counts.double() - 1) / 2)[inverse])
    return torch.stack(rows)


def aligned_abs_rel(predicted_NP: Tensor, truth_NP: Tensor) -> Tensor:
    """Mean |z' - z| / z after the best scale and shift of each picture, with z = 2 - depth in [1, 2].

    Args:
        predicted_NP: Predicted depth, 1 nearest.
        truth_NP: True depth in [0, 1], 1 nearest.

    Returns:
        float (N,).
    """
    p, t = predicted_NP.double(), 2.0 - truth_NP.double()
    centred = p - p.mean(dim=1, keepdim=True)
    slope = (centred * t).sum(dim=1, keepdim=True) / centred.square().sum(dim=1, keepdim=True).clamp_min(1e-9)
    fitted = slope * centred + t.mean(dim=1, keepdim=True)
    return ((fitted - t).abs() / t).mean(dim=1).float()


@torch.inference_mode()
def edge_figures(net: nn.Module, hed: Hed, scenes: StudentSet, *, batch: int = 32) -> dict[str, float]:
    """Compare the edge student with HED (same multi-scale reading as in training) and with the true contours.

    Args:
        net: The folded student, on the set's device.
        hed: The teacher, on the set's device.
        scenes: Pictures that were held out.
        batch: Pictures at a time.

    Returns:
        Figures by name.
    """
    predicted, teacher = [], []
    for start in range(0, len(scenes), batch):
        image = scenes.images_u8[start : start + batch].float() / 127.5 - 1.0
        predicted.append(net(image).sigmoid())
        teacher.append(teacher_edges(hed, image))
    p, t = torch.cat(predicted), torch.cat(teacher)
    contours = scenes.contours_u8 > 127
    f_teacher, at_teacher = best_f(p, thin(t) >= _REFERENCE_THRESHOLD)
    f_truth, at_truth = best_f(p, contours)
    f_hed_truth, _ = best_f(t, contours)
    return {
        "pictures": float(len(scenes)),
        "f_2px_vs_hed": f_teacher,
        "threshold_vs_hed": at_teacher,
        "pearson_vs_hed": float(pearson(p.flatten(1), t.flatten(1)).mean()),
        "f_2px_vs_contours": f_truth,
        "threshold_vs_contours": at_truth,
        "f_2px_of_hed_vs_contours": f_hed_truth,
        "mean_value": float(p.mean()),
        "mean_value_of_target": float(scenes.edges_u8.float().mean() / 255.0),
    }


@torch.inference_mode()
def depth_figures(net: nn.Module, fastdepth: FastDepth, scenes: StudentSet, *, batch: int = 32) -> dict[str, float]:
    """Compare the depth student with the true depth and with FastDepth; means over pictures.

    Args:
        net: The folded student, on the set's device.
        fastdepth: The reference, on the set's device.
        scenes: Pictures that were held out; sides multiples of 32.
        batch: Pictures at a time.

    Returns:
        Figures by name; ``object_`` figures look only at the object's pixels.
    """
    predicted, reference = [], []
    for start in range(0, len(scenes), batch):
        image = scenes.images_u8[start : start + batch].float() / 127.5 - 1.0
        predicted.append(net(image).sigmoid())
        reference.append(1.0 / fastdepth(image).clamp_min(0.1))
    p, r, t = (
        torch.cat(predicted).flatten(1),
        torch.cat(reference).flatten(1),
        scenes.depth.float().flatten(1),
    )
    inside = [row.nonzero()[:, 0] for row in scenes.object_mask.flatten(1)]
    on_object = [pearson(p[i, w][None], t[i, w][None]) for i, w in enumerate(inside) if len(w) > 50]
    return {
        "pictures": float(len(scenes)),
        "pearson_vs_truth": float(pearson(p, t).mean()),
        "spearman_vs_truth": float(spearman(p, t).mean()),
        "abs_rel_vs_truth": float(aligned_abs_rel(p, t).mean()),
        "object_pearson_vs_truth": float(torch.cat(on_object).mean()) if on_object else 0.0,
        "pearson_vs_fastdepth": float(pearson(p, r).mean()),
        "fastdepth_pearson_vs_truth": float(pearson(r, t).mean()),
        "fastdepth_abs_rel_vs_truth": float(aligned_abs_rel(r, t).mean()),
    }
