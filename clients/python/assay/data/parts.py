"""A data set in parts: what a caller gives of it, and how it is handed to gRPC."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from assay.errors import Internal, invalid
from assay.responses import Asked
from assay.v1 import explain_service_pb2

Inputs: TypeAlias = Mapping[str, ArrayLike] | ArrayLike
"""{input name: array with the batch axis in front, or a stored one's digest}; the array alone for a one-input model."""


@dataclass(frozen=True, eq=False)
class Part:
    """Some instances of a data set.

    Attributes:
        inputs: {input name: array [b, *input] in the model's dtype, or the digest of a stored one}, all inputs of the
            model with the same b; the array alone for a one-input model. b, and where the model allows it the shape of
            an instance, may differ between parts.
        keys: one identity for each instance, which keys its random draws; None: all are drawn alike.
        targets: the score explained, one for each instance: a `Target`, its index alone, or a list of either; None:
            what `explain_many` was told for all.
    """

    inputs: Inputs
    keys: Sequence[str] | None = None
    targets: Sequence[Any] | None = None


Parts: TypeAlias = Iterable[Part | Inputs] | AsyncIterable[Part | Inputs]
"""A data set: parts, or the inputs of parts alone."""

_AHEAD = 3
"""Parts on their way that weren't answered yet: the server works on two, and a third is there when it wants it."""

_END = object()


@dataclass(frozen=True)
class Encoded:
    """A part's message, the number of its instances, and how their answers are read."""

    request: explain_service_pb2.ExplainRequest
    count: int
    asked: Asked


@dataclass
class _Open:
    """A part that isn't answered yet."""

    positions: range
    asked: Asked
    unanswered: int


def iterator_of(parts: Any) -> Iterator[Any]:
    """An iterator over parts; InvalidArgument for what is one part, or none, rather than an iterable of them."""
    if isinstance(parts, AsyncIterable):
        raise invalid("parts", "an async iterable needs assay.AsyncClient")
    if isinstance(parts, (Mapping, np.ndarray, str, bytes)) or not isinstance(parts, Iterable):
        wanted = "a list or a generator, of assay.Part or of inputs [b, *input]"
        raise invalid("parts", f"{type(parts).__name__} is no iterable of parts: give {wanted}")
    return iter(parts)


class PartMessages(Iterator[explain_service_pb2.ExplainManyRequest]):
    """The messages of a data set, made of its parts when gRPC wants the next, and which of them an answer belongs to.

    gRPC takes the messages in a thread of its own, which therefore is the one that the parts are made in; the answers
    are read in the caller's. No part is asked for while `_AHEAD` wait for their answers: the windows of HTTP/2 alone
    would let hundreds of small ones through to a caller that reads no answers.

    settings: the message of all settings, which goes with the first part.
    """

    def __init__(
        self,
        parts: Iterator[Any],
        settings: explain_service_pb2.ExplainRequest,
        encode: Callable[[Any], Encoded],
    ) -> None:
        self.parts = parts
        self.error: BaseException | None = None
        self._settings: explain_service_pb2.ExplainRequest | None = settings
        self._encode = encode
        # Instances of a request that is only validated have no answers to wait for.
        self._held = not settings.validate_only
        self._next_position = 0
        self._changed = threading.Condition()  # guards what follows
        self._open: list[_Open] = []
        self._pulling = False
        self._ended = False

    def __next__(self) -> explain_service_pb2.ExplainManyRequest:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._open) < _AHEAD)
            if self._ended:
                raise StopIteration
            self._pulling = True
        message = None
        try:
            message = self._pull()
        except BaseException as error:  # noqa: BLE001
            # gRPC would hide it behind a CANCELLED. As in a loop over the parts, those before it are answered first.
            self.error = error
        with self._changed:
            self._pulling = False
            gone = self._ended
        if gone:
            self._close_parts()
        if message is None:
            raise StopIteration
        return message

    def at(self, position: int) -> Asked:
        """What was asked of the instance at a position, which counts as answered from here on."""
        with self._changed:
            for part in self._open:
                if position in part.positions:
                    part.unanswered -= 1
                    if not part.unanswered:
                        self._open.remove(part)
                        self._changed.notify_all()
                    return part.asked
        raise Internal(f"an answer came for position {position}, which waits for none")

    def close(self) -> None:
        """Ends the messages and closes a generator of parts; one that is making a part right now, when it has."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            busy = self._pulling
        if not busy:
            self._close_parts()

    def _pull(self) -> explain_service_pb2.ExplainManyRequest | None:
        """The next message; None after the last. Without any part the settings go alone."""
        part = next(self.parts, _END)
        if part is _END:
            request = self._settings
        else:
            encoded = self._encode(part)
            request = encoded.request
            self._expect(encoded)
            if self._settings is not None:
                request.MergeFrom(self._settings)
        self._settings = None
        return None if request is None else explain_service_pb2.ExplainManyRequest(request=request)

    def _expect(self, part: Encoded) -> None:
        positions = range(self._next_position, self._next_position + part.count)
        self._next_position = positions.stop
        if self._held and part.count:
            with self._changed:
                self._open.append(_Open(positions, part.asked, part.count))

    def _close_parts(self) -> None:
        if isinstance(self.parts, Generator):
            self.parts.close()
