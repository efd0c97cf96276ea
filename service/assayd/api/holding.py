"""Bytes of messages that calls hold at once: requests that are read and not done with, answers that aren't sent.

The library takes a message in whole before anybody sees its size, so a call that waits for one counts as if the largest
were on its way. Where there is no room for that, whoever has waited long for a message makes room: a message that is
being sent arrives at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from assayd.errors import DeadlinePassed, TooManyCalls

_PATIENCE_S = 1.0
"""So long may a message take while others wait for room, and so long do these wait."""
_BUSY_S = 1.0

Next: TypeAlias = Callable[[], Awaitable[bytes | None]]
"""Waits for the next message; None where no more come."""


@dataclass(eq=False)
class _Reader:
    party: str
    began: float
    timer: asyncio.Timeout
    sent_away: bool = False


@dataclass(eq=False)
class _Waiter:
    party: str
    granted: asyncio.Future[None]


class Room:
    """Touched by the event loop alone. most_bytes: held by all calls. message_bytes: of the largest message.

    share: of it, what one party may hold, from 0 to 1. A party is a tenant, or, where nobody is known, a connection.
    patience_s: how long a message may take while others wait for room.
    """

    def __init__(
        self,
        most_bytes: int = 2**40,
        message_bytes: int = 64 * 2**20,
        share: float = 1.0,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        if most_bytes < message_bytes:
            raise ValueError(
                f"--max-bytes-in-flight {most_bytes} has no room for one message of {message_bytes} bytes: raise it, "
                "or lower --max-message-bytes"
            )
        self._most = most_bytes
        self._message = message_bytes
        self._of_one = max(message_bytes, int(most_bytes * share))
        self._patience_s = patience_s
        self._by_party: Counter[str] = Counter()
        self._readers: dict[_Reader, None] = {}
        self._waiters: dict[_Waiter, None] = {}
        self.bytes = 0

    def take(self, party: str, size: int) -> None:
        """Count bytes. Raises TooManyCalls where they are too many."""
        if not self._fits(party, size):
            raise self._full(party, size)
        self._count(party, size)

    def give(self, party: str, size: int) -> None:
        """They are held no more: whoever waits and fits comes in."""
        self._count(party, -size)
        for waiter in list(self._waiters):
            if self.bytes + self._message > self._most:
                return
            if self._fits(waiter.party, self._message):
                del self._waiters[waiter]
                if not waiter.granted.done():
                    self._count(waiter.party, self._message)
                    waiter.granted.set_result(None)

    async def read(self, party: str, take_next: Next, limit_s: float | None) -> bytes | None:
        """A message, whose bytes are counted from now on, or None where there is none.

        limit_s: longest wait for it. Raises DeadlinePassed where it takes longer, TooManyCalls where there is no room.
        """
        await self._enter(party)
        counted = self._message
        reader = _Reader(party, asyncio.get_running_loop().time(), asyncio.timeout(limit_s))
        try:
            async with reader.timer:
                self._readers[reader] = None
                try:
                    raw = await take_next()
                finally:
                    del self._readers[reader]
        except TimeoutError:
            if reader.sent_away:
                raise self._full(party, self._message) from None
            raise DeadlinePassed(f"no whole message came within {limit_s:g} s") from None
        else:
            counted -= len(raw or b"")
            return raw
        finally:
            self.give(party, counted)

    async def _enter(self, party: str) -> None:
        """Count the largest message. Raises TooManyCalls."""
        if self._fits(party, self._message):
            self._count(party, self._message)
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience_s
        waiter = _Waiter(party, loop.create_future())
        self._waiters[waiter] = None
        try:
            while not waiter.granted.done() and loop.time() < end:
                at = self._make_room(party)
                await asyncio.wait({waiter.granted}, timeout=max(0.0, min(at, end) - loop.time()))
        except BaseException:
            if waiter.granted.done():
                self.give(party, self._message)
            raise
        finally:
            self._waiters.pop(waiter, None)
        if not waiter.granted.done():
            raise self._full(party, self._message)

    def _make_room(self, party: str) -> float:
        """Send the slowest reader away of the party that has most of them, or of this one where it has its share.

        Returns when that may help again.
        """
        now = asyncio.get_running_loop().time()
        own = self._by_party[party] + self._message > self._of_one
        readers = [r for r in self._readers if not r.sent_away and (r.party == party or not own)]
        if not readers:
            return now + self._patience_s
        of_each = Counter(r.party for r in readers)
        victim = max(readers, key=lambda r: (of_each[r.party], -r.began))
        if victim.began + self._patience_s > now:
            return victim.began + self._patience_s
        victim.sent_away = True
        victim.timer.reschedule(now)
        return now + self._patience_s

    def _fits(self, party: str, size: int) -> bool:
        return self.bytes + size <= self._most and self._by_party[party] + size <= self._of_one

    def _count(self, party: str, size: int) -> None:
        self.bytes += size
        self._by_party[party] += size
        if not self._by_party[party]:
            del self._by_party[party]

    def _full(self, party: str, size: int) -> TooManyCalls:
        own = self._by_party[party] + size > self._of_one and self._of_one < self._most
        limit, whose = (self._of_one, f"of tenant {party} ") if own else (self._most, "")
        return TooManyCalls(
            f"messages {whose}hold, or were about to hold, more than the {limit} bytes that they may at once: try "
            "again in a moment, with fewer calls at once or smaller messages",
            metadata={"limit": str(limit), "what": "message bytes"} | ({"tenant": party} if own else {}),
            retry_after_s=_BUSY_S,
        )


@dataclass(eq=False)
class Holding:
    """What one call holds of the room; `close` gives all of it back, and what is taken later isn't counted."""

    room: Room = field(default_factory=Room)
    party: str = ""
    _bytes: int = 0
    _message: int = 0
    _closed: bool = False

    async def read(self, take_next: Next, limit_s: float | None) -> bytes | None:
        """The call's next message; the one before is given back unless it was kept. Raises as `Room.read`."""
        self.give(self._message)
        self._message = 0
        raw = await self.room.read(self.party, take_next, limit_s)
        self._message = len(raw or b"")
        self._bytes += self._message
        if self._closed:  # meanwhile, by another task
            self.room.give(self.party, self._message)
        return raw

    def keep(self) -> int:
        """Hold the message that was read last until its bytes are given back; returns how many."""
        kept, self._message = self._message, 0
        return kept

    def take(self, size: int) -> int:
        """Hold bytes of an answer until they are given back. Raises TooManyCalls."""
        if self._closed:
            return 0
        self.room.take(self.party, size)
        self._bytes += size
        return size

    def give(self, size: int) -> None:
        """Hold so many bytes less."""
        if not self._closed:
            self._bytes -= size
            self.room.give(self.party, size)

    def close(self) -> None:
        """The call is over."""
        self.give(self._bytes)
        self._closed = True
