"""Batches that wait in a worker with their tensors, and the one that runs before anybody has asked for its scores.

Between two batches the way to the front and back would take longer than a small model: what is sure to be asked for
next runs at once when the batch before is through.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Sequence
from itertools import count

from assayd.engine.backend import ChunkResult, Prepared
from assayd.errors import DeviceLost

_NOTHING = -1


class Ahead:
    """run: runs a batch. One thread adds; another one asks for results and otherwise waits in `until`.

    running: the ticket of the batch that runs now, or of none.
    """

    def __init__(self, run: Callable[[Prepared], Sequence[ChunkResult]]) -> None:
        self._run = run
        self._tickets = count()
        self._lock = threading.Lock()
        self._waiting: dict[int, Prepared] = {}
        self._at_once: list[int] = []
        self._done: dict[int, Sequence[ChunkResult] | Exception] = {}
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.running = _NOTHING

    def add(self, prepared: Prepared, *, at_once: bool) -> int:
        """Let a batch wait, and return its ticket. at_once: it runs as soon as nothing else does."""
        with self._lock:
            ticket = next(self._tickets)
            self._waiting[ticket] = prepared
            if at_once:
                self._at_once.append(ticket)
        if at_once:
            os.eventfd_write(self._bell, 1)
        return ticket

    def results(self, ticket: int) -> Sequence[ChunkResult]:
        """Of a batch, once; it runs now where it hasn't yet. Raises what running it does, KeyError."""
        if ticket in self._done:
            done = self._done.pop(ticket)
            if isinstance(done, Exception):
                raise done
            return done
        return self._ran(ticket)

    def until(self, end: socket.socket) -> None:
        """Wait until something can be read from `end`; what is to be run at once runs meanwhile. Raises DeviceLost."""
        poll = select.poll()
        for readable in (end, self._bell):
            poll.register(readable, select.POLLIN)
        while end.fileno() not in (ready := {fd for fd, _ in poll.poll()}):
            if self._bell in ready:
                os.eventfd_read(self._bell)
            for ticket in self._due():
                try:
                    self._done[ticket] = self._ran(ticket)
                except DeviceLost:
                    raise
                except Exception as error:  # noqa: BLE001 - raised when somebody asks
                    self._done[ticket] = error

    def _due(self) -> list[int]:
        with self._lock:
            due, self._at_once = self._at_once, []
            return [ticket for ticket in due if ticket in self._waiting]

    def _ran(self, ticket: int) -> Sequence[ChunkResult]:
        with self._lock:
            prepared = self._waiting.pop(ticket)
            self.running = ticket
        try:
            return self._run(prepared)
        finally:
            self.running = _NOTHING
