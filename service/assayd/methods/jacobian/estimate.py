"""From scores to derivatives, and how far to trust them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from assayd.methods.jacobian.stencil import Stencil
from assayd.types.arrays import Array, Floats
from assayd.types.result import Scores

# All found on 60 to 1500 random networks a case (tanh, sin, softplus, ReLU; three dtypes; spreads of 0.01 to 300), so
# that nearly all entries lie within their estimate and its norm stays below 30 times the true error's.
_SIGMAS = 2.5
"""Standard deviations of rounding beyond which a difference is taken to mean something."""

_FINE_SIGMAS = 5.0
"""Those added to a fine rung's error; so also how clearly a coarser one must fail before the noisier is taken."""

_DOUBT = (0.5, 1.6)
"""The share of a finer rung's deviation that a difference to it is doubted by, as it may be small by chance: where
differences in general are no larger than rounding makes them, and where they are as large again or more."""

_SAFETY = 2.0
"""What an extrapolated truncation error is multiplied by: it is the leading term alone."""

_NORMAL_MEDIAN = 0.6745
"""Median of |z| for a standard normal z."""


def derivatives(stencil: Stencil, scores: Scores, *, ladder: bool) -> tuple[Floats, Floats]:
    """Values and errors [T, F] of F features from their rows' scores. ladder: each entry takes its best rung.

    Without points beyond one rung the errors are 0 and mean nothing.
    """
    points, count = stencil.reach.shape
    moved = scores.rows.reshape(count, points, -1) - scores.x  # [F, P, T]
    rungs = [_rung(stencil, rung, moved) for rung in stencil.rungs]
    first = rungs[0]
    if points == len(stencil.rungs[0]):
        return first.value, np.zeros_like(first.value)
    sigma = _rounding(stencil, scores, moved)[:, np.newaxis]
    if not ladder:
        best = _rung(stencil, range(points), moved)
        kink = _kink(first, _rung(stencil, stencil.finer, moved), sigma)
        return first.value, _SAFETY * np.abs(first.value - best.value) + kink + _SIGMAS * sigma * first.gain
    weigh = _two_rungs if len(rungs) == 2 else _three_rungs
    candidates = list(zip((r.value for r in rungs), weigh(rungs, sigma, stencil.scheme.order), strict=True))
    if len(rungs) == 3 and stencil.scheme.order > 1:
        candidates += _one_side(stencil, rungs, moved, sigma)
    values, errors = (np.stack(part) for part in zip(*candidates, strict=True))
    chosen = errors.argmin(axis=0)[np.newaxis]
    return np.take_along_axis(values, chosen, 0)[0], np.take_along_axis(errors, chosen, 0)[0]


@dataclass(frozen=True, eq=False)
class _Rung:
    """Derivatives by the points of one step.

    width: [F], the farthest point. value: [T, F]. gain: [F], the deviation of a value by that of a score. bend: [T, F],
    half the difference of the slopes on both sides, 0 where all points lie on one; bend_gain: likewise.
    """

    width: Floats
    value: Floats
    gain: Floats
    bend: Floats
    bend_gain: Floats


def _rung(stencil: Stencil, points: Sequence[int], moved: Array) -> _Rung:
    """Points in ascending order, where they lie on both sides."""
    reach, moved = stencil.reach[list(points)], moved[:, list(points)]
    weights = _derivative_weights(reach)
    bend = np.zeros_like(reach)
    both = reach[0] * reach[-1] < 0
    outer, inner = (1.0, 0.0) if len(reach) < 4 else (-1 / 7, 8 / 7)  # with two pairs, free of the cubic term
    for share, end in ((outer, 0), (inner, 1)):
        if share:
            bend[end] = np.where(both, -share / (2 * reach[end]), 0.0)
            bend[-1 - end] = np.where(both, share / (2 * reach[-1 - end]), 0.0)
    return _Rung(
        np.abs(reach).max(axis=0), _combine(weights, moved), _gain(weights), _combine(bend, moved), _gain(bend)
    )


def _two_rungs(rungs: Sequence[_Rung], sigma: Floats, order: int) -> list[Floats]:
    """Errors of the derivatives at two steps, good for no more than to choose: the finer is 64 times as noisy."""
    first, second = rungs
    fall = (first.width / second.width) ** order
    apart, kink = np.abs(first.value - second.value), _kink(first, second, sigma)
    return [
        _over_noise(apart, first, second, sigma, fall) + kink,
        _SAFETY * apart / (fall - 1) + kink + 1.5 * _FINE_SIGMAS * sigma * second.gain,
    ]


def _three_rungs(rungs: Sequence[_Rung], sigma: Floats, order: int) -> list[Floats]:
    """Errors of the derivatives at three steps: truncation by comparison with the others, and rounding."""
    first, second, third = rungs
    fall, last_fall = ((wide.width / narrow.width) ** order for wide, narrow in pairwise(rungs))
    near, far = (np.abs(wide.value - narrow.value) for wide, narrow in pairwise(rungs))
    kink, last_kink = (_kink(wide, narrow, sigma) for wide, narrow in pairwise(rungs))
    # What rounding can explain says nothing of truncation, else the noisiest rung would condemn the others.
    real = np.maximum(0.0, far - _SIGMAS * sigma * (second.gain + third.gain))
    across = np.abs(first.value - third.value) - _SIGMAS * sigma * (first.gain + third.gain)
    shrinks = np.divide(real, near, out=np.full_like(near, 0.5), where=near > 2 * real)
    # Where steps are so long that the first derivative means nothing, its distance says little of the second's error.
    settling = np.maximum(_SAFETY / (fall - 1), _unsettled(first, second) ** 4)
    return [
        np.maximum(_over_noise(near, first, second, sigma, fall) + kink, across),
        np.maximum(near * settling, real) + kink + _FINE_SIGMAS * sigma * second.gain,
        np.maximum(real * shrinks, _SAFETY * far / (last_fall - 1)) + last_kink + _FINE_SIGMAS * sigma * third.gain,
    ]


