"""What files say, read again when they change."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

log = logging.getLogger("assayd.auth")

T = TypeVar("T")

_LOOK_S = 0.5
"""A change is seen by the first call so long after the look before it."""

Marks: TypeAlias = tuple[tuple[int, int, int], ...]


class Watched(Generic[T]):
    """A value read from files. Raises OSError or ValueError where the first reading fails.

    Where a later one fails, the value stays what it was and the log says so: a file that is being written locks nobody
    out and lets nobody in. Any thread may ask. look_s: least time between two looks at the files.
    """

    def __init__(self, files: Sequence[Path], read: Callable[[], T], look_s: float = _LOOK_S) -> None:
        self._files = files
        self._read = read
        self._look_s = look_s
        self._lock = threading.Lock()
        # Marked before it is read: what changes in between is read again.
        self._marks = self._mark()
        self._looked = time.monotonic()
        self._value = read()
        self._complained = False

    def get(self) -> T:
        """What the files say now, or said when they could last be read."""
        if time.monotonic() - self._looked >= self._look_s:
            with self._lock:
                self._look()
        return self._value

    def _look(self) -> None:
        self._looked = time.monotonic()
        try:
            marks = self._mark()
            if marks == self._marks:
                return
            self._value = self._read()
        except (OSError, ValueError) as error:
            # Tried again at each look, since a pair of files may change one by one; said once.
            if not self._complained:
                self._complained = True
                log.error("kept what was read before", extra={"files": self._names(), "why": str(error)})  # noqa: TRY400
        else:
            self._marks, self._complained = marks, False
            log.info("read again", extra={"files": self._names()})

    def _mark(self) -> Marks:
        found = [path.stat() for path in self._files]  # follows links: a mounted secret changes by its link
        return tuple((s.st_mtime_ns, s.st_size, s.st_ino) for s in found)

    def _names(self) -> list[str]:
        return [str(path) for path in self._files]
