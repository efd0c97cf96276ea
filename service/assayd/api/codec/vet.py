"""One look at every field of a request: nothing that is set may be ignored in silence.

Fields and enum values that this version doesn't know are refused by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from assayd.errors import InvalidRequest


def vet(message: Message, only: Collection[str] | None = None) -> None:
    """Raises InvalidRequest naming the first field that can't be honoured. only: of these top-level fields, where the
    others were vetted before.
    """
    for path, owner, field, value in _set_fields(message, "", only):
        if field is None:
            raise InvalidRequest(
                f"field number {value} of {owner.DESCRIPTOR.full_name} isn't known to this server", field=path or None
            )
        if field.enum_type is not None and int(str(value)) not in field.enum_type.values_by_number:
            raise InvalidRequest(f"{value} is no value of {field.enum_type.full_name}", field=path)


def vet_wrapped(message: Message) -> None:
    """The same of a message with a request inside: its fields are named as in the call that takes it alone."""
    try:
        vet(message)
    except InvalidRequest as error:
        error.field = (error.field or "").removeprefix("request.") or None
        raise


def _set_fields(
    message: Message, path: str, only: Collection[str] | None = None
) -> Iterator[tuple[str, Message, FieldDescriptor | None, object]]:
    """(path, message, field, value) of everything that is set, outside in; field None for an unknown number."""
    unknown = UnknownFieldSet(message)
    for n in range(len(unknown)):
        yield path, message, None, unknown[n].field_number
    for field, value in [(f, v) for f, v in message.ListFields() if only is None or f.name in only]:
        here = f"{path}.{field.name}" if path else field.name
        match _shape(field, not isinstance(value, _ONE)):
            case "scalar":
                yield here, message, field, value
            case "message":
                yield here, message, field, value
                yield from _set_fields(value, here)
            case "messages":
                for number, item in enumerate(value):
                    yield from _set_fields(item, f"{here}[{number}]")
            case "map":
                for key in value:
                    yield from _set_fields(value[key], f"{here}[{key[:80]}]")
            case "scalars":
                yield here, message, field, value[0]


_ONE = (bytes, str, bool, int, float, Message)


@cache
def _shape(field: FieldDescriptor, many: bool) -> str:
    """What a field's values are: "scalar", "scalars", "message", "messages", "map" of messages, or "plain map"."""
    inner = field.message_type
    if inner is None:
        return "scalars" if many else "scalar"
    if inner.GetOptions().map_entry:
        return "map" if inner.fields_by_name["value"].message_type is not None else "plain map"
    return "messages" if many else "message"
