"""Bytes to a model, or a reason that a person can act on. Nothing here trusts the bytes, and nothing runs them."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto

from assayd.errors import InvalidModel
from assayd.graph.functions import call_order
from assayd.graph.payload import check_payload, shown
from assayd.graph.walk import Body, bodies, tensors_in

MAX_DEPTH = 32
"""Subgraphs within subgraphs, and calls of functions within functions."""

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "this is a zip file (a PyTorch .pt file is one too); send the ONNX file itself"),
    (0, b"PK\x05\x06", "this is an empty zip file; send the ONNX file itself"),
    (0, b"\x1f\x8b", "this is a gzip file; send the ONNX file unpacked"),
    (4, b"ORTM", "this is an ORT-format file; send the ONNX file it was made from"),
    (4, b"TFL3", "this is a TensorFlow Lite file; convert it to ONNX"),
    (0, b"\x89HDF", "this is an HDF5 file (Keras?); convert it to ONNX"),
    (0, b"version https://git-lfs", "this is a Git LFS pointer; send the file it stands for"),
)

_NOT_TEXT = "a name in the model is no valid UTF-8 text"


def admit(data: bytes) -> ModelProto:
    """Parse and check a model. InvalidModel (field "chunk") says what is wrong with it.

    Not checked: what onnxruntime itself refuses safely (unknown ops, cycles, types that don't match).
    """
    if not data:
        raise InvalidModel("the model is empty", field="chunk")
    for offset, magic, message in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            raise InvalidModel(message, field="chunk")
    try:
        model = ModelProto.FromString(data)
    except DecodeError:
        raise InvalidModel(
            "these bytes are no ONNX model, or the file is cut off, or its graphs are nested too deep", field="chunk"
        ) from None
    try:
        _check(model)
    except UnicodeError:
        raise InvalidModel(_NOT_TEXT, field="chunk") from None
    return model


def _check(model: ModelProto) -> None:
    if not model.HasField("graph"):
        raise InvalidModel("these bytes hold no graph: no ONNX model, or a file cut off", field="chunk")
    if not model.opset_import:
        raise InvalidModel("the model names no operator set; the file may be cut off", field="chunk")
    if not model.graph.output:
        raise InvalidModel("the model has no outputs", field="chunk")
    for body in bodies(model):
        _check_body(body)
    weights = {tensor.name for tensor in model.graph.initializer}
    if all(value.name in weights for value in model.graph.input):
        raise InvalidModel("the model has no inputs, so there is nothing to explain", field="chunk")
    call_order(model, MAX_DEPTH)
    _read_text(opset.domain for opset in model.opset_import)


def _check_body(body: Body) -> None:
    if body.depth > MAX_DEPTH:
        raise InvalidModel(f"graphs are nested more than {MAX_DEPTH} deep", field="chunk")
    for tensor in tensors_in(body):
        check_payload(tensor)
    for node in body.nodes:
        _read_text((node.name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute)))
    if body.graph is not None:
        _check_names(body.graph, main=body.depth == 1)
    else:
        _once((name for node in body.nodes for name in node.output), "two nodes of a function write")


def _read_text(names: Iterable[object]) -> None:
    """InvalidModel for a name that isn't UTF-8: protobuf reads it as bytes, or fails when it is read or written."""
    for name in names:
        if not isinstance(name, str):
            raise InvalidModel(_NOT_TEXT, field="chunk")
        name.encode()


def _check_names(graph: GraphProto, *, main: bool) -> None:
    _read_text(value.name for value in (*graph.input, *graph.output))
    _read_text(tensor.name for tensor in graph.initializer)
    for value in (*graph.input, *graph.output):
        _read_text(dim.dim_param for dim in value.type.tensor_type.shape.dim)
    inputs = _once((value.name for value in graph.input), "two inputs are named")
    sparse = (tensor.values.name for tensor in graph.sparse_initializer)
    weights = _once((*(tensor.name for tensor in graph.initializer), *sparse), "two initializers are named")
    if main:
        _once((value.name for value in graph.output), "two outputs are named")
        if "" in inputs:
            raise InvalidModel("an input has no name", field="chunk")
    elif both := inputs & weights:
        # The main graph of old files lists its weights as inputs; a subgraph has no such excuse.
        raise InvalidModel(f"{shown(min(both))} is both input and initializer of a subgraph", field="chunk")
    written = _once((name for node in graph.node for name in node.output), "two nodes write")
    if clash := (written & (inputs | weights)) - {""}:
        raise InvalidModel(f"a node writes {shown(min(clash))}, which is also an input or initializer", field="chunk")


def _once(names: Iterable[str], fault: str) -> set[str]:
    """The names, "" (absent) left out of the count. InvalidModel if one occurs twice."""
    seen: set[str] = set()
    for name in names:
        if name and name in seen:
            raise InvalidModel(f"{fault} {shown(name)}", field="chunk")
        seen.add(name)
    return seen
