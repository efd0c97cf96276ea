"""What a batch asks of the machine, counted from the graph: floating-point operations, and bytes that must move.

A multiply-add is two operations. Packages that count exist, with weights of their own for each operator; against a peak
that was measured by a matrix product only the plain count means something.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

Shape: TypeAlias = tuple[int, ...]

_VIEWS = frozenset({"Constant", "Dropout", "Flatten", "Identity", "Reshape", "Shape", "Squeeze", "Unsqueeze"})
"""Nothing is computed, and no bytes move."""
_COPIES = frozenset({"Cast", "Concat", "Expand", "Gather", "Pad", "Slice", "Split", "Tile", "Transpose"})
_EACH = frozenset({
    "Abs", "Add", "Clip", "Div", "Elu", "Erf", "Exp", "HardSigmoid", "LeakyRelu", "Log", "Max", "Min", "Mul", "Neg",
    "Pow", "Reciprocal", "Relu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Tanh", "Where",
})  # fmt: skip
"""One operation an element of the output."""
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_INTO_PRODUCTS = frozenset({"BatchNormalization", "Clip", "LeakyRelu", "Relu", "Sigmoid", "Tanh"})
"""Runtimes do these to a product's result before they write it."""
_SOFTMAX = 4
"""Subtract the largest, take the exponential, sum, divide."""


class Uncounted(ValueError):
    """An operator whose work isn't counted here."""


@dataclass(frozen=True)
class Work:
    """flops: operations. moved_bytes: read and written at least, by a runtime that keeps nothing between operators but
    what it does to a product's result; weights once a batch.
    """

    flops: int
    moved_bytes: int

    @property
    def intensity(self) -> float:
        """Operations a byte."""
        return self.flops / self.moved_bytes


def work_of(program: bytes, inputs: Mapping[str, Shape]) -> Work:
    """Of one run. inputs: shape by name, with the batch axis. Raises Uncounted, and ValueError for open shapes."""
    graph = _Graph(program, inputs)
    return Work(sum(map(graph.flops, graph.nodes)), sum(map(graph.moved_bytes, graph.nodes)))


