"""Models whose files are wrong or silent about their outputs, or whose rows interact at some inputs only."""

import numpy as np
import pytest

import assay
from tests.integration.plain_loop import PlainModel, ablate
from tests.models import zoo

X = np.random.default_rng(5).standard_normal((3, 6)).astype(np.float32)
ELEMENTS = assay.Occlusion(features=assay.Elements())


def ending_in(op, batch, outputs=3, **attributes):
    """A linear model x [batch, 6] whose output goes through one more node; its shape isn't declared."""
    b = zoo.Builder(0)
    b.op(op, b.linear("x", 6, outputs), outputs=["y"], **attributes)
    return b.model({"x": (zoo.FLOAT, [batch, 6])}, {"y": (zoo.FLOAT, None)}, opset=13)


def without_a_batch():
    b = zoo.Builder(0)
    b.op("MatMul", "x", b.weight(6, 3, scale=1), outputs=["y"])
    return b.model({"x": (zoo.FLOAT, [6])}, {"y": (zoo.FLOAT, [3])})


CASES = [
    ("squeezed, fixed", ending_in("Squeeze", 1), 3, False),
    ("squeezed, free", ending_in("Squeeze", "N"), 3, True),
    ("one score squeezed, free", ending_in("Squeeze", "N", outputs=1), 1, True),
    ("no batch axis at all", without_a_batch(), 3, False),
]


@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_outputs_are_what_a_run_shows(client, case):
    name, data, classes, batched = case
    model = client.upload_model(data, name=name.replace(",", "").replace(" ", "-"))
    assert (model.batching.mode == "batched") is batched
    assert int(np.prod(model.outputs[0].shape)) == classes
    ex = client.explain(model, X, ELEMENTS)
    plain = PlainModel(data, None if name.startswith("no batch") else 0)
    session = plain.session
    for n in range(3):
        scores = session.run(None, {"x": X[n] if plain.axis is None else X[n : n + 1]})[0].ravel()
        (target,) = ex.targets[n]
        assert (target.index or (0,)) == (int(scores.argmax()),)
        assert float(ex.scores[n]) == pytest.approx(float(scores.max()), abs=1e-5)
        for i in range(6):
            row = X[n].copy()
            row[i] = 0
            changed = session.run(None, {"x": row if plain.axis is None else row[None]})[0].ravel()
            want = scores.max() - changed[scores.argmax()]
            assert float(ex.feature_values[n, i]) == pytest.approx(float(want), abs=1e-5)


def cut_at_the_longest_row():
    """Embeddings averaged over the length of the batch's longest row, where 0 is padding."""
    b = zoo.Builder(0)
    used = b.op("Cast", b.op("Cast", "ids", to=9), to=1)
    longest = b.op("ReduceMax", b.op("ReduceSum", used, b.constant([1], np.int64), keepdims=0), keepdims=0)
    longest = b.op("Max", longest, b.constant(1.0, np.float32))
    total = b.op(
        "ReduceSum", b.op("Gather", b.weight(5000, 6, scale=1), "ids", axis=0), b.constant([1], np.int64), keepdims=0
    )
    b.op("Div", total, longest, outputs=["y"])
    return b.model({"ids": (zoo.INT64, ["N", 8])}, {"y": (zoo.FLOAT, ["N", 6])}, opset=13)


def above_five():
    """Rows interact only where some element of the batch is above 5."""
    b = zoo.Builder(0)
    high = b.op("Relu", b.op("Sub", b.op("ReduceMax", "x", keepdims=0), b.constant(5.0, np.float32)))
    b.op("Add", b.linear("x", 6, 3), high, outputs=["y"])
    return b.model({"x": (zoo.FLOAT, ["N", 6])}, {"y": (zoo.FLOAT, ["N", 3])}, opset=13)


def above_fifty_at_zero():
    """Rows interact only where the batch holds a row of zeros: the check of f(baseline) alone must see it."""
    b = zoo.Builder(0)
    sums = b.op("ReduceSum", b.op("Abs", "x"), b.constant([1], np.int64), keepdims=0)
    zeros = b.op("ReduceMax", b.op("Cast", b.op("Less", sums, b.constant(1e-12, np.float32)), to=1), keepdims=0)
    own = b.op(
        "Cast",
        b.op(
            "Less",
            b.op("ReduceSum", b.op("Abs", "x"), b.constant([1], np.int64), keepdims=1),
            b.constant(1e-12, np.float32),
        ),
        to=1,
    )
    off = b.op("Sub", zeros, own)
    b.op("Add", b.linear("x", 6, 3), b.op("Mul", off, b.constant(3.0, np.float32)), outputs=["y"])
    return b.model({"x": (zoo.FLOAT, ["N", 6])}, {"y": (zoo.FLOAT, ["N", 3])}, opset=13)


@pytest.mark.parametrize("made", [cut_at_the_longest_row, above_five, above_fifty_at_zero])
def test_rows_that_interact_at_some_inputs_only_are_never_silently_wrong(client, made):
    data = made()
    model = client.upload_model(data, name=made.__name__.replace("_", "-"))
    if made is cut_at_the_longest_row:
        x, name = np.array([[3, 14, 15, 9, 26, 0, 0, 0]]), "ids"
    else:
        x, name = np.array([[9, 1, -1, 2, 0.5, 3]], np.float32), "x"
    ex = client.explain(model, x, ELEMENTS, target=1)
    want = ablate(PlainModel(data), {name: x[0]}, {name: np.zeros_like(x[0])}, lambda f: f[1])
    np.testing.assert_allclose(ex.feature_values[0], want, atol=1e-4)
    assert client.get_model(model.ref).batching.mode == "row_by_row"


def test_an_absurd_stride_is_one_window(client):
    model = client.upload_model(zoo.mlp(), name="mlp")
    x = np.zeros((1, 8), np.float32)
    ex = client.explain(model, x, assay.Occlusion(window=(2,), stride=(2**62,)), target=0)
    assert ex.feature_values.shape == (1, 1)
