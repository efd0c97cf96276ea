"""Enums of the wire as the short words that callers write: EDGE_RULE_CLIP is "clip"."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import EnumDescriptor

from assay.errors import invalid


def enum_number(enum: EnumDescriptor, word: str, field: str) -> Any:
    """The number of a word in any case; InvalidArgument, listing the words, if it has none.

    Value 0 of every enum is called PREFIX_UNSPECIFIED and is no word. Typed Any, since the stubs give each enum a class
    of its own, which isn't there when the program runs.
    """
    prefix = _prefix(enum)
    words = {value.name.removeprefix(prefix).lower(): value.number for value in enum.values if value.number}
    number = words.get(str(word).lower())
    if number is None:
        raise invalid(field, f"{word!r} is none of {', '.join(map(repr, words))}")
    return number


def enum_word(enum: EnumDescriptor, number: int) -> str:
    """The word of a number; "" for 0, and the number itself where a newer server knows more than this client."""
    if number == 0:
        return ""
    value = enum.values_by_number.get(number)
    return value.name.removeprefix(_prefix(enum)).lower() if value else str(number)


def _prefix(enum: EnumDescriptor) -> str:
    return str(enum.values_by_number[0].name.removesuffix("UNSPECIFIED"))
