"""Callers that stop halfway, never read, flood or hang up, by hand-made HTTP/2; a good caller beside them."""

import contextlib
import os
import resource
import socket
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import assay
from assay.requests import explain_request
from assay.v1 import explain_service_pb2 as pb
from assayd.api.auth.tokens import new_token
from tests.integration.server import ServerProcess, wait_until
from tests.models import zoo
from tests.robustness import raw_http2
from tests.robustness.good_caller import GoodCaller
from tests.robustness.raw_http2 import RawCaller, frame, prefixed

MESSAGE, IN_FLIGHT = 4 << 20, 16 << 20
X = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
ELEMENTS = assay.Occlusion(features=assay.Elements())
RPCS = ("ExplainService/Explain", "ExplainService/ExplainMany", "ModelService/UploadModel", "ModelService/PutTensor")


def flags(**more):
    chosen = {
        "max_message_bytes": MESSAGE,
        "max_bytes_in_flight": IN_FLIGHT,
        "sweep_ms": 0,
        "batch_rows": 1024,
        "max_concurrent_calls": 60,
    }
    return [str(part) for k, v in (chosen | more).items() for part in ("--" + k.replace("_", "-"), v)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("raw") / "store", *flags()) as running:
        yield running


@pytest.fixture(scope="module")
def good(server):
    with GoodCaller(server.address) as caller:
        yield caller


@pytest.fixture(autouse=True)
def nobody_else_noticed(server, good):
    yield
    good.check()
    assert server.process.poll() is None


def rss_bytes(server):
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(server):
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def under_way(server):
    return sum(v for k, v in server.metrics().items() if k.startswith("assayd_requests_in_flight"))


def test_messages_that_are_sent_halfway_hold_no_more_than_may_be(server, good):
    """Sixty calls of all kinds with all but the end of the largest message: 240 MiB without a limit."""
    before = rss_bytes(server)
    with contextlib.ExitStack() as stack:
        taken, most = 0, 0
        for _ in range(15):
            caller = stack.enter_context(RawCaller(server.address))
            for rpc in RPCS:
                taken += caller.send(caller.open(rpc), prefixed(MESSAGE) + bytes(MESSAGE - 100))
                most = max(most, rss_bytes(server) - before)
        assert taken > 2 * IN_FLIGHT  # those that were sent away had been read
        assert most < 5 * IN_FLIGHT
    wait_until(lambda: under_way(server) <= 1, 30)


def test_of_what_nobody_asked_for_yet_little_is_kept(server, good):
    """An upload's later chunks, while the first is refused or waits."""
    with RawCaller(server.address) as caller:
        stream = caller.open("ModelService/UploadModel")
        assert caller.send(stream, prefixed(5) + b"\xff" * 5 + prefixed(MESSAGE) + bytes(MESSAGE)) < MESSAGE


def test_health_holds_messages_like_others_do(server, good):
    before = rss_bytes(server)
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            caller = stack.enter_context(RawCaller(server.address))
            caller.send(caller.open("Check", service="grpc.health.v1.Health"), prefixed(MESSAGE) + bytes(MESSAGE - 9))
            assert rss_bytes(server) - before < 5 * IN_FLIGHT
        with grpc.insecure_channel(server.address) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_answers_that_nobody_reads_are_held_and_counted(server, good):
    """Each of 3 MiB, to callers that allow a few bytes: five have room, and the sixth is told so."""
    request = explain_request(
        "good", {"x": X[:1]}, assay.Rows(keep=np.ones((100_000, 8), bool), features=assay.Elements()), target=0
    )
    request.return_rows = True
    body = request.SerializeToString()
    with contextlib.ExitStack() as stack:
        before, earlier = rss_bytes(server), refused(server)
        for _ in range(12):
            caller = stack.enter_context(RawCaller(server.address, window=100))
            stream = caller.open("ExplainService/Explain")
            assert caller.send(stream, prefixed(len(body)) + body, end=True) == 5 + len(body)
        wait_until(lambda: refused(server) > earlier, 60)
        assert rss_bytes(server) - before < 8 * IN_FLIGHT
    wait_until(lambda: under_way(server) <= 1, 30)


