"""What a worker may not do, settled before it sees its model. Linux only.

It dies with the server, leaves no core file, gains no rights, has few descriptors and, where the system lets it, no
network, and is the first to go where the machine runs out of memory.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_DESCRIPTORS = 256
_FIRST_TO_GO = "500"

OUT_OF_MEMORY = 12
"""Exit status of a worker that has no memory left to say so."""

DEVICE_LOST = 13
"""Exit status of a worker that can't compute on its GPU any more; another process can."""


def confine(parent: int, memory_bytes: int | None, *, offline: bool) -> None:
    """Confine this process. parent: the server's process id. memory_bytes: of address space, or None. offline: without
    a network, where the system allows that to processes without rights.

    Exits where the server is gone already. Raises OSError where the kernel refuses.
    """
    # Signals that end the server's whole group start its drain, for which it needs its workers.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    if offline:
        # Only while there is one thread. Many containers forbid it.
        ctypes.CDLL(None).unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = min(_DESCRIPTORS, hard) if hard != resource.RLIM_INFINITY else _DESCRIPTORS
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
    if memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
