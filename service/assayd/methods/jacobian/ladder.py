"""The choice among three and more steps by entry: what each one's error is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from assayd.methods.jacobian.rungs import (
    DOUBT,
    FINE_SIGMAS,
    SAFETY,
    SIGMAS,
    Rung,
    kink_of,
    leftover,
    over_noise,
    rung_of,
    unsettled,
)
from assayd.types.arrays import Array, Floats

_LIMITED = 2.0
"""How often a rung's rounding its error is, from where on truncation is what limits it."""

_DISPROOF = 6.0
"""Standard deviations of rounding beyond which one of several finer rungs condemns another."""

_MARGIN = 1.1
"""As the finer of two rungs errs too, and to the same side."""

_RESOLVED = 8.0
"""How often the rounding a score has to move, for its leftover to be rounding."""

_LARGE = 32.0
"""How often a small error is so large that it is worth rows to tell rounding from structure."""

_NOISY = 4.0
"""Deviations of the resolution that rounding may well have, being that of many sums. What is measured beyond may be
structure below the shortest step as well."""


@dataclass(frozen=True, eq=False)
class Ladder:
    """Scores at R >= 3 steps of F features, the longest first.

    reach: by step [P, F]. moved: by step [F, P, T]. order: of the scheme's error. longer: how many of the steps are
    longer than those tried first.
    """

    reach: tuple[Floats, ...]
    moved: tuple[Array, ...]
    order: int
    longer: int

    def leftover(self) -> Floats:
        """What rounding leaves of the scores, [T, F], by the longest steps of which shorter ones don't say less."""
        first, count = self.longer, len(self.reach)
        windows = [(start, start + 3) for start in range(first, count - 2)]
        if len(windows) > 1:
            windows.append((count - 2, count))  # fewer points, but all of them short
        left: Floats = np.empty(0)
        for a, b in windows:
            reach, moved = np.concatenate(self.reach[a:b]), np.concatenate(self.moved[a:b], axis=1)
            found = leftover(reach, moved, through_x=self.order == 1 or b - a < 3)
            # Where a step changes next to nothing, neither does rounding, and nothing is left of either.
            tells = _RESOLVED * found < np.abs(self.moved[b - 1]).max(axis=1).T
            left = np.where(tells & (left > _RESOLVED * found), found, left) if left.size else found
        return left

    def climb(self, sigma: Floats, own: Array) -> Chosen:
        """The step with the smallest error, by entry. sigma: [T, F], deviation of a score's rounding. own: [T, F], the
        entries that are asked for.
        """
        rungs = [rung_of(reach, moved) for reach, moved in zip(self.reach, self.moved, strict=True)]
        errors = _errors(rungs, sigma, self.order, own)
        values = [rung.value for rung in rungs]
        beside = [False] * len(rungs)
        if self.order > 1:
            for last, value, error in self._one_side(rungs, sigma):
                beside.append(last)
                values.append(value)
                errors.append(error)
        best = np.stack(errors).argmin(axis=0)[np.newaxis]
        value, error = (np.take_along_axis(np.stack(part), best, 0)[0] for part in (values, errors))
        return Chosen(value, error, np.array(beside)[best[0]], tuple(rungs))

    def _one_side(self, rungs: Sequence[Rung], sigma: Floats) -> list[tuple[bool, Floats, Floats]]:
        """Where a kink was found, the slopes of the side on which they don't change with the step: x lies on that."""

        def slope(rung: int, point: int) -> tuple[Floats, Floats]:
            reach = self.reach[rung][point]
            return self.moved[rung][:, point].T / reach, np.sqrt(2) / np.abs(reach)

        left, right = ([slope(rung, end) for rung in range(len(rungs))] for end in (0, -1))
        found = []
        for n, (wide, narrow) in enumerate(pairwise(rungs)):
            kink = kink_of(wide, narrow, sigma) > 0
            vague = unsettled(wide, narrow) * np.abs(wide.value - narrow.value)
            gap = np.abs(left[n][0] - right[n][0])
            for side, other in ((left, right), (right, left)):
                (value, gain), (finer, finer_gain) = side[n], side[n + 1]
                refuted = np.abs(other[n][0] - other[n + 1][0]) > SIGMAS * sigma * (other[n][1] + other[n + 1][1])
                fall = wide.width / narrow.width
                error = np.abs(value - finer) * (1 + 2 * SAFETY / (fall - 1)) + sigma * (gain + DOUBT[0] * finer_gain)
                error = np.maximum(error, _disproof(value, gain, rungs[n + 2 :], sigma))
                found.append(
                    (n == len(rungs) - 2, value, np.where(kink, error + vague + np.where(refuted, 0.0, gap), np.inf))
                )
        return found


