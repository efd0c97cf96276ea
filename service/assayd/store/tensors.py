"""One serialisation of a tensor, so that its digest means the same wherever it is taken.

A line of JSON with dtype and shape, then the little-endian elements in C order; for strings a JSON list.
"""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np

from assayd.store.digests import digest_of
from assayd.types.arrays import Array

_STRING = "string"


def serialise(array: Array) -> bytes:
    """The bytes that stand for a tensor."""
    if array.dtype == object:
        kind, content = _STRING, json.dumps(array.ravel().tolist()).encode()
    else:
        kind, content = array.dtype.name, array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return json.dumps([kind, list(array.shape)]).encode() + b"\n" + content


def deserialise(data: bytes) -> Array:
    """The tensor, read-only."""
    header, _, content = data.partition(b"\n")
    kind, shape = json.loads(header)
    if kind == _STRING:
        return np.array(json.loads(content), dtype=object).reshape(shape)
    dtype = np.dtype(ml_dtypes.bfloat16) if kind == "bfloat16" else np.dtype(kind).newbyteorder("<")
    return np.frombuffer(content, dtype=dtype).reshape(shape)


def tensor_digest(array: Array) -> str:
    """The digest under which PutTensor would store it."""
    return digest_of(serialise(array))
