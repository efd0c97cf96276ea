"""Ridge: a surrogate whose factorisation is the same for all scores of a sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from assayd.methods.lime.basis import Basis
from assayd.methods.lime.kept import keep, kept, recall
from assayd.methods.lime.sample import Design
from assayd.methods.lime.surrogates import Fit, inverse, share_explained
from assayd.types.arrays import Floats

_KEPT_CELLS = 1 << 20
"""Rows times features that stay at hand from the second fit on, in 16 MiB at most; of more the factors alone."""


@dataclass(frozen=True, eq=False)
class _Factors:
    """mean: of z, weighted, [F]. gram: X' W X; inverse: of A; both [F, F]."""

    mean: Floats
    gram: Floats
    inverse: Floats

    @property
    def nbytes(self) -> int:
        return self.mean.nbytes + self.gram.nbytes + self.inverse.nbytes


@dataclass(frozen=True, eq=False)
class _Piece:
    """Some rows and their centred variables, [rows, F]."""

    rows: slice
    z: Floats
    factors: _Factors

    @cached_property
    def pull(self) -> Floats:
        """(A^-1 x)_j^2: how much a squared residual adds to the variance of each coefficient, [rows, F]."""
        pull: Floats = (self.z @ self.factors.inverse) ** 2
        return pull


@dataclass(frozen=True, eq=False)
class _Stream:
    """All rows, made again in each pass."""

    design: Design
    factors: _Factors

    def __iter__(self) -> Iterator[_Piece]:
        return (_Piece(rows, z - self.factors.mean, self.factors) for rows, z in self.design)


@dataclass(frozen=True, eq=False)
class _AtHand:
    """All rows, made once."""

    pieces: tuple[_Piece, ...]

    def __iter__(self) -> Iterator[_Piece]:
        return iter(self.pieces)

    @property
    def nbytes(self) -> int:
        return 2 * sum(piece.z.nbytes for piece in self.pieces)


def ridge(basis: Basis, scores: Floats, alpha: float) -> Fit:
    """Minimise the weighted sum of squares + alpha x the squared coefficients; the intercept is free of penalty.

    One factorisation serves all targets, and all instances that share the sample. scores: [rows, T].

    Errors are the sandwich A^-1 (sum w^2 r^2 x x') A^-1 over all draws, weights w and residuals r, A = X' W X + alpha,
    times `Draws.chance`. On centred variables the intercept separates from A, and the variance of coefficient j is the
    sum of w^2 r^2 (A^-1 x)_j^2.
    """
    draws = basis.sample.draws
    counts = draws.counts * draws.unit
    weights = counts * basis.proximity
    mean_score = weights @ scores / weights.sum()
    centred = scores - mean_score
    shared = basis.sample.shared
    factors = recall(_Factors, basis, alpha) if shared else None
    if factors is None:
        design = basis.design
        factors, cross = _factored(design, weights, alpha, centred)
        pieces: Iterable[_Piece] = _Stream(design, factors)
        if shared:
            keep(factors, basis, alpha)
    else:
        few = draws.rows * basis.features <= _KEPT_CELLS
        pieces = _at_hand(basis, factors) if few else _Stream(basis.design, factors)
        cross = np.zeros((basis.features, scores.shape[1]))
        for piece in pieces:
            cross += _weighted(weights, piece.rows, piece.z) @ centred[piece.rows]
    values = factors.inverse @ cross
    # Once more on what is left over: an inverse loses digits that a solver keeps.
    values += factors.inverse @ (cross - factors.gram @ values - alpha * values)
    left = np.zeros(scores.shape[1])
    variance = np.zeros((scores.shape[1], basis.features))
    of_draws = draws.chance * counts * draws.unit * basis.proximity**2
    for piece in pieces:
        squares = (centred[piece.rows] - piece.z @ values) ** 2
        left += weights[piece.rows] @ squares
        if draws.chance:
            variance += (of_draws[piece.rows, np.newaxis] * squares).T @ piece.pull
    r_squared = share_explained(left, weights, scores)
    return Fit(values.T, mean_score - factors.mean @ values, r_squared, np.sqrt(variance))


def _factored(design: Design, weights: Floats, alpha: float, centred: Floats) -> tuple[_Factors, Floats]:
    """The factors, and X' W y, [F, T], from the same pass."""
    total = weights.sum()
    mean = np.zeros(design.features)
    for rows, z in design:
        mean += weights[rows] @ z / total
    gram = np.zeros((design.features, design.features))
    cross = np.zeros((design.features, centred.shape[1]))
    for rows, z in design:
        z_centred = z - mean
        weighted = _weighted(weights, rows, z_centred)
        gram += weighted @ z_centred
        cross += weighted @ centred[rows]
    return _Factors(mean, gram, inverse(gram, alpha)), cross


@kept
def _at_hand(basis: Basis, factors: _Factors) -> _AtHand:
    return _AtHand(tuple(_Stream(basis.design, factors)))


def _weighted(weights: Floats, rows: slice, z: Floats) -> Floats:
    return (z * weights[rows, np.newaxis]).T
