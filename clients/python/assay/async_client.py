"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import grpc

from assay.calls import Calls
from assay.channel import open_async_channel, open_channel
from assay.connection import Connection, rpcs
from assay.data.parts import iterator_of
from assay.errors import AssayError, Cancelled, translated
from assay.explanation import Explanation
from assay.loops import FromLoop, FromThread
from assay.plans import Call, Event, Items, Plan, Stream, Work, as_method

if TYPE_CHECKING:
    from typing_extensions import Self

P = ParamSpec("P")
T = TypeVar("T")


def _method(
    plan: Callable[Concatenate[Calls, P], Plan[T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """The method that carries out a plan."""

    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._carry_out(plan(self._calls, *args, **kwargs))

    return as_method(method, plan, "AsyncClient")


def _stream(
    plan: Callable[Concatenate[Calls, P], Plan[Stream]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[Event]]:
    """The method that hands on the events of the stream that a plan prepares."""

    def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Event]:
        return self._events(plan(self._calls, *args, **kwargs))

    return as_method(method, plan, "AsyncClient", "AsyncIterator[Event]")


class AsyncClient(Connection[grpc.aio.Channel]):
    """A connection to an Assay server for the tasks of one event loop: `Client`, with its methods awaited.

    async with assay.AsyncClient("127.0.0.1:50051") as client:
        ex = await client.explain("digits", images, assay.Occlusion(window=(8, 8)))
        async for event in client.explain_stream("digits", images, assay.Occlusion(window=(8, 8))):
            ...

    Arguments and errors are those of `Client`. Cancelling a task that waits for an answer cancels the call on the
    server too.
    """

    _open = staticmethod(open_async_channel)
    _thread_channel: grpc.Channel | None = None

    upload_model = _method(Calls.upload_model)
    models = _method(Calls.models)
    get_model = _method(Calls.get_model)
    delete_model = _method(Calls.delete_model)
    put_tensor = _method(Calls.put_tensor)
    explain = _method(Calls.explain)
    explain_stream = _stream(Calls.explain_stream)
    explain_message = _stream(Calls.explain_message)
    explain_many = _stream(Calls.explain_many)
    predict = _method(Calls.predict)
    info = _method(Calls.info)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection; calls under way end with `Cancelled`."""
        channel = self._end()
        if self._thread_channel is not None:
            self._thread_channel.close()
        if channel is not None:
            await channel.close()

    async def _carry_out(self, plan: Plan[T]) -> T:
        answer: Any = None
        while True:
            try:
                step = plan.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Work):
                answer = await asyncio.to_thread(step.run)
            elif isinstance(step, Items):
                answer = FromLoop(step.given) if isinstance(step.given, AsyncIterable) else iterator_of(step.given)
            else:
                in_thread = isinstance(step.message, Iterator)
                under_way = step.start(self._in_threads if in_thread else self._rpcs())
                coming = asyncio.to_thread(under_way.result) if in_thread else under_way
                answer = await _answer(coming, under_way, step)

    @cached_property
    def _in_threads(self) -> Mapping[str, Any]:
        """The RPCs that stream their request, over a channel for threads, which also read the file or make the parts.

        An asyncio call of gRPC (seen in 1.66 and 1.85) says INTERNAL now and then of a stream that the server refused
        before its end, and hides why.
        """
        self._rpcs()  # a closed client opens nothing
        self._thread_channel = open_channel(self._address, self._credentials)
        return {name: getattr(rpc, "future", rpc) for name, rpc in rpcs(self._thread_channel).items()}

    async def _events(self, plan: Plan[Stream]) -> AsyncIterator[Event]:
        stream = await self._carry_out(plan)
        two_way = stream.messages is not None
        call = stream.call.start(self._in_threads if two_way else self._rpcs())
        under_way = FromThread(call, grpc.aio.EOF) if two_way else call
        try:
            while (message := await _answer(under_way.read(), under_way, stream.call)) is not grpc.aio.EOF:
                result = stream.feed(message)
                if result is not None:
                    yield result
                if isinstance(result, Explanation):
                    return
            raise stream.cut_short()
        except AssayError as error:
            raise stream.cause(error)  # noqa: B904
        finally:
            under_way.cancel()
            if stream.messages is not None:
                await asyncio.to_thread(stream.close)  # what a generator does at its end may take its time
                if isinstance(stream.messages.parts, FromLoop):
                    await stream.messages.parts.aclose()


async def _answer(coming: Awaitable[Any], under_way: Any, call: Call) -> Any:
    """What comes of a call. Cancelling the wait cancels the call."""
    # gRPC raises CancelledError also where the connection was closed, which would end a task that nobody cancelled. A
    # task of its own for the wait tells the two apart.
    task = asyncio.ensure_future(coming)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        under_way.cancel()
        task.cancel()
        raise
    if task.cancelled():
        raise Cancelled("the call was given up on this side", request_id=call.request_id)
    with translated(call.request_id, call.timeout):
        return task.result()
