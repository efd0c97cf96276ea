"""Models that ended their processes, and for how long they are left alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from assayd.errors import ModelFailed, ModelQuarantined, OutOfMemory, WorkerLost

STRIKES = 3
"""So many proven within the window: a caller's mistake may look like one, and bad luck like two."""
_WINDOW_S = 600.0
SILENT, STUCK, MEMORY, _KILLED = "it didn't answer", "stuck in a batch", "memory", "killed by signal 9"
DEVICE = "its GPU was lost to it"
_PAUSES_S = (0.0, 0.1, 0.3, 0.5)

_Times: TypeAlias = deque[tuple[float, object]]


class Quarantine:
    """Counts by digest. clock: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._strikes: dict[str, _Times] = {}
        self._losses: dict[str, _Times] = {}

    def strike(self, digest: str, by: object) -> None:
        """The model was proven to have ended its process. by: who ran it; each counts once, or one request of many bad
        rows would take the model from everybody.
        """
        strikes = self._recent(self._strikes, digest)
        if all(known is not by for _, known in strikes):
            strikes.append((self._clock(), by))
            self._strikes[digest] = strikes

    def check(self, digest: str) -> None:
        """Raises ModelQuarantined."""
        strikes = self._recent(self._strikes, digest)
        if len(strikes) >= STRIKES:
            left = _WINDOW_S - (self._clock() - strikes[0][0])
            raise ModelQuarantined(
                f"the model ended {len(strikes)} of its processes lately and isn't run for {left:.0f} s",
                metadata={"digest": digest},
            )

    def pause(self, digest: str) -> float:
        """Seconds to wait before its process is started again; more each time, but never so long that it looks dead."""
        losses = self._recent(self._losses, digest)
        pause = _PAUSES_S[min(len(losses), len(_PAUSES_S) - 1)]
        losses.append((self._clock(), None))
        self._losses[digest] = losses
        return pause

    @property
    def held(self) -> list[str]:
        """Digests of the models in quarantine."""
        return [digest for digest in list(self._strikes) if len(self._recent(self._strikes, digest)) >= STRIKES]

    def _recent(self, counted: dict[str, _Times], digest: str) -> _Times:
        times = counted.get(digest, deque())
        while times and self._clock() - times[0][0] >= _WINDOW_S:
            times.popleft()
        if not times:  # models that did nothing, or nothing lately, leave no trace
            counted.pop(digest, None)
        return times


def killed_by_others(error: WorkerLost) -> bool:
    """Whether a process was ended, or stopped, from outside: by an operator, or by this server for another's sake. The
    system's own killer, which wants memory back, is none of these others: it takes who took most.
    """
    return cause_of(error) in ("killed", "silent", "stuck")


def verdict(error: WorkerLost, when: str) -> ModelFailed | OutOfMemory:
    """What to say of a model that ended its process. when: at what."""
    cause = error.metadata.get("cause", "")
    if cause == MEMORY:
        return OutOfMemory(f"the model's process ran out of memory {when}", metadata=error.metadata)
    return ModelFailed(f"the model ended its process {when} ({cause})", metadata=error.metadata)


def cause_of(error: WorkerLost) -> str:
    """As `cause_word`."""
    return cause_word(error.metadata.get("cause", ""))


def cause_word(cause: str) -> str:
    """Why a process was lost, in a word: killed, silent, crashed, stuck, memory, gpu or gone."""
    for word, signs in (
        ("silent", SILENT), ("killed", _KILLED), ("crashed", "signal"), ("stuck", "stuck"), ("memory", MEMORY),
        ("gpu", DEVICE),
    ):  # fmt: skip
        if signs in cause:
            return word
    return "gone"
