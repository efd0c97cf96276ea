"""The threads of a device: one runs a batch, the other makes the tensors of the next."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from assayd.engine.backend import Backend, Batch, Chunk, ChunkResult, Prepared
from assayd.scheduler.queue import Slice


class Unprepared(Exception):
    """A batch's tensors couldn't be made, so that nothing has run. error: why. Never leaves this package."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__(str(error))


class Runner:
    """Batches of one backend, off the event loop."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._running = ThreadPoolExecutor(1, "device-run")
        self._preparing = ThreadPoolExecutor(1, "device-prepare")
        # A batch that wasn't prepared ahead is prepared where it runs.
        self._prepares = threading.Lock()

    async def prepare(self, slices: Sequence[Slice]) -> Prepared:
        """Make a batch's tensors, while another may run. Raises Unprepared."""
        return await asyncio.get_running_loop().run_in_executor(self._preparing, self._prepare, slices)

    async def run(self, slices: Sequence[Slice], ready: Prepared | None) -> list[ChunkResult]:
        """Run a batch, one result a slice; rows that share no batch run one after the other. ready: its tensors, where
        they are made. Raises Unprepared, and as `Backend.run`.
        """
        return await asyncio.get_running_loop().run_in_executor(self._running, self._run, slices, ready)

    def close(self) -> None:
        """Wait for what runs and end the threads."""
        self._preparing.shutdown()
        self._running.shutdown()

    def _run(self, slices: Sequence[Slice], ready: Prepared | None) -> list[ChunkResult]:
        first = slices[0]
        if first.work.singly and first.rows > 1:
            return [_joined([self._one(first, first.start + n) for n in range(first.rows)])]
        # Two hops between threads would take longer than a small model.
        return self._backend.run(ready or self._prepare(slices))

    def _one(self, of: Slice, row: int) -> ChunkResult:
        return self._backend.run(self._prepare([Slice(of.work, row, 1)]))[0]

    def _prepare(self, slices: Sequence[Slice]) -> Prepared:
        try:
            chunks = tuple(
                Chunk(s.work.subject, s.work.plan.rows(s.start, s.start + s.rows), s.work.readout, s.rows)
                for s in slices
            )
            model = slices[0].work.model
            with self._prepares:
                return self._backend.prepare(
                    Batch(model.digest, model.batching.batched, chunks, slices[0].work.padded, model.steady)
                )
        except Exception as error:
            raise Unprepared(error) from error


def _joined(results: Sequence[ChunkResult]) -> ChunkResult:
    if isinstance(results[0], Mapping):
        return {name: np.concatenate([r[name] for r in results]) for name in results[0]}  # type: ignore[call-overload]
    return np.concatenate(results)  # type: ignore[arg-type]
