"""Which values of a table's columns the graph's encoders know."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from assayd.graph.levels import levels_of
from tests.models import zoo
from tests.models.zoo import FLOAT, INT64, STRING, Builder

ML = "ai.onnx.ml"
CITIES, JOBS = ("Bern", "Oslo"), ("clerk", "nurse", "none")


def graph(b, inputs):
    return onnx.load_from_string(b.model(inputs, {"y": (FLOAT, None)}, opset=13, ml=True)).graph


def encode(b, x, words=CITIES):
    return b.op("LabelEncoder", x, domain=ML, keys_strings=list(words), values_floats=[1.0] * len(words))


def test_an_input_that_is_a_column():
    b = Builder()
    b.op("Concat", encode(b, b.op("Identity", "city")), encode(b, "job", JOBS), outputs=["y"], axis=1)
    inputs = {"city": (STRING, ["N", 1]), "job": (STRING, ["N"]), "age": (FLOAT, ["N", 1])}
    assert levels_of(graph(b, inputs)) == {"city": (CITIES,), "job": (JOBS,)}


@pytest.mark.parametrize("op", ["Gather", "ArrayFeatureExtractor", "Split"])
def test_columns_taken_from_one_input(op):
    b = Builder()
    if op == "Split":
        _, city, job = b.op("Split", "s", outputs=3, axis=1)
    else:
        kind = {"axis": 1} if op == "Gather" else {"domain": ML}
        job, city = (b.op(op, "s", b.constant([n]), **kind) for n in (-1, 1))
    b.op("Concat", encode(b, job, JOBS), encode(b, city), outputs=["y"], axis=1)
    assert levels_of(graph(b, {"s": (STRING, ["N", 3])})) == {"s": ((), CITIES, JOBS)}


def test_columns_of_several_inputs_joined():
    b = Builder()
    joined = b.op("Concat", "a", "b", axis=1)
    b.op("Concat", encode(b, b.op("Gather", joined, b.constant([2]), axis=1)), outputs=["y"], axis=1)
    assert levels_of(graph(b, {"a": (STRING, ["N", 2]), "b": (STRING, ["N", 1])})) == {"b": (CITIES,)}


def test_codes_and_tensors_of_keys():
    b = Builder()
    code = b.op("OneHotEncoder", b.op("Cast", "x", to=INT64), domain=ML, cats_int64s=[3, 5])
    keys = numpy_helper.from_array(np.array(CITIES, dtype=object), "keys")
    values = numpy_helper.from_array(np.zeros(2, np.float32), "values")
    b.op("Concat", code, b.op("LabelEncoder", "s", domain=ML, keys_tensor=keys, values_tensor=values), outputs=["y"])
    assert levels_of(graph(b, {"x": (FLOAT, ["N", 1]), "s": (STRING, ["N", 1])})) == {"x": ((3, 5),), "s": (CITIES,)}


def test_what_cannot_be_followed_has_none():
    assert levels_of(onnx.load_from_string(zoo.strings()).graph) == {}
    assert levels_of(onnx.load_from_string(zoo.strings(hidden=False)).graph) == {"s": (("red", "green", "blue"),) * 2}
    b = Builder()
    encode(b, b.op("Gather", "s", b.constant([7]), axis=1))
    assert levels_of(graph(b, {"s": (STRING, ["N", 2])})) == {}


def test_widths_that_a_file_only_says_cost_nothing():
    b = Builder()
    wide = "s"
    for _ in range(60):
        wide = b.op("Concat", wide, wide, axis=1)
    encode(b, wide)
    encode(b, "t")
    assert levels_of(graph(b, {"s": (STRING, ["N", 1]), "t": (STRING, ["N", 2**60])})) == {}
