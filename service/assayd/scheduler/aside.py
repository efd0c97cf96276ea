"""Batches that ran far longer than their rows should, and let those of other models pass.

A device runs one batch after the other, since two at once take longer than in turn. But a model that never ends would
then hold up everybody until its caller's deadline, again with each call. Where models have processes of their own its
batch goes on beside the others', and for a while the model's next ones begin there. Few can: the late ones wait for
each other, and where the one in front may not step aside it is stopped and waits with them. Those beside are never
stopped for anybody's sake, so that a model that is slow and ends gets through.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeAlias

from assayd.engine.backend import Prepared
from assayd.scheduler.queue import Slice
from assayd.scheduler.suspects import Suspects

MOST = 4
"""At once, of a device. More share the cores already with those that do end."""
MOST_OF_ONE = 3
"""Of these, of one tenant: another's slow model needn't wait for one tenant's endless ones."""
LATE_S, LATE, TOO_LATE_S = 0.1, 3.0, 1.0
"""A batch steps aside after so long and so many times what its rows took before, in any case after a second: a model
that is slow and ends holds others up as one that doesn't.
"""

Ready: TypeAlias = "tuple[list[Slice], Prepared | None]"
"""A batch, and its tensors where they are made."""


class Aside:
    """Of one device. Touched by the event loop alone.

    run: runs a batch. allowed_s: how long one may hold up others. changed: called when there may be room.
    """

    def __init__(
        self,
        run: Callable[[list[Slice], Prepared | None], Awaitable[None]],
        allowed_s: Callable[[list[Slice]], float],
        changed: Callable[[], None],
    ) -> None:
        self._run = run
        self._allowed_s = allowed_s
        self._changed = changed
        self._places: dict[str, frozenset[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._parked: dict[str, deque[Ready]] = {}
        self._suspects = Suspects(time.monotonic)
        self._closed = False

    def __contains__(self, digest: object) -> bool:
        """Whether a batch of this model runs here."""
        return digest in self._places

    def takes(self, digest: str) -> bool:
        """Whether a model's rows may run here alone, and not in front."""
        return digest in self._places or digest in self._suspects

    def room(self, tenants: Iterable[str]) -> bool:
        """Whether another batch may run here that has rows of these."""
        held = list(self._places.values())
        return len(held) < MOST and any(sum(t in each for each in held) < MOST_OF_ONE for t in tenants)

    def waiting(self) -> list[str]:
        """Models that may begin something here alone, those that had their turn longest ago first."""
        return [digest for digest in self._suspects.in_turn() if digest not in self._places]

    def pardoned(self) -> list[str]:
        """Models that may run in front again and have batches parked."""
        return [digest for digest in self._parked if not self.takes(digest)]

    # ---- from the front ----------------------------------------------------------------------------------------

    def step(self, slices: list[Slice], running: Awaitable[None], behind: Sequence[Ready]) -> None:
        """Let a batch that runs in front go on here. behind: of the same model, made ready for when it is through."""

        async def rest() -> None:
            await running
            self._late(digest_of(slices))
            for batch in behind:
                await self._run_one(batch)

        self._occupy(slices, rest())

    def put_back(self, digest: str) -> None:
        """A batch that runs in front must not, nor may it step aside: it is about to be stopped, and then parked."""
        self._late(digest)
        self._suspects.turn(digest)

    # ---- those that wait ---------------------------------------------------------------------------------------

    def park(self, batch: Ready) -> None:
        """Let a batch that was in front wait, for a place here or until its model may run in front again."""
        self._parked.setdefault(digest_of(batch[0]), deque()).append(batch)

    def parked(self, digest: str) -> frozenset[str]:
        """Whose rows are in the first batch of this model that is parked; nobody's where none is."""
        return tenants_of(self._parked[digest][0][0]) if digest in self._parked else frozenset()

    def unpark(self, digest: str) -> Ready:
        """Take it out."""
        batches = self._parked[digest]
        batch = batches.popleft()
        if not batches:
            del self._parked[digest]
        return batch

    # ---- what begins here --------------------------------------------------------------------------------------

    def start(self, batch: Ready) -> None:
        """Run a batch here from the beginning."""
        self._suspects.turn(digest_of(batch[0]))
        self._occupy(batch[0], self._run_one(batch))

    def close(self) -> None:
        """Begin nothing more."""
        self._closed = True

    def _occupy(self, slices: list[Slice], what: Coroutine[Any, Any, None]) -> None:
        digest = digest_of(slices)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            del self._places[digest]
            self._changed()

        self._places[digest] = tenants_of(slices)
        task = asyncio.create_task(what, name="aside")
        self._tasks.add(task)
        task.add_done_callback(ended)

    async def _run_one(self, batch: Ready) -> None:
        slices, ready = batch
        # Tensors that are made lie in the model's process until they are asked for, though nobody waits any more.
        if self._closed or (ready is None and all(s.work.finished.done() for s in slices)):
            return
        begun, allowed = time.monotonic(), self._allowed_s(slices)
        await self._run(slices, ready)
        if time.monotonic() - begun >= allowed:
            self._late(digest_of(slices))

    def _late(self, digest: str) -> None:
        asyncio.get_running_loop().call_later(self._suspects.late(digest), self._changed)


def digest_of(slices: Sequence[Slice]) -> str:
    """The model of a batch."""
    return slices[0].work.model.digest


def tenants_of(slices: Iterable[Slice]) -> frozenset[str]:
    """Whose rows these are."""
    return frozenset(s.work.job.caller.tenant for s in slices)


def allowed_s(slices: Sequence[Slice], row_s: float | None) -> float:
    """So long may a batch hold up others. row_s: of its rows, where that is known."""
    return min(TOO_LATE_S, max(LATE_S, LATE * (row_s or 0.0) * sum(s.rows for s in slices)))
