"""Models that do harm for some inputs; each comes with a calm input and a wild one."""

import numpy as np
from onnx import TensorProto, helper

Made = tuple[bytes, np.ndarray, np.ndarray]

_WILD = np.full((1, 8), 1e7, np.float32)
_CALM = np.linspace(-1, 1, 8, dtype=np.float32)[None]


def _model(nodes: list, initializers: list, name: str = "g") -> bytes:
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 8])  # noqa: E731
    graph = helper.make_graph(nodes, name, [value("x")], [value("y")], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def _branch(name: str, nodes: list, result: str) -> object:
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)])


def _where_large(
    nodes: list, result: str, initializers: list, calm_nodes: list | None = None, name: str = "g"
) -> bytes:
    """y = x, or what the calm nodes make of it, but above 1e6 somewhere the nodes' result."""
    limit = helper.make_tensor("limit", TensorProto.FLOAT, [], [1e6])
    test = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Greater", ["top", "limit"], ["wild"]),
    ]
    calm = _branch("calm", calm_nodes or [helper.make_node("Identity", ["x"], ["calm_y"])], "calm_y")
    wild = _branch("wild_branch", nodes, result)
    choose = helper.make_node("If", ["wild"], ["y"], then_branch=wild, else_branch=calm)
    return _model([*test, choose], [limit, *initializers], name)


def _loop() -> tuple[list, list]:
    """A Loop that never ends, of x to wild_y, and its constants."""
    trips = helper.make_tensor("trips", TensorProto.INT64, [], [2**62])
    go = helper.make_tensor("go", TensorProto.BOOL, [], [True])
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_in"], ["go_out"]), helper.make_node("Sin", ["v_in"], ["v_out"])],
        "body",
        [
            helper.make_tensor_value_info("n", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, None),
        ],
    )
    return [helper.make_node("Loop", ["trips", "go", "x"], ["wild_y"], body=body)], [trips, go]


def endless(number: int = 0) -> Made:
    """A Loop that never ends. number: makes other bytes."""
    nodes, constants = _loop()
    return _where_large(nodes, "wild_y", constants, name=f"g{number}"), _CALM, _WILD


def endless_when_asked() -> Made:
    """The same, but calm rows all score 0: the proof stays open until a caller's row decides it, which never ends."""
    nodes, constants = _loop()
    none = helper.make_tensor("none", TensorProto.FLOAT, [], [0.0])
    calm = [helper.make_node("Mul", ["x", "none"], ["calm_y"])]
    return _where_large(nodes, "wild_y", [*constants, none], calm), _CALM, _WILD


def always_endless(number: int) -> bytes:
    """One that never ends for any row. number: makes other bytes."""
    nodes, constants = _loop()
    mark = helper.make_tensor("mark", TensorProto.FLOAT, [], [float(number)])
    return _model([*nodes, helper.make_node("Add", ["wild_y", "mark"], ["y"])], [*constants, mark])


def giant_matmul() -> Made:
    """One MatMul of minutes, which no flag stops."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [14000, 14000])
    half = helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["m"], value=half),
        helper.make_node("Mul", ["m", "top"], ["left"]),
        helper.make_node("MatMul", ["left", "left"], ["product"]),
        helper.make_node("ReduceMax", ["product"], ["peak"], keepdims=0),
        helper.make_node("Add", ["x", "peak"], ["wild_y"]),
    ]
    return _where_large(nodes, "wild_y", [shape]), _CALM, _WILD


def killer() -> Made:
    """The remainder of the smallest integer by -1 overflows, which ends the process by a signal (onnxruntime 1.31)."""
    least = helper.make_tensor("least", TensorProto.INT64, [], [-(2**63)])
    none = helper.make_tensor("none", TensorProto.FLOAT, [], [0.0])
    nodes = [
        helper.make_node("Mul", ["top", "none"], ["zero"]),  # from x, or it would be folded at load
        helper.make_node("Cos", ["zero"], ["one"]),
        helper.make_node("Neg", ["one"], ["less"]),
        helper.make_node("Cast", ["less"], ["minus_one"], to=TensorProto.INT64),
        helper.make_node("Mod", ["least", "minus_one"], ["rest"]),
        helper.make_node("Cast", ["rest"], ["rest_f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "rest_f"], ["wild_y"]),
    ]
    return _where_large(nodes, "wild_y", [least, none]), _CALM, _WILD


def memory_bomb(op: str) -> Made:
    """8 GiB at once. op: ConstantOfShape, or Expand."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [2**21, 1024])
    one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
    made = {
        "ConstantOfShape": helper.make_node("ConstantOfShape", ["shape"], ["ones"], value=one),
        "Expand": helper.make_node("Expand", ["top", "shape"], ["ones"]),
    }
    nodes = [
        made[op],
        helper.make_node("Mul", ["ones", "top"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["peak"], keepdims=0),
        helper.make_node("Add", ["x", "peak"], ["wild_y"]),
    ]
    return _where_large(nodes, "wild_y", [shape]), _CALM, _WILD
