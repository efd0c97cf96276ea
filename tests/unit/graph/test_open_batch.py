"""Each mend: a model with a baked batch, opened, gives for three rows what the plain one gives one by one."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from assayd.graph.programs import programs_of
from tests.models import zoo
from tests.models.zoo import FLOAT, Builder


def scaled() -> bytes:
    """onnx has no shape rule for Scaler. x [1, 4], y [1, 3]."""
    b = Builder()
    half = b.op("Scaler", "x", domain="ai.onnx.ml", offset=[0.0], scale=[0.5])
    b.linear(half, 4, 3, output="y")
    return b.model({"x": (FLOAT, [1, 4])}, {"y": (FLOAT, [1, 3])}, ml=True)


BAKED = {
    "cnn": zoo.cnn(),
    "cnn, target [1, -1]": zoo.cnn(target=(1, -1)),
    "cnn, target [-1, 128]": zoo.cnn(target=(-1, 128)),
    "transformer": zoo.transformer(),
    "transformer of four": zoo.transformer(batch=4),
    "folded attention": zoo.folded_attention(),
    "vit": zoo.vit(),
    "lstm batch first": zoo.lstm_batch_first(),
    "lstm time first": zoo.lstm_time_first(),
    "lstm time first of four": zoo.lstm_time_first(batch=4),
    "resized": zoo.resized(),
    "old style": zoo.old_style(),
    "linear": zoo.linear(batch=1),
    "linear float64": zoo.linear(dtype="float64", batch=1),
    "mlp of four": zoo.mlp(batch=4),
    "two by two": zoo.two_by_two(batch=1),
    "tokens": zoo.tokens(batch=1),
    "dense": zoo.dense(batch=1),
    "forest": zoo.forest(batch=1),
    "scaled": scaled(),
}


@pytest.mark.parametrize("name", BAKED)
def test_opened_equals_plain_row_by_row(name, assert_opened):
    assert_opened(programs_of(BAKED[name]))


def test_float16_opens(assert_opened):
    assert_opened(programs_of(zoo.linear(dtype="float16", batch=1)), tolerance=2e-3)


def one_input(b: Builder, ins, outs, opset: int = zoo.OPSET) -> bytes:
    return b.model({"x": (FLOAT, ins)}, {"y": (FLOAT, outs)}, opset=opset)


def test_a_target_shared_by_two_reshapes_is_mended_for_each(assert_opened):
    b = Builder()
    target = b.constant([1, 3, 4])
    first = b.op("Reshape", "x", target)
    turned = b.op("Transpose", first, perm=[0, 2, 1])
    second = b.op("Reshape", b.op("Reshape", turned, b.constant([1, 12])), target)
    b.op("Add", first, second, outputs=["y"])
    assert_opened(programs_of(one_input(b, [1, 12], [1, 3, 4])))


def test_an_expand_to_the_baked_batch(assert_opened):
    b = Builder()
    wide = b.op("Expand", b.op("Unsqueeze", "x", b.constant([1])), b.constant([4, 5, 6]))
    b.op("Mul", wide, b.weight(5, 6), outputs=["y"])
    assert_opened(programs_of(one_input(b, [4, 6], [4, 5, 6])))


def test_a_constant_of_shape_joined_to_rows(assert_opened):
    b = Builder()
    zeros = b.op("ConstantOfShape", b.constant([1, 2]))
    b.op("Concat", "x", zeros, outputs=["y"], axis=1)
    assert_opened(programs_of(one_input(b, [1, 6], [1, 8])))


def test_a_slice_that_takes_the_batch_by_its_number(assert_opened):
    b = Builder()
    b.op("Slice", "x", b.constant([0, 1]), b.constant([1, 4]), b.constant([0, 1]), outputs=["y"])
    assert_opened(programs_of(one_input(b, [1, 6], [1, 3])))


def test_a_sampling_grid_for_one_row(assert_opened):
    b = Builder()
    grid = b.constant(b.random.uniform(-1, 1, (1, 4, 4, 2)).astype(np.float32))
    b.op("GridSample", "x", grid, outputs=["y"])
    assert_opened(programs_of(one_input(b, [1, 2, 5, 5], [1, 2, 4, 4])))


def test_a_row_picked_by_its_number_is_picked_within_each_row(assert_opened):
    # torch: x[arange(1), ids.argmax(-1)], exported with a batch of 1
    b = Builder()
    last = b.op("ArgMax", b.op("ReduceSum", "x", b.constant([2]), keepdims=0), axis=1, keepdims=1)
    index = b.op("Concat", b.constant([[0]]), last, axis=1)
    b.op("GatherND", "x", index, outputs=["y"])
    assert_opened(programs_of(one_input(b, [1, 5, 6], [1, 6])))


def test_a_mask_with_heads_folded_in_is_repeated_for_each_row(assert_opened):
    b = Builder()
    heads = b.op("Reshape", "x", b.constant([4, 3, 2]))  # [N*4, 3, 2]
    masked = b.op("Add", heads, b.weight(4, 3, 2))
    b.op("Reshape", masked, b.constant([1, 24]), outputs=["y"])
    assert_opened(programs_of(one_input(b, [1, 24], [1, 24])))


def test_a_shape_worked_out_at_run_time_needs_no_mend(assert_opened):
    b = Builder()
    rows = b.op("Gather", b.op("Shape", "x"), b.constant([0]))
    b.op("Reshape", "x", b.op("Concat", rows, b.constant([-1]), axis=0), outputs=["y"])
    assert_opened(programs_of(one_input(b, [1, 3, 4], [1, 12])))


def test_a_free_length_beside_a_fixed_batch(assert_opened):
    b = Builder()
    length = b.op("Gather", b.op("Shape", "x"), b.constant([1]))
    split = b.op("Reshape", "x", b.op("Concat", b.constant([1]), length, b.constant([2, 3]), axis=0))
    b.op("ReduceMax", split, outputs=["y"], axes=[3], keepdims=0)
    programs = programs_of(one_input(b, [1, "length", 6], [1, "length", 2]))
    assert programs.signature.inputs[0].shape == (None, 6)
    for free in (5, 9):
        assert_opened(programs, free=free)


def test_a_free_length_without_a_telling_name_is_not_taken_for_the_batch(assert_opened):
    model = onnx.load_from_string(zoo.lstm_time_first())
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "s77"
    programs = programs_of(model.SerializeToString())
    (source,) = programs.signature.inputs
    assert (source.batch_axis, source.batch_extent, source.shape) == (1, 1, (None, 4))
    assert_opened(programs)


def test_functions_are_inlined(assert_opened):
    body = onnx.parser.parse_function(
        '<domain: "own", opset_import: ["" : 17]> flat (x) => (y) { s = Constant<value = int64[2] {1, 12}>() '
        "y = Reshape(x, s) }"
    )
    graph = helper.make_graph(
        [helper.make_node("flat", ["x"], ["y"], domain="own")],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [1, 3, 4])],
        [helper.make_tensor_value_info("y", FLOAT, [1, 12])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, functions=[body], opset_imports=opsets, ir_version=8)
    assert_opened(programs_of(model.SerializeToString()))


def test_opening_changes_nothing_in_the_plain_program():
    data = zoo.vit()
    assert programs_of(data).plain is data


REFUSED = {
    "rows mixed by a mean": (zoo.batch_mean(batch=1), "ReduceMean 'reducemean_0' works along the batch axis"),
    "rows mixed by a softmax": (zoo.batch_softmax(batch=1), "works along the batch axis"),
    "a scalar beside rows": (zoo.scalar_side(batch=1), "input 't' has no batch axis"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cant_be_opened_says_why(name):
    data, reason = REFUSED[name]
    programs = programs_of(data)
    assert programs.opened is None
    assert reason in programs.reason


def refused(b: Builder, ins, outs) -> str:
    programs = programs_of(one_input(b, ins, outs))
    assert programs.opened is None
    assert programs.plain is not None
    return programs.reason


def test_a_squeeze_of_everything_is_refused():
    b = Builder()
    b.op("Squeeze", "x", outputs=["y"])
    assert "Squeeze 'squeeze_0'" in refused(b, [1, 6], [6])


def test_a_picked_row_is_refused():
    b = Builder()
    b.op("Gather", "x", b.constant([0]), outputs=["y"], axis=0)
    assert "picks rows of the batch by number" in refused(b, [1, 6], [1, 6])


def test_a_constant_with_four_different_rows_is_refused():
    b = Builder()
    b.op("Add", "x", b.weight(4, 6), outputs=["y"])
    assert "made for a batch of 4 alone" in refused(b, [4, 6], [4, 6])


def test_an_output_apart_from_the_input_is_refused():
    b = Builder()
    b.op("Identity", b.weight(1, 6), outputs=["y"])
    assert "output 'y' has no batch axis" in refused(b, [1, 6], [1, 6])


def test_a_subgraph_that_the_batch_reaches_is_refused():
    branch = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["z"])], "b", [], [helper.make_tensor_value_info("z", FLOAT, [1, 6])]
    )
    b = Builder()
    b.op("If", b.constant(np.array(True)), outputs=["y"], then_branch=branch, else_branch=branch)
    assert "holds a subgraph that the batch reaches" in refused(b, [1, 6], [1, 6])


def test_an_image_without_a_batch_has_no_batch_axis():
    b = Builder()
    tall = b.op("Unsqueeze", b.op("Transpose", "x", perm=[2, 0, 1]), b.constant([0]))
    b.op("GlobalMaxPool", b.op("Conv", tall, b.weight(4, 1, 3, 3)), outputs=["y"])
    programs = programs_of(one_input(b, [9, 8, 1], [1, 4, 1, 1]))
    assert programs.signature.inputs[0].batch_axis is None
    assert programs.signature.inputs[0].shape == (9, 8, 1)
    assert programs.reason == "input 'x' has no batch axis"


def test_a_malformed_node_is_one_more_reason():
    model = onnx.load_from_string(zoo.cnn())
    model.graph.node[2].input[0] = ""
    programs = programs_of(model.SerializeToString())
    assert programs.opened is None
    assert programs.reason


def test_a_thousand_nodes_take_no_time():
    b = Builder()
    x = "x"
    for _ in range(500):
        x = b.op("Reshape", b.op("Relu", x), b.constant([1, 12]))
    b.op("Relu", x, outputs=["y"])
    assert programs_of(one_input(b, [1, 12], [1, 12])).opened is not None


def test_the_opened_shapes_are_free():
    graph = onnx.load_from_string(programs_of(zoo.cnn()).opened).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert not graph.value_info
    assert all(tensor.data_location != TensorProto.EXTERNAL for tensor in graph.initializer)
    targets = [numpy_helper.to_array(t).tolist() for t in graph.initializer if t.name.startswith("assay")]
    assert targets == [[-1, 128]]
