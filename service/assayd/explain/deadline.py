"""Ends of time around work on the event loop: a caller's deadline, a request's budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from assayd.errors import AssayError, DeadlinePassed, TimeBudget


def too_late() -> AssayError:
    """The deadline passed."""
    return DeadlinePassed("the deadline passed; the rows that were left are dropped")


def over_budget() -> AssayError:
    """The budget's time ended."""
    return TimeBudget("the budget's time ended before there was an answer", field="budget.time")


def before(end: float | None, late: Callable[[], AssayError] = too_late) -> AbstractAsyncContextManager[None]:
    """End what stands inside when its time is over. end: on the monotonic clock. Raises what `late` makes."""
    return nullcontext() if end is None else _before(end, late)


@asynccontextmanager
async def _before(end: float, late: Callable[[], AssayError]) -> AsyncIterator[None]:
    timer = asyncio.timeout_at(asyncio.get_running_loop().time() + end - time.monotonic())
    try:
        async with timer:
            yield
    except TimeoutError:
        if not timer.expired():  # what stands inside has run into one of its own, such as a disk's
            raise
        raise late() from None
