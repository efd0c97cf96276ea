"""Drives one instance: a method's generator on one side, the scheduler on the other."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from assayd.engine.backend import LoadedModel, Whole
from assayd.engine.readout import read_out
from assayd.errors import ModelNotFinite, NotFinite, TooLarge, within
from assayd.explain.offload import Offload
from assayd.explain.outcome import InstanceExplained, JacobianAxes, Notice
from assayd.explain.record import Stack, record_of
from assayd.explain.request import ExplainRequest
from assayd.explain.subject import build_subject
from assayd.explain.tally import Tally
from assayd.explain.targets import ResolvedTarget, needs_scores, resolve, score_dtype, whole_outputs, with_labels
from assayd.scheduler.device import DeviceScheduler
from assayd.scheduler.work import Job, Work
from assayd.types.arrays import Array, Floats
from assayd.types.method import Differential, Explanation
from assayd.types.model import Signature
from assayd.types.request import Superpixels, TargetSpec
from assayd.types.result import Attribution, Scores
from assayd.types.rows import Pick, PlainRows, Plan, RowBlock
from assayd.types.subject import Subject

_X = -1
_BATCH_TOLERANCE = 1e-5
_HALF_BATCH_TOLERANCE = 2.0**-9
_SCALED_TOLERANCE = 1e-2
_MAX_JACOBIAN_ENTRIES = 2**26


class RowsInteract(Exception):
    """x scores otherwise in a batch than alone: the model must run row by row. Never leaves this package."""

    def __init__(self, difference: float, rows: int) -> None:
        self.reason = f"rows interact: x alone and x in a batch differ by {difference:.2g} of max|f|"
        self.rows = rows
        super().__init__(self.reason)


@dataclass(frozen=True, eq=False)
class InstanceDriver:
    """Explains instance `position` of a request with a model as it is loaded now."""

    request: ExplainRequest
    explained: tuple[str, ...]
    job: Job
    scheduler: DeviceScheduler
    offload: Offload
    tally: Tally
    stack: Stack

    @property
    def plans_fast(self) -> bool:
        """Whether features take microseconds; superpixels take a tenth of a second, and nobody waits for those."""
        return not isinstance(self.request.method.features, Superpixels)

    async def plan(self, position: int) -> Subject:
        """Cut features and make baselines."""
        return await self.offload.plan(build_subject, self.request, self.explained, position)

    def check_targets(self, model: LoadedModel, position: int) -> None:
        """Raises where a target can be seen to be wrong before anything runs."""
        signature = with_labels(model.signature, self.request.spec)
        if not isinstance(self.request.method, Differential) and not self._targets_wait(signature, position):
            _resolve_all(self.request.targets[position], signature, None)

    def _targets_wait(self, signature: Signature, position: int) -> bool:
        """Whether the scores to explain can only be decided from the model's answer at x."""
        method = self.request.method
        if isinstance(method, Differential):
            with within(self.request.method_name):
                return any(s.shape is None or None in s.shape for s in whole_outputs(method.outputs, signature))
        for n, target in enumerate(self.request.targets[position]):
            with within(f"targets[{n}]"):
                if needs_scores(target, signature):
                    return True
        return False

    def _resolve(
        self, signature: Signature, position: int, subject: Subject, at_x: Mapping[str, Array] | None
    ) -> tuple[tuple[Pick, ...], tuple[ResolvedTarget, ...], JacobianAxes | None]:
        """The scores to explain, what they were found to be, and for Jacobians what their axes are."""
        method = self.request.method
        if not isinstance(method, Differential):
            return *_resolve_all(self.request.targets[position], signature, at_x), None
        shapes = {}
        for s in whole_outputs(method.outputs, signature):
            shapes[s.name] = tuple(n or 0 for n in s.shape or ()) if at_x is None else tuple(at_x[s.name].shape)
        inputs = () if method.grouped else tuple((name, subject.inputs[name].shape) for name in subject.explained)
        scores = sum(math.prod(shape) for shape in shapes.values())
        features = 0 if subject.segments is None else subject.segments.count
        if scores * features > _MAX_JACOBIAN_ENTRIES:
            raise TooLarge(
                f"a Jacobian of {scores} scores by {features} features has more than {_MAX_JACOBIAN_ENTRIES} entries: name"
                " fewer outputs, or group the elements into features",
                field=f"{self.request.method_name}.features",
            )
        return tuple(Pick(name) for name in shapes), (), JacobianAxes(tuple(shapes.items()), inputs)

    async def rows_of(self, subject: Subject) -> int:
        """Rows that the first plan asks for, with those of x and its baselines; runs nothing."""
        _, plan = await self._begin(subject)
        return plan.size + 1 + subject.baseline_count

    async def run(self, subject: Subject, model: LoadedModel, position: int) -> InstanceExplained:
        """Explain. Raises AssayError, and RowsInteract where the model must not be run in batches."""
        with self.scheduler.expect():
            signature = with_labels(model.signature, self.request.spec)
            batched = model.batching.batched
            waits = self._targets_wait(signature, position)
            explanation, plan = await self._begin(subject)
            head = 1 + subject.baseline_count
            # Instances differ little: better refused now than half-way.
            self.tally.check((head + plan.size) * self.request.instances)
            self.tally.planned(head + plan.size)
            alone: Work | None = None
            if batched or waits:
                alone = Work(self.job, model, subject, _plain_plan([_X]), Whole(), alone=True)
                self.scheduler.submit(alone)
                if waits:
                    await self.scheduler.wait(alone)
            at_x = {name: v[0] for name, v in alone.outputs().items()} if waits and alone is not None else None
            picks, resolved, axes = self._resolve(signature, position, subject, at_x)
            first = Work(self.job, model, subject, _with_plain(plan, subject.baseline_count), picks)
            self.scheduler.submit(first)
        await self.scheduler.wait(first)
        if alone is not None:
            await self.scheduler.wait(alone)
        scores = first.scores()
        x_scores, baseline_scores, rows = scores[0], scores[1:head], scores[head:]
        difference = None
        if batched and alone is not None:
            difference = _alone_difference(alone.outputs(), picks, x_scores)
            if difference > _allowed(picks, signature):
                raise RowsInteract(difference, head + plan.size)
        _check_finite(subject, x_scores, baseline_scores, rows)
        attribution = await self._finish(explanation, Scores(rows, x_scores, baseline_scores), model, subject, picks)
        result = InstanceExplained(
            key=self.request.keys[position] if self.request.keys else "",
            position=position,
            targets=resolved,
            attribution=attribution,
            segments=attribution.segments or subject.segments,
            x_scores=x_scores,
            baseline_scores=baseline_scores,
            dtype=score_dtype(picks, signature),
            alone_difference=difference,
            rows_asked=plan.size + head,
            rows_run=plan.size + head + (alone is not None),
            notices=tuple(_notices(subject)),
            jacobian=axes,
        )
        about = (self.job.request_id, self.request, result, subject, model, self.stack)
        return replace(result, record=await self.offload.reduce(record_of, *about))

    async def _begin(self, subject: Subject) -> tuple[Explanation, Plan]:
        explanation = self.request.method.explain(subject)
        with within(self.request.method_name):
            return explanation, await self.offload.plan(next, explanation)

    async def _finish(
        self, explanation: Explanation, scores: Scores, model: LoadedModel, subject: Subject, picks: tuple[Pick, ...]
    ) -> Attribution:
        """Hand the scores over; run further plans as long as the method has any."""
        while True:
            begun = time.monotonic()
            step = await self.offload.reduce(_send, explanation, scores)
            self.tally.reduced(time.monotonic() - begun)
            if isinstance(step, Attribution):
                return step
            self.tally.planned(step.size)
            work = Work(self.job, model, subject, step, picks)
            self.scheduler.submit(work)
            await self.scheduler.wait(work)
            _check_finite(subject, scores.x, scores.baselines, work.scores())
            scores = Scores(work.scores(), scores.x, scores.baselines)


