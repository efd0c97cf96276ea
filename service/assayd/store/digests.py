"""Digests: SHA-256, with a prefix that names it."""

from __future__ import annotations

import hashlib
import re

from assayd.errors import DigestMismatch

PREFIX = "sha256:"
HEX = re.compile(r"[0-9a-f]{64}")
"""A digest without its prefix, as files are named."""


def digest_of(data: bytes) -> str:
    """The SHA-256 of `data`, with its prefix."""
    return PREFIX + hashlib.sha256(data).hexdigest()


def is_digest(value: object) -> bool:
    """Whether it is a digest in its normal form."""
    return isinstance(value, str) and value.startswith(PREFIX) and bool(HEX.fullmatch(value.removeprefix(PREFIX)))


def normal_digest(text: str) -> str:
    """A stated digest in its normal form. Raises DigestMismatch where it can't be one."""
    bare = text.removeprefix(PREFIX).lower()
    if not HEX.fullmatch(bare):
        raise DigestMismatch(f"{text[:80]!r} is no SHA-256 digest: 64 hex digits are needed, with or without 'sha256:'")
    return PREFIX + bare
