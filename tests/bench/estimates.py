"""Estimates from noisy times: medians of paired ratios with bootstrap intervals, percentiles, Jain's index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_RESAMPLES = 4000
_ENDS = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % bootstrap interval (Efron 1979, percentiles)."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of what the interval spans."""
        return (self.high - self.low) / 2


def estimate(values: Sequence[float], statistic: Callable[..., np.ndarray] = np.median, seed: int = 0) -> Estimate:
    """A statistic of independent values, and its interval. One value has an interval of its own width, 0.

    statistic: takes an array and `axis`, as numpy's do.
    """
    held = np.asarray(values, np.float64)
    if not len(held):
        raise ValueError("there is nothing to estimate from")
    draws = np.random.default_rng(seed).integers(0, len(held), (_RESAMPLES, len(held)))
    low, high = np.percentile(statistic(held[draws], axis=1), _ENDS)
    return Estimate(float(statistic(held, axis=0)), float(low), float(high))


def percentile(values: Sequence[float], q: float, seed: int = 0) -> Estimate:
    """The q-th percentile and its interval, by resampling blocks of a twentieth: neighbours in time wait together.

    One of the values, never between two, so that infinity (a call without an answer) stays what it is.
    """
    held = np.asarray(values, np.float64)
    if not len(held):
        raise ValueError("there is nothing to estimate from")
    length = max(1, len(held) // 20)
    blocks = -(-len(held) // length)
    random = np.random.default_rng(seed)
    starts = random.integers(0, len(held) - length + 1, (_RESAMPLES // 10, blocks, 1))
    draws = (starts + np.arange(length)).reshape(len(starts), -1)
    low, high = _at(_at(held[draws], q, axis=1), _ENDS, axis=0)
    return Estimate(float(_at(held, q, axis=0)), float(low), float(high))


def _at(values: np.ndarray, q: Any, axis: int) -> np.ndarray:
    found: np.ndarray = np.percentile(values, q, axis=axis, method="higher")
    return found


def jain(shares: Sequence[float]) -> float:
    """Jain's fairness index (Jain, Chiu and Hawe 1984): 1 where all get the same, 1/n where one gets everything."""
    held = np.asarray(shares, np.float64)
    squares = float((held**2).sum())
    return float(held.sum() ** 2 / (len(held) * squares)) if squares else 0.0
