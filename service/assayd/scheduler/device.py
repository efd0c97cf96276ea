"""The owner of one device: one batch running, one prepared."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from assayd.engine.backend import Backend, Batch, Chunk, ChunkResult, LoadedModel, Prepared
from assayd.errors import AssayError, DeadlinePassed, Draining, OutOfMemory, QueueFull
from assayd.metrics import Metrics
from assayd.scheduler.ledger import Ledger
from assayd.scheduler.policy import Grant, Hold, Limits, State, Waiting, choose
from assayd.scheduler.work import Work, batch_key
from assayd.types.subject import Subject

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Slice:
    """Rows start … start + rows - 1 of a work."""

    work: Work
    start: int
    rows: int


class DeviceScheduler:
    """Shares one device among all callers and models.

    One task, the owner, forms batches; nobody else touches the queue. Any number of tasks of the same event loop
    may `submit` and `wait`; one that is cancelled takes its waiting rows with it, and its batch-mates don't notice.
    """

    def __init__(self, backend: Backend, metrics: Metrics, *, gather_ms: float, max_queued_rows: int) -> None:
        self._backend = backend
        self._metrics = metrics
        self._gather_s = gather_ms / 1000
        self._max_queued_rows = max_queued_rows
        self._works: dict[int, tuple[Work, Waiting]] = {}
        self._ledger = Ledger()
        self._queued_rows = 0
        self._expected = 0
        self._changed = asyncio.Event()
        self._run_thread = ThreadPoolExecutor(1, "device-run")
        self._prepare_thread = ThreadPoolExecutor(1, "device-prepare")
        self._owner: asyncio.Task[None] | None = None
        self._stopping = False

    # ---- for callers -------------------------------------------------------------------------------------------

    def submit(self, work: Work) -> None:
        """Put a work into the queue; `wait` for it next. Raises QueueFull, Draining."""
        if self._stopping:
            raise Draining("the server is going down", retry_after_s=1.0)
        if self._queued_rows and self._queued_rows + work.plan.size > self._max_queued_rows:
            raise QueueFull(
                f"{self._queued_rows} rows wait already and this needs {work.plan.size} more; at most "
                f"{self._max_queued_rows} may wait",
                retry_after_s=self._seconds_queued(),
            )
        if work.plan.size == 0:
            raise AssertionError("a plan has at least one row")
        self._admit(work)

    async def wait(self, work: Work, until: float | None = None) -> None:
        """Wait until all rows of `work` are scored, or it is `until` (monotonic); what still waits then is dropped.

        Raises DeadlinePassed, Draining, ModelFailed, OutOfMemory.
        """
        try:
            if until is not None:
                await asyncio.wait([work.finished], timeout=max(0.0, until - time.monotonic()))
            if until is None or work.finished.done():
                await work.finished
        finally:
            self._drop(work)

    def withdraw(self, work: Work) -> None:
        """Nobody waits for `work` any more: what of it hasn't run never will."""
        work.abandon()
        self._drop(work)

    @contextmanager
    def expect(self) -> Iterator[None]:
        """While a job is being planned, batches that aren't full wait a moment for its rows."""
        self._expected += 1
        try:
            yield
        finally:
            self._expected -= 1
            self._changed.set()

    def row_seconds(self, model: LoadedModel, subject: Subject) -> float | None:
        """Measured device time of a row like this, or None."""
        return self._ledger.row_cost.get(batch_key(model, subject))

    @property
    def queued_rows(self) -> int:
        """Rows that no batch has taken yet."""
        return self._queued_rows

    # ---- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve; needs a running event loop."""
        self._owner = asyncio.create_task(self._own(), name="device-owner")

    async def stop(self) -> None:
        """Fail what still waits, let the running batch end, and free the threads."""
        self._stopping = True
        for work, _ in list(self._works.values()):
            work.fail(Draining("the server is going down", retry_after_s=1.0))
            self._drop(work)
        if self._owner is not None:
            self._owner.cancel()
            await asyncio.gather(self._owner, return_exceptions=True)
        self._prepare_thread.shutdown()
        self._run_thread.shutdown()

    # ---- the queue ---------------------------------------------------------------------------------------------

    def _admit(self, work: Work) -> None:
        work.submitted = time.monotonic()
        view = Waiting(
            work.number,
            work.job.caller,
            work.job.request_id,
            work.model.digest,
            work.batch_key,
            work.plan.size,
            1 if work.alone else work.model.batching.max_rows,
            work.alone or not work.model.batching.batched,
            work.submitted,
        )
        self._works[work.number] = (work, view)
        self._ledger.join(view)
        self._count(work.plan.size)
        work.job.usage.rows_planned += work.plan.size
        self._changed.set()

    def _drop(self, work: Work) -> None:
        """Take a work out of the queue, if it is still there."""
        found = self._works.pop(work.number, None)
        if found is not None:
            self._ledger.leave(found[1])
            self._count(-work.waiting_rows)
            self._changed.set()

    def _count(self, rows: int) -> None:
        self._queued_rows += rows
        self._metrics.queued_rows.set(self._queued_rows)

    def _seconds_queued(self) -> float:
        costs = self._ledger.row_cost
        return 0.1 + sum(w.waiting_rows * costs.get(w.batch_key, 1e-3) for w, _ in self._works.values())

    def _take(self, full_only: bool) -> list[_Slice] | Hold | None:
        """Ask the policy for the next batch and take its rows out of the queue."""
        now = time.monotonic()
        for work, _ in list(self._works.values()):
            if work.job.deadline is not None and now >= work.job.deadline:
                work.fail(DeadlinePassed("the deadline passed while rows were waiting for the device"))
            if work.finished.done():
                self._drop(work)
        views = [
            view if view.rows == work.waiting_rows else replace(view, rows=work.waiting_rows)
            for work, view in self._works.values()
        ]
        state = State(views, self._ledger.used, self._ledger.row_cost, self._expected)
        decision = choose(state, now, Limits(self._gather_s, full_only))
        if decision is None or isinstance(decision, Hold):
            return decision
        return [self._grant(g) for g in decision]

    def _grant(self, grant: Grant) -> _Slice:
        work, view = self._works[grant.number]
        taken = _Slice(work, work.granted_rows, grant.rows)
        self._ledger.charge(view, grant.rows)
        work.granted_rows += grant.rows
        self._count(-grant.rows)
        if work.waiting_rows == 0:
            self._drop(work)
        return taken

    # ---- the owner ---------------------------------------------------------------------------------------------

    async def _own(self) -> None:
        prepared: tuple[list[_Slice], Prepared] | None = None
        while True:
            slices, ready = prepared or await self._next()
            prepared = None
            running = asyncio.ensure_future(self._run(slices, ready))
            while not running.done():
                if prepared is None:
                    taken = self._take(full_only=True)
                    if isinstance(taken, list):
                        prepared = await self._prepared(taken)
                        continue
                self._changed.clear()
                changed = asyncio.ensure_future(self._changed.wait())
                await asyncio.wait((running, changed), return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()

    async def _next(self) -> tuple[list[_Slice], Prepared]:
        """Wait for a batch and make its tensors."""
        while True:
            self._changed.clear()
            taken = self._take(full_only=False)
            if isinstance(taken, list):
                prepared = await self._prepared(taken)
                if prepared is not None:
                    return prepared
                continue
            timeout = None if taken is None else max(0.0, taken.until - time.monotonic())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), timeout)

    async def _prepared(self, slices: list[_Slice]) -> tuple[list[_Slice], Prepared] | None:
        """Make a batch's tensors; where that fails, fail its works one by one and return None."""
        loop = asyncio.get_running_loop()
        try:
            return slices, await loop.run_in_executor(self._prepare_thread, self._prepare, slices)
        except Exception as error:  # noqa: BLE001 - the owner lives on; the works fail
            if len(slices) == 1:
                self._failed(slices[0].work, error)
            else:
                for one in slices:
                    part = await self._prepared([one])
                    if part is not None:
                        await self._run(*part)
            return None

    def _prepare(self, slices: Sequence[_Slice]) -> Prepared:
        chunks = tuple(
            Chunk(s.work.subject, s.work.plan.rows(s.start, s.start + s.rows), s.work.readout, s.rows) for s in slices
        )
        model = slices[0].work.model
        return self._backend.prepare(Batch(model.digest, model.batching.batched, chunks, slices[0].work.padded))

    async def _run(self, slices: list[_Slice], ready: Prepared) -> None:
        """Run a batch and deliver. A batch that fails is run again in parts, so that only the guilty part fails."""
        loop = asyncio.get_running_loop()
        begun = time.monotonic()
        try:
            results: list[ChunkResult] = await loop.run_in_executor(self._run_thread, self._backend.run, ready)
        except Exception as error:  # noqa: BLE001 - the owner lives on; the works fail
            await self._run_parts(slices, error)
            return
        self._account(slices, begun, time.monotonic())
        for taken, result in zip(slices, results, strict=True):
            taken.work.deliver(taken.start, taken.rows, result)

    async def _run_parts(self, slices: list[_Slice], error: Exception) -> None:
        whole = slices[0]
        if len(slices) > 1:
            parts = slices
        elif isinstance(error, OutOfMemory) and whole.rows > 1:
            half = whole.rows // 2
            parts = [
                _Slice(whole.work, whole.start, half),
                _Slice(whole.work, whole.start + half, whole.rows - half),
            ]
        else:
            self._failed(whole.work, error)
            return
        for part in parts:
            again = await self._prepared([part])
            if again is not None:
                await self._run(*again)

    def _failed(self, work: Work, error: Exception) -> None:
        if not isinstance(error, AssayError):
            log.error("a batch failed", exc_info=error)
        work.fail(error)
        self._drop(work)

    def _account(self, slices: Sequence[_Slice], begun: float, ended: float) -> None:
        """Count a batch that ran, for the ledger, the metrics and each job."""
        seconds, rows = ended - begun, sum(s.rows for s in slices)
        first = slices[0].work
        lone = first.alone
        self._ledger.measured(first.batch_key, rows, seconds)
        jobs = {id(s.work.job): s.work.job for s in slices}
        for job in jobs.values():
            job.usage.compute_seconds += seconds
            if not lone:
                job.usage.batches += 1
                job.usage.shared_batches += len(jobs) > 1
        for s in slices:
            s.work.job.usage.rows_run += s.rows
            if s.start == 0:
                wait = begun - s.work.submitted
                s.work.job.usage.queue_seconds += wait
                self._metrics.queue_seconds.observe(wait)
        most = first.model.batching.max_rows
        self._metrics.batch(rows, most, seconds, jobs=len(jobs), lone=lone, padded=first.padded)
