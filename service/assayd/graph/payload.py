"""Does a tensor's payload fit its dims? Checked before anything trusts either."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from onnx import SparseTensorProto, TensorProto, numpy_helper

from assayd.errors import InvalidModel

T = TensorProto

_BITS_BY_NAME = {
    "FLOAT": 32, "DOUBLE": 64, "FLOAT16": 16, "BFLOAT16": 16, "COMPLEX64": 64, "COMPLEX128": 128, "BOOL": 8,
    "UINT8": 8, "INT8": 8, "UINT16": 16, "INT16": 16, "UINT32": 32, "INT32": 32, "UINT64": 64, "INT64": 64,
    "FLOAT8E4M3FN": 8, "FLOAT8E4M3FNUZ": 8, "FLOAT8E5M2": 8, "FLOAT8E5M2FNUZ": 8, "FLOAT8E8M0": 8,
    "UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2,
}  # fmt: skip

# By name, because older onnx lacks the newest types.
BITS: dict[int, int] = {kind: _BITS_BY_NAME[name] for name, kind in T.DataType.items() if name in _BITS_BY_NAME}
"""Bits an element takes in raw_data."""

_MAX_BYTES = 2**62


def shown(name: str) -> str:
    """A name from the file, fit for a message: quoted, one line, at most 80 characters."""
    return repr(name if len(name) <= 80 else name[:77] + "...")


def _typed_count(tensor: TensorProto) -> tuple[int, int]:
    """Values in the typed field that the dtype uses, and how many an element takes (-n: n elements share one)."""
    kind = tensor.data_type
    if kind in (T.FLOAT, T.COMPLEX64):
        return len(tensor.float_data), 2 if kind == T.COMPLEX64 else 1
    if kind in (T.DOUBLE, T.COMPLEX128):
        return len(tensor.double_data), 2 if kind == T.COMPLEX128 else 1
    if kind == T.INT64:
        return len(tensor.int64_data), 1
    if kind in (T.UINT32, T.UINT64):
        return len(tensor.uint64_data), 1
    return len(tensor.int32_data), -(8 // BITS[kind]) if BITS[kind] < 8 else 1


def check_sparse(sparse: SparseTensorProto) -> int:
    """Bytes that it takes made dense. InvalidModel as `check_payload`, or where its indices lead outside."""
    values, indices, name = sparse.values, sparse.indices, shown(sparse.values.name)
    check_payload(values)
    check_payload(indices)
    dims = list(sparse.dims)
    if any(dim < 0 for dim in dims):
        raise InvalidModel(f"sparse tensor {name} has a negative extent: {dims[:8]}", field="chunk")
    count = _counted(dims, f"sparse tensor {name}")
    found = values.dims[0] if len(values.dims) == 1 else -1
    if found < 0 or list(indices.dims) not in ([found], [found, len(dims)]) or indices.data_type != T.INT64:
        raise InvalidModel(
            f"sparse tensor {name} needs values [n] and indices INT64 [n] or [n, {len(dims)}]; it has "
            f"{list(values.dims)[:8]} and {list(indices.dims)[:8]}",
            field="chunk",
        )
    if found:
        places = numpy_helper.to_array(indices)
        most = np.array(dims) if places.ndim == 2 else count
        if (places < 0).any() or (places >= most).any():
            raise InvalidModel(f"sparse tensor {name} has an index outside its shape {dims[:8]}", field="chunk")
    return (count * BITS.get(values.data_type, 8) + 7) // 8


def _counted(dims: Sequence[int], name: str) -> int:
    count = prod(dims)
    if count > _MAX_BYTES // 16:
        raise InvalidModel(f"{name} has more elements than can be counted: {list(dims)[:8]}", field="chunk")
    return count


def check_payload(tensor: TensorProto) -> int:
    """Bytes of its elements. InvalidModel for external data, negative or huge dims, unknown dtypes, or a payload that
    doesn't fit dims.
    """
    name = shown(tensor.name)
    if tensor.data_location == T.EXTERNAL or tensor.external_data:
        raise InvalidModel(
            f"tensor {name} keeps its data outside the file; save the model as one file with all weights inside",
            field="chunk",
        )
    if tensor.HasField("segment"):
        raise InvalidModel(f"tensor {name} is a segment of a larger one; give it whole", field="chunk")
    if any(dim < 0 for dim in tensor.dims):
        raise InvalidModel(f"tensor {name} has a negative extent: {list(tensor.dims)[:8]}", field="chunk")
    if tensor.data_type != T.STRING and tensor.data_type not in BITS:
        raise InvalidModel(f"tensor {name} has the unknown element type {tensor.data_type}", field="chunk")
    count = _counted(tensor.dims, f"tensor {name}")
    if tensor.data_type == T.STRING:
        found, wanted = len(tensor.string_data), count
    elif tensor.HasField("raw_data"):
        found, wanted = len(tensor.raw_data), (count * BITS[tensor.data_type] + 7) // 8
    else:
        found, per = _typed_count(tensor)
        wanted = count * per if per > 0 else -(-count // -per)
    if found != wanted:
        unit = "bytes" if tensor.HasField("raw_data") else "values"
        raise InvalidModel(
            f"tensor {name} holds {found} {unit}, but its shape {list(tensor.dims)[:8]} needs {wanted}", field="chunk"
        )
    if tensor.data_type == T.STRING:
        return sum(map(len, tensor.string_data))
    return (count * BITS[tensor.data_type] + 7) // 8
