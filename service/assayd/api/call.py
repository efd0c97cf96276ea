"""What is known of the call that is being answered."""

from __future__ import annotations

import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field

from assayd.api.holding import Holding


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
