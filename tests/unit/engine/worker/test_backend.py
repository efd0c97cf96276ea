"""Models in processes of their own: what crosses, what is decided again, what dies alone."""

import errno
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assayd.engine.backend import Batch, Chunk, NotRun, Whole
from assayd.engine.in_process import InProcessBackend
from assayd.engine.options import SessionOptions
from assayd.engine.worker.backend import WorkerBackend
from assayd.engine.worker.process import WorkerBug
from assayd.errors import InvalidModel, ModelFailed, ModelUnfit, OutOfMemory, Terminated, WorkerLost, WorkerNotStarted
from assayd.types.model import Tuning
from assayd.types.rows import MaskRows, Pick, PlainRows, SampleRows
from assayd.types.subject import Segments, Subject
from tests.models import zoo
from tests.unit.engine.test_proof import saturated
from tests.unit.engine.worker import models

PICKS = (Pick("y", np.array([0])),)
GIB = 2**30


@pytest.fixture
def backend():
    made = WorkerBackend(SessionOptions(threads=1), None)
    yield made
    made.close()


@pytest.fixture
def pool():
    made = ThreadPoolExecutor(4)
    yield made
    made.shutdown(wait=False)  # closing the backend ends what still waits


def one_row(backend, x, readout=PICKS):
    batched = backend._decisions["m"].loaded.batching.batched
    subject = Subject({"x": np.asarray(x, np.float32)}, {})
    return Batch("m", batched, (Chunk(subject, [PlainRows(np.array([-1], np.int32))], readout, 1),))


def rows(count, features=6, seed=0):
    return np.random.default_rng(seed).standard_normal((count, features)).astype(np.float32)


def samples(x, readout=PICKS, batched=True):
    return Batch("m", batched, (Chunk(Subject({"x": x[0]}, {}), [SampleRows({"x": x})], readout, len(x)),))


def run(backend, batch):
    return backend.run(backend.prepare(batch))


def pid_of(backend, digest="m"):
    return next(w.pid for w in backend.workers() if w.digest == digest)


def state(pid):
    """A process's letter in /proc; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def gone(pid, seconds=5.0):
    end = time.monotonic() + seconds
    while state(pid) not in {"", "Z"} and time.monotonic() < end:
        time.sleep(0.01)
    return state(pid) in {"", "Z"}


def stop(pid, seconds=5.0):
    """Every thread: one that hasn't heard of it yet would still answer."""
    os.kill(pid, signal.SIGSTOP)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        threads = [t.read_text().rpartition(")")[2].split()[0] for t in Path(f"/proc/{pid}/task").glob("*/stat")]
        if all(letter in "Tt" for letter in threads):
            return
        time.sleep(0.005)
    raise TimeoutError


def answers(backend, digest="m", seconds=5.0):
    """Whether a ping that is sent now is answered."""
    process, end = backend._processes[digest], time.monotonic() + seconds
    while process.alive and process._pongs != process._pings and time.monotonic() < end:
        time.sleep(0.01)
    backend.ping(digest)
    while process.alive and process._pongs != process._pings and time.monotonic() < end:
        time.sleep(0.01)
    return process.alive and process._pongs == process._pings


def busy(pid, seconds=10.0):
    """Wait until a process computes: its first thread's channels are read by others."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = sum(map(int, Path(f"/proc/{pid}/stat").read_text().split()[13:15]))
        time.sleep(0.1)
        if sum(map(int, Path(f"/proc/{pid}/stat").read_text().split()[13:15])) - begun >= 5:
            return
    raise AssertionError("it stays idle")


# ---- what crosses ----------------------------------------------------------------------------------------------


def test_the_front_holds_neither_onnx_nor_a_runtime():
    script = """
