"""Where the points of each feature lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from assayd.errors import InvalidRequest
from assayd.methods.jacobian.ground import Ground
from assayd.types.arrays import Array, Floats, Ids

LADDER = (1.0, 1 / 8, 1 / 64)
"""The steps that are tried where none is given, as shares of the first."""

FINER = ((1 / 512, 1 / 4096), (1 / 32768, 1 / 262144))
COARSER = ((8.0,), (32.0,))
"""Steps that are tried later, by round, where those of the ladder prove too long or too short."""

_FEWEST = (44, 10, 2)
"""Where the dtype is too coarse for the ladder, its rungs are at least so many grains, so that no two points meet."""


@dataclass(frozen=True)
class Scheme:
    """Points as multiples of the step.

    order: of the error. two_sided, one_sided: the points, where both sides have room and where only one has.
    extra: those that are added for the estimate where the step is given; finer: the points of half the step among all
    of these. grain, fine: the smallest gap between points, without and with the extra ones.
    """

    order: int
    two_sided: tuple[float, ...]
    one_sided: tuple[float, ...]
    extra_two_sided: tuple[float, ...]
    extra_one_sided: tuple[float, ...]
    finer: tuple[int, ...]
    grain: float
    fine: float

    @property
    def reach(self) -> float:
        """The farthest point of a one-sided step."""
        return self.one_sided[-1]


SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        "forward": Scheme(1, (1.0,), (1.0,), (0.5,), (0.5,), (1,), 1.0, 0.5),
        "central": Scheme(2, (-1.0, 1.0), (1.0, 2.0), (-0.5, 0.5), (0.5, 1.5), (2, 3), 1.0, 0.5),
        "richardson": Scheme(
            4, (-1.0, -0.5, 0.5, 1.0), (0.5, 1.0, 1.5, 2.0), (-0.25, 0.25), (0.25, 0.75), (1, 4, 5, 2), 0.5, 0.25
        ),
    }
)


@dataclass(frozen=True, eq=False)
class Stencil:
    """P points for each of F features.

    steps: [P, F], what the rows carry. reach: [P, F], how far they lead in truth, in the unit of the derivative.
    rungs: the points of each step that is tried, longest first, from the left to the right where they lie on both
    sides; other points serve the estimate alone.
    """

    scheme: Scheme
    steps: Floats
    reach: Floats
    rungs: tuple[range, ...]

    @property
    def finer(self) -> tuple[int, ...]:
        """Where the step is given and an estimate wanted, the points of half the step."""
        return self.scheme.finer

    def of_features(self, a: int, b: int) -> Stencil:
        """The features a … b - 1."""
        return replace(self, steps=self.steps[:, a:b], reach=self.reach[:, a:b])

    def where(self, chosen: Array) -> Stencil:
        """The features that a mask or an array of numbers chooses."""
        return replace(self, steps=self.steps[:, chosen], reach=self.reach[:, chosen])


def place(ground: Ground, scheme: Scheme, *, parameter: str | None, estimate: bool) -> Stencil:
    """Place the points. parameter: the one that gave the step; None lets a ladder of steps be tried.

    Raises InvalidRequest naming that parameter where the dtype can't resolve its step, or bounds without room.
    """
    shares: tuple[float, ...]
    fewest: tuple[int, ...]
    if parameter is None:
        shares = LADDER if estimate else (LADDER[0], LADDER[-1])
        fewest = _FEWEST if estimate else (_FEWEST[0], _FEWEST[-1])
        extra = False
        grain = ground.quantum / scheme.grain
        wanted = np.maximum(ground.step, fewest[0] * grain)
    else:
        shares, fewest, extra = (1.0,), (1,), estimate
        grain = ground.quantum / (scheme.fine if estimate else scheme.grain)
        wanted = ground.step
        _check_resolved(ground, wanted < grain, parameter, "the {} is below what the dtype of {} resolves there")
    if not ground.grouped:
        wanted = _whole(wanted, ground.quantum)
    step, side = _fit(ground, scheme, wanted)
    _check_resolved(ground, step < fewest[0] * grain, "bounds", "the {} leave {} no room for a step")
    if not ground.grouped:
        # Room was measured to the end itself, which need not be a whole number of quanta away.
        step = np.where(step < wanted, np.floor(step / ground.quantum) * ground.quantum, step)
    lengths = [np.maximum(step * share, least * grain) for share, least in zip(shares, fewest, strict=True)]
    rungs = [_points(length, side, scheme.two_sided, scheme.one_sided) for length in lengths]
    more = [_points(step, side, scheme.extra_two_sided, scheme.extra_one_sided)] if extra else []
    steps = np.concatenate([*rungs, *more])
    reach = np.stack([_reach(ground, point) for point in steps])
    if not ground.grouped:
        # The rows say where they lead, not where they were meant to: x + step is a number of the dtype.
        steps = np.where([_reach(ground, point) == point for point in reach], reach, steps)
    at = np.sort(np.concatenate([reach, np.zeros((1, ground.count))]), axis=0)
    meet = (np.diff(at, axis=0) == 0).any(axis=0)
    _check_resolved(ground, meet, parameter or "scale", "the {} is below what the dtype of {} resolves there")
    size = len(scheme.two_sided)
    own = tuple(range(n * size, (n + 1) * size) for n in range(len(rungs)))
    return Stencil(scheme, steps, reach, own)


def extend(ground: Ground, base: Stencil, features: Ids, shares: tuple[float, ...]) -> tuple[Stencil, Array]:
    """Points of other steps for n of the features, and which of them [n] the dtype and the bounds have room for.

    shares: of the base's longest step, longest first. None but the first has to be resolved by the dtype in full.
    """
    scheme, few = base.scheme, ground.of_features(features)
    longest = np.abs(base.steps[list(base.rungs[0])][:, features]).max(axis=0)
    longest = np.where(_one_sided(base)[features], longest / scheme.reach, longest)
    shortest = np.abs(base.steps[list(base.rungs[-1])][:, features]).min(axis=0)
    usable = np.ones(len(features), bool)
    parts, sides, before = [], [], np.full(len(features), np.inf)
    for n, share in enumerate(shares):
        length = longest * share
        quantum = few.resolved(scheme.reach * length)
        if share < 1:
            grain = (8 if few.grouped else 1) * quantum / scheme.grain
            usable &= (length >= 4 * grain) | (n > 0)
            length = np.maximum(length, grain)
        if not few.grouped:
            length = _whole(length, quantum)
        fitted, side = _fit(few, scheme, length)
        usable &= (fitted == length) & (length <= before / 2)
        usable &= length < shortest if share < 1 else length > longest
        before = length
        sides.append(side)
        parts.append(_points(length, side, scheme.two_sided, scheme.one_sided))
    steps = np.concatenate(parts)
    reach = np.stack([_reach(few, point) for point in steps])
    if not few.grouped:
        steps = np.where([_reach(few, point) == point for point in reach], reach, steps)
    at = np.sort(np.concatenate([reach, np.zeros((1, few.count))]), axis=0)
    usable &= (np.diff(at, axis=0) != 0).all(axis=0)
    size = len(scheme.two_sided)
    return Stencil(scheme, steps, reach, tuple(range(n * size, (n + 1) * size) for n in range(len(shares)))), usable


def _one_sided(stencil: Stencil) -> Array:
    """[F]: whether the points of the longest step lie on one side of x."""
    first = stencil.reach[list(stencil.rungs[0])]
    one: Array = first[0] * first[-1] > 0
    return one if stencil.scheme.order > 1 else np.zeros_like(one)


def _fit(ground: Ground, scheme: Scheme, wanted: Floats) -> tuple[Floats, Floats]:
    """Step and side by feature: 0 for points on both, else the sign of the one. The step shrinks where it must."""
    narrow, wide = np.minimum(ground.below, ground.above), np.maximum(ground.below, ground.above)
    away = np.where(ground.above >= ground.below, 1.0, -1.0)
    if scheme.order == 1:
        up = wanted <= ground.above
        return np.where(up, wanted, np.minimum(wanted, wide)), np.where(up, 1.0, away)
    both = wanted <= narrow
    one = ~both & (wanted <= wide / scheme.reach)
    squeezed_both = ~both & ~one & (narrow >= wide / scheme.reach)
    step = np.where(both | one, wanted, np.where(squeezed_both, narrow, wide / scheme.reach))
    return step, np.where(both | squeezed_both, 0.0, away)


def _points(step: Floats, side: Floats, two_sided: tuple[float, ...], one_sided: tuple[float, ...]) -> Floats:
    """[P, F]."""
    return np.stack(
        [step * np.where(side == 0, both, side * one) for both, one in zip(two_sided, one_sided, strict=True)]
    )


def _whole(lengths: Floats, quantum: Floats) -> Floats:
    """The nearest whole numbers of quanta; halves away from 0, so that points one quantum apart stay apart."""
    return np.copysign(np.floor(np.abs(lengths) / quantum + 0.5) * quantum, lengths)


def _reach(ground: Ground, steps: Floats) -> Floats:
    """[F]: how far the nudges really lead: an element's own move, a group's moves projected on its scale."""
    along, norm = np.zeros(ground.count), np.zeros(ground.count)
    for part in ground.moved:
        along += np.bincount(part.feature, part.scale * part.by(steps), ground.count)
        norm += np.bincount(part.feature, part.scale**2, ground.count)
    return along / norm


def _check_resolved(ground: Ground, short: Array, parameter: str, message: str) -> None:
    if short.any():
        label = ground.label(int(np.argmax(short)))
        raise InvalidRequest(message.format(parameter, label), field=parameter)
