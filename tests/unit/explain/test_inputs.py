"""Inputs against what a model takes, and which of them are explained."""

import numpy as np
import pytest

from assayd.errors import InvalidRequest, InvalidTensor, ModelUnfit
from assayd.explain.inputs import check_inputs, explained_inputs
from assayd.types.model import Signature, TensorSignature
from assayd.types.request import Member
from assayd.types.statistics import CategoricalColumn, GaussianColumn, GaussianTable


def sig(**inputs):
    return Signature(tuple(TensorSignature(n, np.dtype(d), s) for n, (d, s) in inputs.items()), ())


TWO = sig(a=(np.float32, (3,)), s=(object, (2, None)))
GOOD = {"a": np.zeros((2, 3), np.float32), "s": np.full((2, 2, 7), "x", dtype=object)}


def test_inputs_that_fit_pass():
    check_inputs(GOOD, TWO)
    check_inputs(dict(reversed(GOOD.items())), TWO)
    check_inputs({"t": np.zeros(5, np.float32)}, sig(t=(np.float32, ())))


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"b": np.zeros((2, 3))}, "inputs[b]", r"no input 'b'; its inputs are \['a', 's'\]"),
        ({"a": None}, "inputs[a]", "'a' is missing"),
        ({"a": np.zeros((2, 3))}, "inputs[a]", "is float32 in the model, not float64"),
        ({"a": np.full((2, 3), "x", dtype=object)}, "inputs[a]", "is float32 in the model, not string"),
        ({"s": np.zeros((2, 2, 1))}, "inputs[s]", "is string in the model, not float64"),
        ({"a": np.zeros(3, np.float32)}, "inputs[a]", r"has shape \[3\], where the model takes \[B, 3\]"),
        ({"a": np.zeros((2, 3, 1), np.float32)}, "inputs[a]", "has shape"),
        ({"a": np.zeros((2, 4), np.float32)}, "inputs[a]", r"\[2, 4\], where the model takes \[B, 3\]"),
        ({"s": np.full((2, 3, 7), "x", dtype=object)}, "inputs[s]", r"where the model takes \[B, 2, \?\]"),
        ({"s": np.empty((2, 2, 0), dtype=object)}, "inputs[s]", "no axis may be empty"),
        ({"s": np.full((3, 2, 1), "x", dtype=object)}, "inputs[s]", "'s' holds 3 instances and 'a' 2"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, field, message):
    inputs = {name: x for name, x in (GOOD | change).items() if x is not None}
    with pytest.raises(InvalidTensor, match=message) as got:
        check_inputs(inputs, TWO)
    assert got.value.field == field


MANY = sig(i=(np.int64, (3,)), f=(np.float32, (3,)), h=(np.float16, (3,)), s=(object, (3,)))


def test_every_floating_input_is_explained_unless_some_are_chosen():
    assert explained_inputs((), MANY) == ("f", "h")
    assert explained_inputs(("h", "i"), MANY) == ("i", "h")


def test_a_lone_integer_input_is_explained_where_nothing_floats():
    assert explained_inputs((), sig(i=(np.int64, (3,)))) == ("i",)
    assert explained_inputs((), sig(i=(np.int32, (3,)), s=(object, ()))) == ("i",)


@pytest.mark.parametrize("inputs", [{"i": (np.int64, ()), "j": (np.int64, ())}, {"s": (object, ())}, {"b": (bool, ())}])
def test_nothing_to_choose_by_itself_is_said(inputs):
    with pytest.raises(ModelUnfit, match="name one of") as got:
        explained_inputs((), sig(**inputs))
    assert got.value.field == "inputs_to_explain"


@pytest.mark.parametrize(("chosen", "message"), [(("f", "z"), "no input 'z'"), (("f", "f"), "named twice")])
def test_a_choice_that_means_nothing_is_refused(chosen, message):
    with pytest.raises(InvalidRequest, match=message) as got:
        explained_inputs(chosen, MANY)
    assert got.value.field == "inputs_to_explain[1]"


def table(*inputs, members=()):
    columns = tuple(GaussianColumn(name, 0, 0.0, 1.0) for name in inputs)
    features = tuple(CategoricalColumn((Member(name, 0),), np.zeros(1), (1.0,)) for name in members)
    return GaussianTable(columns, features)


@pytest.mark.parametrize(
    ("given", "want"),
    [
        (table("i"), ("i",)),
        (table("h", members=("s", "i")), ("i", "h", "s")),
        (table("z", "i"), ("i",)),
        (table("z"), ("f", "h")),
        (table(""), ("f", "h")),
    ],
)
def test_a_table_explains_the_inputs_it_has_columns_of(given, want):
    assert explained_inputs((), MANY, given) == want
    assert explained_inputs(("h",), MANY, given) == ("h",)


def test_a_table_of_the_only_input_need_not_name_it():
    assert explained_inputs((), sig(s=(object, (2,))), table("")) == ("s",)
