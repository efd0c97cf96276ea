"""One worker as the front sees it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np

from assayd.engine.backend import ASKED_BYTES, POSTED_BYTES, Batch, ChunkResult, LoadedModel, NotRun
from assayd.engine.options import SessionOptions
from assayd.engine.worker import messages as m
from assayd.engine.worker.arrays import Malformed
from assayd.engine.worker.counters import Counters
from assayd.engine.worker.failures import raised
from assayd.engine.worker.frames import Frame, framed
from assayd.engine.worker.held import Held
from assayd.engine.worker.life import Channel, Life
from assayd.engine.worker.memory import Shared, file_of
from assayd.engine.worker.room import MemoryKills
from assayd.engine.worker.spawn import Started
from assayd.engine.worker.stack import distinct, results_unstacked, stacked
from assayd.engine.worker.vet import vet_model, vet_results
from assayd.types.model import Tuning
from assayd.types.subject import Subject

log = logging.getLogger(__name__)

_MOST_SESSIONS = 100
_SMALL_BYTES = 64 * 1024
"""Of an answer that is read where nobody may wait."""


class WorkerBug(RuntimeError):
    """An error of the code, raised in a worker; the log has its traceback."""


@dataclass(frozen=True, eq=False)
class Waiting:
    """A batch whose tensors are made, in its worker."""

    batch: Batch
    process: Process
    ticket: int


@dataclass(frozen=True, eq=False)
class Question:
    """Batches whose scores are asked for; the conversation is theirs until `results`. rows: that go along, of batches
    that aren't made yet. put: what of them lies aside is there already, with the descriptor of new memory, if any.
    posted: the frame is on its way already.
    """

    process: Process
    batches: Sequence[Batch]
    rows: Sequence[m.Prepare]
    frame: Frame
    put: tuple[int | None] | None
    posted: bool

    def fileno(self) -> int:
        """As `Asked.fileno`."""
        return self.process.readable

    def at_hand(self) -> list[list[ChunkResult]] | None:
        """As `Asked.at_hand`."""
        return self.process.results(self) if self.process.has_answered() else None

    @property
    def coming(self) -> bool:
        """As `Asked.coming`."""
        return self.process.is_answering

    def results(self) -> list[list[ChunkResult]]:
        """As `Asked.results`. Raises WorkerLost too."""
        return self.process.results(self)


class Process(Life):
    """A worker and its model.

    `load`, `prove`, `demote` and `steady` are called by one thread at a time, so are `prepare` and `run`; these three
    and all else may overlap. What `ask` gives may be answered on another thread. When the worker dies, every call that
    waits or comes later raises WorkerLost at once.
    """

    def __init__(
        self, started: Started, digest: str, most_rows: int, counters: Counters, memory_kills: MemoryKills
    ) -> None:
        super().__init__(started, digest, memory_kills)
        self._most_rows = most_rows
        self._counters = counters
        self._model: LoadedModel | None = None
        self._sessions_built = 0
        self._shared, self._shared_to_run = Shared(), Shared()
        self._held = Held(self._tell)
        self._batches = 0
        self._tickets = count()
        self._asked: int | None = None
        self._questions = 0
        self._retired = False

    def retire(self) -> None:
        """End the worker when the batches that were prepared have run."""
        with self._state:
            self._retired = True
            idle = self._batches == 0
        if idle:
            self.kill("unloaded")

    # ---- conversations -----------------------------------------------------------------------------------------

    def _ask(
        self,
        channel: Channel,
        question: Frame,
        kind: object,
        vet: Callable[[Any], None],
        fd: int | None = None,
        *,
        posted: bool = False,
    ) -> tuple[Any, int]:
        """An answer and its size. The caller holds the channel's lock. kind: the answer's annotation. posted: the
        question was sent before.

        Raises WorkerLost, the domain's errors, WorkerBug.
        """
        if not self.alive:
            raise self._lost()
        try:
            if not posted:
                channel.wire.send(question, fd)
            got = channel.wire.receive()
            answer = got.read(kind)
            error = self._error(answer)
            if error is None:
                vet(answer)
        except (EOFError, OSError):
            raise self._hung_up() from None
        except Malformed as malformed:
            self.kill(f"it sent nonsense: {malformed}")
            raise self._lost() from None
        except BaseException:
            # The answer would be taken for that of the next question.
            self.kill("a call was interrupted")
            raise
        if error is not None:
            raise error
        return answer, got.size

    def _error(self, answer: object) -> Exception | None:
        if isinstance(answer, m.Unmade):
            why = self._error(answer.why)
            return None if why is None else NotRun(why)
        if isinstance(answer, m.Failed):
            return raised(answer)
        if isinstance(answer, m.Bug):
            log.error("a worker failed", extra={"model": self.digest, "pid": self.pid, "traceback": answer.traceback})
            return WorkerBug("an error in a worker; the log has its traceback")
        return None

    # ---- control -----------------------------------------------------------------------------------------------

    def load(
        self, options: SessionOptions, batch_rows: int | None, data: bytes, tuning: Tuning | None = None
    ) -> LoadedModel:
        """The first call of all. Raises what `Backend.load` does, and WorkerLost."""
        begun, self._file_bytes = time.monotonic(), len(data)
        loaded = self._decide(m.Load(options, batch_rows, tuning), data)
        seconds, memory = time.monotonic() - begun, self.own_bytes
        loaded = replace(loaded, size_bytes=len(data), load_seconds=seconds, memory_bytes=memory)
        self._model = loaded
        return loaded

    def prove(self, subject: Subject) -> LoadedModel:
        """As `Backend.prove`."""
        return self._decide(m.Prove(m.SubjectParts.of(subject)))

    def demote(self, data: bytes, reason: str) -> LoadedModel:
        """As `Backend.demote`."""
        return self._decide(m.Demote(reason), data)

    def steady(self, data: bytes) -> LoadedModel:
        """As `Backend.steady`."""
        return self._decide(m.Steady(), data)

    def _decide(self, question: m.Control, data: bytes | None = None) -> LoadedModel:
        fd = None if data is None else file_of(data)
        try:
            with self._control.lock:
                frame = framed(m.Control, question)
                answer, _ = self._ask(self._control, frame, m.ControlAnswer, self._vet_decided, fd)
        finally:
            self._decided = time.monotonic()
            if fd is not None:
                os.close(fd)
        self._counters.add(sessions_built=answer.sessions_built - self._sessions_built)
        self._sessions_built = answer.sessions_built
        loaded: LoadedModel = replace(answer.loaded, digest=self.digest)
        if self._model is not None:
            known = self._model
            loaded = replace(
                loaded,
                size_bytes=known.size_bytes,
                load_seconds=known.load_seconds,
                memory_bytes=known.memory_bytes,
            )
        return loaded

    def _vet_decided(self, decided: m.Decided) -> None:
        vet_model(decided.loaded, self._most_rows)
        if not 0 <= decided.sessions_built - self._sessions_built <= _MOST_SESSIONS:
            raise Malformed("an impossible number of sessions")

    # ---- batches -----------------------------------------------------------------------------------------------

    def prepare(self, batch: Batch) -> Waiting:
        """As `Backend.prepare`. Subjects that the worker doesn't have go along."""
        with self._state:
            self._batches += 1
        try:
            with self._prepare.lock:
                ticket = self._send_rows(batch)
        except BaseException:
            self._batch_done()
            raise
        finally:
            self._tell_if_due()
        return Waiting(batch, self, ticket)

    def _send_rows(self, batch: Batch) -> int:
        rows = self._to_prepare(batch)
        with self._held.sending((rows,)):
            frame = framed(m.Making, rows)
            self._ask_with_rows(self._prepare, frame, (rows,), m.PrepareAnswer, lambda _: None)
        return rows.ticket

    def post(self, batch: Batch) -> Waiting | None:
        """As `Backend.post`."""
        if not self._prepare.lock.acquire(blocking=False):
            return None
        try:
            if not all(self._held.has(chunk.subject.number) for chunk in batch.chunks):
                return None
            rows = self._to_prepare(batch, posted=True)
            frame = framed(m.Making, rows)
            if frame.aside or frame.size > POSTED_BYTES:  # what lies aside lasts until an answer
                return None
            with self._state:
                self._batches += 1
            if not self._post(self._prepare, frame):
                self._batch_done()
                return None
        finally:
            self._prepare.lock.release()
        self._counters.add(row_bytes=frame.size)
        self._tell_if_due()
        return Waiting(batch, self, rows.ticket)

    def _to_prepare(self, batch: Batch, *, posted: bool = False) -> m.Prepare:
        behind = None
        if batch.at_once:
            # The question that it follows is being asked, or about to be.
            behind = self._questions + (not self._run.lock.locked())
        return replace(self._rows_of(batch), behind=behind, ticket=next(self._tickets), posted=posted)

    def run(self, waiting: Waiting) -> list[ChunkResult]:
        """As `Backend.run`. Raises WorkerLost too."""
        self._run.lock.acquire()
        return self._question(waiting).results()[0]

    def score(self, batches: Sequence[Batch]) -> list[list[ChunkResult]]:
        """As `Backend.score`. Raises WorkerLost too."""
        if not self.alive:
            raise NotRun(self._lost())
        self._run.lock.acquire()
        return self._question(batches).results()

    def ask(self, what: Waiting | Sequence[Batch]) -> Question | None:
        """As `Backend.ask`."""
        if not isinstance(what, Waiting) and self._held.new_bytes(what) > POSTED_BYTES:
            return None
        if not self.alive or not self._run.lock.acquire(blocking=False):
            return None
        return self._question(what, post=True)

    def _question(self, what: Waiting | Sequence[Batch], *, post: bool = False) -> Question:
        """What is asked next. The caller holds the lock of the conversation, which is released by `results`."""
        self._questions += 1
        rows: list[m.Prepare] = []
        if not isinstance(what, Waiting):
            with self._state:
                self._batches += 1
        try:
            if isinstance(what, Waiting):
                self._asked = what.ticket
                batches: Sequence[Batch] = (what.batch,)
                frame = framed(m.Running, m.Run(what.ticket))
            else:
                batches = what
                with self._held.sending(rows):
                    rows += map(self._rows_of, what)
                    frame = framed(m.Running, m.Score(tuple(rows)))
            small = post and frame.size - frame.aside_bytes <= POSTED_BYTES and frame.aside_bytes <= ASKED_BYTES
            # Until the answer nobody else writes there.
            put = (self._shared_to_run.put(frame.aside, frame.aside_bytes),) if small else None
            posted = small and put == (None,) and self._post(self._run, frame)
            return Question(self, batches, rows, frame, put, posted)
        except BaseException:
            self._answered()
            raise

    @property
    def readable(self) -> int:
        """A descriptor that can be read as soon as a question is answered, or the worker is gone."""
        return self._run.end.fileno()

    def has_answered(self) -> bool:
        """Whether there is a small answer to the question that was posted, so that `results` needn't wait."""
        try:
            return self.alive and self._run.wire.has_come(_SMALL_BYTES)
        except OSError:
            return False

    @property
    def is_answering(self) -> bool:
        """Whether `has_answered` found the beginning of a small answer."""
        return self.alive and self._run.wire.coming

    def results(self, asked: Question) -> list[list[ChunkResult]]:
        """The answer to a question, whose conversation is over then."""
        try:
            with self._held.sending(asked.rows):
                if asked.rows:
                    vet = partial(self._vet_scored, asked.batches)
                    how = (self._run, asked.frame, asked.rows, m.RunAnswer, vet)
                    answer = self._ask_with_rows(*how, put=asked.put, posted=asked.posted)
                    return [
                        _apart(batch, results) for batch, results in zip(asked.batches, answer.batches, strict=True)
                    ]
                [batch] = asked.batches
                vet = partial(self._vet_results, batch)
                answer, size = self._ask(self._run, asked.frame, m.RunAnswer, vet, posted=asked.posted)
                self._counters.add(result_bytes=size)
                return [_apart(batch, answer)]
        finally:
            self._answered()

    def _answered(self) -> None:
        self._asked = None
        self._run.lock.release()
        self._batch_done()
        self._tell_if_due()

    def _rows_of(self, batch: Batch) -> m.Prepare:
        """A batch as it crosses, with the subjects that nobody has sent yet. It must be sent then."""
        readouts, numbers = distinct(batch.chunks)
        chunks = np.array(
            [(chunk.subject.number, n, chunk.rows) for chunk, n in zip(batch.chunks, numbers, strict=True)], np.int64
        )
        rows, how = stacked(batch.chunks), (batch.steady, batch.exact)
        parts = self._held.new(batch)  # last: what fails before it is sent wouldn't come
        return m.Prepare(parts, batch.batched, batch.padded, readouts, chunks, rows, *how)

    def _ask_with_rows(
        self,
        channel: Channel,
        frame: Frame,
        rows: Sequence[m.Prepare],
        answers: object,
        vet: Callable[[Any], None],
        *,
        put: tuple[int | None] | None = None,
        posted: bool = False,
    ) -> Any:
        """Ask a question of batches. answers: the annotation of what comes back. put, posted: as `Question` says."""
        shared = self._shared if channel is self._prepare else self._shared_to_run
        fd = None
        try:
            [fd] = (shared.put(frame.aside, frame.aside_bytes),) if put is None else put
            answer, size = self._ask(channel, frame, answers, vet, fd, posted=posted)
        finally:
            if fd is not None:
                os.close(fd)
        introduced = sum(parts.size_bytes for batch in rows for parts in batch.subjects)
        self._counters.add(subject_bytes=introduced, row_bytes=frame.size - introduced)
        if channel is self._run:
            self._counters.add(result_bytes=size)
        return answer

    def drop(self, waiting: Waiting) -> None:
        """As `Backend.drop`."""
        self._held.drop(waiting.ticket)
        self._batch_done()
        self._tell_if_due()

    def terminate(self) -> None:
        """Ask the batch that is running to stop; its `run` then raises Terminated. Doesn't wait for it."""
        self._post(self._watch, framed(m.Watch, m.Terminate(self._asked)))

    def _vet_scored(self, batches: Sequence[Batch], answer: object) -> None:
        if not isinstance(answer, m.Scored) or len(answer.batches) != len(batches):
            raise Malformed("an answer to another question")
        for batch, results in zip(batches, answer.batches, strict=True):
            self._vet_results(batch, results)

    def _vet_results(self, batch: Batch, answer: object) -> None:
        if self._model is None:
            raise AssertionError("a model that runs is loaded")
        if not isinstance(answer, m.Results):
            raise Malformed("an answer to another question")
        vet_results(batch, _apart(batch, answer), self._model.signature)

    def _batch_done(self) -> None:
        with self._state:
            self._batches -= 1
            over = self._retired and self._batches == 0
        if over:
            self.kill("unloaded")

    # ---- subjects ----------------------------------------------------------------------------------------------

    def release(self, number: int) -> None:
        """No more rows of this subject will come. Doesn't wait for the worker."""
        self._held.release(number)

    def ping(self) -> bool:
        """As `Life.ping`; the worker hears of all that is over."""
        self._tell()
        return super().ping()

    def _tell_if_due(self) -> None:
        if self._held.is_due:
            self._tell()

    def _tell(self) -> None:
        """Of what is over, behind the batches that may still need it; whoever is preparing one does it afterwards."""
        while self._held.any_over and self._prepare.lock.acquire(blocking=False):
            try:
                over = self._held.over()
                if not self._post(self._prepare, framed(m.Making, over)):
                    self._held.put_back(over)
                    return
            finally:
                self._prepare.lock.release()


def _apart(batch: Batch, answer: m.Results) -> list[ChunkResult]:
    return results_unstacked(answer.results, [chunk.rows for chunk in batch.chunks])
