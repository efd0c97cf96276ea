"""One node's outputs at both batch extents: shapes by onnx's rules, small values by its reference implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from onnx import NodeProto, OperatorSetIdProto, TensorProto, TypeProto, defs, helper, shape_inference
from onnx.checker import ValidationError
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import InferenceError

from assayd.graph.facts import SMALL, Fact, Shape, constant, of_tensor
from assayd.types.arrays import Array

_FOLDED = frozenset({
    "Abs", "Add", "And", "Cast", "Ceil", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Flatten",
    "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul",
    "Neg", "Not", "Or", "Range", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round",
    "ScatterND", "Slice", "Sqrt", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
"""Ops of which shape arithmetic is made; their small values are worked out."""

_LIKE_FIRST = frozenset({
    "Gelu", "FastGelu", "BiasGelu", "QuickGelu", "Identity", "Normalizer", "Scaler", "Imputer", "Binarizer",
    "LabelEncoder",
})  # fmt: skip
"""Ops whose first output has its first input's shape, for those that onnx has no rule for."""

_ML_LABELS = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")


class Inference:
    """Shape inference for the nodes of one model. A result of None means that onnx can't tell."""

    def __init__(self, opsets: Mapping[str, int]) -> None:
        self.opsets: dict[str, int] = {
            ("" if domain == "ai.onnx" else domain): version for domain, version in opsets.items()
        }
        self._imports: list[OperatorSetIdProto] = [helper.make_opsetid(d, v) for d, v in self.opsets.items()]

    def outputs(self, node: NodeProto, inputs: Sequence[Fact | None]) -> list[Fact | None]:
        """Facts of the node's outputs.

        inputs: one an input, None for an absent one. Raises shape_inference.InferenceError where the shapes at MARKER
        don't fit the op.
        """
        domain = "" if node.domain == "ai.onnx" else node.domain
        if domain == "" and node.op_type == "Constant":
            return [_constant(node)]
        if domain == "" and node.op_type in ("Shape", "Size"):
            return [_measured(node, inputs[0])]
        changes = any(fact.varies for fact in inputs if fact is not None)
        here = self._types(domain, node, inputs, 0)
        opened = self._types(domain, node, inputs, 1) if changes else here
        facts = [_fact(here.get(name), opened.get(name)) for name in node.output]
        if domain == "" and node.op_type in _FOLDED and len(facts) == 1 and facts[0] is not None:
            facts = [self._folded(node, inputs, facts[0])]
        return facts

    def _types(self, domain: str, node: NodeProto, inputs: Sequence[Fact | None], at: int) -> dict[str, TypeProto]:
        present = [(name, fact) for name, fact in zip(node.input, inputs, strict=True) if fact is not None]
        types = {name: fact.types[at] for name, fact in present}
        if domain == "ai.onnx.ml" and (known := _ml_types(node, types)):
            return known
        if domain and node.op_type in _LIKE_FIRST and node.input and node.input[0] in types:
            # LabelEncoder may change the type, but nothing here depends on more than the shape.
            return {node.output[0]: types[node.input[0]]}
        if domain in self.opsets and defs.has(node.op_type, self.opsets[domain], domain):
            schema = defs.get_schema(node.op_type, self.opsets[domain], domain)
            data = {name: tensor for name, fact in present if (tensor := fact.data[at]) is not None}
            try:
                return shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=self._imports)
            except KeyError:
                return {}
            except (ValidationError, RuntimeError) as refusal:
                raise InferenceError(str(refusal)) from None
        return {}

    def _folded(self, node: NodeProto, inputs: Sequence[Fact | None], fact: Fact) -> Fact:
        """The fact with its value, where all inputs' values are known and the result is small."""
        if prod(fact.shape) > SMALL or prod(fact.opened) > SMALL:
            return fact
        present = {name: f for name, f in zip(node.input, inputs, strict=True) if f is not None}
        feeds: list[dict[str, Any]] = []
        for values in (
            {name: f.value for name, f in present.items()},
            {name: f.value_opened for name, f in present.items()},
        ):
            known = {name: value for name, value in values.items() if value is not None}
            if len(known) < len(values):
                return fact
            feeds.append(known)
        try:
            run = ReferenceEvaluator(node, opsets=self.opsets)
            value, value_opened = (np.asarray(next(iter(run.run(None, feed)))) for feed in feeds)
        except Exception:  # noqa: BLE001  the reference may not know a version: then the value just isn't known
            return fact
        if value.shape != fact.shape or value_opened.shape != fact.opened:
            return fact
        if value.shape == value_opened.shape and np.array_equal(value, value_opened):
            value_opened = value
        baked = all(f.baked for f in present.values())
        return Fact(fact.elem, fact.shape, fact.opened, value, value_opened, baked=baked)


def _constant(node: NodeProto) -> Fact | None:
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            continue
        if attribute.name == "value":
            return of_tensor(attribute.t)
        if attribute.name in ("value_int", "value_float", "value_ints", "value_floats"):
            kind: Any = np.int64 if "int" in attribute.name else np.float32
            return constant(np.array(helper.get_attribute_value(attribute), kind))
    return None


def _measured(node: NodeProto, source: Fact | None) -> Fact | None:
    """Shape (with start and end) and Size."""
    if source is None:
        return None
    ends = {attribute.name: attribute.i for attribute in node.attribute}

    def value(shape: Shape) -> Array:
        measure = shape[ends.get("start", 0) : ends.get("end")] if node.op_type == "Shape" else prod(shape)
        return np.array(measure, np.int64)

    here, opened = value(source.shape), value(source.opened)
    if np.array_equal(here, opened):
        return constant(here, baked=False)
    return Fact(TensorProto.INT64, here.shape, opened.shape, here, opened)


def _fact(here: TypeProto | None, opened: TypeProto | None) -> Fact | None:
    """A fact where both shapes are fully known and of one rank."""
    shapes: list[Shape] = []
    for kind in (here, opened):
        if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
            return None
        dims = kind.tensor_type.shape.dim
        if not all(dim.HasField("dim_value") for dim in dims):
            return None
        shapes.append(tuple(dim.dim_value for dim in dims))
    if here is None or len(shapes[0]) != len(shapes[1]):
        return None
    return Fact(here.tensor_type.elem_type, shapes[0], shapes[1])


def _ml_types(node: NodeProto, types: Mapping[str, TypeProto]) -> dict[str, TypeProto]:
    """Classifiers and regressors of ai.onnx.ml, for which onnx's own rules are partial."""
    if not node.input or node.input[0] not in types:
        return {}
    kind = types[node.input[0]].tensor_type
    rows = kind.shape.dim[0].dim_value if kind.shape.dim else 1
    held = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type.endswith("Classifier"):
        labels = [held[name] for name in _ML_LABELS if name in held]
        count = max((len(label.strings) + len(label.ints) for label in labels), default=0)
        text = any(len(label.strings) for label in labels)
        label_type = helper.make_tensor_type_proto(TensorProto.STRING if text else TensorProto.INT64, [rows])
        made = [label_type, helper.make_tensor_type_proto(TensorProto.FLOAT, [rows, max(count, 1)])]
        return dict(zip(node.output, made, strict=False))
    if node.op_type.endswith("Regressor"):
        targets = next((held[name].i for name in ("n_targets", "targets") if name in held), 1)
        return {node.output[0]: helper.make_tensor_type_proto(TensorProto.FLOAT, [rows, targets])}
    return {}
