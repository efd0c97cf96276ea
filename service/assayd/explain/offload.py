"""Takes numpy work off the event loop, unless it is so little that the way there and back takes longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Offload:
    """Two threads, one for planning and one for reducing, so that a slow segmentation delays no answer."""

    def __init__(self) -> None:
        self._planning = ThreadPoolExecutor(1, "plan")
        self._reducing = ThreadPoolExecutor(1, "reduce")

    async def plan(self, function: Callable[[*Ts], T], *arguments: *Ts, light: bool = False) -> T:
        """Run on the planning thread, or here."""
        if light:
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._planning, function, *arguments)

    async def reduce(self, function: Callable[[*Ts], T], *arguments: *Ts, light: bool = False) -> T:
        """Run on the reducing thread, or here."""
        if light:
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._reducing, function, *arguments)

    def close(self) -> None:
        """End the threads when their work is done."""
        self._planning.shutdown()
        self._reducing.shutdown()
