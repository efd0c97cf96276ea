"""Ridge: a surrogate whose factorisation is the same for all scores of a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
_READY_CELLS = 1 << 18
"""Of rows and factors that are made before there are scores: 4 MiB for each decision that waits."""


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


class Ridge:
    """Minimise the weighted sum of squares + alpha x the squared coefficients; the intercept is free of penalty.

    One factorisation serves all targets, and all instances that share the sample. It needs no scores, and can be made
    while these are still waited for.

    Variables and scores are taken less their weighted means, times the roots of the weights: the intercept separates
    and no weights are left. A = X' X + alpha; errors are the sandwich A^-1 (sum r^2 x x' / c) A^-1 over the rows, with
    residuals r and c draws of a row, times `Draws.chance`: the variance of coefficient j is the sum of
    r^2 (A^-1 x)_j^2 / c.
    """

    def __init__(self, basis: Basis, alpha: float) -> None:
        self._basis, self._alpha = basis, alpha
        self._made: tuple[Floats, Floats, _Factors, Iterable[_Piece]] | None = None

    @property
    def ready(self) -> Callable[[], None] | None:
        """As `Surrogate` says; None of many rows, which would be held until all are scored."""
        rows, features = self._basis.sample.draws.rows, self._basis.features
        return self._ready if (rows + 2 * features) * features <= _READY_CELLS else None

    def _ready(self) -> None:
        *_, pieces = self._parts()
        for piece in pieces if self._basis.sample.draws.chance else ():
            piece.pull  # noqa: B018 - looked at, and thereby made

    def fit(self, scores: Floats) -> Fit:
        """The surrogate of some scores, [rows, T]."""
        draws, alpha = self._basis.sample.draws, self._alpha
        weights, root, factors, pieces = self._parts()
        mean_score = weights @ scores / weights.sum()
        y = (scores - mean_score) * root
        cross = np.zeros((self._basis.features, y.shape[1]))
        for piece in pieces:
            cross += piece.x.T @ y[piece.rows]
        values = factors.inverse @ cross
        # Once more on what is left over: an inverse loses digits that a solver keeps.
        values += factors.inverse @ (cross - factors.gram @ values - alpha * values)
        left = np.zeros(y.shape[1])
        variance = np.zeros((y.shape[1], self._basis.features))
        of_row = (draws.chance / draws.counts)[:, np.newaxis]
        for piece in pieces:
            squares = (y[piece.rows] - piece.x @ values) ** 2
            left += squares.sum(axis=0)
            if draws.chance:
                variance += (of_row[piece.rows] * squares).T @ piece.pull
        r_squared = share_explained(left, weights, scores)
        self._made = None  # the plan that may have been offered holds on to this
        return Fit(values.T, mean_score - factors.mean @ values, r_squared, np.sqrt(variance))

    def _parts(self) -> tuple[Floats, Floats, _Factors, Iterable[_Piece]]:
        """weights: [rows]; their root: [rows, 1]; the factors; the rows."""
        if self._made is None:
            basis, shared = self._basis, self._basis.sample.shared
            weights = _weights(basis)
            root = np.sqrt(weights)[:, np.newaxis]
            factors = recall(_Factors, basis, self._alpha) if shared else None
            if factors is None:
                factors, pieces = _factored(basis, self._alpha, weights, root)
                if shared:
                    keep(factors, basis, self._alpha)
            elif _are_few(basis):
                pieces = _at_hand(basis, factors).pieces
            else:
                pieces = _Pieces(_Stream(basis.design, factors.mean, root), factors)
            self._made = weights, root, factors, pieces
        return self._made


def _factored(basis: Basis, alpha: float, weights: Floats, root: Floats) -> tuple[_Factors, Iterable[_Piece]]:
    """The factors, and the rows. weights: [rows]; root: theirs, [rows, 1]."""
    design = basis.design
    mean = np.zeros(basis.features)
    for at, z in design:
        mean += weights[at] @ z
    mean /= weights.sum()
    stream = _Stream(design, mean, root)
    few = _are_few(basis)
    rows: _Rows = list(stream) if few else stream
    gram = np.zeros((basis.features, basis.features))
    for _, x in rows:
        gram += x.T @ x
    factors = _Factors(mean, gram, inverse(gram, alpha))
    pieces = _Pieces(rows, factors)
    return factors, list(pieces) if few else pieces


@kept
def _at_hand(basis: Basis, factors: _Factors) -> _AtHand:
    root = np.sqrt(_weights(basis))[:, np.newaxis]
    return _AtHand(tuple(_Pieces(_Stream(basis.design, factors.mean, root), factors)))


def _weights(basis: Basis) -> Floats:
    return basis.sample.draws.counts * basis.sample.draws.unit * basis.proximity


def _are_few(basis: Basis) -> bool:
    return basis.sample.draws.rows * basis.features <= _KEPT_CELLS
