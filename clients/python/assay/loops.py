"""Between threads and an event loop: an iterator of the one's for the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_END: Any = object()


class FromLoop(Iterator[T], Generic[T]):
    """An iterator for threads over an asynchronous iterable, whose items are made in the event loop that runs now."""

    def __init__(self, items: AsyncIterable[T]) -> None:
        self._items = aiter(items)
        self._loop = asyncio.get_running_loop()
        self._making: asyncio.Task[Any] | None = None
        self._ended = False

    def __next__(self) -> T:
        item = asyncio.run_coroutine_threadsafe(self._make(), self._loop).result()
        if item is _END:
            raise StopIteration
        return item

    async def aclose(self) -> None:
        """Gives up the item that is being made, if one is, and closes a generator."""
        self._ended = True
        if self._making is not None:
            self._making.cancel()
            await asyncio.wait({self._making})
        if isinstance(self._items, AsyncGenerator):
            await self._items.aclose()

    async def _make(self) -> T:
        if self._ended:
            return _END  # type: ignore[no-any-return]
        self._making = asyncio.current_task()
        return await anext(self._items, _END)


class FromThread:
    """Reads a call of gRPC for threads from an event loop. `end` is read after its last message."""

    def __init__(self, call: Any, end: object) -> None:
        self._call = call
        self._end = end
        # Of its own: calls that wait for their answers would fill the one that everyone in the process shares.
        self._thread = ThreadPoolExecutor(1, "assay-answers")

    def read(self) -> Awaitable[Any]:
        """The next message."""
        return asyncio.wrap_future(self._thread.submit(next, self._call, self._end))

    def cancel(self) -> None:
        """Cancels the call, which ends a read under way."""
        self._call.cancel()
        self._thread.shutdown(wait=False)
