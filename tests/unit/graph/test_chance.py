"""Operators that draw."""

import pytest
from onnx import TensorProto, helper

from assayd.graph.chance import random_operators
from assayd.graph.programs import programs_of
from tests.models import zoo


def a_model(*nodes, constants=()):
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3])  # noqa: E731
    graph = helper.make_graph(list(nodes), "g", [value("x")], [value("y")], list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def flag(value):
    return helper.make_tensor("training", TensorProto.BOOL, [], [value])


NOISE = [helper.make_node("RandomNormalLike", ["x"], ["noise"]), helper.make_node("Add", ["x", "noise"], ["y"])]
DROP = helper.make_node("Dropout", ["x", "", "training"], ["y"])


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (a_model(helper.make_node("Relu", ["x"], ["y"])), ()),
        (a_model(*NOISE), ("RandomNormalLike",)),
        (a_model(helper.make_node("Bernoulli", ["x"], ["y"])), ("Bernoulli",)),
        (a_model(helper.make_node("Dropout", ["x"], ["y"])), ()),
        (a_model(DROP, constants=[flag(False)]), ()),
        (a_model(DROP, constants=[flag(True)]), ("Dropout",)),
        (a_model(helper.make_node("Constant", [], ["training"], value=flag(True)), DROP), ("Dropout",)),
        (a_model(helper.make_node("Constant", [], ["training"], value=flag(False)), DROP), ()),
        (a_model(helper.make_node("Bernoulli", ["x"], ["y"], domain="mine")), ()),
    ],
)
def test_they_are_found_by_what_they_do(model, found):
    assert random_operators(model) == found


def test_they_are_found_in_branches():
    then, other = (
        helper.make_graph(
            [node],
            "branch",
            [],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        )
        for node in (helper.make_node("RandomUniformLike", ["x"], ["out"]), helper.make_node("Relu", ["x"], ["out"]))
    )
    cond = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    model = a_model(helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other), constants=[cond])
    assert random_operators(model) == ("RandomUniformLike",)


def test_programs_say_them():
    assert programs_of(zoo.mlp()).random == ()
    assert programs_of(a_model(*NOISE).SerializeToString()).random == ("RandomNormalLike",)
