"""Looks after the processes that run models: a worker's death is seen though nobody asks it anything."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from assayd.engine.backend import Backend, Worker
from assayd.engine.quarantine import SILENT, cause_word
from assayd.errors import no_descriptors
from assayd.metrics import Metrics

log = logging.getLogger(__name__)


class Revives(Protocol):
    """Who starts processes again."""

    def is_reviving(self, device: str, digest: str) -> bool:
        """Whether a model's process is being started again."""

    def revive(self, device: str, digest: str, cause: str) -> None:
        """Start it again. cause: a word."""


class Keeper:
    """Of one device: revives the dead, ends those that don't answer, and keeps the gauges of workers.

    A process that is silent while it loads, for the first time or again, is ended too: whoever waits for the load then
    knows what to do. loaded: digests of the models in memory, not of those whose load is under way. serving: false
    while every model in memory is without a process, and while the server can open nothing more, so that nobody new
    comes in.
    """

    def __init__(self, backend: Backend, loaded: Container[str], scheduler: Revives, metrics: Metrics) -> None:
        self._backend = backend
        self._loaded = loaded
        self._scheduler = scheduler
        self._metrics = metrics
        # Of its own: those that all share may be busy with what callers sent.
        self._thread = ThreadPoolExecutor(1, "keeper")
        self.serving = True

    async def look(self) -> None:
        """Once; to be called again and again. It waits for no worker."""
        workers = await asyncio.get_running_loop().run_in_executor(self._thread, self._ping)
        self._show(workers)
        kept = [w for w in workers if w.digest in self._loaded]
        for worker in kept:
            if not worker.alive and not self._scheduler.is_reviving(self._backend.device, worker.digest):
                log.warning("a model's process is dead", extra={"model": worker.digest, "why": worker.cause})
                self._scheduler.revive(self._backend.device, worker.digest, cause_word(worker.cause))
        self.serving = _can_open() and (not kept or any(w.alive for w in kept))

    def close(self) -> None:
        """End its thread."""
        self._thread.shutdown()

    def _ping(self) -> list[Worker]:
        """A worker a model; those that are silent are ended."""
        workers = self._workers()
        silent = [w.digest for w in workers if w.alive and not self._backend.ping(w.digest)]
        for digest in silent:
            self._backend.kill(digest, SILENT)
        return self._workers() if silent else workers

    def _workers(self) -> list[Worker]:
        # Behind those that run models come those that are about to leave; their model may have another by now.
        return list({w.digest: w for w in reversed(self._backend.workers())}.values())

    def _show(self, workers: list[Worker]) -> None:
        alive = [w for w in workers if w.alive]
        self._metrics.workers(self._backend.device, len(alive), sum(w.rss_bytes for w in alive))


def _can_open() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return no_descriptors(error) is None
    return True
