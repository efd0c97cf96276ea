"""The method: its parameters, its plans, and the derivatives that come of their scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np

from assayd.errors import InvalidRequest
from assayd.methods.jacobian.estimate import derivatives
from assayd.methods.jacobian.ground import Steps, ground_of, scale_of
from assayd.methods.jacobian.search import ROUNDS, Search
from assayd.methods.jacobian.stencil import SCHEMES, Stencil, place
from assayd.types.arrays import Array, Floats, Ids
from assayd.types.method import Explanation
from assayd.types.request import BaselineSpec, Bounds, Elements, FeatureSpec, PerInput
from assayd.types.result import Attribution, Drawn, Scores
from assayd.types.rows import NudgeRows, Plan
from assayd.types.subject import Subject

FEATURES_A_PLAN = 4096
"""A plan's scores are reduced before the next plan is made: what that takes grows with this many features at most."""


@dataclass(frozen=True, eq=False)
class Jacobian:
    """J[o, i] = df_o / dx_i of every score o by every element i, or by every feature.

    scheme: "forward", "central" or "richardson" (the extrapolation of central differences at h and h/2, which is the
    five-point formula). All are the derivative at x of the polynomial through x and the points, taken where they really
    lie: x + h is a number of the input's dtype, and the true difference divides. Scores are subtracted in float64.

    features: in place of elements; then J[o, g] is the derivative by t of f(x + t * scale) with every element of group
    g moving: the sum of scale_i * df_o / dx_i. Each element is rounded for itself; what divides is the mean of the
    actual moves in units of the scale (weighted by its square). So of a group of one element it is the derivative times
    the element's scale. `Elements()` means the same as None: plain derivatives.

    step: absolute; over features in units of the scale, which is then 1 where none is given. rel_step: times the scale.
    scale: above 0, [*input] or scalar; where none is given max(1, |x|). A feature that spans inputs takes the smallest
    of their steps. Without a step the three h, h/8 and h/64 are tried, h being the scale times the square, third or
    fifth root of the dtype's epsilon (forward, central, richardson), and each entry is the one with the smallest
    estimate; so a column whose spread is a hundredth of its scale fares as well as others. With an estimate, up to two
    further plans follow for every `FEATURES_A_PLAN` features, of those alone that need it: where even h/64 is limited
    by truncation, or the steps disagree by more than rounding may explain, h/512 and h/4096, then h/32768 and
    h/262144, as far as the dtype resolves them; where rounding drowns h, 8 h, then 32 h, as far as the bounds let them.
    Where the central
    differences at two of those steps show a kink beside x, the slope of the side without it stands for choice as well.

    bounds: no row leaves them, nor the dtype's range. Where x - h or x + h would, the points lie on one side, at the
    same order; where they don't fit there either, h shrinks.

    error_estimate: truncation (how far the entry moves as the step shrinks, or as points of half the step are added)
    and rounding, which is measured: what is left of a feature's scores when a polynomial through its points is taken
    out, the median over the features of a plan. Without a step, False leaves out h/8.

    Rows of a feature (points that two-sided and one-sided differences need alike):

        scheme      step given, no estimate   step given   no step, no estimate   no step
        forward     1                         2            2                      3
        central     2                         4            4                      6
        richardson  4                         6            8                      12

    and 1, 2 or 4 more for each of the steps that follow.

    Row r of these is point r % points of feature r // points. More than `FEATURES_A_PLAN` features make several
    plans. Attribution: values and errors [T, F], no maps; drawn: every nudge and its scores, which are held for it.

    References: Nocedal and Wright, Numerical Optimization, 8.1; Fornberg 1988 (weights at any points); Hamming's
    difference table for the rounding, as in More and Wild 2011.
    """

    scheme: str = "central"
    step: PerInput[float] = field(default_factory=PerInput)
    rel_step: PerInput[float] = field(default_factory=PerInput)
    scale: PerInput[Array] = field(default_factory=PerInput)
    outputs: tuple[str, ...] = ()
    features: FeatureSpec | None = None
    bounds: PerInput[Bounds] = field(default_factory=PerInput)
    error_estimate: bool = True

    revision: ClassVar[int] = 2

    @property
    def baseline(self) -> PerInput[BaselineSpec]:
        """None: nothing is ever absent."""
        return PerInput()

    @property
    def grouped(self) -> bool:
        """Whether derivatives are along groups, in units of the scale."""
        return not isinstance(self.features, Elements | None)

    def nudge_scale(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What `Subject.scale` has to be. inputs: the explained ones, [*input] each.

        1 for elements, whose rows carry the exact move; over features the scale, in float64. Raises `InvalidRequest`
        (scale) for one of the wrong shape, or not above 0; `ModelUnfit` as `explain` does.
        """
        if not self.grouped:
            return dict.fromkeys(inputs, np.ones(()))
        return {name: scale_of(name, x, self.scale, self.step) for name, x in inputs.items()}

    def explain(self, subject: Subject) -> Explanation:
        """Yield a plan for each `FEATURES_A_PLAN` features, then those of the entries that need other steps.

        Raises `InvalidRequest`: an unknown scheme (scheme); step and rel_step at once, one not above 0, or below what
        the dtype resolves at x (step, rel_step); a scale not above 0 or of the wrong shape (scale); x outside its
        bounds, bounds of the wrong shape, or without room for a step (bounds); a parameter for an input that isn't
        explained. `NotFinite` (inputs[name]) where an element that must move is NaN or infinite. `ModelUnfit`
        (inputs_to_explain) for an input that isn't floating-point.
        """
        self._check(subject)
        scheme = SCHEMES[self.scheme]
        root = scheme.order + 1  # where truncation h^order and rounding epsilon / h are equal
        ground = ground_of(subject, Steps(self.step, self.rel_step, self.scale, self.bounds, root, self.grouped))
        parameter = "step" if self.step else "rel_step" if self.rel_step else None
        stencil = place(ground, scheme, parameter=parameter, estimate=self.error_estimate)
        points, count = stencil.steps.shape
        pieces = -(-count // FEATURES_A_PLAN)
        edges = [count * piece // pieces for piece in range(pieces + 1)]
        searches = parameter is None and self.error_estimate
        values = errors = np.empty((0, count))
        first: list[Scores] = []
        drawn: list[tuple[Ids, Floats]] = [
            (np.repeat(np.arange(count, dtype=np.int32), points), stencil.steps.T.reshape(-1))
        ]
        for a, b in pairwise(edges):
            part = stencil.of_features(a, b)
            scores = yield Plan((b - a) * points, _rows(part, a), later=(count - b) * points)
            first.append(scores)
            if not a:
                values, errors = np.empty((2, len(scores.x), count))
            if not searches:
                values[:, a:b], errors[:, a:b] = derivatives(part, scores, ladder=parameter is None)
        scored = [scores.rows for scores in first]
        if searches:
            for whole, (a, b) in zip(first, pairwise(edges), strict=True):
                here = np.arange(a, b, dtype=np.int32)
                search = Search(ground.of_features(here), stencil.of_features(a, b), whole)
                values[:, a:b], errors[:, a:b] = search.estimate()
                for _ in range(ROUNDS):
                    asked = search.more()
                    if asked is not None:
                        features, steps = asked.features + np.int32(a), asked.steps
                        scores = yield Plan(len(features), _nudges(features, steps), least=1)
                        drawn.append((features[: len(scores.rows)], steps[: len(scores.rows)]))
                        scored.append(scores.rows)
                        if len(scores.rows) < len(features):  # the budget is spent, and the entries are what they are
                            break
                        search.learn(asked, scores.rows)
                    elif not search.advanced:
                        break
                    values[:, a:b], errors[:, a:b] = search.estimate()
        return Attribution(
            values=values,
            errors=errors if self.error_estimate else None,
            errors_unknown=not self.error_estimate,
            drawn=lambda: _drawn(drawn, scored),
        )

    def _check(self, subject: Subject) -> None:
        if self.scheme not in SCHEMES:
            raise InvalidRequest(f"the scheme is one of {', '.join(SCHEMES)}, not {self.scheme!r}", field="scheme")
        if self.step and self.rel_step:
            raise InvalidRequest("give step or rel_step, not both", field="rel_step")
        for parameter in ("step", "rel_step", "scale", "bounds"):
            given: PerInput[object] = getattr(self, parameter)
            for name in given.values:
                if name and name not in subject.explained:
                    explained = ", ".join(map(repr, subject.explained))
                    raise InvalidRequest(
                        f"{parameter} for input {name[:80]!r}, which is not explained; explained: {explained}",
                        field=parameter,
                    )


def _drawn(nudges: Sequence[tuple[Ids, Floats]], scored: Sequence[Floats]) -> Drawn:
    """All nudges. nudges: features and steps [n] each. scored: of the plans, [n, T] each."""
    features, steps = (np.concatenate(part) for part in zip(*nudges, strict=True))
    return Drawn(np.concatenate(scored).T, features=features, steps=steps)


def _nudges(features: Ids, steps: Floats) -> Callable[[int, int], Sequence[NudgeRows]]:
    return lambda a, b: [NudgeRows(features[a:b], steps[a:b])]


def _rows(stencil: Stencil, first: int) -> Callable[[int, int], Sequence[NudgeRows]]:
    """The rows of a stencil's features, of which `first` is the number of the first."""
    points = len(stencil.steps)

    def rows(a: int, b: int) -> list[NudgeRows]:
        row = np.arange(a, b)
        feature = row // points
        return [NudgeRows((first + feature).astype(np.int32), stencil.steps[row % points, feature])]

    return rows
