"""The owner of one device: one batch running, one prepared."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from weakref import WeakSet

from assayd.engine.backend import Backend, LoadedModel, NotRun, Prepared
from assayd.engine.quarantine import cause_of
from assayd.errors import AssayError, Draining, ModelFailed, OutOfMemory, Terminated, WorkerLost
from assayd.metrics import Metrics
from assayd.scheduler.policy import Hold
from assayd.scheduler.queue import Queue, Slice
from assayd.scheduler.recovery import Recovery, Reviver
from assayd.scheduler.runner import Runner
from assayd.scheduler.watchdog import Watchdog
from assayd.scheduler.work import Job, Work, batch_key
from assayd.types.subject import Subject

log = logging.getLogger(__name__)

_NO_TIME_S = 1e-3


class DeviceScheduler:
    """Shares one device among all callers and models.

    One task, the owner, forms batches; nobody else touches the queue. Any number of tasks of the same event loop
    may `submit` and `wait`; one that is cancelled takes its waiting rows with it, and its batch-mates don't notice.

    models: starts a model's process again. max_batch_s: longest run of one batch.
    """

    def __init__(
        self,
        backend: Backend,
        metrics: Metrics,
        models: Reviver,
        *,
        gather_ms: float,
        max_queued_rows: int,
        max_batch_s: float,
    ) -> None:
        self._backend = backend
        self._metrics = metrics
        self._queue = Queue(metrics, gather_s=gather_ms / 1000, max_rows=max_queued_rows)
        self._recovery = Recovery(self._queue, models)
        self._watchdog = Watchdog(backend, max_batch_s)
        self._runner = Runner(backend)
        self._owner: asyncio.Task[None] | None = None
        self._open: WeakSet[Work] = WeakSet()
        self._stopping = False

    # ---- for callers -------------------------------------------------------------------------------------------

    def submit(self, work: Work) -> None:
        """Put a work into the queue; `wait` for it next. Raises QueueFull, QuotaUsedUp, Draining, ModelFailed."""
        if self._stopping:
            raise _going_down()
        if self._recovery.spent(work.job):
            raise _spent()
        self._queue.admit(work)
        self._open.add(work)

    async def wait(self, work: Work, until: float | None = None) -> None:
        """Wait until all rows of `work` are scored, or it is `until` (monotonic); what still waits then is dropped.

        Raises DeadlinePassed, Draining, ModelFailed, OutOfMemory, WorkerLost.
        """
        try:
            if until is not None:
                await asyncio.wait([work.finished], timeout=max(0.0, until - time.monotonic()))
            if until is None or work.finished.done():
                await work.finished
        finally:
            self._open.discard(work)
            self._queue.drop(work)

    def withdraw(self, work: Work) -> None:
        """Nobody waits for `work` any more: what of it hasn't run never will."""
        work.abandon()
        self._open.discard(work)
        self._queue.drop(work)

    @contextmanager
    def expect(self) -> Iterator[None]:
        """While a job is being planned, batches that aren't full wait a moment for its rows."""
        self._queue.expected += 1
        try:
            yield
        finally:
            self._queue.expected -= 1
            self._queue.changed.set()

    def revive(self, digest: str, cause: str) -> None:
        """A model's process is dead, though no batch of it runs. cause: a word."""
        if not self._stopping:
            self._recovery.revive(digest, cause)

    @property
    def reviving(self) -> frozenset[str]:
        """Digests of models whose process is being started again."""
        return self._recovery.reviving

    def row_seconds(self, model: LoadedModel, subject: Subject) -> float | None:
        """Measured device time of a row like this, or None."""
        return self._queue.row_cost.get(batch_key(model, subject))

    @property
    def queued_rows(self) -> int:
        """Rows that no batch has taken yet."""
        return self._queue.rows

    # ---- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve; needs a running event loop."""
        self._owner = asyncio.create_task(self._own(), name="device-owner")

    def drain(self, grace_s: float) -> None:
        """The server goes down in so many seconds: no batch may keep the others from theirs until then."""
        self._recovery.draining = True
        self._watchdog.drain(grace_s)

    def refuse(self) -> None:
        """Fail all works, wherever they are, and take no more."""
        self._stopping = True
        for work in list(self._open):
            self._failed(work, _going_down())

    async def stop(self) -> None:
        """Fail all works, let the running batch end, and free the threads."""
        self.refuse()
        self._recovery.close()
        if self._owner is not None:
            self._owner.cancel()
            await asyncio.gather(self._owner, return_exceptions=True)
        # Off the loop, on which the watchdog ends a batch that doesn't end by itself.
        await asyncio.to_thread(self._runner.close)

    # ---- the owner ---------------------------------------------------------------------------------------------

    async def _own(self) -> None:
        ahead: tuple[list[Slice], Prepared] | None = None
        while True:
            slices, ready = ahead or (self._with_company(await self._next()), None)
            ahead = None
            running = asyncio.ensure_future(self._run(slices, ready))
            running.add_done_callback(lambda _: self._queue.changed.set())
            while not running.done():
                self._queue.changed.clear()
                if ahead is None:
                    taken = self._queue.take(full_only=True, without=self._recovery.reviving)
                    if not isinstance(taken, list):
                        taken = self._queue.rest_of(slices[-1].work)
                    if isinstance(taken, list):
                        ahead = await self._ahead(taken, slices)
                        continue
                await self._queue.changed.wait()

    async def _next(self) -> list[Slice]:
        """Wait for a batch."""
        while True:
            self._queue.changed.clear()
            taken = self._take()
            if isinstance(taken, list):
                return taken
            if taken is None:
                await self._queue.changed.wait()
                continue
            until = asyncio.get_running_loop().call_later(
                max(0.0, taken.until - time.monotonic()), self._queue.changed.set
            )
            await self._queue.changed.wait()
            until.cancel()

    def _take(self) -> list[Slice] | Hold | None:
        """Rows to run again go first, but not while the server goes down: they may have held up the others before."""
        if not self._recovery.draining and (again := self._recovery.next()):
            return again
        taken = self._queue.take(full_only=False, without=self._recovery.reviving)
        return taken if isinstance(taken, list) else self._recovery.next() or taken

    def _with_company(self, slices: list[Slice]) -> list[Slice]:
        """What runs alone in next to no time takes along what comes next: one way to the model for all of it."""
        first = slices[0].work
        cost = self._queue.row_cost.get(first.batch_key)
        while slices[-1].work.alone and cost is not None and cost * len(slices) <= _NO_TIME_S:
            if slices[-1].again:
                break
            more = self._queue.take(full_only=False, without=self._recovery.reviving, beside=first)
            if not isinstance(more, list):
                break
            slices = slices + more
        return slices

    async def _ahead(self, slices: list[Slice], running: list[Slice]) -> tuple[list[Slice], Prepared] | None:
        """A batch with its tensors, made while another one runs; None where that failed."""
        try:
            at_once = slices[0].work.model.digest == running[0].work.model.digest
            return slices, await self._runner.prepare(slices, at_once=at_once)
        except NotRun as failed:
            self._unprepared(slices, failed.error)
            return None

    def _unprepared(self, slices: list[Slice], error: Exception) -> None:
        """The batch's tensors couldn't be made. Alone, only the guilty work's can't."""
        if isinstance(error, WorkerLost):
            self._recovery.return_unrun(slices)
            self._recovery.revive(slices[0].work.model.digest, cause_of(error))
        elif len(slices) == 1:
            self._failed(slices[0].work, error)
        else:
            self._recovery.return_unrun(slices)

    async def _run(self, slices: list[Slice], ready: Prepared | None) -> None:
        """Run a batch and deliver. A batch that fails is run again in parts, so that only the guilty part fails."""
        if slices[0].work.model.digest in self._recovery.reviving:
            self._recovery.return_unrun(slices)
            return
        begun = time.monotonic()
        self._watchdog.begin(slices)
        try:
            results = await self._runner.run(slices, ready)
        except NotRun as failed:
            self._unprepared(slices, failed.error)
            return
        except WorkerLost as error:
            log.warning("a batch was lost with its process", extra={"why": error.message})
            self._recovery.lost(slices, error)
            self._fail_spent(slices[0].work.job)
            return
        except Terminated:
            self._recovery.stopped(slices)
            self._fail_spent(slices[0].work.job)
            return
        except Exception as error:  # noqa: BLE001 - the owner lives on; the works fail
            self._watchdog.end()
            await self._run_parts(slices, error)
            return
        finally:
            self._watchdog.end()
        self._account(slices, begun, time.monotonic())
        for taken, result in zip(slices, results, strict=True):
            taken.work.deliver(taken.start, taken.rows, result)

    async def _run_parts(self, slices: list[Slice], error: Exception) -> None:
        whole = slices[0]
        if len(slices) > 1:
            parts = slices
        elif isinstance(error, OutOfMemory) and whole.rows > 1:
            half = whole.rows // 2
            parts = [
                Slice(whole.work, whole.start, half, whole.again),
                Slice(whole.work, whole.start + half, whole.rows - half, whole.again),
            ]
        else:
            self._failed(whole.work, error)
            return
        for part in parts:
            await self._run([part], None)

    def _failed(self, work: Work, error: Exception) -> None:
        if not isinstance(error, AssayError):
            log.error("a batch failed", exc_info=error)
        work.fail(error)
        self._queue.drop(work)

    def _fail_spent(self, job: Job) -> None:
        if self._recovery.spent(job):
            for work in [w for w in self._open if w.job is job]:
                self._failed(work, _spent())

    def _account(self, slices: Sequence[Slice], begun: float, ended: float) -> None:
        """Count what ran, for the ledger, the metrics and each job. What runs beside a batch takes next to no time."""
        seconds = ended - begun
        lone = [s for s in slices if s.work.alone]
        batch = [s for s in slices if not s.work.alone]
        for job in {id(s.work.job): s.work.job for s in slices}.values():
            job.usage.compute_seconds += seconds
        for s in slices:
            s.work.job.usage.rows_run += s.rows
            if s.start == 0:
                wait = begun - s.work.submitted
                s.work.job.usage.queue_seconds += wait
                self._metrics.queue_seconds.observe(wait)
        self._metrics.alone(sum(s.rows for s in lone))
        if batch:
            self._account_batch(batch, seconds)

    def _account_batch(self, slices: Sequence[Slice], seconds: float) -> None:
        first, rows = slices[0].work, sum(s.rows for s in slices)
        self._queue.measured(first.batch_key, rows, seconds)
        jobs = {id(s.work.job): s.work.job for s in slices}
        runs = rows if first.singly else 1
        for job in jobs.values():
            job.usage.batches += runs
            job.usage.shared_batches += len(jobs) > 1
        for _ in range(runs):
            most = first.model.batching.max_rows
            self._metrics.batch(rows // runs, most, seconds / runs, jobs=len(jobs), padded=first.padded)


def _going_down() -> Draining:
    return Draining("the server is going down", retry_after_s=1.0)


def _spent() -> ModelFailed:
    return ModelFailed("rows of this request ended too many of the model's processes; the rest of them isn't run")
