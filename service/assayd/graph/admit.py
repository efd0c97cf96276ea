"""Bytes to a model, or a reason that a person can act on. Nothing here trusts the bytes, and nothing runs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from math import prod

from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto

from assayd.errors import InvalidModel, TooLarge
from assayd.graph.functions import Key, called_by, inlined_size, key_of
from assayd.graph.mixing import called
from assayd.graph.operators import check_operator, domain_of
from assayd.graph.payload import check_payload, check_sparse, shown
from assayd.graph.trees import check_trees
from assayd.graph.walk import Body, bodies, tensors_in, tensors_of
from assayd.types.admission import AdmissionLimits

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "this is a zip file (a PyTorch .pt file is one too); send the ONNX file itself"),
    (0, b"PK\x05\x06", "this is an empty zip file; send the ONNX file itself"),
    (0, b"\x1f\x8b", "this is a gzip file; send the ONNX file unpacked"),
    (4, b"ORTM", "this is an ORT-format file; send the ONNX file it was made from"),
    (4, b"TFL3", "this is a TensorFlow Lite file; convert it to ONNX"),
    (0, b"\x89HDF", "this is an HDF5 file (Keras?); convert it to ONNX"),
    (0, b"version https://git-lfs", "this is a Git LFS pointer; send the file it stands for"),
)

_MOST_ELEMENTS = 2**58

_NOT_TEXT = "a name in the model is no valid UTF-8 text"


def admit(data: bytes, limits: AdmissionLimits | None = None) -> ModelProto:
    """Parse and check a model. limits: None for the default ones.

    InvalidModel says what is wrong with it and where, TooLarge which limit it exceeds; both of the field "chunk". Not
    checked: what onnxruntime itself refuses safely (cycles, types that don't match).
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
        _check(model, limits or AdmissionLimits())
    except UnicodeError:
        raise InvalidModel(_NOT_TEXT, field="chunk") from None
    return model


def _check(model: ModelProto, limits: AdmissionLimits) -> None:
    if not model.HasField("graph"):
        raise InvalidModel("these bytes hold no graph: no ONNX model, or a file cut off", field="chunk")
    if not model.opset_import:
        raise InvalidModel("the model names no operator set; the file may be cut off", field="chunk")
    if not model.graph.output:
        raise InvalidModel("the model has no outputs", field="chunk")
    _read_text(opset.domain for opset in model.opset_import)
    for f in model.functions:
        _read_text((f.name, f.domain, f.overload, *f.input, *f.output, *f.attribute))
        _read_text(opset.domain for opset in f.opset_import)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = sum(value.name not in weights for value in model.graph.input)
    if not inputs:
        raise InvalidModel("the model has no inputs, so there is nothing to explain", field="chunk")
    _within("inputs", inputs, limits.ends, "--max-model-ends")
    _within("outputs", len(model.graph.output), limits.ends, "--max-model-ends")
    _once((" ".join(key_of(function)) for function in model.functions), "two functions are named")
    _check_extent(model, limits)
    own = {key_of(function) for function in model.functions}
    weight_bytes = 0
    for body in bodies(model):
        imports = body.imports or model.opset_import
        opsets = {domain_of(opset.domain): opset.version for opset in imports}
        with _at(body.path):
            weight_bytes += _check_tensors(tensors_in(body))
            for node in body.nodes:
                weight_bytes += _check_node(node, opsets, own)
                if not (body.graph is None or body.imports):
                    _check_own_attributes(node)
            _check_body(body)
        _within("bytes of weights", weight_bytes, limits.weight_bytes, "--max-model-weights-bytes")


def _check_extent(model: ModelProto, limits: AdmissionLimits) -> None:
    """Nodes and nesting, before anything else looks at them all."""
    nodes = 0
    for body in bodies(model):
        with _at(body.path):
            if body.depth > limits.depth:
                raise InvalidModel(
                    f"graphs are nested more than {limits.depth} deep (the server's --max-model-depth)", field="chunk"
                )
        nodes += len(body.nodes)
        _within("nodes", nodes, limits.nodes, "--max-model-nodes")
    _within("nodes with its functions in place", inlined_size(model, limits.depth), limits.nodes, "--max-model-nodes")


def _within(what: str, found: int, limit: int, flag: str) -> None:
    if found > limit:
        shown_found = str(found) if found < 10**18 else "more than 10^18"
        raise TooLarge(
            f"the model has {shown_found} {what}; the limit is {limit} (the server's {flag})",
            field="chunk",
            metadata={"found": shown_found, "limit": str(limit)},
        )


@contextmanager
def _at(path: Sequence[str]) -> Iterator[None]:
    """Say where in the model something is wrong, if not in its main graph."""
    try:
        yield
    except InvalidModel as error:
        if not path:
            raise
        raise InvalidModel(f"{error.message} (in {' > '.join(path)})", field=error.field) from None


def _check_tensors(tensors: Iterable[TensorProto | SparseTensorProto]) -> int:
    """Their bytes."""
    return sum(check_sparse(t) if isinstance(t, SparseTensorProto) else check_payload(t) for t in tensors)


def _check_node(node: NodeProto, opsets: Mapping[str, int], own: AbstractSet[Key]) -> int:
    """Bytes of its tensors."""
    _read_text((node.name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute)))
    _once((held.name for held in node.attribute), f"two attributes of {called(node)} are named")
    with _at((called(node),)):
        size = _check_tensors(tensors_of(node.attribute))
    check_operator(node, opsets, called_by(node) in own)
    check_trees(node)
    return size


def _check_own_attributes(node: NodeProto) -> None:
    """onnxruntime would take the operator's default for an attribute that only a caller of a function could give."""
    for held in node.attribute:
        if held.ref_attr_name:
            raise InvalidModel(
                f"{called(node)} takes its attribute {shown(held.name)} from a function's {shown(held.ref_attr_name)}, "
                "and stands in no function",
                field="chunk",
            )


def _check_body(body: Body) -> None:
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
    for value in (*graph.input, *graph.output, *graph.value_info):
        _check_shape(value)
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


def _check_shape(value: ValueInfoProto) -> None:
    """What a file declares, and onnxruntime plans its memory by. Old exporters wrote -1 for an extent that is free."""
    dims = value.type.tensor_type.shape.dim
    _read_text(dim.dim_param for dim in dims)
    extents = [dim.dim_value for dim in dims if dim.HasField("dim_value")]
    if any(extent < -1 for extent in extents):
        raise InvalidModel(f"{shown(value.name)} declares a negative extent: {extents[:8]}", field="chunk")
    if prod(max(extent, 1) for extent in extents) > _MOST_ELEMENTS:
        raise InvalidModel(
            f"{shown(value.name)} declares more elements than can be counted: {extents[:8]}", field="chunk"
        )


def _once(names: Iterable[str], fault: str) -> set[str]:
    """The names, "" (absent) left out of the count. InvalidModel if one occurs twice."""
    seen: set[str] = set()
    for name in names:
        if name and name in seen:
            raise InvalidModel(f"{fault} {shown(name)}", field="chunk")
        seen.add(name)
    return seen
