"""What a worker holds for the front, counted: both ends are in this process."""

import gc
import socket
import subprocess
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from assayd.engine.backend import Batch, Chunk
from assayd.engine.options import SessionOptions
from assayd.engine.worker import child
from assayd.engine.worker.counters import Counters
from assayd.engine.worker.process import Process
from assayd.engine.worker.room import MemoryKills
from assayd.engine.worker.spawn import Started
from assayd.errors import ModelUnfit
from assayd.types.rows import Pick, SampleRows
from assayd.types.subject import Subject
from tests.models import zoo


@pytest.fixture
def ends(monkeypatch):
    """The front's end of a worker and the worker itself, with a model. The system's process does nothing."""
    monkeypatch.setattr(child.os, "_exit", lambda _: None)
    worker, pairs = child.Worker(), [socket.socketpair() for _ in range(4)]
    answers = (worker.control, worker.prepare, worker.run, worker.watch)
    kinds = (child.m.ControlAnswer, child.m.PrepareAnswer, child.m.RunAnswer, child.m.Ping)
    meanwhile = (None, None, worker.ahead.until, None)
    threads = [
        threading.Thread(target=child._converse, args=(pair[1], *how))
        for pair, *how in zip(pairs, answers, kinds, meanwhile, strict=True)
    ]
    for thread in threads:
        thread.start()
    with subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE) as system:
        front = Process(Started(system, *(pair[0] for pair in pairs)), "m", 64, Counters(), MemoryKills())
        front.load(SessionOptions(threads=1), None, zoo.linear())
        yield SimpleNamespace(front=front, worker=worker)
        front.kill("the test is over")
        assert front.join(10)
    for thread in threads:
        thread.join(10)
    for pair in pairs:
        pair[1].close()


def batch(subject, target=0):
    x = np.ones((2, 6), np.float32)
    return Batch("m", True, (Chunk(subject, [SampleRows({"x": x})], (Pick("y", np.array([target])),), 2),))


def subject_of_ones():
    return Subject({"x": np.ones(6, np.float32)}, {})


def settled(ends):
    """What was posted before has been read: questions of that conversation are answered in turn."""
    ends.front.ping()
    ends.front.run(ends.front.prepare(batch(subject_of_ones())))


@pytest.mark.parametrize("how", ["released", "garbage"])
def test_a_subject_whose_first_batch_failed_is_released_as_any_other(ends, how):
    subject = subject_of_ones()
    number = subject.number
    with pytest.raises(ModelUnfit):
        ends.front.score([batch(subject, target=99)])
    assert list(ends.worker._subjects) == [number]
    if how == "released":
        ends.front.release(number)
    del subject
    gc.collect()
    settled(ends)
    assert number not in ends.worker._subjects
    assert number not in ends.front._held._known


def test_a_subject_whose_first_batch_failed_is_sent_again_as_it_may_not_have_come(ends):
    subject = subject_of_ones()
    with pytest.raises(ModelUnfit):
        ends.front.score([batch(subject, target=99)])
    ends.worker._subjects.clear()
    assert ends.front.post(batch(subject)) is None
    assert len(ends.front.score([batch(subject)])[0][0]) == 2
    assert list(ends.worker._subjects) == [subject.number]
    ends.front.run(ends.front.post(batch(subject)))


@pytest.mark.parametrize("how", ["prepared", "posted"])
def test_a_batch_that_is_dropped_leaves_nothing_behind_and_its_process_may_end(ends, how):
    subject = subject_of_ones()
    ends.front.score([batch(subject)])
    ready = ends.front.post(batch(subject)) if how == "posted" else ends.front.prepare(batch(subject))
    with ends.front._prepare.lock:  # a batch is being prepared, and whoever does that tells the worker
        ends.front.drop(ready)
    settled(ends)
    assert not ends.front._held._dropped
    settled(ends)
    assert not ends.worker.ahead._waiting
    ends.front.retire()
    assert not ends.front.alive


def test_a_process_outlives_its_models_leave_until_the_last_batch_has_run(ends):
    ready = [ends.front.prepare(batch(subject_of_ones())) for _ in range(2)]
    ends.front.retire()
    ends.front.drop(ready[0])
    assert ends.front.alive
    assert len(ends.front.run(ready[1])[0]) == 2
    assert not ends.front.alive