def _send(explanation: Explanation, scores: Scores) -> Plan | Attribution:
    try:
        return explanation.send(scores)
    except StopIteration as end:
        result: Attribution = end.value
        return result


def _resolve_all(
    targets: Sequence[TargetSpec], signature: Signature, at_x: Mapping[str, Array] | None
) -> tuple[tuple[Pick, ...], tuple[ResolvedTarget, ...]]:
    found = []
    for n, target in enumerate(targets):
        with within(f"targets[{n}]"):
            found.append(resolve(target, signature, at_x))
    return tuple(p for p, _ in found), tuple(r for _, r in found)


def _plain_plan(baselines: Sequence[int]) -> Plan:
    numbers = np.array(baselines, dtype=np.int32)
    return Plan(len(numbers), lambda a, b: [PlainRows(numbers[a:b])])


def _with_plain(plan: Plan, baselines: int) -> Plan:
    """The plan with x and the baselines in front, so that they share its batches."""
    plain = _plain_plan([_X, *range(baselines)])
    head = plain.size

    def rows(a: int, b: int) -> Sequence[RowBlock]:
        blocks: list[RowBlock] = []
        if a < head:
            blocks.extend(plain.rows(a, min(b, head)))
        if b > head:
            blocks.extend(plan.rows(max(a, head) - head, b - head))
        return blocks

    return Plan(head + plan.size, rows)


