"""Faster arithmetic: its error is measured, a model that doesn't bear it stays in fp32, what is exact never uses it."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from assayd.engine import on_device as module
from assayd.engine.backend import Chunk
from assayd.engine.in_process import InProcessBackend
from assayd.engine.onnxruntime_session import Session
from assayd.engine.options import SessionOptions
from assayd.engine.precision import output_error
from assayd.engine.probes import blind_probes
from assayd.engine.program import Program
from assayd.errors import ModelUnfit
from assayd.graph.half import in_half
from assayd.graph.programs import programs_of
from tests.models import zoo
from tests.unit.engine.test_on_device import PICKS, a_subject, blocks, run

HALF = SessionOptions(threads=1, realiser="graph", precision="fp16")
FULL = SessionOptions(threads=1, realiser="graph")
CNN = zoo.cnn("N", (-1, 128))


def program(data, signature=None):
    signature = signature or programs_of(data).signature
    return Program(Session(data, SessionOptions(threads=1), free_shapes=False), signature, batched=True)


def scaled(data, factor):
    """Its largest weights multiplied."""
    model = onnx.load_from_string(data)
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and value.ndim > 1:
            tensor.CopyFrom(numpy_helper.from_array(value * np.float32(factor), tensor.name))
    return model.SerializeToString()


def test_the_error_is_the_largest_difference_as_a_share_of_the_largest_output():
    exact = zoo.linear(6, 3)
    weights, bias = zoo.linear_weights(exact)
    model = onnx.load_from_string(exact)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights * np.float32(1.01), "c0"))
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(bias * np.float32(1.01), "c1"))
    probes = list(blind_probes(programs_of(exact).signature))
    assert output_error(program(exact), program(exact), probes) == 0
    assert output_error(program(exact), program(model.SerializeToString()), probes) == pytest.approx(0.01, rel=1e-4)
    assert np.isnan(output_error(program(exact), program(exact), []))


def test_halves_are_converted_inside_and_nowhere_outside():
    model = onnx.load_from_string(in_half(CNN))
    kinds = {t.data_type for t in model.graph.initializer if t.data_type != onnx.TensorProto.INT64}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert [v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)] == [1, 1]
    with pytest.raises(ModelUnfit, match="can't be converted to float16"):
        in_half(b"no model")


def test_a_loaded_model_tells_its_precision_and_what_that_costs():
    loaded = InProcessBackend(HALF, 16).load("m", CNN)
    assert loaded.precision == "fp16"
    assert 1e-5 < loaded.precision_error < 1e-2
    plain = InProcessBackend(FULL, 16).load("m", CNN)
    assert (plain.precision, plain.precision_error) == ("fp32", 0.0)


def test_a_model_that_overflows_in_half_stays_in_fp32_and_the_log_says_so(caplog, monkeypatch):
    monkeypatch.setattr(module, "in_half", lambda data: scaled(data, np.inf))
    backend = InProcessBackend(HALF, 16)
    loaded = backend.load("m", CNN)
    assert (loaded.precision, loaded.precision_error) == ("fp32", 0.0)
    assert "fp32 all the same" in caplog.text
    device = backend._residents["m"].device
    assert device.full is device.exact


def test_a_model_that_cannot_be_converted_stays_in_fp32(monkeypatch):
    def refuse(_):
        raise ModelUnfit("no")

    monkeypatch.setattr(module, "in_half", refuse)
    assert InProcessBackend(HALF, 16).load("m", CNN).precision == "fp32"


def test_exact_batches_run_in_fp32_and_no_others(monkeypatch):
    monkeypatch.setattr(module, "_LARGE_ROW_BYTES", 1)
    subject = a_subject()
    full, half = InProcessBackend(FULL, 16), InProcessBackend(HALF, 16)
    half_loaded = half.load("m", CNN)
    full.load("m", CNN)
    chunk = Chunk(subject, blocks(np.random.default_rng(5), subject), PICKS, 15)
    (want,) = run(full, chunk)
    (exact,) = run(half, chunk, exact=True)
    (fast,) = run(half, chunk)
    np.testing.assert_array_equal(exact, want)
    apart = np.abs(fast - want).max()
    assert 0 < apart < 10 * half_loaded.precision_error * np.abs(want).max()


def test_tf32_is_asked_for_where_it_is_wanted_and_never_by_exact_sessions(monkeypatch):
    asked = []

    class Watched(Session):
        def __init__(self, data, options, **others):
            asked.append(options.precision)
            super().__init__(data, options, **others)

    monkeypatch.setattr("assayd.engine.in_process.Session", Watched)
    monkeypatch.setattr("assayd.engine.onnxruntime_session.Session", Watched)
    backend = InProcessBackend(SessionOptions(threads=1, realiser="graph", precision="tf32"), 16)
    loaded = backend.load("m", CNN)
    assert loaded.precision == "tf32"
    device = backend._residents["m"].device
    precisions = [lane.program.session._options.precision for lane in (device.full, device.small, device.exact)]
    assert precisions == ["tf32", "tf32", "fp32"]
    assert asked.count("tf32") == 2
