"""A caller that speaks HTTP/2 by hand, so that it can do what no library would: stop halfway, never read, hang up."""

import contextlib
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
CANCEL = 8
INITIAL_WINDOW_SIZE = 4
_LARGEST_FRAME = 16384


def frame(kind, payload=b"", flags=0, stream=0):
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _text(text):
    raw = text if isinstance(text, bytes) else text.encode()
    size = len(raw)
    if size < 127:
        return bytes([size]) + raw
    size, more = size - 127, bytearray([127])
    while size >= 128:
        more.append(size % 128 + 128)
        size //= 128
    return bytes(more) + bytes([size]) + raw


def header_block(rpc, extra=(), service="assay.v1"):
    """The headers of a call, none of them compressed."""
    path = f"/{service}{'.' if '/' in rpc else '/'}{rpc}"
    pairs = [
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
        ("content-type", "application/grpc"), ("te", "trailers"), *extra,
    ]  # fmt: skip
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in pairs)


def prefixed(size):
    """What stands before a message of so many bytes."""
    return b"\0" + struct.pack(">I", size)


class RawCaller:
    """One connection. Every other stream number from 1 is a call of its own.

    Frames are read by `read` alone, which keeps the windows for what is sent; nothing is ever allowed to the server
    beyond `window` bytes a stream. answers_pings: whether it does what every HTTP/2 peer must. ended: whether the
    server has hung up, as far as was read.
    """

    def __init__(self, address, window=65535, *, answers_pings=True):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        self.socket.sendall(PREFACE + frame(SETTINGS, struct.pack(">HI", INITIAL_WINDOW_SIZE, window)))
        self._data = b""
        self._window, self._windows, self._initial = 65535, {}, 65535
        self._next = 1
        self._answers_pings = answers_pings
        self.ended = False
        self.got = []

    def open(self, rpc, extra=(), *, end=False, service="assay.v1"):
        """Begin a call; returns its stream. rpc: Service/Method of a package, or the method of a whole service."""
        stream, self._next = self._next, self._next + 2
        self._windows[stream] = self._initial
        flags = END_HEADERS | (END_STREAM if end else 0)
        self.socket.sendall(frame(HEADERS, header_block(rpc, extra, service), flags, stream))
        return stream

    def send(self, stream, data, *, end=False):
        """Send as the server's windows allow, waiting for them; returns the bytes that it took before it said no."""
        sent, view = 0, memoryview(data)
        while sent < len(view):
            room = min(self._window, self._windows[stream], _LARGEST_FRAME, len(view) - sent)
            if room <= 0:
                if not self.read():
                    return sent
                continue
            last = end and sent + room == len(view)
            part = frame(DATA, bytes(view[sent : sent + room]), END_STREAM if last else 0, stream)
            try:
                self.socket.sendall(part)
            except OSError:
                return sent
            self._window -= room
            self._windows[stream] -= room
            sent += room
        return sent

    def reset(self, stream):
        """Cancel a call."""
        self.socket.sendall(frame(RST_STREAM, struct.pack(">I", CANCEL), 0, stream))

    def read(self, timeout=2.0):
        """Take one frame, and note what it allows: (kind, stream, payload), or None where none comes in time."""
        self.socket.settimeout(timeout)
        try:
            while len(self._data) < 9 or len(self._data) < 9 + int.from_bytes(self._data[:3], "big"):
                more = self.socket.recv(1 << 16)
                if not more:
                    self.ended = True
                    return None
                self._data += more
        except ConnectionError:
            self.ended = True
            return None
        except TimeoutError:
            return None
        finally:
            self.socket.settimeout(30)
        size = int.from_bytes(self._data[:3], "big")
        kind, flags, stream = self._data[3], self._data[4], int.from_bytes(self._data[5:9], "big")
        payload, self._data = self._data[9 : 9 + size], self._data[9 + size :]
        if kind == SETTINGS and not flags & ACK:
            for n in range(0, size, 6):
                name, value = struct.unpack(">HI", payload[n : n + 6])
                if name == INITIAL_WINDOW_SIZE:
                    self._windows = {k: v + value - self._initial for k, v in self._windows.items()}
                    self._initial = value
            self._reply(frame(SETTINGS, flags=ACK))
        elif kind == PING and not flags & ACK and self._answers_pings:
            self._reply(frame(PING, payload, ACK))
        elif kind == WINDOW_UPDATE:
            more = int.from_bytes(payload, "big")
            if stream:
                self._windows[stream] = self._windows.get(stream, 0) + more
            else:
                self._window += more
        self.got.append((kind, stream, payload))
        return self.got[-1]

    def _reply(self, data):
        """What the server said before it hung up can be read when nobody takes an answer to it any more."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def close(self):
        """Hang up."""
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
