"""Which batch size and threads a sweep chooses, by a clock that only the runs move."""

import itertools

import numpy as np
import pytest

from assayd.engine.sweep import (
    BATCH_COST_S,
    CLEARLY,
    LONGEST_BATCH_S,
    MOST_BYTES,
    MOST_RUNS,
    row_bytes,
    sizes_for,
    sweep,
)
from assayd.errors import OutOfMemory
from assayd.types.model import Signature, TensorSignature, Tuning

SIZES = (8, 16, 32, 64, 128)


class Device:
    """seconds: of a batch, from its tuning. runs: what was run, in order."""

    def __init__(self, seconds):
        self._seconds = seconds
        self.now = 100.0
        self.runs = []

    def run(self, tuning):
        self.runs.append(tuning)
        self.now += self._seconds(tuning)

    def clock(self):
        return self.now

    def sweep(self, sizes=SIZES, threads=(0,), limit_s=1.0):
        return sweep(sizes, threads, self.run, self.clock, limit_s)

    @property
    def spent(self):
        return self.now - 100.0


def costing(row_cost):
    """Batches that cost so much a row, all in all, by size."""
    return lambda t: row_cost(t.rows) * t.rows - BATCH_COST_S if t.rows > 1 else 1e-3


@pytest.mark.parametrize(("better", "chosen"), [(1.01, 8), (CLEARLY + 0.01, 32)])
def test_a_larger_batch_has_to_be_clearly_better(better, chosen):
    device = Device(costing(lambda rows: 1e-4 / (better if rows >= 32 else 1.0)))
    assert device.sweep() == Tuning(chosen, 0)


def test_the_cost_of_a_batch_beside_its_run_asks_for_many_rows_where_they_cost_nothing():
    """At 1 us a row the run is the least of it: 8 rows would pay 62 us each."""
    assert Device(lambda t: 1e-6 * t.rows).sweep() == Tuning(128, 0)
    assert Device(lambda t: 5e-3 * t.rows).sweep() == Tuning(8, 0)


def test_a_batch_takes_no_longer_than_callers_may_be_made_to_wait():
    """Though larger ones would be far better."""
    seconds = lambda t: 5e-3 * t.rows / (1 + t.rows / 256)  # noqa: E731
    chosen = Device(seconds).sweep(limit_s=5)
    assert chosen == Tuning(16, 0)
    assert seconds(chosen) <= LONGEST_BATCH_S < seconds(Tuning(32, 0))
    slow = Device(lambda t: 3e-2 * t.rows / (1 + t.rows / 64))
    assert slow.sweep(limit_s=5) == Tuning(8, 0)
    assert max(t.rows for t in slow.runs) == 8, "the smallest is tried whatever it takes"


@pytest.mark.parametrize(
    ("row_s", "limit_s"), [(1e-5, 1.0), (1e-3, 1.0), (1e-2, 1.0), (0.2, 1.0), (0.01, 0.1), (2e-4, 0.05), (5, 1)]
)
def test_it_ends_in_time(row_s, limit_s):
    device = Device(lambda t: row_s * t.rows)
    assert device.sweep(threads=(0, 1), limit_s=limit_s) is not None
    assert device.spent <= limit_s + row_s + 1e-9


def test_a_model_that_takes_a_fifth_of_a_second_a_row_is_run_twice_and_gets_a_small_batch():
    device = Device(lambda t: 0.2 * t.rows)
    assert device.sweep((8, 16, 32)) == Tuning(8, 0)
    assert device.runs == [Tuning(1, 0)] * 2


@pytest.mark.parametrize(("row_s", "chosen"), [(1e-7, 4096), (6e-7, 2048), (3e-6, 1024)])
def test_more_than_a_thousand_rows_go_together_only_while_that_is_brief(row_s, chosen):
    device = Device(lambda t: row_s * t.rows)
    assert device.sweep((512, 1024, 2048, 4096)).rows == chosen


def test_other_threads_have_to_be_far_better():
    assert Device(lambda t: 1e-4 * t.rows / (1.4 if t.threads else 1)).sweep(threads=(0, 1)).threads == 0
    twice = Device(lambda t: 1e-4 * t.rows / (2 if t.threads else 1))
    assert twice.sweep(threads=(0, 1)).threads == 1
    assert Device(lambda t: 1e-4 * t.rows / (2 if t.threads else 1)).sweep(threads=(0,)).threads == 0


