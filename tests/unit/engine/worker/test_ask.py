"""Questions that are asked without waiting, and small answers that are read where nobody may wait."""

import os
import select
import signal
import socket

import numpy as np
import pytest

from assayd.engine.backend import Batch, Chunk, Whole
from assayd.engine.worker import messages as m
from assayd.engine.worker import process
from assayd.engine.worker.arrays import Malformed
from assayd.engine.worker.frames import FROM_WORKER, Wire, framed
from assayd.errors import ModelUnfit, WorkerLost
from assayd.types.rows import Pick, SampleRows
from assayd.types.subject import Subject
from tests.models import zoo
from tests.unit.engine.worker.batches import rows, run, samples
from tests.unit.engine.worker.processes import gone, pid_of, stop


def readable(asked, seconds=10):
    assert select.select([asked], [], [], seconds)[0]


def at_hand(asked):
    readable(asked)
    return asked.at_hand()


def idle(backend):
    """Nobody speaks with the worker, and no batch keeps it."""
    front = backend._processes["m"]
    return not front._run.lock.locked() and front._batches == 0


def test_what_is_asked_is_answered_as_what_is_run(backend):
    backend.load("m", zoo.mlp(6, 8, 3))
    few = [samples(rows(n, seed=n)) for n in (1, 3, 2)]
    want = [run(backend, batch)[0] for batch in few]
    for how in (at_hand, lambda asked: asked.results()):
        for batch, scores in zip(few, want, strict=True):
            np.testing.assert_array_equal(how(backend.ask(backend.prepare(batch)))[0][0], scores)
        crossed = backend.counters.row_bytes
        for got, scores in zip(how(backend.ask(few)), want, strict=True):
            np.testing.assert_array_equal(got[0], scores)
        assert backend.counters.row_bytes > crossed
        assert idle(backend)


def test_subjects_that_are_new_go_along(backend):
    backend.load("m", zoo.linear())
    few = [samples(rows(2))]
    [[scores]] = at_hand(backend.ask(few))
    crossed = backend.counters.subject_bytes
    np.testing.assert_array_equal(run(backend, few[0])[0], scores)
    assert backend.counters.subject_bytes == crossed > 0


def test_nothing_is_asked_where_one_would_have_to_wait(backend):
    backend.load("m", zoo.linear())
    few = [samples(rows(2))]
    first = backend.ask(few)
    assert backend.ask(few) is None
    first.results()
    with backend._start("m"):  # it is being revived
        assert backend.ask(few) is None
    ready = backend.prepare(few[0])
    backend.kill("m", "a test")
    assert backend.ask(few) is None
    assert backend.ask(ready) is None


def test_there_is_no_answer_before_it_has_come(backend):
    backend.load("m", zoo.linear())
    pid = pid_of(backend)
    stop(pid)
    asked = backend.ask([samples(rows(2))])
    assert asked.posted
    assert asked.at_hand() is None
    os.kill(pid, signal.SIGCONT)
    assert len(at_hand(asked)[0][0]) == 2


def test_a_large_question_is_sent_by_whoever_waits_for_the_answer(backend):
    backend.load("m", zoo.linear(40_000))
    few = [samples(rows(2, 40_000))]
    assert backend.ask(few) is None  # to pack its x takes as long
    assert idle(backend)
    want = run(backend, few[0])[0]
    for posted in (False, True):  # with the memory that its rows lie in, and then in the same
        asked = backend.ask(few)
        assert asked.posted == posted
        np.testing.assert_array_equal(asked.results()[0][0], want)
    others = samples(rows(2, 40_000, seed=1))
    want = run(backend, others)[0]
    asked = backend.ask([others])
    assert asked.posted
    np.testing.assert_array_equal(at_hand(asked)[0][0], want)
    many = samples(rows(8, 40_000))  # more than goes at once
    run(backend, many)
    asked = backend.ask([many])
    assert not asked.posted
    assert len(asked.results()[0][0]) == 8
    assert idle(backend)


