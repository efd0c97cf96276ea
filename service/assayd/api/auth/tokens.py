"""Bearer tokens, kept as salted hashes.

A token is 256 random bits, so nobody finds it by trying: one salted SHA-256 is as good as a slow hash, which defends
words that people chose, and costs each call a microsecond instead of a tenth of a second. Its id, which is no secret,
says which line of the file it belongs to.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from assayd.api.auth.identity import Identity, roles_of, tenant_name
from assayd.api.auth.watched import Watched
from assayd.errors import Unauthenticated

PREFIX = "assay_"
_TOKEN = re.compile(r"assay_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_ID = re.compile(r"[0-9a-f]{16}")
_HASH = re.compile(r"sha256:([0-9a-f]{32}):([0-9a-f]{64})")


@dataclass(frozen=True)
class _Known:
    identity: Identity
    salt: bytes
    hashed: bytes
    expires: datetime | None


def new_token(tenant: str, roles: Collection[str], expires: datetime | None = None) -> tuple[str, str]:
    """A new token, and the line of the file that knows it. Raises ValueError for a tenant or role that can't be."""
    names = ",".join(sorted(roles_of(roles)))
    number, secret, salt = secrets.token_hex(8), secrets.token_urlsafe(32), secrets.token_bytes(16)
    line = f"{number} {tenant_name(tenant)} {names} sha256:{salt.hex()}:{_hashed(salt, secret).hex()}"
    if expires is not None:
        line += f" {expires.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return f"{PREFIX}{number}_{secret}", line


class TokenFile:
    """Knows the tokens of a file, which is read again when it changes. Raises OSError or ValueError at first.

    A line is `ID TENANT ROLES sha256:SALT:HASH [EXPIRES]`, as `assayd token` prints it; # begins a comment.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = Watched([path], self._read)

    def identify(self, token: str) -> Identity:
        """Whose token it is. Raises Unauthenticated."""
        match = _TOKEN.fullmatch(token)
        known = self._known.get().get(match[1]) if match else None
        if match is None or known is None or not hmac.compare_digest(_hashed(known.salt, match[2]), known.hashed):
            raise Unauthenticated("this server doesn't know the token; ask who runs it for one")
        if known.expires is not None and datetime.now(UTC) >= known.expires:
            raise Unauthenticated(f"the token expired at {known.expires:%Y-%m-%dT%H:%M:%SZ}; ask for a new one")
        return known.identity

    def _read(self) -> dict[str, _Known]:
        known: dict[str, _Known] = {}
        for number, line in enumerate(self._path.read_text("utf-8").splitlines(), 1):
            words = line.partition("#")[0].split()
            if words:
                try:
                    _add(words, known)
                except ValueError as error:
                    raise ValueError(f"{self._path}, line {number}: {error}") from error
        return known


def _add(words: list[str], known: dict[str, _Known]) -> None:
    if words[0] in known:
        raise ValueError(f"the id {words[0]} stands there twice")
    known[words[0]] = _parsed(words)


def _parsed(words: list[str]) -> _Known:
    if len(words) not in (4, 5) or not _ID.fullmatch(words[0]) or not (hashed := _HASH.fullmatch(words[3])):
        raise ValueError("a line is ID TENANT ROLES sha256:SALT:HASH [EXPIRES], as `assayd token` prints it")
    identity = Identity(tenant_name(words[1]), roles_of(words[2].split(",")))
    return _Known(identity, bytes.fromhex(hashed[1]), bytes.fromhex(hashed[2]), _time(*words[4:]))


def _time(text: str | None = None) -> datetime | None:
    """A date is its first moment; without an offset it is UTC."""
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _hashed(salt: bytes, secret: str) -> bytes:
    return hashlib.sha256(salt + secret.encode("ascii")).digest()
