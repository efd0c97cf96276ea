"""Drives one request: its instances, their failures, its deadline."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, nullcontext

from assayd.engine.fleet import Fleet
from assayd.engine.in_memory import InUse
from assayd.errors import AssayError, RowBudget, TimeBudget
from assayd.explain.checks import RowsInteract
from assayd.explain.deadline import before, over_budget
from assayd.explain.failures import earliest
from assayd.explain.inputs import check_inputs, explained_inputs
from assayd.explain.instance import InstanceRun
from assayd.explain.offload import Offload
from assayd.explain.outcome import Explained, InstanceExplained, InstanceFailed, Notice, Used
from assayd.explain.places import Places
from assayd.explain.prepare import Preparation
from assayd.explain.record import Stack
from assayd.explain.request import ExplainRequest
from assayd.explain.subject import check_names, named
from assayd.explain.tally import Tally
from assayd.explain.turns import Turns
from assayd.features.cache import SegmentCache
from assayd.metrics import Metrics
from assayd.scheduler.scheduler import Scheduler
from assayd.scheduler.work import Job
from assayd.types.statistics import table_of
from assayd.types.subject import Subject

log = logging.getLogger(__name__)

_OVER_BUDGET = (RowBudget, TimeBudget)
_EVENLY_IN_FLIGHT = 256
"""Instances that share a time which may end before they are done: one that waits for its turn would get nothing."""

Result = InstanceExplained | InstanceFailed
OnInstance = Callable[[Result], None]


class Explainer:
    """Explains requests. instances_in_flight: instances of one request whose rows may wait at the same time."""

    def __init__(
        self,
        models: Fleet,
        scheduler: Scheduler,
        offload: Offload,
        metrics: Metrics,
        stack: Stack,
        *,
        max_request_rows: int,
        instances_in_flight: int,
    ) -> None:
        self._models = models
        self._scheduler = scheduler
        self._offload = offload
        self._metrics = metrics
        self._stack = stack
        self._max_request_rows = max_request_rows
        self._instances_in_flight = instances_in_flight
        self._segments = SegmentCache()
        self._turns = Turns()

    async def explain(self, request: ExplainRequest, job: Job, on_instance: OnInstance | None = None) -> Explained:
        """Explain every instance; on_instance sees each as it finishes. Raises AssayError.

        Where an instance fails, the request fails with its error, unless it asked to skip failed ones. One that the
        budget leaves without an answer is skipped where partial answers are taken, unless it is so with all.
        """
        async with (
            before(request.deadline),
            before(None if request.budget.partial else request.budget.until, over_budget),
        ):
            return await self._explain(request, job, on_instance)

    async def _explain(self, request: ExplainRequest, job: Job, on_instance: OnInstance | None) -> Explained:
        most = self._max_request_rows
        tally = Tally(request.budget.rows, most, self._metrics, request.model.name, request.method_name)
        async with AsyncExitStack() as held:
            async with before(request.budget.until, over_budget):
                model = await held.enter_async_context(self._models.use(request.model.tenant, request.model.digest))
            signature = model.loaded.signature
            check_inputs(request.inputs, signature)
            explained = explained_inputs(request.inputs_to_explain, signature, table_of(request.method))
            check_names(request, explained)
            request = named(request, explained)
            places = Places(max(self._instances_in_flight, _EVENLY_IN_FLIGHT if job.evenly else 0))
            if job.evenly:
                places.suit(1, _EVENLY_IN_FLIGHT)
            cut = self._segments.segments_of
            beside = (self._scheduler, self._offload, tally, self._stack, places, cut)
            shared = Preparation(request, explained, job, *beside)
            if request.validate_only:
                return await self._estimate(request, shared, model)

            many, line = not shared.decision, asyncio.Lock()
            gives_way = many and request.budget.until is None  # else it has said how long it may take

            async def one(position: int) -> Result:
                async with places:
                    if gives_way:
                        await self._turns.give_way(line)
                    done = await self._instance(shared, model, position)
                if on_instance is not None:
                    on_instance(done)
                return done

            with nullcontext() if many else self._turns.decision():
                results = await _each(one, request.instances)
            unpaid = [r.error for r in results if isinstance(r, InstanceFailed) and isinstance(r.error, _OVER_BUDGET)]
            if request.budget.partial and not request.skip_failed and len(unpaid) == len(results):
                raise unpaid[0]
            partial = bool(unpaid) or any(isinstance(r, InstanceExplained) and r.partial for r in results)
            used = Used(job.usage, tally.rows_asked, tally.plan_seconds, tally.reduce_seconds)
            return Explained(model.loaded, results, used, self._model_notices(model, request), partial)

    async def _instance(self, shared: Preparation, model: InUse, position: int) -> Result:
        request = shared.request
        try:
            begun = time.monotonic()
            with self._scheduler.expect() if shared.plans_fast else nullcontext():
                async with before(request.budget.until, over_budget):
                    subject = await shared.plan(position)
            shared.tally.spent(time.monotonic() - begun)
            try:
                return await self._run(shared, subject, model, position)
            except RowsInteract as found:
                log.warning("model demoted", extra={"model": model.loaded.digest, "why": found.reason})
                await self._models.demote(model, found.reason)
                shared.tally.again(found.rows)
                return await self._run(shared, subject, model, position)
        except AssayError as error:
            over = request.budget.partial and isinstance(error, _OVER_BUDGET)
            if not (request.skip_failed or over):
                if request.instances > 1:
                    error.metadata["instance"] = str(position)
                raise
            return InstanceFailed(request.keys[position] if request.keys else "", position, error)

    async def _run(self, shared: Preparation, subject: Subject, model: InUse, position: int) -> InstanceExplained:
        """Run an instance with the model as it is now, and as this request is to be run with it."""
        loaded = model.loaded
        if shared.request.reproducible:
            loaded = await self._models.steady(model)
        elif loaded.open_question:
            await self._models.prove(model, subject)
            loaded = model.loaded
        return await InstanceRun(shared, subject, loaded, position).explain()

    async def _estimate(self, request: ExplainRequest, shared: Preparation, model: InUse) -> Explained:
        rows, cost = 0, None
        for position in range(request.instances):
            subject = await shared.plan(position)
            shared.check_targets(subject, model.loaded, position)
            rows += await shared.rows_of(subject)
            cost = self._scheduler.row_seconds(model.loaded, subject)
        shared.tally.check(rows)
        seconds = None if cost is None else cost * rows
        used = Used(shared.job.usage, 0, shared.tally.plan_seconds, 0.0)
        return Explained(
            model.loaded,
            [],
            used,
            self._model_notices(model, request),
            estimated_rows=rows,
            estimated_seconds=seconds,
        )

    def _model_notices(self, model: InUse, request: ExplainRequest) -> tuple[Notice, ...]:
        notices = []
        run = model.steady if request.reproducible and model.steady is not None else model.loaded
        if not run.batching.batched:
            notices.append(Notice("ROW_BY_ROW", f"the model runs row by row: {run.batching.reason}"))
        if self._stack.device.startswith("cuda") and run.provider != "CUDAExecutionProvider":
            notices.append(Notice("CPU_FALLBACK", f"this server computes on CUDA, and the model got {run.provider}"))
        return tuple(notices)


async def _each(one: Callable[[int], Coroutine[None, None, Result]], count: int) -> list[Result]:
    """All instances' results in order. Raises the error of the first that fails."""
    if count == 1:
        return [await one(0)]  # here: a task of its own would take two more turns of the loop
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(position)) for position in range(count)]
    except* AssayError as failures:
        raise earliest(failures) from None
    return [task.result() for task in tasks]
