"""Derivatives by the points of one step, and what rounding, truncation and kinks do to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from assayd.methods.jacobian.stencil import Stencil
from assayd.types.arrays import Array, Floats
from assayd.types.result import Scores

# All found on 60 to 1500 random networks a case (tanh, sin, softplus, ReLU; three dtypes; spreads of 0.01 to 300), so
# that nearly all entries lie within their estimate and its norm stays below 30 times the true error's.
SIGMAS = 2.5
"""Standard deviations of rounding beyond which a difference is taken to mean something."""

FINE_SIGMAS = 5.0
"""Those added to a fine rung's error; so also how clearly a coarser one must fail before the noisier is taken."""

DOUBT = (0.5, 1.6)
"""The share of a finer rung's deviation that a difference to it is doubted by, as it may be small by chance: where
differences in general are no larger than rounding makes them, and where they are as large again or more."""

SAFETY = 2.0
"""What an extrapolated truncation error is multiplied by: it is the leading term alone."""

_NORMAL_QUARTER, _NORMAL_MEDIAN = 0.3186, 0.6745
"""Quartile and median of |z| for a standard normal z."""

_STRUCTURE = 8.0
"""How far the median of the leftovers lies above their quartile where most are no rounding."""

_KINK_SIGMAS = 4.0
"""Standard deviations beyond which a bend is a kink."""

_OUTLIER = 4.0
"""Standard deviations beyond which a leftover is no rounding."""


@dataclass(frozen=True, eq=False)
class Rung:
    """Derivatives by the points of one step.

    width: [F], the farthest point. value: [T, F]. gain: [F], the deviation of a value by that of a score. bend: [T, F],
    half the difference of the slopes on both sides, 0 where all points lie on one; bend_gain: likewise.
    """

    width: Floats
    value: Floats
    gain: Floats
    bend: Floats
    bend_gain: Floats


def rung_of(reach: Floats, moved: Array) -> Rung:
    """Points in ascending order, where they lie on both sides."""
    weights = _derivative_weights(reach)
    bend = np.zeros_like(reach)
    both = reach[0] * reach[-1] < 0
    outer, inner = (1.0, 0.0) if len(reach) < 4 else (-1 / 7, 8 / 7)  # with two pairs, free of the cubic term
    for share, end in ((outer, 0), (inner, 1)):
        if share:
            bend[end] = np.where(both, -share / (2 * reach[end]), 0.0)
            bend[-1 - end] = np.where(both, share / (2 * reach[-1 - end]), 0.0)
    return Rung(np.abs(reach).max(axis=0), _combine(weights, moved), _gain(weights), _combine(bend, moved), _gain(bend))


def over_noise(
    apart: Floats, wide: Rung, narrow: Rung, sigma: Floats, fall: Floats, own: Array | None = None
) -> Floats:
    """The error of the wide rung, which is the difference to the narrow one but for that one's own error.

    own: of which entries [T, F] it is asked; the others, which stand here for another target's sake, don't say what
    is typical.
    """
    rounding = sigma * narrow.gain
    ratio = np.divide(apart, rounding, out=np.zeros_like(apart), where=rounding > 0)
    if own is None or own.all():
        typical = np.median(ratio, axis=1)
    else:
        typical = np.array([np.median(r[o]) if o.any() else 0.0 for r, o in zip(ratio, own, strict=True)])
    excess = np.sqrt(np.maximum(0.0, (typical / _NORMAL_MEDIAN) ** 2 - 1))
    doubt = np.clip(excess, *DOUBT)[:, np.newaxis]
    return apart * (1 + 2 * SAFETY / (fall - 1)) + sigma * wide.gain + doubt * rounding


def unsettled(wide: Rung, narrow: Rung) -> Floats:
    """How far two rungs lie apart, as a share of the larger."""
    top = np.maximum(np.abs(wide.value), np.abs(narrow.value))
    return np.divide(np.abs(wide.value - narrow.value), top, out=np.zeros_like(top), where=top > 0)


def kink_of(wide: Rung, narrow: Rung, sigma: Floats) -> Floats:
    """What a kink between x and the narrow rung's points does to its derivative, [T, F].

    Of a smooth function the bend shrinks as the step, and this is 0; at a kink it stays, and is the error.
    """
    shrink = narrow.width / wide.width
    noise = _KINK_SIGMAS * sigma * (narrow.bend_gain + shrink * wide.bend_gain)
    stays = np.abs(narrow.bend - shrink * wide.bend)
    two_sided = (wide.bend_gain > 0) & (narrow.bend_gain > 0)
    return np.where(two_sided & (stays > noise), stays, 0.0) / (1 - shrink)


