"""What becomes of rows whose batch was lost with the process that ran it, or was stopped."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from assayd.engine.quarantine import cause_of, killed_by_others
from assayd.errors import AssayError, DeadlinePassed, ModelFailed, WorkerLost
from assayd.scheduler.queue import Queue, Slice

log = logging.getLogger(__name__)


class Reviver(Protocol):
    """Starts processes for models again, and remembers which end them."""

    async def revive(self, digest: str, cause: str) -> None:
        """Start a process again. cause: of the loss, a word. Raises AssayError where the model can't run again."""

    def strike(self, digest: str) -> None:
        """The model was proven to have ended its process."""


class Recovery:
    """Models that are being revived, and the rows to run again.

    A lost batch doesn't tell which of its rows was the poison: each work's rows run again once, alone. Rows whose
    process dies a second time are the cause, unless somebody else killed it.
    """

    def __init__(self, queue: Queue, models: Reviver) -> None:
        self._queue = queue
        self._models = models
        self._again: deque[Slice] = deque()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def reviving(self) -> frozenset[str]:
        """Digests of models that can't run now."""
        return frozenset(self._tasks)

    def next(self) -> list[Slice] | None:
        """Rows to run again by themselves, if some can."""
        for _ in range(len(self._again)):
            waiting = self._again.popleft()
            if waiting.work.finished.done():
                continue
            if waiting.work.model.digest not in self._tasks:
                return [waiting]
            self._again.append(waiting)
        return None

    def lost(self, slices: Sequence[Slice], error: WorkerLost) -> None:
        """The process died with this batch."""
        digest = slices[0].work.model.digest
        if slices[0].again and not killed_by_others(error):
            self._models.strike(digest)
        for one in slices:
            self._send_back(one, _verdict(error))
        self.revive(digest, cause_of(error))

    def stopped(self, slices: Sequence[Slice]) -> None:
        """The batch was told to stop, since it was late or nobody waited for it any more."""
        for one in slices:
            self._send_back(one, ModelFailed("a batch of these rows alone ran longer than this server lets one run"))

    def return_unrun(self, slices: Sequence[Slice]) -> None:
        """The batch never ran, since its model's process was lost before."""
        self._again.extend(slices)
        self._queue.changed.set()

    def revive(self, digest: str, cause: str) -> None:
        """Start a process for a model again; its rows wait meanwhile."""
        if digest not in self._tasks:
            self._tasks[digest] = asyncio.create_task(self._revive(digest, cause), name="revive")

    def close(self) -> None:
        """Stop reviving."""
        for task in self._tasks.values():
            task.cancel()

    def _send_back(self, one: Slice, verdict: AssayError) -> None:
        work = one.work
        if work.finished.done():
            return
        if work.job.deadline is not None and time.monotonic() >= work.job.deadline:
            work.fail(DeadlinePassed("the deadline passed while the device ran these rows"))
        elif one.again:
            work.fail(verdict)
            self._queue.drop(work)
        else:
            self._again.append(replace(one, again=True))
            self._queue.changed.set()

    async def _revive(self, digest: str, cause: str) -> None:
        try:
            await self._models.revive(digest, cause)
        except AssayError as error:
            self._fail_all(digest, error)
        except Exception:
            log.exception("a model's process can't be started again", extra={"model": digest})
            self._fail_all(digest, WorkerLost("the model's process can't be started again", retry_after_s=1.0))
        finally:
            del self._tasks[digest]
            self._queue.changed.set()

    def _fail_all(self, digest: str, error: AssayError) -> None:
        self._queue.fail(error, digest)
        for one in [s for s in self._again if s.work.model.digest == digest]:
            one.work.fail(error)


def _verdict(error: WorkerLost) -> AssayError:
    """Of rows whose process died twice, the second time with nothing else in it."""
    cause = error.metadata.get("cause", "")
    if killed_by_others(error):  # another try may do
        return WorkerLost(error.message, metadata=error.metadata, retry_after_s=error.retry_after_s or 1.0)
    return ModelFailed(f"the model ended its process with these rows ({cause})", metadata=error.metadata)
