"""Models' processes as tests see, stop and lose them."""

import os
import signal
import time
from pathlib import Path

import pytest

from assayd.errors import WorkerLost


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


def lost(future, cause):
    with pytest.raises(WorkerLost) as got:
        future.result(1)
    assert got.value.metadata == {"cause": cause}
    assert cause in got.value.message
    assert got.value.retry_after_s
