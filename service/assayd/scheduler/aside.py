"""Batches that ran far longer than their rows should, and let those of other models pass.

A device runs one batch after the other, since two at once take longer than in turn. But a model that never ends would
then hold up everybody until its caller's deadline, again with each call. Where models have processes of their own its
batch goes on beside the others'; the rows that wait for the same model wait for it alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from assayd.scheduler.queue import Slice

MOST = 4
"""At once, of a device. More share the cores already with those that do end."""
LATE_S, LATE, TOO_LATE_S = 0.1, 3.0, 1.0
"""A batch steps aside after so long and so many times what its rows took before, in any case after a second: a model
that is slow and ends holds others up as one that doesn't.
"""


class Aside:
    """Of one device. changed: called when one of them ends. Touched by the event loop alone."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def full(self) -> bool:
        """Whether no more may step aside."""
        return len(self._tasks) >= MOST

    def __contains__(self, digest: object) -> bool:
        return digest in self._tasks

    def step(self, digest: str, rest: Coroutine[Any, Any, None]) -> None:
        """Let a model's batch go on. rest: ends with it, and with whatever has to run behind it."""

        def ended(_: asyncio.Task[None]) -> None:
            del self._tasks[digest]
            self._changed()

        task = self._tasks[digest] = asyncio.create_task(rest, name="aside")
        task.add_done_callback(ended)


def allowed_s(slices: Sequence[Slice], row_s: float | None) -> float:
    """So long may a batch hold up others. row_s: of its rows, where that is known."""
    return min(TOO_LATE_S, max(LATE_S, LATE * (row_s or 0.0) * sum(s.rows for s in slices)))
