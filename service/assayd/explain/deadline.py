"""A caller's deadline around work on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from assayd.errors import DeadlinePassed


@asynccontextmanager
async def before(deadline: float | None) -> AsyncIterator[None]:
    """End what stands inside when the deadline passes. deadline: on the monotonic clock. Raises DeadlinePassed."""
    at = None if deadline is None else asyncio.get_running_loop().time() + deadline - time.monotonic()
    try:
        async with asyncio.timeout_at(at):
            yield
    except TimeoutError:
        raise DeadlinePassed("the deadline passed; the rows that were left are dropped") from None
