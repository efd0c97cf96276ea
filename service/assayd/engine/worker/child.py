"""What runs in a worker: one model in a backend of this process, and a thread for each conversation with the front.

When the front is gone, so is the worker.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from assayd.engine.backend import Batch, Chunk, ChunkResult, LoadedModel, NotRun, Prepared
from assayd.engine.in_process import InProcessBackend
from assayd.engine.worker import messages as m
from assayd.engine.worker.ahead import Ahead
from assayd.engine.worker.arrays import Bytes
from assayd.engine.worker.failures import told
from assayd.engine.worker.frames import FROM_FRONT, FROM_WORKER, Received, Wire, framed
from assayd.engine.worker.limits import DEVICE_LOST, OUT_OF_MEMORY
from assayd.engine.worker.memory import contents, mapped
from assayd.engine.worker.stack import results_stacked, unstacked
from assayd.errors import DeviceLost, TooLarge
from assayd.types.subject import Subject

_MODEL = "model"
_ARRIVES_S = 10.0
_SWITCH_S = 0.0002
"""One thread makes a batch while another reads or runs one, and neither shall wait for the other's Python."""


class Worker:
    """One model. `control`, `prepare` and `run` may be called at once, each by one thread."""

    def __init__(self) -> None:
        self._backend: InProcessBackend | None = None
        self._subjects: dict[int, Subject] = {}
        self._arrivals = threading.Condition()
        self.ahead = Ahead(self._score, self._terminate)
        self._bulk: dict[str, Bytes] = {}

    def control(self, got: Received) -> m.Decided:
        """Load, prove, demote, steady."""
        asked: m.Control = got.read(m.Control)
        data = b"" if got.fd is None else contents(got.fd)
        if isinstance(asked, m.Load):
            self._backend = InProcessBackend(asked.options, asked.batch_rows)
        return m.Decided(self._decide(asked, data), self._model.sessions_built)

    def _decide(self, asked: m.Control, data: bytes) -> LoadedModel:
        match asked:
            case m.Load(tuning=tuning):
                return self._model.load(_MODEL, data, tuning)
            case m.Prove(parts):
                return self._model.prove(_MODEL, parts.subject())
            case m.Demote(reason):
                return self._model.demote(_MODEL, data, reason)
            case m.Steady():
                return self._model.steady(_MODEL, data)

    def prepare(self, got: Received) -> m.Ready | None:
        """Make a batch's tensors, or forget what is over. Raises what making them does, unless nobody waits for an
        answer.
        """
        try:
            asked: m.Making = self._read(got, m.Making, "prepare")
        except MemoryError:
            os._exit(OUT_OF_MEMORY)  # without its ticket nobody could be told
        if isinstance(asked, m.Release):
            self._forget(asked)
            return None
        try:
            prepared = self._model.prepare(self._batch(asked))
        except DeviceLost:
            raise
        except Exception as error:
            if not asked.posted:
                raise
            self.ahead.add_unmade(asked.ticket, error)
        else:
            self.ahead.add(asked.ticket, prepared, behind=asked.behind)
        return None if asked.posted else m.Ready()

    def _forget(self, over: m.Release) -> None:
        for number in over.numbers:
            self._subjects.pop(number, None)
            if self._backend is not None:
                self._backend.release(number)
        for ticket in over.tickets:
            self.ahead.drop(ticket)

    def _read(self, got: Received, kind: object, channel: str) -> Any:
        """A message that may have large arrays aside, in memory that lasts until its answer."""
        if got.fd is not None:
            self._bulk[channel] = mapped(got.fd)
        return got.read(kind, self._bulk.get(channel))

    def _batch(self, asked: m.Prepare) -> Batch:
        if asked.subjects:
            with self._arrivals:
                self._subjects |= {parts.number: parts.subject() for parts in asked.subjects}
                self._arrivals.notify_all()
        said = asked.chunks.tolist()
        chunks = tuple(
            Chunk(self._subject(subject), blocks, asked.readouts[readout], rows)
            for (subject, readout, rows), blocks in zip(
                said, unstacked(asked.blocks, [rows for *_, rows in said]), strict=True
            )
        )
        return Batch(_MODEL, asked.batched, chunks, asked.padded, asked.steady, asked.exact)

    def _subject(self, number: int) -> Subject:
        """One that the other thread may be about to read."""
        if (known := self._subjects.get(number)) is not None:
            return known
        with self._arrivals:
            self._arrivals.wait_for(lambda: number in self._subjects, _ARRIVES_S)
            return self._subjects[number]

    def run(self, got: Received) -> m.Results | m.Scored | m.Unmade:
        """Run a batch that was prepared, or small ones as they come."""
        try:
            return self._answer(got)
        except NotRun as failed:
            return m.Unmade(told(failed.error))

    def _answer(self, got: Received) -> m.Results | m.Scored:
        with self.ahead.question():
            asked: m.Running = self._read(got, m.Running, "run")
            if isinstance(asked, m.Run):
                return m.Results(results_stacked(self.ahead.results(asked.ticket)))
            scored = self._model.score([self._batch(batch) for batch in asked.batches])
            return m.Scored(tuple(m.Results(results_stacked(results)) for results in scored))

    def _score(self, prepared: Prepared) -> list[ChunkResult]:
        return self._model.run(prepared)

    def watch(self, got: Received) -> m.Ping | None:
        """Say that the process is alive, or end a run."""
        asked: m.Watch = got.read(m.Watch)
        if isinstance(asked, m.Ping):
            return asked
        self.ahead.stop(asked.ticket)
        return None

    def _terminate(self) -> None:
        if self._backend is not None:
            self._backend.terminate(_MODEL)

    @property
    def _model(self) -> InProcessBackend:
        if self._backend is None:
            raise AssertionError("nothing is loaded")
        return self._backend


