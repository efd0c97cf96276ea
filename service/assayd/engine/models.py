"""The models in memory: loaded once, used by many, and gone when room is needed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

from assayd.engine.backend import Backend, LoadedModel
from assayd.metrics import Metrics
from assayd.store.store import Store
from assayd.types.subject import Subject

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(eq=False)
class InUse:
    """A loaded model while somebody uses it; `loaded` follows what later proofs decide.

    steady: how it is run for the same bits in any company, once somebody asked.
    """

    loaded: LoadedModel
    users: int = 0
    steady: LoadedModel | None = None


class LoadedModels:
    """Loads models of the store when they are needed, and unloads the least recently used ones that nobody uses when
    their files come to more than `max_bytes`.
    """

    def __init__(self, backend: Backend, store: Store, metrics: Metrics, max_bytes: int) -> None:
        self._backend = backend
        self._store = store
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._models: OrderedDict[str, InUse] = OrderedDict()
        self._loads: dict[str, asyncio.Task[InUse]] = {}
        self._deciding = asyncio.Lock()
        # One at a time: loads are bound by memory and by the cores that the device needs too.
        self._thread = ThreadPoolExecutor(1, "model-load")

    @asynccontextmanager
    async def use(self, tenant: str, digest: str) -> AsyncIterator[InUse]:
        """Hold a model of the store in memory. Raises ModelNotFound, DataLoss, InvalidModel, ModelFailed."""
        model = await self._loaded(digest, lambda: self._store.model_bytes(tenant, digest))
        model.users += 1
        self._models.move_to_end(digest)
        try:
            yield model
        finally:
            model.users -= 1
            self._make_room()

    async def load(self, digest: str, data: bytes) -> LoadedModel:
        """Load bytes that aren't in the store yet. Raises InvalidModel, ModelFailed, ModelUnfit."""
        return (await self._loaded(digest, lambda: data)).loaded

    async def prove(self, model: InUse, subject: Subject) -> None:
        """Try an open question with a caller's instance."""
        async with self._deciding:
            if model.loaded.open_question:
                model.loaded = await self._off_loop(self._backend.prove, model.loaded.digest, subject)
                self._show()

    async def demote(self, tenant: str, model: InUse, reason: str) -> None:
        """Run a model row by row from now on."""
        async with self._deciding:
            if model.loaded.batching.batched:
                digest = model.loaded.digest
                data = await self._off_loop(self._store.model_bytes, tenant, digest)
                model.loaded = await self._off_loop(self._backend.demote, digest, data, reason)
                model.steady = None
                self._show()

    async def steady(self, tenant: str, model: InUse) -> LoadedModel:
        """The model as it must be run for the same bits in any company. Raises NotReproducible."""
        async with self._deciding:
            if model.steady is None:
                digest = model.loaded.digest
                data = await self._off_loop(self._store.model_bytes, tenant, digest)
                model.steady = await self._off_loop(self._backend.steady, digest, data)
            return model.steady

    def providers(self) -> list[str]:
        """Execution providers that loaded models really got."""
        return sorted({m.loaded.provider for m in self._models.values()})

    def close(self) -> None:
        """Wait for a load under way and end the thread."""
        self._thread.shutdown()

    async def _loaded(self, digest: str, read: Callable[[], bytes]) -> InUse:
        """The model, loaded once for all who ask meanwhile; a caller that leaves doesn't stop the load."""
        while digest not in self._models:
            task = self._loads.get(digest)
            if task is None:
                task = self._loads[digest] = asyncio.create_task(self._load(digest, read))
                task.add_done_callback(lambda _: self._loads.pop(digest, None))
                task.add_done_callback(_seen)
            await asyncio.shield(task)
        return self._models[digest]

    async def _load(self, digest: str, read: Callable[[], bytes]) -> InUse:
        try:
            loaded = await self._off_loop(lambda: self._backend.load(digest, read()))
        except Exception:
            self._metrics.model_loads.labels("failed").inc()
            raise
        self._metrics.model_loads.labels("loaded").inc()
        self._metrics.model_load_seconds.observe(loaded.load_seconds)
        model = self._models[digest] = InUse(loaded)
        self._make_room(keep=digest)
        return model

    def _make_room(self, keep: str = "") -> None:
        total = sum(m.loaded.size_bytes for m in self._models.values())
        for digest, model in list(self._models.items()):
            if total <= self._max_bytes:
                break
            if model.users == 0 and digest != keep:
                del self._models[digest]
                self._backend.unload(digest)
                total -= model.loaded.size_bytes
        self._show()

    def _show(self) -> None:
        self._metrics.models_loaded.clear()
        for model in self._models.values():
            mode = "batched" if model.loaded.batching.batched else "row_by_row"
            self._metrics.models_loaded.labels(model.loaded.provider, mode).inc()
            self._metrics.provider.labels(model.loaded.provider).set(1)
        self._metrics.models_loaded_bytes.set(sum(m.loaded.size_bytes for m in self._models.values()))

    async def _off_loop(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


def _seen(task: asyncio.Task[InUse]) -> None:
    """Fetch a failed load's error, which nobody may be waiting for any more."""
    if not task.cancelled():
        task.exception()
