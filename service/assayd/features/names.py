"""Names that a cut gives to its features."""

from __future__ import annotations

from collections.abc import Callable, Iterable

MAX_NAMES = 4096
"""A cut into more features than this names none of them: nobody reads them, and they would outweigh the values."""


def named(count: int, make: Callable[[], Iterable[str]]) -> tuple[str, ...]:
    """Names of `count` features, made only where there are no more than MAX_NAMES; else ()."""
    return tuple(make()) if count <= MAX_NAMES else ()
