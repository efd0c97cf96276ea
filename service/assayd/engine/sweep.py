"""How many rows and threads suit a model, found by trying a few in a bounded time. Free of any runtime.

The smallest batch wins whose rows cost hardly more than the best one's: large batches make callers wait for each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from assayd.errors import AssayError
from assayd.types.model import Signature, TensorSignature, Tuning

REVISION = 5
"""Raised when the same measurements would lead to another choice: what was stored before is then measured again."""

CLEARLY = 1.03
"""A larger batch has to be cheaper by more than this."""
FAR = 1.5
"""Other threads than the owner's have to be cheaper by more than this: whatever else runs on the machine makes several
threads look worse than they are, and what is chosen is kept. What fewer threads are good for is worth more.
"""
BRIEF_S = 2e-3
"""A batch of one thread that takes no longer stays on it unless several are so much cheaper: between batches they fall
asleep, which these runs in a row don't show, and the server beside them wants a core as well.
"""
LONGEST_BATCH_S = 0.1
BATCH_COST_S = 0.5e-3
"""What a batch costs beside the model's run, whatever its size: forming it, both ways to the worker, reading out."""
MOST_RUNS = 4
"""Of one batch. A model that computes on all cores loses to whatever else the server does for a batch: the costs of a
batch of several runs are paid once.
"""
MOST_BYTES = 32 * 2**20
"""Of a batch's inputs and outputs. There are two sets of buffers: one is filled while the other is run."""

_SMALL_ROW_BYTES = 64 * 1024
_SMALL_SIZES, _LARGE_SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096), (8, 16, 32)
"""Fours of large rows do well by themselves; with their way to the process they cost a CNN 5 %."""
_PLENTY = 1024
"""Larger batches than this have to be brief: they are for models so small that the way there costs more than a run."""
_ROUNDS = 5
_HOPELESS = 1.25
_AGAIN = 0.25
"""A first row of less than so much of the time is run once more before the model is taken for a slow one."""


def row_bytes(tensors: Iterable[TensorSignature]) -> int:
    """Of a row in all of them; free extents count as 1."""
    return sum(math.prod(n or 1 for n in s.shape or ()) * np.dtype(s.dtype).itemsize for s in tensors)


def is_small(signature: Signature) -> bool:
    """Whether a row is that of a table or a thumbnail, of which batches may hold hundreds."""
    return row_bytes(signature.inputs) <= _SMALL_ROW_BYTES


