"""What is scored: the targets of a request, or the whole outputs that a Jacobian differentiates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from assayd.engine.backend import LoadedModel
from assayd.errors import TooLarge, within
from assayd.explain.outcome import JacobianAxes
from assayd.explain.request import ExplainRequest
from assayd.explain.targets import ResolvedTarget, needs_scores, resolve, whole_outputs, with_labels
from assayd.types.arrays import Array
from assayd.types.method import Differential, differentiates
from assayd.types.model import Signature
from assayd.types.request import TargetSpec
from assayd.types.rows import Pick
from assayd.types.subject import Subject

MAX_JACOBIAN_ENTRIES = 2**26

Targets: TypeAlias = tuple[TargetSpec, ...]


@dataclass(frozen=True, eq=False)
class Wanted:
    """The scores of one instance. targets: what they were found to be; jacobian: for Jacobians, what their axes are."""

    picks: tuple[Pick, ...]
    targets: tuple[ResolvedTarget, ...] = ()
    jacobian: JacobianAxes | None = None


class Readouts:
    """What is scored of a request's instances by a model, as it is loaded now. signature: with the spec's labels."""

    def __init__(self, request: ExplainRequest, model: LoadedModel) -> None:
        self._request = request
        self._model = model  # held, so that nothing else gets its id, by which these are found
        self.signature = with_labels(model.signature, request.spec)
        self._waits: tuple[Targets, bool] | None = None
        self._wanted: tuple[Targets, Wanted] | None = None

    def wait_for_x(self, position: int) -> bool:
        """Whether the scores of an instance can only be decided from the model's answer at x. Raises InvalidRequest."""
        targets, known = self._request.targets[position], self._waits
        if known is None or known[0] is not targets:  # mostly they are the same for all
            known = self._waits = (targets, self._needs_x(targets))
        return known[1]

    def _needs_x(self, targets: Targets) -> bool:
        method = self._request.method
        if differentiates(method):
            with within(self._request.method_name):
                return any(s.shape is None or None in s.shape for s in whole_outputs(method.outputs, self.signature))
        for n, target in enumerate(targets):
            with within(f"targets[{n}]"):
                if needs_scores(target, self.signature):
                    return True
        return False

    def of(self, position: int, subject: Subject, at_x: Mapping[str, Array] | None) -> Wanted:
        """The scores of an instance. at_x: outputs at x, by name [*output], where it waits for x.

        Raises InvalidRequest, InvalidTensor, and TooLarge for a Jacobian of too many entries.
        """
        request, targets, known = self._request, self._request.targets[position], self._wanted
        if differentiates(request.method):
            return _differentiated(request.method, request.method_name, self.signature, subject, at_x)
        if at_x is None and known is not None and known[0] is targets:
            return known[1]
        picks, found = [], []
        for n, target in enumerate(targets):
            with within(f"targets[{n}]"):
                pick, resolved = resolve(target, self.signature, at_x)
            picks.append(pick)
            found.append(resolved)
        wanted = Wanted(tuple(picks), tuple(found))
        if at_x is None:
            self._wanted = targets, wanted
        return wanted


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
