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
    """Of one batch at a time. max_batch_s: longest run of any."""

    def __init__(self, backend: Backend, max_batch_s: float) -> None:
        self._backend = backend
        self._max_batch_s = max_batch_s
        self._drain: tuple[float, float] | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._asked: asyncio.Future[None] | None = None

    def drain(self, grace_s: float) -> None:
        """From now on a batch may take half of what is then left of the grace, so that others get theirs."""
        self._drain = time.monotonic(), time.monotonic() + grace_s

    def begin(self, slices: Sequence[Slice]) -> None:
        """The batch runs."""
        self._look(slices, time.monotonic())

    def end(self) -> None:
        """It doesn't any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self, slices: Sequence[Slice], begun: float) -> None:
        if overdue(slices, time.monotonic(), begun, self._longest(begun)):
            self._stop(slices[0].work.model.digest)
        else:
            self._handle = asyncio.get_running_loop().call_later(_LOOK_S, self._look, slices, begun)

    def _longest(self, begun: float) -> float:
        if self._drain is None:
            return self._max_batch_s
        since, end = max(begun, self._drain[0]), self._drain[1]
        return min(self._max_batch_s, since - begun + max(0.0, end - since) / 2)

    def _stop(self, digest: str) -> None:
        """Ask it to stop, and if it doesn't, end its process."""
        loop = asyncio.get_running_loop()
        log.warning("a batch is told to stop", extra={"model": digest})
        self._asked = loop.run_in_executor(None, self._backend.terminate, digest)
        self._handle = loop.call_later(_GRACE_S, self._kill, digest)

    def _kill(self, digest: str) -> None:
        log.warning("a batch doesn't stop, and its process is ended", extra={"model": digest})
        self._asked = asyncio.get_running_loop().run_in_executor(None, self._backend.kill, digest, STUCK)


def overdue(slices: Sequence[Slice], now: float, begun: float, max_batch_s: float) -> bool:
    """Whether a running batch is to be stopped: nobody waits for it, or it takes too long with somebody too late."""
    ran = now - begun
    if ran >= max_batch_s or all(s.work.finished.done() for s in slices):
        return ran >= _LOOK_S
    late = any(s.work.job.deadline is not None and now >= s.work.job.deadline for s in slices)
    return late and ran >= _LATE_S
