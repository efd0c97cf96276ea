"""The ridge that LIME fits, by hand."""

from __future__ import annotations

import numpy as np


def ridge(z: np.ndarray, scores: np.ndarray, weights: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """Coefficients [F] of a weighted ridge with free intercept, on z [n, F]."""
    share = weights / weights.sum()
    z = z - share @ z
    scores = scores - share @ scores
    weighted = z.T * weights
    return np.linalg.solve(weighted @ z + alpha * np.eye(z.shape[1]), weighted @ scores)


def cosine_weights(keep: np.ndarray, width: float = 0.25) -> np.ndarray:
    """exp(-d^2 / (2 width^2)) of the cosine distance of masks to the full one; the empty one stands at distance 1."""
    distance = 1 - np.sqrt(keep.mean(1))
    return np.exp(-(distance**2) / (2 * width**2))


def euclidean_weights(z: np.ndarray) -> np.ndarray:
    """The same of the euclidean distance to the first row, width 0.75 sqrt(F)."""
    squares = ((z - z[0]) ** 2).sum(1)
    return np.exp(-squares / (2 * 0.75**2 * z.shape[1]))
