"""Looks after the processes that run models: a worker's death is seen though nobody asks it anything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Protocol

from assayd.engine.backend import Backend, Worker
from assayd.metrics import Metrics

log = logging.getLogger(__name__)

_PING_S = 2.0


class Models(Protocol):
    """Those in memory."""

    @property
    def digests(self) -> Collection[str]:
        """Of loaded models; not of those whose load is under way."""


class Revives(Protocol):
    """Who starts processes again."""

    @property
    def reviving(self) -> Collection[str]:
        """Digests of models whose process is being started again."""

    def revive(self, digest: str, cause: str) -> None:
        """Start it again. cause: a word."""


class Keeper:
    """Revives the dead, ends those that don't answer, and keeps the gauges of workers.

    serving: false while every model in memory is without a process.
    """

    def __init__(self, backend: Backend, models: Models, scheduler: Revives, metrics: Metrics) -> None:
        self._backend = backend
        self._models = models
        self._scheduler = scheduler
        self._metrics = metrics
        self.serving = True

    async def look(self) -> None:
        """Once; to be called again and again."""
        workers = [w for w in self._backend.workers() if w.digest in self._models.digests]
        self._show(workers)
        settled = [w for w in workers if w.digest not in self._scheduler.reviving]
        answers = await asyncio.gather(*(self._answers(w) for w in settled))
        for worker, answered in zip(settled, answers, strict=True):
            if not worker.alive:
                log.warning("a model's process is dead", extra={"model": worker.digest})
                self._scheduler.revive(worker.digest, "gone")
            elif not answered and self._lives(worker):
                log.warning("a model's process doesn't answer", extra={"model": worker.digest})
                await asyncio.to_thread(self._backend.kill, worker.digest, "it didn't answer")
                self._scheduler.revive(worker.digest, "silent")
        self.serving = not workers or any(answers)

    def _lives(self, worker: Worker) -> bool:
        """Still, and no successor in its place: one that crashed during the ping is no silent one."""
        return any((w.pid, w.alive) == (worker.pid, True) for w in self._backend.workers())

    async def _answers(self, worker: Worker) -> bool:
        return worker.alive and await asyncio.to_thread(self._backend.ping, worker.digest, _PING_S)

    def _show(self, workers: list[Worker]) -> None:
        alive = [w for w in workers if w.alive]
        self._metrics.workers_alive.set(len(alive))
        self._metrics.worker_memory_bytes.set(sum(w.rss_bytes for w in alive))
