"""Whatever a server is asked ends by the server's deadlines where its caller sets none, or one that is too far away."""

import contextlib
import fcntl
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

import assay
from assay.v1 import model_service_pb2, model_service_pb2_grpc
from assayd.store.store import Store
from tests.integration.drips import drips
from tests.integration.server import ServerProcess, wait_until
from tests.models.hostile import endless
from tests.processes import children
from tests.robustness.corpus import slow_load

_, _, WILD = endless()
ELEMENTS = assay.Occlusion(features=assay.Elements())
FLAGS = (
    *("--default-deadline-s", "2", "--max-deadline-s", "4", "--min-upload-bytes-per-s", "1", "--sweep-ms", "0"),
    *("--max-load-s", "20"),  # what has no other end fails soon
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """With a model that takes minutes to load, which no upload gets in, under two names."""
    folder = tmp_path_factory.mktemp("deadlines") / "store"
    kept = Store(folder)
    for name in ("slow", "second"):
        with kept.draft() as draft:
            draft.write(slow_load())
            kept.publish("default", name, "1", draft, b"")
    return folder


@pytest.fixture(scope="module")
def server(store):
    with ServerProcess(store, *FLAGS) as running:
        yield running


@pytest.fixture
def client(server):
    with assay.Client(server.address) as caller:
        yield caller


def trickle(address, sent):
    with grpc.insecure_channel(address) as channel:
        model_service_pb2_grpc.ModelServiceStub(channel).UploadModel(drips("trickle", sent))


@contextlib.contextmanager
def locked(store):
    """As by a server that was stopped while it changed the store."""
    with (store / ".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_calls_that_set_no_deadline_are_ended_by_the_servers(server, client, store):
    forever = {"timeout": None}
    asked = {
        "GetModel": lambda: client.get_model("slow", **forever),
        "DeleteModel": lambda: client.delete_model("second", **forever),
        "Predict": lambda: client.predict("slow", {"x": WILD}, **forever),
        "Explain": lambda: client.explain("slow", {"x": WILD}, ELEMENTS, target=0, **forever),
        "ExplainStream": lambda: list(client.explain_stream("slow", {"x": WILD}, ELEMENTS, target=0, **forever)),
    }
    with locked(store), ThreadPoolExecutor(len(asked)) as pool:
        errors = {rpc: call.exception(60) for rpc, call in {k: pool.submit(call) for k, call in asked.items()}.items()}
    assert {rpc: (error.code, error.reason) for rpc, error in errors.items()} == dict.fromkeys(
        asked, ("DEADLINE_EXCEEDED", "DEADLINE")
    )
    assert "a call that sets no deadline has 2 s here" in str(errors["GetModel"])
    assert "a call that sets no deadline has 2 s here" in str(errors["DeleteModel"])
    wait_until(lambda: not children(server.process.pid), 60)  # the load has really stopped
    assert "second" in {model.name for model in client.models(timeout=None)}


def test_an_upload_that_keeps_the_pace_and_comes_to_no_end_is_ended_by_the_longest_deadline(server, client, store):
    sent = []
    with pytest.raises(grpc.RpcError) as got:
        trickle(server.address, sent)
    assert got.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "a call that sets no deadline has 4 s here" in got.value.details()
    assert len(sent) < 600
    wait_until(lambda: not list(store.glob(".drafts/*")))
    assert "trickle" not in {model.name for model in client.models(timeout=None)}


def test_no_deadline_is_longer_than_the_longest(server, client):
    parts = iter([model_service_pb2.UploadModelRequest(header=model_service_pb2.UploadModelHeader(name="x"))])
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as got:
        model_service_pb2_grpc.ModelServiceStub(channel).UploadModel(parts, timeout=1000)
    assert got.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    for call in (
        lambda: client.explain_many("slow", [{"x": WILD}], ELEMENTS, target=0, timeout=1000),
        lambda: [client.predict("slow", {"x": WILD}, timeout=1000)],
        lambda: [client.get_model("slow", timeout=1000)],
        lambda: [client.put_tensor(np.zeros(3, np.float32), timeout=1000)],
        lambda: [client.delete_model("slow", timeout=1000)],
        lambda: [client.models(timeout=1000)],
        lambda: [client.info(timeout=1000)],
    ):
        with pytest.raises(assay.InvalidArgument, match="at most 4 s are kept") as refused:
            list(call())
        assert [field for field, _ in refused.value.violations] == ["timeout"]