def _alone_difference(alone: Mapping[str, Array], picks: tuple[Pick, ...], in_batch: Floats) -> float:
    """|f(x alone) - f(x in a batch)| as a share of max|f|."""
    by_itself = read_out(picks, alone)
    if not isinstance(by_itself, np.ndarray):
        raise TypeError("picks read scores")
    tops: list[float] = []
    for pick in picks:
        weight = 1.0 if pick.weights is None else float(np.abs(pick.weights).sum())
        top = float(np.abs(alone[pick.output].astype(np.float64)).max(initial=0.0)) * weight
        columns = 1 if pick.weights is not None else alone[pick.output].size
        tops.extend([top] * (columns if pick.indices is None else len(pick.indices)))
    apart = np.abs(by_itself[0] - in_batch)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(apart == 0, 0.0, apart / np.maximum(tops, np.abs(by_itself[0])))
    return float(np.max(np.nan_to_num(share, nan=0.0)))


def _allowed(picks: tuple[Pick, ...], signature: Signature) -> float:
    """What rounding alone may do to a score. A log or logit magnifies it where a probability is saturated."""
    if any(p.scale != "raw" for p in picks):
        return _SCALED_TOLERANCE
    half = any(signature.output(p.output).dtype == np.float16 for p in picks)
    return _HALF_BATCH_TOLERANCE if half else _BATCH_TOLERANCE


def _check_finite(subject: Subject, x: Floats, baselines: Floats, rows: Floats) -> None:
    if not np.isfinite(x).all():
        if all(_finite(v) for v in subject.inputs.values()):
            raise ModelNotFinite("the model answers NaN or infinity for this ordinary input")
        raise NotFinite("f(x) isn't finite: x holds NaN or infinity that the model passes on", field="inputs")
    if not np.isfinite(baselines).all():
        raise NotFinite("f(baseline) isn't finite: choose another baseline", field="baseline")
    if not np.isfinite(rows).all():
        count = int((~np.isfinite(rows)).any(axis=1).sum())
        raise ModelNotFinite(f"the model answers NaN or infinity for {count} of {len(rows)} perturbed rows")


def _finite(x: Array) -> bool:
    return not np.issubdtype(x.dtype, np.floating) or bool(np.isfinite(x).all())


def _notices(subject: Subject) -> list[Notice]:
    same = []
    for name, baselines in subject.baselines.items():
        x = subject.inputs[name]
        if any(np.array_equal(b, x, equal_nan=np.issubdtype(x.dtype, np.floating)) for b in baselines):
            same.append(name)
    if not same:
        return []
    return [Notice("BASELINE_EQUALS_INPUT", f"the baseline of {', '.join(same)} equals the input itself")]
