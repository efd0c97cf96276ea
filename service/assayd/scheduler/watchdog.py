"""Sees to it that a running batch ends when it must."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from assayd.engine.backend import Backend
from assayd.engine.quarantine import STUCK
from assayd.scheduler.queue import Slice

log = logging.getLogger(__name__)

_LOOK_S = 0.05
_GRACE_S = 0.25
"""For a runtime that is asked to stop: it looks up between two nodes, and one node may be huge."""
_LATE_S = 1.0
"""A batch that takes so long while one of its callers is too late is taken for stuck; its mates run again."""


class Watchdog:
    """Of a device's batches. max_batch_s: longest run of any."""

    def __init__(self, backend: Backend, max_batch_s: float) -> None:
        self.backend = backend
        self._max_batch_s = max_batch_s
        self._drain: tuple[float, float] | None = None
        self._watches: dict[str, Watch] = {}

    def drain(self, grace_s: float) -> None:
        """From now on a batch may take half of what is then left of the grace, so that others get theirs."""
        self._drain = time.monotonic(), time.monotonic() + grace_s

    def begin(self, slices: Sequence[Slice]) -> Watch:
        """The batch runs, until the watch is ended. One batch of a model runs at a time."""
        watch = self._watches[slices[0].work.model.digest] = Watch(self, slices)
        return watch

    def put_back(self, digest: str) -> None:
        """Stop the batch of this model that runs now, for the sake of others."""
        if digest in self._watches:
            self._watches[digest].put_back()

    def ended(self, digest: str, watch: Watch) -> None:
        """A watch is over."""
        if self._watches.get(digest) is watch:
            del self._watches[digest]

    def longest(self, begun: float) -> float:
        """Seconds that a batch may run now that began then."""
        if self._drain is None:
            return self._max_batch_s
        since, end = max(begun, self._drain[0]), self._drain[1]
        return min(self._max_batch_s, since - begun + max(0.0, end - since) / 2)


class Watch:
    """Of one batch, from now on. for_others: it was stopped for their sake, and for no other reason."""

    def __init__(self, dog: Watchdog, slices: Sequence[Slice]) -> None:
        self._dog = dog
        self._slices = slices
        self._digest = slices[0].work.model.digest
        self._begun = time.monotonic()
        self._handle: asyncio.TimerHandle | None = None
        self._stopped = self.for_others = False
        self._look()

    def end(self) -> None:
        """It doesn't run any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._dog.ended(self._digest, self)

    def put_back(self) -> None:
        """Stop it now, unless it is being stopped already."""
        if not self._stopped:
            self.for_others = True
            if self._handle is not None:
                self._handle.cancel()
            self._stop()

    def _look(self) -> None:
        if overdue(self._slices, time.monotonic(), self._begun, self._dog.longest(self._begun)):
            self._stop()
        else:
            self._handle = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _stop(self) -> None:
        """Ask it to stop, and if it doesn't, end its process."""
        self._stopped = True
        log.warning("a batch is told to stop", extra={"model": self._digest})
        # Here and now, which takes no time: on a thread that is late it would hit the batch behind this one.
        self._dog.backend.terminate(self._digest)
        self._handle = asyncio.get_running_loop().call_later(_GRACE_S, self._kill)

    def _kill(self) -> None:
        log.warning("a batch doesn't stop, and its process is ended", extra={"model": self._digest})
        self._dog.backend.kill(self._digest, STUCK)


def overdue(slices: Sequence[Slice], now: float, begun: float, max_batch_s: float) -> bool:
    """Whether a running batch is to be stopped: nobody waits for it, or it takes too long with somebody too late."""
    ran = now - begun
    if ran >= max_batch_s or all(s.work.finished.done() for s in slices):
        return ran >= _LOOK_S
    late = any(s.work.job.deadline is not None and now >= s.work.job.deadline for s in slices)
    return late and ran >= _LATE_S
