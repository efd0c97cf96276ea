"""Ridge: a surrogate whose factorisation is the same for all scores of a sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from assayd.methods.lime.basis import Basis
from assayd.methods.lime.kept import keep, kept, recall
from assayd.methods.lime.sample import Design
from assayd.methods.lime.surrogates import Fit, inverse, share_explained
from assayd.types.arrays import Floats

_KEPT_CELLS = 1 << 20
"""Rows times features that stay at hand during a fit, in 16 MiB at most, and where they are shared from the second fit
on; of more the factors alone."""


@dataclass(frozen=True, eq=False)
class _Factors:
    """mean: of z, weighted, [F]. gram: X' X; inverse: of A; both [F, F]."""

    mean: Floats
    gram: Floats
    inverse: Floats

    @property
    def nbytes(self) -> int:
        return self.mean.nbytes + self.gram.nbytes + self.inverse.nbytes


_Rows: TypeAlias = "Iterable[tuple[slice, Floats]]"
"""X in pieces, [rows, F]: a row is z less its mean, times the root of its weight."""


@dataclass(frozen=True, eq=False)
class _Stream:
    """All rows, made again in each pass. root: of the weights, [rows, 1]."""

    design: Design
    mean: Floats
    root: Floats

    def __iter__(self) -> Iterator[tuple[slice, Floats]]:
        for rows, z in self.design:
            x = z - self.mean
            x *= self.root[rows]
            yield rows, x


@dataclass(frozen=True, eq=False)
class _Piece:
    """Some rows of X."""

    rows: slice
    x: Floats
    factors: _Factors

    @cached_property
    def pull(self) -> Floats:
        """(A^-1 x)_j^2: how much a squared residual adds to the variance of each coefficient, [rows, F]."""
        pull: Floats = self.x @ self.factors.inverse
        pull *= pull
        return pull


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Rows with their factors."""

    rows: _Rows
    factors: _Factors

    def __iter__(self) -> Iterator[_Piece]:
        return (_Piece(at, x, self.factors) for at, x in self.rows)


@dataclass(frozen=True, eq=False)
class _AtHand:
    """All rows of a sample that is shared, and their pull, made once."""

    pieces: tuple[_Piece, ...]

    @property
    def nbytes(self) -> int:
        return 2 * sum(piece.x.nbytes for piece in self.pieces)


def ridge(basis: Basis, scores: Floats, alpha: float) -> Fit:
    """Minimise the weighted sum of squares + alpha x the squared coefficients; the intercept is free of penalty.

    One factorisation serves all targets, and all instances that share the sample. scores: [rows, T].

    Variables and scores are taken less their weighted means, times the roots of the weights: the intercept separates
    and no weights are left. A = X' X + alpha; errors are the sandwich A^-1 (sum r^2 x x' / c) A^-1 over the rows, with
    residuals r and c draws of a row, times `Draws.chance`: the variance of coefficient j is the sum of
    r^2 (A^-1 x)_j^2 / c.
    """
    draws, shared = basis.sample.draws, basis.sample.shared
    counts = draws.counts
    weights = _weights(basis, counts)
    root = np.sqrt(weights)[:, np.newaxis]
    mean_score = weights @ scores / weights.sum()
    y = (scores - mean_score) * root
    factors = recall(_Factors, basis, alpha) if shared else None
    if factors is None:
        factors, cross, pieces = _factored(basis, alpha, weights, root, y)
        if shared:
            keep(factors, basis, alpha)
    else:
        if _are_few(basis):
            pieces = _at_hand(basis, factors).pieces
        else:
            pieces = _Pieces(_Stream(basis.design, factors.mean, root), factors)
        cross = np.zeros((basis.features, y.shape[1]))
        for piece in pieces:
            cross += piece.x.T @ y[piece.rows]
    values = factors.inverse @ cross
    # Once more on what is left over: an inverse loses digits that a solver keeps.
    values += factors.inverse @ (cross - factors.gram @ values - alpha * values)
    left = np.zeros(y.shape[1])
    variance = np.zeros((y.shape[1], basis.features))
    of_row = (draws.chance / counts)[:, np.newaxis]
    for piece in pieces:
        squares = (y[piece.rows] - piece.x @ values) ** 2
        left += squares.sum(axis=0)
        if draws.chance:
            variance += (of_row[piece.rows] * squares).T @ piece.pull
    r_squared = share_explained(left, weights, scores)
    return Fit(values.T, mean_score - factors.mean @ values, r_squared, np.sqrt(variance))


def _factored(
    basis: Basis, alpha: float, weights: Floats, root: Floats, y: Floats
) -> tuple[_Factors, Floats, Iterable[_Piece]]:
    """The factors, X' y, [F, T], from the same pass, and the rows. weights: [rows]; root: theirs, [rows, 1]."""
    design = basis.design
    mean = np.zeros(basis.features)
    for at, z in design:
        mean += weights[at] @ z
    mean /= weights.sum()
    stream = _Stream(design, mean, root)
    rows: _Rows = list(stream) if _are_few(basis) else stream
    gram, cross = np.zeros((basis.features, basis.features)), np.zeros((basis.features, y.shape[1]))
    for at, x in rows:
        gram += x.T @ x
        cross += x.T @ y[at]
    factors = _Factors(mean, gram, inverse(gram, alpha))
    return factors, cross, _Pieces(rows, factors)


@kept
def _at_hand(basis: Basis, factors: _Factors) -> _AtHand:
    root = np.sqrt(_weights(basis, basis.sample.draws.counts))[:, np.newaxis]
    return _AtHand(tuple(_Pieces(_Stream(basis.design, factors.mean, root), factors)))


def _weights(basis: Basis, counts: Floats) -> Floats:
    return counts * basis.sample.draws.unit * basis.proximity


def _are_few(basis: Basis) -> bool:
    return basis.sample.draws.rows * basis.features <= _KEPT_CELLS