def _over_noise(apart: Floats, wide: _Rung, narrow: _Rung, sigma: Floats, fall: Floats) -> Floats:
    """The error of the wide rung, which is the difference to the narrow one but for that one's own error."""
    rounding = sigma * narrow.gain
    typical = np.median(np.divide(apart, rounding, out=np.zeros_like(apart), where=rounding > 0), axis=1)
    excess = np.sqrt(np.maximum(0.0, (typical / _NORMAL_MEDIAN) ** 2 - 1))
    doubt = np.clip(excess, *_DOUBT)[:, np.newaxis]
    return apart * (1 + 2 * _SAFETY / (fall - 1)) + sigma * wide.gain + doubt * rounding


def _unsettled(wide: _Rung, narrow: _Rung) -> Floats:
    """How far two rungs lie apart, as a share of the larger."""
    top = np.maximum(np.abs(wide.value), np.abs(narrow.value))
    return np.divide(np.abs(wide.value - narrow.value), top, out=np.zeros_like(top), where=top > 0)


def _kink(wide: _Rung, narrow: _Rung, sigma: Floats) -> Floats:
    """What a kink between x and the narrow rung's points does to its derivative, [T, F].

    Of a smooth function the bend shrinks as the step, and this is 0; at a kink it stays, and is the error.
    """
    shrink = narrow.width / wide.width
    noise = _SIGMAS * sigma * (narrow.bend_gain + shrink * wide.bend_gain)
    stays = np.abs(narrow.bend - shrink * wide.bend)
    return np.where(stays > noise, stays, 0.0) / (1 - shrink)


def _one_side(stencil: Stencil, rungs: Sequence[_Rung], moved: Array, sigma: Floats) -> list[tuple[Floats, Floats]]:
    """Where a kink was found, the slopes of the side on which they don't change with the step: x lies on that one."""

    def slope(point: int) -> tuple[Floats, Floats]:
        return moved[:, point].T / stencil.reach[point], np.sqrt(2) / np.abs(stencil.reach[point])

    left, right = ([slope(rung[end]) for rung in stencil.rungs] for end in (0, -1))
    found = []
    for n, (wide, narrow) in enumerate(pairwise(rungs)):
        kink = _kink(wide, narrow, sigma) > 0
        vague = _unsettled(wide, narrow) * np.abs(wide.value - narrow.value)
        gap = np.abs(left[n][0] - right[n][0])
        for side, other in ((left, right), (right, left)):
            (value, gain), (finer, finer_gain) = side[n], side[n + 1]
            refuted = np.abs(other[n][0] - other[n + 1][0]) > _SIGMAS * sigma * (other[n][1] + other[n + 1][1])
            fall = wide.width / narrow.width
            error = np.abs(value - finer) * (1 + 2 * _SAFETY / (fall - 1)) + sigma * (gain + _DOUBT[0] * finer_gain)
            found.append((value, np.where(kink, error + vague + np.where(refuted, 0.0, gap), np.inf)))
    return found


def _rounding(stencil: Stencil, scores: Scores, moved: Array) -> Floats:
    """The standard deviation of a score's rounding, [T].

    The highest divided difference of a feature's scores leaves nothing of a polynomial of a lower degree, and so little
    of a smooth function that the rest is rounding. Its median over the features bears some that lie across a kink.
    """
    reach = stencil.reach
    if len(stencil.rungs) == 3 and stencil.scheme.order > 1:
        # Two-sided derivatives make no use of f(x), so neither does this.
        weights = _difference_weights(reach)
    else:
        weights = _difference_weights(np.concatenate([np.zeros((1, reach.shape[1])), reach]))[1:]
    left = np.abs(_combine(weights, moved)) / _NORMAL_MEDIAN
    sigma = _resolution(scores) / 2
    for target, alive in enumerate((moved != 0).any(axis=1).T):
        if alive.any():  # features without any effect would say that nothing is ever rounded
            sigma[target] = max(sigma[target], float(np.median(left[target, alive])))
    return sigma


def _resolution(scores: Scores) -> Floats:
    """|f(x)| times the epsilon of the coarsest dtype that holds all scores of a column exactly, [T]."""
    epsilon = np.full(len(scores.x), np.finfo(np.float64).eps)
    for dtype in (np.float32, np.float16):
        with np.errstate(over="ignore", under="ignore"):
            fits = (scores.rows.astype(dtype) == scores.rows).all(axis=0) & (scores.x.astype(dtype) == scores.x)
        epsilon[fits] = np.finfo(dtype).eps
    resolution: Floats = epsilon * np.abs(scores.x)
    return resolution


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
