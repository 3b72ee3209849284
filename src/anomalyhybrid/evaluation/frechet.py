"""Fréchet distance of two feature sets (FID when the features are Inception's)."""

from __future__ import annotations

import numpy as np

from anomalyhybrid.evaluation.checks import Array, feature_pair


def frechet_distance(first: Array, second: Array) -> float:
    """Compute |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) in float64, with sample covariances (N - 1).

    With S1 = A'A and S2 = B'B, the trace of the root is the sum of the singular values of AB': exact, real,
    and for fewer images than dimensions much faster than a root of the covariances. The estimate is biased
    upwards for few images: compare sets of equal size only.

    Args:
        first: Features of one image set, (N, D), any real dtype.
        second: Features of the other, (M, D).

    Returns:
        The squared distance, >= 0 up to rounding.

    Raises:
        DataError: Fewer than two images on a side, different D, or values that are not finite.

    Source: Heusel et al. 2017, Eq. 6; equal to torch-fidelity's ``metric_fid`` on the same features.
    """
    one, two = feature_pair(first, second)
    difference = one.mean(axis=0) - two.mean(axis=0)
    root_one, root_two = _covariance_root(one), _covariance_root(two)
    shared = np.linalg.svd(root_one @ root_two.T, compute_uv=False).sum()
    traces = np.square(root_one).sum() + np.square(root_two).sum()
    return float(difference @ difference + traces - 2.0 * shared)


def _covariance_root(features: np.ndarray) -> np.ndarray:
    """Give a matrix A, (min(N, D), D), with A'A = the sample covariance."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return centred if len(centred) <= centred.shape[1] else np.asarray(np.linalg.qr(centred, mode="r"))
