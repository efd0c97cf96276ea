"""Peak memory of a server and of its workers."""

from __future__ import annotations

from tests.processes import children, forget_peak, peak_resident_bytes

_MIB = 2**20


def forget_peaks(pid: int) -> None:
    """Peaks count from now on."""
    for one in (pid, *children(pid)):
        forget_peak(one)


def peaks(pid: int) -> tuple[float, float]:
    """Peak resident MiB of the process itself, and of all that it started together."""
    return peak_resident_bytes(pid) / _MIB, sum(map(peak_resident_bytes, children(pid))) / _MIB
