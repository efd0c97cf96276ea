"""One worker as the front sees it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from assayd.engine.backend import Batch, ChunkResult, LoadedModel, NotRun
from assayd.engine.options import SessionOptions
from assayd.engine.quarantine import DEVICE, MEMORY
from assayd.engine.worker import messages as m
from assayd.engine.worker.arrays import Malformed
from assayd.engine.worker.failures import raised
from assayd.engine.worker.frames import FROM_WORKER, Frame, Wire, framed
from assayd.engine.worker.limits import DEVICE_LOST, OUT_OF_MEMORY
from assayd.engine.worker.memory import Shared, file_of
from assayd.engine.worker.room import MemoryKills
from assayd.engine.worker.spawn import Started
from assayd.engine.worker.stack import distinct, results_unstacked, stacked
from assayd.engine.worker.vet import vet_model, vet_results
from assayd.errors import WorkerLost
from assayd.types.model import Tuning
from assayd.types.subject import Subject

log = logging.getLogger(__name__)

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_REAP_S = 1.0
_STOPPED_S, _IDLE_S, _BUSY_S, _BUSY_S_PER_BYTE = 0.4, 3.0, 10.0, 1 / 50e6
"""So long may a worker be silent: one that a signal stopped; any other; one that loads, proves or decides, with its
file's bytes on top: parsing 575 MB kept its interpreter busy for 2.4 s.
"""
_MOST_SESSIONS = 100
_LOG_LINES, _LOG_LINE_BYTES = 100, 500


class WorkerBug(RuntimeError):
    """An error of the code, raised in a worker; the log has its traceback."""


@dataclass(eq=False)
class Counters:
    """What crossed and was made, over all workers of a backend. Only ever counted up; `told` hears of each count."""

    processes_started: int = 0
    sessions_built: int = 0
    subject_bytes: int = 0
    row_bytes: int = 0
    result_bytes: int = 0
    told: Callable[[str, int], None] = lambda *_: None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **counts: int) -> None:
        """Count; from any thread."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)
                self.told(name, count)


@dataclass(frozen=True, eq=False)
class Waiting:
    """A batch whose tensors are made, in its worker."""

    batch: Batch
    process: Process
    ticket: int


class _Channel:
    """A conversation with the worker; who speaks holds the lock."""

    def __init__(self, end: socket.socket) -> None:
        self.lock = threading.Lock()
        self.end = end
        self.wire = Wire(end, FROM_WORKER)

    def hang_up(self) -> None:
        """Whoever waits for an answer is told that there will be none."""
        with suppress(OSError):
            self.end.shutdown(socket.SHUT_RDWR)


