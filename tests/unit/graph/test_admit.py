import gzip
import io
import zipfile

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, ModelProto, SparseTensorProto, TensorProto, helper, numpy_helper

from assayd.errors import InvalidModel, TooLarge
from assayd.graph.admit import admit
from assayd.graph.functions import inlined_size
from assayd.types.admission import AdmissionLimits
from tests.models import zoo


def refusal(model) -> str:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    with pytest.raises(InvalidModel) as caught:
        admit(data)
    assert caught.value.field == "chunk"
    assert caught.value.reason == "INVALID_MODEL"
    return caught.value.message


def mlp() -> ModelProto:
    return onnx.load_from_string(zoo.mlp())


def test_good_models_are_admitted():
    for make in (zoo.linear, zoo.cnn, zoo.vit, zoo.forest, zoo.strings, zoo.old_style, zoo.scalar_side):
        assert admit(make()).graph.output


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.onnx", zoo.mlp())
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (zipped(), "zip file"),
        (gzip.compress(zoo.mlp()), "gzip file"),
        (b"\x1c\x00\x00\x00ORTM" + bytes(60), "ORT-format"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(60), "TensorFlow Lite"),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), "HDF5"),
        (np.random.default_rng(0).bytes(1000), "no ONNX model"),
        (b"hello", "no ONNX model"),
        (zoo.mlp()[:500], "cut off"),
        (ModelProto(ir_version=8).SerializeToString(), "no graph"),
    ],
    ids=["empty", "zip", "gzip", "ort", "tflite", "hdf5", "random", "text", "truncated", "no graph"],
)
def test_other_files(data, words):
    assert words in refusal(data)


def test_every_truncation_is_refused_or_whole():
    data = zoo.linear()
    for end in range(len(data)):
        try:
            model = admit(data[:end])
        except InvalidModel:
            continue
        assert model.graph.output  # cut between fields behind everything that matters


def test_a_model_without_outputs_inputs_or_operator_sets():
    model = mlp()
    del model.graph.output[:]
    assert "no outputs" in refusal(model)
    model = mlp()
    del model.graph.input[:]
    assert "no inputs" in refusal(model)
    model = mlp()
    del model.opset_import[:]
    assert "operator set" in refusal(model)


# ---- external data, wherever a tensor can stand ------------------------------------------------------------------


def outside(location: str = "../secret") -> TensorProto:
    tensor = TensorProto(name="spy", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def in_initializer(model, tensor):
    model.graph.initializer.append(tensor)


def in_sparse_values(model, tensor):
    indices = numpy_helper.from_array(np.array([0]), "i")
    model.graph.sparse_initializer.append(SparseTensorProto(values=tensor, indices=indices, dims=[3]))


def in_sparse_indices(model, tensor):
    values = numpy_helper.from_array(np.array([1.0], np.float32), "v")
    model.graph.sparse_initializer.append(SparseTensorProto(values=values, indices=tensor, dims=[3]))


def held_by(node, tensor, many: bool = False):
    if many:
        node.attribute.append(AttributeProto(name="held", type=AttributeProto.TENSORS, tensors=[tensor]))
    else:
        node.attribute.append(AttributeProto(name="value", type=AttributeProto.TENSOR, t=tensor))


def in_constant(model, tensor):
    held_by(model.graph.node.add(op_type="Constant", output=["c"]), tensor)


def in_list(model, tensor):
    held_by(model.graph.node.add(op_type="Odd", output=["c"]), tensor, many=True)


def in_mistyped_attribute(model, tensor):
    node = model.graph.node.add(op_type="Constant", output=["c"])
    node.attribute.append(AttributeProto(name="value", type=AttributeProto.INT, t=tensor))


def in_sparse_attribute(model, tensor):
    node = model.graph.node.add(op_type="Constant", output=["c"])
    sparse = SparseTensorProto(values=tensor, dims=[3])
    node.attribute.append(AttributeProto(name="sparse_value", type=AttributeProto.SPARSE_TENSOR, sparse_tensor=sparse))


def in_sparse_list(model, tensor):
    node = model.graph.node.add(op_type="Odd", output=["c"])
    sparse = SparseTensorProto(values=tensor, dims=[3])
    node.attribute.append(AttributeProto(name="s", type=AttributeProto.SPARSE_TENSORS, sparse_tensors=[sparse]))


def in_subgraph(model, tensor):
    inner = helper.make_graph([], "inner", [], [], [tensor])
    outer = helper.make_graph([helper.make_node("If", ["c"], ["d"], then_branch=inner)], "outer", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["e"], then_branch=outer))


