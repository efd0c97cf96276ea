"""How long a model that was late is on probation."""

import pytest

from assayd.scheduler.suspects import _FIRST_S, _FORGOTTEN_S, _LONGEST_S, Suspects


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def suspects(clock):
    return Suspects(clock)


def test_once_late_a_model_is_on_probation_for_a_moment(suspects, clock):
    assert "m" not in suspects
    assert suspects.late("m") == _FIRST_S
    clock.now += _FIRST_S * 0.9
    assert "m" in suspects
    assert "n" not in suspects
    clock.now += _FIRST_S * 0.2
    assert "m" not in suspects


def test_each_further_time_it_is_twice_as_long_up_to_a_limit(suspects, clock):
    for n in range(12):
        assert suspects.late("m") == min(_LONGEST_S, _FIRST_S * 2**n)
        clock.now += _LONGEST_S  # also where it was in time for a while
    assert "m" not in suspects


def test_in_time_for_long_it_is_as_good_as_new_and_leaves_no_trace(suspects, clock):
    suspects.late("m")
    suspects.late("m")
    clock.now += 2 * _FIRST_S + _FORGOTTEN_S
    assert suspects.late("n") == _FIRST_S
    assert list(suspects._known) == ["n"]
    assert suspects.late("m") == _FIRST_S


def test_they_have_their_turn_one_after_the_other(suspects, clock):
    for digest in "abc":
        suspects.late(digest)
    assert suspects.in_turn() == ["a", "b", "c"]
    suspects.turn("a")
    suspects.late("b")  # being late once more is no turn
    suspects.turn("never late")
    assert suspects.in_turn() == ["b", "c", "a"]
    clock.now += _FIRST_S
    assert suspects.in_turn() == ["b"]