class Process:
    """A worker and its model.

    `load`, `prove`, `demote` and `steady` are called by one thread at a time, so are `prepare` and `run`; these three
    and all else may overlap. When the worker dies, every call that waits or comes later raises WorkerLost at once.
    """

    def __init__(
        self, started: Started, digest: str, most_rows: int, counters: Counters, memory_kills: MemoryKills
    ) -> None:
        self.digest = digest
        self._process = started.process
        self._most_rows = most_rows
        self._counters = counters
        self._memory_kills = memory_kills
        self._bad_alloc = False
        self._control, self._prepare, self._run, self._watch = self._channels = [
            _Channel(end) for end in (started.control, started.prepare, started.run, started.watch)
        ]
        self._state = threading.Lock()
        self._cause: str | None = None
        self._over = threading.Event()
        self._model: LoadedModel | None = None
        self._sessions_built = 0
        self._shared, self._shared_to_run = Shared(), Shared()
        self._known: dict[int, weakref.ref[Subject]] = {}
        self._gone: deque[int] = deque()
        self._batches = 0
        self._asked: int | None = None
        self._retired = False
        self._pings = self._pongs = 0
        self._starved_s = 0.0
        self._pinged = self._decided = time.monotonic()
        self._file_bytes = 0
        name = f"worker-{self.pid}"
        self._reader = threading.Thread(target=self._read_log, name=f"{name}-log", daemon=True)
        self._reader.start()
        threading.Thread(target=self._read_pongs, name=f"{name}-pongs", daemon=True).start()
        threading.Thread(target=self._wait, name=name, daemon=True).start()

    # ---- life --------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False as soon as it is known to be lost."""
        return self._cause is None

    @property
    def cause(self) -> str:
        """Of its loss; empty while it is alive."""
        return self._cause or ""

    @property
    def rss_bytes(self) -> int:
        """Memory that it holds now; 0 when it is gone."""
        return self._pages()[0] * _PAGE_BYTES

    @property
    def own_bytes(self) -> int:
        """Of that, what would be free without it: the code of its libraries is shared by all workers."""
        resident, shared = self._pages()
        return (resident - shared) * _PAGE_BYTES

    def _pages(self) -> tuple[int, int]:
        try:
            resident, shared = Path(f"/proc/{self.pid}/statm").read_text().split()[1:3] if self.alive else (0, 0)
        except (OSError, ValueError):
            return 0, 0
        return int(resident), int(shared)

    def kill(self, why: str) -> None:
        """End the worker now; `why` is the cause that calls are told, unless it was lost before."""
        with self._state:
            self._cause = self._cause or why
        self._process.kill()
        for channel in self._channels:
            channel.hang_up()

    def retire(self) -> None:
        """End the worker when the batches that were prepared have run."""
        with self._state:
            self._retired = True
            idle = self._batches == 0
        if idle:
            self.kill("unloaded")

    def join(self, timeout_s: float) -> bool:
        """Wait until the process is gone."""
        return self._over.wait(timeout_s)

    def _wait(self) -> None:
        status = self._process.wait()
        ending = self._ending(status)
        with self._state:
            self._cause = self._cause or ending
        self._over.set()
        for channel in self._channels:
            channel.hang_up()
        for channel in self._channels:
            with channel.lock:
                channel.end.close()

    def _ending(self, status: int) -> str:
        """Why the process ended by itself, or by whom."""
        if status == -signal.SIGABRT:
            self._reader.join(_REAP_S / 2)  # its last words say why it gave up
        memory = (
            status == OUT_OF_MEMORY
            or (status == -signal.SIGABRT and self._bad_alloc)
            or (status == -signal.SIGKILL and self._memory_kills.lately())
        )
        if memory:
            return MEMORY
        if status == DEVICE_LOST:
            return DEVICE
        return f"killed by signal {-status}" if status < 0 else f"exit {status}"

    def _read_log(self) -> None:
        """Into the server's log, so much of it that a worker can't flood it."""
        if self._process.stdout is None:
            raise AssertionError("a worker has a log")
        about = {"model": self.digest, "pid": self.pid}
        with self._process.stdout as pipe:
            for n, line in enumerate(iter(lambda: pipe.readline(_LOG_LINE_BYTES), b"")):
                self._bad_alloc |= b"std::bad_alloc" in line
                if n < _LOG_LINES:
                    log.warning("a worker says", extra=about | {"line": line.decode(errors="replace").rstrip()})
                elif n == _LOG_LINES:
                    log.warning("a worker says too much; the rest is dropped", extra=about)

    def _hung_up(self) -> WorkerLost:
        """The cause is known when the process is reaped, a moment after its channels close."""
        if self.alive and not self._over.wait(_REAP_S):
            self.kill("it hung up")
        return self._lost()

    def _lost(self) -> WorkerLost:
        cause = self._cause or ""
        return WorkerLost(
            f"the process that ran the model was lost: {cause}", metadata={"cause": cause}, retry_after_s=1.0
        )

    # ---- conversations -----------------------------------------------------------------------------------------

    def _ask(
        self, channel: _Channel, question: Frame, kind: object, vet: Callable[[Any], None], fd: int | None = None
    ) -> tuple[Any, int]:
        """An answer and its size. The caller holds the channel's lock. kind: the answer's annotation.

        Raises WorkerLost, the domain's errors, WorkerBug.
        """
        if not self.alive:
            raise self._lost()
        try:
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
            self._send_gone()
        return Waiting(batch, self, ticket)

    def _send_rows(self, batch: Batch) -> int:
        rows = self._rows_of(batch)
        answer = self._ask_with_rows(self._prepare, m.Making, rows, (rows,), m.PrepareAnswer, lambda _: None)
        ticket: int = answer.ticket
        return ticket

    def score(self, batches: Sequence[Batch]) -> list[list[ChunkResult]]:
        """As `Backend.score`. Raises WorkerLost too."""
        if not self.alive:
            raise NotRun(self._lost())
        with self._state:
            self._batches += 1
        try:
            with self._run.lock:
                rows = tuple([self._rows_of(batch) for batch in batches])
                vet = partial(self._vet_scored, batches)
                answer = self._ask_with_rows(self._run, m.Running, m.Score(rows), rows, m.RunAnswer, vet)
        finally:
            self._batch_done()
            self._send_gone()
        return [_apart(batch, results) for batch, results in zip(batches, answer.batches, strict=True)]

    def _rows_of(self, batch: Batch) -> m.Prepare:
        """A batch as it crosses, with the subjects that nobody has sent yet. It must be sent then."""
        with self._state:
            subjects = {chunk.subject.number: chunk.subject for chunk in batch.chunks}
            new = [subject for number, subject in subjects.items() if number not in self._known]
            for subject in new:
                self._known[subject.number] = weakref.ref(subject, partial(self._forgotten, subject.number))
        readouts, numbers = distinct(batch.chunks)
        chunks = np.array(
            [(chunk.subject.number, n, chunk.rows) for chunk, n in zip(batch.chunks, numbers, strict=True)], np.int64
        )
        parts = tuple(m.SubjectParts.of(subject) for subject in new)
        rows, how = stacked(batch.chunks), (batch.steady, batch.exact, batch.at_once)
        return m.Prepare(parts, batch.batched, batch.padded, readouts, chunks, rows, *how)

    def _ask_with_rows(
        self,
        channel: _Channel,
        kind: object,
        question: object,
        rows: Sequence[m.Prepare],
        answers: object,
        vet: Callable[[Any], None],
    ) -> Any:
        """Ask a question of batches. kind, answers: the annotations of both sides."""
        subjects = [parts for batch in rows for parts in batch.subjects]
        shared = self._shared if channel is self._prepare else self._shared_to_run
        fd = None
        try:
            frame = framed(kind, question)
            fd = shared.put(frame.aside, frame.aside_bytes)
            answer, size = self._ask(channel, frame, answers, vet, fd)
        except Exception:
            for parts in subjects:  # they may not have come
                self._known.pop(parts.number, None)
            raise
        finally:
            if fd is not None:
                os.close(fd)
        introduced = sum(parts.size_bytes for parts in subjects)
        self._counters.add(subject_bytes=introduced, row_bytes=frame.size - introduced)
        if channel is self._run:
            self._counters.add(result_bytes=size)
        return answer

    def run(self, waiting: Waiting) -> list[ChunkResult]:
        """As `Backend.run`. Raises WorkerLost too."""
        try:
            with self._run.lock:
                self._asked = waiting.ticket
                frame = framed(m.Running, m.Run(waiting.ticket))
                answer, size = self._ask(self._run, frame, m.RunAnswer, partial(self._vet_results, waiting.batch))
        finally:
            self._asked = None
            self._batch_done()
        self._counters.add(result_bytes=size)
        return _apart(waiting.batch, answer)

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
        if self._known.pop(number, None) is not None:
            self._gone.append(number)
            self._send_gone()

    def _forgotten(self, number: int, _: weakref.ref[Subject]) -> None:
        """Nobody holds the subject any more. Called wherever the garbage collector stands, so this mustn't wait."""
        self.release(number)

    def _send_gone(self) -> None:
        """Tell the worker, behind the batches that may still need them; whoever is preparing one does it afterwards."""
        while self._gone and self._prepare.lock.acquire(blocking=False):
            try:
                numbers = tuple(self._gone.popleft() for _ in range(len(self._gone)))
                if not self._post(self._prepare, framed(m.Making, m.Release(numbers))):
                    self._gone.extend(numbers)
                    return
            finally:
                self._prepare.lock.release()

    # ---- watch -------------------------------------------------------------------------------------------------

    def terminate(self) -> None:
        """Ask the batch that is running to stop; its `run` then raises Terminated. Doesn't wait for it."""
        self._post(self._watch, framed(m.Watch, m.Terminate(self._asked)))

    def ping(self) -> bool:
        """Ask for a sign of life, without waiting for it. False where the last one has been missing for longer than
        what the worker does explains, or the worker is lost. Called by one thread at a time.
        """
        if self.alive and self._pongs == self._pings:
            self._pinged, self._starved_s = time.monotonic(), self._waited_s()
            self._pings += 1
            self._post(self._watch, framed(m.Watch, m.Ping(self._pings)))
        return self.alive and self.silent_s <= self._patience_s()

    @property
    def silent_s(self) -> float:
        """Seconds since the oldest ping without an answer, while nothing was being decided before. Those in which it
        wanted to run and no core was free don't count.
        """
        if self._pongs == self._pings:
            return 0.0
        busy = self._control.lock.locked()
        since = time.monotonic() - (self._pinged if busy else max(self._pinged, self._decided))
        return max(0.0, since - (self._waited_s() - self._starved_s))

    def _waited_s(self) -> float:
        """So long has its first thread waited for a core until now; 0 where the system doesn't say."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_bytes().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0

    def _patience_s(self) -> float:
        if self._stopped():
            return _STOPPED_S
        return _BUSY_S + self._file_bytes * _BUSY_S_PER_BYTE if self._control.lock.locked() else _IDLE_S

    def _stopped(self) -> bool:
        """Whether a signal stopped it."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"
        except (OSError, IndexError):
            return False

    def _read_pongs(self) -> None:
        with self._watch.lock:
            try:
                while True:
                    self._pongs = self._watch.wire.receive().read(m.Ping).number
            except Malformed as malformed:
                self.kill(f"it sent nonsense: {malformed}")
            except (EOFError, OSError):
                pass  # it is gone, or will be found silent

    def _post(self, channel: _Channel, frame: Frame) -> bool:
        """Send without waiting; False where the worker is gone or doesn't read."""
        try:
            return self.alive and channel.wire.post(frame)
        except OSError:
            return False


def _apart(batch: Batch, answer: m.Results) -> list[ChunkResult]:
    return results_unstacked(answer.results, [chunk.rows for chunk in batch.chunks])
