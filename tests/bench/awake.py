"""Cores that don't fall asleep: a machine that always has something to do, without anything that takes time away.

To wake a core takes a virtual machine 50 to 100 us, and whatever goes from process to process waits for that.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SPIN = "import os\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nprint(flush=True)\nwhile True: pass"


@contextmanager
def cores_awake() -> Iterator[None]:
    """Keep all of them busy with what gives way to everything else. Linux only."""
    spinning: list[subprocess.Popen[str]] = []
    try:
        command = [sys.executable, "-c", _SPIN]
        spinning.extend(subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in os.sched_getaffinity(0))
        for process in spinning:
            if process.stdout is not None:
                process.stdout.readline()  # from here on it gives way
        yield
    finally:
        for process in spinning:
            process.kill()
            process.communicate()
