"""What is made of samples that other instances may have as well: made once, and the last of it kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from threading import Lock
from typing import ParamSpec, Protocol, TypeVar

from cachetools import LRUCache, cached
from cachetools.keys import hashkey

_MOST_BYTES, _BESIDE_BYTES = 32 * 2**20, 500
MOST_SHARED_BYTES = 4 * 2**20
"""Of a sample that is kept. What is made of it holds on to it, and is counted by itself alone."""


class Sized(Protocol):
    """What can be kept. It never changes, as many use it at once."""

    @property
    def nbytes(self) -> int:
        """That its arrays take, but for those of what it was made of."""


P = ParamSpec("P")
T = TypeVar("T", bound=Sized)


def size_of(value: Sized) -> int:
    """With what is held beside its arrays."""
    return _BESIDE_BYTES + value.nbytes


_memory: LRUCache[Hashable, Sized] = LRUCache(_MOST_BYTES, getsizeof=size_of)
_lock = Lock()


def kept(function: Callable[P, T], key: Callable[..., tuple[Hashable, ...]] = hashkey) -> Callable[P, T]:
    """The function, which looks up what it gave for arguments of the same key. From any thread."""

    def named(*args: P.args, **kwargs: P.kwargs) -> tuple[Hashable, ...]:
        return (function.__qualname__, *key(*args, **kwargs))

    return cached(_memory, key=named, lock=_lock)(function)


def recall(kind: type[T], *of: Hashable) -> T | None:
    """What was kept of something, if it is still there."""
    with _lock:
        found = _memory.get((kind, *of))
    return found if isinstance(found, kind) else None


def keep(value: Sized, *of: Hashable) -> None:
    """Keep something, unless it is larger than all that is kept."""
    with _lock, suppress(ValueError):
        _memory[(type(value), *of)] = value


def forget() -> None:
    """Keep nothing of what is there."""
    with _lock:
        _memory.clear()
