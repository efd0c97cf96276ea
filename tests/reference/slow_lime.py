"""LIME restated from DESIGN.md ("What the numbers mean"): every draw its own row, the intercept its own column."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from assayd.types.arrays import Array, Floats


@dataclass
class Slow:
    """One target. values, errors: [F]."""

    values: Floats
    errors: Floats
    intercept: float
    r_squared: float


def cosine_weights(masks: Array, width: float) -> list[float]:
    """Of each mask, by its cosine distance from the mask that keeps all; 1 for the one that keeps nothing."""
    weights = []
    for mask in masks:
        kept, ones = [float(z) for z in mask], [1.0] * len(mask)
        dot = sum(a * b for a, b in zip(kept, ones, strict=True))
        norms = math.sqrt(sum(a * a for a in kept)) * math.sqrt(sum(b * b for b in ones))
        distance = 1.0 if not any(kept) else 1 - dot / norms
        weights.append(math.exp(-(distance**2) / (2 * width**2)))
    return weights


def euclidean_weights(z: Array, z_x: Array, width: float) -> list[float]:
    """Of each row, by its euclidean distance from x."""
    return [math.exp(-sum((a - b) ** 2 for a, b in zip(row, z_x, strict=True)) / (2 * width**2)) for row in z]


def in_quartile(value: float, x: float, boundaries: tuple[float, ...]) -> float:
    """1 where a value lies in x's bin; a value equal to a boundary lies in the lower bin, a missing one in its own."""

    def bin_of(v: float) -> int:
        return -1 if math.isnan(v) else sum(v > b for b in boundaries)

    return float(bin_of(value) == bin_of(x))


def slow_ridge(z: Array, weights: list[float], scores: Array, alpha: float) -> Slow:
    """Weighted ridge with an intercept that isn't penalised, and its sandwich errors."""
    design = np.array([[1.0, *row] for row in z])
    w, y = np.array(weights), np.array(scores, np.float64)
    penalty = np.diag([0.0] + [alpha] * (design.shape[1] - 1))
    a = sum(wi * np.outer(xi, xi) for wi, xi in zip(w, design, strict=True)) + penalty
    b = sum(wi * yi * xi for wi, yi, xi in zip(w, y, design, strict=True))
    solution = np.linalg.solve(a, b)
    residuals = y - design @ solution
    meat = sum((wi * ri) ** 2 * np.outer(xi, xi) for wi, ri, xi in zip(w, residuals, design, strict=True))
    inverse = np.linalg.inv(a)
    mean = (w * y).sum() / w.sum()
    unexplained = (w * residuals**2).sum() / (w * (y - mean) ** 2).sum()
    errors = np.sqrt(np.diag(inverse @ meat @ inverse))
    return Slow(solution[1:], errors[1:], float(solution[0]), float(1 - unexplained))
