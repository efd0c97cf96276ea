"""The ground to step on: for every feature its step, what its dtype resolves there, and the room up to its bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from assayd.errors import InvalidRequest, ModelUnfit, NotFinite
from assayd.types.arrays import Array, Floats, Ids
from assayd.types.request import Bounds, PerInput
from assayd.types.subject import Subject

_KINDS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))
_EPS64 = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Moved:
    """The n elements of one input that features move. x: in the input's dtype. scale: of a nudge, 1 for elements."""

    x: Array
    feature: Ids
    scale: Floats

    def by(self, steps: Floats) -> Floats:
        """How far each element really moves when its feature f is nudged by steps[f]: as `NudgeRows` has it."""
        moved = (self.x + steps[self.feature] * self.scale).astype(self.x.dtype)
        return moved.astype(np.float64) - self.x.astype(np.float64)

    def of_features(self, features: Ids, count: int) -> Moved:
        """The elements of some of `count` features, which are renumbered in the order given."""
        number = np.full(count, -1, np.int32)
        number[features] = np.arange(len(features), dtype=np.int32)
        kept = number[self.feature] >= 0
        return Moved(self.x[kept], number[self.feature[kept]], self.scale[kept])


@dataclass(frozen=True, eq=False)
class Ground:
    """By feature, [F] each, lengths in units of a nudge: that of an element itself, or the scale of a group.

    step: wanted. quantum: the distance of neighbouring numbers where it leads; of a group, of its coarsest element.
    below, above: room down and up. label: what to call a feature in a message.
    """

    moved: tuple[Moved, ...]
    count: int
    grouped: bool
    step: Floats
    quantum: Floats
    below: Floats
    above: Floats
    label: Callable[[int], str]

    def of_features(self, features: Ids) -> Ground:
        """Some of the features, in the order given."""
        return Ground(
            tuple(part.of_features(features, self.count) for part in self.moved),
            len(features),
            self.grouped,
            self.step[features],
            self.quantum[features],
            self.below[features],
            self.above[features],
            lambda feature: self.label(int(features[feature])),
        )

    def resolved(self, length: Floats) -> Floats:
        """[F]: the quantum where nudges of a length of their own lead."""
        quantum = np.zeros(self.count)
        for part in self.moved:
            unit, far = part.scale, length[part.feature]
            reached = np.abs(part.x.astype(np.float64)) + far * unit
            np.maximum.at(quantum, part.feature, _spacing(reached, part.x.dtype) / unit)
        return quantum


@dataclass(frozen=True, eq=False)
class Steps:
    """The parameters that say how far to step. root: the automatic step is the root-th root of epsilon."""

    step: PerInput[float]
    rel_step: PerInput[float]
    scale: PerInput[Array]
    bounds: PerInput[Bounds]
    root: int
    grouped: bool


def ground_of(subject: Subject, want: Steps) -> Ground:
    """Look at x. Raises what `Jacobian.explain` says of steps, scales, bounds and inputs."""
    segments = subject.segments
    if segments is None:
        raise ValueError(
            "a Jacobian needs a subject with segments: those of Elements() where no features are asked for"
        )
    count = segments.count
    moved = []
    step, below, above = (np.full(count, np.inf) for _ in range(3))
    quantum = np.zeros(count)
    for name in subject.explained:
        x = subject.inputs[name]
        check_kind(name, x)
        ids = np.broadcast_to(segments.ids[name], x.shape)
        where = ids >= 0
        at, feature = x[where], ids[where]
        if not np.isfinite(at).all():
            raise NotFinite(
                f"{name!r} holds NaN or infinity, from where no step can be made; features that leave those elements "
                f"out can be explained",
                field=f"inputs[{name}]",
            )
        part = Moved(at, feature, np.broadcast_to(subject.scale[name], x.shape)[where])
        if not want.grouped and (part.scale != 1).any():
            raise ValueError("rows of single elements carry the whole move: the subject's scale must be 1")
        moved.append(part)
        length = _step(name, x, want)[where]
        lower, upper = (end[where] for end in _ends(name, x, want.bounds.get(name), where))
        x64 = at.astype(np.float64)
        unit = part.scale
        with np.errstate(over="ignore"):  # endless room is room enough
            np.minimum.at(step, feature, length)
            np.minimum.at(below, feature, (x64 - lower) / unit)
            np.minimum.at(above, feature, (upper - x64) / unit)
            np.maximum.at(quantum, feature, _spacing(np.abs(x64) + 2 * length * unit, x.dtype) / unit)
    if want.grouped:  # so that rounding x + room * scale can't lead beyond the end
        below, above = below * (1 - 4 * _EPS64), above * (1 - 4 * _EPS64)

    def label(feature: int) -> str:
        return repr(segments.names[feature]) if segments.names else f"feature {feature}"

    return Ground(tuple(moved), count, want.grouped, step, quantum, below, above, label)


