"""Models that misbehave on a caller's row and not on the probes, whose values stay below 5000."""

from onnx import TensorProto, helper

from tests.models import zoo

HUGE = 1e15
GIANT = 8e5


def _from_largest(b, factor):
    """An int64 [1]: the largest |x| times the factor, at least 1."""
    largest = b.op("ReduceMax", b.op("Abs", "x"), keepdims=0)
    scaled = b.op("Max", b.op("Mul", largest, b.constant(factor, "float32")), b.constant(1.0, "float32"))
    return b.op("Reshape", b.op("Cast", scaled, to=zoo.INT64), b.constant([1]))


def _model(b):
    return b.model({"x": (zoo.FLOAT, ["N", 3])}, {"y": (zoo.FLOAT, ["N", 3])})


def loop(trips=None):
    """y = x plus a sum of so many ones; trips None: as many as the largest |x|."""
    b = zoo.Builder()
    count = b.constant([trips]) if trips else _from_largest(b, 1.0)
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["more"], ["again"]),
            helper.make_node("Add", ["sum", "one"], ["next"]),
        ],
        "body",
        [value("n", zoo.INT64, []), value("more", TensorProto.BOOL, []), value("sum", zoo.FLOAT, [])],
        [value("again", TensorProto.BOOL, []), value("next", zoo.FLOAT, [])],
        [helper.make_tensor("one", zoo.FLOAT, [], [1.0])],
    )
    trip = b.op("Squeeze", count)
    total = b.op("Loop", trip, b.constant(True), b.constant(0.0, "float32"), body=body)
    b.op("Add", "x", total, outputs=["y"])
    return _model(b)


def matmul():
    """One product of square matrices whose side is a hundredth of the largest |x|."""
    b = zoo.Builder()
    side = _from_largest(b, 0.01)
    ones = b.op("ConstantOfShape", b.op("Concat", side, side, axis=0), value=helper.make_tensor("v", 1, [1], [1.0]))
    b.op("Add", "x", b.op("ReduceMax", b.op("MatMul", ones, ones), keepdims=0), outputs=["y"])
    return _model(b)


def bomb():
    """As many floats as the largest |x|."""
    b = zoo.Builder()
    many = b.op("ConstantOfShape", _from_largest(b, 1.0), value=helper.make_tensor("v", 1, [1], [1.0]))
    b.op("Add", "x", b.op("ReduceMax", many, keepdims=0), outputs=["y"])
    return _model(b)
