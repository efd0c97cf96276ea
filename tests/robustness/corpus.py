"""Files that no server should take, made by one function each. `python -m tests.robustness.corpus FOLDER` writes them.

Their numbers are the rows of the table in test_hostile_table.py.
"""

import gzip
import io
import itertools
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, SparseTensorProto, TensorProto, helper, numpy_helper

from tests.models import zoo

NODES, ENDS, DEPTH, WEIGHT_BYTES = 400, 20, 6, 4_000_000
"""Limits of the server that these are sent to."""


@dataclass(frozen=True)
class Bad:
    """reason: of the refusal. words: of its message."""

    row: int
    name: str
    make: Callable[[], bytes]
    reason: str = "INVALID_MODEL"
    words: str = ""


ALL: list[Bad] = []


def bad(row: int, words: str = "", reason: str = "INVALID_MODEL", name: str = ""):
    """Enter a function into the corpus."""

    def enter(make):
        ALL.append(Bad(row, name or make.__name__.replace("_", " "), make, reason, words))
        return make

    return enter


def mlp() -> ModelProto:
    return onnx.load_from_string(zoo.mlp())


def model(nodes, weights=(), outputs=("y",)) -> bytes:
    """One of x [N, 8]."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("own", 1)]
    graph = helper.make_graph(nodes, "g", inputs, ends, list(weights))
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


# ---- 1, 9, 19: other files ---------------------------------------------------------------------------------------


@bad(1, "no bytes came")
def empty() -> bytes:
    return b""


@bad(1, "no ONNX model")
def random_bytes() -> bytes:
    return np.random.default_rng(0).bytes(4096)


@bad(1, "cut off")
def truncated() -> bytes:
    return zoo.mlp()[:400]


@bad(9, "ORT-format")
def ort_flatbuffer() -> bytes:
    return b"\x1c\x00\x00\x00ORTM" + bytes(200)


@bad(19, "zip file")
def zip_file() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("model.onnx", zoo.mlp())
    return held.getvalue()


@bad(19, "gzip file")
def gzip_file() -> bytes:
    return gzip.compress(zoo.mlp())


# ---- 2 to 6: tensors that point elsewhere ------------------------------------------------------------------------


def pointer(location: str, name: str = "spy") -> TensorProto:
    """A tensor of 64 bytes at the beginning of another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.UINT8, dims=[64], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "64")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _shown(nodes, weights=()) -> bytes:
    """A model that would answer what "spy" holds."""
    told = [
        helper.make_node("Cast", ["spy"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "numbers"], ["y"]),
    ]
    return model([*nodes, *told], weights)


def _sparse(tensor: TensorProto, indices: TensorProto | None = None) -> SparseTensorProto:
    places = indices if indices is not None else numpy_helper.from_array(np.arange(64))
    return SparseTensorProto(values=tensor, indices=places, dims=[64])


def in_initializer(tensor) -> bytes:
    return _shown([], [tensor])


def in_constant(tensor) -> bytes:
    return _shown([helper.make_node("Constant", [], ["spy"], value=tensor)])


def in_mistyped_constant(tensor) -> bytes:
    node = helper.make_node("Constant", [], ["spy"])
    node.attribute.append(AttributeProto(name="value", type=AttributeProto.INT, t=tensor))
    return _shown([node])


def in_sparse_values(tensor) -> bytes:
    made = onnx.load_from_string(_shown([]))
    made.graph.sparse_initializer.append(_sparse(tensor))
    return made.SerializeToString()


def in_sparse_indices(tensor) -> bytes:
    made = onnx.load_from_string(_shown([]))
    values = numpy_helper.from_array(np.ones(64, np.uint8), "spy")
    made.graph.sparse_initializer.append(_sparse(values, tensor))
    return made.SerializeToString()


def in_sparse_constant(tensor) -> bytes:
    node = helper.make_node("Constant", [], ["spy"])
    held = AttributeProto(name="sparse_value", type=AttributeProto.SPARSE_TENSOR, sparse_tensor=_sparse(tensor))
    node.attribute.append(held)
    return _shown([node])


