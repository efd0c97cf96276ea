"""What makes two requests the same: model, method, parameters, seed, targets; not who asks, when and how urgently."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from assay.kept.digests import message_digest, tensors_in
from assay.requests import explain_request
from assay.tensors import Array, from_tensor, is_digest
from assay.v1 import tensor_pb2

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from assay.methods import Method
    from assay.models import Model
    from assay.requests import Settings
    from assay.targets import Targets

_OF_THE_CALL = ("inputs", "keys", "request_id", "priority", "on_instance_error", "validate_only")
_MOST_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Identity:
    """A request without its instances.

    Attributes:
        said: as JSON: digests of `model` and spec, `request` in protobuf's JSON with tensors by digest, and
            `by_reference`, the digests of those that were sent by digest alone.
        tensors: digest -> the other tensors in it.
    """

    said: Mapping[str, Any]
    tensors: Mapping[str, Array]

    @classmethod
    def of(cls, model: Model, method: Method, target: Targets = None, **settings: Unpack[Settings]) -> Identity:
        """That of a request to explain; InvalidArgument for what can't be sent."""
        message = explain_request("", {}, method, target, **settings)
        for name in _OF_THE_CALL:
            message.ClearField(name)
        tensors: dict[str, Array] = {}
        referred = set()
        for tensor in tensors_in(message):
            digest = message_digest(tensor)
            if tensor.WhichOneof("content") == "digest":
                referred.add(digest)
            else:
                tensors[digest] = from_tensor(tensor)
            tensor.CopyFrom(tensor_pb2.Tensor(digest=digest))
        message.ClearField("instance_targets")  # each instance's own
        said = {
            "model": {"digest": model.digest, "spec_digest": model.spec_digest},
            "request": json_format.MessageToDict(message, preserving_proto_field_name=True),
            "by_reference": sorted(referred - set(tensors)),
        }
        return cls(said, tensors)

    @property
    def name(self) -> str:
        """16 hex digits that differ where the requests do."""
        essence = {"model": self.said["model"], "request": self.said["request"]}
        return hashlib.sha256(json.dumps(essence, sort_keys=True).encode()).hexdigest()[:16]

    def differences_from(self, record: Mapping[str, Any]) -> str:
        """What a record says to be of another request; "" where it is of this one."""
        asked = {k: v for k, v in record["request"].items() if k not in (*_OF_THE_CALL, "model")}
        if "targets" not in self.said["request"]:
            asked.pop("targets", None)  # the instance's own
        model = {name: record["model"][name] for name in self.said["model"]}
        return differences(self.said, {"model": model, "request": asked})


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two of `Identity.said`, for people: "seed 1 became 2"; "" where nothing does."""
    old, new = (dict(_leaves({"model": s["model"], **s["request"]}, "")) for s in (before, now))
    changed = [
        f"{name} {_short(old.get(name))} became {_short(new.get(name))}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
    more = f", and {len(changed) - _MOST_SHOWN} more" if len(changed) > _MOST_SHOWN else ""
    return ", ".join(changed[:_MOST_SHOWN]) + more


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, value) of all that is no container; a tensor is its digest, whatever else is known of it."""
    if isinstance(value, Mapping) and is_digest(value.get("digest")) and "spec_digest" not in value:
        yield path, value["digest"]
    elif isinstance(value, Mapping):
        if not value:  # a method without parameters is still the method asked for
            yield path, "set"
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield from _leaves(item, f"{path}[{n}]")
    else:
        yield path, value


def _short(value: Any) -> str:
    return "unset" if value is None else f"{value[:19]}…" if is_digest(value) else repr(value)
