"""A model reads nothing but itself: a file with a secret, every place where a path can stand, and no trace of it."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import assay
from tests.integration.server import ServerProcess
from tests.robustness import corpus

CANARY = b"canary-5f1d0c1e7a1b4c0f9e3b6d2a8c4e0f7113579bdf02468ace-end-of-it"[:64]
X = np.zeros((1, 8), np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("canary") / "store", "--sweep-ms", "0") as running:
        yield running


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.bin"
    path.write_bytes(CANARY)
    return path


def traces(found):
    """Whether bytes, or numbers that a model made of them, hold the canary."""
    return CANARY in found or CANARY.hex().encode() in found or CANARY[8:40] in found


def ep_context(location):
    held = dict(embed_mode=0, ep_cache_context=location)
    return corpus.model([helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", **held)])


def _pointed(place):
    return lambda location: place(corpus.pointer(location))


FILES = {place.__name__: _pointed(place) for place in corpus.PLACES} | {"ep_context": ep_context}
PATHS = {
    "absolute": str,
    "from the root": lambda path: os.path.relpath(path, "/"),
    "upwards": lambda path: "../" * 12 + os.path.relpath(path, "/"),
    "inner upwards": lambda path: "a/" + "../" * 12 + os.path.relpath(path, "/"),
}


@pytest.mark.parametrize("written", PATHS)
@pytest.mark.parametrize("place", FILES)
def test_a_file_beside_is_never_read(server, secret, place, written):
    location = PATHS[written](secret)
    with assay.Client(server.address) as client, pytest.raises(assay.InvalidArgument) as got:
        client.upload_model(FILES[place](location), name="spy")
    said = f"{got.value!r} {got.value} {got.value.metadata} {got.value.violations}".encode()
    assert not traces(said)
    assert not traces(server.log().encode())
    assert str(secret) not in said.decode()


def test_a_model_that_holds_the_secret_itself_tells_it(server):
    """The control: what the others point at is answered where it really is in the file, so that a leak would show."""
    inside = numpy_helper.from_array(np.frombuffer(CANARY, np.uint8), "spy")
    made = onnx.load_from_string(corpus.in_initializer(inside))
    shift = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
    made.graph.initializer.append(shift)
    made.graph.node.insert(2, helper.make_node("Add", ["sum", "one"], ["sum1"]))
    made.graph.node[3].input[0] = "sum1"
    with assay.Client(server.address) as client:
        model = client.upload_model(made.SerializeToString(), name="open")
        told = client.predict(model, X)["y"].astype(np.uint8).tobytes()
    assert traces(told)
