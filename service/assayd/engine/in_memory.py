"""The models that a device holds, and which of them leaves when another one needs its room."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from assayd.engine.backend import Backend, LoadedModel
from assayd.errors import ModelsFull
from assayd.metrics import Metrics
from assayd.types.subject import Subject

_FULL_S = 5.0


@dataclass(eq=False)
class InUse:
    """A loaded model while somebody uses it; `loaded` follows what later proofs decide.

    tenant: in whose store its file is. pinned: it stays in memory. dropped: it doesn't, once nobody uses it.
    deciding: held while something is decided. steady: how it is run for the same bits in any company, once somebody
    asked. settled_by: the instance that answered its open question. demoted: why it runs row by row, where that was
    decided after its load.
    """

    loaded: LoadedModel
    tenant: str
    users: int = 0
    pinned: bool = False
    dropped: bool = False
    deciding: asyncio.Lock = field(default_factory=asyncio.Lock)
    steady: LoadedModel | None = None
    settled_by: Subject | None = None
    demoted: str | None = None

    @property
    def idle(self) -> bool:
        """Whether nobody uses it."""
        return not self.users and not self.deciding.locked()

    @property
    def held_bytes(self) -> int:
        """What its process holds, or its file where that is larger."""
        return max(self.loaded.size_bytes, self.loaded.memory_bytes)


class InMemory:
    """The least recently used of those that nobody uses leave when what all hold comes to more than `max_bytes`, or
    they are more than `max_models`. Touched by the event loop alone.
    """

    def __init__(self, backend: Backend, metrics: Metrics, max_bytes: int, max_models: int) -> None:
        self._backend = backend
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._max_models = max_models
        self._models: OrderedDict[str, InUse] = OrderedDict()
        self._wanted: Counter[str] = Counter()
        self._starting = 0

    def __len__(self) -> int:
        return len(self._models)

    def __contains__(self, digest: object) -> bool:
        return digest in self._models

    def __getitem__(self, digest: str) -> InUse:
        return self._models[digest]

    def __iter__(self) -> Iterator[str]:
        """Digests, the least recently used first."""
        return iter(list(self._models))

    def get(self, digest: str) -> InUse | None:
        """One of them."""
        return self._models.get(digest)

    @property
    def held_bytes(self) -> int:
        """By all of them."""
        return sum(m.held_bytes for m in self._models.values())

    def has_room(self, size_bytes: int) -> bool:
        """Whether a model of this size fits beside those that are in use, or have to stay."""
        kept = [m for m in self._models.values() if m.pinned or not m.idle]
        return len(kept) < self._max_models and sum(m.held_bytes for m in kept) + size_bytes <= self._max_bytes

    def add(self, digest: str, model: InUse) -> None:
        """One that was loaded; others make room for it."""
        self._models[digest] = model
        self.make_room(keep=digest)
        self.show()

    @contextmanager
    def use(self, digest: str) -> Iterator[InUse]:
        """It stays meanwhile, and is the most recently used."""
        model = self._models[digest]
        self._models.move_to_end(digest)
        model.users += 1
        try:
            yield model
        finally:
            model.users -= 1
            self.make_room()

    @contextmanager
    def want(self, digest: str) -> Iterator[None]:
        """Whoever waits for a load finds the model when it is their turn, though others want its room."""
        self._wanted[digest] += 1
        try:
            yield
        finally:
            self._wanted[digest] -= 1
            if not self._wanted[digest]:
                del self._wanted[digest]

    @contextmanager
    def place(self) -> Iterator[None]:
        """For one more, while it is loaded. Raises ModelsFull."""
        while len(self._models) + self._starting >= self._max_models:
            if not self.evict():
                raise ModelsFull(
                    f"{self._max_models} models may be loaded here and all of them are in use: try again, or raise "
                    "--max-loaded-models",
                    metadata={"limit": str(self._max_models)},
                    retry_after_s=_FULL_S,
                )
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1

    def forget(self, digest: str) -> None:
        """Unload a model, whoever uses it; the next who asks loads it anew."""
        if self._models.pop(digest, None) is not None:
            self._backend.unload(digest)
            self.show()

    def make_room(self, keep: str = "") -> None:
        """Unload what was dropped, and what is too much."""
        before = len(self._models)
        for digest in [d for d, m in self._models.items() if m.dropped and m.idle]:
            self.forget(digest)
        while self.held_bytes > self._max_bytes and self.evict(keep):
            pass
        if len(self._models) != before:  # it comes after every call
            self.show()

    def evict(self, keep: str = "") -> bool:
        """Unload the least recently used of those that nobody uses, if there is one."""
        for digest, model in self._models.items():
            if model.idle and not (model.pinned or digest == keep or self._wanted[digest]):
                self.forget(digest)
                return True
        return False

    @property
    def providers(self) -> list[str]:
        """Execution providers that they really got."""
        return sorted({m.loaded.provider for m in self._models.values()})

    def show(self) -> None:
        """In the metrics, what is loaded and how it runs."""
        kinds = Counter(
            (m.loaded.provider, "batched" if m.loaded.batching.batched else "row_by_row") for m in self._models.values()
        )
        self._metrics.models(self._backend.device, kinds, sum(m.loaded.size_bytes for m in self._models.values()))
