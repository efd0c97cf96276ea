"""How to reach a server: channel options, TLS and the metadata of calls."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import grpc
import grpc.aio

from assay.errors import invalid

MAX_MESSAGE_BYTES = 64 << 20
"""Largest message in either direction, the server's default too. gRPC's own 4 MiB is below one batch of images."""

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)

PEM: TypeAlias = str | os.PathLike[str] | bytes
"""A path, or the bytes themselves."""


@dataclass(frozen=True)
class TLS:
    """Transport security beyond the system's trusted roots.

    Attributes:
        ca: certificates of the authorities that may have signed the server's; None: the system's.
        cert: this client's certificate chain, for a server that asks for one; needs key.
        key: private key of cert.
    """

    ca: PEM | None = None
    cert: PEM | None = None
    key: PEM | None = field(default=None, repr=False)


def credentials(tls: TLS | PEM | bool | None) -> grpc.ChannelCredentials | None:
    """The credentials of a channel; None where it isn't secured. Raises OSError for a file that can't be read."""
    if tls is None or tls is False:
        return None
    wanted = tls if isinstance(tls, TLS) else TLS(None if tls is True else tls)
    if (wanted.cert is None) != (wanted.key is None):
        raise invalid("tls", "cert and key come together")
    roots = _system_roots() if wanted.ca is None else _read(wanted.ca)
    return grpc.ssl_channel_credentials(roots, _read(wanted.key), _read(wanted.cert))


def open_channel(address: str, secure: grpc.ChannelCredentials | None) -> grpc.Channel:
    """A channel to "host:port". It connects at the first call."""
    if secure is None:
        return grpc.insecure_channel(address, OPTIONS)
    return grpc.secure_channel(address, secure, OPTIONS)


def open_async_channel(address: str, secure: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    """The same for the event loop that runs."""
    if secure is None:
        return grpc.aio.insecure_channel(address, OPTIONS)
    return grpc.aio.secure_channel(address, secure, OPTIONS)


def call_metadata(token: str | None, request_id: str, traceparent: str | None) -> list[tuple[str, str]]:
    """The metadata of one call: bearer token, request id, and W3C trace context where there is one.

    InvalidArgument, naming it, for one that HTTP can't carry.
    """
    for field_name, text in (("token", token), ("request_id", request_id), ("traceparent", traceparent)):
        if text and not (text.isascii() and text.isprintable()):
            raise invalid(field_name, "only printable ASCII letters can be sent in it")
    pairs = (
        ("authorization", f"Bearer {token}" if token else None),
        ("x-request-id", request_id),
        ("traceparent", traceparent),
    )
    return [(name, value) for name, value in pairs if value]


def _read(pem: PEM | None) -> bytes | None:
    return pem if pem is None or isinstance(pem, bytes) else Path(pem).read_bytes()


def _system_roots() -> bytes | None:
    # gRPC brings roots of its own, which don't hold the authorities that an administrator added to the system.
    bundle = ssl.get_default_verify_paths().cafile
    return Path(bundle).read_bytes() if bundle else None
