"""Limits at the door over real gRPC: too large, too many, too slow; and a good caller goes on."""

import contextlib
import re
import socket
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

import assay
from assay.v1 import model_service_pb2, model_service_pb2_grpc
from tests.integration.drips import drips
from tests.integration.server import ServerProcess, wait_until
from tests.models import zoo
from tests.robustness.good_caller import GoodCaller

X = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
ELEMENTS = assay.Occlusion(features=assay.Elements())
MESSAGE = 4 << 20
FLAGS = {
    "--max-message-bytes": MESSAGE,
    "--max-metadata-bytes": 8192,
    "--max-concurrent-calls": 4,
    "--max-concurrent-uploads": 2,
    "--max-connections": 12,
    "--max-message-s": 2,
    "--min-upload-bytes-per-s": 1000,
}


def flags(**changes):
    chosen = FLAGS | {"--" + name.replace("_", "-"): value for name, value in changes.items()}
    return [str(part) for pair in chosen.items() for part in pair]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    store = tmp_path_factory.mktemp("narrow") / "store"
    with ServerProcess(store, *flags()) as server:
        server.store = store
        yield server


@pytest.fixture(scope="module")
def good(narrow):
    with assay.Client(narrow.address) as client:
        client.upload_model(zoo.mlp(), name="mlp")
        yield client


@pytest.fixture(autouse=True)
def a_good_call_after_each(good):
    yield
    assert good.explain("mlp", {"x": X}, ELEMENTS, target=0).feature_values.shape == (2, 8)


@pytest.fixture
def beside(narrow):
    """Who asks all the while and gets the same bits each time; twice at least."""
    with GoodCaller(narrow.address) as caller:
        yield caller
        caller.check()
        assert caller.answers > 1


@contextlib.contextmanager
def channel_to(server, **more):
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(server.address, options, **more) as channel:
        yield channel


def raw(channel, body, rpc="ExplainService/Explain", **more):
    with pytest.raises(grpc.RpcError) as got:
        channel.unary_unary(f"/assay.v1.{rpc}")(body, timeout=60, **more)
    return got.value


def details(error):
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    return info, any(d.Unpack(retry) for d in status.details)


# ---- too large -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rpc", ["ExplainService/Explain", "ExplainService/ExplainStream", "ExplainService/ExplainMany"]
)
@pytest.mark.parametrize(
    "compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate]
)
def test_a_message_over_the_limit(narrow, rpc, compression):
    with channel_to(narrow) as channel:
        error = raw(channel, b"\0" * (MESSAGE + 1), rpc, compression=compression)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in error.details()


def test_what_fits_when_it_is_unpacked_is_taken(narrow):
    with channel_to(narrow, compression=grpc.Compression.Gzip) as channel:
        assert raw(channel, b"\0" * (MESSAGE - 10)).code() is grpc.StatusCode.INTERNAL  # no message, but it was read


