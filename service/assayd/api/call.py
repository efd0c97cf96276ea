"""What is known of the call that is being answered."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from assayd.api.holding import Holding
from assayd.errors import DeadlinePassed


@dataclass(eq=False)
class Call:
    """One call, filled as it goes on; its end is one log line and a few metrics.

    request_id: the caller's, from the request or the x-request-id header, else one made here. arrived, deadline:
    monotonic; the deadline is the caller's, or the server's where it set none. method: of an explanation, "-" else.
    holding: the bytes of its messages.
    """

    rpc: str
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    tenant: str = "default"
    peer: str = ""
    traceparent: str = ""
    deadline: float | None = None
    arrived: float = field(default_factory=time.monotonic)
    method: str = "-"
    model: str = ""
    instances: int = 0
    rows_asked: int = 0
    rows_run: int = 0
    batches: int = 0
    holding: Holding = field(default_factory=Holding)


CURRENT: ContextVar[Call] = ContextVar("call")
"""Set by the interceptor for the task that answers the call."""


def not_over(deadline: float | None) -> Callable[[], None]:
    """A check for threads that work for this task: it raises DeadlinePassed once nobody waits for the task any more.

    deadline: monotonic. It is looked at as well, since a busy event loop hears of it late.
    """
    task = asyncio.current_task()

    def check() -> None:
        cancelled = task is not None and (task.cancelling() or task.done())
        if cancelled or (deadline is not None and time.monotonic() >= deadline):
            raise DeadlinePassed("the call was over before the store could be changed; it is as it was")

    return check
