"""Messages with every field set, by their descriptors: one for each field, since of a oneof only one can be set."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tests.conformance.tracked import Path

Values = Mapping[str, Any]
"""By a field's full name, or by the end of its path: a value that the server takes. None leaves the field out."""


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def inner(field: FieldDescriptor) -> Descriptor | None:
    """The message that a field holds, be it one, many or by key."""
    if is_map(field):
        return field.message_type.fields_by_name["value"].message_type
    return field.message_type


def paths(message: Descriptor, before: Path = ()) -> Iterator[Path]:
    """Every field below a message; fields of well-known types are theirs, not ours."""
    for field in message.fields:
        here = (*before, field.name)
        yield here
        below = inner(field)
        if below is not None and below.full_name.startswith("assay.v1."):
            yield from paths(below, here)


def populate(kind: type[Message], must: Path, values: Values, exclude: Callable[[Path, Path], bool]) -> Message:
    """A message in which `must` is set, and all that can stand beside it. exclude(path, must): what can't."""
    message = kind()
    _fill(message, (), must, values, exclude)
    return message


def _fill(message: Message, at: Path, must: Path, values: Values, exclude: Callable[[Path, Path], bool]) -> None:
    chosen = _chosen(message.DESCRIPTOR, at, must)
    for field in message.DESCRIPTOR.fields:
        here = (*at, field.name)
        oneof = field.containing_oneof
        if oneof is not None and len(oneof.fields) > 1 and chosen[oneof.name] != field.name:
            continue
        wanted = must[: len(here)] == here
        if exclude(here, must) and not wanted:
            continue
        given = _given(values, here, field)
        if inner(field) is not None:
            part = _part(message, field)
            if not part.DESCRIPTOR.full_name.startswith("assay.v1."):
                part.SetInParent()
                if isinstance(given, Message):
                    part.MergeFromString(given.SerializeToString())
                continue
            _fill(part, here, must, values, exclude)
            part.SetInParent()
        elif given is None:
            continue
        elif isinstance(given, list):
            getattr(message, field.name).extend(given)
        else:
            setattr(message, field.name, given)


def _part(message: Message, field: FieldDescriptor) -> Message:
    holder = getattr(message, field.name)
    if is_map(field):
        return holder["x"]
    return holder if isinstance(holder, Message) else holder.add()


def _chosen(message: Descriptor, at: Path, must: Path) -> dict[str, str]:
    """Which member of each oneof is set: the one that is wanted, or else the first."""
    chosen = {}
    for oneof in message.oneofs:
        names = [field.name for field in oneof.fields]
        wanted = must[len(at)] if len(must) > len(at) and must[: len(at)] == at else ""
        chosen[oneof.name] = wanted if wanted in names else names[0]
    return chosen


def _given(values: Values, here: Path, field: FieldDescriptor) -> Any:
    for end in range(len(here)):
        known = values.get(".".join(here[end:]), values)
        if known is not values:
            return known
    if field.full_name in values:
        return values[field.full_name]
    return _any(field)


def _any(field: FieldDescriptor) -> Any:
    kinds = FieldDescriptor
    if field.enum_type is not None:
        return 1
    value: Any = {kinds.CPPTYPE_STRING: "x", kinds.CPPTYPE_BOOL: True}.get(field.cpp_type, 1)
    if field.type == kinds.TYPE_BYTES:
        value = b"x"
    return [value] if field.is_repeated else value
