"""Drives one instance: a method's generator on one side, the scheduler on the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from assayd.engine.backend import LoadedModel, Readout, Whole
from assayd.errors import within
from assayd.explain.checks import RowsInteract, allowed_difference, alone_difference, check_finite
from assayd.explain.offload import Offload
from assayd.explain.outcome import InstanceExplained, Notice
from assayd.explain.readout import waits_for_x, wanted_scores
from assayd.explain.record import Stack, record_of
from assayd.explain.request import ExplainRequest
from assayd.explain.subject import build_subject
from assayd.explain.tally import Tally
from assayd.explain.targets import score_dtype, with_labels
from assayd.scheduler.device import DeviceScheduler
from assayd.scheduler.work import Job, Work
from assayd.types.method import Explanation
from assayd.types.request import Superpixels
from assayd.types.result import Attribution, Scores
from assayd.types.rows import PlainRows, Plan, RowBlock
from assayd.types.subject import Subject

_X = -1
_LOW_FIT = 0.2


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

    def check_targets(self, subject: Subject, model: LoadedModel, position: int) -> None:
        """Raises where a target can be seen to be wrong before anything runs."""
        signature = with_labels(model.signature, self.request.spec)
        if not waits_for_x(self.request, signature, position):
            wanted_scores(self.request, signature, position, subject, None)

    async def rows_of(self, subject: Subject) -> int:
        """Rows that the first plan asks for, with those of x and its baselines; runs nothing."""
        _, plan = await self._begin(subject)
        return plan.size + plan.later + 1 + subject.baseline_count

    async def run(self, subject: Subject, model: LoadedModel, position: int) -> InstanceExplained:
        """Explain. Raises AssayError, and RowsInteract where the model must not be run in batches."""
        works: list[Work] = []
        try:
            return await self._run(subject, model, position, works)
        finally:
            for work in works:
                self.scheduler.withdraw(work)

    async def _run(self, subject: Subject, model: LoadedModel, position: int, works: list[Work]) -> InstanceExplained:
        request, batched = self.request, model.batching.batched
        head = 1 + subject.baseline_count

        def submit(plan: Plan, readout: Readout, *, alone: bool = False) -> Work:
            work = Work(self.job, model, subject, plan, readout, alone)
            works.append(work)
            self.scheduler.submit(work)
            return work

        with self.scheduler.expect():
            signature = with_labels(model.signature, request.spec)
            waits = waits_for_x(request, signature, position)
            explanation, plan = await self._begin(subject)
            # Instances differ little: better refused now than half-way.
            self.tally.check((head + plan.size + plan.later) * request.instances)
            self.tally.planned(head + plan.size)
            # x, and the first baseline: rows may interact at one of them only.
            lone = [_X, *range(min(1, subject.baseline_count))] if batched else [_X] if waits else []
            alone = submit(_plain_plan(lone), Whole(), alone=True) if lone else None
            at_x = None
            if waits and alone is not None:
                await self.scheduler.wait(alone)
                at_x = {name: v[0] for name, v in alone.outputs().items()}
            wanted = wanted_scores(request, signature, position, subject, at_x)
            first = submit(_with_plain(plan, subject.baseline_count), wanted.picks)
        await self.scheduler.wait(first)
        x_scores, baseline_scores, rows = np.split(first.scores(), [1, head])
        scores = Scores(rows, x_scores[0], baseline_scores)
        difference = None
        if batched and alone is not None:
            await self.scheduler.wait(alone)
            difference = alone_difference(alone.outputs(), wanted.picks, first.scores())
            if difference > allowed_difference(wanted.picks, signature):
                raise RowsInteract(difference, head + plan.size)
        asked = head + plan.size
        while True:
            check_finite(subject, request.method_name, scores.x, scores.baselines, scores.rows)
            begun = time.monotonic()
            step = await self.offload.reduce(_send, explanation, scores)
            self.tally.reduced(time.monotonic() - begun)
            if isinstance(step, Attribution):
                break
            self.tally.planned(step.size)
            asked += step.size
            work = submit(step, wanted.picks)
            await self.scheduler.wait(work)
            scores = Scores(work.scores(), scores.x, scores.baselines)
        result = InstanceExplained(
            key=request.keys[position] if request.keys else "",
            position=position,
            targets=wanted.targets,
            attribution=step,
            segments=step.segments or subject.segments,
            x_scores=scores.x,
            baseline_scores=scores.baselines,
            dtype=score_dtype(wanted.picks, signature),
            alone_difference=difference,
            rows_asked=asked,
            rows_run=asked + len(lone),
            notices=(*_notices(subject), *_doubts(step, differential=wanted.jacobian is not None)),
            jacobian=wanted.jacobian,
        )
        about = (self.job.request_id, request, result, subject, model, self.stack)
        return replace(result, record=await self.offload.reduce(record_of, *about))

    async def _begin(self, subject: Subject) -> tuple[Explanation, Plan]:
        explanation = self.request.method.explain(subject)
        with within(self.request.method_name, beside=("inputs[", "inputs_to_explain")):
            return explanation, await self.offload.plan(next, explanation)


def _send(explanation: Explanation, scores: Scores) -> Plan | Attribution:
    try:
        return explanation.send(scores)
    except StopIteration as end:
        result: Attribution = end.value
        return result


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


def _doubts(attribution: Attribution, *, differential: bool) -> list[Notice]:
    """What the numbers themselves say against being relied on."""
    if attribution.r_squared is not None and (fit := float(attribution.r_squared.min())) < _LOW_FIT:
        return [
            Notice("LOW_FIT", f"the surrogate explains {fit:.0%} of the scores' variance: its coefficients say little")
        ]
    if differential and attribution.values is not None and not attribution.values.any():
        text = "every derivative is 0: the model is flat here, or saturated, or made of steps like a tree"
        return [Notice("ZERO_JACOBIAN", text)]
    return []


def _notices(subject: Subject) -> list[Notice]:
    same = []
    for name, baselines in subject.baselines.items():
        x = subject.inputs[name]
        if any(np.array_equal(b, x, equal_nan=np.issubdtype(x.dtype, np.floating)) for b in baselines):
            same.append(name)
    if not same:
        return []
    return [Notice("BASELINE_EQUALS_INPUT", f"the baseline of {', '.join(same)} equals the input itself")]
