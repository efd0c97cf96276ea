"""Parameters that may differ between inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, TypeVar

T = TypeVar("T")

PerInput: TypeAlias = T | Mapping[str, T]
"""One value for every explained input, or {input name: value}."""


def entries(value: PerInput[T]) -> list[tuple[str, T]]:
    """(input name, value) pairs; the name is "" where one value holds for every input."""
    if isinstance(value, Mapping):
        return list(value.items())
    return [("", value)]
