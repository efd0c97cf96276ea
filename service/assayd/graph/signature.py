"""What callers are told of a model's inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import GraphProto, TensorProto, ValueInfoProto, helper

from assayd.errors import InvalidModel
from assayd.graph.levels import levels_of
from assayd.graph.open_batch import Batch
from assayd.graph.payload import shown
from assayd.graph.places import Dims, Place, dims_of
from assayd.graph.vocabulary import vocabularies
from assayd.types.model import MOST_AXES, MOST_EXTENT, Signature, TensorSignature


def _dtype(value: ValueInfoProto) -> np.dtype[np.generic] | None:
    """numpy's dtype, object for strings, None for what numpy lacks (bfloat16, sequences, maps)."""
    elem = value.type.tensor_type.elem_type if value.type.HasField("tensor_type") else TensorProto.UNDEFINED
    if elem == TensorProto.STRING:
        return np.dtype(object)
    try:
        dtype = helper.tensor_dtype_to_np_dtype(elem)
    except (KeyError, ValueError):
        return None
    return dtype if dtype.isbuiltin == 1 else None


def _instance(dims: Dims, axis: int | None) -> tuple[int | None, ...]:
    return tuple(dim if isinstance(dim, int) else None for at, dim in enumerate(dims) if at != axis)


def _output_axis(dims: Dims, places: list[Place], symbols: set[str]) -> int | None:
    """The batch axis of an output that no walk has followed: by symbol, by extent, else 0."""
    named = next((axis for axis, dim in enumerate(dims) if isinstance(dim, str) and dim in symbols), None)
    if named is not None or not dims:
        return named
    extents = {place.extent for place in places} - {None}
    for axis in (0, *(place.axis for place in places)):
        if axis < len(dims) and dims[axis] in extents:
            return axis
    return 0


def signature_of(graph: GraphProto, batch: Batch, labels: Mapping[str, tuple[str, ...]]) -> Signature:
    """The signature of a tidied graph. labels: class labels by output."""
    rows, levels = vocabularies(graph), levels_of(graph)
    places = [place for place in batch.places.values() if place is not None]
    inputs = []
    symbols: set[str] = set()
    for value in graph.input:
        dims, place = dims_of(value), batch.places[value.name]
        axis = place.axis if place else None
        if dims is not None and axis is not None and isinstance(symbol := dims[axis], str):
            symbols.add(symbol)
        dtype = _dtype(value)
        inputs.append(
            TensorSignature(
                value.name,
                dtype,
                None if dims is None else _instance(dims, axis),
                axis,
                place.extent if place else None,
                vocabulary=rows.get(value.name) if dtype is not None and dtype.kind in "iu" else None,
                levels=levels.get(value.name, ()),
            )
        )
    return Signature(tuple(inputs), tuple(_output(value, batch, places, symbols, labels) for value in graph.output))


def _output(
    value: ValueInfoProto, batch: Batch, places: list[Place], symbols: set[str], labels: Mapping[str, tuple[str, ...]]
) -> TensorSignature:
    dims = dims_of(value)
    fact = batch.walked.outputs[value.name] if batch.walked else None
    if fact is not None:
        axis: int | None = fact.axis
        dims = dims if dims is None or len(dims) == len(fact.shape) else None
    elif dims is None:
        axis = 0 if value.type.HasField("tensor_type") else None
    else:
        axis = _output_axis(dims, places, symbols)
    shape = None if dims is None else _instance(dims, axis)
    known = batch.output_shapes.get(value.name)
    if known is not None and (shape is None or len(shape) == len(known)):
        shape = known if shape is None else tuple(b if a is None else a for a, b in zip(shape, known, strict=True))
    if shape is not None and not (len(shape) <= MOST_AXES and all(n is None or 0 <= n <= MOST_EXTENT for n in shape)):
        raise InvalidModel(
            f"output {shown(value.name)} would have the shape {list(shape[:MOST_AXES])}: at most {MOST_AXES} axes of 0 "
            f"to {MOST_EXTENT} are taken",
            field="chunk",
        )
    extent = None if axis is None else batch.extent
    return TensorSignature(value.name, _dtype(value), shape, axis, extent, labels.get(value.name, ()))