def check_kind(name: str, x: Array) -> None:
    """Raises ModelUnfit (inputs_to_explain) for an input that has no steps."""
    if x.dtype not in _KINDS:
        raise ModelUnfit(
            f"a Jacobian needs floating-point inputs to step in, and {name!r} is "
            f"{'string' if x.dtype == object else x.dtype}: leave it out of inputs_to_explain",
            field="inputs_to_explain",
        )


def scale_of(name: str, x: Array, scale: PerInput[Array], step: PerInput[float]) -> Floats:
    """The scale of one input, float64 [*input]. Raises InvalidRequest (scale), ModelUnfit."""
    check_kind(name, x)
    given = scale.get(name)
    if given is not None:
        return _checked("scale", name, x, given, lambda v: (v > 0) & np.isfinite(v), "finite and above 0")
    if step.get(name) is not None:
        return np.ones(x.shape)
    size = np.abs(x.astype(np.float64))
    return np.where(np.isfinite(size), np.maximum(1.0, size), 1.0)


def _step(name: str, x: Array, want: Steps) -> Floats:
    """[*input]: how far each element should move, or in units of the scale where features are groups."""
    for parameter, given in (("step", want.step), ("rel_step", want.rel_step)):
        length = given.get(name)
        if length is not None and not (length > 0 and np.isfinite(length)):
            raise InvalidRequest(f"the {parameter} of input {name!r} is {length:g}, not above 0", field=parameter)
    scale = scale_of(name, x, want.scale, want.step)
    absolute, relative = want.step.get(name), want.rel_step.get(name)
    if absolute is not None:
        return np.full(x.shape, float(absolute))
    share = float(relative) if relative is not None else float(np.finfo(x.dtype).eps) ** (1 / want.root)
    return np.full(x.shape, share) if want.grouped else share * scale


def _ends(name: str, x: Array, bounds: Bounds | None, where: Array) -> tuple[Floats, Floats]:
    """Lower and upper ends, float64 [*input]: numbers of x's dtype, so that what is rounded to it stays inside."""
    top = float(np.finfo(x.dtype).max)
    ends = []
    given_ends = (None, None) if bounds is None else (bounds.lower, bounds.upper)
    for end, given in zip((-top, top), given_ends, strict=True):
        if given is None:
            ends.append(np.full(x.shape, end))
            continue
        asked = _checked("bounds", name, x, given, lambda v: ~np.isnan(v), "numbers")
        with np.errstate(over="ignore"):
            ends.append(np.clip(asked.astype(x.dtype), -top, top).astype(np.float64))
    lower, upper = ends
    swapped = where & (lower > upper)
    if swapped.any():
        at = tuple(int(i) for i in np.argwhere(swapped)[0])
        raise InvalidRequest(
            f"the ends of the bounds are swapped: {name!r} at {list(at)} has the lower end {lower[at]:g} above the "
            f"upper end {upper[at]:g}",
            field="bounds",
        )
    with np.errstate(invalid="ignore"):
        outside = where & ((x < lower) | (x > upper))
    if outside.any():
        at = tuple(int(i) for i in np.argwhere(outside)[0])
        raise InvalidRequest(
            f"x lies outside its bounds: {name!r} at {list(at)} is {float(x[at]):g}, not within "
            f"{lower[at]:g} … {upper[at]:g}",
            field="bounds",
        )
    return lower, upper


def _checked(field: str, name: str, x: Array, given: Array, good: Callable[[Floats], Array], what: str) -> Floats:
    """A parameter tensor in float64 [*input]. Raises InvalidRequest naming `field`."""
    if given.dtype.kind not in "fiu" or given.shape not in ((), x.shape):
        raise InvalidRequest(
            f"the {field} of input {name!r} is {given.dtype} of shape {list(given.shape)}, not numbers of shape "
            f"{list(x.shape)} or a scalar",
            field=field,
        )
    values: Floats = np.broadcast_to(given.astype(np.float64), x.shape)
    if not good(values).all():
        raise InvalidRequest(f"the {field} of input {name!r} must be {what}", field=field)
    return values


def _spacing(size: Floats, dtype: np.dtype[np.floating[Any]]) -> Floats:
    """Distance of neighbouring numbers of `dtype` at `size`; at its largest number where size is beyond."""
    kind = np.finfo(dtype)
    _, exponent = np.frexp(np.minimum(size, float(kind.max)))
    spacing: Floats = np.maximum(np.ldexp(float(kind.eps), exponent - 1), float(kind.smallest_subnormal))
    return spacing
