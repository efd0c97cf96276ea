"""The threads of a device: one runs a batch, one makes the tensors of the next, the others wait for what is late."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from assayd.engine.backend import POSTED_BYTES, Asked, Backend, Batch, Chunk, ChunkResult, NotRun, Prepared
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
        self._waits: set[asyncio.Future[None]] = set()

    async def prepare(self, slices: Sequence[Slice], *, at_once: bool) -> Prepared:
        """Make a batch's tensors, while another runs. at_once: as `Batch` says. Raises NotRun."""
        return await asyncio.get_running_loop().run_in_executor(self._preparing, self._prepare, slices, at_once)

    def post(self, slices: Sequence[Slice], *, at_once: bool) -> Prepared | None:
        """As `prepare`, without waiting: `run` raises NotRun where the tensors can't be made. None where it takes a
        thread.
        """
        try:
            if not self._backend.apart or _is_large(slices):
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
        asked = self._ask(slices, ready)
        if asked is not None and (results := await self._small_answer(asked)) is not None:
            return results[0] if ready is not None else _by_slice(slices, results)
        return await asyncio.get_running_loop().run_in_executor(self._running, self._run, slices, ready, asked)

    async def stop(self) -> None:
        """Wait for what runs and end the threads."""
        while self._waits:
            await asyncio.wait(self._waits)
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._preparing.shutdown()
        self._running.shutdown()

    def _prepare(self, slices: Sequence[Slice], at_once: bool) -> Prepared:
        try:
            return self._backend.prepare(_batch(slices, at_once=at_once))
        except Exception as error:
            raise NotRun(error) from error

    def _ask(self, slices: Sequence[Slice], ready: Prepared | None) -> Asked | None:
        """Before a thread waits for the answer: the model's process is at work while that wakes up."""
        try:
            if not self._backend.apart or (ready is None and _is_large(slices)):
                return None
            return self._backend.ask(list(_batches(slices)) if ready is None else ready)
        except Exception:  # noqa: BLE001 - the thread finds it again
            return None

    async def _small_answer(self, asked: Asked) -> list[list[ChunkResult]] | None:
        """Read here: to wake a thread for it takes longer. None where it takes one after all."""
        if not asked.posted:
            return None
        loop, end = asyncio.get_running_loop(), asked.fileno()
        come = loop.create_future()

        def has_come() -> None:
            loop.remove_reader(end)
            if not come.done():
                come.set_result(None)

        loop.add_reader(end, has_come)
        self._waits.add(come)
        try:
            await come
        except asyncio.CancelledError:
            loop.remove_reader(end)
            self._running.submit(asked.results)  # else it would be taken for the next one's
            raise
        finally:
            self._waits.discard(come)
        return asked.at_hand()

    def _run(self, slices: Sequence[Slice], ready: Prepared | None, asked: Asked | None) -> list[ChunkResult]:
        if ready is not None:
            return self._backend.run(ready) if asked is None else asked.results()[0]
        if asked is not None:
            return _by_slice(slices, asked.results())
        try:
            batches = list(_batches(slices))
        except Exception as error:
            raise NotRun(error) from error
        # At once: the way to the worker and back takes as long as a small model.
        return _by_slice(slices, self._backend.score(batches))


def _is_large(slices: Sequence[Slice]) -> bool:
    """Whether a batch is too much for a message that goes out at once."""
    return sum(map(_least_bytes, slices)) > POSTED_BYTES


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


def _by_slice(slices: Sequence[Slice], results: Sequence[Sequence[ChunkResult]]) -> list[ChunkResult]:
    """Of the batches that `_batches` makes of them."""
    scored = iter(results)
    lone = {id(s): _joined([next(scored)[0] for _ in range(s.rows)]) for s in slices if s.work.singly}
    shared = iter(next(scored, ()))
    return [lone[id(s)] if s.work.singly else next(shared) for s in slices]


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
