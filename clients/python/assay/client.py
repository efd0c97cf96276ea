"""The client for threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import grpc

from assay.calls import Calls
from assay.channel import open_channel
from assay.connection import Connection
from assay.data.parts import iterator_of
from assay.errors import AssayError, translated
from assay.explanation import Explanation
from assay.plans import Event, Items, Plan, Stream, Work, as_method

if TYPE_CHECKING:
    from typing_extensions import Self

P = ParamSpec("P")
T = TypeVar("T")


def _method(plan: Callable[Concatenate[Calls, P], Plan[T]]) -> Callable[Concatenate[Client, P], T]:
    """The method that carries out a plan."""

    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._carry_out(plan(self._calls, *args, **kwargs))

    return as_method(method, plan, "Client")


def _stream(plan: Callable[Concatenate[Calls, P], Plan[Stream]]) -> Callable[Concatenate[Client, P], Iterator[Event]]:
    """The method that hands on the events of the stream that a plan prepared."""

    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Event]:
        return self._events(self._carry_out(plan(self._calls, *args, **kwargs)))

    return as_method(method, plan, "Client", "Iterator[Event]")


class Client(Connection[grpc.Channel]):
    """A connection to an Assay server; safe to share between threads.

    address: "host:port". tls: None for plain text, True for the system's trusted roots, the certificates of other
    authorities (PEM: a path, or the bytes), or a `TLS`. token: sent as `authorization: Bearer …` with each call,
    readable by anyone on the way unless tls is set. traceparent: gives the W3C trace context of the call about to be
    made, or None.

    The connection is made by the first call. Every method raises an `AssayError` for what the server refuses and when
    it can't be reached, and `InvalidArgument` for what can't be sent. timeout is in seconds; None waits as long as the
    server lets it.
    """

    _open = staticmethod(open_channel)

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; calls under way end with `Cancelled`."""
        channel = self._end()
        if channel is not None:
            channel.close()

    def _carry_out(self, plan: Plan[T]) -> T:
        answer: Any = None
        while True:
            try:
                step = plan.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Work):
                answer = step.run()
            elif isinstance(step, Items):
                answer = iterator_of(step.given)
            else:
                with translated(step.request_id, step.timeout):
                    answer = step.start(self._rpcs())

    def _events(self, stream: Stream) -> Iterator[Event]:
        call = stream.call.start(self._rpcs())
        try:
            with translated(stream.call.request_id, stream.call.timeout):
                for event in call:
                    result = stream.feed(event)
                    if result is not None:
                        yield result
                    if isinstance(result, Explanation):
                        return
            raise stream.cut_short()
        except AssayError as error:
            raise stream.cause(error)  # noqa: B904
        finally:
            call.cancel()
            stream.close()
