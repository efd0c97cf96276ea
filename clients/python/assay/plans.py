"""What a client does, apart from doing it: a method is a plan, and every client carries out the same plans.

A plan is a generator. It yields a `Call` and receives its answer, `Work` and receives its result, or `Items` and
receives an iterator over them, and returns what the method returns. It never waits, so a thread and an event loop can
each drive it in their own way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from assay.data.parts import PartMessages
from assay.errors import AssayError, Internal
from assay.explanation import Explanation, Instance, Progress
from assay.responses import StreamReader

T = TypeVar("T")
AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])
Event: TypeAlias = Progress | Instance | Explanation


@dataclass(frozen=True)
class Call:
    """One RPC that is yet to be made; `message` is an iterator of messages for one that streams its request."""

    rpc: str
    message: Any
    timeout: float | None
    request_id: str
    metadata: list[tuple[str, str]]

    def start(self, rpcs: Mapping[str, Any]) -> Any:
        """What gRPC gives for it: the answer, or the call under way."""
        return rpcs[self.rpc](self.message, timeout=self.timeout, metadata=self.metadata)


@dataclass(frozen=True)
class Work:
    """Something that takes its time on this machine, such as reading a file."""

    run: Callable[[], Any]


@dataclass(frozen=True)
class Items:
    """Something of the caller's to iterate over, which a thread of gRPC will do."""

    given: Any


Plan: TypeAlias = Generator[Call | Work | Items, Any, T]


@dataclass(frozen=True)
class Stream:
    """A call whose answer comes in events, and what puts them together; its messages where it streams them as well."""

    call: Call
    reader: StreamReader
    messages: PartMessages | None = None

    def feed(self, message: Any) -> Event | None:
        """What a message of the answer completes. Raises what went wrong on this side, once all else was answered."""
        event = self.reader.feed(message)
        if isinstance(event, Explanation) and self.messages is not None and self.messages.error is not None:
            raise self.messages.error
        return event

    def cause(self, error: AssayError) -> BaseException:
        """What the caller should see of a call that failed: what went wrong on this side goes first."""
        own = None if self.messages is None else self.messages.error
        return own or error

    def close(self) -> None:
        """Ends the messages."""
        if self.messages is not None:
            self.messages.close()

    def cut_short(self) -> Internal:
        """The error of a stream that ended too soon."""
        return Internal("the stream ended without its summary", request_id=self.call.request_id)


def as_method(method: AnyFunction, plan: Callable[..., Any], owner: str, returns: str = "{}") -> AnyFunction:
    """Gives a client's method the name, the description and the signature of its plan.

    returns: the annotation of what it returns, with {} for what the plan does.
    """
    signature = inspect.signature(plan)
    returned = returns.format(str(signature.return_annotation).removeprefix("Plan[").removesuffix("]"))
    method.__name__, method.__doc__ = plan.__name__, plan.__doc__
    method.__qualname__ = f"{owner}.{plan.__name__}"
    method.__wrapped__ = plan  # type: ignore[attr-defined]
    method.__annotations__ = {**plan.__annotations__, "return": returned}
    method.__signature__ = signature.replace(return_annotation=returned)  # type: ignore[attr-defined]
    return method
