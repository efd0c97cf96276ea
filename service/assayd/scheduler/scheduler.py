"""One queue for all callers, and a scheduler for each device that takes its batches from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from assayd.engine.backend import Backend, LoadedModel
from assayd.errors import Draining, WorkerLost
from assayd.metrics import Metrics
from assayd.scheduler.device import DeviceScheduler
from assayd.scheduler.queue import Queue
from assayd.scheduler.recovery import Models, Recovery
from assayd.scheduler.shared import Shared, spent
from assayd.scheduler.work import BatchKey, Work, batch_key
from assayd.types.subject import Subject


class Scheduler:
    """Shares the devices among all callers and models.

    Any number of tasks of one event loop may `submit` and `wait`; one that is cancelled takes its waiting rows with it,
    and its batch-mates don't notice. models: which are loaded where; it starts their processes again. max_batch_s:
    longest run of one batch.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        metrics: Metrics,
        models: Models,
        *,
        gather_ms: float,
        max_queued_rows: int,
        max_batch_s: float,
    ) -> None:
        queue = Queue(metrics, gather_s=gather_ms / 1000, max_rows=max_queued_rows)
        self._shared = Shared(queue, Recovery(queue, models))
        self._queue, self._recovery = queue, self._shared.recovery
        self._devices = [DeviceScheduler(b, metrics, self._shared, max_batch_s=max_batch_s) for b in backends]
        self._stopping = False

    # ---- for callers -------------------------------------------------------------------------------------------

    def submit(self, work: Work) -> None:
        """Put a work into the queue; `wait` for it next.

        Raises QueueFull, QuotaUsedUp, Draining, ModelFailed, and WorkerLost where its model is on no device any more.
        """
        if self._stopping:
            raise _going_down()
        if self._recovery.spent(work.job):
            raise spent()
        if not self._has_device(work):
            raise _nowhere()
        self._queue.admit(work)
        self._shared.open.add(work)

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
            self._shared.open.discard(work)
            self._queue.drop(work)

    def withdraw(self, work: Work) -> None:
        """Nobody waits for `work` any more: what of it hasn't run never will."""
        work.abandon()
        self._shared.open.discard(work)
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

    def row_seconds(self, model: LoadedModel, subject: Subject) -> float | None:
        """Measured device time of a row like this, or None."""
        return self._queue.row_cost.get(batch_key(model, subject))

    @property
    def devices(self) -> int:
        """How many there are."""
        return len(self._devices)

    @property
    def queued_rows(self) -> int:
        """Rows that no batch has taken yet."""
        return self._queue.rows

    # ---- for those who look after the devices ------------------------------------------------------------------

    def revive(self, device: str, digest: str, cause: str) -> None:
        """A model's process is dead, though no batch of it runs. cause: a word."""
        if not self._stopping:
            self._recovery.revive(device, digest, cause)

    def is_reviving(self, device: str, digest: str) -> bool:
        """Whether a model's process is being started again."""
        return self._recovery.is_reviving(device, digest)

    def queued_seconds(self) -> Mapping[str, float]:
        """By digest: what waits, as device time of one device; but rows that may run on one device alone."""
        return self._queue.seconds_by_digest()

    def changed(self) -> None:
        """Models came to a device, or left one: rows may have a way now, and those that have none fail."""
        for work in list(self._shared.open):
            if not work.finished.done() and not self._has_device(work):
                self._shared.failed(work, _nowhere())
        self._queue.forget(self._left)
        self._queue.changed.set()

    def _left(self, key: Hashable) -> bool:
        """Whether a batch's model is on no device any more."""
        return isinstance(key, BatchKey) and not any(self._recovery.will_run(d.name, key.digest) for d in self._devices)

    def _has_device(self, work: Work) -> bool:
        names = [d.name for d in self._devices if work.device in ("", d.name)]
        return any(self._recovery.will_run(name, work.model.digest) for name in names)

    # ---- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve; needs a running event loop."""
        for device in self._devices:
            device.start()

    def drain(self, grace_s: float) -> None:
        """The server goes down in so many seconds: no batch may keep the others from theirs until then."""
        self._recovery.draining = True
        for device in self._devices:
            device.drain(grace_s)

    def refuse(self) -> None:
        """Fail all works, wherever they are, and take no more."""
        self._stopping = True
        self._recovery.close()
        for work in list(self._shared.open):
            self._shared.failed(work, _going_down())

    async def stop(self) -> None:
        """Fail all works, let the running batches end, and free the threads."""
        self.refuse()
        await asyncio.gather(*(device.stop() for device in self._devices))


def _going_down() -> Draining:
    return Draining("the server is going down", retry_after_s=1.0)


def _nowhere() -> WorkerLost:
    return WorkerLost("the model was lost with its device: ask again, and it is loaded anew", retry_after_s=1.0)