def test_a_large_answer_is_left_to_whoever_may_wait(backend, monkeypatch):
    monkeypatch.setattr(process, "_SMALL_BYTES", 30 * 8)
    backend.load("m", zoo.linear())
    many = samples(rows(30))
    ready = backend.prepare(many)
    asked = backend.ask(ready)
    assert at_hand(asked) is None
    np.testing.assert_array_equal(asked.results()[0][0], run(backend, many)[0])
    assert idle(backend)


@pytest.mark.parametrize("how", [at_hand, lambda asked: asked.results()])
def test_what_fails_is_raised_and_the_next_is_answered(backend, how):
    backend.load("m", zoo.linear())
    wrong = Chunk(Subject({"x": rows(1)[0]}, {}), [SampleRows({"x": rows(1)})], (Pick("y", np.array([99])),), 1)
    with pytest.raises(ModelUnfit):
        how(backend.ask([Batch("m", True, (wrong,))]))
    assert idle(backend)
    assert len(how(backend.ask([samples(rows(2))]))[0][0]) == 2


def test_a_question_that_cannot_be_put_leaves_the_conversation_to_others(backend):
    backend.load("m", zoo.linear())
    x = np.array([["a"]], object)
    x[0, 0] = 7  # no text
    chunk = Chunk(Subject({"x": x[0]}, {}), [SampleRows({"x": x})], Whole(), 1)
    with pytest.raises(TypeError):
        backend.ask([Batch("m", True, (chunk,))])
    assert idle(backend)
    assert len(backend.ask([samples(rows(2))]).results()[0][0]) == 2


def test_who_asked_one_that_dies_is_told_and_needs_a_thread_for_it(backend):
    backend.load("m", zoo.linear())
    pid = pid_of(backend)
    stop(pid)
    asked = backend.ask([samples(rows(2))])
    os.kill(pid, signal.SIGKILL)
    assert at_hand(asked) is None  # to learn why takes a moment
    with pytest.raises(WorkerLost, match="killed by signal 9"):
        asked.results()
    assert gone(pid)


def test_a_message_is_taken_whole_wherever_it_was_cut():
    message = b"".join(framed(m.RunAnswer, m.Results((np.arange(6.0).reshape(3, 2),))).pieces)
    for cut in range(len(message) + 1):
        here, there = socket.socketpair()
        with here, there:
            wire = Wire(here, FROM_WORKER)
            assert not wire.has_come(1000)
            there.sendall(message[:cut])
            for _ in range(2):
                assert wire.has_come(1000) == (cut == len(message))
                assert wire.coming == (cut < len(message))
            there.sendall(message[cut:])
            if cut % 2:  # however it is read on
                assert wire.has_come(1000)
                assert not wire.coming
            got = wire.receive()
            np.testing.assert_array_equal(got.read(m.RunAnswer).results[0], np.arange(6.0).reshape(3, 2))
            there.sendall(message)  # nothing of the first one is left
            assert wire.has_come(1000)
            assert wire.receive().size == len(message)


@pytest.mark.parametrize("size", [100, 300])
def test_a_message_above_the_size_and_what_follows_it_stay(size):
    message = b"".join(framed(m.RunAnswer, m.Results((np.arange(40.0).reshape(40, 1),))).pieces)
    here, there = socket.socketpair()
    with here, there:
        wire = Wire(here, FROM_WORKER)
        there.sendall(message * 2)
        for _ in range(2):
            assert not wire.has_come(size)
            assert not wire.coming
        assert [wire.receive().size for _ in range(2)] == [len(message)] * 2
        there.sendall(message[:7])
        assert not wire.has_come(1000)
        assert wire.coming
        there.close()
        assert not wire.has_come(1000)
        assert not wire.coming
        with pytest.raises(EOFError):
            wire.receive()


def test_a_message_beyond_the_limits_is_refused_by_whoever_takes_it():
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"\xff" * 12 + b"more")
        wire = Wire(here, FROM_WORKER)
        assert not wire.has_come(1000)
        with pytest.raises(Malformed):
            wire.receive()
