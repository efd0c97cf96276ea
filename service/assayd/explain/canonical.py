"""Canonical JSON (RFC 8785) in parts: what many records share is written once."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import rfc8785


class Canonical:
    """A JSON value that stays as it is, and its text."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @cached_property
    def text(self) -> bytes:
        """Canonical."""
        return rfc8785.dumps(self.value)


_STANDS_FOR = secrets.token_hex(16)
"""Nobody outside this process can write what stands for a part until the whole is put together."""


def canonical(value: Any) -> bytes:
    """A value's text; it may hold `Canonical` ones in its mappings."""
    parts: list[bytes] = []
    text: bytes = rfc8785.dumps(_held(value, parts))
    for number, part in enumerate(parts):
        text = text.replace(b'"%s"' % _name(number).encode(), part, 1)
    return text


def _held(value: Any, parts: list[bytes]) -> Any:
    match value:
        case Canonical():
            parts.append(value.text)
            return _name(len(parts) - 1)
        case Mapping():
            return {key: _held(member, parts) for key, member in value.items()}
        case _:
            return value


def _name(number: int) -> str:
    return f"{_STANDS_FOR}.{number}"
