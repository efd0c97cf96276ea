"""Takes numpy work off the event loop, unless it is so little that the way there and back takes longer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Takes(Enum):
    """How long some work takes: microseconds, a millisecond or a few, or longer, for all anybody knows."""

    MICROSECONDS = 0
    MILLISECONDS = 1
    LONGER = 2


class Offload:
    """Two threads, one for planning and one for reducing, so that a slow segmentation delays no answer.

    What takes milliseconds stays here as well: on a thread it takes up to three times as long, since numpy gives the
    interpreter away in each of its calls and has to wait for it again. In each turn of the loop there is one such piece
    of work, so that many instances don't keep everybody else waiting; of those that wait, single decisions have every
    other one.
    """

    def __init__(self) -> None:
        self._planning = ThreadPoolExecutor(1, "plan")
        self._reducing = ThreadPoolExecutor(1, "reduce")
        self._decisions, self._others = deque[asyncio.Future[None]](), deque[asyncio.Future[None]]()
        self._turn_of_others = False
        self._taken = False

    async def plan(
        self, function: Callable[[*Ts], T], *arguments: *Ts, takes: Takes = Takes.LONGER, decision: bool = False
    ) -> T:
        """Run on the planning thread, or here. decision: it is for one instance that somebody waits for."""
        return await self._run(self._planning, takes, decision, function, *arguments)

    async def reduce(
        self, function: Callable[[*Ts], T], *arguments: *Ts, takes: Takes = Takes.LONGER, decision: bool = False
    ) -> T:
        """Run on the reducing thread, or here. decision: it is for one instance that somebody waits for."""
        return await self._run(self._reducing, takes, decision, function, *arguments)

    def close(self) -> None:
        """End the threads when their work is done."""
        self._planning.shutdown()
        self._reducing.shutdown()

    async def _run(
        self, thread: ThreadPoolExecutor, takes: Takes, decision: bool, function: Callable[[*Ts], T], *arguments: *Ts
    ) -> T:
        if takes is Takes.LONGER:
            return await asyncio.get_running_loop().run_in_executor(thread, function, *arguments)
        if takes is Takes.MILLISECONDS:
            await self._turn(self._decisions if decision else self._others)
        return function(*arguments)

    async def _turn(self, waiting: deque[asyncio.Future[None]]) -> None:
        loop = asyncio.get_running_loop()
        if self._taken:
            mine: asyncio.Future[None] = loop.create_future()
            waiting.append(mine)
            await mine
        else:
            self._taken = True
            loop.call_soon(self._next)

    def _next(self) -> None:
        """In the next turn of the loop: one who waits begins in the turn after that, before this is called again."""
        while self._decisions or self._others:
            self._turn_of_others = bool(self._others) and not (self._turn_of_others and self._decisions)
            other = (self._others if self._turn_of_others else self._decisions).popleft()
            if not other.done():  # its caller may have left
                other.set_result(None)
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._taken = False
