"""The graphs beside a model: only what CUDA has kernels for, and nothing that moves a node to the host."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from assayd.graph.stages import OPSET, Blend, Copy, Gathered, Move, Select, moved_as, stage_graph

F32, F64, F16 = (np.dtype(kind) for kind in ("float32", "float64", "float16"))
WIDTHS = [np.dtype(kind) for kind in ("int32", "int64", "uint8")]
STAGES = [
    *(
        Select(where, kind, 4, numbered, 2 if where == "box" else 0)
        for where in ("rows", "features", "feature", "box")
        for kind in WIDTHS
        for numbered in (False, True)
    ),
    Blend(F32, F32, 4),
    Blend(F32, F64, 4, numbered=True),
    Blend(F16, F32, 2),
    Move(F32, 4),
    Move(F64, 1),
    *(Copy(kind, 4) for kind in WIDTHS),
    Gathered(F32),
]
# As of onnxruntime 1.27's list of CUDA kernels, at the opset used.
KERNELS = {"Where", "Gather", "Equal", "Less", "And", "Mul", "Add", "Cast", "Identity"}
WHERE_TYPES = {TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8, TensorProto.FLOAT, TensorProto.DOUBLE}


@pytest.mark.parametrize("stage", STAGES, ids=str)
def test_a_stage_keeps_to_what_cuda_computes(stage):
    model = onnx.load_from_string(stage_graph(stage))
    onnx.checker.check_model(model, full_check=True)
    assert [o.version for o in model.opset_import] == [OPSET]
    assert not model.graph.initializer
    assert {node.op_type for node in model.graph.node} <= KERNELS
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    for node in model.graph.node:
        if node.op_type == "Where":
            assert types[node.input[2]] in WHERE_TYPES
        if node.op_type in ("Equal", "Less"):
            assert {types[name] for name in node.input} == {TensorProto.INT32}


@pytest.mark.parametrize(
    ("dtype", "kind", "parts"),
    [
        ("float32", "int32", 1),
        ("int64", "int64", 1),
        ("bool", "uint8", 1),
        ("float16", "uint8", 2),
        ("int8", "uint8", 1),
    ],
)
def test_elements_are_moved_by_width(dtype, kind, parts):
    assert moved_as(np.dtype(dtype)) == (np.dtype(kind), parts)
