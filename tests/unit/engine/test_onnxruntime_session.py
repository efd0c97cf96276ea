"""The one file that knows onnxruntime: what it says, what it hides, what it really got."""

from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from assayd.engine.onnxruntime_session import Device, Session, SessionOptions, said
from assayd.errors import DeviceLost, InvalidModel, ModelFailed, OutOfMemory
from assayd.types.admission import AdmissionLimits
from tests.models import zoo

CPU = SessionOptions(threads=1, provider="cpu")


def load(data, options=CPU):
    return Session(data, options, free_shapes=False)


class Given:
    """In place of an InferenceSession."""

    def __init__(self, providers=("CPUExecutionProvider",), error=None, results=()):
        self.providers, self.error, self.results = list(providers), error, list(results)

    def disable_fallback(self):
        pass

    def get_providers(self):
        return self.providers

    def get_outputs(self):
        return [type("Output", (), {"name": f"y{n}"}) for n in range(len(self.results))]

    def run(self, names, feeds, options):
        if self.error:
            raise self.error
        return self.results


@pytest.fixture
def given(monkeypatch):
    def put(**kind):
        monkeypatch.setattr(ort, "InferenceSession", lambda *_, **__: Given(**kind))
        monkeypatch.setattr(ort, "preload_dlls", lambda: None, raising=False)

    return put


def test_every_output_by_its_name():
    session = load(zoo.two_by_two())
    got = session.run({"a": np.ones((2, 4), np.float32), "b": np.ones((2, 6), np.float32)})
    assert {name: value.shape for name, value in got.items()} == {"logits": (2, 3), "total": (2, 1)}
    assert session.provider == "CPUExecutionProvider"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Load /home/me/models/model.onnx:12 failed", "Load failed"),
        ("[x] /onnxruntime_src/onnxruntime/core/model.cc:182 onnxruntime::Model() bad", "[x] bad"),
        ("[ONNXRuntimeError] : 1 : FAIL : onnxruntime::RNN<T>::RNN(const onnxruntime::Info&) [with T = float] no",
         "no"),
        ("Pad: static void SafeIntExceptionHandler<onnxruntime::OnnxRuntimeException>::SafeIntOnOverflow() Overflow",
         "Overflow"),
        ("[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Exception during initialization: ", "it gives no reason"),
        ("fine as it is, 3/4 of it", "fine as it is, 3/4 of it"),
        ("first line\n/etc/passwd and more", "first line"),
        ("x" * 1000, "x" * 400),
    ],
)  # fmt: skip
def test_messages_lose_paths_and_length(text, left):
    assert said(RuntimeError(text)) == left


@pytest.mark.parametrize("data", [b"", b"not a model", zoo.mlp()[:100]], ids=["empty", "text", "truncated"])
def test_bytes_that_do_not_load_are_an_invalid_model(data):
    with pytest.raises(InvalidModel, match="onnxruntime can't load the model") as got:
        load(data)
    assert got.value.field == "chunk"
    assert ".cc" not in got.value.message


def test_inputs_that_do_not_fit_are_a_failed_run_with_a_message():
    session = load(zoo.mlp())
    with pytest.raises(ModelFailed, match="onnxruntime failed to run the model"):
        session.run({"x": np.ones((1, 5), np.float32)})


@pytest.mark.parametrize(
    "text",
    [
        "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 1",
        "CUDNN_STATUS_ALLOC_FAILED",
        "CUDA failure 2: out of memory",
    ],
)
def test_a_device_without_room_is_told_apart(given, text):
    given(error=RuntimeError(text))
    with pytest.raises(OutOfMemory) as got:
        load(b"").run({})
    assert text not in got.value.message


@pytest.mark.parametrize(
    "text",
    [
        "CUDA failure 700: an illegal memory access was encountered",
        "CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED; CUDA error cudaErrorLaunchFailure",
        "CUDA failure 716: misaligned address",
    ],
)
def test_a_device_that_is_lost_to_the_process_is_told_apart(given, text):
    given(error=RuntimeError(text))
    with pytest.raises(DeviceLost, match="can't be used by this process any more"):
        load(b"").run({})


def test_a_device_that_merely_failed_once_is_not_lost(given):
    given(error=RuntimeError("CUDA failure 70000: something else"))
    with pytest.raises(ModelFailed) as got:
        load(b"").run({})
    assert not isinstance(got.value, DeviceLost)


def test_bound_inputs_and_outputs_stay_where_they_are():
    session = load(zoo.two_by_two())
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(3, 6)).astype(np.float32)
    want = session.run({"a": a, "b": b})
    place = session.device.empty((5, 3), np.dtype(np.float32))
    feeds = {"a": session.device.upload(a), "b": b}
    found = session.run_bound(feeds, {"logits": place.rows(1, 4)}, fetch=["total"])
    np.testing.assert_array_equal(place.held.numpy()[1:4], want["logits"])
    np.testing.assert_array_equal(found["total"], want["total"])
    left = session.run_bound(feeds, {}, leave=["total"])["total"]
    assert (left.shape, left.dtype) == ((3, 1), np.float32)
    np.testing.assert_array_equal(left.held.numpy(), want["total"])
    with pytest.raises(ValueError, match="12 bytes can't be seen as float64"):
        left.seen_as(np.dtype(np.float64), (2,))


def test_a_bound_run_fails_as_any_other():
    session = load(zoo.mlp())
    with pytest.raises(ModelFailed, match="onnxruntime failed to run the model"):
        session.run_bound({"x": np.ones((1, 5), np.float32)}, {}, fetch=["y"])