import sys, numpy as np
from assayd.engine.options import SessionOptions
from assayd.engine.worker.backend import WorkerBackend
from assayd.engine.backend import Batch, Chunk, Whole
from assayd.types.rows import PlainRows
from assayd.types.subject import Subject
backend = WorkerBackend(SessionOptions(threads=1), None)
backend.load("m", open(sys.argv[1], "rb").read())
chunk = Chunk(Subject({"x": np.ones(8, np.float32)}, {}), [PlainRows(np.array([-1], np.int32))], Whole(), 1)
print(backend.run(backend.prepare(Batch("m", True, (chunk,))))[0]["y"].shape)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"onnx", "onnxruntime", "grpc", "google"}))
backend.close()
"""
    file = Path(os.environ.get("TMPDIR", "/tmp")) / f"mlp-{os.getpid()}.onnx"
    file.write_bytes(zoo.mlp())
    try:
        out = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True, check=True).stdout
    finally:
        file.unlink()
    assert out == "(1, 3)\n[]\n"


def test_a_subject_crosses_once_and_again_to_the_next_worker(backend):
    backend.load("m", zoo.mlp(2000))
    subject = Subject(
        {"x": rows(1, 2000)[0]}, {"x": rows(1, 2000, 1)}, Segments({"x": np.arange(2000, dtype=np.int32) % 7}, 7)
    )
    keep = np.eye(7, dtype=bool)
    batch = Batch("m", True, (Chunk(subject, [MaskRows(keep, np.zeros(7, np.int32))], PICKS, 7),))
    first = run(backend, batch)
    counted = backend.counters.subject_bytes, backend.counters.row_bytes
    assert counted[0] == 3 * 8000
    assert counted[1] < 1000
    np.testing.assert_array_equal(run(backend, batch), first)
    assert backend.counters.subject_bytes == counted[0]
    assert counted[1] < backend.counters.row_bytes <= 2 * counted[1]
    backend.kill("m", "to try it")
    backend.revive("m", zoo.mlp(2000))
    np.testing.assert_array_equal(run(backend, batch), first)
    assert backend.counters.subject_bytes == 2 * counted[0]
    assert backend.counters.processes_started == backend.sessions_built == 2


@pytest.mark.parametrize("how", ["released", "garbage"])
def test_a_subject_that_is_over_is_forgotten(backend, how):
    backend.load("m", zoo.linear())
    batch = samples(rows(2))
    run(backend, batch)
    known = backend._processes["m"]._known
    assert len(known) == 1
    if how == "released":
        backend.release(batch.chunks[0].subject.number)
        backend.release(10**9)
    else:
        del batch
        gc.collect()
    assert not known
    assert not backend._processes["m"]._gone  # told already: nothing was being prepared
    run(backend, samples(rows(2)))


def test_subjects_that_go_while_a_batch_is_prepared_are_told_of_afterwards(backend):
    backend.load("m", zoo.linear())
    batch = samples(rows(2))
    run(backend, batch)
    process = backend._processes["m"]
    with process._prepare.lock:
        backend.release(batch.chunks[0].subject.number)
        assert len(process._gone) == 1
    run(backend, samples(rows(2, seed=1)))
    assert not process._gone
    run(backend, batch)


def test_large_rows_cross_in_shared_memory(backend):
    backend.load("m", zoo.linear(20_000))
    for count in (2, 7, 3):
        x = rows(count, 20_000, count)
        weights = np.array(zoo.linear_weights(zoo.linear(20_000))[0])
        np.testing.assert_allclose(run(backend, samples(x))[0][:, 0], x @ weights[:, 0], atol=1, rtol=1e-3)
    assert len(backend._processes["m"]._shared._bytes) == 2**20


def test_words_cross_both_ways(backend):
    backend.load("m", zoo.forest(zipmap=False))
    x = rows(4, 5)
    (got,) = run(backend, samples(x, Whole()))
    assert set(got["label"]) <= {"cat", "dog", "eel"}
    batched = backend.load("m", zoo.strings()).batching.batched
    words = np.array([["red", "ünbekannt"]], object)
    chunk = Chunk(Subject({"s": words[0]}, {}), [SampleRows({"s": words})], Whole(), 1)
    assert run(backend, Batch("m", batched, (chunk,)))[0]["y"].shape == (1, 3)


def test_a_models_bytes_leave_no_descriptor_behind(backend):
    backend.load("m", zoo.cnn(batch=1))
    backend.demote("m", zoo.cnn(batch=1), "because")
    for pid in (os.getpid(), pid_of(backend)):
        links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()]
        assert not [link for link in links if "memfd:model" in link]


# ---- what it may not do ----------------------------------------------------------------------------------------


def test_a_worker_is_confined(monkeypatch):
    monkeypatch.setenv("A_SECRET", "hunter2")
    backend = WorkerBackend(SessionOptions(threads=1), None, 4 * GIB)
    try:
        backend.load("m", zoo.mlp())
        proc = Path(f"/proc/{pid_of(backend)}")
        limits = {line[:26].strip(): line[26:].split()[:2] for line in (proc / "limits").read_text().splitlines()}
        status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
        assert limits["Max core file size"] == ["0", "0"]
        assert limits["Max open files"] == ["256", "256"]
        assert limits["Max address space"] == [str(4 * GIB)] * 2
        assert (status["NoNewPrivs"], status["Umask"]) == ("1", "0077")
        assert int((proc / "oom_score_adj").read_text()) == 500
        may = subprocess.run(["unshare", "--user", "--net", "true"], capture_output=True, check=False).returncode == 0
        assert ((proc / "ns/net").readlink() != Path("/proc/self/ns/net").readlink()) == may
        assert (proc / "cwd").readlink() == Path("/")
        assert b"hunter2" not in (proc / "environ").read_bytes()
        assert len(list((proc / "fd").iterdir())) <= 11
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # sent to the server's whole group
            os.kill(pid_of(backend), number)
        time.sleep(0.05)
        assert answers(backend)
    finally:
        backend.close()


def test_a_memory_bomb_ends_at_the_limit():
    backend = WorkerBackend(SessionOptions(threads=1), None, 3 * GIB)
    try:
        backend.load("m", models.bomb())
        assert run(backend, one_row(backend, [1, 2, 3]))[0][0, 0] == 2.0
        with pytest.raises((OutOfMemory, ModelFailed, WorkerLost)):
            run(backend, one_row(backend, [1, 2, 2e9]))
    finally:
        backend.close()


def test_a_limit_that_leaves_no_room_to_start_is_a_lost_worker():
    backend = WorkerBackend(SessionOptions(threads=1), None, 2**26)
    try:
        with pytest.raises((WorkerLost, OutOfMemory)):
            backend.load("m", zoo.mlp())
        assert not backend.workers()
    finally:
        backend.close()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EAGAIN, errno.ENOMEM])
@pytest.mark.parametrize("where", ["subprocess.Popen", "os.memfd_create"])
def test_a_system_without_room_for_a_process_is_no_bug(backend, monkeypatch, code, where):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    backend.load("n", zoo.linear())
    monkeypatch.setattr(where, refuse)
    with pytest.raises(WorkerNotStarted) as got:
        backend.load("m", zoo.linear())
    assert got.value.retry_after_s
    assert os.strerror(code) in got.value.message
    monkeypatch.undo()
    assert [w.digest for w in backend.workers()] == ["n"]
    backend.load("m", zoo.linear())


def test_what_a_worker_holds_is_told(backend):
    assert 2**23 < backend.load("m", zoo.linear()).memory_bytes < backend.workers()[0].rss_bytes


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


# ---- life and death --------------------------------------------------------------------------------------------


def lost(future, cause):
    with pytest.raises(WorkerLost) as got:
        future.result(1)
    assert got.value.metadata == {"cause": cause}
    assert cause in got.value.message
    assert got.value.retry_after_s


def test_a_kill_while_loading_is_seen_at_once_and_leaves_nothing(backend, pool):
    load = pool.submit(backend.load, "m", models.loop(2**62))
    while not backend.workers():
        time.sleep(0.01)
    pid = pid_of(backend)
    busy(pid)
    assert answers(backend)
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
    load = pool.submit(backend.load, "m", models.loop(2**62))
    while not backend.workers():
        time.sleep(0.01)
    pid = pid_of(backend)
    busy(pid)
    assert answers(backend)
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


# ---- decided again ---------------------------------------------------------------------------------------------


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


def test_a_bug_in_the_worker_is_told_to_the_log_alone(backend, caplog):
    backend.load("m", zoo.linear())
    subject = Subject({"x": rows(1)[0]}, {"x": rows(2)})
    third = Chunk(subject, [PlainRows(np.array([2], np.int32))], PICKS, 1)
    with pytest.raises(WorkerBug) as got:
        backend.prepare(Batch("m", True, (third,)))
    assert "out of bounds" not in str(got.value)
    assert "index 2 is out of bounds" in caplog.records[-1].traceback
    assert len(run(backend, samples(rows(3)))[0]) == 3


# ---- small batches at once -------------------------------------------------------------------------------------------


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
