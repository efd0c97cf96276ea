"""The backend that runs each model in a process of its own, for those who don't trust them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from assayd.engine.backend import Asked, Batch, ChunkResult, LoadedModel, NotRun, Prepared, Worker
from assayd.engine.options import MOST_ROWS, SessionOptions, device_name
from assayd.engine.worker.counters import Counters
from assayd.engine.worker.process import Process, Waiting
from assayd.engine.worker.room import MemoryKills
from assayd.engine.worker.spawn import start
from assayd.errors import WorkerLost, WorkerNotStarted
from assayd.types.model import Tuning
from assayd.types.subject import Subject

_CLOSE_S, _FULL_S = 10.0, 5.0

_SPIN_US = 100
"""Mostly one worker runs at a time, and the threads of the one before must not stay awake at its cost."""


@dataclass(eq=False)
class _Decisions:
    """What was decided of a model and has to hold in its next worker too.

    loaded: how it is run now. settled_by: the subject that answered its open question. demoted: why. steady: how it is
    run for the same bits, once somebody asked.
    """

    loaded: LoadedModel
    settled_by: Subject | None = None
    demoted: str | None = None
    steady: LoadedModel | None = None


class WorkerBackend:
    """Implements `assayd.engine.backend.Backend` with a process a model. Linux only.

    batch_rows: most rows in a batch, or None to choose by a sweep, or by the size of a row. memory_bytes: of a worker's
    address space, or None; not for CUDA, which reserves far more than it uses. Calls as `Backend` says, and besides:
    whatever needs a worker that was lost raises WorkerLost until the model is revived or unloaded. counters: for tests
    and metrics.
    """

    def __init__(self, options: SessionOptions, batch_rows: int | None, memory_bytes: int | None = None) -> None:
        self._options = replace(options, spin_us=_SPIN_US)
        self._batch_rows = batch_rows
        self._memory_bytes = memory_bytes
        self._processes: dict[str, Process] = {}
        self._decisions: dict[str, _Decisions] = {}
        self._every: set[Process] = set()
        self._starting: set[str] = set()
        self._lock = threading.Lock()
        # A worker ends with the thread that started it.
        self._starter = ThreadPoolExecutor(1, "worker-start")
        self._memory_kills = MemoryKills()
        self.counters = Counters()

    @property
    def apart(self) -> bool:
        """Yes."""
        return True

    @property
    def device(self) -> str:
        """By the provider asked for; each loaded model says what it really got."""
        return device_name(self._options)

    @property
    def max_batch_rows(self) -> int:
        """Most rows of any model's batch."""
        return self._batch_rows or MOST_ROWS

    @property
    def sessions_built(self) -> int:
        """By all workers so far."""
        return self.counters.sessions_built

    # ---- models ------------------------------------------------------------------------------------------------

    def load(self, digest: str, data: bytes, tuning: Tuning | None = None) -> LoadedModel:
        """Start a worker that loads, proves and tunes.

        Raises InvalidModel, ModelFailed, ModelUnfit, OutOfMemory, WorkerLost; nothing is left then.
        """
        self._decisions.pop(digest, None)
        _, loaded = self._loaded(digest, data, tuning)
        self._decisions[digest] = _Decisions(loaded)
        return loaded

    def revive(self, digest: str, data: bytes) -> LoadedModel:
        """Start another worker for a model whose worker was lost, and decide there as was decided before; nothing where
        it lives. data: its file again. Raises KeyError for a model that isn't loaded, and as `load`.

        Rows that were planned before run as planned.
        """
        old = self._decisions[digest]
        if self._processes[digest].alive:
            return old.loaded
        with self._start(digest):
            process, loaded = self._loaded(digest, data, old.loaded.tuning)
            try:
                loaded = _decided_again(process, old, data, loaded)
            except BaseException:
                self._discard(process, "its revival failed")
                raise
            if self._decisions.get(digest) is not old:
                self._discard(process, "unloaded")
        old.loaded = self._here(loaded)
        return old.loaded

    @contextmanager
    def _start(self, digest: str) -> Iterator[None]:
        """While a model is being loaded no batch may go to its process."""
        self._starting.add(digest)
        try:
            yield
        finally:
            self._starting.discard(digest)

    def _loaded(self, digest: str, data: bytes, tuning: Tuning | None) -> tuple[Process, LoadedModel]:
        process = self._started(digest)
        self.counters.add(processes_started=1)
        with self._lock:
            before = self._processes.get(digest)
            self._processes[digest] = process
            self._every = {p for p in self._every if not p.join(0)} | {process}
        if before is not None:
            before.retire()
        try:
            return process, self._here(process.load(self._options, self._batch_rows, data, tuning))
        except BaseException as error:
            self._discard(process, "its load failed")
            if isinstance(error, OSError):
                raise _not_started(error) from error
            raise

    def _discard(self, process: Process, why: str) -> None:
        process.kill(why)
        with self._lock:
            # A model that is to be revived stays, lost as it is.
            if self._processes.get(process.digest) is process and process.digest not in self._decisions:
                del self._processes[process.digest]

    def _started(self, digest: str) -> Process:
        try:
            # A driver may talk to its helpers by sockets.
            offline = self._options.provider != "cuda"
            started = self._starter.submit(partial(start, self._memory_bytes, offline=offline)).result()
        except OSError as error:
            raise _not_started(error) from error
        try:
            return Process(started, digest, self.max_batch_rows, self.counters, self._memory_kills)
        except RuntimeError as error:  # no more threads
            started.process.kill()
            raise _not_started(error) from error

    def prove(self, digest: str, subject: Subject) -> LoadedModel:
        """As `Backend.prove`."""
        known = self._decisions[digest]
        if known.loaded.open_question:
            known.loaded = self._here(self._processes[digest].prove(subject))
            known.settled_by = None if known.loaded.open_question else subject
        return known.loaded

    def demote(self, digest: str, data: bytes, reason: str) -> LoadedModel:
        """As `Backend.demote`."""
        known = self._decisions[digest]
        known.loaded = self._here(self._processes[digest].demote(data, reason))
        known.demoted, known.steady = reason, None
        return known.loaded

    def steady(self, digest: str, data: bytes) -> LoadedModel:
        """As `Backend.steady`."""
        known = self._decisions[digest]
        if known.steady is None:
            known.steady = self._here(self._processes[digest].steady(data))
        return known.steady

    def _here(self, loaded: LoadedModel) -> LoadedModel:
        """A model on this device, whatever its worker says of that."""
        return replace(loaded, device=self.device)

    def unload(self, digest: str) -> None:
        """Forget the model; batches already prepared still run, and then its worker ends."""
        with self._lock:
            process = self._processes.pop(digest, None)
            self._decisions.pop(digest, None)
        if process is not None:
            process.retire()

    # ---- batches -----------------------------------------------------------------------------------------------

    def prepare(self, batch: Batch) -> Waiting:
        """As `Backend.prepare`. Raises WorkerLost too."""
        return self._process(batch.digest).prepare(batch)

    def post(self, batch: Batch) -> Waiting | None:
        """As `Backend.post`."""
        process = self._processes.get(batch.digest)
        return None if process is None or batch.digest in self._starting else process.post(batch)

    def run(self, prepared: Prepared) -> list[ChunkResult]:
        """As `Backend.run`. Raises WorkerLost, and Terminated after `terminate`."""
        waiting = _waiting(prepared)
        return waiting.process.run(waiting)

    def drop(self, prepared: Prepared) -> None:
        """As `Backend.drop`."""
        waiting = _waiting(prepared)
        waiting.process.drop(waiting)

    def score(self, batches: Sequence[Batch]) -> list[list[ChunkResult]]:
        """As `Backend.score`. Raises WorkerLost, and Terminated after `terminate`."""
        try:
            process = self._process(batches[0].digest)
        except WorkerLost as error:
            raise NotRun(error) from error
        return process.score(batches)

    def ask(self, what: Prepared | Sequence[Batch]) -> Asked | None:
        """As `Backend.ask`."""
        if not isinstance(what, Sequence):
            waiting = _waiting(what)
            return waiting.process.ask(waiting)
        try:
            return self._process(what[0].digest).ask(what)
        except WorkerLost:  # `score` says so
            return None

    def _process(self, digest: str) -> Process:
        """That runs a model now."""
        process = self._processes.get(digest)
        if process is None or digest in self._starting or digest not in self._decisions:
            raise WorkerLost("the model has no process now", metadata={"cause": "gone"}, retry_after_s=1.0)
        return process

    def release(self, subject: int) -> None:
        """No more rows of this subject will come. Subjects that are garbage release themselves."""
        for process in list(self._processes.values()):
            process.release(subject)

    # ---- workers -----------------------------------------------------------------------------------------------

    def terminate(self, digest: str) -> None:
        """From any thread: ask the model's running batch to stop, between two operators. Doesn't wait for it."""
        for process in self._all_of(digest):
            process.terminate()

    def kill(self, digest: str, why: str) -> None:
        """From any thread: end the model's worker now, whatever it does; a load too. why: the cause that calls on it
        are told.
        """
        for process in self._all_of(digest):
            process.kill(why)

    def _all_of(self, digest: str) -> list[Process]:
        """Those that end when their last batches have run, too: nobody else could end such a batch."""
        with self._lock:
            return [p for p in self._every if p.digest == digest]

    def ping(self, digest: str) -> bool:
        """As `Backend.ping`; by one thread at a time."""
        process = self._processes.get(digest)
        return process is not None and process.ping()

    def workers(self) -> list[Worker]:
        """Those of the loaded models, lost ones too, and then those that end when their last batches have run."""
        with self._lock:
            ending = [p for p in self._every if p.alive and p is not self._processes.get(p.digest)]
            every = (*self._processes.values(), *ending)
        self._memory_kills.look()
        return [Worker(p.digest, p.pid, p.alive, p.rss_bytes, p.cause) for p in every]

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            every, self._every = self._every, set()
            self._processes.clear()
            self._decisions.clear()
        for process in every:
            process.kill("closed")
        for process in every:
            process.join(_CLOSE_S)
        self._starter.shutdown()


def _waiting(prepared: Prepared) -> Waiting:
    if not isinstance(prepared, Waiting):
        raise TypeError("a batch is run by the backend that prepared it")
    return prepared


def _not_started(error: Exception) -> WorkerNotStarted:
    why = error.strerror if isinstance(error, OSError) else str(error)
    said = f"a process for the model can't be started now: {why}"
    return WorkerNotStarted(said, metadata={"cause": f"not started: {why}"}, retry_after_s=_FULL_S)


def _decided_again(process: Process, old: _Decisions, data: bytes, loaded: LoadedModel) -> LoadedModel:
    if old.settled_by is not None:
        loaded = process.prove(old.settled_by)
    if old.demoted is not None:
        loaded = process.demote(data, old.demoted)
    if old.steady is not None and loaded.batching.batched:
        # Its rows run by a program that loading alone doesn't keep.
        process.steady(data)
    return loaded
