"""Who goes next: a pure decision over what waits. No device, no clock, no thread.

Device time is shared first among callers, by their weights, then among one caller's models, then among its jobs. Each
of them carries the device time it was granted; the one with the least goes first (start-time fair queueing). A batch is
filled with rows of every caller and job that wait for the same model and shapes, again least first, so that small jobs
are not behind large ones and all of them share batches.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from assayd.scheduler.work import WEIGHTS, Caller

Account: TypeAlias = tuple[Hashable, ...]
"""(caller,), (caller, "model", digest) or (caller, "job", request id)."""


@dataclass(slots=True)
class Waiting:
    """What the policy sees of one work. rows: that no batch has taken yet. alone: they share no batch. since: when it
    was submitted. evenly: its job's works go on together, each once it has the rows that it needs to say anything.
    device: the only one that may run it, or "". accounts: those that its device time is charged to.
    """

    number: int
    caller: Caller
    job: str
    digest: str
    batch_key: Hashable
    rows: int
    max_rows: int
    alone: bool
    since: float
    evenly: bool = False
    needs: int = 0
    device: str = ""
    accounts: tuple[Account, Account, Account] = field(init=False)

    def __post_init__(self) -> None:
        self.accounts = (self.caller,), (self.caller, "model", self.digest), (self.caller, "job", self.job)


@dataclass(frozen=True)
class State:
    """All that is known when a batch is formed.

    waiting: in order of arrival. used: seconds granted by account, divided by the weight. row_cost: seconds a row by
    batch key. expected: jobs that are being planned and will send rows soon.
    """

    waiting: Sequence[Waiting]
    used: Mapping[Account, float]
    row_cost: Mapping[Hashable, float]
    expected: int = 0


@dataclass(frozen=True)
class Limits:
    """gather_s: longest wait of a batch that isn't full for jobs being planned. full_only: take full batches."""

    gather_s: float
    full_only: bool = False


@dataclass(frozen=True)
class Grant:
    """Rows of one work for the next batch."""

    number: int
    rows: int


@dataclass(frozen=True)
class Hold:
    """Nothing before `until`, unless something changes."""

    until: float


DEFAULT_ROW_COST = 1e-3
_IN_TURN_S = 0.02
"""So long does one grant of rows that share no batch hold up the others."""
ENOUGH_ROWS = 32
"""So many rows wait for no company: of a model whose batches hold more, a row costs next to nothing."""
_GRAINS = 32
"""A batch is given out in so many parts at least, or else row by row, so that forming one takes no longer where models
want hundreds of rows.
"""


def choose(state: State, now: float, limits: Limits) -> list[Grant] | Hold | None:
    """The next batch, or a reason to wait, or None where nothing can go."""
    if not state.waiting:
        return None
    first = min(state.waiting, key=lambda w: _standing(w, state.used))
    if first.alone:
        return None if limits.full_only else [_in_turn(first, state)]
    mates = [w for w in state.waiting if w.batch_key == first.batch_key and not w.alone]
    rows = sum(w.rows for w in mates)
    if rows < first.max_rows and limits.full_only:
        return None
    if rows < min(first.max_rows, ENOUGH_ROWS):
        until = min(w.since for w in mates) + limits.gather_s
        if now < until:
            # Those alone can share no batch anyway; they go while others are on their way.
            lone = [w for w in state.waiting if w.alone]
            if lone:
                return [_in_turn(lone[0], state)]
            if state.expected:
                return Hold(until)
    return _fill(mates, first.max_rows, state)


def _in_turn(w: Waiting, state: State) -> Grant:
    """Rows that run one after the other, for a moment; one, while nobody knows how long it takes."""
    cost = state.row_cost.get(w.batch_key)
    return Grant(w.number, 1 if cost is None else min(w.rows, max(1, int(_IN_TURN_S / cost))))


def _standing(w: Waiting, used: Mapping[Account, float]) -> tuple[float, float, float, bool, int]:
    """The least goes first. Of all that waits, before each batch: hence no loop."""
    caller, model, job = w.accounts
    return used.get(caller, 0.0), used.get(model, 0.0), used.get(job, 0.0), _turn(w), w.number


def _turn(w: Waiting) -> bool:
    """Within a job whose works go on together, what one of them needs to say anything goes before what all share."""
    return w.evenly and not w.alone and not w.needs


def _fill(mates: Sequence[Waiting], room: int, state: State) -> list[Grant]:
    """Give out the rows of one batch, each to the caller, then job, with the least device time so far.

    A heap of callers, and one of jobs for each: a grant moves one entry of each, however many wait.
    """
    grain = room if len(mates) == 1 else max(1, room // _GRAINS)
    cost = state.row_cost.get(mates[0].batch_key, DEFAULT_ROW_COST)
    works = _by_job(mates)
    jobs: dict[Account, list[tuple[float, int, Account]]] = {}
    for job, queue in works.items():
        first = queue[0]
        jobs.setdefault(first.accounts[0], []).append((state.used.get(job, 0.0), first.number, job))
    callers = [(state.used.get(caller, 0.0), entries[0][1], caller) for caller, entries in jobs.items()]
    for entries in jobs.values():
        heapq.heapify(entries)
    heapq.heapify(callers)
    granted: dict[int, int] = {}
    while room and callers:
        caller_used, _, caller = heapq.heappop(callers)
        job_used, _, job = heapq.heappop(jobs[caller])
        w = works[job][0]
        before = granted.get(w.number, 0)
        most = w.needs if w.evenly and before < w.needs else w.rows
        rows = min(grain, room, most - before)
        granted[w.number] = before + rows
        room -= rows
        charge = rows * cost / WEIGHTS[w.caller.priority]
        if granted[w.number] == w.rows:
            works[job].popleft()
        elif w.evenly and granted[w.number] >= w.needs:
            works[job].rotate(-1)
        if works[job]:
            heapq.heappush(jobs[caller], (job_used + charge, works[job][0].number, job))
        if jobs[caller]:
            heapq.heappush(callers, (caller_used + charge, jobs[caller][0][1], caller))
    return [Grant(number, rows) for number, rows in sorted(granted.items())]


def _by_job(mates: Sequence[Waiting]) -> dict[Account, deque[Waiting]]:
    """Each job's works, first come first; where it wants them evenly, those that lack what they need come first, then
    those that have come least far.
    """
    works: dict[Account, deque[Waiting]] = {}
    for w in mates:
        works.setdefault(w.accounts[2], deque()).append(w)
    for job, queue in works.items():
        if queue[0].evenly:
            works[job] = deque(sorted(queue, key=lambda w: (not w.needs, w.number if w.needs else -w.rows, w.number)))
    return works
