"""numpy arrays to tensors of the wire and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import Internal, invalid
from assay.v1 import tensor_pb2

Array: TypeAlias = NDArray[Any]
"""Any dtype a tensor can have; strings are object arrays of `str`."""

_STRING, _BFLOAT16 = tensor_pb2.DATA_TYPE_STRING, tensor_pb2.DATA_TYPE_BFLOAT16

_NAMES: Mapping[int, str] = {
    tensor_pb2.DATA_TYPE_FLOAT: "float32",
    tensor_pb2.DATA_TYPE_UINT8: "uint8",
    tensor_pb2.DATA_TYPE_INT8: "int8",
    tensor_pb2.DATA_TYPE_UINT16: "uint16",
    tensor_pb2.DATA_TYPE_INT16: "int16",
    tensor_pb2.DATA_TYPE_INT32: "int32",
    tensor_pb2.DATA_TYPE_INT64: "int64",
    _STRING: "str",
    tensor_pb2.DATA_TYPE_BOOL: "bool",
    tensor_pb2.DATA_TYPE_FLOAT16: "float16",
    tensor_pb2.DATA_TYPE_DOUBLE: "float64",
    tensor_pb2.DATA_TYPE_UINT32: "uint32",
    tensor_pb2.DATA_TYPE_UINT64: "uint64",
    _BFLOAT16: "bfloat16",
}
_NUMBERS: Mapping[str, Any] = {name: number for number, name in _NAMES.items()}


def dtype_name(number: int) -> str:
    """numpy's name of a wire dtype ("str" for strings, "bfloat16" as ml_dtypes has it); "" where it isn't known."""
    return _NAMES.get(number, "")


def is_digest(value: object) -> bool:
    """Whether a value is written like the digest of a stored tensor: "sha256:" and 64 hex digits."""
    if not isinstance(value, str) or not value.startswith("sha256:"):
        return False
    digits = value.removeprefix("sha256:")
    return len(digits) == 64 and all(c in "0123456789abcdef" for c in digits)


def to_tensor(value: ArrayLike, field: str = "tensor") -> tensor_pb2.Tensor:
    """The tensor of an array of any shape, strides and byte order, or a reference to a stored one for a digest.

    Strings may stand in a numpy string array or an object array of `str`; bfloat16 is ml_dtypes'. InvalidArgument, with
    `field`, for a dtype that has no place on the wire.
    """
    if is_digest(value):
        return tensor_pb2.Tensor(digest=str(value))
    try:
        array = np.asarray(value)
    except ValueError as error:  # nested lists of different lengths
        raise invalid(field, str(error)) from error
    if array.dtype.kind in "UOT":
        texts = array.ravel().tolist()
        if not all(isinstance(text, str) for text in texts):
            raise invalid(field, "an object array may hold strings only")
        return tensor_pb2.Tensor(dtype=_STRING, shape=array.shape, strings=tensor_pb2.StringData(values=texts))
    number = _NUMBERS.get(array.dtype.name)
    if number is None:
        raise invalid(field, f"dtype {array.dtype} can't be sent; use one of {', '.join(_NUMBERS)}")
    bits = array.view(np.uint16) if number == _BFLOAT16 else array
    data = bits.astype(bits.dtype.newbyteorder("<"), copy=False).tobytes()
    return tensor_pb2.Tensor(dtype=number, shape=array.shape, data=data)


def floating(value: ArrayLike) -> ArrayLike:
    """The value with integers as float64, for parameters that are floating wherever they are arrays."""
    if is_digest(value):
        return value
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind in "iub" else array


def from_tensor(tensor: tensor_pb2.Tensor, contents: Mapping[str, Any] | None = None) -> Array:
    """The array a tensor holds, in native byte order; read-only, since it shares the message's bytes.

    `contents` has the bytes of tensors that came in chunks, by digest. bfloat16 needs ml_dtypes; without it the same
    values come as float32. Internal if the bytes don't fit the shape, or a digest names nothing that came.
    """
    shape = tuple(tensor.shape)
    if any(extent < 0 for extent in shape):
        raise Internal(f"the server sent a tensor of shape {shape}")
    if tensor.WhichOneof("content") == "strings":
        texts = np.array(list(tensor.strings.values), dtype=object)
        _check(texts.size, math.prod(shape), "strings")
        return texts.reshape(shape)
    name = dtype_name(tensor.dtype)
    if not name or tensor.dtype == _STRING:
        raise Internal(f"the server sent a tensor of dtype {tensor.dtype} without strings")
    data = tensor.data
    if tensor.WhichOneof("content") == "digest":
        if contents is None or tensor.digest not in contents:
            raise Internal(f"the server refers to {tensor.digest}, which it never sent")
        data = contents[tensor.digest]
    dtype = np.dtype("<u2") if tensor.dtype == _BFLOAT16 else np.dtype(name).newbyteorder("<")
    _check(len(data), math.prod(shape) * dtype.itemsize, "bytes")
    array: Array = np.frombuffer(data, dtype).reshape(shape)
    if tensor.dtype == _BFLOAT16:
        array = _bfloat16(array)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    array.flags.writeable = False
    return array


def _check(held: int, wanted: int, unit: str) -> None:
    if held != wanted:
        raise Internal(f"the server sent a tensor of {held} {unit} whose shape wants {wanted}")


def _bfloat16(bits: Array) -> Array:
    native = bits.astype(np.uint16)
    try:
        import ml_dtypes
    except ImportError:  # a float32 with the lower half zero is the same number
        return (native.astype(np.uint32) << 16).view(np.float32)
    return native.view(ml_dtypes.bfloat16)
