"""Models that end their processes."""

import pytest

from assayd.engine.quarantine import STRIKES, Quarantine, cause_of, killed_by_others, verdict
from assayd.errors import ModelFailed, ModelQuarantined, OutOfMemory, WorkerLost


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_a_model_is_left_alone_after_some_strikes_and_for_a_while():
    clock = Clock()
    quarantine = Quarantine(clock)
    for _ in range(STRIKES):
        quarantine.check("m")
        quarantine.strike("m", object())
        clock.now += 10
    with pytest.raises(ModelQuarantined) as got:
        quarantine.check("m")
    assert got.value.metadata == {"digest": "m"}
    quarantine.check("n")
    assert quarantine.held == ["m"]
    clock.now += 600
    quarantine.check("m")
    assert quarantine.held == []


def test_strikes_that_lie_far_apart_are_forgiven():
    clock = Clock()
    quarantine = Quarantine(clock)
    for _ in range(10):
        quarantine.strike("m", object())
        clock.now += 301
        quarantine.check("m")


def test_a_request_counts_once():
    quarantine = Quarantine(Clock())
    mine = object()
    for by in (mine, mine, mine, object(), mine):
        quarantine.strike("m", by)
        quarantine.check("m")
    quarantine.strike("m", object())
    with pytest.raises(ModelQuarantined):
        quarantine.check("m")


def test_pauses_grow_and_shrink_again():
    clock = Clock()
    quarantine = Quarantine(clock)
    pauses = [quarantine.pause("m") for _ in range(6)]
    assert pauses[0] == 0
    assert pauses == sorted(pauses)
    assert max(pauses) <= 1
    assert quarantine.pause("n") == 0
    clock.now += 600
    assert quarantine.pause("m") == 0


@pytest.mark.parametrize(
    ("cause", "others", "word"),
    [
        ("killed by signal 9", True, "killed"),
        ("killed by signal 11", False, "crashed"),
        ("exit 1", False, "gone"),
        ("it didn't answer", True, "silent"),
        ("stuck in a batch", True, "stuck"),
        ("stuck in a proof", True, "stuck"),
        ("memory", False, "memory"),
        ("", False, "gone"),
    ],
)
def test_who_ended_a_process(cause, others, word):
    lost = WorkerLost("", metadata={"cause": cause} if cause else {})
    assert killed_by_others(lost) == others
    assert cause_of(lost) == word


@pytest.mark.parametrize(("cause", "error"), [("memory", OutOfMemory), ("killed by signal 11", ModelFailed)])
def test_what_is_said_of_a_model_that_ended_its_process(cause, error):
    said = verdict(WorkerLost("", metadata={"cause": cause}), "while it was loaded")
    assert type(said) is error
    assert "while it was loaded" in said.message


def test_models_that_did_nothing_lately_leave_no_trace():
    now = [0.0]
    quarantine = Quarantine(lambda: now[0])
    for n in range(50):
        quarantine.check(f"innocent {n}")
    quarantine.strike("guilty", object())
    quarantine.pause("guilty")
    assert (list(quarantine._strikes), list(quarantine._losses)) == (["guilty"], ["guilty"])
    now[0] += 10**6
    assert quarantine.held == []
    quarantine.check("guilty")
    assert not quarantine._strikes
