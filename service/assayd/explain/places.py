"""How many instances of one request are under way at once."""

from __future__ import annotations

import asyncio
import math

_BATCHES_AHEAD = 4
_FEWEST = 4


class Places(asyncio.Semaphore):
    """As few as keep the device in full batches: whatever else is under way stands between other callers and their
    answers, which all go through this process.

    most: places there are at best.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._given = min(_FEWEST, most)
        super().__init__(self._given)

    def suit(self, rows: int, max_rows: int) -> None:
        """An instance has so many rows, and a batch room for so many."""
        wanted = min(self._most, math.ceil(_BATCHES_AHEAD * max_rows / max(1, rows)))
        while self._given < wanted:
            self._given += 1
            self.release()