def most_rows(signature: Signature) -> int:
    """Of a batch, by its bytes."""
    return max(1, MOST_BYTES // max(1, row_bytes((*signature.inputs, *signature.outputs))))


def sizes_for(signature: Signature) -> tuple[int, ...]:
    """Batch sizes worth trying, ascending; none where extents are free, since rows may then cost anything."""
    if any(None in (s.shape or (None,)) for s in signature.inputs):
        return ()
    most = most_rows(signature)
    sizes = _SMALL_SIZES if is_small(signature) else _LARGE_SIZES
    return tuple(n for n in sizes if n <= most) or (most,)


def sweep(
    sizes: Sequence[int],
    threads: Sequence[int],
    run: Callable[[Tuning], None],
    clock: Callable[[], float],
    limit_s: float,
    most_rows: int = 1,
) -> Tuning | None:
    """The best of some batch sizes and thread counts; None where none could be run.

    sizes: ascending. threads: the owner's choice first; the others are tried at the two sizes that suit it best. run:
    runs one batch, and raises AssayError where that can't be. clock: seconds. What is predicted to end after limit_s
    isn't begun, and batches that would take longer than LONGEST_BATCH_S aren't tried but for the smallest size: below
    it reading the weights costs too much of a batch. most_rows: of a batch of several runs.
    """
    trials = _Trials(run, clock, clock() + limit_s)
    try:
        row_s = trials.timed(Tuning(1, threads[0]))
        if 2 * row_s * sizes[0] > limit_s and row_s <= _AGAIN * limit_s:
            row_s = min(row_s, trials.timed(Tuning(1, threads[0])))
        if 2 * row_s * sizes[0] > limit_s:
            return Tuning(sizes[0], threads[0])
        trials.enter(Tuning(sizes[0], threads[0]))
    except AssayError:
        return None
    for rows in sizes[1:]:
        if not trials.admit(Tuning(rows, threads[0])):
            break
    for other in threads[1:]:
        for rows in trials.best_sizes(2):
            trials.admit(Tuning(rows, other))
    for _ in range(_ROUNDS - 1):
        trials.another_round()
    chosen = trials.choice(threads[0])
    return None if chosen is None else chosen.together(most_rows)


@dataclass(eq=False)
class _Trial:
    """samples: seconds of a batch."""

    tuning: Tuning
    samples: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Whatever else runs on the machine can only make it longer."""
        return min(self.samples)

    def together(self, most_rows: int) -> Tuning:
        """With as many runs a batch as are worth it."""
        fit = min(MOST_RUNS, most_rows // self.tuning.rows, int(LONGEST_BATCH_S / max(self.seconds, 1e-9)))
        return replace(self.tuning, runs=1 if self.tuning.threads == 1 else max(1, fit))

    @property
    def row_cost(self) -> float:
        return (self.seconds + BATCH_COST_S) / self.tuning.rows


class _Trials:
    def __init__(self, run: Callable[[Tuning], None], clock: Callable[[], float], end: float) -> None:
        self._run = run
        self._clock = clock
        self._end = end
        self._trials: list[_Trial] = []

    def timed(self, tuning: Tuning) -> float:
        begun = self._clock()
        self._run(tuning)
        return self._clock() - begun

    def enter(self, tuning: Tuning) -> None:
        """Once to warm up, for the first run of a shape allocates, and once for its time."""
        self._run(tuning)
        self._trials.append(_Trial(tuning, [self.timed(tuning)]))

    def admit(self, tuning: Tuning) -> bool:
        """Try something that may be too long, or fail; false where it was either."""
        try:
            if not self._may_grow_to(tuning.rows):
                return False
            self.enter(tuning)
        except AssayError:  # such as no memory for so many rows
            return False
        return True

    def _may_grow_to(self, rows: int) -> bool:
        """Whether a batch of so many rows is brief enough. One disturbed sample must not end the search, since what is
        chosen is kept.
        """
        known = self._trials[-1]
        longest = LONGEST_BATCH_S if rows <= _PLENTY else BRIEF_S
        while True:
            predicted = known.seconds * rows / known.tuning.rows
            if predicted <= longest and self._time_for(2 * predicted):
                return True
            if rows > _PLENTY or len(known.samples) >= _ROUNDS or not self._time_for(known.seconds):
                return False
            known.samples.append(self.timed(known.tuning))

    def best_sizes(self, count: int) -> list[int]:
        return [t.tuning.rows for t in sorted(self._trials, key=lambda t: t.row_cost)[:count]]

    def another_round(self) -> None:
        """Each that may still win, in turn, so that what disturbs the machine disturbs all of them."""
        best = min((t.row_cost for t in self._trials), default=0.0)
        for trial in list(self._trials):
            hopeful = len(trial.samples) == 1 or trial.row_cost <= _HOPELESS * best
            if hopeful and self._time_for(trial.seconds):
                try:
                    trial.samples.append(self.timed(trial.tuning))
                except AssayError:
                    self._trials.remove(trial)

    def choice(self, threads: int) -> _Trial | None:
        best = min(self._trials, key=lambda t: t.row_cost, default=None)
        if best is None:
            return None
        own = min((t for t in self._trials if t.tuning.threads == threads), key=lambda t: t.row_cost, default=best)
        best = own if own.row_cost <= FAR * best.row_cost else best
        alone = min((t for t in self._trials if t.tuning.threads == 1), key=lambda t: t.row_cost, default=best)
        if alone.seconds <= BRIEF_S and alone.row_cost <= FAR * best.row_cost:
            best = alone
        return min(
            (
                t
                for t in self._trials
                if t.tuning.threads == best.tuning.threads and t.row_cost <= CLEARLY * best.row_cost
            ),
            key=lambda t: t.tuning.rows,
        )

    def _time_for(self, seconds: float) -> bool:
        return self._clock() + seconds <= self._end
