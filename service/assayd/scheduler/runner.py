"""The threads of a device: one runs a batch, one makes the tensors of the next, the others wait for what is late."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from assayd.engine.backend import POSTED_BYTES, Backend, Batch, Chunk, ChunkResult, NotRun, Prepared
from assayd.scheduler.aside import MOST
from assayd.scheduler.parts import joined
from assayd.scheduler.queue import Slice
from assayd.types.rows import MaskRows, RowBlock, SampleRows


class Runner:
    """Batches of one backend, off the event loop."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._running = ThreadPoolExecutor(1 + MOST, "device-run")
        self._preparing = ThreadPoolExecutor(1, "device-prepare")

    async def prepare(self, slices: Sequence[Slice], *, at_once: bool) -> Prepared:
        """Make a batch's tensors, while another runs. at_once: as `Batch` says. Raises NotRun."""
        return await asyncio.get_running_loop().run_in_executor(self._preparing, self._prepare, slices, at_once)

    def post(self, slices: Sequence[Slice], *, at_once: bool) -> Prepared | None:
        """As `prepare`, without waiting: `run` raises NotRun where the tensors can't be made. None where it takes a
        thread.
        """
        try:
            if not self._backend.apart or sum(map(_least_bytes, slices)) > POSTED_BYTES:
                return None
            return self._backend.post(_batch(slices, at_once=at_once))
        except Exception:  # noqa: BLE001 - `prepare` finds it again
            return None

    def drop(self, ready: Prepared) -> None:
        """Let go of a batch's tensors: it won't be run with them."""
        self._backend.drop(ready)

    async def run(self, slices: Sequence[Slice], ready: Prepared | None) -> list[ChunkResult]:
        """Run slices of one model, one result each: those that share a batch together, the rows of the others one after
        the other. ready: the batch's tensors, where they are made. Raises NotRun, and as `Backend.run`.
        """
        return await asyncio.get_running_loop().run_in_executor(self._running, self._run, slices, ready)

    def close(self) -> None:
        """Wait for what runs and end the threads."""
        self._preparing.shutdown()
        self._running.shutdown()

    def _prepare(self, slices: Sequence[Slice], at_once: bool) -> Prepared:
        try:
            return self._backend.prepare(_batch(slices, at_once=at_once))
        except Exception as error:
            raise NotRun(error) from error

    def _run(self, slices: Sequence[Slice], ready: Prepared | None) -> list[ChunkResult]:
        if ready is not None:
            return self._backend.run(ready)
        try:
            batches = list(_batches(slices))
        except Exception as error:
            raise NotRun(error) from error
        # At once: the way to the worker and back takes as long as a small model.
        scored = iter(self._backend.score(batches))
        lone = {id(s): _joined([next(scored)[0] for _ in range(s.rows)]) for s in slices if s.work.singly}
        shared = iter(next(scored, ()))
        return [lone[id(s)] if s.work.singly else next(shared) for s in slices]


def _least_bytes(taken: Slice) -> int:
    """That its rows take on their way, as the first one shows it: to make them all in order to see would take time."""
    return taken.rows * sum(map(_row_bytes, taken.work.plan.rows(taken.start, taken.start + 1)))


def _row_bytes(block: RowBlock) -> int:
    """Of a block's only row. Those of boxes, nudges and plain ones are few."""
    match block:
        case SampleRows(values):
            return sum(value.nbytes for value in values.values())
        case MaskRows(keep, baseline):
            return baseline.nbytes + (-(-keep.size // 8) if keep.dtype == bool else keep.nbytes)
        case _:
            return 0


def _batches(slices: Sequence[Slice]) -> Iterator[Batch]:
    """Each row that shares no batch, then the batch of the others."""
    for s in slices:
        if s.work.singly:
            for row in range(s.start, s.start + s.rows):
                yield _batch([Slice(s.work, row, 1)])
    if together := [s for s in slices if not s.work.singly]:
        yield _batch(together)


def _batch(slices: Sequence[Slice], *, at_once: bool = False) -> Batch:
    chunks = tuple(
        Chunk(s.work.subject, s.work.plan.rows(s.start, s.start + s.rows), s.work.readout, s.rows) for s in slices
    )
    first = slices[0].work
    model = first.model
    return Batch(model.digest, model.batching.batched, chunks, first.padded, model.steady, first.exact, at_once)


def _joined(results: Sequence[ChunkResult]) -> ChunkResult:
    if len(results) == 1:
        return results[0]
    if isinstance(results[0], Mapping):
        return joined(results)  # type: ignore[arg-type]
    return np.concatenate(results)  # type: ignore[arg-type]
