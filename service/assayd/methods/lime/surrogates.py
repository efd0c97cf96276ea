"""Surrogates: what is fitted to the scores of the rows, by weighted least squares and a penalty.

All take the rows merged: a row of weight w drawn c times counts as c rows of weight w.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from assayd.methods.lime.basis import Basis
from assayd.types.arrays import Floats


@dataclass(frozen=True, eq=False)
class Fit:
    """values: [T, F]. intercept: [T]. errors: standard errors [T, F], or None where none are known.

    r_squared: [T], NaN where the scores don't differ among the rows that weigh anything: there was nothing to explain.
    """

    values: Floats
    intercept: Floats
    r_squared: Floats
    errors: Floats | None = None

    def of_nothing(self, *, errors: bool) -> Fit:
        """The same where no variable varies among the rows that weigh anything: nobody knows how good it is.

        errors: whether errors were asked for, which are NaN then.
        """
        unknown = np.full_like(self.values, np.nan) if errors else None
        return replace(self, r_squared=np.full_like(self.r_squared, np.nan), errors=unknown)


class Surrogate(Protocol):
    """What is fitted to the scores of a basis' rows."""

    @property
    def ready(self) -> Callable[[], None] | None:
        """Makes what needs no scores, while these are waited for; else `fit` does. None where that is nothing."""

    def fit(self, scores: Floats) -> Fit:
        """To scores [rows, T]."""


Fitter: TypeAlias = Callable[[Floats, Floats, Floats], Fit]
"""From z [rows, F], weights [rows] and scores [rows, T]."""


def inverse(gram: Floats, alpha: float) -> Floats:
    """(gram + alpha)^-1, or the pseudo-inverse where that is singular: collinear features share what they explain."""
    # By numpy: scipy holds on to the interpreter, for a second with 3000 features.
    penalised = gram + alpha * np.eye(len(gram))
    if alpha > 0:
        try:
            np.linalg.cholesky(penalised)  # tells of a singular one, where an inverse may be made of rounding
            return np.linalg.inv(penalised).astype(np.float64, copy=False)
        except np.linalg.LinAlgError:
            pass
    values, vectors = np.linalg.eigh(penalised)
    seen = values > len(gram) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    pseudo: Floats = (vectors[:, seen] / values[seen]) @ vectors[:, seen].T
    return pseudo


def lasso(z: Floats, weights: Floats, scores: Floats, *, alpha: float) -> Fit:
    """Minimise half the weighted mean of squares + alpha x the absolute coefficients: scikit-learn's Lasso."""
    from sklearn.linear_model import Lasso  # 0.7 s, which a server that fits ridges needn't wait for

    weights = weights / weights.sum()
    mean_z, mean_score = weights @ z, weights @ scores
    root = np.sqrt(weights * len(weights))[:, np.newaxis]
    scaled, values = (z - mean_z) * root, np.zeros((scores.shape[1], z.shape[1]))
    if alpha > 0:
        model = Lasso(alpha=alpha, fit_intercept=False, tol=1e-12, max_iter=100_000)
        for target, score in enumerate(np.ascontiguousarray(((scores - mean_score) * root).T)):
            values[target] = model.fit(scaled, score).coef_
    else:
        values = (inverse(scaled.T @ scaled, 0.0) @ (scaled.T @ ((scores - mean_score) * root))).T
    left = weights @ (scores - mean_score - (z - mean_z) @ values.T) ** 2
    return Fit(values, mean_score - values @ mean_z, share_explained(left, weights, scores))


def tree(z: Floats, weights: Floats, scores: Floats, *, alpha: float, z_x: Floats) -> Fit:
    """A regression tree (CART), pruned so that a leaf more explains alpha x the scores' weighted variance or more.

    That price is to a leaf what ridge's penalty is to a coefficient: alpha 1 asks for as much as one sample in the mean
    contributes, whatever the scores' scale. A tree has no coefficients, so a feature's value is what the splits on it
    add up to along x's path, child minus parent (Saabas 2014): intercept + values is the tree's answer at x.
    """
    from sklearn.tree import DecisionTreeRegressor  # 0.7 s

    mean_score = weights @ scores / weights.sum()
    spread = _spread(weights, scores)
    values, left = np.zeros((scores.shape[1], z.shape[1])), spread.copy()
    # Features whose splits are equally good are told apart by chance in scikit-learn, so by a fixed one.
    model = DecisionTreeRegressor(random_state=0)
    for target in np.flatnonzero(_varies(spread, weights, scores)):
        score = scores[:, target]
        model.set_params(ccp_alpha=alpha * spread[target] / weights.sum() ** 2)
        model.fit(z, score, sample_weight=weights)
        left[target] = weights @ (score - model.predict(z)) ** 2
        nodes = np.flatnonzero(model.decision_path(z_x[np.newaxis]).toarray()[0])
        answers = model.tree_.value[nodes, 0, 0]
        np.add.at(values[target], model.tree_.feature[nodes[:-1]], np.diff(answers))
    return Fit(values, mean_score, share_explained(left, weights, scores))


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """A fit whose errors are the spread of `replicates` fits to draws drawn anew from the draws; unknown where 0."""

    fitter: Fitter
    basis: Basis
    replicates: int
    key: int
    ready: ClassVar[None] = None

    def fit(self, scores: Floats) -> Fit:
        """To scores [rows, T]."""
        z, proximity, draws = self.basis.design.whole(), self.basis.proximity, self.basis.sample.draws
        counts = draws.counts
        fit = self.fitter(z, counts * draws.unit * proximity, scores)
        if not draws.chance:
            return replace(fit, errors=np.zeros_like(fit.values))
        if self.replicates == 0:
            return fit
        # Far along the instance's stream, so that the samples don't depend on it.
        rng = np.random.Generator(np.random.Philox(key=self.key).jumped())
        replicates = np.empty((self.replicates, *fit.values.shape))
        for number in range(self.replicates):
            again = rng.multinomial(len(draws.order), counts / counts.sum())
            weights = again * draws.unit * proximity
            some = weights > 0
            replicates[number] = self.fitter(z[some], weights[some], scores[some]).values if some.any() else 0.0
        return replace(fit, errors=np.sqrt(draws.chance) * replicates.std(axis=0, ddof=1))


def _spread(weights: Floats, scores: Floats) -> Floats:
    """The weighted sum of squares about the mean, [T]."""
    spread: Floats = weights @ (scores - weights @ scores / weights.sum()) ** 2
    return spread


def _varies(spread: Floats, weights: Floats, scores: Floats) -> NDArray[np.bool_]:
    """Whether scores differ by more than rounding among the rows that weigh anything, [T]."""
    rounding = 4 * np.finfo(np.float64).eps * np.abs(scores).max(axis=0)
    varies: NDArray[np.bool_] = spread > weights.sum() * rounding**2
    return varies


def share_explained(left: Floats, weights: Floats, scores: Floats) -> Floats:
    """Weighted R^2 [T]."""
    spread = _spread(weights, scores)
    nothing = np.full_like(left, np.nan)
    return 1 - np.divide(left, spread, out=nothing, where=_varies(spread, weights, scores))
