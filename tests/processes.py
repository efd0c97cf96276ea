"""What the kernel says of a process and of those that come from it (proc(5))."""

import contextlib
from pathlib import Path

_PROC = Path("/proc")


def children(pid):
    """Processes whose ancestor is `pid`."""
    parents = {}
    for entry in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    found, queue = [], [pid]
    while queue:
        parent = queue.pop()
        mine = [p for p, of in parents.items() if of == parent]
        found += mine
        queue += mine
    return found


def oldest_child(pid):
    """The one that has lived longest; None where there is none."""
    began = {}
    for child in children(pid):
        with contextlib.suppress(OSError):
            began[child] = int((_PROC / str(child) / "stat").read_text().rpartition(")")[2].split()[19])
    return min(began, key=began.get, default=None)


def _status(pid, field):
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0  # a process that has just ended has no memory any more


def resident_bytes(pid):
    return _status(pid, "VmRSS") * 1024


def peak_resident_bytes(pid):
    """The most since it began, or since `forget_peak`."""
    return _status(pid, "VmHWM") * 1024


def forget_peak(pid):
    (_PROC / str(pid) / "clear_refs").write_text("5")


def threads(pid):
    return _status(pid, "Threads")


def descriptors(pid):
    return len(list((_PROC / str(pid) / "fd").iterdir()))
