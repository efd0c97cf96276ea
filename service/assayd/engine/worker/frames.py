"""Messages on a socket: a length, a header, and the bytes of arrays behind it."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from assayd.engine.worker.arrays import Bytes, Malformed, Sink, Source
from assayd.engine.worker.codec import pack, unpack

_PREFIX = struct.Struct("<IQ")
_JOINED_BYTES = 128 * 1024
_MOST_PIECES = 512


@dataclass(frozen=True)
class Limits:
    """Of what is received, in bytes. Checked before room is made for it."""

    header_bytes: int
    payload_bytes: int


FROM_FRONT = Limits(2**30, 2**40)
FROM_WORKER = Limits(4 * 2**20, 2**30)
"""A header unfolds to sixty times its bytes at worst; a payload to eight times, where it is booleans."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A message as it goes: its bytes in pieces, and the arrays that lie aside."""

    pieces: list[memoryview]
    header_bytes: int
    payload_bytes: int
    aside: list[tuple[int, Bytes]]
    aside_bytes: int

    @property
    def size(self) -> int:
        """Bytes that cross, by whatever way."""
        return _PREFIX.size + self.header_bytes + self.payload_bytes + self.aside_bytes

    def within(self, limits: Limits) -> bool:
        """Whether it would be received."""
        return self.header_bytes <= limits.header_bytes and self.payload_bytes <= limits.payload_bytes


def framed(kind: object, value: object) -> Frame:
    """A message; kind: its annotation."""
    sink = Sink()
    header = pack(kind, value, sink)
    whole = [_PREFIX.pack(len(header), sink.inline_bytes), header, *sink.inline]
    size = _PREFIX.size + len(header) + sink.inline_bytes
    # To gather many small pieces takes longer than to join them.
    pieces = (
        [memoryview(b"".join(whole))] if size < _JOINED_BYTES else [memoryview(p).cast("B") for p in whole if len(p)]
    )
    return Frame(pieces, len(header), sink.inline_bytes, sink.bulk, sink.bulk_bytes)


@dataclass(frozen=True, eq=False)
class Received:
    """A message as it came. fd: a descriptor that came along, for the caller to close."""

    header: bytes
    payload: Bytes
    size: int
    fd: int | None = None

    def read(self, kind: object, bulk: Bytes | None = None) -> Any:
        """The message; its arrays are views. kind: its annotation. bulk: where large ones may lie. Raises Malformed."""
        return unpack(kind, self.header, Source(self.payload, bulk))


class Wire:
    """One end of a stream socket. Sending and receiving may be two threads' business, each no more than one's."""

    def __init__(self, end: socket.socket, limits: Limits) -> None:
        self._end = end
        self._limits = limits
        self._begun = b""
        self.coming = False
        """Whether the rest of a message that `has_come` found too short is on its way, and no more than was allowed."""

    def send(self, frame: Frame, fd: int | None = None) -> None:
        """Send all of a frame, and a descriptor with its first byte. OSError where nobody reads any more."""
        pieces = list(frame.pieces)
        if fd is not None:
            socket.send_fds(self._end, [pieces[0][:1]], [fd])
            pieces[0] = pieces[0][1:]
        while pieces:
            sent = self._end.sendmsg(pieces[:_MOST_PIECES])
            while pieces and sent >= len(pieces[0]):
                sent -= len(pieces.pop(0))
            if sent:
                pieces[0] = pieces[0][sent:]

    def post(self, frame: Frame) -> bool:
        """Send a small frame whole and at once, or not at all where there is no room. OSError as `send`."""
        try:
            self._end.send(frame.pieces[0], socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        return True

    def receive(self, *, descriptors: bool = False) -> Received:
        """The next message. descriptors: whether to take one that comes along; without that the kernel drops it.

        Raises EOFError, OSError, and Malformed for more than the limits.
        """
        prefix, fd = bytearray(_PREFIX.size), None
        room = memoryview(prefix)
        if descriptors:
            first, fds, _, _ = socket.recv_fds(self._end, _PREFIX.size, 1)
            if not first:
                raise EOFError
            room[: len(first)] = first
            room, fd = room[len(first) :], fds[0] if fds else None
        self._fill(room)
        header_bytes, payload_bytes = _PREFIX.unpack(prefix)
        if header_bytes > self._limits.header_bytes or payload_bytes > self._limits.payload_bytes:
            raise Malformed("a message exceeds the limits")
        header = bytearray(header_bytes)
        payload: Bytes = np.empty(payload_bytes, np.uint8)
        self._fill(memoryview(header), payload.data)
        return Received(bytes(header), payload, len(prefix) + header_bytes + payload_bytes, fd)

    def has_come(self, most_bytes: int) -> bool:
        """Whether `receive` would find a message whole, and of no more than so many bytes. OSError as `send`."""
        most_bytes += _PREFIX.size
        size, self.coming = self._size(), False
        if len(self._begun) < min(size, most_bytes):
            try:
                came = self._end.recv(most_bytes - len(self._begun), socket.MSG_DONTWAIT)
                self._begun, ended = self._begun + came, not came
            except BlockingIOError:
                ended = False
            size = self._size()
            self.coming = len(self._begun) < size <= most_bytes and not ended
        return size <= len(self._begun)

    def _size(self) -> int:
        """Of the message that has begun, as far as that is known."""
        if len(self._begun) < _PREFIX.size:
            return _PREFIX.size
        header_bytes, payload_bytes = _PREFIX.unpack_from(self._begun)
        return _PREFIX.size + int(header_bytes) + int(payload_bytes)

    def _fill(self, *room: memoryview) -> None:
        """At once as far as it has come: each way to the system lets other threads in between."""
        left = [part for part in room if part.nbytes]
        while left and self._begun:
            part = self._begun[: left[0].nbytes]
            left[0][: len(part)] = part
            left[0], self._begun = left[0][len(part) :], self._begun[len(part) :]
            if not left[0].nbytes:
                left.pop(0)
        while left:
            count = self._end.recvmsg_into(left)[0]
            if not count:
                raise EOFError
            while left and count >= left[0].nbytes:
                count -= left.pop(0).nbytes
            if count:
                left[0] = left[0][count:]
