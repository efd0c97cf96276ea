"""Canonical JSON (RFC 8785) in parts: what many records share is written once."""

from __future__ import annotations

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


def canonical(members: Mapping[str, Any]) -> bytes:
    """An object of values, of `Canonical` ones, and of mappings of both. Its keys are ASCII, so their order is
    that of UTF-16.
    """
    texts = (b'"%s":%s' % (key.encode("ascii"), _text(members[key])) for key in sorted(members))
    return b"{" + b",".join(texts) + b"}"


def _text(value: Any) -> bytes:
    match value:
        case Canonical():
            return value.text
        case Mapping() if any(isinstance(v, Canonical) for v in value.values()):
            return canonical(value)
        case _:
            return rfc8785.dumps(value)
