"""Runs one instance: a method's generator on one side, the scheduler on the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import numpy as np

from assayd.engine.backend import LoadedModel, Readout, Whole
from assayd.engine.readout import clipped
from assayd.errors import NotReproducible
from assayd.explain.allowance import Allowance
from assayd.explain.checks import RowsInteract, allowed_difference, alone_difference, check_finite
from assayd.explain.deadline import before, over_budget
from assayd.explain.notices import about_subject, doubts
from assayd.explain.outcome import InstanceExplained
from assayd.explain.prepare import Preparation
from assayd.explain.readout import Wanted
from assayd.explain.targets import score_dtype
from assayd.scheduler.work import Work
from assayd.types.arrays import Floats
from assayd.types.method import Explanation
from assayd.types.result import Attribution, Scores
from assayd.types.rows import Pick, PlainRows, Plan, RowBlock
from assayd.types.statistics import draws_missing
from assayd.types.subject import Subject

_X = -1

_Conclude: TypeAlias = Callable[[Attribution, Scores], InstanceExplained]


class InstanceRun:
    """Explains instance `position` of a request with a model as it is loaded now. Used once."""

    def __init__(self, shared: Preparation, subject: Subject, model: LoadedModel, position: int) -> None:
        self._shared = shared
        self._request = shared.request
        self._subject = subject
        self._model = model
        self._position = position
        self._readouts = shared.readouts(model)
        self._signature = self._readouts.signature
        self._allowance = Allowance.of(shared.request, shared.tally.limit)
        self._works: list[Work] = []
        self._asked = self._scored = 0
        self._clipped = False
        self._exact = shared.request.exact

    async def explain(self) -> InstanceExplained:
        """Explain. Raises AssayError, and RowsInteract where the model must not be run in batches."""
        try:
            return await self._explain()
        finally:
            for work in self._works:
                self._shared.scheduler.withdraw(work)

    async def _explain(self) -> InstanceExplained:
        batched, head = self._model.batching.batched, 1 + self._subject.baseline_count
        with self._shared.scheduler.expect():
            explanation, plan = await self._begin(head)
            waits = self._readouts.wait_for_x(self._position)
            # x, and the first baseline: rows may interact at one of them only.
            lone = [_X, *range(head - 1)][:2] if batched else [_X] if waits else []
            alone = self._submit(_plain_plan(lone), Whole(), alone=True) if lone else None
            at_x = None
            if waits and alone is not None:
                await self._wait(alone)
                at_x = {name: v[0] for name, v in alone.outputs().items()}
            wanted = self._readouts.of(self._position, self._subject, at_x)
            least = head + (plan.size if plan.least is None else plan.least)
            first = self._submit(self._with_plain(plan), wanted.picks, least=least)
        await self._wait(first, least, plan.meanwhile)
        found = first.scores()
        self._scored += len(found)
        if self._request.reproducible and not np.array_equal(found[0], found[-1]):
            raise NotReproducible("x scored other bits at another place of a batch", field="reproducible")
        difference = None
        if batched and alone is not None:
            await self._wait(alone)
            difference = alone_difference(alone.outputs(), wanted.picks, found)
            if difference > self._allowed(wanted.picks):
                raise RowsInteract(difference, self._asked)
        self._clipped = clipped(wanted.picks, self._signature, found)
        scores = Scores(found[head : head + plan.size], found[0], found[1:head])
        conclude = partial(self._concluded, wanted, difference, len(lone))
        return await self._rounds(explanation, scores, wanted.picks, conclude)

    def _allowed(self, picks: tuple[Pick, ...]) -> float:
        model = self._model
        error = 0.0 if self._exact else model.precision_error
        return allowed_difference(picks, self._signature, on_gpu=model.on_gpu, precision_error=error)

    async def _begin(self, head: int) -> tuple[Explanation, Plan]:
        """The method under way, and its first plan as far as the budget reaches."""
        request, shared = self._request, self._shared
        beside = head + int(request.reproducible)
        async with before(self._allowance.until, over_budget):
            explanation, plan = await shared.begin(self._subject)
        if not request.budget.partial:
            # Instances differ little: better refused now than half-way.
            shared.tally.check((beside + plan.size + plan.later) * request.instances)
        plan = self._allowance.grant(plan, beside) or replace(plan, size=0)
        self._ask(beside + plan.size)
        shared.places.suit(beside + plan.size, self._model.batching.max_rows * shared.scheduler.devices)
        return explanation, plan

    async def _rounds(
        self, explanation: Explanation, scores: Scores, picks: tuple[Pick, ...], conclude: _Conclude
    ) -> InstanceExplained:
        """Feed the method until it has its result."""
        shared = self._shared
        while True:
            begun = time.monotonic()
            numbers = max(scores.rows.size, len(scores.x) * shared.elements)
            step = await shared.offload.reduce(
                self._step, explanation, scores, conclude, takes=shared.solves(numbers), decision=shared.decision
            )
            shared.tally.reduced(time.monotonic() - begun)
            if isinstance(step, InstanceExplained):
                return step
            rows = await self._more(step, picks)
            scores = Scores(np.empty((0, len(scores.x))) if rows is None else rows, scores.x, scores.baselines)

    def _step(self, explanation: Explanation, scores: Scores, conclude: _Conclude) -> Plan | InstanceExplained:
        """What the method asks for next, or the result with its record: one way to a thread for all of it."""
        about, missing = (self._subject, self._request.method_name), draws_missing(self._request.method)
        check_finite(*about, scores.x, scores.baselines, scores.rows, draws_missing=missing)
        try:
            return explanation.send(scores)
        except StopIteration as end:
            return conclude(end.value, scores)

    async def _more(self, step: Plan, picks: tuple[Pick, ...]) -> Floats | None:
        """Scores of a later plan, [n, T], as far as the budget reaches; None where that is nowhere."""
        plan = self._allowance.grant(step)
        if plan is None:
            return None
        self._ask(plan.size)
        work = self._submit(plan, picks)
        await self._wait(work, plan.least, plan.meanwhile)
        if not work.scored_rows:
            return None
        self._scored += work.scored_rows
        self._clipped |= clipped(picks, self._signature, work.scores())
        return work.scores()

    def _concluded(
        self, wanted: Wanted, difference: float | None, lone: int, attribution: Attribution, scores: Scores
    ) -> InstanceExplained:
        """The result and its record. lone: rows that ran alone."""
        request, shared, drawn = self._request, self._shared, None
        against = doubts(
            attribution,
            differential=wanted.jacobian is not None,
            clipped=self._clipped,
            until_error=getattr(request.method, "until_error", None),
        )
        if request.return_rows and attribution.drawn is not None:
            drawn = attribution.drawn()
        result = InstanceExplained(
            key=request.keys[self._position] if request.keys else "",
            position=self._position,
            targets=wanted.targets,
            attribution=replace(attribution, drawn=None) if attribution.drawn else attribution,  # it may hold all rows
            segments=attribution.segments or self._subject.segments,
            x_scores=scores.x,
            baseline_scores=scores.baselines,
            dtype=score_dtype(wanted.picks, self._signature),
            alone_difference=difference,
            rows_asked=self._asked,
            rows_scored=self._scored,
            rows_run=self._scored + lone,
            notices=(*about_subject(self._subject), *against),
            jacobian=wanted.jacobian,
            partial=self._allowance.cut_short,
            drawn=drawn,
        )
        devices = {name for work in self._works for name in work.devices}
        return replace(result, record=shared.records.of(result, self._subject, self._model, devices))

    # ---- rows ------------------------------------------------------------------------------------------------------

    def _ask(self, rows: int) -> None:
        self._shared.tally.planned(rows)
        self._asked += rows

    def _submit(self, plan: Plan, readout: Readout, *, alone: bool = False, least: int = 0) -> Work:
        padded = self._request.reproducible and self._model.batching.batched and not alone
        about = (self._shared.job, self._model, self._subject)
        # Another device may be of another kind, and then gives other bits.
        device = self._model.device if self._request.reproducible else ""
        work = Work(*about, plan, readout, alone, padded, least, self._exact, device)
        self._works.append(work)
        self._shared.scheduler.submit(work)
        return work

    async def _wait(self, work: Work, least: int | None = None, meanwhile: Callable[[], None] | None = None) -> None:
        """Wait for all rows of a work, or for the end of the budget's time if `least` are scored then.

        meanwhile: the plan's. Of many instances others use the time, and each would hold on to what it had made.
        """
        made = None
        if meanwhile is not None and self._shared.decision:
            made = asyncio.create_task(self._make(meanwhile))
        try:
            await self._shared.scheduler.wait(work, self._allowance.until)
        finally:
            if made is not None:
                made.cancel()
        if work.scored_rows < work.plan.size:
            if least is None or work.scored_rows < least:
                raise over_budget()
            self._allowance.cut_short = True

    async def _make(self, meanwhile: Callable[[], None]) -> None:
        await asyncio.sleep(0)  # rows go out first
        with suppress(Exception):  # whatever it is, the method comes upon it again
            await self._shared.offload.reduce(meanwhile, takes=self._shared.draws, decision=True)

    def _with_plain(self, plan: Plan) -> Plan:
        """The plan with x and the baselines in front, so that they share its batches.

        Where bits must be the same, x goes through a second time, at another place and in other company.
        """
        again = [_plain_plan([_X])] if self._request.reproducible else []
        return joined([_plain_plan([_X, *range(self._subject.baseline_count)]), plan, *again])


def joined(plans: Sequence[Plan]) -> Plan:
    """Plans one after the other."""

    def rows(a: int, b: int) -> Sequence[RowBlock]:
        blocks: list[RowBlock] = []
        start = 0
        for plan in plans:
            first, last = max(a - start, 0), min(b - start, plan.size)
            if first < last:
                blocks.extend(plan.rows(first, last))
            start += plan.size
        return blocks

    return Plan(sum(plan.size for plan in plans), rows)


def _plain_plan(baselines: Sequence[int]) -> Plan:
    numbers = np.array(baselines, dtype=np.int32)
    return Plan(len(numbers), lambda a, b: [PlainRows(numbers[a:b])])
