"""Small batches that cross several at once, or without an answer before their scores."""

import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from assayd.engine.backend import Batch, Chunk, NotRun
from assayd.engine.worker.process import WorkerBug
from assayd.errors import ModelUnfit, Terminated, WorkerLost
from assayd.types.rows import Pick, PlainRows, SampleRows
from assayd.types.subject import Subject
from tests.models import zoo
from tests.unit.engine.worker import models
from tests.unit.engine.worker.batches import PICKS, one_row, rows, run, samples
from tests.unit.engine.worker.processes import busy, lost, pid_of, stop


def test_batches_at_once_score_as_by_themselves(backend):
    backend.load("m", zoo.mlp(6, 8, 3))
    few = [samples(rows(n, seed=n)) for n in (1, 3, 2)]
    at_once = backend.score(few)
    for batch, scored in zip(few, at_once, strict=True):
        np.testing.assert_array_equal(scored[0], run(backend, batch)[0])
    crossed = backend.counters.subject_bytes
    backend.score(few)
    assert backend.counters.subject_bytes == crossed  # the worker knows them


def test_large_rows_at_once_lie_aside_and_beside_a_batch_that_is_prepared(backend, pool):
    backend.load("m", zoo.linear(40_000))
    ahead = backend.prepare(samples(rows(3, 40_000, seed=1)))
    few = [samples(rows(2, 40_000, seed=n)) for n in (2, 3)]
    for _ in range(2):
        for batch, scored in zip(few, backend.score(few), strict=True):
            np.testing.assert_array_equal(scored[0], run(backend, batch)[0])
    assert len(backend.run(ahead)[0]) == 3


def test_what_is_posted_scores_as_what_is_prepared(backend):
    backend.load("m", zoo.mlp(6, 8, 3))
    few = [samples(rows(n, seed=n)) for n in (4, 3, 2)]
    assert backend.post(few[0]) is None  # the worker doesn't know its x
    prepared = [run(backend, batch)[0] for batch in few]
    crossed = backend.counters.row_bytes
    posted = [backend.post(replace(batch, at_once=True)) for batch in few]
    assert backend.counters.row_bytes > crossed
    for waiting, scores in zip(posted, prepared, strict=True):
        np.testing.assert_array_equal(backend.run(waiting)[0], scores)
    process = backend._processes["m"]
    assert process._batches == 0
    with process._prepare.lock:  # somebody is being answered there
        assert backend.post(few[0]) is None
    backend.unload("m")
    assert backend.post(few[0]) is None


def test_large_rows_are_not_posted(backend):
    backend.load("m", zoo.linear(5000))
    few = samples(rows(3, 5000))
    run(backend, few)
    assert backend.post(few) is None
    assert backend._processes["m"]._batches == 0


def test_posted_rows_that_cannot_be_made_are_found_by_whoever_runs_them(backend):
    backend.load("m", zoo.linear())
    subject = Subject({"x": rows(1)[0]}, {"x": rows(1)})
    good, bad = (Batch("m", True, (Chunk(subject, [PlainRows(np.array([n], np.int32))], PICKS, 1),)) for n in (0, 2))
    run(backend, good)
    waiting = backend.post(bad), backend.post(good)
    with pytest.raises(NotRun) as got:
        backend.run(waiting[0])
    assert isinstance(got.value.error, WorkerBug)
    assert len(backend.run(waiting[1])[0]) == 1


def test_nothing_ran_where_there_is_no_process(backend):
    backend.load("m", zoo.linear())
    with pytest.raises(NotRun):
        backend.score([replace(samples(rows(1)), digest="another")])
    backend.kill("m", "a test")
    with pytest.raises(NotRun) as got:
        backend.score([samples(rows(1))])
    assert isinstance(got.value.error, WorkerLost)


def test_a_death_on_the_way_is_no_batch_that_never_ran(backend, pool):
    backend.load("m", zoo.linear())
    pid = pid_of(backend)
    stop(pid)
    waiting = pool.submit(backend.score, [samples(rows(1)), samples(rows(2))])
    time.sleep(0.05)
    assert not waiting.done()
    os.kill(pid, signal.SIGKILL)
    lost(waiting, "killed by signal 9")


def test_where_one_fails_none_counts(backend):
    backend.load("m", zoo.linear())
    wrong = Chunk(Subject({"x": rows(1)[0]}, {}), [SampleRows({"x": rows(1)})], (Pick("y", np.array([99])),), 1)
    with pytest.raises(ModelUnfit):
        backend.score([samples(rows(1)), Batch("m", True, (wrong,))])
    assert len(backend.score([samples(rows(2))])[0][0]) == 2


def test_what_began_unasked_behind_one_that_was_told_to_stop_and_ended_waits_to_be_asked(backend, pool):
    backend.load("m", models.loop())
    first, endless = one_row(backend, [1, 2, 3]), replace(one_row(backend, [1, 2, models.HUGE]), at_once=True)
    ready = backend.prepare(first), backend.prepare(endless)
    backend.run(ready[0])
    busy(pid_of(backend))
    backend.terminate("m")  # meant for the first
    assert run(backend, first)[0][0, 0] == 4.0
    running = pool.submit(backend.run, ready[1])
    busy(pid_of(backend))
    assert not running.done()
    backend.terminate("m")
    with pytest.raises(Terminated):
        running.result(10)