@dataclass(frozen=True, eq=False)
class Chosen:
    """Values and errors [T, F]; unproven [T, F]: whether it is a slope beside a kink that no shorter step confirms."""

    values: Floats
    errors: Floats
    unproven: Array
    rungs: tuple[Rung, ...]

    def too_long(self, sigma: Floats, least: Floats, small: Floats) -> Array:
        """[T, F]: where shorter steps may do better, as truncation limits the shortest, or nobody can tell.

        least: [T, F], a score's resolution. small: [T, F], of errors that nobody minds.
        """
        *_, second, last = self.rungs
        limited = self.errors > _LIMITED * FINE_SIGMAS * sigma * last.gain
        quiet = _NOISY * least
        apart = np.abs(second.value - last.value) > SIGMAS * quiet * (second.gain + last.gain)
        return limited | self.unproven | ((sigma > quiet) & apart & (self.errors > _LARGE * small))

    def too_short(self, sigma: Floats, small: Floats) -> Array:
        """[T, F]: where longer steps may do better, as rounding limits the longest.

        small: [T, F], of errors that nobody minds.
        """
        first, second, *_ = self.rungs
        noise = sigma * first.gain
        calm = np.abs(first.value - second.value) <= _DISPROOF * sigma * (first.gain + second.gain)
        return calm & (noise > small)


def _errors(rungs: Sequence[Rung], sigma: Floats, order: int, own: Array) -> list[Floats]:
    """The error of each rung: of those that judge it by others beside it, the least, and no less than disproof."""
    errors: list[list[Floats]] = [[] for _ in rungs]
    for n in range(len(rungs) - 2):
        for place, error in enumerate(_three_rungs(rungs[n : n + 3], sigma, order, own)):
            if place < 2 or n == len(rungs) - 3:  # the extrapolation serves where nothing finer is known
                errors[n + place].append(error)
    least = [np.minimum.reduce(found) for found in errors]
    for n, rung in enumerate(rungs):
        least[n] = np.maximum(least[n], _disproof(rung.value, rung.gain, rungs[n + 1 :], sigma))
        if n:  # which shorter steps may be too noisy to see
            least[n] = np.maximum(least[n], kink_of(rungs[n - 1], rung, sigma))
    return least


def _disproof(value: Floats, gain: Floats, finer: Sequence[Rung], sigma: Floats) -> Floats:
    """How far finer rungs lie from a value beyond what rounding can explain: else the noisiest would condemn all."""
    far = np.zeros_like(value)
    for rung in finer:
        apart, top = np.abs(value - rung.value), np.maximum(np.abs(value), np.abs(rung.value))
        share = np.divide(apart, top, out=np.zeros_like(top), where=top > 0)
        far = np.maximum(far, _beyond(apart, _DISPROOF * sigma * (gain + rung.gain), share))
    return far


def _beyond(apart: Floats, noise: Floats, share: Floats) -> Floats:
    """What two rungs lie apart, where rounding can't be why: all of it from twice the noise on.

    share: of the larger that is; where they disagree outright, the finer one is as far from the truth again.
    """
    return np.clip(2 * (apart - noise), 0.0, (_MARGIN + share) * apart)


def _three_rungs(rungs: Sequence[Rung], sigma: Floats, order: int, own: Array) -> list[Floats]:
    """Errors of the derivatives at three steps: truncation by comparison with the others, and rounding."""
    first, second, third = rungs
    fall, last_fall = ((wide.width / narrow.width) ** order for wide, narrow in pairwise(rungs))
    near, far = (np.abs(wide.value - narrow.value) for wide, narrow in pairwise(rungs))
    kink, last_kink = (kink_of(wide, narrow, sigma) for wide, narrow in pairwise(rungs))
    # What rounding can explain says nothing of truncation, else the noisiest rung would condemn the others.
    real = _beyond(far, SIGMAS * sigma * (second.gain + third.gain), unsettled(second, third))
    shrinks = np.divide(real, near, out=np.full_like(near, 0.5), where=near > 2 * real)
    # Steps so long that they don't even agree with each other say nothing of how the error shrinks.
    shrinks = np.where((real > near) & (unsettled(second, third) > _WILD), _SAFETY_WILD, shrinks)
    # Where steps are so long that the first derivative means nothing, its distance says little of the second's error.
    settling = np.maximum(SAFETY / (fall - 1), unsettled(first, second) ** 4)
    return [
        over_noise(near, first, second, sigma, fall, own) + kink,
        np.maximum(near * settling, real) + kink + FINE_SIGMAS * sigma * second.gain,
        np.maximum(real * shrinks, SAFETY * far / (last_fall - 1)) + last_kink + FINE_SIGMAS * sigma * third.gain,
    ]


_WILD, _SAFETY_WILD = 0.3, 2.0
"""The share by which two steps disagree where none is trusted, and what their distance is then multiplied by."""
