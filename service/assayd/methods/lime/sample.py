"""What a surrogate is fitted to: draws, merged into distinct rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, Self

import numpy as np

from assayd.types.arrays import Array, Floats, Ints
from assayd.types.rows import RowBlock

BLOCK_CELLS = 1 << 21
"""Numbers of a design matrix that are unpacked at a time."""

_NARROW, _NARROW_CELLS = 64, 1 << 16
"""Up to so many features a piece has so many numbers, which stay in a core's cache. Much smaller ones cost more than
they save: each call into numpy is one more time to wait for the interpreter."""


@dataclass(frozen=True, eq=False)
class Draws:
    """Which row each draw is.

    rows: how many there are, numbered in the order of their first draw. order: int64 [n], a row each. stand_for: how
    many draws they weigh together; None: as many as they are. population: of how many rows they were drawn without
    repetition; None: there is no end of rows.
    """

    rows: int
    order: Ints
    stand_for: int | None = None
    population: int | None = None

    @property
    def counts(self) -> Floats:
        """Draws of each row, [rows]."""
        return np.bincount(self.order, minlength=self.rows).astype(np.float64)

    @property
    def total(self) -> int:
        """How many draws they weigh together."""
        return len(self.order) if self.stand_for is None else self.stand_for

    @property
    def unit(self) -> float:
        """The weight of one draw."""
        return self.total / len(self.order)

    @property
    def chance(self) -> float:
        """The share of the population that wasn't drawn: 1 where it has no end, 0 where nothing was left to chance.

        Without repetition the variance of a sum over the draws is so much of what it is with repetition.
        """
        return 1.0 if self.population is None else 1 - self.rows / self.population

    def cut(self, rows: int) -> Draws:
        """The draws up to the first of a row beyond `rows`."""
        if rows == self.rows:
            return self
        stop = int(np.argmax(self.order >= rows))
        return replace(self, rows=rows, order=self.order[:stop])


class Sample(Protocol):
    """Perturbed copies of one instance. The first row of a drawn one is x itself."""

    @property
    def draws(self) -> Draws:
        """Which row each draw is."""

    @property
    def copies(self) -> int:
        """Rows of the plan for each row of the sample; their scores are averaged."""

    @property
    def shared(self) -> bool:
        """Whether other instances have this very sample, the same object."""

    @property
    def z_x(self) -> Floats:
        """What z is at x, [F]."""

    def cut(self, rows: int) -> Self:
        """The first rows alone."""

    def z(self, a: int, b: int) -> Array:
        """The surrogate's variables in rows a <= r < b, float64 or bool [b - a, F]. Not to be written to."""

    def squared_distance(self, z: Floats) -> Floats:
        """From x, [n]; z: [n, F]."""

    def blocks(self, a: int, b: int) -> Sequence[RowBlock]:
        """Rows a <= r < b of the plan, where row r is copy r % copies of row r // copies."""

    def samples(self) -> dict[str, Array]:
        """All draws, in the form of the parameter `samples`."""


class Design:
    """The variables of all rows, a piece at a time, which stays in the cache where features are few.

    Kept where they fit in a block.
    """

    def __init__(self, sample: Sample) -> None:
        self._sample = sample
        self.rows, self.features = sample.draws.rows, len(sample.z_x)
        self._block = max(1, BLOCK_CELLS // self.features)
        self._piece = self._block
        if self.features <= _NARROW:
            self._piece = min(self._block, _NARROW_CELLS // self.features)
        self._first = min(self._piece, max(1, _NARROW_CELLS // self.features))
        self._kept = [*self._pieces()] if self.rows <= self._block else None

    def __iter__(self) -> Iterator[tuple[slice, Floats]]:
        """Rows, and their z [rows, F]."""
        for rows, z in self._pieces() if self._kept is None else self._kept:
            yield rows, z.astype(np.float64, copy=False)

    def whole(self) -> Floats:
        """z of all rows, [rows, F]."""
        out = np.empty((self.rows, self.features))
        for rows, z in self:
            out[rows] = z
        return out

    def row(self, number: int) -> Floats:
        """z of one row, [F]."""
        if self._kept is None:
            z = self._sample.z(number, number + 1)[0]
        else:
            z = next(z[number - rows.start] for rows, z in self._kept if number < rows.stop)
        found: Floats = z.astype(np.float64, copy=False)
        return found

    def proximity(self, width: float) -> Floats:
        """exp(-d^2 / (2 width^2)), [rows]."""
        out = np.empty(self.rows)
        for rows, z in self:
            out[rows] = self._sample.squared_distance(z)
        with np.errstate(over="ignore", under="ignore"):
            out /= width
            out *= -0.5 / width
            return np.exp(out, out=out)

    def _pieces(self) -> Iterator[tuple[slice, Array]]:
        # The first one by itself: x is in it, where all others may be at hand, made for other instances as well.
        blocks = [0, *range(self._first, self.rows, self._block), self.rows]
        for a, b in pairwise(blocks):
            z = self._sample.z(a, b)
            for first in range(a, b, self._piece):
                last = min(first + self._piece, b)
                yield slice(first, last), z[first - a : last - a]


def merge(keys: Array) -> tuple[Ints, Draws]:
    """Give equal keys one row. keys: [n, k], of a dtype without padding. Returns the first draw of each row as well."""
    packed = np.ascontiguousarray(keys)
    column = packed if packed.shape[1] == 1 else packed.view(np.dtype((np.void, packed.itemsize * packed.shape[1])))
    _, first, order = np.unique(column[:, 0], return_index=True, return_inverse=True)
    by_appearance = np.argsort(first)
    number = np.empty_like(by_appearance)
    number[by_appearance] = np.arange(len(first))
    return first[by_appearance], Draws(len(first), number[order.reshape(-1)])


def unmerged(count: int) -> Draws:
    """Every draw its own row."""
    return Draws(count, np.arange(count))