def test_a_caller_that_reads_nothing_more_keeps_no_place(tmp_path):
    """Its answer has no end, and it sets no deadline; its connection stays."""
    with (
        ServerProcess(tmp_path / "store", *flags(max_unread_s=1)) as server,
        assay.Client(server.address) as client,
        RawCaller(server.address, window=100) as caller,
    ):
        client.upload_model(zoo.mlp(), name="good")
        first = pb.ExplainManyRequest(request=explain_request("good", {"x": X}, ELEMENTS, target=0))
        body = first.SerializeToString()
        caller.send(caller.open("ExplainService/ExplainMany"), prefixed(len(body)) + body)
        wait_until(lambda: under_way(server), 30)
        wait_until(lambda: not under_way(server), 30)
        caller.read(0.1)
        assert not caller.ended


def refused(server):
    return sum(v for k, v in server.metrics().items() if "requests_total" in k and "RESOURCE_EXHAUSTED" in k)


def test_calls_that_are_cancelled_at_once_leave_nothing(server, good):
    before = descriptors(server)
    with RawCaller(server.address) as caller:
        for _ in range(2000):
            caller.reset(caller.open("ExplainService/Explain"))
        while caller.read(0.2):
            pass
    wait_until(lambda: under_way(server) <= 1 and descriptors(server) <= before + 1, 60)


def test_hanging_up_in_the_middle_leaves_nothing(server, good):
    before = descriptors(server)
    for n in range(60):
        with RawCaller(server.address) as caller:
            stream = caller.open(RPCS[n % 4])
            caller.send(stream, prefixed(MESSAGE) + bytes(20_000 * (n % 3)))
            if n % 2:
                caller.reset(stream)
    wait_until(lambda: under_way(server) <= 1 and descriptors(server) <= before + 1, 60)


@pytest.mark.parametrize(
    "nonsense",
    {
        "no preface": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "a TLS greeting": b"\x16\x03\x01\x02\x00" + b"\x01" * 512,
        "headers that never end": raw_http2.PREFACE + frame(4) + frame(1, b"\0" * 9, 0, 1)
        + frame(9, b"\0" * 16000, 0, 1) * 40,
        "a frame that is too long": raw_http2.PREFACE + frame(4) + b"\xff\xff\xff\0\0\0\0\0\1" + bytes(70_000),
        "data for no stream": raw_http2.PREFACE + frame(4) + frame(0, b"x" * 100, 0, 77),
        "a flood of settings": raw_http2.PREFACE + frame(4) * 20_000,
        "a flood of resets": raw_http2.PREFACE + frame(4) + b"".join(
            frame(3, b"\0\0\0\x08", 0, 2 * n + 1) for n in range(20_000)
        ),
        "windows that overflow": raw_http2.PREFACE + frame(4) + frame(8, b"\x7f\xff\xff\xff", 0, 0) * 3,
    }.items(),
    ids=lambda named: named[0],
)  # fmt: skip
def test_nonsense_is_hung_up_on_or_ignored(server, good, nonsense):
    before, memory = descriptors(server), rss_bytes(server)
    host, port = server.address.split(":")
    for _ in range(5):
        with socket.create_connection((host, int(port)), timeout=5) as connection, contextlib.suppress(OSError):
            connection.sendall(nonsense[1])
            connection.settimeout(0.3)
            while connection.recv(65536):
                pass
    wait_until(lambda: descriptors(server) <= before + 1, 60)
    assert rss_bytes(server) - memory < 2 * IN_FLIGHT