class _Graph:
    def __init__(self, program: bytes, inputs: Mapping[str, Shape]) -> None:
        model = onnx.load_from_string(program)
        for value in model.graph.input:
            if value.name in inputs:
                kind = value.type.tensor_type.elem_type
                value.CopyFrom(helper.make_tensor_value_info(value.name, kind, inputs[value.name]))
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")
        # Shapes that were found for another batch would stand in the way.
        del model.graph.value_info[:]
        model = shape_inference.infer_shapes(model, data_prop=True)
        self.nodes: Sequence[onnx.NodeProto] = model.graph.node
        self._weights = {w.name for w in model.graph.initializer}
        self._shapes: dict[str, Shape] = {w.name: tuple(w.dims) for w in model.graph.initializer}
        self._sizes = {w.name: numpy_helper.to_array(w).dtype.itemsize for w in model.graph.initializer}
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
            if value.name not in self._shapes:
                dims = value.type.tensor_type.shape.dim
                if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
                    self._shapes[value.name] = tuple(d.dim_value for d in dims)
                if kind := value.type.tensor_type.elem_type:  # nothing is known of what an Uncounted makes
                    self._sizes[value.name] = np.dtype(helper.tensor_dtype_to_np_dtype(kind)).itemsize
        self._makers = {name: node for node in self.nodes for name in node.output}
        outputs = [value.name for value in model.graph.output]
        self._uses = Counter([*outputs, *(name for node in self.nodes for name in node.input)])
        self._seen: set[str] = set()

    def flops(self, node: onnx.NodeProto) -> int:
        kind = node.op_type
        if kind in _VIEWS or kind in _COPIES:
            return 0
        if kind in _EACH:
            return self._count(node.output[0])
        if kind not in _RULES:
            raise Uncounted(f"no rule for {kind}")
        return _RULES[kind](self, node)

    def moved_bytes(self, node: onnx.NodeProto) -> int:
        if node.op_type in _VIEWS or self._fused(node):
            return 0
        read = [name for name in node.input if name and not (name in self._weights and name in self._seen)]
        self._seen.update(name for name in read if name in self._weights)
        return sum(self._bytes(name) for name in (*read, *node.output) if name)

    def shape(self, name: str) -> Shape:
        if name not in self._shapes:
            raise ValueError(f"the shape of {name!r} is open")
        return self._shapes[name]

    def _fused(self, node: onnx.NodeProto) -> bool:
        maker = self._makers.get(node.input[0]) if node.input else None
        if maker is None or self._uses[node.input[0]] > 1:
            return False
        bias = node.op_type == "Add" and maker.op_type == "MatMul" and node.input[1] in self._weights
        if not bias and node.op_type not in _INTO_PRODUCTS:
            return False
        return maker.op_type in _PRODUCTS or self._fused(maker)

    def _count(self, name: str) -> int:
        return math.prod(self.shape(name))

    def _bytes(self, name: str) -> int:
        return self._count(name) * self._sizes[name]

    # ---- rules -------------------------------------------------------------------------------------------------

    def _conv(self, node: onnx.NodeProto) -> int:
        taps = math.prod(self.shape(node.input[1])[1:])
        return self._count(node.output[0]) * (2 * taps + (len(node.input) > 2))

    def _conv_transpose(self, node: onnx.NodeProto) -> int:
        taps = math.prod(self.shape(node.input[1])[1:])
        bias = self._count(node.output[0]) if len(node.input) > 2 else 0
        return self._count(node.input[0]) * 2 * taps + bias

    def _gemm(self, node: onnx.NodeProto) -> int:
        turned = any(a.name == "transA" and a.i for a in node.attribute)
        inner = self.shape(node.input[0])[0 if turned else 1]
        return self._count(node.output[0]) * (2 * inner + (len(node.input) > 2))

    def _matmul(self, node: onnx.NodeProto) -> int:
        return self._count(node.output[0]) * 2 * self.shape(node.input[0])[-1]

    def _batch_norm(self, node: onnx.NodeProto) -> int:
        return 0 if self._fused(node) else 2 * self._count(node.output[0])

    def _pool(self, node: onnx.NodeProto) -> int:
        window = next(math.prod(a.ints) for a in node.attribute if a.name == "kernel_shape")
        return self._count(node.output[0]) * window

    def _all_of_it(self, node: onnx.NodeProto) -> int:
        return self._count(node.input[0])

    def _softmax(self, node: onnx.NodeProto) -> int:
        return _SOFTMAX * self._count(node.output[0])

    def _sum(self, node: onnx.NodeProto) -> int:
        return self._count(node.output[0]) * (len(node.input) - 1)

    def _lrn(self, node: onnx.NodeProto) -> int:
        size = next(a.i for a in node.attribute if a.name == "size")
        return self._count(node.output[0]) * (2 * size + 3)


_RULES: Mapping[str, Callable[[_Graph, onnx.NodeProto], int]] = {
    "Conv": _Graph._conv,
    "ConvTranspose": _Graph._conv_transpose,
    "Gemm": _Graph._gemm,
    "MatMul": _Graph._matmul,
    "BatchNormalization": _Graph._batch_norm,
    "MaxPool": _Graph._pool,
    "AveragePool": _Graph._pool,
    "GlobalAveragePool": _Graph._all_of_it,
    "GlobalMaxPool": _Graph._all_of_it,
    "ReduceMean": _Graph._all_of_it,
    "ReduceSum": _Graph._all_of_it,
    "ReduceMax": _Graph._all_of_it,
    "Softmax": _Graph._softmax,
    "LogSoftmax": _Graph._softmax,
    "Sum": _Graph._sum,
    "LRN": _Graph._lrn,
}
