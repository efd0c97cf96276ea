"""What a device is asked to find out whether it computes."""

import threading

import onnx
import pytest
from onnx import TensorProto, helper

from assayd.engine.in_process import InProcessBackend
from assayd.engine.options import SessionOptions
from assayd.engine.pulse import RELU, Pulse
from assayd.errors import WorkerLost
from tests.unit.engine import pretended_gpu


def test_the_model_that_is_asked_is_one_relu():
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    made = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    assert onnx.load_from_string(RELU) == made


@pytest.fixture
def pulse_of():
    made = []

    def one(backend, **kind):
        made.append(Pulse(backend, **kind))
        return made[-1]

    yield one
    for each in made:
        each.close()


async def test_a_device_that_computes_has_one_and_keeps_nothing_of_the_question(pulse_of):
    backend = InProcessBackend(SessionOptions(threads=1), 8)
    pulse = pulse_of(backend)
    assert await pulse.beats()
    assert (pulse.lost, pulse.why, backend._residents) == (False, "", {})


async def test_a_gpu_whose_sessions_come_out_on_the_cpu_is_lost_where_it_was_insisted_on(pulse_of, monkeypatch):
    """No CUDA is here, and onnxruntime takes the CPU without a word."""
    backend = InProcessBackend(SessionOptions(threads=1, provider="cuda"), 8)
    assert await pulse_of(backend, strict=False).beats()
    strict = pulse_of(backend)
    assert not await strict.beats()
    assert strict.why == "onnxruntime gave CPUExecutionProvider in its place"
    pretended_gpu.pretend(monkeypatch)
    assert await pulse_of(backend).beats()


class Broken:
    device = "cuda:1"

    def __init__(self):
        self.asked, self.killed, self.gate = 0, [], threading.Event()

    def load(self, digest, data):
        self.asked += 1
        self.gate.wait(10)
        raise WorkerLost("no process computes there")

    def kill(self, digest, why):
        self.killed.append(digest)
        self.gate.set()


async def test_a_device_that_does_not_compute_is_lost_and_is_not_asked_by_everybody(pulse_of):
    broken = Broken()
    broken.gate.set()
    pulse = pulse_of(broken)
    assert not await pulse.beats()
    assert not await pulse.beats()
    assert (pulse.lost, pulse.why, broken.asked) == (True, "no process computes there", 1)


async def test_a_device_that_does_not_answer_is_lost_and_its_process_ends(pulse_of, monkeypatch):
    monkeypatch.setattr("assayd.engine.pulse._LONGEST_S", 0.05)
    broken = Broken()
    pulse = pulse_of(broken)
    assert not await pulse.beats()
    assert broken.killed == ["pulse"]
    assert "within 0.05 s" in pulse.why
