"""The digest of a tensor as the server takes it, so that a record's digests can be checked against arrays.

It is taken over a line of JSON with dtype and shape, then the little-endian elements in C order; for strings a JSON
list.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from google.protobuf.message import Message
from numpy.typing import ArrayLike

from assay.errors import DataLoss
from assay.tensors import Array, dtype_name, from_tensor, is_digest, to_tensor
from assay.v1 import tensor_pb2

_STRING = "string"
_NUMBERS: Mapping[str, Any] = {
    dtype_name(n): n for n in tensor_pb2.DataType.values() if dtype_name(n) not in ("", "str")
}


def digest_of(data: bytes) -> str:
    """The digest of bytes, as it stands everywhere: "sha256:" and 64 hex digits."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def tensor_digest(array: ArrayLike) -> str:
    """The digest of an array, the same that `Client.put_tensor` returns and that records hold."""
    return message_digest(to_tensor(array))


def message_digest(tensor: tensor_pb2.Tensor) -> str:
    """The digest of a tensor of the wire; its own where it refers to a stored one."""
    return tensor.digest if tensor.WhichOneof("content") == "digest" else digest_of(serialise(tensor))


def serialise(tensor: tensor_pb2.Tensor) -> bytes:
    """The bytes that the digest of a tensor with its content is taken over."""
    if tensor.dtype == tensor_pb2.DATA_TYPE_STRING:
        kind, content = _STRING, json.dumps(list(tensor.strings.values)).encode()
    else:
        kind, content = dtype_name(tensor.dtype), tensor.data
    return json.dumps([kind, list(tensor.shape)]).encode() + b"\n" + content


def deserialise(data: bytes) -> Array:
    """The array that `serialise` was given, read-only; DataLoss where the bytes are none."""
    header, _, content = data.partition(b"\n")
    try:
        kind, shape = json.loads(header)
        if kind == _STRING:
            texts = np.empty(len(listed := json.loads(content)), dtype=object)
            texts[:] = listed
            return texts.reshape(shape)
        return from_tensor(tensor_pb2.Tensor(dtype=_NUMBERS[kind], shape=shape, data=content))
    except (KeyError, TypeError, ValueError) as error:
        raise DataLoss("these bytes are no tensor") from error


def tensors_in(message: Message) -> Iterator[tensor_pb2.Tensor]:
    """Every tensor that is set anywhere in a message, open to change."""
    if isinstance(message, tensor_pb2.Tensor):
        yield message
        return
    for field, value in message.ListFields():
        if isinstance(value, Message):
            yield from tensors_in(value)
        elif field.message_type is not None:
            entries = value.values() if field.message_type.GetOptions().map_entry else value
            for item in entries:
                if isinstance(item, Message):
                    yield from tensors_in(item)


def digests_in(value: object) -> Iterator[str]:
    """Every digest that stands as a value anywhere in JSON."""
    if isinstance(value, str) and is_digest(value):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from digests_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from digests_in(item)
