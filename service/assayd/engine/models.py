"""The models in a device's memory: loaded once, used by many, and gone when room is needed."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple

from assayd.engine.backend import Backend, LoadedModel
from assayd.engine.in_memory import InMemory, InUse
from assayd.engine.pulse import Pulse
from assayd.engine.quarantine import Quarantine, cause_of, cause_word, killed_by_others, verdict
from assayd.errors import (
    DeviceGone,
    ModelFailed,
    ModelUnfit,
    OutOfMemory,
    Unavailable,
    WorkerLost,
    WorkerNotStarted,
)
from assayd.metrics import Metrics
from assayd.store.store import Store
from assayd.types.model import Tuning
from assayd.types.subject import Subject

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

log = logging.getLogger(__name__)


_TRIES = 3
"""Of a revival, where others end the process on the way."""
_REVIVALS_AT_ONCE = 32
_ABANDONED = "nobody waits for its load"
_ABANDONED_S = 2.0
_ABANDONED_S_PER_BYTE = 1 / 20e6
"""A load that nobody waits for any more goes on for so long: the caller may come back, and large files take time."""


@dataclass(eq=False)
class _Load:
    """A load under way. size: of its file, 0 until that is known. given_up: nobody came back for it."""

    task: asyncio.Task[InUse]
    waiting: int = 0
    size: int = 0
    given_up: bool = False


class LoadedModels:
    """Loads models of the store on one device when they are needed. Where a GPU has no memory for another one, one
    that nobody uses leaves, as for other want of room.

    max_load_s: longest load. max_decide_s: longest proof by a caller's instance. loads_at_once: where a load has a
    process of its own, one that is stuck holds up no other. fingerprint: of the device, under which the store keeps
    how a model runs fastest on it; empty where that is neither asked nor kept. quarantine: that of all devices. pulse:
    whether the device computes.
    """

    def __init__(
        self,
        backend: Backend,
        store: Store,
        metrics: Metrics,
        max_bytes: int,
        *,
        max_models: int = 64,
        max_load_s: float = 300.0,
        max_decide_s: float = 60.0,
        loads_at_once: int = 1,
        fingerprint: str = "",
        quarantine: Quarantine | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        self._backend = backend
        self._device = backend.device
        self.pulse = pulse or Pulse(backend)
        self._store = store
        self._metrics = metrics
        self.in_memory = InMemory(backend, metrics, max_bytes, max_models)
        self._max_load_s = max_load_s
        self._max_decide_s = max_decide_s
        self._fingerprint = fingerprint
        self._loads: dict[str, _Load] = {}
        self._turns = asyncio.Semaphore(min(loads_at_once, max_models))
        self._quarantine = quarantine or Quarantine(time.monotonic)
        self._adopting: set[str] = set()
        self._threads = ThreadPoolExecutor(loads_at_once, "model-load")
        # Of their own: what is stuck in a load or a proof holds up no revival.
        self._reviving = ThreadPoolExecutor(_REVIVALS_AT_ONCE, "model-revive")

    @asynccontextmanager
    async def use(self, tenant: str, digest: str) -> AsyncIterator[InUse]:
        """Hold a model of the store in memory.

        Raises ModelNotFound, DataLoss, InvalidModel, ModelFailed, ModelQuarantined, ModelsFull, OutOfMemory,
        WorkerLost.
        """
        with ExitStack() as used:
            with self.in_memory.want(digest):
                await self._loaded(tenant, digest, lambda: self._store.model_bytes(tenant, digest))
                model = used.enter_context(self.in_memory.use(digest))
            yield model

    async def load(self, tenant: str, digest: str, data: bytes) -> LoadedModel:
        """Load bytes that aren't in the store yet. Raises as `use`, and ModelUnfit."""
        with self.in_memory.want(digest):
            model = await self._loaded(tenant, digest, lambda: data)
        model.dropped = False
        return model.loaded

    async def adopt(self, other: InUse) -> None:
        """Load here as well what runs on another device, as it was decided there. It runs here only when it has come
        out as it is there. Raises as `use`, and ModelUnfit where it doesn't.
        """
        digest, tenant = other.loaded.digest, other.tenant
        self._adopting.add(digest)
        try:
            with self.in_memory.want(digest):
                model = await self._loaded(tenant, digest, lambda: self._store.model_bytes(tenant, digest))
                if other.settled_by is not None:
                    await self.prove(model, other.settled_by)
                if other.demoted is not None:
                    await self.demote(model, other.demoted)
            if not _alike(model.loaded, other.loaded):
                self.in_memory.forget(digest)
                raise ModelUnfit(f"the model runs otherwise on {self._device} than where it was loaded first")
        finally:
            self._adopting.discard(digest)

    def runs(self, digest: str) -> bool:
        """Whether a model is in memory, and its rows may run."""
        return digest in self.in_memory and digest not in self._adopting

    def get(self, digest: str) -> InUse | None:
        """A model that runs."""
        return self.in_memory[digest] if self.runs(digest) else None

    def forget_all(self) -> None:
        """Unload everything but what is being decided: the device is lost."""
        for digest in [d for d in self.in_memory if not self.in_memory[d].deciding.locked()]:
            self.in_memory.forget(digest)

    def pin(self, digest: str) -> None:
        """Keep a loaded model in memory, whatever room others need."""
        if digest in self.in_memory:
            self.in_memory[digest].pinned = True

    def drop(self, digest: str) -> None:
        """Unload a model, if it is loaded, as soon as nobody uses it."""
        if digest in self.in_memory:
            self.in_memory[digest].dropped = True
            self.in_memory.make_room()

    async def prove(self, model: InUse, subject: Subject) -> None:
        """Try an open question with a caller's instance."""
        async with model.deciding:
            if model.loaded.open_question:
                model.loaded = await self._decide(model, self._backend.prove, model.loaded.digest, subject)
                model.settled_by = None if model.loaded.open_question else subject
                self.in_memory.show()

    async def demote(self, model: InUse, reason: str) -> None:
        """Run a model row by row from now on."""
        async with model.deciding:
            if model.loaded.batching.batched:
                data = await self._data(model)
                model.loaded = await self._decide(model, self._backend.demote, model.loaded.digest, data, reason)
                model.steady, model.demoted = None, reason
                self.in_memory.show()

    async def steady(self, model: InUse) -> LoadedModel:
        """The model as it must be run for the same bits in any company. Raises NotReproducible."""
        async with model.deciding:
            if model.steady is None:
                data = await self._data(model)
                model.steady = await self._decide(model, self._backend.steady, model.loaded.digest, data)
            return model.steady

    async def revive(self, digest: str, cause: str) -> None:
        """Start a lost model's process again, after a pause that grows. cause: of the loss, for the metrics.

        Raises ModelQuarantined, and as `use`.
        """
        model = self.in_memory.get(digest)
        if model is None:
            raise WorkerLost("the model isn't in memory any more", retry_after_s=1.0)
        try:
            await self._revived(model, digest, cause)
        except Exception:
            self.in_memory.forget(digest)
            raise
        finally:
            self.in_memory.make_room()
            self.in_memory.show()

    async def _revived(self, model: InUse, digest: str, cause: str) -> None:
        for tries in range(1, _TRIES + 1):
            self._quarantine.check(digest)
            await asyncio.sleep(self._quarantine.pause(digest))
            try:
                async with model.deciding:
                    await self._start_in_time(model, cause)
            except WorkerNotStarted:
                if tries == _TRIES or not self.in_memory.evict(digest):
                    raise
            except WorkerLost as error:
                said = {"model": digest, "why": error.message}
                log.warning("a process was lost while it loaded a model again", extra=said)
                await self._answers(error)
                if not killed_by_others(error):
                    self.strike(digest, object())
                    raise verdict(error, "while it was loaded") from error
                if tries == _TRIES:
                    raise
            else:
                return

    async def _start_again(self, model: InUse, cause: str) -> None:
        """Nothing happens where somebody else was first. The caller holds `model.deciding`."""
        loop, digest = asyncio.get_running_loop(), model.loaded.digest
        data = await loop.run_in_executor(self._reviving, self._store.model_bytes, model.tenant, digest)
        again = await loop.run_in_executor(self._reviving, self._backend.revive, digest, data)
        if again is not model.loaded:
            self._metrics.worker_restarts.labels(cause).inc()
        model.loaded = again

    def strike(self, digest: str, by: object) -> None:
        """A model was proven to have ended its process. by: the request, load or proof; each counts once."""
        self._quarantine.strike(digest, by)
        self._metrics.models_quarantined.set(len(self._quarantine.held))

    def close(self) -> None:
        """Wait for a load under way and end the threads."""
        self._threads.shutdown()
        self._reviving.shutdown()
        self.pulse.close()

    async def _loaded(self, tenant: str, digest: str, read: Callable[[], bytes]) -> InUse:
        """The model, loaded once for all who ask meanwhile."""
        while digest not in self.in_memory:
            load = self._loads.get(digest)
            if load is None:
                self._quarantine.check(digest)
                load = self._loads[digest] = _Load(asyncio.create_task(self._load(tenant, digest, read)))
                load.task.add_done_callback(lambda _: self._loads.pop(digest, None))
                load.task.add_done_callback(_seen)
            load.waiting += 1
            try:
                await asyncio.shield(load.task)
            finally:
                load.waiting -= 1
                if not load.waiting and not load.task.done():
                    patience = _ABANDONED_S + load.size * _ABANDONED_S_PER_BYTE
                    asyncio.get_running_loop().call_later(patience, self._give_up, digest, load)
        return self.in_memory[digest]

    def _give_up(self, digest: str, load: _Load) -> None:
        """End a load that nobody came back for."""
        if not load.waiting and not load.task.done():
            load.given_up = True  # it may still wait for a thread, with no process yet
            self._end_load(digest, _ABANDONED)

    def _end_load(self, digest: str, why: str) -> None:
        # On a thread of its own: those for loads may all be busy with what is to be ended.
        threading.Thread(target=self._backend.kill, args=(digest, why), daemon=True).start()

    async def _load(self, tenant: str, digest: str, read: Callable[[], bytes]) -> InUse:
        try:
            async with self._turns:
                with self.in_memory.place():
                    loaded = await self._with_memory(tenant, digest, read)
        except Exception:
            self._metrics.model_loads.labels("failed").inc()
            raise
        self._metrics.model_loads.labels("loaded").inc()
        self._metrics.model_load_seconds.observe(loaded.load_seconds)
        model = InUse(loaded, tenant)
        self.in_memory.add(digest, model)
        return model

    async def _with_memory(self, tenant: str, digest: str, read: Callable[[], bytes]) -> LoadedModel:
        """Load; a GPU's memory is shared by all models there, while a process on the CPU has a limit of its own."""
        while True:
            try:
                return await self._within_time(tenant, digest, read)
            except OutOfMemory:
                if not (self.pulse.on_gpu and self.in_memory.evict()):
                    raise

    async def _within_time(self, tenant: str, digest: str, read: Callable[[], bytes]) -> LoadedModel:
        """Load; a process that is lost on the way may have been ended by others once."""
        load = self._loads[digest]
        data = await self._off_loop(read)
        load.size = len(data)
        for last in (False, True):
            try:
                async with asyncio.timeout(self._max_load_s):
                    return await self._off_loop(self._start, tenant, digest, data, load)
            except TimeoutError:
                self._end_load(digest, "its load took too long")
                raise ModelFailed(f"loading and proving the model took longer than {self._max_load_s:g} s") from None
            except WorkerNotStarted:
                if last or not self.in_memory.evict():
                    raise
            except WorkerLost as error:
                log.warning("a process was lost while it loaded a model", extra={"model": digest, "why": error.message})
                await self._answers(error)
                if last or not killed_by_others(error):
                    if error.metadata.get("cause") != _ABANDONED:  # impatient callers are no fault of the model
                        self.strike(digest, object())
                    raise verdict(error, "while it was loaded") from error
        raise AssertionError("the last try returns or raises")

    def _start(self, tenant: str, digest: str, data: bytes, load: _Load) -> LoadedModel:
        if load.given_up:
            raise WorkerLost("nobody waits for this load any more", metadata={"cause": _ABANDONED})
        known = self._store.tuning(tenant, digest, self._fingerprint) if self._fingerprint else None
        loaded = self._backend.load(digest, data, known)
        if loaded.tuning is not None and loaded.tuning != known:
            self._metrics.model_sweeps.inc()
            self._keep(tenant, digest, loaded.tuning)
        return loaded

    async def _answers(self, error: WorkerLost) -> None:
        """A model can't be blamed for a GPU that nothing runs on any more. Raises DeviceGone."""
        if cause_of(error) == "gpu" and not await self.pulse.beats():
            raise DeviceGone(
                f"{self._device} can't be used any more", metadata=error.metadata, retry_after_s=1.0
            ) from error

    def _keep(self, tenant: str, digest: str, tuning: Tuning) -> None:
        if not self._fingerprint:
            return
        try:
            self._store.keep_tuning(tenant, digest, self._fingerprint, tuning)
        except Unavailable as error:
            log.warning("a model's tuning isn't kept", extra={"model": digest, "why": error.message})

    async def _decide(self, model: InUse, function: Callable[[*Ts], LoadedModel], *arguments: *Ts) -> LoadedModel:
        """Something that runs the model outside any batch. A process that others end meanwhile is started again, once.

        Raises ModelFailed where the model ended its process or didn't end, OutOfMemory, and as the function does.
        """
        for worker in self._backend.workers():
            if worker.digest == model.loaded.digest and not worker.alive:
                await self._start_in_time(model, cause_word(worker.cause))
        try:
            return await self._tried(model, function, *arguments)
        except WorkerLost as error:
            log.warning("a process was lost in a proof", extra={"model": model.loaded.digest, "why": error.message})
            await self._start_in_time(model, cause_of(error))
            return await self._tried(model, function, *arguments)

    async def _start_in_time(self, model: InUse, cause: str) -> None:
        try:
            async with asyncio.timeout(self._max_load_s):
                await self._start_again(model, cause)
        except TimeoutError:
            self._end_load(model.loaded.digest, "its load took too long")
            raise ModelFailed(f"loading the model again took longer than {self._max_load_s:g} s") from None

    async def _tried(self, model: InUse, function: Callable[[*Ts], LoadedModel], *arguments: *Ts) -> LoadedModel:
        """It has its time, and no longer than somebody waits for it. Raises WorkerLost where others ended it."""
        digest, loop = model.loaded.digest, asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, function, *arguments)
        running.add_done_callback(_seen)
        try:
            async with asyncio.timeout(self._max_decide_s):
                return await asyncio.shield(running)
        except TimeoutError:
            self._end_load(digest, "stuck in a proof")
            self.strike(digest, object())
            raise ModelFailed(f"the model didn't answer a row within {self._max_decide_s:g} s") from None
        except asyncio.CancelledError:
            loop.call_later(_ABANDONED_S, self._end_if_running, digest, running)
            raise
        except WorkerLost as error:
            if killed_by_others(error):
                raise
            self.strike(digest, object())
            raise verdict(error, "with a caller's row") from error

    def _end_if_running(self, digest: str, running: asyncio.Future[LoadedModel]) -> None:
        if not running.done():
            self._end_load(digest, "stuck in a proof that nobody waits for")

    async def _data(self, model: InUse) -> bytes:
        return await self._off_loop(self._store.model_bytes, model.tenant, model.loaded.digest)

    async def _off_loop(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _alike(one: LoadedModel, other: LoadedModel) -> bool:
    """Whether rows that were planned for one may run on the other."""
    said = [(m.batching, m.provider, m.precision, m.signature, m.open_question) for m in (one, other)]
    return said[0] == said[1]


def _seen(ended: asyncio.Future[Any]) -> None:
    """Fetch a failure that nobody may be waiting for any more."""
    if not ended.cancelled():
        ended.exception()
