"""A server's devices, each with its models: one place to use a model, on whichever of them it is loaded."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from assayd.engine.backend import Backend, LoadedModel
from assayd.engine.in_memory import InUse
from assayd.engine.models import LoadedModels
from assayd.errors import AssayError, DeviceGone, WorkerLost
from assayd.metrics import Metrics
from assayd.types.subject import Subject

T = TypeVar("T")

log = logging.getLogger(__name__)

_ASK_AGAIN_S = 10.0
_REST_S = 30.0
"""A model that couldn't be spread isn't tried again for so long."""


@dataclass(frozen=True, eq=False)
class Device:
    """backend: runs models on it. models: those in its memory."""

    backend: Backend
    models: LoadedModels

    @property
    def name(self) -> str:
        """Such as "cpu" or "cuda:1"."""
        return self.backend.device

    @property
    def lost(self) -> bool:
        """Whether nothing runs on it any more."""
        return self.models.pulse.lost


@dataclass(frozen=True)
class DeviceState:
    """serving: whether it computes, as far as is known. models: loaded on it."""

    name: str
    serving: bool
    models: int


class Fleet:
    """Loads a model on the device with the least to do, and on further ones when what waits for it is worth that.

    spread_after_s: device time that has to wait for a model beyond what loading it takes, for each device that has it,
    before another one loads it.
    waiting: seconds that wait, by digest; told by whoever holds the queue. changed: called when models have come to a
    device or left one. Used by the event loop alone.

    What is decided of a model is decided on the device that a request holds it on; other devices then forget it, and
    load it as it was decided when that is worth it again.
    """

    def __init__(self, devices: Sequence[Device], metrics: Metrics, *, spread_after_s: float = 1.0) -> None:
        self._devices = {device.name: device for device in devices}
        self._metrics = metrics
        self._spread_after_s = spread_after_s
        self._pinned: set[str] = set()
        self._coming: Counter[tuple[str, str]] = Counter()
        self._spreading: dict[str, asyncio.Task[None]] = {}
        self._resting: dict[tuple[str, str], float] = {}
        self._asking: dict[str, asyncio.Task[bool]] = {}
        self._asked: dict[str, float] = {}
        self.waiting: Callable[[], Mapping[str, float]] = dict
        self.changed: Callable[[], None] = lambda: None
        self._show()

    # ---- for requests ------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def use(self, tenant: str, digest: str) -> AsyncIterator[InUse]:
        """As `LoadedModels.use`, on a device that has the model, or else on the one with the least to do."""
        async with AsyncExitStack() as held:
            yield await self._somewhere(digest, lambda models: held.enter_async_context(models.use(tenant, digest)))

    async def load(self, tenant: str, digest: str, data: bytes) -> LoadedModel:
        """As `LoadedModels.load`, likewise."""
        return await self._somewhere(digest, lambda models: models.load(tenant, digest, data))

    async def _somewhere(self, digest: str, load: Callable[[LoadedModels], Awaitable[T]]) -> T:
        """On one device after the other, while devices turn out to be lost."""
        while True:
            device = self._home(digest)
            try:
                with self._on_its_way(digest, device):
                    found = await load(device.models)
            except DeviceGone:
                self._lost(device)
                if not self.serving:
                    raise
            else:
                if digest in self._pinned:
                    device.models.pin(digest)
                return found

    def pin(self, digest: str) -> None:
        """Keep a loaded model in the memory of one device, whatever room others need."""
        self._pinned.add(digest)
        for device in self._with(digest)[:1]:
            device.models.pin(digest)

    def drop(self, digest: str) -> None:
        """Unload a model wherever it is loaded, as soon as nobody uses it."""
        for device in self._devices.values():
            device.models.drop(digest)

    async def prove(self, model: InUse, subject: Subject) -> None:
        """As `LoadedModels.prove`."""
        await self._decided(model, lambda models, found: models.prove(found, subject))

    async def demote(self, model: InUse, reason: str) -> None:
        """As `LoadedModels.demote`."""
        await self._decided(model, lambda models, found: models.demote(found, reason))

    async def steady(self, model: InUse) -> LoadedModel:
        """As `LoadedModels.steady`; what it returns runs on its device alone."""
        device, found = self._where(model)
        return await device.models.steady(found)

    async def _decided(self, model: InUse, decide: Callable[[LoadedModels, InUse], Awaitable[None]]) -> None:
        device, found = self._where(model)
        before = found.loaded
        await decide(device.models, found)
        model.loaded = found.loaded
        if found.loaded is not before:
            for other in self._with(before.digest):
                if other is not device:
                    other.models.in_memory.forget(before.digest)
            self.changed()

    def _where(self, model: InUse) -> tuple[Device, InUse]:
        """Where a model is that a request holds: its device may have been lost meanwhile. Raises WorkerLost."""
        digest = model.loaded.digest
        for device in self._with(digest):
            if device.models.get(digest) is model:
                return device, model
        for device in self._with(digest):
            if (found := device.models.get(digest)) is not None:
                return device, found
        raise WorkerLost("the model isn't in memory any more", retry_after_s=1.0)

    # ---- for the scheduler -------------------------------------------------------------------------------------

    def runs(self, device: str, digest: str) -> bool:
        """Whether a model is loaded on a device, and its rows may run there."""
        return not self._devices[device].lost and self._devices[device].models.runs(digest)

    async def revive(self, device: str, digest: str, cause: str) -> None:
        """Start a lost model's process again; where its device is lost, let another one take over.

        Raises as `LoadedModels.revive` where the model then is on no device.
        """
        lost = self._devices[device]
        held = lost.models.get(digest)
        try:
            if cause == "gpu" and not await lost.models.pulse.beats():
                raise DeviceGone(f"{device} can't be used any more", retry_after_s=1.0)
            await lost.models.revive(digest, cause)
        except AssayError as error:
            if isinstance(error, DeviceGone):
                self._lost(lost)
            others = [other for other in self._with(digest) if other is not lost]
            if not others and not (isinstance(error, DeviceGone) and held and await self._moved(held)):
                raise
        finally:
            self._show()
            self.changed()

    async def _moved(self, held: InUse) -> bool:
        """Load a model of a lost device on another one."""
        for device in self._by_load():
            if not device.lost:
                try:
                    await device.models.adopt(held)
                except AssayError as error:
                    said = {"model": held.loaded.digest, "device": device.name, "why": error.message}
                    log.warning("a lost device's model isn't taken over", extra=said)
                else:
                    return True
        return False

    def strike(self, digest: str, by: object) -> None:
        """As `LoadedModels.strike`; of all devices."""
        next(iter(self._devices.values())).models.strike(digest, by)

    # ---- looking after the devices -----------------------------------------------------------------------------

    async def check(self) -> None:
        """Ask every device, before the server serves. Raises DeviceGone where none computes; why, of each."""
        await asyncio.gather(*(device.models.pulse.beats() for device in self._devices.values()))
        self._show()
        if not self.serving:
            why = "; ".join(f"{name}: {device.models.pulse.why}" for name, device in self._devices.items())
            raise DeviceGone(why)

    def look(self) -> None:
        """Spread what is worth it, and ask lost devices again; to be called again and again. It waits for nothing."""
        self._spread()
        for device in self._devices.values():
            due = time.monotonic() - self._asked.get(device.name, 0.0) >= _ASK_AGAIN_S
            if device.lost and due and device.name not in self._asking:
                self._asked[device.name] = time.monotonic()
                self._asking[device.name] = task = asyncio.create_task(device.models.pulse.beats(), name="pulse")
                task.add_done_callback(partial(self._asked_again, device.name))
        self._show()

    def _asked_again(self, name: str, _: asyncio.Task[bool]) -> None:
        del self._asking[name]

    def _spread(self) -> None:
        now = time.monotonic()
        self._resting = {place: until for place, until in self._resting.items() if until > now}
        for digest, waiting_s in self.waiting().items():
            homes = self._with(digest)
            if not homes or digest in self._spreading:
                continue
            model = homes[0].models.get(digest)
            if model is None or model.loaded.open_question:
                continue
            # Before the load is over nothing is gained by it.
            if waiting_s / len(homes) < self._spread_after_s + model.loaded.load_seconds:
                continue
            size = max(model.loaded.size_bytes, model.loaded.memory_bytes)
            for device in self._by_load():
                rests = (device.name, digest) in self._resting
                if device not in homes and not device.lost and not rests and device.models.in_memory.has_room(size):
                    self._spreading[digest] = asyncio.create_task(self._adopt(device, model), name="spread")
                    break

    async def _adopt(self, device: Device, model: InUse) -> None:
        digest = model.loaded.digest
        said = {"model": digest, "device": device.name}
        try:
            await device.models.adopt(model)
            log.info("a model is loaded on another device too", extra=said)
            self._metrics.models_spread.inc()
        except AssayError as error:
            self._resting[device.name, digest] = time.monotonic() + _REST_S
            log.warning("a model isn't spread to a device", extra=said | {"why": error.message})
            if isinstance(error, DeviceGone):
                self._lost(device)
        finally:
            del self._spreading[digest]
            self.changed()

    def _lost(self, device: Device) -> None:
        device.models.forget_all()
        self._show()
        self.changed()

    # ---- what is told ------------------------------------------------------------------------------------------

    @property
    def serving(self) -> bool:
        """Whether some device computes, as far as is known."""
        return not all(device.lost for device in self._devices.values())

    @property
    def devices(self) -> Sequence[Device]:
        """All of them."""
        return tuple(self._devices.values())

    def states(self) -> list[DeviceState]:
        """Of each device."""
        return [DeviceState(d.name, not d.lost, len(d.models.in_memory)) for d in self._devices.values()]

    def providers(self) -> list[str]:
        """Execution providers that loaded models really got."""
        return sorted({name for device in self._devices.values() for name in device.models.in_memory.providers})

    def close(self) -> None:
        """Wait for loads under way and end the threads."""
        for task in (*self._spreading.values(), *self._asking.values()):
            task.cancel()
        for device in self._devices.values():
            device.models.close()

    def _show(self) -> None:
        for device in self._devices.values():
            self._metrics.device_up.labels(device.name).set(not device.lost)

    # ---- which device ------------------------------------------------------------------------------------------

    def _home(self, digest: str) -> Device:
        """That has the model, or is about to; or else the one with the least to do."""
        coming = [d for d in self._devices.values() if self._coming[digest, d.name] and not d.lost]
        return (self._with(digest) or coming or self._by_load())[0]

    def _with(self, digest: str) -> list[Device]:
        return [device for device in self._devices.values() if self.runs(device.name, digest)]

    def _by_load(self) -> list[Device]:
        """Those that compute first, and of them those with the least waiting; then those with the least in memory."""
        waiting = dict.fromkeys(self._devices, 0.0)
        for digest, seconds in self.waiting().items():
            homes = self._with(digest)
            for device in homes:
                waiting[device.name] += seconds / len(homes)
        loads = Counter(name for (_, name), count in self._coming.items() for _ in range(count))
        return sorted(
            self._devices.values(),
            key=lambda d: (d.lost, waiting[d.name], loads[d.name], d.models.in_memory.held_bytes),
        )

    @contextmanager
    def _on_its_way(self, digest: str, device: Device) -> Iterator[None]:
        """Whoever wants the model meanwhile waits for the same load."""
        self._coming[digest, device.name] += 1
        try:
            yield
        finally:
            self._coming[digest, device.name] -= 1
            if not self._coming[digest, device.name]:
                del self._coming[digest, device.name]