def in_function(tensor) -> bytes:
    made = onnx.load_from_string(_shown([helper.make_node("f", [], ["spy"], domain="own")]))
    body = [helper.make_node("Constant", [], ["out"], value=tensor)]
    made.functions.append(helper.make_function("own", "f", [], ["out"], body, [helper.make_opsetid("", 17)]))
    return made.SerializeToString()


def in_function_default(tensor) -> bytes:
    made = onnx.load_from_string(_shown([helper.make_node("f", [], ["spy"], domain="own")]))
    node = helper.make_node("Constant", [], ["out"])
    node.attribute.append(AttributeProto(name="value", type=AttributeProto.TENSOR, ref_attr_name="held"))
    function = helper.make_function("own", "f", [], ["out"], [node], [helper.make_opsetid("", 17)])
    function.attribute_proto.append(AttributeProto(name="held", type=AttributeProto.TENSOR, t=tensor))
    made.functions.append(function)
    return made.SerializeToString()


def in_subgraph(tensor) -> bytes:
    go = helper.make_tensor("go", TensorProto.BOOL, [], [True])
    out = [helper.make_tensor_value_info("out", TensorProto.UINT8, [64])]
    branch = helper.make_graph([helper.make_node("Identity", ["inner"], ["out"])], "b", [], out, [tensor])
    branch.initializer[0].name = "inner"
    return _shown([helper.make_node("If", ["go"], ["spy"], then_branch=branch, else_branch=branch)], [go])


def in_training_graph(tensor) -> bytes:
    made = mlp()
    made.training_info.add().algorithm.initializer.append(tensor)
    return made.SerializeToString()


PLACES = (
    in_initializer, in_constant, in_mistyped_constant, in_sparse_values, in_sparse_indices, in_sparse_constant,
    in_function, in_function_default, in_subgraph, in_training_graph,
)  # fmt: skip
"""Every place where a tensor can stand."""

_ROW_OF_PLACE = {
    "in_constant": 3, "in_mistyped_constant": 3, "in_sparse_values": 4, "in_sparse_indices": 4, "in_sparse_constant": 4,
    "in_function": 5, "in_function_default": 5, "in_subgraph": 5, "in_training_graph": 5,
}  # fmt: skip

_OUTSIDE = "keeps its data outside the file"

for _location in ("../secret", "/etc/passwd", "weights/../../secret"):
    bad(2, _OUTSIDE, name=_location)(lambda location=_location: in_initializer(pointer(location)))
for _place in PLACES[1:]:
    _name = _place.__name__.replace("_", " ")
    bad(_ROW_OF_PLACE[_place.__name__], _OUTSIDE, name=_name)(lambda place=_place: place(pointer("../secret")))
for _place in PLACES:
    _name = f"an address {_place.__name__.replace('_', ' ')}"
    bad(6, _OUTSIDE, name=_name)(lambda place=_place: place(pointer("*/_ORT_MEM_ADDR_/*")))


# ---- 7, 8: operators ---------------------------------------------------------------------------------------------


def overlong(value: int, length: int) -> bytes:
    """A varint in more bytes than it needs."""
    return bytes([value & 0x7F | 0x80, *[0x80] * (length - 2), 0])


@bad(7, "'EPContext'")
def forbidden_operator_behind_long_varints() -> bytes:
    node = b"\x0a\x01x\x12\x01z" + overlong(0x22, 2) + overlong(9, 5) + b"EPContext" + b"\x3a\x0dcom.microsoft"
    return zoo.mlp() + b"\x3a" + overlong(len(node) + 2, 4) + b"\x0a" + bytes([len(node)]) + node


@bad(8, "'NoSuchOp'")
def unknown_operator() -> bytes:
    return model([helper.make_node("NoSuchOp", ["x"], ["y"])])


@bad(8, "domain 'custom'")
def custom_domain() -> bytes:
    return model([helper.make_node("Relu", ["x"], ["y"], domain="custom")])


