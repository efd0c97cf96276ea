"""Which values of a table's columns the graph's encoders know: others it may refuse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper

from assayd.graph.mixing import attributes_of

Levels: TypeAlias = tuple[str | int, ...]

_Columns: TypeAlias = list[tuple[str, int]]
"""The columns of a tensor: each an input and its number there."""

_PASSING = frozenset(["Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "StringNormalizer"])
_MOST_COLUMNS = 4096
"""Wider tensors aren't followed: a file may say any width, and double it from node to node."""
_ENCODERS: Mapping[str, tuple[str, ...]] = {
    "OneHotEncoder": ("cats_strings", "cats_int64s"),
    "LabelEncoder": ("keys_strings", "keys_int64s", "keys_tensor"),
    "CategoryMapper": ("cats_strings", "cats_int64s"),
}
"""By op, the attributes that list what it knows; one of them is set."""
_LISTS = (AttributeProto.STRINGS, AttributeProto.INTS, AttributeProto.TENSOR)


def levels_of(graph: GraphProto) -> dict[str, tuple[Levels, ...]]:
    """By input [N] or [N, columns] that reaches an encoder: the known values of each column, () where none are."""
    columns: dict[str, _Columns] = {}
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        if len(dims) in (1, 2):
            count = dims[1].dim_value if len(dims) == 2 else 1
            columns[value.name] = [(value.name, n) for n in range(count if count <= _MOST_COLUMNS else 0)]
    weights = {tensor.name: tensor for tensor in graph.initializer}
    found: dict[tuple[str, int], Levels] = {}
    for node in graph.node:
        if not node.output:
            continue
        held = columns.get(node.input[0]) if node.input else None
        if node.op_type in _ENCODERS and held:
            known = _known(node)
            for column in held:
                found.setdefault(column, known)
        else:
            moved = _moved(node, columns, weights)
            columns.update((name, kept) for name, kept in moved if len(kept) <= _MOST_COLUMNS)
    inputs = {name for name, _ in found}
    return {name: tuple(found.get(column, ()) for column in columns[name]) for name in inputs}


def _known(node: NodeProto) -> Levels:
    for attribute in node.attribute:
        if attribute.name in _ENCODERS[node.op_type] and attribute.type in _LISTS and not attribute.ref_attr_name:
            listed = helper.get_attribute_value(attribute)
            if isinstance(listed, TensorProto):
                listed = numpy_helper.to_array(listed).ravel().tolist()
            return tuple(v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in listed)
    return ()


def _moved(
    node: NodeProto, columns: Mapping[str, _Columns], weights: Mapping[str, TensorProto]
) -> Iterable[tuple[str, _Columns]]:
    """The columns of a node's outputs, where it hands them on as they are."""
    held = [columns.get(name) for name in node.input]
    if not held or held[0] is None:
        return
    first, attributes = held[0], attributes_of(node)
    if node.op_type in _PASSING:
        yield node.output[0], first
    elif node.op_type == "Concat" and attributes.get("axis") in (1, -1):
        if all(held):
            yield node.output[0], [column for part in held if part for column in part]
    elif len(held) > 1 and (
        node.op_type == "ArrayFeatureExtractor" or (node.op_type == "Gather" and attributes.get("axis") in (1, -1))
    ):
        index = weights.get(node.input[1])
        if index is not None and index.data_type in (TensorProto.INT32, TensorProto.INT64):
            chosen = np.atleast_1d(numpy_helper.to_array(index)).ravel()
            if all(-len(first) <= n < len(first) for n in chosen):
                yield node.output[0], [first[n] for n in chosen]
    elif node.op_type == "Split" and attributes.get("axis") in (1, -1):
        each, rest = divmod(len(first), len(node.output))
        if not rest and each == 1:
            yield from zip(node.output, ([column] for column in first), strict=True)
