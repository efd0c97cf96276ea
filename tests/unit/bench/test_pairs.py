import itertools

import pytest

from tests.bench import pairs
from tests.bench.pairs import Arm, Effort, difference, ratio, timed

EFFORT = Effort(least=4, slow=2, most=9, seconds=1e9, arm_s=1e-9, load_s=0)


class Clock:
    """Time that passes only where an arm says so."""

    def __init__(self):
        self.now, self.order = 0.0, []

    def perf_counter(self):
        return self.now

    def arm(self, name, *seconds, **more):
        each = itertools.cycle(seconds)

        def run():
            self.order.append(name)
            self.now += next(each)

        return Arm(run, **more)


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(pairs, "time", made)
    return made


def test_ratios_and_differences_are_of_one_round(clock):
    arms = {"a": clock.arm("a", 1.0, 2.0), "b": clock.arm("b", 2.0, 4.0)}
    times = timed(arms, [("a", "a")], EFFORT)
    assert ratio(times, "b", "a").value == pytest.approx(2)
    assert ratio(times, "b", "a").half_width == pytest.approx(0)
    assert difference(times, "b", "a").low >= 1


def test_every_round_runs_every_arm_in_an_order_of_its_own(clock):
    timed({name: clock.arm(name, 1.0, known_s=1.0) for name in "abc"}, [("a", "b")], EFFORT)
    rounds = [clock.order[n : n + 3] for n in range(0, len(clock.order), 3)]
    assert len(rounds) == EFFORT.least
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


def test_rounds_go_on_while_the_control_is_restless(clock):
    arms = {"a": clock.arm("a", 1.0), "again": clock.arm("again", 1.0, 1.3, 0.8, 1.1, 0.9)}
    assert len(timed(arms, [("a", "again")], EFFORT)["a"]) == EFFORT.most


def test_slow_arms_sit_out_later_rounds_but_not_those_of_a_control(clock):
    arms = {"a": clock.arm("a", 10.0), "again": clock.arm("again", 10.0), "slow": clock.arm("slow", 20.0)}
    times = timed(arms, [("a", "again")], EFFORT)
    assert [t is not None for t in times["slow"]] == [True, True, False, False]
    assert None not in times["a"]
    assert ratio(times, "slow", "a").value == pytest.approx(2)


def test_quick_arms_run_next_to_each_other(clock):
    seconds = {"a": 1.0, "slow": 20.0, "again": 10.0, "b": 1.0}
    arms = {name: clock.arm(name, s, known_s=s) for name, s in seconds.items()}
    timed(arms, [("a", "again")], EFFORT)
    rounds = [clock.order[n : n + 4] for n in range(0, 8, 4)]
    assert all(one[-1] == "slow" for one in rounds)


def test_what_matters_runs_in_every_round_and_what_slow_arms_take_isnt_counted(clock):
    effort = Effort(least=2, slow=1, most=9, seconds=50.0, arm_s=1e-9, load_s=0)
    arms = {"a": clock.arm("a", 1.0, 2.0), "service": clock.arm("service", 9.0), "slow": clock.arm("slow", 500.0)}
    times = timed(arms, [("a", "service")], effort)
    assert [t is not None for t in times["slow"]] == [True, False, False, False, False]
    assert times["service"] == [9.0] * 5
    arms = {"a": clock.arm("a", 1.0), "again": clock.arm("again", 1.0, 2.0), "service": clock.arm("service", 9.0)}
    assert None not in timed(arms, [("a", "again")], EFFORT, always=("service",))["service"]
    assert None in timed(arms, [("a", "again")], EFFORT)["service"]


def test_an_arm_that_does_a_part_counts_for_the_whole(clock):
    arms = {"whole": clock.arm("whole", 4.0), "part": clock.arm("part", 1.0, share=0.25)}
    assert ratio(timed(arms, [("whole", "whole")], EFFORT), "whole", "part").value == pytest.approx(1)
