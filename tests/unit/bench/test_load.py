import numpy as np
import pytest

from tests.bench.load import Call, Load, OpenLoop


def test_latency_counts_from_the_time_that_was_meant():
    call = Call(caller=0, intended=1.0, sent=3.0, first=float("nan"), ended=3.5, rows=4)
    assert call.latency == 2.5


def test_latencies_stand_in_the_order_of_intended_starts_and_failures_never_end():
    nan = float("nan")
    calls = (
        Call(0, 2.0, 2.0, nan, 2.1, 4),
        Call(0, 1.0, 1.0, nan, 1.4, 0, "Unavailable: gone"),
        Call(1, 0, 0, nan, 1, 6),
    )
    load = Load(calls)
    assert load.latencies() == pytest.approx([1, np.inf, 0.1])
    assert load.rows_by_caller() == [4, 6]
    assert len(load.answered) == 2


def test_arrivals_are_drawn_beforehand_at_the_rate_asked_for():
    starts = OpenLoop(rate=200, seconds=50, seed=3).starts()
    assert abs(len(starts) - 10_000) < 500
    assert (np.diff(starts) > 0).all()
    assert starts[-1] < 50
    gaps = np.diff(starts)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1)  # memoryless: bursts and pauses
    np.testing.assert_array_equal(starts, OpenLoop(200, 50, 3).starts())
