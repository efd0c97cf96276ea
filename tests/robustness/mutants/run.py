"""Mutated models from several callers against one server, and a good caller beside them who must not notice."""

import base64
import contextlib
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.integration.server import ServerProcess, wait_until
from tests.robustness import corpus
from tests.robustness.good_caller import GoodCaller
from tests.robustness.soak.sampler import Held, held

CRASHERS = Path(__file__).parents[1] / "crashers" / "served"
_FLAGS = {
    "--sweep-ms": 0, "--worker-memory-bytes": 2**31, "--max-load-s": 15, "--max-model-depth": corpus.DEPTH,
}  # fmt: skip


@dataclass
class Hunt:
    """heard: (step, what) -> how many. faults: what nobody should have heard or seen. before, during: seconds that the
    good caller waited. at_first, at_last: what the server held.
    """

    heard: Counter = field(default_factory=Counter)
    faults: list = field(default_factory=list)
    models: int = 0
    seconds: float = 0.0
    slowest_s: dict = field(default_factory=dict)
    before: list = field(default_factory=list)
    during: list = field(default_factory=list)
    restarts: float = 0.0
    quarantined: float = 0.0
    at_first: Held | None = None
    at_last: Held | None = None

    def take(self, line, keep):
        """What a bad caller told of a model. keep: called with the bytes of one that got a wrong answer."""
        told = json.loads(line)
        self.models += 1
        for step in told["steps"]:
            key = step["name"], step["what"]
            self.heard[key] += 1
            self.slowest_s[key] = max(self.slowest_s.get(key, 0.0), step["seconds"])
        if "data" in told:
            *_, last = told["steps"]
            self.faults.append(
                f"{keep(base64.b64decode(told['data']))}: {last['name']}: {last['what']} {last['words']}"
            )

    def waits(self):
        """Median and 99th percentile of the good caller's waits, in seconds, before and during."""
        return [tuple(np.quantile(each, (0.5, 0.99))) for each in (self.before, self.during)]


def served_with_limits(folder):
    """A server that gives a model seconds, and its process 2 GiB."""
    return ServerProcess(folder / "store", *(str(part) for flag in _FLAGS.items() for part in flag))


def keep(data):
    """Keep a model that got a wrong answer; its file's name."""
    CRASHERS.mkdir(parents=True, exist_ok=True)
    path = CRASHERS / f"{hashlib.sha256(data).hexdigest()[:16]}.bin"
    path.write_bytes(data)
    return path.name


def hunt(folder, *, seconds=0.0, models=0, callers=2, seed=0, before_s=0.0, keep=keep):
    """Run so long, and until so many models were tried. before_s: the good caller alone, to compare with."""
    found = Hunt()
    with served_with_limits(folder) as server, GoodCaller(server.address) as good:
        pid = server.process.pid
        wait_until(lambda: good.answers > 3 or good.failures, 60)
        time.sleep(before_s)
        found.at_first, split = held(pid), len(good.seconds)
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            for n in range(callers):
                stack.enter_context(_bad_caller(server.address, f"{seed}-{n}", found, keep))
            time.sleep(seconds)
            wait_until(lambda: found.models >= models or server.process.poll() is not None, 600)
            found.seconds = time.monotonic() - began
        found.before, found.during = good.seconds[:split], good.seconds[split:]
        _after(found, server, good, pid)
    return found


def _after(found, server, good, pid):
    if (server.process.poll(), server.process.pid) != (None, pid):
        found.faults.append("the server has ended")
        return
    try:
        good.check()
    except AssertionError as error:
        found.faults.append(f"the good caller: {error}"[:1000])
    page = server.metrics()
    found.at_last = held(pid)
    found.restarts = sum(v for name, v in page.items() if name.startswith("assayd_worker_restarts_total"))
    found.quarantined = page["assayd_models_quarantined"]
    if server.stop():
        found.faults.append("the exit status isn't 0")


@contextlib.contextmanager
def _bad_caller(address, name, found, keep):
    command = [sys.executable, "-m", "tests.robustness.mutants.bad_caller", address, name]
    caller = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def read():
        for line in caller.stdout:
            found.take(line, keep)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    try:
        yield
        if caller.poll() is not None:
            found.faults.append(f"a bad caller ended by itself, with {caller.returncode}")
    finally:
        caller.kill()
        caller.wait()
        reading.join()
        caller.stdout.close()
