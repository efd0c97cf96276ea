"""What becomes of rows whose batch was lost with the process that ran it, or was stopped."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol
from weakref import WeakKeyDictionary

from assayd.engine.quarantine import STRIKES, STUCK, cause_of, killed_by_others, verdict
from assayd.errors import AssayError, DeadlinePassed, Draining, ModelFailed, WorkerLost
from assayd.scheduler.queue import Queue, Slice
from assayd.scheduler.work import Job, Work

log = logging.getLogger(__name__)


class Models(Protocol):
    """Which models are loaded where. Starts processes for them again, and remembers which end them."""

    def runs(self, device: str, digest: str) -> bool:
        """Whether a model is loaded on a device."""

    async def revive(self, device: str, digest: str, cause: str) -> None:
        """Start a process again. cause: of the loss, a word. Raises AssayError where the model can't run again on any
        device.
        """

    def strike(self, digest: str, by: object) -> None:
        """The model was proven to have ended its process, by a request: each counts once."""


class Recovery:
    """Models that are being revived, and the rows to run again.

    A lost batch doesn't tell which of its rows was the poison: each work's rows run again once, alone. Rows whose
    process dies a second time are the cause, unless somebody else killed it.
    """

    def __init__(self, queue: Queue, models: Models) -> None:
        self._queue = queue
        self._models = models
        self._again: deque[Slice] = deque()
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._strikes: WeakKeyDictionary[Job, int] = WeakKeyDictionary()
        self.draining = False
        self._closed = False

    def is_reviving(self, device: str, digest: str) -> bool:
        """Whether a model's process is being started again."""
        return (device, digest) in self._tasks

    def will_run(self, device: str, digest: str) -> bool:
        """Whether a model is on a device, or soon may be again."""
        return self.is_reviving(device, digest) or self._models.runs(device, digest)

    def can(self, device: str, digest: str, only: str) -> bool:
        """Whether a device may run a model's rows now. only: the one device that may, or ""."""
        return only in ("", device) and not self.is_reviving(device, digest) and self._models.runs(device, digest)

    def next(self, can: Callable[[Work], bool]) -> list[Slice] | None:
        """Rows to run again by themselves, if there are some. can: what may run where they are to run."""
        for _ in range(len(self._again)):
            waiting = self._again.popleft()
            if waiting.work.finished.done():
                continue
            if can(waiting.work):
                return [waiting]
            self._again.append(waiting)
        return None

    def any_waits(self, can: Callable[[Work], bool]) -> bool:
        """Whether rows wait to run again that may. can: as for `next`."""
        return any(can(one.work) for one in self._again)

    def lost(self, device: str, slices: Sequence[Slice], error: WorkerLost) -> None:
        """The process died with this batch."""
        if error.metadata.get("cause") == STUCK:
            self.stopped(slices)
        else:
            if not killed_by_others(error):
                self._strike(slices[0])
            for one in slices:
                self._send_back(one, _verdict(error))
        self.revive(device, slices[0].work.model.digest, cause_of(error))

    def stopped(self, slices: Sequence[Slice]) -> None:
        """The batch was told to stop, since it took too long or nobody waited for it any more."""
        if self.draining:
            for one in slices:
                # Once more, with less time, only where company may have been to blame.
                self._send_back(replace(one, again=one.again or len(slices) == 1), _going_down())
            return
        # A caller's impatience proves nothing against a model; the server's own limit does.
        if not _given_up(slices[0]):
            self._strike(slices[0])
        for one in slices:
            self._send_back(one, ModelFailed("a batch of these rows alone ran longer than this server lets one run"))

    def spent(self, job: Job) -> bool:
        """Whether rows of this request ended so many processes that no more of them shall."""
        return self._strikes.get(job, 0) >= STRIKES

    def return_unrun(self, slices: Sequence[Slice]) -> None:
        """The batch never ran, since its model's process was lost before."""
        self._again.extend(slices)
        self._queue.changed.set()

    def revive(self, device: str, digest: str, cause: str) -> None:
        """Start a process for a model again; its rows wait meanwhile, or run on other devices."""
        if not self._closed and not self.is_reviving(device, digest):
            task = asyncio.create_task(self._revive(device, digest, cause), name="revive")
            self._tasks[device, digest] = task

    def close(self) -> None:
        """Stop reviving, for good."""
        self._closed = True
        for task in self._tasks.values():
            task.cancel()

    def _strike(self, one: Slice) -> None:
        """Rows that ran alone are proof."""
        if one.again:
            self._models.strike(one.work.model.digest, one.work.job)
            self._strikes[one.work.job] = self._strikes.get(one.work.job, 0) + 1

    def _send_back(self, one: Slice, verdict: AssayError) -> None:
        work = one.work
        if work.finished.done():
            return
        if _given_up(one):
            work.fail(DeadlinePassed("the deadline passed while the device ran these rows"))
        elif one.again:
            work.fail(verdict)
            self._queue.drop(work)
        else:
            self._again.append(replace(one, again=True))
            self._queue.changed.set()

    async def _revive(self, device: str, digest: str, cause: str) -> None:
        try:
            await self._models.revive(device, digest, cause)
        except AssayError as error:
            self._fail_all(digest, error)
        except Exception:
            log.exception("a model's process can't be started again", extra={"model": digest})
            self._fail_all(digest, WorkerLost("the model's process can't be started again", retry_after_s=1.0))
        finally:
            del self._tasks[device, digest]
            self._queue.changed.set()

    def _fail_all(self, digest: str, error: AssayError) -> None:
        self._queue.fail(error, digest)
        for one in [s for s in self._again if s.work.model.digest == digest]:
            one.work.fail(error)


def _given_up(one: Slice) -> bool:
    deadline = one.work.job.deadline
    return one.work.finished.done() or (deadline is not None and time.monotonic() >= deadline)


def _going_down() -> Draining:
    return Draining("the server is going down, and these rows took too long to wait for", retry_after_s=1.0)


def _verdict(error: WorkerLost) -> AssayError:
    """Of rows whose process died twice, the second time with nothing else in it."""
    if killed_by_others(error):  # another try may do
        return WorkerLost(error.message, metadata=error.metadata, retry_after_s=error.retry_after_s or 1.0)
    return verdict(error, "with these rows")