@bad(8, "'EPContext'")
def ep_context() -> bytes:
    held = dict(embed_mode=0, ep_cache_context="../secret", source="OpenVINOExecutionProvider")
    return model([helper.make_node("EPContext", ["x"], ["y"], "driver", domain="com.microsoft", **held)])


@bad(8, "function 'f'")
def custom_operator_in_a_function() -> bytes:
    made = onnx.load_from_string(model([helper.make_node("f", ["x"], ["y"], domain="own")]))
    body = [helper.make_node("PyOp", ["a"], ["b"], domain="ai.onnx.contrib")]
    made.functions.append(helper.make_function("own", "f", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    return made.SerializeToString()


@bad(8, "2 inputs; the operator takes 1 at most")
def operator_with_too_many_inputs() -> bytes:
    return model([helper.make_node("Relu", ["x", "x"], ["y"])])


# ---- 10, 11: nesting ---------------------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    go = helper.make_tensor("go", TensorProto.BOOL, [], [True])
    inside = [helper.make_node("Identity", ["x"], ["z0"])]
    for k in range(1, depth):
        out = [helper.make_tensor_value_info(f"z{k - 1}", TensorProto.FLOAT, None)]
        low = [helper.make_tensor_value_info(f"e{k}", TensorProto.FLOAT, None)]
        then, other = (
            helper.make_graph(inside, f"then{k}", [], out),
            helper.make_graph([helper.make_node("Identity", ["x"], [f"e{k}"])], f"else{k}", [], low),
        )
        inside = [helper.make_node("If", ["go"], [f"z{k}"], f"if{k}", then_branch=then, else_branch=other)]
    inside[0].output[0] = "y"
    return model(inside, [go])


@bad(10, f"graphs are nested more than {DEPTH} deep")
def nested_beyond_the_limit() -> bytes:
    return nested(DEPTH + 1)


@bad(10, "nested too deep")
def nested_beyond_what_protobuf_reads() -> bytes:
    graph = b""
    for _ in range(1000):
        for tag in (0x32, 0x2A, 0x0A):  # a graph in an attribute, in a node, in a graph
            graph = bytes([tag]) + _varint(len(graph)) + graph
    return b"\x08\x08\x3a" + _varint(len(graph)) + graph + zoo.mlp()


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 0x7F | 0x80]) + _varint(value >> 7)


def _calling(*calls: tuple[str, str]) -> bytes:
    made = onnx.load_from_string(model([helper.make_node("f", ["x"], ["y"], domain="own")]))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for name, callee in calls:
        node = helper.make_node(callee, ["a"], ["b"], domain="" if callee == "Relu" else "own")
        made.functions.append(helper.make_function("own", name, ["a"], ["b"], [node], imports))
    return made.SerializeToString()


@bad(11, "calls itself")
def function_that_calls_itself() -> bytes:
    return _calling(("f", "f"))


@bad(11, "calls itself")
def functions_that_call_each_other() -> bytes:
    return _calling(("f", "g"), ("g", "h"), ("h", "f"))


@bad(11, "deep; the limit is")
def functions_that_call_too_deep() -> bytes:
    chain = ["f", *(f"f{k}" for k in range(DEPTH + 1)), "Relu"]
    return _calling(*itertools.pairwise(chain))


# ---- 12 to 17: contradictions ------------------------------------------------------------------------------------


def _with_weight(**changes) -> bytes:
    made = mlp()
    tensor = made.graph.initializer[0]
    for name, value in changes.items():
        tensor.ClearField(name)
        tensor.MergeFrom(TensorProto(**{name: value}))
    return made.SerializeToString()


@bad(12, "more elements than can be counted")
def dims_whose_product_overflows() -> bytes:
    return _with_weight(dims=[2**32, 2**32, 16])


@bad(12, "declares more elements")
def declared_dims_whose_product_overflows() -> bytes:
    made = mlp()
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2**62
    return made.SerializeToString()


@bad(13, "negative extent")
def negative_dims() -> bytes:
    return _with_weight(dims=[-8, -16])


@bad(13, "negative extent")
def negative_declared_dims() -> bytes:
    made = mlp()
    made.graph.input[0].type.tensor_type.shape.dim[1].dim_value = -8
    return made.SerializeToString()


