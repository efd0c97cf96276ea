"""Tensors: dtype, shape and little-endian bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

from assay.v1 import tensor_pb2 as pb
from assayd.errors import InvalidTensor, within
from assayd.store.digests import normal_digest
from assayd.types.arrays import Array

Fetch: TypeAlias = Callable[[str], Array]
"""A stored tensor by its digest."""

_DTYPES: Mapping[pb.DataType, np.dtype[Any]] = {
    pb.DATA_TYPE_FLOAT: np.dtype("<f4"),
    pb.DATA_TYPE_UINT8: np.dtype("u1"),
    pb.DATA_TYPE_INT8: np.dtype("i1"),
    pb.DATA_TYPE_UINT16: np.dtype("<u2"),
    pb.DATA_TYPE_INT16: np.dtype("<i2"),
    pb.DATA_TYPE_INT32: np.dtype("<i4"),
    pb.DATA_TYPE_INT64: np.dtype("<i8"),
    pb.DATA_TYPE_STRING: np.dtype(object),
    pb.DATA_TYPE_BOOL: np.dtype(bool),
    pb.DATA_TYPE_FLOAT16: np.dtype("<f2"),
    pb.DATA_TYPE_DOUBLE: np.dtype("<f8"),
    pb.DATA_TYPE_UINT32: np.dtype("<u4"),
    pb.DATA_TYPE_UINT64: np.dtype("<u8"),
    pb.DATA_TYPE_BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}
_NUMBERS = {dtype: number for number, dtype in _DTYPES.items()}
_MAX_RANK = 32
_MAX_ELEMENTS = 2**48


def data_type(dtype: np.dtype[Any] | None) -> pb.DataType:
    """The wire's number for a dtype; None is bfloat16."""
    return pb.DATA_TYPE_BFLOAT16 if dtype is None else _NUMBERS[dtype]


def encode_tensor(array: Array) -> pb.Tensor:
    """An array as a message."""
    shape = [int(n) for n in array.shape]
    if array.dtype == object:
        strings = pb.StringData(values=[str(v) for v in array.ravel().tolist()])
        return pb.Tensor(dtype=pb.DATA_TYPE_STRING, shape=shape, strings=strings)
    # tobytes is in C order whatever the array's; byte order is the machine's, so it is set.
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return pb.Tensor(dtype=data_type(array.dtype), shape=shape, data=little.tobytes())


def decode_tensor(tensor: pb.Tensor, field: str, fetch: Fetch) -> Array:
    """A message as an array, read-only where it came as bytes. Raises InvalidTensor naming the field."""
    content = tensor.WhichOneof("content")
    if content == "digest":
        return _fetched(tensor, field, fetch)
    dtype = _DTYPES.get(tensor.dtype)
    if dtype is None:
        raise InvalidTensor("dtype is missing", field=f"{field}.dtype")
    shape = _shape(tensor, f"{field}.shape")
    if dtype == object:
        values = tensor.strings.values
        if content != "strings" or len(values) != math.prod(shape):
            raise InvalidTensor(f"{len(values)} strings for shape {list(shape)}", field=f"{field}.strings")
        return np.array(list(values), dtype=object).reshape(shape)
    if content == "strings":
        raise InvalidTensor("strings stand in a tensor of another dtype than STRING", field=f"{field}.strings")
    need = math.prod(shape) * dtype.itemsize
    if len(tensor.data) != need:
        raise InvalidTensor(
            f"{len(tensor.data)} bytes for shape {list(shape)} of {dtype.name}, which takes {need}",
            field=f"{field}.data",
        )
    array = np.frombuffer(tensor.data, dtype=dtype).reshape(shape)
    if dtype == bool and array.view(np.uint8).max(initial=0) > 1:
        raise InvalidTensor("a BOOL element is one byte, 0 or 1", field=f"{field}.data")
    return array


def _shape(tensor: pb.Tensor, field: str) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    if len(shape) > _MAX_RANK:
        raise InvalidTensor(f"{len(shape)} axes are too many", field=field)
    if any(n < 0 for n in shape):
        raise InvalidTensor(f"shape {list(shape)} has a negative extent", field=field)
    if 0 in shape and math.prod(max(n, 1) for n in shape) > _MAX_ELEMENTS:  # numpy minds, though there is nothing
        raise InvalidTensor(f"the extents of shape {list(shape)} are too large", field=field)
    return shape


def _fetched(tensor: pb.Tensor, field: str, fetch: Fetch) -> Array:
    with within(f"{field}.digest"):
        array = fetch(normal_digest(tensor.digest))
    stated = _DTYPES.get(tensor.dtype)
    if stated is not None and stated != array.dtype:
        raise InvalidTensor(f"the stored tensor is {array.dtype.name}, not {stated.name}", field=f"{field}.dtype")
    if tensor.shape and tuple(tensor.shape) != array.shape:
        raise InvalidTensor(
            f"the stored tensor has shape {list(array.shape)}, not {list(tensor.shape)}", field=f"{field}.shape"
        )
    return array
