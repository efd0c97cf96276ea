"""Peak memory of a server and of its workers, from /proc."""

from __future__ import annotations

from pathlib import Path

_PROC = Path("/proc")


def _family(pid: int) -> list[int]:
    """A process and all that come from it, itself first."""
    found = [pid]
    for parent in found:
        for task in (_PROC / str(parent) / "task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def forget_peaks(pid: int) -> None:
    """Peaks count from now on (see clear_refs in proc(5))."""
    for one in _family(pid):
        (_PROC / str(one) / "clear_refs").write_text("5")


def peaks(pid: int) -> tuple[float, float]:
    """Peak resident MiB of the process itself, and of all that it started together."""
    own, *others = [_peak(one) for one in _family(pid)]
    return own, sum(others)


def _peak(pid: int) -> float:
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
