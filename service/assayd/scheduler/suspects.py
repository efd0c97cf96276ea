"""Models that were late lately: each time they are believed less."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_FIRST_S, _LONGEST_S = 0.5, 30.0
"""On probation after being late once, twice as long with each further time, up to this. One hiccup costs little."""
_FORGOTTEN_S = 60.0
"""So long after its probation a model is as good as new."""


@dataclass
class _Lateness:
    times: int
    until: float


class Suspects:
    """Of one device. clock: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[str, _Lateness] = {}

    def late(self, digest: str) -> float:
        """A batch of this model was late; it is on probation for so many seconds from now on."""
        now = self._clock()
        self._known = {d: one for d, one in self._known.items() if now < one.until + _FORGOTTEN_S}
        times = self._known[digest].times + 1 if digest in self._known else 1
        seconds = min(_LONGEST_S, _FIRST_S * 2.0 ** (times - 1))
        self._known[digest] = _Lateness(times, now + seconds)
        return seconds

    def __contains__(self, digest: object) -> bool:
        found = self._known.get(digest) if isinstance(digest, str) else None
        return found is not None and self._clock() < found.until

    def turn(self, digest: str) -> None:
        """The model gets its turn; the others come before it next time."""
        if digest in self._known:
            self._known[digest] = self._known.pop(digest)

    def in_turn(self) -> list[str]:
        """Those on probation, the one whose turn is longest ago first."""
        return [digest for digest in self._known if digest in self]
