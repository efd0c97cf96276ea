"""Which integer inputs index an embedding, and how many rows it has."""

from __future__ import annotations

from onnx import GraphProto

_PASSING = frozenset(["Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Expand", "Clip"])
"""Ops that hand token ids on as they are."""


def vocabularies(graph: GraphProto) -> dict[str, int]:
    """By input that reaches the indices of a Gather from weights on axis 0: the fewest rows among those weights."""
    rows = {tensor.name: tensor.dims[0] for tensor in graph.initializer if len(tensor.dims) > 1}
    source = {value.name: value.name for value in graph.input}
    found: dict[str, int] = {}
    for node in graph.node:
        if not node.output:
            continue
        if node.op_type == "Constant":
            for tensor in (a.t for a in node.attribute if a.name == "value" and len(a.t.dims) > 1):
                rows[node.output[0]] = tensor.dims[0]
        elif node.op_type in _PASSING and node.input and node.input[0] in source:
            source[node.output[0]] = source[node.input[0]]
        elif node.op_type in ("Identity", "Cast", "DequantizeLinear") and node.input and node.input[0] in rows:
            rows[node.output[0]] = rows[node.input[0]]
        elif (
            node.op_type == "Gather"
            and len(node.input) == 2
            and not any(a.name == "axis" and a.i for a in node.attribute)
        ):
            name, count = source.get(node.input[1], ""), rows.get(node.input[0], 0)
            if name and count:
                found[name] = min(count, found.get(name, count))
    return found
