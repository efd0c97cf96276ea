"""From a call's metadata to who calls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from assayd.api.auth.identity import ANYBODY, Authority, Identity
from assayd.api.auth.tokens import PREFIX
from assayd.errors import Unauthenticated

_MOST_LETTERS = 8192


class Bearer:
    """Checks `authorization: Bearer …`. tokens, jwks: who knows tokens of the server's own, and signed ones.

    Without either everybody is the tenant "default" and may do everything.
    """

    def __init__(self, tokens: Authority | None = None, jwks: Authority | None = None) -> None:
        self._tokens = tokens
        self._jwks = jwks

    @property
    def asks_who(self) -> bool:
        """Whether callers must show who they are."""
        return self._tokens is not None or self._jwks is not None

    def identify(self, metadata: Iterable[tuple[str, str | bytes]]) -> Identity:
        """Whose call it is. Raises Unauthenticated."""
        if not self.asks_who:
            return ANYBODY
        token = _token([value for key, value in metadata if key == "authorization"])
        authority = self._tokens if token.startswith(PREFIX) else self._jwks
        if authority is None:
            raise Unauthenticated("this server doesn't know such tokens; ask who runs it for one")
        return authority.identify(token)


def _token(values: Sequence[str | bytes]) -> str:
    if len(values) != 1:
        raise Unauthenticated("this server wants credentials, once: the metadata authorization: Bearer TOKEN")
    value = values[0]
    scheme, _, token = (value.decode("ascii", "replace") if isinstance(value, bytes) else value).partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > _MOST_LETTERS or not token.isascii():
        raise Unauthenticated("the metadata authorization must be: Bearer TOKEN")
    return token
