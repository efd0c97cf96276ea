"""The features that matter most, in words, and whether their order can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from assay.errors import invalid
from assay.tensors import Array

Direction: TypeAlias = Literal["both", "for", "against"]
"""Which features count: those that raise the score (for), those that lower it (against), or both."""

SIGMAS = 2.0
"""Two neighbours are separated where they differ by more than so many of their combined errors."""


@dataclass(frozen=True)
class Reason:
    """One of the features that matter most. `str()` puts it in a line.

    Attributes:
        rank: 1 for the first.
        feature: the feature's number, the index into feature_values.
        name: what it is called.
        value: what it adds to the score; negative where it lowers it. For a Jacobian the derivative by it.
        error: the value's error; None where the method is exact given its rows, or where not `error_known`.
        x_value: the feature's own value in the instance, or None where it wasn't told.
        tied: not separated from the next: another draw of the perturbed rows may well swap the two, so a text that
            names this one before the next, or leaves the next out, says more than is known. True where the two differ
            by no more than `reasons.SIGMAS` = 2 of their combined errors sqrt(error^2 + next error^2), which takes the
            errors as independent; exact values tie where they are equal, and those whose errors aren't known always.
            The next of the last reason is the first feature left out, whatever its sign.
        error_known: False where the value has an error that nobody estimated: see `Instance.errors_unknown`.
    """

    rank: int
    feature: int
    name: str
    value: float
    error: float | None = None
    x_value: float | None = None
    tied: bool = False
    error_known: bool = True

    def __str__(self) -> str:
        name = self.name if self.x_value is None else f"{self.name} = {self.x_value:.4g}"
        if not self.error_known:
            note = "  (error not estimated)"
        else:
            note = "  (not separated from the next)" if self.tied else ""
        return f"{name}  {figure(self.value, self.error)}{note}"


def with_value(reason: Reason) -> str:
    """A feature's name, with its value of x where that is known."""
    return reason.name if reason.x_value is None else f"{reason.name} = {reason.x_value:.4g}"


def figure(value: float, error: float | None) -> str:
    """A signed value with its error, to the digits that the error leaves: +0.31 ± 0.02.

    One digit of the error is shown, two where it begins with a 1; four of a value without error.
    """
    if error is None:
        return f"{value:+.4g}"
    if not (math.isfinite(error) and math.isfinite(value)) or error <= 0:
        return f"{value:+.4g} ± {error:.2g}"
    power = math.floor(math.log10(error))
    places = max(0, (1 if round(error / 10.0**power, 1) < 2 else 0) - power)
    if places > 6 or abs(value) >= 1e6:
        return f"{value:+.3g} ± {error:.1g}"
    return f"{value:+.{places}f} ± {error:.{places}f}"


def rank_reasons(
    values: Array,
    errors: Array | None,
    name: Callable[[int], str],
    k: int,
    direction: Direction,
    x: ArrayLike | None = None,
    *,
    errors_known: bool = True,
) -> list[Reason]:
    """The at most k features of values [F], errors [F], that matter most, largest first; equal ones by number.

    Features whose value is 0, NaN or infinite are none of them. errors: None where the values are exact, or not
    `errors_known`. x: the features' own values, F numbers of any shape.

    Raises InvalidArgument for a k below 1, an unknown direction, or an x of another size.
    """
    if k < 1:
        raise invalid("k", f"{k} reasons can't be named, 1 is the least")
    if direction not in get_args(Direction):
        raise invalid("direction", f"{direction!r} is none of {', '.join(map(repr, get_args(Direction)))}")
    own = None if x is None else np.ravel(np.asarray(x, np.float64))
    if own is not None and own.size != values.size:
        raise invalid("x", f"{own.size} values for {values.size} features")
    # In float64, or float32 neighbours would tie by the rounding of their difference.
    held = values.astype(np.float64)
    spread = np.full_like(held, 0.0 if errors_known else np.nan) if errors is None else errors.astype(np.float64)
    weight = {"both": np.abs(held), "for": held, "against": -held}[direction]
    order = [int(f) for f in np.argsort(-weight, kind="stable") if np.isfinite(held[f])]
    wanted = [f for f in order[:k] if weight[f] > 0]

    def tied(place: int) -> bool:
        if place + 1 == len(order):
            return False
        here, there = order[place], order[place + 1]
        # Not "<=": where an error is NaN nothing is known to be separated.
        return not weight[here] - weight[there] > SIGMAS * math.hypot(spread[here], spread[there])

    return [
        Reason(
            rank=place + 1,
            feature=f,
            name=name(f),
            value=float(held[f]),
            error=None if errors is None else float(spread[f]),
            x_value=None if own is None else float(own[f]),
            tied=tied(place),
            error_known=errors is not None or errors_known,
        )
        for place, f in enumerate(wanted)
    ]
