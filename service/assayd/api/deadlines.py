"""How long a call may take: as its caller says, within limits, or as the server does where its caller says nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from assayd.api.call import Call
from assayd.errors import DeadlinePassed, InvalidRequest

_UPLOAD, _DATA_SET = "ModelService/UploadModel", "ExplainService/ExplainMany"


@dataclass(frozen=True)
class Deadlines:
    """default_s: of calls that set none. max_s: the longest that a caller may set.

    An upload that sets none has max_s, since a large file takes what the line takes; a data set has no end.
    """

    default_s: float = 600.0
    max_s: float = 3600.0

    def give(self, call: Call) -> float | None:
        """Give a call its deadline; returns the one that the server has to hold, monotonic. The library holds callers'.

        Raises InvalidRequest where the caller's is too far away.
        """
        if call.deadline is not None:
            away = call.deadline - call.arrived
            if away > self.max_s:
                raise InvalidRequest(
                    f"the deadline is {away:.0f} s away, at most {self.max_s:g} s are kept", field="timeout"
                )
            return None
        left = self._of(call.rpc)
        if left < math.inf:
            call.deadline = call.arrived + left
        return call.deadline

    def passed(self, call: Call) -> DeadlinePassed:
        """A call has had the time that the server gave it."""
        return DeadlinePassed(f"a call that sets no deadline has {self._of(call.rpc):g} s here")

    def _of(self, rpc: str) -> float:
        if rpc == _DATA_SET:
            return math.inf
        return self.max_s if rpc == _UPLOAD else min(self.default_s, self.max_s)
