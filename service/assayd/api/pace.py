"""Uploads that drip are ended, so that they hold no place for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from assayd.errors import DeadlinePassed


@dataclass(frozen=True)
class Pace:
    """What an upload must keep: after first_s and as long as its bytes take at least_bytes_per_s it should be there."""

    first_s: float = 120.0
    least_bytes_per_s: int = 16 * 1024

    async def kept(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks as they come; only the wait for them counts. Raises DeadlinePassed where they come too slowly."""
        waited, received = 0.0, 0
        while True:
            began = time.monotonic()
            left = self.first_s + received / self.least_bytes_per_s - waited
            try:
                async with asyncio.timeout(max(0.0, left)):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                raise DeadlinePassed(
                    f"{received} bytes came in {waited + time.monotonic() - began:.0f} s: an upload keeps "
                    f"{self.least_bytes_per_s} bytes a second, after {self.first_s:g} s",
                    field="chunk",
                ) from None
            waited += time.monotonic() - began
            if chunk is None:
                return
            received += len(chunk)
            yield chunk
