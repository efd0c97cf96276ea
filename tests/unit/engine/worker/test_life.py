"""How models' processes end, are ended, and are found to be stuck."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from assayd.errors import InvalidModel, Terminated, WorkerLost
from tests.models import zoo
from tests.unit.engine.worker import models
from tests.unit.engine.worker.batches import one_row, rows, run, samples
from tests.unit.engine.worker.processes import answers, busy, gone, lost, pid_of, state, stop

SERVER = """
import sys, time, threading
from assayd.engine.options import SessionOptions
from assayd.engine.worker.backend import WorkerBackend
from assayd.engine.worker.spawn import start
if sys.argv[1] == "starting":
    print(start(None).process.pid, flush=True)
else:
    backend = WorkerBackend(SessionOptions(threads=1), None)
    backend.load("m", sys.stdin.buffer.read())
    print(backend.workers()[0].pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("when", ["starting", "loaded", "stuck"])
def test_when_the_server_is_killed_no_worker_is_left(when):
    server = subprocess.Popen([sys.executable, "-c", SERVER, when], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with server:
        server.stdin.write(zoo.mlp())
        server.stdin.close()
        pid = int(server.stdout.readline())
        assert state(pid)
        if when == "stuck":
            stop(pid)
        server.kill()
    assert gone(pid)


def test_a_worker_outlives_the_thread_that_asked_for_it(backend):
    thread = threading.Thread(target=backend.load, args=("m", zoo.mlp()))
    thread.start()
    thread.join()
    time.sleep(0.05)
    assert answers(backend)


def endless_load(backend, pool):
    """A load under way that comes to no end, and its process, which answers meanwhile."""
    load = pool.submit(backend.load, "m", models.loop(2**62))
    while not backend.workers():
        time.sleep(0.01)
    pid = pid_of(backend)
    busy(pid)
    assert answers(backend)
    return load, pid


def test_a_kill_while_loading_is_seen_at_once_and_leaves_nothing(backend, pool):
    load, pid = endless_load(backend, pool)
    stop(pid)
    assert backend.ping("m")
    assert not answers(backend, seconds=0.1)
    backend.kill("m", "too slow")
    lost(load, "too slow")
    assert gone(pid)
    assert not backend.workers()
    with pytest.raises(WorkerLost):
        backend.prepare(samples(rows(1)))


def test_a_kill_while_running_ends_one_giant_product(backend, pool):
    backend.load("m", models.matmul())
    pid = pid_of(backend)
    ready = backend.prepare(one_row(backend, [1, 2, models.GIANT]))
    running = pool.submit(backend.run, ready)
    busy(pid)
    time.sleep(1)  # it is past making the matrix
    backend.terminate("m")
    time.sleep(0.1)
    assert not running.done()
    backend.kill("m", "deadline")
    lost(running, "deadline")
    assert gone(pid)
    assert [w.alive for w in backend.workers()] == [False]
    for call in (lambda: backend.prepare(one_row(backend, [1, 2, 3])), lambda: backend.demote("m", b"", "x")):
        with pytest.raises(WorkerLost, match="deadline"):
            call()
    assert not backend.ping("m")


@pytest.mark.parametrize("what", ["prepare", "run"])
def test_a_signal_from_outside_is_seen_by_calls_that_wait(backend, pool, what):
    backend.load("m", zoo.linear())
    pid = pid_of(backend)
    ready = backend.prepare(samples(rows(2)))
    stop(pid)
    waiting = pool.submit(backend.run, ready) if what == "run" else pool.submit(backend.prepare, samples(rows(3)))
    time.sleep(0.05)
    assert not answers(backend, seconds=0.05)
    os.kill(pid, signal.SIGKILL)
    lost(waiting, "killed by signal 9")
    with pytest.raises(WorkerLost):
        backend.run(ready)


def test_a_death_is_seen_though_nobody_asks(backend):
    backend.load("m", zoo.linear())
    os.kill(pid_of(backend), signal.SIGKILL)
    end = time.monotonic() + 1
    while backend.workers()[0].alive and time.monotonic() < end:
        time.sleep(0.01)
    assert [(w.alive, w.rss_bytes) for w in backend.workers()] == [(False, 0)]


def test_one_that_is_stopped_is_found_though_it_may_be_silent_for_long(backend, pool):
    """While it loads; one that isn't stopped has the patience that a large file needs."""
    load, pid = endless_load(backend, pool)
    assert backend._processes["m"]._patience_s() > 5
    stop(pid)
    end = time.monotonic() + 5
    while backend.ping("m"):
        assert time.monotonic() < end
        time.sleep(0.05)
    backend.kill("m", "it didn't answer")
    lost(load, "it didn't answer")


def test_silence_counts_from_the_end_of_a_question(backend):
    """One that was busy until now hasn't been silent for too long."""
    backend.load("m", zoo.linear())
    process = backend._processes["m"]
    stop(pid_of(backend))
    assert backend.ping("m")
    process._pinged -= 100
    process._decided = time.monotonic() - 0.05
    assert process.silent_s < 1
    assert backend.ping("m")
    process._decided -= 100
    assert not backend.ping("m")


def test_silence_for_want_of_a_core_does_not_count(backend, monkeypatch):
    backend.load("m", zoo.linear())
    process = backend._processes["m"]
    assert process._waited_s() > 0  # it has started, among others
    stop(pid_of(backend))
    waited = process._waited_s()
    assert backend.ping("m")
    process._pinged -= 100
    process._decided -= 100
    monkeypatch.setattr(process, "_waited_s", lambda: waited + 99.9)
    assert process.silent_s < 1
    assert backend.ping("m")
    monkeypatch.setattr(process, "_waited_s", lambda: waited + 50)
    assert not backend.ping("m")


def test_one_that_is_about_to_leave_can_be_ended_too(backend, pool):
    """A batch that nobody waits for any more must not hold the device because its model was unloaded."""
    backend.load("m", models.loop())
    running = pool.submit(backend.run, backend.prepare(one_row(backend, [1, 2, models.HUGE])))
    busy(pid_of(backend))
    backend.unload("m")
    backend.terminate("m")
    with pytest.raises(Terminated):
        running.result(5)


def test_an_endless_loop_is_told_to_stop_and_the_worker_lives_on(backend, pool):
    backend.load("m", models.loop())
    assert run(backend, one_row(backend, [1, 2, 3]))[0][0, 0] == 4.0
    running = pool.submit(backend.run, backend.prepare(one_row(backend, [1, 2, models.HUGE])))
    busy(pid_of(backend))
    assert answers(backend)
    begun = time.monotonic()
    backend.terminate("m")
    with pytest.raises(Terminated):
        running.result(2)
    assert time.monotonic() - begun < 1
    assert run(backend, one_row(backend, [1, 2, 3]))[0][0, 0] == 4.0
    backend.terminate("m")  # nothing runs: the next one isn't hit
    time.sleep(0.05)
    assert run(backend, one_row(backend, [1, 2, 3]))[0][0, 0] == 4.0


def test_models_die_alone(backend):
    backend.load("m", zoo.linear())
    backend.load("n", zoo.linear())
    backend.kill("n", "to try it")
    assert len(run(backend, samples(rows(3)))[0]) == 3
    assert {w.digest: w.alive for w in backend.workers()} == {"m": True, "n": False}
    assert backend.workers()[0].rss_bytes > 2**24


def test_unloading_ends_the_worker_after_its_last_batch(backend):
    backend.load("m", zoo.linear())
    pid = pid_of(backend)
    ready = backend.prepare(samples(rows(3)))
    backend.unload("m")
    assert [w.pid for w in backend.workers()] == [pid]
    assert len(backend.run(ready)[0]) == 3
    assert gone(pid)
    assert not backend.workers()


def test_closing_ends_all(backend):
    backend.load("m", zoo.linear())
    backend.load("n", zoo.linear())
    pids = [w.pid for w in backend.workers()]
    backend.close()
    assert not any(state(pid) for pid in pids)


def test_a_load_that_fails_leaves_no_process(backend):
    with pytest.raises(InvalidModel) as got:
        backend.load("m", b"no model")
    assert got.value.field == "chunk"
    assert not backend.workers()
    assert backend.counters.processes_started == 1
