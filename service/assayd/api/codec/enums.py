"""Enum values to the domain's words and back: OUTPUT_KIND_TOP_LEFT <-> "top_left"."""

from __future__ import annotations

import re

from google.protobuf.descriptor import EnumDescriptor


def prefix(enum: EnumDescriptor) -> str:
    """GroupKind -> "GROUP_KIND_"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.name).upper() + "_"


def word(enum: EnumDescriptor, number: int) -> str | None:
    """A value's word, or None for *_UNSPECIFIED."""
    if number == 0:
        return None
    return enum.values_by_number[number].name.removeprefix(prefix(enum)).lower()


def value_name(enum: EnumDescriptor, of_word: str) -> str:
    """A word's value, by its full name, which message constructors take."""
    return prefix(enum) + of_word.upper()
