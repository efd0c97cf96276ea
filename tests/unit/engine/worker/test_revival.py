"""What is decided again, and how, when a model's process starts again."""

import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from assayd.engine.in_process import InProcessBackend
from assayd.engine.options import SessionOptions
from assayd.engine.worker.backend import WorkerBackend
from assayd.errors import InvalidModel, ModelFailed, WorkerLost
from assayd.types.model import Tuning
from assayd.types.subject import Subject
from tests.models import zoo
from tests.unit.engine.test_proof import saturated
from tests.unit.engine.worker.batches import rows, run, samples
from tests.unit.engine.worker.processes import gone, pid_of


def test_a_revival_of_one_that_lives_is_nothing(backend):
    loaded = backend.load("m", zoo.linear())
    pid = pid_of(backend)
    assert backend.revive("m", zoo.linear()) is loaded
    assert pid_of(backend) == pid
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    while backend.workers()[0].alive:
        time.sleep(0.01)
    backend.revive("m", zoo.linear())
    assert pid_of(backend) != pid


def test_a_revival_that_fails_on_the_way_leaves_no_half_revived_model(backend, monkeypatch):
    backend.load("m", zoo.linear())
    backend.demote("m", zoo.linear(), "to try it")
    backend.kill("m", "to try it")

    def refuse(*_):
        raise ModelFailed("no")

    monkeypatch.setattr("assayd.engine.worker.process.Process.demote", refuse)
    with pytest.raises(ModelFailed):
        backend.revive("m", zoo.linear())
    assert [w.alive for w in backend.workers()] == [False]
    monkeypatch.undo()
    assert not backend.revive("m", zoo.linear()).batching.batched


def test_a_revived_model_is_demoted_as_before_and_still_runs_what_was_planned(backend):
    data = zoo.linear()
    backend.load("m", data)
    demoted = backend.demote("m", data, "because")
    x = rows(3)
    planned = run(backend, samples(x))
    backend.kill("m", "to try it")
    assert backend.revive("m", data).batching == demoted.batching
    np.testing.assert_array_equal(run(backend, samples(x)), planned)
    np.testing.assert_array_equal(run(backend, samples(x[:1], batched=False))[0], planned[0][:1])


def test_which_batches_are_exact_crosses_and_so_does_what_low_precision_costs():
    made = WorkerBackend(SessionOptions(threads=1, realiser="graph", precision="fp16"), 8)
    try:
        loaded = made.load("m", zoo.mlp())
        assert (loaded.precision, 0 < loaded.precision_error < 1e-2) == ("fp16", True)
        asked = samples(rows(5, 8))
        fast, exact = run(made, asked)[0], run(made, replace(asked, exact=True))[0]
    finally:
        made.close()
    plain = InProcessBackend(SessionOptions(threads=1), 8)
    plain.load("m", zoo.mlp())
    want = plain.run(plain.prepare(asked))[0]
    np.testing.assert_allclose(exact, want, atol=1e-6)
    assert np.abs(fast - want).max() > 1e-5


def test_a_revived_model_is_proven_by_the_same_instance(backend):
    data = saturated(batch=1)
    assert backend.load("m", data).open_question
    weights = np.random.default_rng(0).standard_normal((6, 3)) / np.sqrt(6)
    x = (np.linalg.pinv(weights.T) @ [-4e6, 0, 4e6]).astype(np.float32)
    settled = backend.prove("m", Subject({"x": x}, {"x": np.zeros((1, 6), np.float32)}))
    assert settled.batching.batched
    backend.kill("m", "to try it")
    assert backend.revive("m", data).batching == settled.batching
    assert len(run(backend, samples(rows(3)))[0]) == 3


def test_a_revived_model_keeps_what_its_steady_runs_need(backend):
    """Steady row by row though proven: by an instance, which says nothing of the model alone."""
    data = saturated(batch=1)
    backend.load("m", data)
    weights = np.random.default_rng(0).standard_normal((6, 3)) / np.sqrt(6)
    x = (np.linalg.pinv(weights.T) @ [-4e6, 0, 4e6]).astype(np.float32)
    backend.prove("m", Subject({"x": x}, {"x": np.zeros((1, 6), np.float32)}))
    assert not backend.steady("m", data).batching.batched
    backend.kill("m", "to try it")
    assert backend.revive("m", data).batching.batched
    for batched in (True, False):
        assert len(run(backend, samples(rows(1), batched=batched))[0]) == 1


def test_a_revived_model_is_tuned_as_before_and_its_steady_runs_have_their_session():
    backend, data, x = WorkerBackend(SessionOptions(sweep_s=5.0), None), zoo.linear(), rows(3)
    try:
        tuned = backend.load("m", data, Tuning(48, 1))
        backend.steady("m", data)
        steady = replace(samples(x), padded=True, steady=True)
        before = run(backend, steady)
        built = backend.sessions_built
        assert built == 3, "the file's own, one with one thread, and one for the same bits"
        backend.kill("m", "to try it")
        revived = backend.revive("m", data)
        assert (revived.tuning, revived.batching, revived.threads) == (Tuning(48, 1), tuned.batching, 1)
        assert backend.sessions_built == 2 * built
        np.testing.assert_array_equal(run(backend, steady), before)
    finally:
        backend.close()


def test_a_revival_that_fails_leaves_a_lost_model(backend):
    backend.load("m", zoo.linear())
    backend.kill("m", "to try it")
    with pytest.raises(InvalidModel):
        backend.revive("m", b"no model")
    with pytest.raises(WorkerLost):
        backend.prepare(samples(rows(2)))
    backend.revive("m", zoo.linear())
    assert len(run(backend, samples(rows(3)))[0]) == 3
    with pytest.raises(KeyError):
        backend.revive("unknown", zoo.linear())