def test_brief_batches_stay_on_one_thread_unless_several_are_far_better():
    brief = lambda gain: Device(lambda t: 1e-6 * t.rows / (gain if t.threads == 0 else 1)).sweep(threads=(0, 1))  # noqa: E731
    assert brief(1.0).threads == brief(1.3).threads == 1
    long = Device(lambda t: 1e-3 * t.rows / (1.3 if t.threads == 0 else 1))
    assert long.sweep(threads=(0, 1)).threads == 0
    wide = Device(lambda t: max(2e-4 * t.rows / (2 if t.threads == 0 else 1), 1e-6))
    assert wide.sweep(threads=(0, 1)).threads == 0


@pytest.mark.parametrize("disturbed", [1, 2])
def test_the_machine_may_be_disturbed_while_one_size_runs(disturbed):
    """Each is run again later, in turn with the others, and one bad time of several doesn't count."""
    numbers = itertools.count()
    cost = lambda rows: (5e-5 if rows == 64 else 1e-4) * rows  # noqa: E731
    device = Device(lambda t: cost(t.rows) + (0.02 if t.rows == 64 and next(numbers) == disturbed else 0))
    assert device.sweep() == Tuning(64, 0)
    first = 1 + 2 * len(SIZES)
    assert [t.rows for t in device.runs[first : first + len(SIZES)]] == list(SIZES)


@pytest.mark.parametrize("disturbed", [0, 2, 4, 6])
def test_one_long_run_does_not_end_the_search(disturbed):
    """Of the first row, or of a size before it is left for the next."""
    numbers = itertools.count()
    device = Device(lambda t: 1e-6 * t.rows + (0.1 if next(numbers) == disturbed else 0))
    assert device.sweep() == Tuning(128, 0)


def test_a_machine_that_is_always_disturbed_stays_disturbed():
    """The search ends all the same."""
    device = Device(lambda t: 1e-6 * t.rows + (0.09 if t.rows > 1 else 0))
    assert device.sweep(limit_s=5).rows == 8
    assert len(device.runs) < 16


@pytest.mark.parametrize(
    ("row_s", "threads", "most_rows", "runs"),
    [(1e-3, 0, 1024, MOST_RUNS), (1e-3, 0, 20, 2), (6e-3, 0, 1024, 2), (9e-3, 0, 1024, 1), (1e-3, 1, 1024, 1)],
)
def test_a_batch_takes_several_runs_where_they_keep_within_the_longest_batch(row_s, threads, most_rows, runs):
    """Of a model on one thread it takes one: what else the server does has a core of its own."""
    device = Device(lambda t: row_s * t.rows)
    chosen = sweep((8,), (threads,), device.run, device.clock, 5.0, most_rows)
    assert chosen == Tuning(8, threads, runs)
    assert chosen.runs * 8 * row_s <= LONGEST_BATCH_S


def test_sizes_that_fail_are_left_out_and_a_model_that_runs_none_is_left_alone():
    def run(tuning):
        if tuning.rows > 16:
            raise OutOfMemory("no")
        return 1e-6 * tuning.rows

    assert Device(run).sweep() == Tuning(16, 0)

    def never(_):
        raise OutOfMemory("no")

    assert Device(never).sweep() is None


def test_a_size_that_fails_later_is_left_out_too():
    runs = itertools.count()

    def run(tuning):
        if tuning == Tuning(32, 0) and next(runs) > 2:
            raise OutOfMemory("no")
        return 1e-6 * tuning.rows

    assert Device(run).sweep((8, 16, 32)) == Tuning(16, 0)
    runs = itertools.count()
    assert Device(run).sweep((32,), (0, 1)) == Tuning(32, 1)
    runs = itertools.count(2)
    assert Device(run).sweep((32,), (0, 1)) is None


def signature(*shapes, dtype="float32"):
    inputs = tuple(TensorSignature(f"x{n}", np.dtype(dtype), shape) for n, shape in enumerate(shapes))
    return Signature(inputs, ())


def test_sizes_worth_trying_go_by_the_bytes_of_a_row():
    assert sizes_for(signature((30,)))[-1] == 4096
    assert sizes_for(signature((3, 224, 224))) == (8, 16, 32)
    for s in (signature((64, 256)), signature((3, 1000, 1000)), signature((3, 4000, 4000)), signature((30,), (100, 9))):
        sizes = sizes_for(s)
        assert sizes
        assert sizes[-1] * row_bytes(s.inputs) <= MOST_BYTES or sizes == (1,)
    assert sizes_for(signature((3, 4000, 4000))) == (1,)
    assert sizes_for(signature((None, 3))) == ()
