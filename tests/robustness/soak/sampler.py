"""What a server holds, read from outside every so often while it works."""

import contextlib
import threading
from dataclasses import asdict, dataclass

from tests.processes import children, descriptors, oldest_child, resident_bytes, threads
from tests.robustness.weighed import BLOCKS, BYTES


@dataclass(frozen=True)
class Held:
    """At one moment. calls: answered so far. worker_bytes: of the oldest worker."""

    calls: int
    front_bytes: int
    descriptors: int
    threads: int
    workers: int
    worker_bytes: int

    def as_json(self):
        return asdict(self)


@dataclass(frozen=True)
class Used:
    """What a server with nobody there has in use, counted from within. models: uploaded so far. left: calls that were
    cancelled or late.
    """

    models: int
    left: int
    blocks: int
    malloc_bytes: int

    def as_json(self):
        return asdict(self)


def used(metrics, models, left):
    """metrics: the page of a server that tells it (`tests.robustness.weighed`)."""
    return Used(models, left, int(metrics[BLOCKS]), int(metrics[BYTES]))


def held(pid, calls=0):
    worker, size = oldest_child(pid), 0
    if worker is not None:
        with contextlib.suppress(OSError):  # it has ended since
            size = resident_bytes(worker)
    return Held(calls, resident_bytes(pid), descriptors(pid), threads(pid), len(children(pid)), size)


class Sampler:
    """`with Sampler(pid, lambda: calls) as sampler:`; `samples` afterwards."""

    def __init__(self, pid, calls, *, every_s=1.0):
        self._pid, self._calls, self._every_s = pid, calls, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.samples = []

    def sample(self):
        self.samples.append(held(self._pid, self._calls()))

    def _work(self):
        while not self._ended.wait(self._every_s):
            with contextlib.suppress(OSError):  # it has ended, which others will notice
                self.sample()

    def __enter__(self):
        self.sample()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join(30)