def in_function(model, tensor):
    node = helper.make_node("Constant", [], ["y"])
    held_by(node, tensor)
    model.functions.append(helper.make_function("own", "f", [], ["y"], [node], [helper.make_opsetid("", 17)]))


def in_function_default(model, tensor):
    function = helper.make_function("own", "f", [], ["y"], [], [helper.make_opsetid("", 17)])
    function.attribute_proto.append(AttributeProto(name="a", type=AttributeProto.TENSOR, t=tensor))
    model.functions.append(function)


def in_training_graph(model, tensor):
    model.training_info.add().algorithm.initializer.append(tensor)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../b", "weights.bin", "*/_ORT_MEM_ADDR_/*"])
@pytest.mark.parametrize(
    "place",
    [
        in_initializer, in_sparse_values, in_sparse_indices, in_constant, in_list, in_mistyped_attribute,
        in_sparse_attribute, in_sparse_list, in_subgraph, in_function, in_function_default, in_training_graph,
    ],
)  # fmt: skip
def test_external_data_anywhere(place, location):
    model = mlp()
    place(model, outside(location))
    message = refusal(model)
    assert "outside the file" in message
    assert location not in message


def test_external_data_with_the_default_location():
    model = mlp()
    tensor = outside()
    tensor.ClearField("data_location")
    in_initializer(model, tensor)
    assert "outside the file" in refusal(model)


# ---- names -------------------------------------------------------------------------------------------------------


def test_duplicate_names():
    model = mlp()
    model.graph.input.append(model.graph.input[0])
    assert "two inputs are named 'x'" in refusal(model)
    model = mlp()
    model.graph.output.append(model.graph.output[0])
    assert "two outputs are named 'y'" in refusal(model)
    model = mlp()
    model.graph.initializer.append(model.graph.initializer[0])
    assert "two initializers are named 'c0'" in refusal(model)
    model = mlp()
    model.graph.node.append(helper.make_node("Relu", ["x"], ["y"]))
    assert "two nodes write 'y'" in refusal(model)
    model = mlp()
    model.graph.node.append(helper.make_node("Relu", ["y"], ["x"]))
    assert "a node writes 'x'" in refusal(model)


def test_a_loop_input_that_is_also_an_initializer():
    model = mlp()
    value = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    body = helper.make_graph([], "body", [value], [], [numpy_helper.from_array(np.array(1), "i")])
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["z"], body=body))
    assert "both input and initializer" in refusal(model)


def test_a_name_that_is_no_text():
    data = zoo.linear().replace(b"MatMul", b"Mat\xff\xfeu")
    assert "UTF-8" in refusal(data)


# ---- tensors -----------------------------------------------------------------------------------------------------


def with_weight(**changes) -> ModelProto:
    model = mlp()
    tensor = model.graph.initializer[0]
    for name, value in changes.items():
        tensor.ClearField(name)
        if name == "dims":
            tensor.dims.extend(value)
        elif value is not None:
            setattr(tensor, name, value)
    return model


def test_weights_that_contradict_themselves():
    assert "negative extent" in refusal(with_weight(dims=[-1, 16]))
    assert "more elements than" in refusal(with_weight(dims=[2**31, 2**31, 2**31]))
    assert "holds 512 bytes, but its shape [8, 17] needs 544" in refusal(with_weight(dims=[8, 17]))
    assert "needs 512" in refusal(with_weight(raw_data=b"1234"))
    assert "holds 0 values" in refusal(with_weight(raw_data=None))
    assert "unknown element type 0" in refusal(with_weight(data_type=0))
    assert "unknown element type 99" in refusal(with_weight(data_type=99))


@pytest.mark.parametrize(
    "tensor",
    [
        helper.make_tensor("t", TensorProto.FLOAT, [2, 2], [1, 2, 3, 4]),
        helper.make_tensor("t", TensorProto.FLOAT16, [3], [1, 2, 3]),
        helper.make_tensor("t", TensorProto.BOOL, [2], [True, False]),
        helper.make_tensor("t", TensorProto.COMPLEX64, [2], [1 + 2j, 3j]),
        helper.make_tensor("t", TensorProto.INT4, [3], [1, 2, 3]),
        helper.make_tensor("t", TensorProto.UINT64, [2], [1, 2]),
        helper.make_tensor("t", TensorProto.STRING, [2], [b"a", b"b"]),
        helper.make_tensor("t", TensorProto.DOUBLE, [], [1]),
        numpy_helper.from_array(np.zeros((0, 3), np.float32), "t"),
        numpy_helper.from_array(np.arange(5, dtype=np.int8), "t"),
    ],
    ids=lambda tensor: TensorProto.DataType.Name(tensor.data_type),
)
def test_honest_weights_are_admitted(tensor):
    model = mlp()
    model.graph.initializer.append(tensor)
    admit(model.SerializeToString())


# ---- depth -------------------------------------------------------------------------------------------------------


def nested(depth: int) -> ModelProto:
    model = mlp()
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "g", [], [])
    for _ in range(depth - 2):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["z"], then_branch=graph)], "g", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["w"], then_branch=graph))
    return model


def test_graphs_nested_too_deep():
    admit(nested(20).SerializeToString())
    assert "nested" in refusal(nested(AdmissionLimits().depth + 1))


def function(name: str, *calls: str):
    nodes = [helper.make_node(callee, ["x"], [f"y{k}"], domain="own") for k, callee in enumerate(calls)]
    imports = [helper.make_opsetid("own", 1), helper.make_opsetid("", 17)]
    return helper.make_function("own", name, ["x"], ["y0"], nodes or [helper.make_node("Relu", ["x"], ["y0"])], imports)


def with_functions(*functions) -> ModelProto:
    model = mlp()
    model.functions.extend(functions)
    return model


def test_recursive_functions():
    assert "calls itself" in refusal(with_functions(function("f", "f")))
    assert "calls itself" in refusal(with_functions(function("f", "g"), function("g", "h"), function("h", "g")))
    admit(with_functions(function("f", "g", "h"), function("g", "h"), function("h")).SerializeToString())


def test_functions_that_call_too_deep():
    chain = [function(f"f{k}", f"f{k + 1}") for k in range(AdmissionLimits().depth + 1)]
    assert "deep" in refusal(with_functions(*chain, function(f"f{AdmissionLimits().depth + 1}")))


def test_functions_that_double_are_counted_not_inlined():
    doubling = [function(f"f{k}", f"f{k + 1}", f"f{k + 1}") for k in range(30)]
    model = with_functions(*doubling, function("f30"))
    model.graph.node.append(helper.make_node("f0", ["x"], ["z"], domain="own"))
    assert inlined_size(model, 32) > 2**30
    assert "nodes with its functions in place; the limit is 200000" in too_large(model)


def test_two_functions_of_one_name():
    assert "two functions are named 'own f '" in refusal(with_functions(function("f"), function("f")))


# ---- limits ------------------------------------------------------------------------------------------------------


def too_large(model, **limits) -> str:
    with pytest.raises(TooLarge) as caught:
        admit(model.SerializeToString(), AdmissionLimits(**limits))
    assert caught.value.field == "chunk"
    assert int(caught.value.metadata["found"]) > int(caught.value.metadata["limit"])
    return caught.value.message


def test_limits_hold_what_they_say_and_no_less():
    model = mlp()
    nodes, weights = len(model.graph.node), sum(len(t.raw_data) for t in model.graph.initializer)
    exact = AdmissionLimits(nodes=nodes, ends=1, depth=1, weight_bytes=weights)
    admit(model.SerializeToString(), exact)
    assert f"{nodes} nodes; the limit is {nodes - 1} (the server's --max-model-nodes)" in too_large(
        model, nodes=nodes - 1
    )
    assert f"{weights} bytes of weights; the limit is {weights - 1}" in too_large(model, weight_bytes=weights - 1)
    model.graph.output.add(name="c0")
    assert "2 outputs; the limit is 1 (the server's --max-model-ends)" in too_large(model, ends=1)
    model = mlp()
    model.graph.input.add(name="x2")
    assert "2 inputs; the limit is 1" in too_large(model, ends=1)


def test_nodes_of_subgraphs_and_functions_count():
    model = nested(5)
    outer = len(model.graph.node)
    assert f"{outer + 4} nodes" in too_large(model, nodes=outer + 3)
    model = with_functions(function("f"), function("g"))
    outer = len(model.graph.node)
    assert f"{outer + 2} nodes" in too_large(model, nodes=outer + 1)


def test_a_sparse_weight_counts_as_dense():
    model = mlp()
    in_sparse_values(model, numpy_helper.from_array(np.array([1.0], np.float32), "s"))
    model.graph.sparse_initializer[0].dims[:] = [10**9]
    assert "bytes of weights" in too_large(model)


@pytest.mark.parametrize(
    ("dims", "index", "words"),
    [([3], 3, "index outside"), ([3], -1, "index outside"), ([-3], 0, "negative"), ([2**40, 2**40], 0, "counted")],
)
def test_sparse_weights_that_contradict_themselves(dims, index, words):
    model = mlp()
    values = numpy_helper.from_array(np.array([1.0], np.float32), "s")
    indices = numpy_helper.from_array(np.array([index]), "i")
    model.graph.sparse_initializer.append(SparseTensorProto(values=values, indices=indices, dims=dims))
    assert words in refusal(model)


def test_declared_extents():
    model = mlp()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1  # old exporters' way to leave it free
    admit(model.SerializeToString())
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -2
    assert "'x' declares a negative extent" in refusal(model)
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_value = 2**40
    assert "'x' declares more elements" in refusal(model)


# ---- operators ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "op"),
    [
        ("", "NoSuchOp"), ("", "MemcpyToHost"), ("custom", "Relu"), ("com.microsoft", "EPContext"),
        ("com.microsoft", "Snpe"), ("com.microsoft", "Relu"), ("com.microsoft.nchwc", "Conv"),
        ("com.ms.internal.nhwc", "Conv"), ("ai.onnx.preview.training", "Adam"), ("ai.onnx.ml", "Relu"),
        ("com.microsoft.extensions", "PyOp"),
    ],
)  # fmt: skip
def test_operators_that_are_not_allowed_are_named_with_their_place(domain, op):
    model = mlp()
    model.graph.node.append(helper.make_node(op, ["y"], ["z"], "the-node", domain=domain))
    message = refusal(model)
    assert f"{op} 'the-node': the operator '{op}' " in message
    model = mlp()
    inner = helper.make_graph([helper.make_node(op, ["x"], ["w"], "inner", domain=domain)], "g", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["d"], "outer", then_branch=inner, else_branch=inner))
    assert "(in If 'outer' then_branch)" in refusal(model) or "(in If 'outer' else_branch)" in refusal(model)
    model = with_functions(function("f"))
    model.functions[0].node.append(helper.make_node(op, ["x"], ["w"], domain=domain))
    assert "(in function 'f')" in refusal(model)


@pytest.mark.parametrize(("domain", "name"), [("com.microsoft", "EPContext"), ("com.ms.internal.nhwc", "Conv")])
def test_a_function_lends_its_name_to_no_forbidden_operator(domain, name):
    model = with_functions(function("f"))
    model.functions[0].domain, model.functions[0].name = domain, name
    model.graph.node.append(helper.make_node(name, ["x"], ["z"], domain=domain))
    assert "isn't allowed here" in refusal(model)


@pytest.mark.parametrize(("domain", "op"), [("com.microsoft", "Gelu"), ("ai.onnx", "Relu"), ("own", "f")])
def test_operators_that_are_allowed(domain, op):
    model = with_functions(function("f"))
    model.graph.node.append(helper.make_node(op, ["x"], ["z"], domain=domain))
    admit(model.SerializeToString())


def overlong(value: int, length: int) -> bytes:
    """A varint in more bytes than it needs."""
    return bytes([value & 0x7F | 0x80, *[0x80] * (length - 2), 0])


@pytest.mark.parametrize("length", [2, 5])
def test_an_operator_behind_varints_that_are_longer_than_they_need_be(length):
    node = helper.make_node("EPContext", ["x"], ["z"], domain="com.microsoft")
    parts = [
        (overlong(tag, 2) + overlong(len(text), length) if tag == 0x22 else bytes([tag, len(text)])) + text
        for tag, text in ((0x0A, b"x"), (0x12, b"z"), (0x22, b"EPContext"), (0x3A, b"com.microsoft"))
    ]
    hidden = b"".join(parts)
    assert onnx.NodeProto.FromString(hidden) == node
    data = zoo.mlp()
    graph_field = b"\x3a" + overlong(len(hidden) + 2, length) + b"\x0a" + bytes([len(hidden)]) + hidden
    assert "EPContext" in refusal(data + graph_field)  # a second graph field is merged into the first


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (helper.make_node("Gather", ["x"], ["z"], "g"), "Gather 'g' has 1 inputs; the operator takes 2 or more"),
        (helper.make_node("Relu", ["x"], [], "r"), "Relu 'r' has 0 outputs; the operator takes 1 or more"),
        (helper.make_node("Relu", ["x", "x"], ["z"], "r"), "2 inputs; the operator takes 1 at most"),
        (helper.make_node("Concat", ["x"], ["z"], "c", axis=1.5), "'axis' of type FLOAT; the operator takes INT"),
    ],
)
def test_nodes_that_are_none_of_their_operator(node, words):
    model = mlp()
    model.graph.node.append(node)
    assert words in refusal(model)


# ---- trees -------------------------------------------------------------------------------------------------------


def tree(**changes) -> ModelProto:
    held = {
        "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [0, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"], "nodes_values": [0.5, 0.0, 0.0],
        "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0], "target_treeids": [0, 0],
        "target_nodeids": [1, 2], "target_ids": [0, 0], "target_weights": [1.0, 2.0], "n_targets": 1,
    } | changes  # fmt: skip
    model = mlp()
    model.graph.node.append(helper.make_node("TreeEnsembleRegressor", ["x"], ["z"], "t", domain="ai.onnx.ml", **held))
    return model


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(nodes_truenodeids=[7, 0, 0]), "entry 0 of nodes_truenodeids is no node of its tree"),
        (dict(nodes_falsenodeids=[-1, 0, 0]), "nodes_falsenodeids is no node"),
        (dict(nodes_truenodeids=[0, 0, 0]), "leads in a circle"),
        (dict(target_nodeids=[1, 9]), "entry 1 of target_nodeids"),
        (dict(target_treeids=[0, 5]), "entry 1 of target_nodeids"),
        (dict(target_ids=[0, 1]), "entry 1 of target_ids is no target of the 1 there are"),
        (dict(target_ids=[-1, 0]), "entry 0 of target_ids"),
        (dict(nodes_featureids=[-1, 0, 0]), "nodes_featureids"),
        (dict(nodes_featureids=[2**40, 0, 0]), "nodes_featureids"),
        (dict(nodes_nodeids=[0, 1]), "3 nodes_treeids and 2 nodes_nodeids"),
    ],
)
def test_trees_whose_numbers_lead_nowhere(changes, words):
    admit(tree().SerializeToString())
    assert words in refusal(tree(**changes))


def test_a_tree_of_more_levels_than_the_runtime_can_build():
    admit(tree(**zoo.chain(4000)).SerializeToString())
    assert "more than 4096 levels" in refusal(tree(**zoo.chain(20_000)))


def flat_tree(**changes) -> ModelProto:
    held = {
        "tree_roots": [0], "n_targets": 1, "nodes_featureids": [0], "nodes_truenodeids": [0], "nodes_falsenodeids": [1],
        "nodes_trueleafs": [1], "nodes_falseleafs": [1], "leaf_targetids": [0, 0],
        "nodes_splits": numpy_helper.from_array(np.array([0.5], np.float32)),
        "nodes_modes": numpy_helper.from_array(np.array([0], np.uint8)),
        "leaf_weights": numpy_helper.from_array(np.array([1, 2], np.float32)),
    } | changes  # fmt: skip
    model = mlp()
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 5))
    model.graph.node.append(helper.make_node("TreeEnsemble", ["x"], ["z"], "t", domain="ai.onnx.ml", **held))
    return model


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(tree_roots=[1]), "entry 0 of tree_roots is no node of the 1 there are"),
        (dict(nodes_truenodeids=[2]), "entry 0 of nodes_truenodeids is no node and no leaf"),
        (dict(nodes_truenodeids=[0], nodes_trueleafs=[0]), "leads in a circle"),
        (dict(leaf_targetids=[0, 3]), "entry 1 of leaf_targetids"),
    ],
)
def test_trees_by_place_whose_numbers_lead_nowhere(changes, words):
    admit(flat_tree().SerializeToString())
    assert words in refusal(flat_tree(**changes))
