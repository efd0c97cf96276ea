"""What crosses between a server and its workers, counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False)
class Counters:
    """What crossed and was made, over all workers of a backend. Only ever counted up; `told` hears of each count."""

    processes_started: int = 0
    sessions_built: int = 0
    subject_bytes: int = 0
    row_bytes: int = 0
    result_bytes: int = 0
    told: Callable[[str, int], None] = lambda *_: None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **counts: int) -> None:
        """Count; from any thread."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)
                self.told(name, count)