def serve(control: socket.socket, prepare: socket.socket, run: socket.socket, watch: socket.socket) -> None:
    """Answer until the front is gone, and end the process."""
    sys.setswitchinterval(_SWITCH_S)
    worker = Worker()
    for end, answer, kind, meanwhile in (
        (prepare, worker.prepare, m.PrepareAnswer, None),
        (run, worker.run, m.RunAnswer, worker.ahead.until),
        (watch, worker.watch, m.Ping, None),
    ):
        threading.Thread(target=_converse, args=(end, answer, kind, meanwhile), daemon=True).start()
    # Loading may need a deep stack, and the first thread's is the deepest.
    _converse(control, worker.control, m.ControlAnswer)


def _converse(
    end: socket.socket,
    answer: Callable[[Received], Any],
    kind: object,
    meanwhile: Callable[[socket.socket], None] | None = None,
) -> None:
    """meanwhile: returns when there is something to be read."""
    wire = Wire(end, FROM_FRONT)
    status = 1
    try:
        while True:
            if meanwhile is not None:
                meanwhile(end)
            got = wire.receive(descriptors=True)
            try:
                said = answer(got)
            except DeviceLost:
                raise
            except Exception as error:  # noqa: BLE001 - the front raises it
                said = told(error)
            if said is not None:
                frame = framed(kind, said)
                wire.send(frame if frame.within(FROM_WORKER) else framed(kind, told(_too_large(frame.size))))
    except (EOFError, OSError):
        status = 0
    except MemoryError:
        status = OUT_OF_MEMORY
    except DeviceLost:
        traceback.print_exc()
        status = DEVICE_LOST
    except BaseException:  # noqa: BLE001 - the process ends here, and the server's log says why
        traceback.print_exc()
    finally:
        os._exit(status)


def _too_large(size: int) -> TooLarge:
    limit = FROM_WORKER.payload_bytes
    return TooLarge(
        f"what the model answers or says of itself comes to {size} bytes, and {limit} can be taken at once",
        metadata={"bytes": str(size), "limit": str(limit)},
    )
