"""Starts a worker: a fresh interpreter that inherits four sockets, a log pipe, and nothing else of the server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_TOOLS = ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES")
"""What of the server's environment a device needs. The rest may hold secrets."""


@dataclass(frozen=True, eq=False)
class Started:
    """A worker's process and the front's ends of its channels."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    prepare: socket.socket
    run: socket.socket
    watch: socket.socket


def start(memory_bytes: int | None, *, offline: bool = True) -> Started:
    """Start a worker. memory_bytes: of address space, or None. offline: without a network, where the system allows it.

    The kernel ends it with the thread that calls this, which therefore has to live as long as the server.
    """
    pairs = [socket.socketpair() for _ in range(4)]
    try:
        theirs = [pair[1].fileno() for pair in pairs]
        arguments = [os.getpid(), memory_bytes or 0, int(offline), *theirs]
        process = subprocess.Popen(  # noqa: S603 - our own module, and numbers
            [sys.executable, "-P", "-s", "-m", __package__, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=theirs,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
    except BaseException:
        for pair in pairs:
            pair[0].close()
        raise
    finally:
        for pair in pairs:
            pair[1].close()
    return Started(process, *(pair[0] for pair in pairs))


def _environment() -> dict[str, str]:
    """Python finds what the server finds, and computes on one thread but where onnxruntime does."""
    given = {name: os.environ[name] for name in _TOOLS if name in os.environ}
    return given | {
        "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",  # an arena a thread takes 64 MiB of the address space
    }
