"""Batches that wait in a worker with their tensors, and the one that runs before anybody has asked for its scores.

Between two batches the way to the front and back would take longer than a small model: what is sure to be asked for
next runs at once when the batch before is through.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from assayd.engine.backend import ChunkResult, NotRun, Prepared
from assayd.errors import DeviceLost, Terminated

_NOTHING = -1


class Ahead:
    """run: runs a batch. terminate: what runs now ends as Terminated, soon; no other batch begins before it returns, so
    that it hits none, and it mustn't wait. One thread adds; another one answers questions and otherwise waits in
    `until`.

    running: the ticket of the batch that runs now, or of none.
    """

    def __init__(self, run: Callable[[Prepared], Sequence[ChunkResult]], terminate: Callable[[], None]) -> None:
        self._run = run
        self._terminate = terminate
        self._lock = threading.Lock()
        self._made = threading.Condition(self._lock)
        self._waiting: dict[int, Prepared] = {}
        self._unmade: dict[int, Exception] = {}
        self._due: list[tuple[int, int]] = []
        self._done: dict[int, Sequence[ChunkResult] | Exception] = {}
        self._unasked = self._held = self._dropped = _NOTHING
        self._answered, self._barred = 0, _NOTHING
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.running = _NOTHING

    def add(self, ticket: int, prepared: Prepared, *, behind: int | None) -> None:
        """Let a batch wait. behind: it runs as soon as so many questions were answered, unless the last of them failed
        or was told to stop.
        """
        with self._made:
            self._waiting[ticket] = prepared
            if behind is not None and behind > self._barred:
                self._due.append((behind, ticket))
            self._made.notify_all()
        if behind is not None:
            os.eventfd_write(self._bell, 1)

    def add_unmade(self, ticket: int, error: Exception) -> None:
        """Instead of a batch, why there is none."""
        with self._made:
            self._unmade[ticket] = error
            self._made.notify_all()

    def drop(self, ticket: int) -> None:
        """Forget a batch that nobody asks for. If it began unasked and runs now, it is terminated."""
        with self._lock:
            for where in (self._waiting, self._unmade, self._done):
                where.pop(ticket, None)
            self._due = [(behind, due) for behind, due in self._due if due != ticket]
            if self._unasked == ticket:
                self._dropped = ticket
                self._terminate()

    def stop(self, asked: int | None) -> None:
        """Terminate what runs, and begin nothing unasked behind it: it may end well, and its follower may have to wait.

        asked: the batch that is to stop, where it is known. Where another one runs that was asked for, that goes on;
        one that began unasked is terminated, and waits as before.
        """
        with self._lock:
            self._bar()
            self._held = self._unasked if self._unasked != asked else _NOTHING
            if self._held != _NOTHING or asked in (None, self.running):
                self._terminate()

    def _bar(self) -> None:
        """Begin nothing unasked behind the question that is answered next, or now: neither what waits nor what is still
        being made.
        """
        self._due.clear()
        self._barred = self._answered + 1

    @contextmanager
    def question(self) -> Iterator[None]:
        """While a question is answered. Where that fails nothing begins unasked: what failed is asked for again, in
        parts, and goes first.
        """
        try:
            yield
        except BaseException:
            with self._lock:
                self._bar()
            raise
        finally:
            self._answered += 1

    def results(self, ticket: int) -> Sequence[ChunkResult]:
        """Of a batch, once; it runs now where it hasn't yet. One that is still being made is waited for. Raises what
        running it does, and NotRun.
        """
        if ticket in self._done:
            done = self._done.pop(ticket)
            if isinstance(done, Exception):
                raise done
            return done
        with self._made:
            self._made.wait_for(lambda: ticket in self._waiting or ticket in self._unmade)
            if ticket in self._unmade:
                raise NotRun(self._unmade.pop(ticket))
        return self._ran(ticket)

    def until(self, end: socket.socket) -> None:
        """Wait until something can be read from `end`; what is due runs meanwhile. Raises DeviceLost."""
        poll = select.poll()
        for readable in (end, self._bell):
            poll.register(readable, select.POLLIN)
        while True:
            ticket = self._next()
            ready = {fd for fd, _ in poll.poll(None if ticket is None else 0)}
            if end.fileno() in ready:  # what came goes first
                return
            if self._bell in ready:
                os.eventfd_read(self._bell)
            if ticket is not None:
                self._run_ahead(ticket)

    def _next(self) -> int | None:
        """The first that is due and wasn't asked for already."""
        with self._lock:
            self._due = [(behind, ticket) for behind, ticket in self._due if ticket in self._waiting]
            return next((ticket for behind, ticket in self._due if behind <= self._answered), None)

    def _run_ahead(self, ticket: int) -> None:
        with self._lock:
            if all(ticket != due for _, due in self._due):  # barred, or dropped, since it was found
                return
            prepared = self._waiting.pop(ticket)
            self.running = self._unasked = ticket
        done = self._outcome(prepared)
        with self._lock:
            if isinstance(done, Exception):
                self._bar()
            if self._dropped != ticket:
                if isinstance(done, Terminated) and self._held == ticket:
                    self._waiting[ticket] = prepared
                else:
                    self._done[ticket] = done
            self.running = self._unasked = self._held = self._dropped = _NOTHING

    def _outcome(self, prepared: Prepared) -> Sequence[ChunkResult] | Exception:
        try:
            return self._run(prepared)
        except DeviceLost:
            raise
        except Exception as error:  # noqa: BLE001 - raised when somebody asks
            return error

    def _ran(self, ticket: int) -> Sequence[ChunkResult]:
        with self._lock:
            prepared = self._waiting.pop(ticket)
            self.running = ticket
        try:
            return self._run(prepared)
        finally:
            with self._lock:
                self.running = _NOTHING
