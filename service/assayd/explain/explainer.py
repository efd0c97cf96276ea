"""Drives one request: its instances, their failures, its deadline."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import nullcontext

from assayd.engine.models import InUse, LoadedModels
from assayd.errors import AssayError
from assayd.explain.checks import RowsInteract
from assayd.explain.deadline import before
from assayd.explain.drive import InstanceDriver
from assayd.explain.inputs import check_inputs, explained_inputs
from assayd.explain.offload import Offload
from assayd.explain.outcome import Explained, InstanceExplained, InstanceFailed, Notice, Used
from assayd.explain.record import Stack
from assayd.explain.request import ExplainRequest
from assayd.explain.subject import check_names, named
from assayd.explain.tally import Tally
from assayd.metrics import Metrics
from assayd.scheduler.device import DeviceScheduler
from assayd.scheduler.work import Job

log = logging.getLogger(__name__)

OnInstance = Callable[[InstanceExplained | InstanceFailed], None]


class Explainer:
    """Explains requests. instances_in_flight: instances of one request whose rows may wait at the same time."""

    def __init__(
        self,
        models: LoadedModels,
        scheduler: DeviceScheduler,
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

    async def explain(self, request: ExplainRequest, job: Job, on_instance: OnInstance | None = None) -> Explained:
        """Explain every instance; on_instance sees each as it finishes. Raises AssayError.

        Where an instance fails, the request fails with its error, unless it asked to skip failed ones.
        """
        async with before(request.deadline):
            return await self._explain(request, job, on_instance)

    async def _explain(self, request: ExplainRequest, job: Job, on_instance: OnInstance | None) -> Explained:
        limit = min(request.budget_rows or self._max_request_rows, self._max_request_rows)
        tally = Tally(limit, self._metrics, request.model.name, request.method_name)
        async with self._models.use(request.model.tenant, request.model.digest) as model:
            signature = model.loaded.signature
            check_inputs(request.inputs, signature)
            explained = explained_inputs(request.inputs_to_explain, signature)
            check_names(request, explained)
            request = named(request, explained)
            driver = InstanceDriver(request, explained, job, self._scheduler, self._offload, tally, self._stack)
            if request.validate_only:
                return await self._estimate(request, driver, model)
            places = asyncio.Semaphore(self._instances_in_flight)

            async def one(position: int) -> InstanceExplained | InstanceFailed:
                async with places:
                    done = await self._instance(driver, model, position)
                if on_instance is not None:
                    on_instance(done)
                return done

            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(one(position)) for position in range(request.instances)]
            except* AssayError as failures:
                raise _first(failures) from None
            results = [task.result() for task in tasks]
            used = Used(job.usage, tally.rows_asked, tally.plan_seconds, tally.reduce_seconds)
            return Explained(model.loaded, results, used, _model_notices(model))

    async def _instance(
        self, driver: InstanceDriver, model: InUse, position: int
    ) -> InstanceExplained | InstanceFailed:
        request = driver.request
        try:
            begun = time.monotonic()
            with self._scheduler.expect() if driver.plans_fast else nullcontext():
                subject = await driver.plan(position)
            driver.tally.spent(time.monotonic() - begun)
            if model.loaded.open_question:
                await self._models.prove(model, subject)
            try:
                return await driver.run(subject, model.loaded, position)
            except RowsInteract as found:
                log.warning("model demoted", extra={"model": model.loaded.digest, "why": found.reason})
                await self._models.demote(request.model.tenant, model, found.reason)
                driver.tally.again(found.rows)
                return await driver.run(subject, model.loaded, position)
        except AssayError as error:
            if not request.skip_failed:
                if request.instances > 1:
                    error.metadata["instance"] = str(position)
                raise
            return InstanceFailed(request.keys[position] if request.keys else "", position, error)

    async def _estimate(self, request: ExplainRequest, driver: InstanceDriver, model: InUse) -> Explained:
        rows, cost = 0, None
        for position in range(request.instances):
            subject = await driver.plan(position)
            driver.check_targets(subject, model.loaded, position)
            rows += await driver.rows_of(subject)
            cost = self._scheduler.row_seconds(model.loaded, subject)
        driver.tally.check(rows)
        seconds = None if cost is None else cost * rows
        used = Used(driver.job.usage, 0, driver.tally.plan_seconds, 0.0)
        return Explained(model.loaded, [], used, _model_notices(model), rows, seconds)


def _first(failures: BaseExceptionGroup[AssayError]) -> AssayError:
    """The failure of the earliest instance, so that the same request fails the same way."""
    flat: list[AssayError] = []
    queue: list[BaseException] = [failures]
    while queue:
        item = queue.pop()
        if isinstance(item, BaseExceptionGroup):
            queue.extend(item.exceptions)
        elif isinstance(item, AssayError):
            flat.append(item)
    return min(flat, key=lambda e: int(e.metadata.get("instance", "0")))


def _model_notices(model: InUse) -> tuple[Notice, ...]:
    batching = model.loaded.batching
    if batching.batched:
        return ()
    return (Notice("ROW_BY_ROW", f"the model runs row by row: {batching.reason}"),)
