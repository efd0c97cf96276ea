"""How callers may connect: what the gRPC library holds them to, and the ports they come to."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

import grpc
import grpc.aio

from assayd.api.auth.tls import TlsFiles, is_loopback, server_credentials

log = logging.getLogger("assayd")

_REFUSED_AT_ONCE = 100
_PROBE_BYTES = 4096
"""Nobody counts what is read where nobody has to show who it is."""


class Limits(Protocol):
    """Settings that are the library's."""

    max_message_bytes: int
    max_metadata_bytes: int
    max_connections: int
    max_handshake_s: float
    max_concurrent_calls: int
    min_ping_interval_s: float
    keepalive_s: float
    keepalive_timeout_s: float
    max_connection_age_s: float
    max_connection_grace_s: float


class Exposed(Protocol):
    """Settings that say who may connect, and how."""

    listen: str
    tls_cert: Path | None
    tls_key: Path | None
    tls_client_ca: Path | None
    insecure: bool


def channel_arguments(limits: Limits, *, probes: bool = False) -> list[tuple[str, int]]:
    """Of a server. Compressed messages are held to the size that they unpack to. probes: it answers nothing else."""
    received = min(_PROBE_BYTES, limits.max_message_bytes) if probes else limits.max_message_bytes
    arguments = [
        ("grpc.max_send_message_length", limits.max_message_bytes),
        ("grpc.max_receive_message_length", received),
        # Between a soft and a hard limit the library refuses more and more at random; here they are one.
        ("grpc.max_metadata_size", limits.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.max_metadata_bytes),
        ("grpc.max_allowed_incoming_connections", limits.max_connections),
        # Some more than there may be of calls: those that are too many should hear it, not wait in their library.
        ("grpc.max_concurrent_streams", limits.max_concurrent_calls + _REFUSED_AT_ONCE),
        # Of a message that nobody asked for yet 64 KiB are kept. By probing the library would come to 16 MiB a call.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.server_handshake_timeout_ms", _ms(limits.max_handshake_s)),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(limits.min_ping_interval_s)),
        # Also without a call: else an idle connection may be pinged once in two hours, and dead ones are kept for ever.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", _ms(limits.keepalive_s)),
        ("grpc.keepalive_timeout_ms", _ms(limits.keepalive_timeout_s)),
        ("grpc.http2.ping_timeout_ms", _ms(limits.keepalive_timeout_s)),  # else an answer may take a minute
        ("grpc.so_reuseport", 0),
    ]
    if limits.max_connection_age_s:
        arguments += [
            ("grpc.max_connection_age_ms", _ms(limits.max_connection_age_s)),
            ("grpc.max_connection_age_grace_ms", _ms(limits.max_connection_grace_s)),
        ]
    return arguments


class Listener:
    """The port that callers come to. asks_who: they must show a token.

    Raises ValueError where others than this machine could connect and nothing is secured, or where certificate and key
    aren't good; OSError where they can't be read.
    """

    def __init__(self, exposed: Exposed, *, asks_who: bool) -> None:
        self._address = exposed.listen
        self._credentials: grpc.ServerCredentials | None = None
        own = is_loopback(exposed.listen)
        if (exposed.tls_cert is None) != (exposed.tls_key is None):
            raise ValueError("--tls-cert and --tls-key come together")
        if exposed.tls_client_ca is not None and exposed.tls_cert is None:
            raise ValueError("--tls-client-ca needs --tls-cert and --tls-key")
        if exposed.tls_cert is not None and exposed.tls_key is not None:
            files = TlsFiles(exposed.tls_cert, exposed.tls_key, exposed.tls_client_ca)
            self._credentials = server_credentials(files)
        elif not (own or exposed.insecure):
            raise ValueError(
                f"--listen {exposed.listen} can be reached by others, and in plain text everybody on the way reads "
                "along: give --tls-cert and --tls-key, or --insecure where something else protects it"
            )
        if not (asks_who or exposed.tls_client_ca or own):
            log.warning("everybody who can connect may do everything: see --tokens, --jwks and --tls-client-ca")

    def open(self, server: grpc.aio.Server) -> str:
        """Open it; returns host:port. Raises RuntimeError where it is taken."""
        if self._credentials is None:
            port = server.add_insecure_port(self._address)
        else:
            port = server.add_secure_port(self._address, self._credentials)
        return f"{self._address.rpartition(':')[0]}:{port}"


def _ms(seconds: float) -> int:
    return min(int(seconds * 1000), 2**31 - 1)
