"""The server's certificate, and the authorities whose certificates callers must show."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from assayd.api.auth.watched import Watched


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: the certificate chain, its private key, and the authorities that sign callers' certificates."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def read(self) -> grpc.ServerCertificateConfiguration:
        """As gRPC takes them. Raises OSError or ValueError, also where key and certificate don't belong together."""
        cert, key = self.cert.read_bytes(), self.key.read_bytes()
        ca = self.client_ca.read_bytes() if self.client_ca else None
        try:
            # gRPC would take a key of another certificate, and fail at every handshake.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.cert, self.key, password=_no_password)
            if ca is not None:
                context.load_verify_locations(cadata=ca.decode("ascii"))
        except ssl.SSLError as error:
            raise ValueError(
                f"{self.cert} and {self.key} must be PEM, belong together, and need no password"
                + (f"; {self.client_ca} must hold PEM certificates" if self.client_ca else "")
                + f" ({error.reason or error})"
            ) from error
        if (cert, key, ca) != (self.cert.read_bytes(), self.key.read_bytes(), ca):
            raise ValueError(f"{self.cert} or {self.key} changed while it was read")
        return grpc.ssl_server_certificate_configuration([(key, cert)], root_certificates=ca)


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that follow the files: each new connection gets what they hold then. Raises OSError, ValueError."""
    watched = Watched([f for f in (files.cert, files.key, files.client_ca) if f is not None], files.read)
    first = last = watched.get()

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal last
        now = watched.get()
        if now is last:
            return None
        last = now
        return now

    return grpc.dynamic_ssl_server_credentials(
        first,
        changed,  # type: ignore[arg-type]  # None is no change, which the stub leaves out
        require_client_authentication=files.client_ca is not None,
    )


def is_loopback(address: str) -> bool:
    """Whether host:port can be reached from this machine alone."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _no_password() -> str:
    raise ValueError("the private key needs a password; give one without")
