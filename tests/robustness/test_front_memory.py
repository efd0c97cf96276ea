"""What callers send makes the process that answers them grow by so much for each byte that it holds, and no more.

`pytest tests/robustness/test_front_memory.py -rP` tells how much each case took.
"""

import contextlib
import threading

import grpc
import numpy as np
import pytest

import assay
from assay.requests import explain_request
from assay.v1 import explain_service_pb2, explain_service_pb2_grpc
from tests.integration.server import ServerProcess, wait_until
from tests.models import zoo
from tests.models.hostile import memory_bomb
from tests.processes import forget_peak, peak_resident_bytes, resident_bytes

MIB = 2**20
MESSAGE_BYTES = 16 * MIB
COPIES, SLACK_BYTES = 8, 48 * MIB
"""The bound: copies of what is held at once, and what gRPC and the allocator keep for the next."""
TIMES = 20
"""Each is done so often, one after the other: what stayed behind would come to more than the bound."""

_FEATURES = 2**16
_WIDE = np.ones((48, _FEATURES), np.float32)
_ROWS = assay.Rows(keep=np.ones((2, 1)), features=assay.Segments(np.zeros(_FEATURES, np.int32)))


class Front:
    """A server, a client of it, and how much its process grew. loads: workers that were started aren't counted."""

    def __init__(self, server, client, channel):
        self.server, self.client, self.channel = server, client, channel

    @contextlib.contextmanager
    def grows_by_at_most(self, held_bytes):
        """held_bytes: of what callers sent or were sent, that the server had to hold at once."""
        pid = self.server.process.pid
        before = resident_bytes(pid)
        forget_peak(pid)
        yield
        grown = peak_resident_bytes(pid) - before
        times = f", {grown / held_bytes:.1f} for each" if held_bytes else ""
        print(f"{held_bytes / MIB:.0f} MiB held at once: {grown / MIB:.0f} MiB more at the peak{times}")
        assert grown < COPIES * held_bytes + SLACK_BYTES, f"{grown / MIB:.0f} MiB"


@contextlib.contextmanager
def _front(folder, **more):
    flags = ("--sweep-ms", "0", "--max-message-bytes", str(MESSAGE_BYTES), "--worker-memory-bytes", str(3 * 2**30))
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with (
        ServerProcess(folder / "store", *flags, **more) as server,
        assay.Client(server.address) as client,
        grpc.insecure_channel(server.address, options) as channel,
    ):
        client.upload_model(zoo.linear(features=_FEATURES, outputs=1), name="wide", timeout=120)
        client.predict("wide", {"x": _WIDE[:1]}, timeout=120)
        client.explain("wide", {"x": _WIDE[:1]}, _ROWS, target=0, timeout=120)
        yield Front(server, client, channel)


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    with _front(tmp_path_factory.mktemp("memory")) as made:
        yield made


def _predictions(front):
    with front.grows_by_at_most(_WIDE.nbytes):
        for _ in range(TIMES):
            front.client.predict("wide", {"x": _WIDE}, timeout=120)


def test_predictions(front):
    _predictions(front)


def test_a_server_that_keeps_what_is_sent_is_found(tmp_path):
    """The control."""
    with _front(tmp_path, module="tests.robustness.leaky") as leaky, pytest.raises(AssertionError, match="MiB"):
        _predictions(leaky)


def test_explanations(front):
    with front.grows_by_at_most(_WIDE.nbytes):
        for _ in range(TIMES // 4):
            front.client.explain("wide", {"x": _WIDE}, _ROWS, target=0, timeout=120)


def test_tensors_that_are_stored(front):
    with front.grows_by_at_most(_WIDE.nbytes):
        for n in range(TIMES):
            front.client.put_tensor(_WIDE + n % 2, timeout=120)


def test_uploads(front):
    data = zoo.linear(features=64 * _FEATURES, outputs=1)
    with front.grows_by_at_most(len(data)):
        for n in range(3):
            front.client.upload_model(data, name=f"large-{n}", timeout=120)


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_messages_over_the_limit(front, compression):
    """Compressed they are bombs, which are unpacked up to the limit."""
    call = front.channel.unary_unary("/assay.v1.ExplainService/Explain")
    with front.grows_by_at_most(MESSAGE_BYTES if compression is grpc.Compression.Gzip else 0):
        for _ in range(2):
            with pytest.raises(grpc.RpcError) as got:
                call(bytes(4 * MESSAGE_BYTES), compression=compression, timeout=120)
            assert got.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_models_that_want_gigabytes(front):
    data, _, wild = memory_bomb("Expand")
    front.client.upload_model(data, name="bomb")
    with front.grows_by_at_most(0):
        for _ in range(3):
            with pytest.raises(assay.ResourceExhausted):
                front.client.predict("bomb", {"x": wild}, timeout=120)


def test_a_caller_who_sends_parts_and_reads_no_answers(front):
    """Who reads nothing is soon read no more: of a hundred parts the server takes a few."""
    method = assay.Occlusion(features=assay.Segments(np.zeros(_FEATURES, np.int32)))  # whose maps are as large as x
    request = explain_request("wide", {"x": _WIDE[:16]}, method, target=0)
    part = explain_service_pb2.ExplainRequest(inputs=request.inputs)
    taken, ended = [], threading.Event()

    def parts():
        yield explain_service_pb2.ExplainManyRequest(request=request)
        for n in range(100):
            taken.append(n)
            yield explain_service_pb2.ExplainManyRequest(request=part)
        ended.wait(60)

    with front.grows_by_at_most(4 * _WIDE[:16].nbytes):
        call = explain_service_pb2_grpc.ExplainServiceStub(front.channel).ExplainMany(parts(), timeout=120)
        next(call)
        before = -1
        while (now := front.server.metrics()["assayd_rows_run_total"]) != before:
            before = now
            ended.wait(1)
        print(f"{len(taken)} parts of 4 MiB were taken")
        assert len(taken) < 30
        call.cancel()
        ended.set()
    in_flight = 'assayd_requests_in_flight{rpc="ExplainService/ExplainMany"}'
    wait_until(lambda: front.server.metrics()[in_flight] == 0, 30)
