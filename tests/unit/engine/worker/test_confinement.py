"""What a model's process may not do, and what it may not have."""

import errno
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from assayd.engine.options import SessionOptions
from assayd.engine.worker.backend import WorkerBackend
from assayd.errors import ModelFailed, OutOfMemory, WorkerLost, WorkerNotStarted
from tests.models import zoo
from tests.unit.engine.worker import models
from tests.unit.engine.worker.batches import one_row, run
from tests.unit.engine.worker.processes import answers, pid_of

GIB = 2**30


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
