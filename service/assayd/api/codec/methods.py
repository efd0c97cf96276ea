"""Method messages to methods. Nothing here knows a single method: fields map by name, values by their message type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from assay.v1 import explain_service_pb2
from assayd.api.codec.enums import word
from assayd.api.codec.parts import decode_baseline, decode_bounds, decode_features, per_input
from assayd.api.codec.statistics import decode_sampling
from assayd.api.codec.tensors import Fetch, decode_tensor
from assayd.errors import InvalidRequest, MethodRevision
from assayd.methods import METHODS
from assayd.types.method import Method


def decode_method(request: explain_service_pb2.ExplainRequest, fetch: Fetch) -> tuple[str, Method]:
    """The request's method with its parameters. Raises InvalidRequest, InvalidTensor, MethodRevision."""
    name = request.WhichOneof("method")
    if name is None:
        raise InvalidRequest(f"no method is set; this server has {', '.join(METHODS)}", field="method")
    method = METHODS[name]
    if request.HasField("method_revision") and request.method_revision != method.revision:
        raise MethodRevision(
            f"revision {request.method_revision} of {name} is asked for and {method.revision} served",
            field="method_revision",
            metadata={"method": name, "served": str(method.revision)},
        )
    parameters = _parameters(getattr(request, name), name, fetch)
    for f in fields(cast(Any, method)):
        if f.name not in parameters and f.default is MISSING and f.default_factory is MISSING:
            raise InvalidRequest(f"{name} needs {f.name}", field=f"{name}.{f.name}")
    return name, method(**parameters)


def revisions() -> Mapping[str, int]:
    """Revision of each method that is served, by its name."""
    return {name: method.revision for name, method in METHODS.items()}


def _parameters(message: Message, path: str, fetch: Fetch) -> Mapping[str, Any]:
    """Fields that are set, by name; what isn't set is left to the method's own default."""
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = _value(message, cast(FieldDescriptor, field), f"{path}.{field.name}", fetch)
        if value is not None:
            found[field.name] = value
    return found


def _value(message: Message, field: FieldDescriptor, path: str, fetch: Fetch) -> Any:
    """A field's value for the method's parameter of the same name, or None where it isn't set."""
    value = getattr(message, field.name)
    # Whether a field repeats is read off its value: descriptors name it differently from one protobuf to the next.
    repeated = not isinstance(value, Message | bytes | str | bool | int | float)
    if repeated and not value:
        return None
    if field.has_presence and not message.HasField(field.name):
        return None
    if field.enum_type is not None:
        return word(field.enum_type, value)
    if field.message_type is None:
        return tuple(value) if repeated else value
    return (_REPEATED if repeated else _SINGLE)[field.message_type.name](value, path, fetch)


_REPEATED: Mapping[str, Callable[[Any, str, Fetch], Any]] = {
    "AxisSizes": lambda entries, path, _: per_input(entries, path, lambda e, _: tuple(int(n) for n in e.sizes)),
    "Baseline": lambda entries, path, fetch: per_input(entries, path, lambda e, at: decode_baseline(e, at, fetch)),
    "InputDouble": lambda entries, path, _: per_input(entries, path, lambda e, _: float(e.value)),
    "InputTensor": lambda entries, path, fetch: per_input(
        entries, path, lambda e, at: decode_tensor(e.tensor, f"{at}.tensor", fetch)
    ),
    "Bounds": lambda entries, path, fetch: per_input(entries, path, lambda e, at: decode_bounds(e, at, fetch)),
}
_SINGLE: Mapping[str, Callable[[Any, str, Fetch], Any]] = {
    "Features": decode_features,
    "Sampling": decode_sampling,
    "Tensor": decode_tensor,
}
"""By message type: what a parameter of that type becomes, given (value, path, fetch)."""