def peak_kib(server):
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def test_a_bomb_is_not_unpacked_beyond_the_limit(narrow, beside):
    with channel_to(narrow, compression=grpc.Compression.Gzip) as channel:
        raw(channel, b"\0" * (MESSAGE + 1))
        before = peak_kib(narrow)
        for _ in range(3):
            assert raw(channel, b"\0" * (256 << 20)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert peak_kib(narrow) - before < 64 << 10


@pytest.mark.parametrize("bytes_", [9000, 20_000, 1_000_000])
def test_metadata_over_the_limit(narrow, beside, bytes_):
    with channel_to(narrow) as channel:

        def too_much():
            error = raw(channel, b"", metadata=[("x-much", "a" * bytes_)])
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "metadata" in error.details()

        beside.beside(too_much)
        assert raw(channel, b"", metadata=[("x-some", "a" * 4000)]).code() is grpc.StatusCode.INVALID_ARGUMENT


# ---- too many ------------------------------------------------------------------------------------------------------


class Held:
    """Calls of a stream that say nothing after their header, until they are let go."""

    def __init__(self, channel, number, *, header=True):
        self.go = threading.Event()
        self.header = header
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        self.calls = [stub.UploadModel.future(self._parts(), timeout=60) for _ in range(number)]

    def _parts(self):
        if self.header:
            yield model_service_pb2.UploadModelRequest(header=model_service_pb2.UploadModelHeader(name="held"))
        self.go.wait(60)

    def end(self):
        for call in self.calls:
            call.cancel()
        self.go.set()


def under_way(server):
    return sum(v for k, v in server.metrics().items() if k.startswith("assayd_requests_in_flight"))


def test_more_uploads_than_may_be_are_refused_not_kept_waiting(narrow, good):
    with channel_to(narrow) as channel:
        held = Held(channel, 2)
        try:
            wait_until(lambda: under_way(narrow) == 2)
            with pytest.raises(assay.ResourceExhausted, match="2 uploads are under way") as got:
                good.upload_model(zoo.mlp(), name="third")
            assert got.value.reason == "QUEUE_FULL"
            assert got.value.retry_after == 1
            assert good.predict("mlp", {"x": X})["y"].shape == (2, 3)
        finally:
            held.end()
    wait_until(lambda: under_way(narrow) == 0)
    assert good.upload_model(zoo.mlp(), name="third").name == "third"


def test_more_calls_than_may_be_are_refused_not_kept_waiting(narrow, good):
    with channel_to(narrow) as channel:
        many = channel.stream_stream("/assay.v1.ExplainService/ExplainMany")
        go = threading.Event()
        opened = [many(iter(lambda: go.wait(60) and None, None), timeout=60) for _ in range(4)]
        try:
            wait_until(lambda: under_way(narrow) == 4)
            error = raw(channel, b"")
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            info, retry = details(error)
            assert (info.reason, info.metadata["limit"], retry) == ("QUEUE_FULL", "4", True)
        finally:
            for call in opened:
                call.cancel()
            go.set()
    wait_until(lambda: under_way(narrow) == 0)


def test_more_connections_than_may_be_are_closed(narrow, good):
    host, port = narrow.address.split(":")
    with contextlib.ExitStack() as stack:
        plain = [stack.enter_context(socket.create_connection((host, int(port)), timeout=20)) for _ in range(30)]
        closed = 0
        for each in plain:
            with contextlib.suppress(TimeoutError):
                each.settimeout(2)
                try:
                    # The library greets who is let in with its settings.
                    closed += each.recv(1) == b""
                except ConnectionResetError:
                    closed += 1
        assert closed >= 18
        assert good.info().version  # who is in stays in
    wait_until(lambda: reachable(narrow), 30)


def reachable(server):
    with channel_to(server) as channel:
        try:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5)
        except grpc.RpcError:
            return False
        return True


# ---- too slow ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rpc", ["ExplainService/Explain", "ExplainService/ExplainMany", "ModelService/UploadModel"])
def test_a_call_that_never_says_anything_is_ended(narrow, rpc):
    go = threading.Event()
    with channel_to(narrow) as channel:
        call = channel.stream_unary(f"/assay.v1.{rpc}").future(iter(lambda: go.wait(60) and None, None))
        try:
            error = call.exception(60)
        finally:
            go.set()
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "no whole message came within 2 s" in error.details()
    assert details(error)[0].reason == "DEADLINE"


def test_an_upload_that_drips_is_ended_and_leaves_nothing(narrow, good, beside):
    sent = []

    with channel_to(narrow) as channel, pytest.raises(grpc.RpcError) as got:
        model_service_pb2_grpc.ModelServiceStub(channel).UploadModel(drips("drip", sent), timeout=60)
    assert got.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "an upload keeps 1000 bytes a second" in got.value.details()
    assert len(sent) < 600
    wait_until(lambda: not list(narrow.store.glob(".drafts/*")))
    with pytest.raises(assay.NotFound):
        good.get_model("drip")


def test_an_upload_that_is_slow_and_keeps_the_pace_is_taken(narrow, good):
    data = zoo.mlp(hidden=200)
    assert len(data) > 5000

    def parts():
        yield model_service_pb2.UploadModelRequest(header=model_service_pb2.UploadModelHeader(name="slow"))
        for start in range(0, len(data), 2000):
            yield model_service_pb2.UploadModelRequest(chunk=data[start : start + 2000])
            time.sleep(0.6)

    with channel_to(narrow) as channel:
        model_service_pb2_grpc.ModelServiceStub(channel).UploadModel(parts(), timeout=60)
    assert good.get_model("slow").name == "slow"