def test_hanging_up_without_a_word_leaves_nothing(server, good):
    before = descriptors(server)
    host, port = server.address.split(":")
    idle = [socket.create_connection((host, int(port)), timeout=5) for _ in range(100)]
    wait_until(lambda: descriptors(server) >= before + 90, 30)
    good.check()
    for connection in idle:
        connection.close()
    wait_until(lambda: descriptors(server) <= before + 1, 60)


# ---- a tenant's share --------------------------------------------------------------------------------------------


def test_a_tenant_that_takes_all_it_can_leaves_room_for_another(tmp_path):
    tokens, shown = tmp_path / "tokens", {}
    with tokens.open("w") as file:
        for tenant in ("greedy", "modest"):
            shown[tenant], line = new_token(tenant, ["admin"], None)
            file.write(line + "\n")
    as_greedy = [("authorization", f"Bearer {shown['greedy']}")]
    own = flags(tokens=tokens, max_concurrent_calls=8, max_concurrent_uploads=2)
    with ServerProcess(tmp_path / "store", *own) as server, contextlib.ExitStack() as stack:
        modest = stack.enter_context(assay.Client(server.address, token=shown["modest"]))
        greedy = stack.enter_context(assay.Client(server.address, token=shown["greedy"]))
        modest.upload_model(zoo.mlp(), name="mlp")
        caller = stack.enter_context(RawCaller(server.address))
        for _ in range(3):
            caller.open("ModelService/UploadModel", as_greedy)
        wait_until(lambda: under_way(server) == 1, 30)
        with pytest.raises(assay.ResourceExhausted, match="1 uploads are under way for tenant greedy") as got:
            greedy.upload_model(zoo.mlp(), name="mlp")
        assert got.value.metadata == {"what": "uploads", "limit": "1", "tenant": "greedy"}
        assert got.value.retry_after == 1
        for _ in range(4):
            caller.open("ExplainService/Explain", as_greedy)
        wait_until(lambda: under_way(server) == 4, 30)
        with pytest.raises(assay.ResourceExhausted, match="4 calls are under way for tenant greedy"):
            greedy.get_model("mlp")
        assert modest.predict("mlp", X)["y"].shape == (2, 3)
        assert modest.upload_model(zoo.mlp(), name="mlp").version == "1"


# ---- descriptors -------------------------------------------------------------------------------------------------


def test_without_descriptors_callers_are_told_to_come_back_and_are_served_when_there_are_some(tmp_path):
    status = health_pb2.HealthCheckResponse
    with (
        ServerProcess(tmp_path / "store", *flags()) as server,
        assay.Client(server.address) as client,
        grpc.insecure_channel(server.address) as channel,
    ):

        def healthy():
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
            return answer.status == status.SERVING

        client.upload_model(zoo.mlp(), name="mlp")
        tensor = client.put_tensor(X)
        assert healthy()
        soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        assert soft == hard
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, hard))
        for ask in (
            lambda: client.get_model("mlp"),
            client.models,
            lambda: client.put_tensor(X + 1),
            lambda: client.upload_model(zoo.linear(), name="linear"),
            lambda: client.delete_model("mlp"),
            lambda: client.predict("mlp@1", np.zeros((4000, 8), np.float32)),
            lambda: client.explain("mlp@1", {"x": tensor}, ELEMENTS, target=0),
        ):
            with pytest.raises(assay.Unavailable) as got:
                ask()
            assert (got.value.reason, got.value.retry_after) == ("NO_DESCRIPTORS", 1)
        wait_until(lambda: not healthy(), 10)
        with RawCaller(server.address) as late:  # the system took it; the server can't yet
            assert late.read(1.0) is None
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
            wait_until(lambda: late.read(1.0) is not None, 30)
        wait_until(healthy, 10)
        assert client.models()[0].ref == "mlp@1"
        assert client.explain("mlp@1", {"x": tensor}, ELEMENTS, target=0).scores.shape == (2,)
        assert '"event": "bug"' not in server.log()
