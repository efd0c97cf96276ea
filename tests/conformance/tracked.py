"""Messages that write down which of their fields are read.

Reading is taking the value: whether a field is set says something only of messages that have no fields of their own.
"""

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

Path = tuple[str, ...]


class Tracked:
    """Stands for a message; code that isn't told can't see the difference. `blind` paths are read unseen."""

    def __init__(
        self, message: Message, reads: set[Path], path: Path = (), blind: frozenset[Path] = frozenset()
    ) -> None:
        self._hidden = message, reads, path, blind

    @property
    def __class__(self) -> type:  # so that isinstance(…, Message) holds
        return type(self._hidden[0])

    def __getattr__(self, name: str) -> Any:
        message, _, path, _ = self._hidden
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            return getattr(message, name)
        value = getattr(message, name)
        here = (*path, name)
        if isinstance(value, Message):
            self._saw(here)
            return self._wrapped(value, here)
        if isinstance(value, bytes | str | bool | int | float):
            self._saw(here)
            return value
        return TrackedMany(value, self, here)

    def HasField(self, name: str) -> bool:  # noqa: N802 - protobuf's name
        message, _, path, _ = self._hidden
        self._if_empty(message, name, path)
        return message.HasField(name)

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802 - protobuf's name
        message, _, path, _ = self._hidden
        name = message.WhichOneof(group)
        if name is not None:
            self._if_empty(message, name, path)
        return name

    def _if_empty(self, message: Message, name: str, path: Path) -> None:
        kind = message.DESCRIPTOR.fields_by_name[name].message_type
        if kind is not None and not kind.fields:
            self._saw((*path, name))

    def _saw(self, path: Path) -> None:
        _, reads, _, blind = self._hidden
        if path not in blind:
            reads.add(path)

    def _wrapped(self, value: Any, path: Path) -> Any:
        _, reads, _, blind = self._hidden
        return Tracked(value, reads, path, blind) if isinstance(value, Message) else value


class TrackedMany:
    """A repeated field or map; it is read when its items are taken, not when it is counted."""

    def __init__(self, items: Any, owner: Tracked, path: Path) -> None:
        self._items, self._owner, self._path = items, owner, path

    def _take(self, item: Any) -> Any:
        self._owner._saw(self._path)
        return self._owner._wrapped(item, self._path)

    def __len__(self) -> int:
        return len(self._items)

    def __bool__(self) -> bool:
        return bool(len(self._items))

    def __iter__(self) -> Iterator[Any]:
        return (self._take(item) for item in self._items)

    def __getitem__(self, key: Any) -> Any:
        return self._take(self._items[key])

    def items(self) -> Iterator[Any]:
        return ((key, self._take(value)) for key, value in self._items.items())

    def values(self) -> Iterator[Any]:
        return (self._take(value) for value in self._items.values())


def untracked(message: Any) -> Any:
    """The message that a tracked one stands for."""
    hidden = object.__getattribute__(message, "__dict__").get("_hidden") if type(message) is Tracked else None
    return hidden[0] if hidden else message