def test_a_rebuilt_session_is_the_same_program():
    session = load(zoo.mlp())
    x = {"x": np.ones((2, 8), np.float32)}
    before = session.run(x)["y"]
    session.rebuild()
    np.testing.assert_array_equal(session.run(x)["y"], before)


def test_another_session_differs_in_what_is_said_alone():
    session = load(zoo.mlp())
    x = {"x": np.ones((2, 8), np.float32)}
    other = session.another(threads=2)
    assert (other._options.threads, other._options.provider) == (2, "cpu")
    np.testing.assert_array_equal(other.run(x)["y"], session.run(x)["y"])


@pytest.mark.parametrize(("folded_bytes", "kinds"), [(3999, {"Add", "Expand", "ReduceSum"}), (4000, {"Add"})])
def test_constants_up_to_a_size_are_made_when_the_model_is_loaded(folded_bytes, kinds):
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 8])  # noqa: E731
    constants = [
        helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor("shape", TensorProto.INT64, [1], [1000]),
    ]
    nodes = [
        helper.make_node("Expand", ["one", "shape"], ["wide"]),
        helper.make_node("ReduceSum", ["wide"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [value("x")], [value("y")], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = load(model.SerializeToString(), replace(CPU, admission=AdmissionLimits(folded_bytes=folded_bytes)))
    assert {kind for kind, _ in session.placement().device} == kinds
    assert session.run({"x": np.zeros((1, 8), np.float32)})["y"].tolist() == [[1000.0] * 8]


def test_sequences_cannot_be_scored(given):
    given(results=[[{"cat": 1.0}]])
    with pytest.raises(ModelFailed, match="'y0' isn't a tensor"):
        load(b"").run({})


def test_the_provider_is_the_one_the_session_got(given):
    given(providers=["SomeExecutionProvider", "CPUExecutionProvider"])
    assert load(b"").provider == "SomeExecutionProvider"


def test_cuda_that_silently_became_cpu_is_refused_where_it_is_required_and_else_told(given, caplog, monkeypatch):
    given(providers=["CPUExecutionProvider"])
    with pytest.raises(ModelFailed, match="CUDA was asked for, and onnxruntime gave CPUExecutionProvider"):
        load(b"", SessionOptions(provider="cuda", required=True))
    monkeypatch.setattr("assayd.engine.onnxruntime_session.no_cuda", lambda: "the driver shows no NVIDIA GPU")
    with pytest.raises(ModelFailed, match=r"CPUExecutionProvider: the driver shows no NVIDIA GPU \(deploy"):
        load(b"", SessionOptions(provider="cuda", required=True))
    assert not caplog.messages
    assert load(b"", SessionOptions(provider="cuda")).provider == "CPUExecutionProvider"
    assert "CUDA was asked for, and onnxruntime gave CPUExecutionProvider" in caplog.text


def test_on_a_gpu_a_session_has_the_memory_it_is_given(given, monkeypatch):
    given(providers=["CUDAExecutionProvider"])
    asked = []
    made = ort.InferenceSession
    monkeypatch.setattr(ort, "InferenceSession", lambda *a, providers, **k: asked.append(providers) or made(*a, **k))
    for limit in (None, 10**9):
        load(b"", SessionOptions(provider="cuda", gpu_memory_bytes=limit))
    limits = [dict(providers[0][1]).get("gpu_mem_limit") for providers in asked]
    assert limits == [None, "1000000000"]


@pytest.mark.parametrize("text", ["bad allocation", "std::bad_alloc", "Failed to allocate memory for requested buffer"])
def test_a_session_for_which_there_is_no_memory_is_no_invalid_model(monkeypatch, text):
    def refuse(*_, **__):
        raise RuntimeError(f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {text}")

    monkeypatch.setattr("assayd.engine.onnxruntime_session.ort.InferenceSession", refuse)
    with pytest.raises(OutOfMemory):
        Session(b"", SessionOptions(), free_shapes=False)


@pytest.mark.parametrize(("precision", "flag"), [("fp32", "0"), ("fp16", "0"), ("tf32", "1")])
def test_tf32_is_off_unless_it_is_asked_for(given, monkeypatch, precision, flag):
    given(providers=["CUDAExecutionProvider"])
    asked = []
    made = ort.InferenceSession
    monkeypatch.setattr(ort, "InferenceSession", lambda *a, providers, **k: asked.append(providers) or made(*a, **k))
    load(b"", SessionOptions(provider="cuda", precision=precision, search="EXHAUSTIVE"))
    (provider, given_to_it), cpu = asked[0]
    assert (provider, cpu) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert given_to_it == {"device_id": "0", "use_tf32": flag, "cudnn_conv_algo_search": "EXHAUSTIVE"}


def test_a_session_computes_on_the_gpu_that_it_is_given_and_looks_for_its_libraries_first(given, monkeypatch):
    given(providers=["CUDAExecutionProvider"])
    happened = []
    made = ort.InferenceSession
    monkeypatch.setattr(ort, "preload_dlls", lambda: happened.append("libraries"))
    monkeypatch.setattr(
        ort, "InferenceSession", lambda *a, providers, **k: happened.append(providers[0]) or made(*a, **k)
    )
    session = load(b"", SessionOptions(provider="cuda", device=3))
    libraries, (_, options) = happened
    assert (libraries, options["device_id"]) == ("libraries", "3")
    assert session.device == Device("cuda", 3)
    happened.clear()
    assert load(b"", SessionOptions(device=1)).device == Device("cuda", 1)  # the provider is what it is given here
    assert happened == ["CPUExecutionProvider"]
