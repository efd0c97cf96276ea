"""Around every call: its id, who may make it, its errors, its log line, its metrics. No servicer does any of it."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from assayd.api.call import CURRENT, Call
from assayd.api.deadlines import Deadlines
from assayd.api.door import Door
from assayd.api.holding import Holding, Room
from assayd.api.status import code_of, new_incident, to_status
from assayd.api.unread import Unread
from assayd.errors import AssayError, DeadlinePassed, Draining, Unparsable, no_descriptors
from assayd.explain.deadline import before
from assayd.metrics import Metrics

log = logging.getLogger("assayd.calls")

_OURS = "/assay.v1."
_HEALTH = "/grpc.health.v1.Health/"
_LARGE_BYTES = 1024 * 1024
_LIBRARYS_TURN_S = 0.005
"""The library hears of a caller's deadline when we do, and ends the call. A status that comes as it does so costs it
half a kilobyte for good (grpc/grpc#43360).
"""
_REQUEST_ID = re.compile(r"[ -~]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of assay.v1. Health is for everybody, other services for those who show credentials.

    room: for messages. message_s: longest wait for a call's first one.
    """

    def __init__(
        self,
        metrics: Metrics,
        door: Door | None = None,
        room: Room | None = None,
        deadlines: Deadlines | None = None,
        unread: Unread | None = None,
        *,
        message_s: float = 120.0,
    ) -> None:
        self._metrics = metrics
        self._door = door or Door()
        self._room = room or Room()
        self._deadlines = deadlines or Deadlines()
        self._unread = unread or Unread()
        self._message_s = message_s
        self.draining = False
        self._ended = False
        self._in_flight: set[asyncio.Task[Any]] = set()

    @property
    def in_flight(self) -> int:
        """Calls being answered."""
        return len(self._in_flight)

    async def idle(self, timeout_s: float) -> None:
        """Wait until no call is being answered, or the time is up."""
        end = time.monotonic() + timeout_s
        while self._in_flight and time.monotonic() < end:
            await asyncio.wait(self._in_flight, timeout=end - time.monotonic())

    async def end(self, timeout_s: float) -> None:
        """Tell all calls that are still being answered, wherever they are, that the server is going down."""
        self._ended = True
        for task in self._in_flight:
            task.cancel()
        await self.idle(timeout_s)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Replace the behaviour of one of our handlers by a wrapped one."""
        handler = await continuation(handler_call_details)
        rpc = handler_call_details.method
        if handler is None:
            return handler
        if not rpc.startswith(_OURS):
            return self._others(handler, None if rpc.startswith(_HEALTH) else handler_call_details)
        # All of them as streams: of one message the library would read and unpack all before anybody is asked.
        make = _MAKERS[handler.response_streaming]
        inner: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        parse: Any = partial(_parsed_each if handler.request_streaming else _parsed_one, self._message_s)
        # Parsed inside the wrapper: the library would answer UNKNOWN, and hold up everybody for large messages.
        read = partial(parse, handler.request_deserializer)
        name = rpc.removeprefix(_OURS)
        if handler.response_streaming:
            return make(self._stream(name, inner, read), None, handler.response_serializer)
        return make(self._unary(name, inner, read, partial(_written, handler.response_serializer)), None, None)

    def _others(
        self, handler: grpc.RpcMethodHandler[Any, Any], details: grpc.HandlerCallDetails | None
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of another service, whose messages are held like ours. details: where credentials are asked for,
        of the call that may lack them.
        """
        try:
            if details is not None:
                self._door.identify(details.invocation_metadata or ())
        except AssayError as error:
            refused = error

            async def refuse(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
                await _abort(context, refused)

            return _MAKERS[handler.response_streaming](refuse)
        inner: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        parse: Any = _parsed_each if handler.request_streaming else _parsed_one

        async def read(raws: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            holding = Holding(self._room, context.peer())
            _when_over(holding.close)
            try:
                return await parse(self._message_s, handler.request_deserializer, raws, holding)
            except AssayError as error:
                await _abort(context, error)

        async def unary(raws: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            return await inner(await read(raws, context), context)

        async def stream(raws: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            request = await read(raws, context)
            answers = inner(request, context)
            if not hasattr(answers, "__aiter__"):  # one that writes by itself
                await answers
                return
            async for answer in answers:
                yield answer

        make = _MAKERS[handler.response_streaming]
        return make(stream if handler.response_streaming else unary, None, handler.response_serializer)

    def _unary(
        self,
        rpc: str,
        inner: Callable[..., Awaitable[Any]],
        read: Callable[..., Any],
        write: Callable[[Any], Any],
    ) -> Callable[..., Awaitable[Any]]:
        async def answer(raw: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            call = self._begin(rpc, context)
            try:
                self._check_draining()
                self._enter(call, context)
                async with before(self._deadlines.give(call), partial(self._deadlines.passed, call)):
                    response = write(await inner(await read(raw, call.holding), context))
                call.holding.take(len(response) if isinstance(response, bytes) else 0)
            except BaseException as error:
                await self._fail(call, context, error)
                raise
            self._end(call, grpc.StatusCode.OK)
            context.set_trailing_metadata(_trailers(call))
            self._unread.last(call)
            return response

        return answer

    def _stream(
        self, rpc: str, inner: Callable[..., AsyncIterator[Any]], read: Callable[..., Any]
    ) -> Callable[..., AsyncIterator[Any]]:
        async def answer(raw: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            call = self._begin(rpc, context)
            try:
                self._check_draining()
                self._enter(call, context)
                self._deadlines.give(call)  # held by who answers: between two answers nothing of ours can be ended
                async for response in inner(await read(raw, call.holding), context):
                    with self._unread.message(call):
                        yield response
            except BaseException as error:
                await self._fail(call, context, error)
                raise
            self._end(call, grpc.StatusCode.OK)
            context.set_trailing_metadata(_trailers(call))

        return answer

    def _enter(self, call: Call, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Its places are its until its answer is sent, which is up to who reads it. Raises what the door raises."""
        _when_over(self._door.enter(call, _metadata(context)))
        call.holding = Holding(self._room, call.tenant if self._door.asks_who else call.peer)
        _when_over(call.holding.close)

    def _check_draining(self) -> None:
        if self.draining:
            raise _going_down()

    def _begin(self, rpc: str, context: grpc.aio.ServicerContext[Any, Any]) -> Call:
        call = Call(rpc, peer=context.peer())
        left: float | None = context.time_remaining()
        call.deadline = None if left is None else call.arrived + left
        for key, value in _metadata(context):
            if key == "x-request-id" and _REQUEST_ID.fullmatch(str(value)):
                call.request_id = str(value)
            elif key == "traceparent" and _TRACEPARENT.fullmatch(str(value)):
                call.traceparent = str(value)
        CURRENT.set(call)
        task = asyncio.current_task()
        if task is not None:
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)
        self._metrics.requests_in_flight.labels(rpc).inc()
        return call

    async def _fail(self, call: Call, context: grpc.aio.ServicerContext[Any, Any], error: BaseException) -> None:
        """Log a failure and abort with its status, unless the caller has left or it is already aborted."""
        if self._ended and isinstance(error, asyncio.CancelledError) and not context.cancelled():
            error = _going_down()
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            # gRPC cancels the handler for both; the caller's own library has told it which already. The context may
            # not be touched any more: a generator that is closed late outlives its call.
            late = call.deadline is not None and time.monotonic() >= call.deadline
            self._end(call, grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED)
            return
        if isinstance(error, grpc.aio.AbortError):
            self._end(call, grpc.StatusCode.INTERNAL)
            return
        error = next(filter(None, map(no_descriptors, _of_system(error))), error)
        incident = ""
        if not isinstance(error, AssayError):
            incident = new_incident()
            log.error(
                "bug", exc_info=error, extra={"incident": incident, "request_id": call.request_id, "rpc": call.rpc}
            )
        status = to_status(error if isinstance(error, Exception) else Exception(), incident)
        code = code_of(error) if isinstance(error, Exception) else grpc.StatusCode.INTERNAL
        self._end(call, code, status.message, incident)
        details = ("grpc-status-details-bin", status.SerializeToString())
        if isinstance(error, DeadlinePassed) and context.time_remaining() is not None:
            await asyncio.sleep(_LIBRARYS_TURN_S)
        await context.abort(code, status.message, (*_trailers(call), details))

    def _end(self, call: Call, code: grpc.StatusCode, message: str = "", incident: str = "") -> None:
        """One log line and the metrics of a call."""
        seconds = time.monotonic() - call.arrived
        self._metrics.requests_in_flight.labels(call.rpc).dec()
        self._metrics.requests.labels(call.rpc, call.method, code.name).inc()
        self._metrics.request_seconds.labels(call.rpc).observe(seconds)
        line = {
            "rpc": call.rpc,
            "code": code.name,
            "seconds": round(seconds, 6),
            "request_id": call.request_id,
            "tenant": call.tenant,
            "peer": call.peer,
        }
        optional = {
            "traceparent": call.traceparent,
            "method": call.method if call.method != "-" else "",
            "model": call.model,
            "instances": call.instances,
            "rows_asked": call.rows_asked,
            "rows_run": call.rows_run,
            "batches": call.batches,
            "error": message,
            "incident": incident,
        }
        log.info("call", extra=line | {k: v for k, v in optional.items() if v})


def _going_down() -> Draining:
    return Draining("the server is going down; another one will take this", retry_after_s=1.0)


async def _parsed(deserialize: Callable[[bytes], Any] | None, raw: bytes) -> Any:
    """One message; as it is where its handler wants bytes. Raises Unparsable."""
    if deserialize is None:
        return raw
    try:
        if len(raw) > _LARGE_BYTES:
            return await asyncio.to_thread(deserialize, raw)
        return deserialize(raw)
    except DecodeError:
        raise Unparsable("the bytes are no message of this call's request type") from None


async def _parsed_one(
    limit_s: float, deserialize: Callable[[bytes], Any] | None, raws: AsyncIterator[bytes], holding: Holding
) -> Any:
    """The one message of a call. Raises Unparsable, and DeadlinePassed where it doesn't come in time."""
    # The library's iterator refers to itself. Left open, it would hold the message until the collector comes by.
    async with aclosing(cast("AsyncGenerator[bytes]", aiter(raws))) as each:
        raw = await holding.read(partial(anext, each, None), limit_s)
    if raw is None:
        # Also where it was larger than a message may be, which the library has answered already.
        raise Unparsable("the call ended without a message, or with one that is too large")
    return await _parsed(deserialize, raw)


async def _parsed_each(
    limit_s: float, deserialize: Callable[[bytes], Any] | None, raws: AsyncIterator[bytes], holding: Holding
) -> AsyncIterator[Any]:
    """A stream of messages, each parsed when it is asked for. Raises DeadlinePassed where the first doesn't come."""

    async def messages() -> AsyncIterator[Any]:
        take_next = partial(anext, aiter(raws), None)
        raw = await holding.read(take_next, limit_s)
        while raw is not None:
            yield await _parsed(deserialize, raw)
            raw = await holding.read(take_next, None)

    return messages()


def _written(serialize: Callable[[Any], bytes] | None, response: Any) -> Any:
    """An answer's bytes; whoever gave it may have written it already. As it is where its handler has no bytes."""
    return response if serialize is None or isinstance(response, bytes) else serialize(response)


def _when_over(callback: Callable[[], None]) -> None:
    """Call it when the task that answers is over: then the answer has been sent."""
    task = asyncio.current_task()
    if task is None:
        raise AssertionError("calls are answered by tasks")
    task.add_done_callback(lambda _: callback())


def _of_system(error: BaseException) -> Iterator[OSError]:
    """The error, or those in the group that it is, where the system is to blame."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _of_system(one)
    elif isinstance(error, OSError):
        yield error


def _metadata(context: Any) -> Any:
    return context.invocation_metadata() or ()


def _trailers(call: Call) -> tuple[tuple[str, str], ...]:
    trailers = (("x-request-id", call.request_id),)
    return (*trailers, ("traceparent", call.traceparent)) if call.traceparent else trailers


async def _abort(context: Any, error: AssayError) -> None:
    status = to_status(error)
    await context.abort(code_of(error), status.message, (("grpc-status-details-bin", status.SerializeToString()),))


_MAKERS: dict[bool, Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
    False: grpc.stream_unary_rpc_method_handler,
    True: grpc.stream_stream_rpc_method_handler,
}
"""By whether the response is a stream."""
