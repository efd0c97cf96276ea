"""A worker's entry, started by the server.

    python -m assayd.engine.worker PARENT MEMORY OFFLINE CONTROL PREPARE RUN WATCH

PARENT is the server's process id, MEMORY its limit in bytes (0: none), OFFLINE 1 for no network, the rest descriptors
of sockets.
"""

from __future__ import annotations

import socket
import sys

from assayd.engine.worker.limits import confine


def main() -> None:
    """Confine the process, and only then import what reads models."""
    parent, memory_bytes, offline, *ends = map(int, sys.argv[1:])
    confine(parent, memory_bytes or None, offline=bool(offline))
    from assayd.engine.worker.child import serve

    serve(*(socket.socket(fileno=end) for end in ends))


if __name__ == "__main__":
    main()
