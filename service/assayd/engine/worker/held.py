"""What a worker holds for the front: subjects, and batches that nobody may ask for any more."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from assayd.engine.backend import Batch
from assayd.engine.worker import messages as m
from assayd.types.subject import Subject

_MOST_GONE, _LARGE_BYTES = 64, 64 * 1024
"""So many small subjects that are over may stay in the worker until the next ping: each message wakes it."""


@dataclass(eq=False)
class _Sent:
    """A subject that the worker may hold. doubtful: what it went with failed, so that it may not have come. large: the
    worker is to be told at once when it is over.
    """

    subject: weakref.ref[Subject]
    large: bool
    doubtful: bool = False


class Held:
    """As the front knows it. From any thread. due: called when the worker is to be told of what is over, wherever the
    garbage collector stands, so it mustn't wait.
    """

    def __init__(self, due: Callable[[], None]) -> None:
        self._due = due
        self._lock = threading.Lock()
        self._known: dict[int, _Sent] = {}
        self._gone: deque[int] = deque()
        self._large_gone = False
        self._dropped: deque[int] = deque()

    def has(self, number: int) -> bool:
        """Whether the worker surely has this subject, or will before what is sent next."""
        sent = self._known.get(number)
        return sent is not None and not sent.doubtful

    def new_bytes(self, batches: Sequence[Batch]) -> int:
        """Of the subjects that would go along, all but texts."""
        subjects = {c.subject.number: c.subject for batch in batches for c in batch.chunks}
        new = [m.SubjectParts.of(subject) for number, subject in subjects.items() if not self.has(number)]
        return sum(parts.size_bytes for parts in new)

    def new(self, batch: Batch) -> tuple[m.SubjectParts, ...]:
        """A batch's subjects that nobody has sent yet. They must be sent then."""
        with self._lock:
            subjects = {chunk.subject.number: chunk.subject for chunk in batch.chunks}
            new = [subject for number, subject in subjects.items() if not self.has(number)]
            parts = tuple(m.SubjectParts.of(subject) for subject in new)
            for subject, sent in zip(new, parts, strict=True):
                held = weakref.ref(subject, partial(self._forgotten, subject.number))
                self._known[subject.number] = _Sent(held, large=sent.size_bytes > _LARGE_BYTES)
        return parts

    @contextmanager
    def sending(self, rows: Sequence[m.Prepare]) -> Iterator[None]:
        """Where it fails, the subjects that go along may not have come."""
        try:
            yield
        except Exception:
            for parts in (parts for batch in rows for parts in batch.subjects):
                if (sent := self._known.get(parts.number)) is not None:
                    sent.doubtful = True
            raise

    def release(self, number: int) -> None:
        """No more rows of this subject will come. The worker hears of small ones later."""
        if (sent := self._known.pop(number, None)) is not None:
            self._gone.append(number)
            self._large_gone |= sent.large
            if self.is_due:
                self._due()

    def _forgotten(self, number: int, _: weakref.ref[Subject]) -> None:
        """Nobody holds the subject any more. Called wherever the garbage collector stands."""
        self.release(number)

    def drop(self, ticket: int) -> None:
        """Nobody will ask for this batch."""
        self._dropped.append(ticket)

    @property
    def is_due(self) -> bool:
        """Whether the worker is to be told now."""
        return bool(self._dropped) or self._large_gone or len(self._gone) >= _MOST_GONE

    @property
    def any_over(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._gone or self._dropped)

    def over(self) -> m.Release:
        """What the worker is to be told; it is taken out."""
        self._large_gone = False
        return m.Release(_taken(self._gone), _taken(self._dropped))

    def put_back(self, untold: m.Release) -> None:
        """It couldn't be told."""
        self._gone.extend(untold.numbers)
        self._dropped.extend(untold.tickets)


def _taken(waiting: deque[int]) -> tuple[int, ...]:
    """They are taken out."""
    return tuple(waiting.popleft() for _ in range(len(waiting)))
