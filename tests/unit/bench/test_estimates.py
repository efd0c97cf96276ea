import math

import numpy as np
import pytest

from tests.bench.estimates import Estimate, estimate, jain, percentile
from tests.bench.figures import Figure, Mark


def test_a_median_and_an_interval_that_covers_it_as_often_as_it_says():
    random = np.random.default_rng(0)
    held = [estimate(random.normal(3, 1, 31)) for _ in range(200)]
    covered = np.mean([found.low <= 3 <= found.high for found in held])
    assert 0.88 < covered < 0.99
    assert all(found.low <= found.value <= found.high for found in held)


def test_more_values_give_a_narrower_interval():
    values = np.random.default_rng(1).normal(0, 1, 900)
    assert estimate(values).half_width < estimate(values[:9]).half_width / 3


def test_nothing_has_no_estimate():
    with pytest.raises(ValueError, match="nothing"):
        estimate([])
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 99)


def test_percentiles_are_values_that_were_seen():
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 99).value == 100
    assert percentile(values, 50).value == 51
    assert percentile([7.0], 99) == Estimate(7, 7, 7)


def test_calls_without_an_answer_count_as_endless():
    values = [0.01] * 90 + [math.inf] * 10
    assert percentile(values, 50).value == 0.01
    assert percentile(values, 95).value == math.inf


def test_neighbours_that_wait_together_widen_the_interval():
    random = np.random.default_rng(2)
    alike = np.repeat(random.exponential(1, 40), 50)
    apart = random.permutation(alike)
    assert percentile(alike, 95).half_width > 2 * percentile(apart, 95).half_width


def test_jain_of_equal_shares_of_one_winner_and_of_nothing():
    assert jain([3, 3, 3, 3]) == pytest.approx(1)
    assert jain([5, 0, 0, 0]) == pytest.approx(1 / 4)
    assert jain([1, 2]) == pytest.approx(9 / 10)
    assert jain([0, 0]) == 0


LEAST, MOST = Mark(0.95), Mark(50, at_least=False)


@pytest.mark.parametrize(
    ("mark", "interval", "control", "verdict"),
    [
        (LEAST, (0.96, 0.98), 0.01, "met"),
        (LEAST, (0.90, 0.94), 0.01, "missed"),
        (LEAST, (0.94, 0.96), 0.01, "no verdict"),
        (LEAST, (0.96, 0.98), 0.02, "no verdict"),
        (LEAST, (0.95, 0.95), None, "met"),
        (MOST, (20, 40), None, "met"),
        (MOST, (60, 70), None, "missed"),
        (MOST, (40, 60), None, "no verdict"),
        (MOST, (math.inf, math.inf), None, "missed"),
        (None, (1, 2), 0.01, ""),
    ],
)
def test_verdicts_need_the_whole_interval_on_one_side_and_a_quiet_machine(mark, interval, control, verdict):
    low, high = interval
    assert Figure("w", "f", "ratio", Estimate((low + high) / 2, low, high), control, mark).verdict == verdict


def test_what_could_not_be_measured_says_so():
    assert Figure("w", "f", "ratio", None, mark=LEAST, failed="answers differ").verdict == "failed"
