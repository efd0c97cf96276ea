"""Which operators run where, and what is worth a word."""

from assayd.engine.onnxruntime_session import Session
from assayd.engine.options import SessionOptions
from assayd.engine.placement import Placement
from tests.models import zoo

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def test_what_computes_on_the_host_is_told_from_shapes_and_copies():
    nodes = [(CUDA, "Conv"), (CUDA, "Conv"), (CPU, "Shape"), (CPU, "Gather"), (CPU, "MemcpyToHost"), (CPU, "LpPool")]
    placed = Placement.of(CUDA, nodes)
    assert placed.device == (("Conv", 2),)
    assert placed.host == (("Gather", 1), ("LpPool", 1), ("Shape", 1))
    assert placed.computed_on_host == ("LpPool",)
    assert placed.has("ConvTranspose", "Conv")
    assert not placed.has("LpPool")


def test_a_session_on_the_cpu_has_no_host_beside_it():
    session = Session(zoo.cnn(), SessionOptions(threads=1), free_shapes=False)
    placed = session.placement()
    assert placed.has("Conv")
    assert placed.host == ()
