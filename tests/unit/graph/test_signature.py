import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from assayd.graph.places import Place, batch_symbol, candidates
from assayd.graph.programs import programs_of
from tests.models import zoo
from tests.models.zoo import FLOAT, Builder


def of(data: bytes):
    return programs_of(data).signature


@pytest.mark.parametrize(
    "data",
    [zoo.linear(), zoo.mlp(), zoo.tokens(), zoo.dense(), zoo.batch_mean(), zoo.batch_softmax(), zoo.strings()],
    ids=["linear", "mlp", "tokens", "dense", "batch_mean", "batch_softmax", "strings"],
)
def test_a_free_batch_needs_no_work(data):
    programs = programs_of(data)
    assert programs.plain is data
    assert programs.opened is data
    assert programs.reason == ""
    assert {(t.batch_axis, t.batch_extent) for t in programs.signature.inputs} == {(0, None)}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes(dtype):
    signature = of(zoo.linear(dtype=dtype))
    assert signature.input("x").dtype == np.dtype(dtype)
    assert signature.input("x").shape == (6,)
    assert signature.output("y").dtype == np.dtype(dtype)


def test_bfloat16_has_no_numpy_dtype():
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.BFLOAT16, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.BFLOAT16, ["N", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert of(model.SerializeToString()).input("x").dtype is None


def test_strings_are_objects():
    assert of(zoo.strings()).input("s").dtype == np.dtype(object)


def test_the_batch_may_stand_at_axis_1():
    signature = of(zoo.gru_time_first())
    assert (signature.input("x").batch_axis, signature.input("x").shape) == (1, (None, 4))
    assert (signature.output("y").batch_axis, signature.output("y").shape) == (1, (None, 5))


def test_a_fixed_recurrent_batch_stands_at_axis_1():
    signature = of(zoo.lstm_time_first())
    assert (signature.input("x").batch_axis, signature.input("x").batch_extent) == (1, 1)
    assert (signature.output("y").batch_axis, signature.output("y").shape) == (0, (3,))


def test_a_batch_fixed_at_four():
    signature = of(zoo.mlp(batch=4))
    assert (signature.input("x").batch_axis, signature.input("x").batch_extent) == (0, 4)
    assert (signature.output("y").shape, signature.output("y").batch_extent) == ((3,), 4)


def test_a_scalar_has_no_batch_axis():
    programs = programs_of(zoo.scalar_side())
    assert programs.signature.input("t").batch_axis is None
    assert programs.signature.input("t").shape == ()
    assert programs.signature.input("x").batch_axis == 0
    assert (programs.opened, programs.reason) == (None, "input 't' has no batch axis")


def test_vocabulary():
    assert of(zoo.tokens(vocabulary=20)).input("ids").vocabulary == 20
    assert of(zoo.mlp()).input("x").vocabulary is None


def test_vocabulary_through_a_cast_and_an_unsqueeze():
    b = Builder()
    ids = b.op("Unsqueeze", b.op("Cast", "ids", to=TensorProto.INT64), b.constant([1]))
    b.op("Gather", b.weight(11, 3), ids, outputs=["y"])
    data = b.model({"ids": (TensorProto.INT32, ["N", 4])}, {"y": (FLOAT, ["N", 1, 4, 3])})
    assert of(data).input("ids").vocabulary == 11


@pytest.mark.parametrize(
    ("labels", "shown"), [(("cat", "dog", "eel"), ("cat", "dog", "eel")), ((3, 5, 7), ("3", "5", "7"))]
)
def test_a_zipmap_goes_and_leaves_its_labels(labels, shown):
    programs = programs_of(zoo.forest(labels=labels))
    output = programs.signature.output("probabilities")
    assert (output.class_labels, output.shape, output.dtype) == (shown, (3,), np.dtype(np.float32))
    assert programs.opened is programs.plain
    model = onnx.load_from_string(programs.plain)
    assert [node.op_type for node in model.graph.node] == ["TreeEnsembleClassifier", "Identity"]
    assert model.graph.output[1].name == "probabilities"


def test_weights_leave_the_inputs():
    data = zoo.old_style()
    programs = programs_of(data)
    assert [t.name for t in programs.signature.inputs] == ["x"]
    model = onnx.load_from_string(programs.plain)
    assert [value.name for value in model.graph.input] == ["x"]
    assert model.ir_version == 4


def test_an_output_without_a_shape_gets_the_one_that_the_graph_shows():
    model = onnx.load_from_string(zoo.mlp())
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert of(model.SerializeToString()).output("y").shape == (3,)


@pytest.mark.parametrize(
    ("inputs", "outputs", "symbol"),
    [
        ([("seq", "batch", 4)], [("batch", 3)], "batch"),
        ([("seq", "b", 4)], [("b", 3)], "b"),
        ([("a", "c")], [("a", 3)], "a"),
        ([("s0", "s1")], [("s0", "s1")], "s0"),
        ([("seq", "batch_size")], [("seq", "batch_size")], "batch_size"),
        ([("n", 3), ("n", "m")], [("m", "n")], "n"),
        ([(1, 3)], [(1, 2)], None),
    ],
)
def test_which_symbol_is_the_batch(inputs, outputs, symbol):
    assert batch_symbol(inputs, outputs) == symbol


@pytest.mark.parametrize(
    ("dims", "outputs", "places"),
    [
        ((1, 3, 8, 8), [(1, 5)], [Place(0, 1)]),
        ((1, "seq"), [(1, "seq", 4)], [Place(0, 1)]),
        ((1, "seq"), [(1, 4)], [Place(0, 1)]),
        (("seq", 1, 4), [(1, 3)], [Place(1, 1)]),
        (("time", 1, 4), [("time", 1, 4)], [Place(1, 1)]),
        ((6, 1, 4), [(1, 3)], [Place(1, 1)]),
        ((6, 1, 4), [(6, 1, 4)], [Place(0, 6), Place(1, 1)]),
        ((4, 3), [(4, 2)], [Place(0, 4)]),
        ((None, 3), [(None, 2)], [Place(0)]),
        ((30,), [(3,)], []),
        ((), [(3,)], []),
    ],
)
def test_where_the_batch_could_stand(dims, outputs, places):
    assert candidates({"x": dims}, outputs, set()) == {"x": places}