@bad(14, "holds 3 bytes")
def raw_data_too_short() -> bytes:
    return _with_weight(raw_data=b"123")


@bad(14, "holds 1000 bytes")
def raw_data_too_long() -> bytes:
    return _with_weight(raw_data=bytes(1000))


@bad(14, "index outside its shape")
def sparse_indices_outside() -> bytes:
    made = mlp()
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    places = numpy_helper.from_array(np.array([-20]))
    made.graph.sparse_initializer.append(SparseTensorProto(values=values, indices=places, dims=[8]))
    return made.SerializeToString()


@bad(15, "two nodes write 'a'")
def two_nodes_write_one_name() -> bytes:
    node = helper.make_node("Relu", ["x"], ["a"])
    return model([node, node, helper.make_node("Relu", ["a"], ["y"])])


@bad(15, "not acyclic")
def nodes_in_a_circle() -> bytes:
    pair = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Add", ["x", "a"], ["b"])]
    return model([*pair, helper.make_node("Relu", ["a"], ["y"])])


@bad(15, "UTF-8")
def names_that_are_no_text() -> bytes:
    return zoo.mlp().replace(b"MatMul", b"Mat\xff\xfeu")


def tree(**changes) -> bytes:
    held = {
        "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [0, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"], "nodes_values": [0.5, 0.0, 0.0],
        "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0], "target_treeids": [0, 0],
        "target_nodeids": [1, 2], "target_ids": [0, 0], "target_weights": [1.0, 2.0], "n_targets": 1,
    } | changes  # fmt: skip
    return model([helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], "t", domain="ai.onnx.ml", **held)])


@bad(16, "nodes_truenodeids is no node")
def tree_whose_branch_leads_outside() -> bytes:
    return tree(nodes_truenodeids=[10**9, 0, 0])


@bad(16, "leads in a circle")
def tree_in_a_circle() -> bytes:
    return tree(nodes_truenodeids=[0, 0, 0])


@bad(16, "target_ids is no target")
def tree_whose_target_is_outside() -> bytes:
    return tree(target_ids=[0, -(2**31)])


@bad(16, "levels")
def tree_that_overflows_the_runtimes_stack() -> bytes:
    return tree(**zoo.chain(20_000))


@bad(17, "both input and initializer of a subgraph")
def loop_input_that_is_an_initializer() -> bytes:
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_in"], ["go_out"]), helper.make_node("Identity", ["v_in"], ["v_out"])],
        "body",
        [
            value("n", TensorProto.INT64, []),
            value("go_in", TensorProto.BOOL, []),
            value("v_in", TensorProto.FLOAT, None),
        ],
        [value("go_out", TensorProto.BOOL, []), value("v_out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(1), "n")],
    )
    trips = helper.make_tensor("trips", TensorProto.INT64, [], [2])
    go = helper.make_tensor("go", TensorProto.BOOL, [], [True])
    return model([helper.make_node("Loop", ["trips", "go", "x"], ["y"], body=body)], [trips, go])


@bad(13, "would have the shape [-192]")
def negative_output_shape() -> bytes:
    pads = numpy_helper.from_array(np.array([0, -100, 0, -100], np.int64), "pads")
    return model([helper.make_node("Pad", ["x", "pads"], ["y"])], [pads])


@bad(15, "stands in no function")
def attribute_of_no_function() -> bytes:
    node = helper.make_node("Softmax", ["x"], ["y"])
    node.attribute.append(AttributeProto(name="axis", ref_attr_name="nope", type=AttributeProto.INT))
    return model([node])


# ---- 34 to 36: too large -----------------------------------------------------------------------------------------


def _bomb(node, *weights) -> bytes:
    """8 GiB for every row."""
    peak = helper.make_node("ReduceMax", ["much"], ["peak"], keepdims=0)
    return model([node, peak, helper.make_node("Add", ["x", "peak"], ["y"])], weights)


def constant_of_shape_bomb() -> bytes:
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [2**31])
    return _bomb(helper.make_node("ConstantOfShape", ["shape"], ["much"]), shape)


