"""The proof that rows may share a batch, on real models: what counts, what doesn't, and what is found out."""

from dataclasses import replace

import numpy as np
import pytest

from assayd.engine.onnxruntime_session import Session, SessionOptions
from assayd.engine.probes import blind_probes, probes_from
from assayd.engine.program import Program
from assayd.engine.proof import Verdict, prove, tolerance
from assayd.graph.programs import programs_of
from assayd.types.subject import Subject
from tests.models import zoo

OPTIONS = SessionOptions(threads=1)


def ready(data):
    programs = programs_of(data)
    assert programs.opened is not None, programs.reason
    plain = Program(Session(programs.plain, OPTIONS, free_shapes=False), programs.signature, batched=False)
    return plain, Session(programs.opened, OPTIONS, free_shapes=False)


def proof(data, probes=None):
    plain, opened = ready(data)
    return prove(plain, opened, probes if probes is not None else blind_probes(plain.signature))


def a_model(make, *, out=3, batch="N", **kind):
    """y [batch, out] = make(builder, x [batch, 6])."""
    b = zoo.Builder(0)
    make(b)
    return b.model({"x": (zoo.FLOAT, [batch, 6])}, {"y": (zoo.FLOAT, [batch, out])}, **kind)


def saturated(batch="N"):
    """softmax of x W plus logits that lie 1e6 apart: one class has it all, unless x is as large."""

    def make(b):
        moved = b.op("Add", b.linear("x", 6, 3), b.constant([1e6, 0, -1e6], np.float32))
        b.op("Softmax", moved, outputs=["y"], axis=1)

    return a_model(make, batch=batch)


def nearly_constant(spread):
    """1 + spread/2 * tanh x: rows differ by no more than `spread` of max|f|."""

    def make(b):
        moved = b.op("Mul", b.op("Tanh", b.linear("x", 6, 3)), b.constant(spread / 2, np.float32))
        b.op("Add", moved, b.constant(1, np.float32), outputs=["y"])

    return a_model(make)


@pytest.mark.parametrize(
    "make",
    [
        zoo.linear, zoo.mlp, zoo.cnn, zoo.dense, zoo.transformer, zoo.folded_attention, zoo.vit, zoo.lstm_batch_first,
        zoo.lstm_time_first, zoo.gru_time_first, zoo.two_by_two, zoo.tokens, zoo.forest, zoo.resized, zoo.old_style,
    ],
    ids=lambda make: make.__name__,
)  # fmt: skip
def test_models_whose_rows_are_independent_are_proven(make):
    found = proof(make())
    assert (found.verdict, found.reason) == (Verdict.PROVEN, "")


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_precisions_are_proven_too(dtype):
    assert proof(zoo.linear(dtype=dtype)).verdict is Verdict.PROVEN


@pytest.mark.parametrize("make", [zoo.batch_mean, zoo.batch_softmax], ids=lambda make: make.__name__)
def test_models_whose_rows_interact_are_found(make):
    found = proof(make())
    assert found.verdict is Verdict.INTERACT
    assert found.reason.startswith("rows interact: output 'y' of a row changes by ")


def test_rows_that_only_change_places_are_found():
    """A row minus the first row of its batch, plus itself: alone 0 apart, and in a batch it depends on its place."""

    def make(b):
        first = b.op("Slice", "x", b.constant([0]), b.constant([1]), b.constant([0]))
        b.op("Sub", b.linear("x", 6, 3), b.linear(first, 6, 3), outputs=["y"])

    assert proof(a_model(make)).verdict is Verdict.INTERACT


def test_labels_that_change_with_their_company_are_found():
    def make(b):
        mean = b.op("ReduceMean", "x", axes=[0], keepdims=1)
        b.op("Cast", b.op("Greater", "x", mean), outputs=["label"], to=zoo.INT64)
        b.op("Identity", "x", outputs=["y"])

    b = zoo.Builder(0)
    make(b)
    outputs = {"label": (zoo.INT64, ["N", 6]), "y": (zoo.FLOAT, ["N", 6])}
    found = proof(b.model({"x": (zoo.FLOAT, ["N", 6])}, outputs))
    assert found.verdict is Verdict.INTERACT
    assert "'label'" in found.reason


