"""Whose turn it is in this process: one interpreter plans, solves and answers for everybody."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PATIENCE_S = 0.05
"""However many decisions there are, twenty instances of data sets begin in a second all the same: of those that draw
samples they take a tenth of the interpreter."""
_YOUNG_S = 0.02
"""A decision that isn't through by then waits for its model, and not for this process."""


class Turns:
    """Instances of data sets let single decisions go first, for a moment each. Touched by the event loop alone."""

    def __init__(self) -> None:
        self._begun: dict[object, float] = {}
        self._none = asyncio.Event()
        self._next = asyncio.Lock()

    @contextmanager
    def decision(self) -> Iterator[None]:
        """While one instance is worked on that somebody waits for."""
        this = object()
        self._begun[this] = time.monotonic()
        try:
            yield
        finally:
            del self._begun[this]
            if not self._are_under_way():
                self._none.set()

    async def give_way(self, line: asyncio.Lock) -> None:
        """One of many instances waits until no decision is under way, but not for long. One after the other, and calls
        in turn, however many instances each has waiting. line: the call's, for its instances.
        """
        if not (self._are_under_way() or self._next.locked()):
            return
        async with line, self._next:
            patient = time.monotonic() + _PATIENCE_S
            while (left := min(patient, self._old_at()) - time.monotonic()) > 0:
                self._none.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._none.wait()

    def _are_under_way(self) -> bool:
        return time.monotonic() < self._old_at()

    def _old_at(self) -> float:
        """When the youngest decision isn't young any more."""
        return next(reversed(self._begun.values()), -math.inf) + _YOUNG_S