def leftover(reach: Floats, moved: Array, *, through_x: bool) -> Floats:
    """What rounding leaves of a feature's scores, [T, F], as deviations of one score.

    The highest divided difference leaves nothing of a polynomial of a lower degree, and so little of a smooth function
    that the rest is rounding. through_x: f(x) is among the scores; two-sided derivatives make no use of it.
    """
    if through_x:
        weights = _difference_weights(np.concatenate([np.zeros((1, reach.shape[1])), reach]))[1:]
    else:
        weights = _difference_weights(reach)
    left: Floats = np.abs(_combine(weights, moved))
    return left


def pooled(left: Floats, alive: Array, least: Floats) -> Floats:
    """The standard deviation of a score's rounding, [T], by the leftovers of features, [T, F].

    The median over the features, which bears kinks. Where most have structure below the step, they leave much more than
    rounding: then the lowest quarter says which do, and it is the others' median. alive: features without any effect
    would say that nothing is ever rounded. least: [T], below which it can't be.
    """
    sigma = least.copy()
    for target, counted in enumerate(alive):
        if counted.any():
            own = left[target, counted]
            some = own[own > _NORMAL_QUARTER * least[target]]  # exactly nothing is left of few, coarse scores
            quarter = np.quantile(some, 0.25) if some.size else 0.0
            if np.median(own) > _STRUCTURE * quarter > 0:
                own = own[own <= _OUTLIER * quarter / _NORMAL_QUARTER]
            sigma[target] = max(sigma[target], float(np.median(own)) / _NORMAL_MEDIAN)
    return sigma


def epsilons(scores: Scores) -> Floats:
    """The epsilon of the coarsest dtype that holds all scores of a column exactly, [T]."""
    epsilon = np.full(len(scores.x), np.finfo(np.float64).eps)
    for dtype in (np.float32, np.float16):
        with np.errstate(over="ignore", under="ignore"):
            fits = (scores.rows.astype(dtype) == scores.rows).all(axis=0) & (scores.x.astype(dtype) == scores.x)
        epsilon[fits] = np.finfo(dtype).eps
    return epsilon


def moves(stencil: Stencil, scores: Scores) -> Array:
    """f(x + reach) - f(x): [F, P, T]."""
    points, count = stencil.reach.shape
    moved: Array = scores.rows.reshape(count, points, -1) - scores.x
    return moved


def pick(values: Floats, errors: Floats) -> tuple[Floats, Floats]:
    """Of candidates [C, T, F] that with the smallest error, by entry."""
    chosen = errors.argmin(axis=0)[np.newaxis]
    return np.take_along_axis(values, chosen, 0)[0], np.take_along_axis(errors, chosen, 0)[0]


def _combine(weights: Floats, moved: Array) -> Floats:
    """[P, F] and [F, P, T] to [T, F], by plain sums: the same bits for a target alone and among others."""
    total: Floats = np.zeros((moved.shape[2], moved.shape[0]))
    for point, weight in enumerate(weights):
        total += weight * moved[:, point].T
    return total


def _derivative_weights(reach: Floats) -> Floats:
    """[P, F]: of f(x + reach) - f(x) in the derivative at x of the polynomial through x and the points."""
    weights = 1 / reach
    for k, own in enumerate(reach):
        for other in np.delete(reach, k, axis=0):
            weights[k] *= other / (other - own)
    return weights


def _difference_weights(reach: Floats) -> Floats:
    """[P, F]: of the scores in the highest divided difference, scaled to a sum of squares of 1."""
    unit = reach / np.abs(reach).max(axis=0)
    weights = np.ones_like(unit)
    for k, own in enumerate(unit):
        for other in np.delete(unit, k, axis=0):
            weights[k] /= own - other
    scaled: Floats = weights / np.sqrt((weights**2).sum(axis=0))
    return scaled


def _gain(weights: Floats) -> Floats:
    """[F]: deviation of a weighted sum of f(x + reach) - f(x) per deviation of a score, f(x) among them."""
    gain: Floats = np.sqrt((weights**2).sum(axis=0) + weights.sum(axis=0) ** 2)
    return gain
