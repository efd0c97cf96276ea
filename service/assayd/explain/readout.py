"""What is scored: the targets of a request, or the whole outputs that a Jacobian differentiates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from assayd.errors import TooLarge, within
from assayd.explain.outcome import JacobianAxes
from assayd.explain.request import ExplainRequest
from assayd.explain.targets import ResolvedTarget, needs_scores, resolve, whole_outputs
from assayd.types.arrays import Array
from assayd.types.method import Differential, differentiates
from assayd.types.model import Signature
from assayd.types.rows import Pick
from assayd.types.subject import Subject

MAX_JACOBIAN_ENTRIES = 2**26


@dataclass(frozen=True, eq=False)
class Wanted:
    """The scores of one instance. targets: what they were found to be; jacobian: for Jacobians, what their axes are."""

    picks: tuple[Pick, ...]
    targets: tuple[ResolvedTarget, ...] = ()
    jacobian: JacobianAxes | None = None


def waits_for_x(request: ExplainRequest, signature: Signature, position: int) -> bool:
    """Whether the scores of an instance can only be decided from the model's answer at x. Raises InvalidRequest."""
    method = request.method
    if differentiates(method):
        with within(request.method_name):
            return any(s.shape is None or None in s.shape for s in whole_outputs(method.outputs, signature))
    for n, target in enumerate(request.targets[position]):
        with within(f"targets[{n}]"):
            if needs_scores(target, signature):
                return True
    return False


def wanted_scores(
    request: ExplainRequest,
    signature: Signature,
    position: int,
    subject: Subject,
    at_x: Mapping[str, Array] | None,
) -> Wanted:
    """The scores of an instance. at_x: outputs at x, by name [*output], where `waits_for_x`.

    Raises InvalidRequest, InvalidTensor, and TooLarge for a Jacobian of too many entries.
    """
    if differentiates(request.method):
        return _differentiated(request.method, request.method_name, signature, subject, at_x)
    picks, targets = [], []
    for n, target in enumerate(request.targets[position]):
        with within(f"targets[{n}]"):
            pick, found = resolve(target, signature, at_x)
        picks.append(pick)
        targets.append(found)
    return Wanted(tuple(picks), tuple(targets))


def _differentiated(
    method: Differential, name: str, signature: Signature, subject: Subject, at_x: Mapping[str, Array] | None
) -> Wanted:
    shapes = {}
    for s in whole_outputs(method.outputs, signature):
        shapes[s.name] = tuple(n or 0 for n in s.shape or ()) if at_x is None else tuple(at_x[s.name].shape)
    inputs = () if method.grouped else tuple((n, subject.inputs[n].shape) for n in subject.explained)
    scores = sum(math.prod(shape) for shape in shapes.values())
    features = 0 if subject.segments is None else subject.segments.count
    if scores * features > MAX_JACOBIAN_ENTRIES:
        raise TooLarge(
            f"{scores} scores by {features} features are more than {MAX_JACOBIAN_ENTRIES} entries: name fewer outputs,"
            " or group the elements into features",
            field=f"{name}.features",
        )
    return Wanted(tuple(Pick(n) for n in shapes), (), JacobianAxes(tuple(shapes.items()), inputs))
