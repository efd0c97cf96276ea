"""The owner of one device: one batch running and one or two prepared, beside those that stepped aside."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence

from assayd.engine.backend import Backend, NotRun, Prepared
from assayd.engine.quarantine import cause_of
from assayd.errors import OutOfMemory, Terminated, WorkerLost
from assayd.metrics import Metrics
from assayd.scheduler.accounts import Accounts
from assayd.scheduler.aside import Aside, Ready, allowed_s, digest_of, tenants_of
from assayd.scheduler.policy import Hold, Waiting
from assayd.scheduler.queue import Slice
from assayd.scheduler.runner import Runner
from assayd.scheduler.shared import Shared
from assayd.scheduler.watchdog import Watchdog
from assayd.scheduler.work import Work

log = logging.getLogger(__name__)

_NO_TIME_S = 1e-3
_OWED = 3.0
"""So many times as long as a batch held up the others in vain, those that were stopped as it was don't come back in
front: however many models never end, three quarters of the front are the others'.
"""


class DeviceScheduler:
    """Runs on one device what waits in the queue that all devices share, as far as its model is loaded there.

    One task, the owner, forms batches as the device becomes free, so that the rows of a work go wherever a device has
    nothing to do, and device time is shared among callers over all devices together. max_batch_s: longest run of one
    batch.
    """

    def __init__(self, backend: Backend, metrics: Metrics, shared: Shared, *, max_batch_s: float) -> None:
        self.name = backend.device
        self._shared = shared
        self._queue = shared.queue
        self._recovery = shared.recovery
        self._watchdog = Watchdog(backend, max_batch_s)
        self._runner = Runner(backend)
        self._apart = backend.apart
        self._aside = Aside(self._run, self._allowed_s, self._queue.changed.set)
        self._accounts = Accounts(self.name, self._queue, metrics)
        self._owed_until = 0.0
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
        self._aside.close()
        await self._runner.stop()

    # ---- the owner ---------------------------------------------------------------------------------------------

    async def _own(self) -> None:
        ahead: deque[Ready] = deque()
        while True:
            slices, ready = ahead.popleft() if ahead else await self._next()
            begun = asyncio.get_running_loop().time()
            running = asyncio.ensure_future(self._run(slices, ready))
            await asyncio.sleep(0)  # it is on its way before the next one is made
            running.add_done_callback(lambda _: self._queue.changed.set())
            late = asyncio.get_running_loop().call_later(self._allowed_s(slices), self._queue.changed.set)
            while not running.done():
                self._queue.changed.clear()
                self._start_aside()
                if self._is_late(late.when()) and self._others_wait(slices, ahead):
                    behind = [each for each in ahead if digest_of(each[0]) == digest_of(slices)]
                    ahead = deque(each for each in ahead if digest_of(each[0]) != digest_of(slices))
                    await self._let_pass(slices, running, behind, begun)
                    break
                if len(ahead) < self._depth(slices) and (taken := self._next_ahead(slices)):
                    at_once = all(digest_of(before) == digest_of(taken) for before in (slices, *(a for a, _ in ahead)))
                    if made := await self._ahead(taken, at_once=at_once):
                        ahead.append(made)
                    continue
                await self._queue.changed.wait()
            late.cancel()

    def _allowed_s(self, slices: list[Slice]) -> float:
        return allowed_s(slices, self._queue.row_cost.get(slices[-1].work.batch_key))

    def _is_late(self, late: float) -> bool:
        return self._apart and asyncio.get_running_loop().time() >= late

    def _others_wait(self, slices: list[Slice], ahead: Sequence[Ready]) -> bool:
        """Whether rows of other models could run in front now."""
        digest = digest_of(slices)
        return (
            any(digest_of(after) != digest for after, _ in ahead)
            or self._queue.any_waits(lambda view: view.digest != digest and self._can(view))
            or self._any_again(but=digest)
        )

    async def _let_pass(
        self, slices: list[Slice], running: asyncio.Future[None], behind: Sequence[Ready], begun: float
    ) -> None:
        """Make the one in front step aside, or stop where there is no room. behind: of the same model, made ready.
        begun: when it did, by the loop's clock.
        """
        if self._aside.room(tenants_of(slices)):
            self._aside.step(slices, running, behind)
            return
        self._aside.put_back(digest_of(slices))
        self._watchdog.put_back(digest_of(slices))
        await asyncio.wait([running])
        loop = asyncio.get_running_loop()
        owed_s = _OWED * (loop.time() - begun)
        self._owed_until = loop.time() + owed_s
        loop.call_later(owed_s, self._queue.changed.set)
        for batch in behind:
            if self._recovery.is_reviving(self.name, digest_of(slices)):
                self._return_unrun(*batch)
            else:
                self._aside.park(batch)

    def _start_aside(self) -> None:
        """Let what may not run in front begin beside it, as far as there is room, each model in its turn."""
        for digest in self._aside.waiting():
            if batch := self._next_aside(digest):
                self._aside.start(batch)

    def _next_aside(self, digest: str) -> Ready | None:
        tenants = self._aside.parked(digest)
        if tenants and self._aside.room(tenants) and not self._recovery.is_reviving(self.name, digest):
            return self._aside.unpark(digest)

        def may(one: str, tenant: str, only: str) -> bool:
            return one == digest and self._aside.room((tenant,)) and self._recovery.can(self.name, digest, only)

        if again := self._recovery.next(lambda w: may(w.model.digest, w.job.caller.tenant, w.device)):
            return again, None
        taken = self._queue.take(full_only=False, can=lambda v: may(v.digest, v.caller.tenant, v.device))
        return (taken, None) if isinstance(taken, list) else None

    def _depth(self, slices: list[Slice]) -> int:
        """Batches made while this one runs: behind a brief one two, since one is through before the next is made."""
        return 2 if self._queue.is_brief(slices[-1].work) else 1

    def _next_ahead(self, slices: list[Slice]) -> list[Slice] | None:
        """What may be made while these run: a full batch, or the rest of theirs. Nothing while rows wait to run again:
        they go first, and whoever always has a full batch would keep them waiting.
        """
        if not self._recovery.draining and self._any_again():
            return None
        taken = self._queue.take(full_only=True, can=self._can)
        if not isinstance(taken, list) and self._runs(slices[-1].work):
            taken = self._queue.rest_of(slices[-1].work)
        return taken if isinstance(taken, list) else None

    async def _next(self) -> Ready:
        """Wait for a batch."""
        while True:
            self._queue.changed.clear()
            self._start_aside()
            taken = self._take()
            if isinstance(taken, tuple):
                return taken
            if taken is None:
                await self._queue.changed.wait()
                continue
            until = asyncio.get_running_loop().call_later(
                max(0.0, taken.until - time.monotonic()), self._queue.changed.set
            )
            await self._queue.changed.wait()
            until.cancel()

    def _take(self) -> Ready | Hold | None:
        """Rows to run again go first, but not while the server goes down: they may have held up the others before."""
        if not self._recovery.draining and (again := self._again()):
            return again
        taken = self._queue.take(full_only=False, can=self._can)
        if isinstance(taken, list):
            return self._with_company(taken), None
        return self._again() or taken

    def _again(self) -> Ready | None:
        """Rows that were lost or stopped and may run in front."""
        if again := self._recovery.next(self._runs):
            return self._with_company(again), None
        return next((self._aside.unpark(digest) for digest in self._pardoned()), None)

    def _any_again(self, but: str = "") -> bool:
        """Whether there are such rows. but: of other models than this."""
        waits = self._recovery.any_waits(lambda work: work.model.digest != but and self._runs(work))
        return waits or any(digest != but for digest in self._pardoned())

    def _pardoned(self) -> Iterator[str]:
        if asyncio.get_running_loop().time() < self._owed_until:
            return iter(())
        return (digest for digest in self._aside.pardoned() if not self._recovery.is_reviving(self.name, digest))

    def _can(self, view: Waiting) -> bool:
        return self._may(view.digest, view.device)

    def _runs(self, work: Work) -> bool:
        return self._may(work.model.digest, work.device)

    def _may(self, digest: str, only: str) -> bool:
        """Whether a model's rows may run here in front, now. only: the one device that may, or ""."""
        return not self._aside.takes(digest) and self._recovery.can(self.name, digest, only)

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

    async def _ahead(self, slices: list[Slice], *, at_once: bool) -> Ready | None:
        """A batch with its tensors, made while another one runs; None where that failed. at_once: as `Batch` says."""
        # Between brief batches the way to a thread and back would take as long as they do.
        if self._queue.is_brief(slices[-1].work) and (posted := self._runner.post(slices, at_once=at_once)):
            return slices, posted
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
        if self._turned_away(slices, ready):
            return
        begun = time.monotonic()
        watch = self._watchdog.begin(slices)
        try:
            results = await self._runner.run(slices, ready)
        except NotRun as failed:
            self._unprepared(slices, failed.error)
            return
        except (WorkerLost, Terminated) as error:
            self._cut_short(slices, error, for_others=watch.for_others)
            return
        except Exception as error:  # noqa: BLE001 - the owner lives on; the works fail
            watch.end()
            await self._run_parts(slices, error)
            return
        finally:
            watch.end()
        self._accounts.ran(slices, begun, time.monotonic())
        for taken, result in zip(slices, results, strict=True):
            taken.work.deliver(taken.start, taken.rows, result)

    def _turned_away(self, slices: list[Slice], ready: Prepared | None) -> bool:
        """Whether a batch can't run now, and waits."""
        digest = digest_of(slices)
        if self._recovery.is_reviving(self.name, digest):
            self._return_unrun(slices, ready)
        elif self._aside.takes(digest) and digest not in self._aside:  # a part of what had to leave the front
            self._aside.park((slices, ready))
        else:
            return False
        return True

    def _return_unrun(self, slices: list[Slice], ready: Prepared | None) -> None:
        """The model's process was lost, and mostly its tensors with it. But they may be in the next one already."""
        if ready is not None:
            self._runner.drop(ready)
        self._recovery.return_unrun(slices)

    def _cut_short(self, slices: list[Slice], error: WorkerLost | Terminated, *, for_others: bool) -> None:
        """The batch was stopped, or lost with its process. for_others: it had to let others pass, which proves nothing
        against its rows.
        """
        if isinstance(error, Terminated):
            if for_others:
                self._aside.park((slices, None))
                return
            self._recovery.stopped(slices)
        else:
            log.warning("a batch was lost with its process", extra={"why": error.message})
            if for_others and cause_of(error) == "stuck":
                self._recovery.return_unrun(slices)
                self._recovery.revive(self.name, digest_of(slices), cause_of(error))
                return
            self._recovery.lost(self.name, slices, error)
        self._shared.fail_spent(slices[0].work.job)

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
