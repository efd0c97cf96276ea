"""What the columns of a table are drawn from: distributions by their inverse, one uniform number a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri

from assayd.types.arrays import Array, Floats
from assayd.types.statistics import GaussianColumn, QuartileColumn

_NEVER = 2.0
FEW_EDGES = 8
"""Up to so many a comparison with each takes less time than a search."""
_TINY = 1e-300
_HALF_STEP = 2.0**-54
_BELOW_ONE = 1 - 2.0**-53


@dataclass(frozen=True, eq=False)
class Bins:
    """Normal distributions truncated to bins, as many for each column.

    lows: [columns, bins], the uniform number from which on a bin is drawn. The rest is for bin k of column j at
    [j * bins + k]: a uniform number u becomes the normal one at probability offset + slope * u.
    """

    lows: Floats
    offset: Floats
    slope: Floats
    means: Floats
    stds: Floats
    mins: Floats
    maxs: Floats

    def values(self, u: Floats) -> Floats:
        """One number for each uniform one. u: [n, columns]."""
        bins = self.lows.shape[1]
        cell = place(u, self.lows[:, 1:], side="right") + np.arange(0, len(self.lows) * bins, bins)
        # One array for whatever a cell says: fresh memory costs as much as what is computed in it.
        of_cell = np.empty(u.shape)

        def said(what: Floats) -> Floats:
            return what.take(cell, out=of_cell, mode="clip")  # which is in range; anything else would be copied

        values = self.slope.take(cell, mode="clip")
        values *= u
        values += said(self.offset)
        np.clip(values, _TINY, _BELOW_ONE, out=values)
        ndtri(values, out=values)
        values *= said(self.stds)
        values += said(self.means)
        np.maximum(values, said(self.mins), out=values)
        return np.minimum(values, said(self.maxs), out=values)


@dataclass(frozen=True, eq=False)
class Normals:
    """Normal distributions: [columns] each. missing: a uniform number below it draws nothing."""

    missing: Floats
    mean: Floats
    std: Floats

    def values(self, u: Floats) -> Floats:
        """One number for each uniform one. u: [n, columns]."""
        probability = (u - self.missing) / np.maximum(1 - self.missing, _TINY)
        np.clip(probability, _HALF_STEP, _BELOW_ONE, out=probability)
        values: Floats = ndtri(probability, out=probability)
        values *= self.std
        values += self.mean
        return values


def bins_of(columns: Sequence[QuartileColumn]) -> Bins:
    """The distributions of columns that were checked."""
    frequencies = padded([c.frequencies for c in columns], 0.0)
    means = padded([c.means for c in columns], 0.0)
    stds = np.maximum(padded([c.stds for c in columns], 1.0), _TINY)
    mins, maxs = padded([c.mins for c in columns], 0.0), padded([c.maxs for c in columns], 0.0)
    missing = np.array([c.missing_rate for c in columns]).reshape(-1, 1)
    highs = missing + (1 - missing) * cumulated(frequencies)
    lows = np.concatenate([missing, highs[:, :-1]], axis=1)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        below, above = ndtr((mins - means) / stds), ndtr((maxs - means) / stds)
        slope = np.where(highs > lows, (above - below) / (highs - lows), 0.0)
    offset = below - lows * slope
    starts = np.where(lows >= highs[:, -1:], _NEVER, lows)  # bins that hold nothing, at the end
    return Bins(starts, offset.ravel(), slope.ravel(), means.ravel(), stds.ravel(), mins.ravel(), maxs.ravel())


def normals_of(columns: Sequence[GaussianColumn]) -> Normals:
    """The distributions of columns that were checked."""
    return Normals(
        np.array([c.missing_rate for c in columns]),
        np.array([c.mean for c in columns]),
        np.array([c.std for c in columns]),
    )


def place(values: Array, edges: Array, *, side: Literal["left", "right"]) -> Array:
    """Each column's values among its edges, an unsigned integer [n, columns]: how many edges lie below a value (left),
    or don't lie above it (right); 0 for NaN. values: [n, columns]; edges: [columns, k], ascending.
    """
    count = edges.shape[1]
    number = np.zeros(values.shape, np.min_scalar_type(count + 1))
    if count <= FEW_EDGES:
        for edge in edges.T:
            number += values > edge if side == "left" else values >= edge
    else:
        for j, column in enumerate(edges):
            number[:, j] = np.searchsorted(column, values[:, j], side=side)
        if values.dtype.kind == "f":
            number[np.isnan(values)] = 0
    return number


def padded(rows: Sequence[Sequence[float]], value: float) -> Floats:
    """Rows of different lengths as one array, filled up with `value`."""
    out = np.full((len(rows), max(map(len, rows), default=0)), value)
    for number, row in enumerate(rows):
        out[number, : len(row)] = row
    return out


def cumulated(frequencies: Floats) -> Floats:
    """Their sums along the last axis, scaled to end at 1."""
    total = np.cumsum(frequencies, axis=-1)
    scaled: Floats = total / total[..., -1:]
    return scaled
