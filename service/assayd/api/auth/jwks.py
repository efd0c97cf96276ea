"""JSON Web Tokens (RFC 7519), checked against the keys of a local JWKS file (RFC 7517)."""

from __future__ import annotations

import json
from pathlib import Path

import jwt

from assayd.api.auth.identity import Identity, roles_of, tenant_name
from assayd.api.auth.watched import Watched
from assayd.errors import Unauthenticated

_FAMILIES = {
    "RSA": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
    "EC": {"ES256", "ES384", "ES512"},
    "OKP": {"EdDSA"},
}
"""Signatures by a private key alone, by the kind of key. Where "none" or a shared secret (HS…) were taken, whoever
reads the public keys could sign."""
_LEEWAY_S = 30.0


class Jwks:
    """Knows tokens that the keys of a file signed. Raises OSError or ValueError at first.

    issuer, audience: what `iss` and `aud` must say. A token also has `exp`, `tenant` and `roles` (a list).
    """

    def __init__(self, path: Path, issuer: str, audience: str) -> None:
        self._path = path
        self._issuer = issuer
        self._audience = audience
        self._keys = Watched([path], self._read)

    def identify(self, token: str) -> Identity:
        """Whose token it is. Raises Unauthenticated."""
        try:
            header = jwt.get_unverified_header(token)
            key = self._key(header.get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=sorted(_algorithms(key)),
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "tenant", "roles"]},
            )
            tenant, roles = claims["tenant"], claims["roles"]
            if not isinstance(tenant, str):
                raise Unauthenticated("the claim tenant is a word")
            if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
                raise Unauthenticated('the claim roles is a list of words, such as ["explain"]')
            return Identity(tenant_name(tenant), roles_of(roles))
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"the token isn't taken: {error}") from None
        except ValueError as error:
            raise Unauthenticated(f"a claim of the token isn't taken: {error}") from None

    def _key(self, kid: object) -> jwt.PyJWK:
        keys = self._keys.get()
        if kid is None and len(keys) == 1:
            return next(iter(keys.values()))
        if not isinstance(kid, str) or kid not in keys:
            raise Unauthenticated("the token is signed by no key that this server knows")
        return keys[kid]

    def _read(self) -> dict[str, jwt.PyJWK]:
        try:
            found = json.loads(self._path.read_text("utf-8"))["keys"]
            keys = [jwt.PyJWK.from_dict(key) for key in found if key.get("use", "sig") == "sig"]
        except (jwt.PyJWTError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{self._path} is no JWKS of public keys: {error}") from error
        if any("d" in key for key in found):
            raise ValueError(f"{self._path} holds a private key: only the public half belongs there")
        for key in keys:
            if not _algorithms(key):
                raise ValueError(f"{self._path} holds a key of type {key.key_type}: only {', '.join(_FAMILIES)} can be")
        if not keys:
            raise ValueError(f"{self._path} holds no key that signs")
        named = {key.key_id or "": key for key in keys}
        if len(named) != len(keys):
            raise ValueError(f"{self._path}: each of several keys has a kid of its own")
        return named


def _algorithms(key: jwt.PyJWK) -> set[str]:
    """The one that the key names, or those of its kind."""
    family = _FAMILIES.get(key.key_type or "", set())
    return family & {key.algorithm_name}
