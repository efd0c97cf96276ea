"""Ops that work along an axis: along the batch axis they would let the rows of a batch influence each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnx import NodeProto, helper

from assayd.graph.facts import Fact, Unopenable

_BATCH_FIRST = frozenset({
    "Conv", "ConvInteger", "QLinearConv", "ConvTranspose", "DeformConv", "AveragePool", "MaxPool", "LpPool",
    "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "BatchNormalization", "InstanceNormalization",
    "GroupNormalization", "LRN", "DepthToSpace", "SpaceToDepth", "GridSample", "Col2Im", "AffineGrid",
    "Attention",
})  # fmt: skip
"""Ops whose own rule puts the batch at axis 0."""

_AXIS_DEFAULT = {
    "Softmax": -1, "LogSoftmax": -1, "Hardmax": -1, "LpNormalization": -1, "TopK": -1, "ArgMax": 0, "ArgMin": 0,
    "CumSum": None, "CumProd": None, "LayerNormalization": -1, "RMSNormalization": -1, "Split": 0,
}  # fmt: skip
_FLATTENING = frozenset({"Softmax", "LogSoftmax", "Hardmax"})
_TRAILING = frozenset({"LayerNormalization", "RMSNormalization"})


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Plain attributes (numbers, strings, lists) by name."""
    # One that stands for a function's has no value.
    held = [a for a in node.attribute if a.type in (1, 2, 3, 6, 7, 8) and not a.ref_attr_name]
    return {a.name: helper.get_attribute_value(a) for a in held}


def called(node: NodeProto) -> str:
    """How messages name a node: its op and its name, or what it writes."""
    name = node.name or next((output for output in node.output if output), "")
    return f"{node.op_type[:80]} {name[:80]!r}"


def check_mixing(node: NodeProto, inputs: Sequence[Fact | None], opset: int) -> None:
    """Unopenable where the node works along the batch axis."""
    first = inputs[0] if inputs else None
    if first is None or not first.batched:
        return
    op, rank, axis = node.op_type, len(first.shape), first.axis
    if op in _BATCH_FIRST and axis != 0:
        raise Unopenable(f"{called(node)} takes axis 0 for the batch, which stands at axis {axis}")
    along: set[int] = set()
    if op.startswith("Reduce"):
        along = _reduced(node, inputs, rank)
    elif op == "MeanVarianceNormalization":
        along = {at % rank for at in attributes_of(node).get("axes", (0, 2, 3))}
    elif op == "BatchNormalization" and attributes_of(node).get("training_mode", 0):
        along = {axis}
    elif op in _AXIS_DEFAULT:
        start = _AXIS_DEFAULT[op]
        flat = op in _FLATTENING and opset < 13
        given = attributes_of(node).get("axis", 1 if flat else start)
        if start is None:
            value = inputs[1].value if len(inputs) > 1 and inputs[1] is not None else None
            given = None if value is None else int(value.reshape(-1)[0])
        if given is not None:
            at = given % rank
            along = set(range(at, rank)) if flat or op in _TRAILING else {at}
    if axis in along:
        raise Unopenable(f"{called(node)} works along the batch axis, so rows of one batch would influence each other")


def _reduced(node: NodeProto, inputs: Sequence[Fact | None], rank: int) -> set[int]:
    """The axes a Reduce op reduces."""
    held = attributes_of(node)
    if "axes" in held:
        return {axis % rank for axis in held["axes"]}
    if len(inputs) > 1 and (given := inputs[1]) is not None:
        if given.value is None:
            return set()
        if given.value.size:
            return {int(axis) % rank for axis in given.value.reshape(-1)}
    return set() if held.get("noop_with_empty_axes", 0) else set(range(rank))
