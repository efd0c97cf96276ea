"""A request as it came, small enough for a record: protobuf's JSON, tensors by digest, instances left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from assay.v1 import explain_service_pb2 as pb
from assay.v1.tensor_pb2 import Tensor
from assayd.api.codec.tensors import Fetch, data_type, decode_tensor
from assayd.explain.canonical import Canonical
from assayd.store.tensors import tensor_digest

OF_INSTANCES = ("inputs", "keys", "instance_targets", "request_id")
"""Fields that differ from one request to the next though both ask the same."""

_SMALL_BYTES = 32 * 1024


def without_instances(message: pb.ExplainRequest) -> pb.ExplainRequest:
    """A copy of what is the same for all instances."""
    settings = pb.ExplainRequest()
    if message.ByteSize() <= _SMALL_BYTES:
        settings.CopyFrom(message)
        for name in OF_INSTANCES:
            settings.ClearField(name)
        return settings
    # Field by field: the inputs, which may be large, aren't copied.
    wanted = [field.name for field, _ in message.ListFields() if field.name not in OF_INSTANCES]
    FieldMask(paths=wanted).MergeMessage(message, settings)
    return settings


def said(settings: pb.ExplainRequest, fetch: Fetch) -> Canonical:
    """What a record says was asked of every instance. settings: `without_instances`, decoded before, so that nothing in
    it can be wrong; its tensors become digests.
    """
    return Canonical(_json(settings, fetch))


def own_targets(message: pb.ExplainRequest, fetch: Fetch) -> list[list[dict[str, Any]]]:
    """What a record says were the targets of each instance, where they have their own."""
    return [_json(pb.ExplainRequest(targets=entry.targets), fetch)["targets"] for entry in message.instance_targets]


def _json(message: pb.ExplainRequest, fetch: Fetch) -> dict[str, Any]:
    """A message whose tensors become digests."""
    for tensor in _tensors(message):
        array = decode_tensor(tensor, "", fetch)
        by_digest = Tensor(dtype=data_type(array.dtype), shape=array.shape, digest=tensor_digest(array))
        tensor.CopyFrom(by_digest)
    found: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return found


def _tensors(message: Message) -> Iterator[Tensor]:
    """Every tensor in it that is set."""
    if isinstance(message, Tensor):
        yield message
        return
    for field, value in message.ListFields():
        if isinstance(value, Message):
            yield from _tensors(value)
        elif field.message_type is not None:
            for item in value:
                yield from _tensors(item)
