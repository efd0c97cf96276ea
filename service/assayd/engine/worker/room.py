"""What the system lets a server have of workers: how many, and how much memory. Linux only."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

_PER_WORKER, _OTHERS = 8, 128
"""Descriptors: of a worker, while it starts, and of all else; half of what then is left is for callers."""
_SHARE, _LEAST_BYTES = 0.8, 2 * 2**30
_LATELY_S, _LOOK_S = 2.0, 0.5
_CGROUPS = Path("/sys/fs/cgroup")


def take_descriptors() -> int:
    """Take all descriptors that this process may have; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 2**20


def most_workers(descriptors: int) -> int:
    """By the descriptors that this process may have."""
    return max(1, (descriptors - _OTHERS) // 2 // _PER_WORKER)


def worker_memory(root: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Address space of a worker where nobody says: most of what this process may use, in bytes."""
    return max(_LEAST_BYTES, int(_SHARE * usable_memory(root, own)))


def usable_memory(root: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """What this process may use by its control groups and the machine, in bytes."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [physical, *(_bytes(folder / "memory.max") for folder in _groups(root, own))]
    return min(n for n in limits if n is not None)


def oom_kills(root: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Processes that the system ended so far since memory ran out: of this process's group, or of the machine."""
    for file in (*(folder / "memory.events" for folder in _groups(root, own)[:1]), Path("/proc/vmstat")):
        try:
            counted = dict(line.split() for line in file.read_text().splitlines())
            return int(counted["oom_kill"])
        except (OSError, ValueError, KeyError):
            continue
    return 0


class MemoryKills:
    """Whether the system's killer was at work lately, by its counter; from any thread. clock: seconds, monotonic."""

    def __init__(self, count: Callable[[], int] = oom_kills, clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._lock = threading.Lock()
        self._seen = deque([(clock(), count())])

    def look(self) -> None:
        """To be called again and again, so that what lies back is forgotten. Looks twice a second: to read the
        machine's counters takes half a millisecond.
        """
        with self._lock:
            if self._clock() - self._seen[-1][0] < _LOOK_S:
                return
            self._seen.append((self._clock(), self._count()))
            while len(self._seen) > 1 and self._clock() - self._seen[1][0] >= _LATELY_S:
                self._seen.popleft()

    def lately(self) -> bool:
        """Within the last seconds, or since the last look before."""
        with self._lock:
            return self._count() > self._seen[0][1]


def _groups(root: Path, own: Path) -> list[Path]:
    """Folders of this process's control groups, version 2, from its own upward."""
    try:
        line = next(line for line in own.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return []
    folder = root / line.removeprefix("0::").strip("/")
    return [folder, *(p for p in folder.parents if p.is_relative_to(root))]


def _bytes(file: Path) -> int | None:
    try:
        return int(file.read_text())  # "max" is no limit
    except (OSError, ValueError):
        return None
