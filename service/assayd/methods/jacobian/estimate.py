"""Derivatives of one step, or by the choice among two, and how far to trust them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assayd.methods.jacobian.rungs import (
    FINE_SIGMAS,
    SAFETY,
    SIGMAS,
    Rung,
    epsilons,
    kink_of,
    leftover,
    moves,
    over_noise,
    pick,
    pooled,
    rung_of,
)
from assayd.methods.jacobian.stencil import Stencil
from assayd.types.arrays import Floats
from assayd.types.result import Scores


def derivatives(stencil: Stencil, scores: Scores, *, ladder: bool) -> tuple[Floats, Floats]:
    """Values and errors [T, F] of F features from their rows' scores, of one step or the choice among two.

    ladder: each entry takes the better of two steps. Without points beyond one rung the errors are 0 and mean nothing.
    """
    points = len(stencil.reach)
    moved = moves(stencil, scores)
    rungs = [rung_of(stencil.reach[list(rung)], moved[:, list(rung)]) for rung in stencil.rungs]
    first = rungs[0]
    if points == len(stencil.rungs[0]):
        return first.value, np.zeros_like(first.value)
    left = leftover(stencil.reach, moved, through_x=True)
    sigma = pooled(left, (moved != 0).any(axis=1).T, epsilons(scores) * np.abs(scores.x) / 2)[:, np.newaxis]
    if not ladder:
        best = rung_of(stencil.reach, moved)
        finer = list(stencil.finer)
        kink = kink_of(first, rung_of(stencil.reach[finer], moved[:, finer]), sigma)
        return first.value, SAFETY * np.abs(first.value - best.value) + kink + SIGMAS * sigma * first.gain
    errors = np.stack(_two_rungs(rungs, sigma, stencil.scheme.order))
    return pick(np.stack([rung.value for rung in rungs]), errors)


def _two_rungs(rungs: Sequence[Rung], sigma: Floats, order: int) -> list[Floats]:
    """Errors of the derivatives at two steps, good for no more than to choose: the finer is 64 times as noisy."""
    first, second = rungs
    fall = (first.width / second.width) ** order
    apart, kink = np.abs(first.value - second.value), kink_of(first, second, sigma)
    return [
        over_noise(apart, first, second, sigma, fall) + kink,
        SAFETY * apart / (fall - 1) + kink + 1.5 * FINE_SIGMAS * sigma * second.gain,
    ]
