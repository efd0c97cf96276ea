"""One serialisation of a tensor, so that its digest means the same wherever it is taken.

A line of JSON with dtype and shape, then the little-endian elements in C order; for strings a JSON list.
"""

from __future__ import annotations

import json
from functools import lru_cache

import ml_dtypes
import numpy as np

from assayd.store.digests import digest_of
from assayd.types.arrays import Array

_STRING = "string"


def serialise(array: Array) -> bytes:
    """The bytes that stand for a tensor."""
    header, stored = _header(array.dtype, array.shape)
    if stored == object:
        return header + json.dumps(array.ravel().tolist()).encode()
    return header + array.astype(stored, copy=False).tobytes()


@lru_cache(256)
def _header(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> tuple[bytes, np.dtype[np.generic]]:
    """The line in front of the elements, and the dtype that they have there. Most tensors are like one before."""
    kind, stored = (_STRING, dtype) if dtype == object else (dtype.name, dtype.newbyteorder("<"))
    return json.dumps([kind, list(shape)]).encode() + b"\n", stored


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