def test_a_saturated_softmax_proves_nothing():
    found = proof(saturated())
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "proof inconclusive")


def test_a_callers_instance_settles_what_noise_left_open():
    data = saturated()
    plain, opened = ready(data)
    weights, _ = zoo.linear_weights(a_model(lambda b: b.linear("x", 6, 3, output="y")))
    x = (np.linalg.pinv(weights.T.astype(float)) @ np.array([-4e6, 0, 4e6])).astype(np.float32)
    probes = probes_from(Subject({"x": x}, {"x": np.zeros((1, 6), np.float32)}))
    assert prove(plain, opened, probes).verdict is Verdict.PROVEN


def test_words_that_a_model_knows_come_from_its_graph():
    for data in (zoo.strings(hidden=False), zoo.strict_columns()):
        plain, opened = ready(data)
        assert prove(plain, opened, blind_probes(plain.signature)).verdict is Verdict.PROVEN
        untold = replace(plain.signature, inputs=tuple(replace(s, levels=()) for s in plain.signature.inputs))
        assert prove(plain, opened, blind_probes(untold)).verdict is Verdict.INCONCLUSIVE


def test_words_that_a_model_knows_come_from_its_caller():
    plain, opened = ready(zoo.strings())
    assert prove(plain, opened, blind_probes(plain.signature)).verdict is Verdict.INCONCLUSIVE
    x = np.array(["red", "blue"], dtype=object)
    other = np.array([["green", "green"]], dtype=object)
    assert prove(plain, opened, probes_from(Subject({"s": x}, {"s": other}))).verdict is Verdict.PROVEN


@pytest.mark.parametrize(
    ("spread", "verdict"), [(0.5e-3, Verdict.INCONCLUSIVE), (1.9e-3, Verdict.INCONCLUSIVE), (3e-3, Verdict.PROVEN)]
)
def test_scores_must_differ_by_a_thousand_tolerances(spread, verdict):
    assert 1000 * tolerance(np.dtype(np.float32)) == pytest.approx(2e-3)
    assert proof(nearly_constant(spread)).verdict is verdict


def test_every_output_must_vary():
    b = zoo.Builder(0)
    b.linear("x", 6, 3, output="y")
    b.op("Mul", "x", b.constant(0, np.float32), outputs=["z"])
    data = b.model({"x": (zoo.FLOAT, ["N", 6])}, {"y": (zoo.FLOAT, ["N", 3]), "z": (zoo.FLOAT, ["N", 6])})
    assert proof(data).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("said", [[5, "N"], ["N", 5], [None, None], None])
def test_a_batch_axis_of_an_output_is_where_it_is_seen_whatever_the_file_says(said):
    b = zoo.Builder(0)
    b.op("Transpose", b.linear("x", 6, 5), outputs=["y"], perm=[1, 0])
    found = proof(b.model({"x": (zoo.FLOAT, ["N", 6])}, {"y": (zoo.FLOAT, said)}))
    assert found.verdict is Verdict.PROVEN
    assert found.signature.outputs[0].batch_axis == 1


def test_a_model_that_takes_one_row_only_runs_row_by_row():
    programs = programs_of(zoo.cnn(batch=1))
    session = Session(programs.plain, OPTIONS, free_shapes=False)
    found = prove(Program(session, programs.signature, batched=False), session, blind_probes(programs.signature))
    assert found.verdict is Verdict.INTERACT
    assert found.reason.startswith("with several rows in a batch it fails: ")


def test_a_model_that_takes_no_probe_says_what_it_said():
    def make(b):
        flat = b.op("Reshape", "x", b.constant([-1, 7]))
        b.linear(flat, 7, 3, output="y")

    found = proof(a_model(make), [{"x": np.ones((4, 6), np.float32)}])
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason.startswith("proof inconclusive (onnxruntime failed to run the model")


def test_probes_whose_scores_are_not_finite_prove_nothing():
    probe = {"x": np.full((4, 8), np.nan, np.float32)}
    assert proof(zoo.mlp(), [probe]).verdict is Verdict.INCONCLUSIVE
