"""Ends calls whose callers don't take what they are answered: the library would wait for them for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from assayd.api.call import Call

log = logging.getLogger("assayd.calls")


class Unread:
    """most_s: longest wait until a message is taken. For tasks that answer calls, which are cancelled then."""

    def __init__(self, most_s: float = 600.0) -> None:
        self._most_s = most_s

    @contextmanager
    def message(self, call: Call) -> Iterator[None]:
        """Around the `yield` of a message: the library takes it, and comes back when it is written."""
        timer = self._timer(call, asyncio.current_task())
        try:
            yield
        finally:
            timer.cancel()

    def last(self, call: Call) -> None:
        """What this task returns is all that is written; the task ends when it is."""
        task = asyncio.current_task()
        timer = self._timer(call, task)
        if task is not None:
            task.add_done_callback(lambda _: timer.cancel())

    def _timer(self, call: Call, task: asyncio.Task[object] | None) -> asyncio.TimerHandle:
        def end() -> None:
            log.warning("nobody reads", extra={"rpc": call.rpc, "request_id": call.request_id, "peer": call.peer})
            if task is not None:
                task.cancel()

        return asyncio.get_running_loop().call_later(self._most_s, end)
