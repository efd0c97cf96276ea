"""A data set's run as a stream of events: parts come in, instances go out, and neither side runs ahead of the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from google.protobuf.field_mask_pb2 import FieldMask

from assay.v1 import explain_pb2
from assay.v1 import explain_service_pb2 as pb
from assayd.api.codec.vet import vet_wrapped
from assayd.api.holding import Holding
from assayd.api.streaming import arrivals, chunked, encoded, progress
from assayd.errors import AssayError, DeadlinePassed, InvalidRequest
from assayd.explain.explainer import OnInstance, Result
from assayd.explain.failures import earliest
from assayd.explain.outcome import Explained, InstanceExplained
from assayd.explain.request import ExplainRequest
from assayd.scheduler.work import Job

PARTS_IN_FLIGHT = 2
"""One that computes, and one that is ready when its rows run out."""

_OF_PARTS = ("inputs", "keys", "instance_targets")


@dataclass(eq=False)
class Part:
    """One message's instances. first: position of its first instance in the data set. unsent: those yet to answer.

    held: bytes of the message and of what is known of its instances.
    """

    number: int
    request: ExplainRequest
    first: int
    unsent: int
    held: int


@dataclass(eq=False)
class DataSet:
    """Explains the parts of one call.

    decode: a whole request to the domain's. explain: what does the work. encode: an instance's answer. holding: of the
    call, for the bytes of parts until they are answered. part_s: longest wait for a part while the answers of all
    before it have been sent, or the call would keep its place for ever.
    """

    messages: AsyncIterator[pb.ExplainManyRequest]
    job: Job
    decode: Callable[[pb.ExplainRequest], Awaitable[ExplainRequest]]
    explain: Callable[[ExplainRequest, OnInstance], Awaitable[Explained]]
    encode: Callable[[ExplainRequest, Result], explain_pb2.InstanceResult]
    holding: Holding = field(default_factory=Holding)
    part_s: float = 3600.0
    explained: list[Explained] = field(default_factory=list)
    instances: int = 0

    async def events(
        self, settings: pb.ExplainRequest, first: pb.ExplainRequest | None
    ) -> AsyncIterator[pb.ExplainStreamResponse]:
        """Progress at most ten times a second, and each instance as it finishes.

        settings: those of all parts. first: the part that came with them, if one did. A caller that leaves, or reads no
        more, stops the reading.
        """
        self._finished: asyncio.Queue[tuple[Part, Result]] = asyncio.Queue()
        self._room = asyncio.Semaphore(PARTS_IN_FLIGHT)
        self._unanswered = 0
        self._waiting: asyncio.Timeout | None = None
        done = 0
        reader = asyncio.ensure_future(self._read(settings, first))
        try:
            yield progress(self.job, done, self.instances)
            async for arrived in arrivals(self._finished, reader):
                if arrived is None:
                    yield progress(self.job, done, self.instances)
                    continue
                part, result = arrived
                message = await encoded(partial(self.encode, part.request), result)
                message.position = part.first + result.position
                async for event in chunked(message):
                    yield event
                done += 1
                part.unsent -= 1
                if not part.unsent:
                    self._close(part)
            await reader
        finally:
            reader.cancel()

    async def _read(self, settings: pb.ExplainRequest, first: pb.ExplainRequest | None) -> None:
        """Start parts as there is room for them, until the caller has no more, and wait for them."""
        number = 0
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._room.acquire()
                    own = first if number == 0 and first is not None else await self._next(number)
                    if own is None:
                        return
                    part = await self._open(settings, own, number)
                    group.create_task(self._run(part))
                    number += 1
        except* AssayError as failures:
            raise earliest(failures) from None

    async def _next(self, number: int) -> pb.ExplainRequest | None:
        with _of_part(number):
            message = await self._message()
            if message is None:
                return None
            vet_wrapped(message)
            for field_set, _ in message.request.ListFields():
                if field_set.name not in _OF_PARTS:
                    raise InvalidRequest(
                        "the first message has the settings: later ones hold inputs, keys and instance_targets",
                        field=field_set.name,
                    )
        return message.request

    async def _message(self) -> pb.ExplainManyRequest | None:
        """The next one. Raises DeadlinePassed where it doesn't come."""
        try:
            async with asyncio.timeout(None if self._unanswered else self.part_s) as self._waiting:
                return await anext(self.messages, None)
        except TimeoutError:
            raise DeadlinePassed(
                f"no part came in {self.part_s:g} s, with all answers sent: a data set that goes on later is another"
                " call's",
                field="request",
            ) from None
        finally:
            self._waiting = None

    async def _open(self, settings: pb.ExplainRequest, own: pb.ExplainRequest, number: int) -> Part:
        whole = pb.ExplainRequest()
        whole.CopyFrom(settings)
        whole.MergeFrom(own)
        with _of_part(number):
            request = await self.decode(whole)
        part = Part(number, request, self.instances, request.instances, self.holding.keep())
        self.instances += request.instances
        self._unanswered += 1
        return part

    async def _run(self, part: Part) -> None:
        def finished(result: Result) -> None:
            if isinstance(result, InstanceExplained):
                part.held += self.holding.take(result.held_bytes)
            self._finished.put_nowait((part, result))

        try:
            done = await self.explain(part.request, finished)
        except AssayError as error:
            error.metadata["part"] = str(part.number)
            error.metadata["instance"] = str(part.first + int(error.metadata.get("instance", "0")))
            raise
        self.explained.append(replace(done, results=()))
        if done.estimated_rows is not None:  # nothing of it will be answered
            self._close(part)

    def _close(self, part: Part) -> None:
        self.holding.give(part.held)
        self._unanswered -= 1
        if self._waiting is not None and not self._unanswered:
            self._waiting.reschedule(asyncio.get_running_loop().time() + self.part_s)
        self._room.release()


def settings_of(first: pb.ExplainManyRequest) -> tuple[pb.ExplainRequest, pb.ExplainRequest | None]:
    """The first message's settings, and the part that came with them, if one did. Raises InvalidRequest."""
    with _of_part(0):
        vet_wrapped(first)
    settings, own = pb.ExplainRequest(), pb.ExplainRequest()
    FieldMask(paths=[f.name for f, _ in first.request.ListFields() if f.name not in _OF_PARTS]).MergeMessage(
        first.request, settings
    )
    FieldMask(paths=_OF_PARTS).MergeMessage(first.request, own)
    return settings, own if own.ByteSize() else None


@contextmanager
def _of_part(number: int) -> Iterator[None]:
    """Say which part is at fault."""
    try:
        yield
    except AssayError as error:
        error.metadata["part"] = str(number)
        raise
