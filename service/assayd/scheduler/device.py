"""The owner of one device: one batch running and one or two prepared, beside those that stepped aside."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from assayd.engine.backend import Backend, NotRun, Prepared
from assayd.engine.quarantine import cause_of
from assayd.errors import OutOfMemory, Terminated, WorkerLost
from assayd.metrics import Metrics
from assayd.scheduler.aside import Aside, allowed_s
from assayd.scheduler.policy import Hold, Waiting
from assayd.scheduler.queue import BRIEF_S, Slice
from assayd.scheduler.runner import Runner
from assayd.scheduler.shared import Shared
from assayd.scheduler.watchdog import Watchdog
from assayd.scheduler.work import Work

log = logging.getLogger(__name__)

_NO_TIME_S = 1e-3

_Ready: TypeAlias = "tuple[list[Slice], Prepared]"


class DeviceScheduler:
    """Runs on one device what waits in the queue that all devices share, as far as its model is loaded there.

    One task, the owner, forms batches as the device becomes free, so that the rows of a work go wherever a device has
    nothing to do, and device time is shared among callers over all devices together. max_batch_s: longest run of one
    batch.
    """

    def __init__(self, backend: Backend, metrics: Metrics, shared: Shared, *, max_batch_s: float) -> None:
        self.name = backend.device
        self._metrics = metrics
        self._shared = shared
        self._queue = shared.queue
        self._recovery = shared.recovery
        self._watchdog = Watchdog(backend, max_batch_s)
        self._runner = Runner(backend)
        self._apart = backend.apart
        self._aside = Aside(self._queue.changed.set)
        self._owner: asyncio.Task[None] | None = None

    # ---- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve; needs a running event loop."""
        self._owner = asyncio.create_task(self._own(), name=f"owner-{self.name}")

    def drain(self, grace_s: float) -> None:
        """The server goes down in so many seconds: no batch may keep the others from theirs until then."""
        self._watchdog.drain(grace_s)

    async def stop(self) -> None:
        """Let the running batch end, and free the threads."""
        if self._owner is not None:
            self._owner.cancel()
            await asyncio.gather(self._owner, return_exceptions=True)
        # Off the loop, on which the watchdog ends a batch that doesn't end by itself.
        await asyncio.to_thread(self._runner.close)

    # ---- the owner ---------------------------------------------------------------------------------------------

    async def _own(self) -> None:
        ahead: deque[_Ready] = deque()
        while True:
            slices, ready = ahead.popleft() if ahead else (self._with_company(await self._next()), None)
            running = asyncio.ensure_future(self._run(slices, ready))
            running.add_done_callback(lambda _: self._queue.changed.set())
            late = asyncio.get_running_loop().call_later(self._allowed_s(slices), self._queue.changed.set)
            while not running.done():
                self._queue.changed.clear()
                digest = _digest(slices)
                others = any(_digest(after) != digest for after, _ in ahead)
                if self._may_step_aside(late.when()) and (others or self._others_wait(digest)):
                    behind = [each for each in ahead if _digest(each[0]) == digest]
                    ahead = deque(each for each in ahead if _digest(each[0]) != digest)
                    self._aside.step(digest, self._rest(running, behind))
                    break
                if len(ahead) < self._depth(slices) and (taken := self._next_ahead(slices)):
                    at_once = all(_digest(before) == _digest(taken) for before in (slices, *(a for a, _ in ahead)))
                    if made := await self._ahead(taken, at_once=at_once):
                        ahead.append(made)
                    continue
                await self._queue.changed.wait()
            late.cancel()

    def _allowed_s(self, slices: list[Slice]) -> float:
        return allowed_s(slices, self._queue.row_cost.get(slices[-1].work.batch_key))

    def _may_step_aside(self, late: float) -> bool:
        return self._apart and not self._aside.full and asyncio.get_running_loop().time() >= late

    def _others_wait(self, digest: str) -> bool:
        """Whether rows of other models could run now."""
        return self._queue.any_waits(
            lambda view: view.digest != digest and self._can(view)
        ) or self._recovery.any_waits(lambda work: work.model.digest != digest and self._runs(work))

    async def _rest(self, running: asyncio.Future[None], behind: Sequence[_Ready]) -> None:
        """What a batch that stepped aside leads to. behind: those made ready for the time when it is through."""
        await running
        for slices, ready in behind:
            if not all(s.work.finished.done() for s in slices):  # nobody waits any more, and the threads may be gone
                await self._run(slices, ready)

    def _depth(self, slices: list[Slice]) -> int:
        """Batches made while this one runs: behind a brief one two, since one is through before the next is made."""
        cost = self._queue.row_cost.get(slices[-1].work.batch_key)
        return 2 if cost is not None and cost * slices[-1].work.model.batching.max_rows <= BRIEF_S else 1

    def _next_ahead(self, slices: list[Slice]) -> list[Slice] | None:
        """What may be made while these run: a full batch, or the rest of theirs. Nothing while rows wait to run again:
        they go first, and whoever always has a full batch would keep them waiting.
        """
        if not self._recovery.draining and self._recovery.any_waits(self._runs):
            return None
        taken = self._queue.take(full_only=True, can=self._can)
        if not isinstance(taken, list) and self._runs(slices[-1].work):
            taken = self._queue.rest_of(slices[-1].work)
        return taken if isinstance(taken, list) else None

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
        if not self._recovery.draining and (again := self._recovery.next(self._runs)):
            return again
        taken = self._queue.take(full_only=False, can=self._can)
        return taken if isinstance(taken, list) else self._recovery.next(self._runs) or taken

    def _can(self, view: Waiting) -> bool:
        return self._may(view.digest, view.device)

    def _runs(self, work: Work) -> bool:
        return self._may(work.model.digest, work.device)

    def _may(self, digest: str, only: str) -> bool:
        """Whether a model's rows may run here, now. only: the one device that may, or ""."""
        return digest not in self._aside and self._recovery.can(self.name, digest, only)

    def _with_company(self, slices: list[Slice]) -> list[Slice]:
        """What runs alone in next to no time takes along what comes next: one way to the model for all of it."""
        first = slices[0].work
        cost = self._queue.row_cost.get(first.batch_key)
        while slices[-1].work.alone and cost is not None and cost * len(slices) <= _NO_TIME_S:
            if slices[-1].again:
                break
            more = self._queue.take(full_only=False, can=self._can, beside=first)
            if not isinstance(more, list):
                break
            slices = slices + more
        return slices

    async def _ahead(self, slices: list[Slice], *, at_once: bool) -> _Ready | None:
        """A batch with its tensors, made while another one runs; None where that failed. at_once: as `Batch` says."""
        try:
            return slices, await self._runner.prepare(slices, at_once=at_once)
        except NotRun as failed:
            self._unprepared(slices, failed.error)
            return None

    def _unprepared(self, slices: list[Slice], error: Exception) -> None:
        """The batch's tensors couldn't be made. Alone, only the guilty work's can't."""
        if isinstance(error, WorkerLost):
            self._recovery.return_unrun(slices)
            self._recovery.revive(self.name, slices[0].work.model.digest, cause_of(error))
        elif not self._recovery.will_run(self.name, slices[0].work.model.digest):  # it left on the way
            self._recovery.return_unrun(slices)
        elif len(slices) == 1:
            self._shared.failed(slices[0].work, error)
        else:
            self._recovery.return_unrun(slices)

    async def _run(self, slices: list[Slice], ready: Prepared | None) -> None:
        """Run a batch and deliver. A batch that fails is run again in parts, so that only the guilty part fails."""
        if self._recovery.is_reviving(self.name, slices[0].work.model.digest):
            self._recovery.return_unrun(slices)
            return
        begun = time.monotonic()
        watch = self._watchdog.begin(slices)
        try:
            results = await self._runner.run(slices, ready)
        except NotRun as failed:
            self._unprepared(slices, failed.error)
            return
        except WorkerLost as error:
            log.warning("a batch was lost with its process", extra={"why": error.message})
            self._recovery.lost(self.name, slices, error)
            self._shared.fail_spent(slices[0].work.job)
            return
        except Terminated:
            self._recovery.stopped(slices)
            self._shared.fail_spent(slices[0].work.job)
            return
        except Exception as error:  # noqa: BLE001 - the owner lives on; the works fail
            watch.end()
            await self._run_parts(slices, error)
            return
        finally:
            watch.end()
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
            self._shared.failed(whole.work, error)
            return
        for part in parts:
            await self._run([part], None)

    def _account(self, slices: Sequence[Slice], begun: float, ended: float) -> None:
        """Count what ran, for the ledger, the metrics and each job. What runs beside a batch takes next to no time."""
        seconds = ended - begun
        lone = [s for s in slices if s.work.alone]
        batch = [s for s in slices if not s.work.alone]
        for job in {id(s.work.job): s.work.job for s in slices}.values():
            job.usage.compute_seconds += seconds
        for s in slices:
            s.work.job.usage.rows_run += s.rows
            s.work.devices.add(self.name)
            if s.start == 0:
                wait = begun - s.work.submitted
                s.work.job.usage.queue_seconds += wait
                self._metrics.queue_seconds.observe(wait)
        self._metrics.device_ran(self.name, sum(s.rows for s in slices), seconds)
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


def _digest(slices: Sequence[Slice]) -> str:
    return slices[0].work.model.digest
