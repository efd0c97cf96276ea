"""Canonical JSON (RFC 8785) in parts: what many records share is written once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, NewType

import rfc8785

Text = NewType("Text", bytes)
"""A JSON value's canonical text."""

BEYOND_JSON = 2**53
"""RFC 8785 has whole numbers as far as a double counts them: below this."""

_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")).encode


class Canonical:
    """A JSON value that stays as it is, and its text."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @cached_property
    def text(self) -> Text:
        """Canonical."""
        return text(self.value)


def text(value: Any) -> Text:
    """A value's text. Raises ValueError where JSON has none."""
    if _is_plain(value):
        written = _encode(value)
        if written.isascii():  # else names may have another order in UTF-16
            return Text(written.encode())
    return Text(rfc8785.dumps(value))


def canonical(members: Mapping[str, Any]) -> Text:
    """An object's text; its members may be `Canonical`, or texts already."""
    found = [named + _text(members[name]) for name, named in _in_order(tuple(members))]
    return Text(b"{%s}" % b",".join(found))


@lru_cache(64)
def _in_order(names: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """Names and how a member of that name begins. Records have the same ones."""
    return [(name, text(name) + b":") for name in sorted(names, key=lambda name: name.encode("utf-16be"))]


def _text(member: Any) -> Text:
    if isinstance(member, bytes):
        return Text(member)
    return member.text if isinstance(member, Canonical) else text(member)


def _is_plain(value: Any) -> bool:
    """Whether the standard library writes it as RFC 8785 does: no fractions, and numbers that a double counts."""
    kind = type(value)
    if kind is dict:
        return all(type(name) is str for name in value) and all(map(_is_plain, value.values()))
    if kind is list:
        return all(map(_is_plain, value))
    if kind is int:
        return -BEYOND_JSON < value < BEYOND_JSON  # type: ignore[no-any-return]
    return kind is str or kind is bool or value is None
