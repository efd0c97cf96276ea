"""How batches get to a device and back.

A process is asked from the event loop, and small answers are read there. Threads do what takes longer: one runs a
batch, one makes the tensors of the next, the others wait for what is late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from assayd.engine.backend import ASKED_BYTES, POSTED_BYTES, Asked, Backend, Batch, Chunk, ChunkResult, NotRun, Prepared
from assayd.scheduler.aside import MOST
from assayd.scheduler.parts import joined
from assayd.scheduler.queue import Slice
from assayd.types.rows import MaskRows, RowBlock, SampleRows

_FEW_SINGLES = 32
"""Rows that share no batch are a message's part each: a hundred take three milliseconds."""


class Runner:
    """Batches of one backend. Touched by the event loop alone, which none of it keeps waiting."""

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
            if not self._backend.apart or _is_large(slices, POSTED_BYTES):
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
        batches = self._small_batches(slices) if ready is None else None
        asked = self._ask(batches if ready is None else ready)
        if asked is not None and (results := await self._small_answer(asked)) is not None:
            return results[0] if ready is not None else _by_slice(slices, results)
        running = asyncio.get_running_loop().run_in_executor(self._running, self._run, slices, ready, batches, asked)
        return await (running if asked is None else asyncio.shield(running))  # the answer has to be taken

    async def stop(self) -> None:
        """Wait for what runs and end the threads, off the loop: the watchdog on it ends what doesn't end by itself."""
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

    def _small_batches(self, slices: Sequence[Slice]) -> list[Batch] | None:
        """What is asked of a process, where it is so little that it is made here."""
        try:
            if not self._backend.apart or _is_large(slices, ASKED_BYTES) or _singles(slices) > _FEW_SINGLES:
                return None
            return list(_batches(slices))
        except Exception:  # noqa: BLE001 - the thread finds it again
            return None

    def _ask(self, what: Prepared | list[Batch] | None) -> Asked | None:
        """Before anybody waits for the answer. None where that takes a thread."""
        try:
            return self._backend.ask(what) if what is not None and self._backend.apart else None
        except Exception:  # noqa: BLE001 - the thread finds it again
            return None

    async def _small_answer(self, asked: Asked) -> list[list[ChunkResult]] | None:
        """Read here: to wake a thread for it takes longer. None where it takes one after all."""
        while asked.posted and await self._can_be_read(asked):
            if (results := asked.at_hand()) is not None or not asked.coming:
                return results
        return None

    async def _can_be_read(self, asked: Asked) -> bool:
        """Wait until it can. False where the system has no room to wait for it."""
        loop, end = asyncio.get_running_loop(), asked.fileno()
        come = loop.create_future()

        def has_come() -> None:
            loop.remove_reader(end)
            if not come.done():
                come.set_result(None)

        try:
            loop.add_reader(end, has_come)
        except OSError:
            return False
        self._waits.add(come)
        try:
            await come
        except asyncio.CancelledError:
            loop.remove_reader(end)
            self._running.submit(asked.results)  # else it would be taken for the next one's
            raise
        finally:
            self._waits.discard(come)
        return True

    def _run(
        self, slices: Sequence[Slice], ready: Prepared | None, batches: list[Batch] | None, asked: Asked | None
    ) -> list[ChunkResult]:
        if ready is not None:
            return self._backend.run(ready) if asked is None else asked.results()[0]
        if asked is not None:
            return _by_slice(slices, asked.results())
        try:
            batches = list(_batches(slices)) if batches is None else batches
        except Exception as error:
            raise NotRun(error) from error
        # At once: the way to the worker and back takes as long as a small model.
        return _by_slice(slices, self._backend.score(batches))


def _is_large(slices: Sequence[Slice], limit: int) -> bool:
    """Whether a batch takes more bytes on its way than a limit."""
    return sum(map(_least_bytes, slices)) > limit


def _singles(slices: Sequence[Slice]) -> int:
    """Rows that share no batch."""
    return sum(s.rows for s in slices if s.work.singly)


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