def expand_bomb() -> bytes:
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [2**31])
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    return _bomb(helper.make_node("Expand", ["one", "shape"], ["much"]), shape, one)


def tile_bomb() -> bytes:
    times = helper.make_tensor("times", TensorProto.INT64, [1], [2**31])
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    return _bomb(helper.make_node("Tile", ["one", "times"], ["much"]), times, one)


@bad(35, "--max-model-weights-bytes", "TOO_LARGE")
def weights_over_the_cap() -> bytes:
    large = numpy_helper.from_array(np.zeros(WEIGHT_BYTES // 4 + 1, np.float32), "w")
    return model([helper.make_node("Relu", ["x"], ["y"])], [large])


@bad(35, "--max-model-weights-bytes", "TOO_LARGE")
def sparse_weights_over_the_cap() -> bytes:
    made = onnx.load_from_string(model([helper.make_node("Relu", ["x"], ["y"])]))
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    places = numpy_helper.from_array(np.array([0]))
    made.graph.sparse_initializer.append(SparseTensorProto(values=values, indices=places, dims=[2**33]))
    return made.SerializeToString()


@bad(36, "--max-model-nodes", "TOO_LARGE")
def too_many_nodes() -> bytes:
    names = ["x", *(f"a{k}" for k in range(NODES)), "y"]
    return model([helper.make_node("Relu", [a], [b]) for a, b in itertools.pairwise(names)])


@bad(36, "nodes with its functions in place", "TOO_LARGE")
def functions_that_double() -> bytes:
    made = onnx.load_from_string(model([helper.make_node("f0", ["x"], ["y"], domain="own")]))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for k in range(DEPTH - 1):
        body = [helper.make_node(f"f{k + 1}", ["a"], [f"b{n}"], domain="own") for n in range(8)]
        made.functions.append(helper.make_function("own", f"f{k}", ["a"], ["b0"], body, imports))
    last = [helper.make_node("Relu", ["a"], ["b"])]
    made.functions.append(helper.make_function("own", f"f{DEPTH - 1}", ["a"], ["b"], last, imports))
    return made.SerializeToString()


@bad(36, "--max-model-ends", "TOO_LARGE")
def too_many_outputs() -> bytes:
    names = [f"y{k}" for k in range(ENDS + 1)]
    return model([helper.make_node("Relu", ["x"], [name]) for name in names], outputs=names)


# ---- 44, 48: models that pass ------------------------------------------------------------------------------------


def slow_load() -> bytes:
    """Under 2 kB, and minutes of products that onnxruntime works out while it loads."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [4000, 4000])
    value = helper.make_tensor("v", TensorProto.FLOAT, [1], [0.01])
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["b0"], value=value)]
    nodes += [helper.make_node("MatMul", [f"b{k}", f"b{k}"], [f"b{k + 1}"]) for k in range(60)]
    peak = helper.make_node("ReduceMax", ["b60"], ["peak"], keepdims=0)
    return model([*nodes, peak, helper.make_node("Add", ["x", "peak"], ["y"])], [shape])


def drawing() -> bytes:
    """One that draws random numbers."""
    noise = helper.make_node("RandomNormalLike", ["x"], ["noise"])
    return model([noise, helper.make_node("Add", ["x", "noise"], ["y"])])


def logarithm() -> bytes:
    """NaN below 0."""
    return model([helper.make_node("Log", ["x"], ["y"])])


def as_long_as_it_is_positive() -> bytes:
    """Answers the places of x's elements that aren't 0: more for one row than for another."""
    places = helper.make_node("NonZero", ["x"], ["places"])
    return model([places, helper.make_node("Cast", ["places"], ["y"], to=TensorProto.FLOAT)])


def files() -> Iterator[tuple[str, bytes]]:
    """Names and bytes."""
    for held in ALL:
        yield f"{held.row:02d}-{held.name.replace('/', '_').replace(' ', '-')}.onnx", held.make()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for _file, _data in files():
        (folder / _file).write_bytes(_data)
