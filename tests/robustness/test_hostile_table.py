"""What a hostile or careless caller may send, row by row of one table, and what it gets; a good caller beside it.

RetryInfo is there where trying again is useful, and nowhere else.
"""

import contextlib
import os
import resource
import signal
import threading
import time
from pathlib import Path
from unittest import mock

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import assay
from assay.errors import from_rpc_error
from assay.requests import explain_request
from assay.v1 import (
    explain_service_pb2,
    explain_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
)
from tests.integration.server import ServerProcess, wait_until
from tests.integration.test_errors import BAD_CALLS, RAW_CALLS
from tests.models import zoo
from tests.models.hostile import endless, giant_matmul, killer, memory_bomb
from tests.processes import children
from tests.robustness import corpus
from tests.robustness.good_caller import GoodCaller

ROWS = range(1, 64)
ELSEWHERE = {
    32: "test_door.py::test_a_bomb_is_not_unpacked_beyond_the_limit",
    33: "test_door.py::test_metadata_over_the_limit",
    39: "test_who_may.py::test_rows_beyond_the_quota_come_later_and_others_do_not_wait",
    45: "test_door.py::test_an_upload_that_drips_is_ended_and_leaves_nothing",
    50: "test_who_may.py::test_strangers_are_refused_whatever_they_ask",
    51: "test_who_may.py::test_a_right_not_held_is_named",
    52: "test_who_may.py::test_anothers_model_is_as_unknown_as_one_that_never_was",
    61: "test_connections.py::test_a_flood_of_pings_is_told_to_go_away_and_others_are_served",
    62: "test_tls.py::test_no_handshake_for_others",
}
"""Rows that need a server of another kind, and where in tests/integration they are tried, a good caller beside each; an
unknown model here too.
"""

X = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
ELEMENTS = assay.Occlusion(features=assay.Elements())
MESSAGE_BYTES, MEMORY_BYTES = 2**21, 3 * 2**30
CASES = {}


def row(number, name):
    """Enter a test of a row of the table: a function of a `Stage`."""

    def enter(test):
        CASES[f"{number:02d} {name}"] = test
        return test

    return enter


class Stage:
    """The server that everybody shares, and callers of it. folder: for servers of one's own."""

    def __init__(self, server, client, good, folder):
        self.server, self.client, self.good, self.folder = server, client, good, folder

    def upload(self, data, name, **more):
        return self.client.upload_model(data, name=name, **more)

    def explain(self, **change):
        arguments = {"inputs": {"x": X}, "method": ELEMENTS, "target": 0} | change
        return self.client.explain(arguments.pop("model", self.good.model), **arguments)

    @contextlib.contextmanager
    def own(self, *flags):
        """A server that nobody else uses, and its client."""
        server = ServerProcess(self.folder / "own", "--sweep-ms", "0", *flags)
        with server, assay.Client(server.address) as client:
            yield server, client


@contextlib.contextmanager
def refused(code, reason, *, field=None, retry=False, words=""):
    """What is inside must fail with this code, reason and field. reason None: the caller's own library refused."""
    with pytest.raises((assay.AssayError, grpc.RpcError)) as got:
        yield got
    error = got.value if isinstance(got.value, assay.AssayError) else from_rpc_error(got.value)
    assert error.code == code, repr(error)
    if reason is not None:
        assert error.reason == reason, repr(error)
        assert error.request_id
    if field is not None:
        assert [f for f, _ in error.violations] == [field], error.violations
    assert (error.retry_after is not None) == retry, error
    assert words in str(error), error
    for sign in ("Traceback", "site-packages", "/onnxruntime_src", "/root", "/home", "/tmp", "etc/passwd", "secret"):
        assert sign not in f"{error} {error.metadata}", error


def stub(server, options=()):
    channel = grpc.insecure_channel(server.address, options=[("grpc.max_send_message_length", -1), *options])
    return channel, explain_service_pb2_grpc.ExplainServiceStub(channel)


# ---- models ------------------------------------------------------------------------------------------------------


def _uploaded(bad):
    def test(s):
        code = "INVALID_ARGUMENT" if bad.reason == "INVALID_MODEL" else "RESOURCE_EXHAUSTED"
        with refused(code, bad.reason, field="chunk", words=bad.words):
            s.upload(bad.make(), "bad", timeout=120)
        with refused("NOT_FOUND", "MODEL_NOT_FOUND"):
            s.client.get_model("bad")

    return test


for _bad in corpus.ALL:
    row(_bad.row, _bad.name)(_uploaded(_bad))


@row(18, "a stated digest that differs")
def _(s):
    header = model_service_pb2.UploadModelHeader(name="bad", sha256="0" * 64)
    parts = [
        model_service_pb2.UploadModelRequest(header=header),
        model_service_pb2.UploadModelRequest(chunk=zoo.mlp()),
    ]
    with grpc.insecure_channel(s.server.address) as channel:
        upload = model_service_pb2_grpc.ModelServiceStub(channel).UploadModel
        with refused("INVALID_ARGUMENT", "DIGEST_MISMATCH", field="header.sha256"):
            upload(iter(parts))


for _made in (corpus.constant_of_shape_bomb, corpus.expand_bomb, corpus.tile_bomb):

    @row(34, f"{_made.__name__} for every input".replace("_", " "))
    def _(s, made=_made):
        # Some inputs might need less: that it is loaded tells nothing yet.
        bomb = s.upload(made(), made.__name__.replace("_", "-"), timeout=120)
        with refused("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY"):
            s.explain(model=bomb, timeout=120)


for _op in ("ConstantOfShape", "Expand"):

    @row(34, f"a bomb of {_op} for one input")
    def _(s, op=_op):
        data, calm, wild = memory_bomb(op)
        bomb = s.upload(data, f"bomb-{op.lower()}")
        with refused("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY"):
            s.client.predict(bomb, wild, timeout=120)
        assert s.client.predict(bomb, calm, timeout=120)["y"].shape == (1, 8)


@row(35, "a file over the limit")
def _(s):
    with refused("RESOURCE_EXHAUSTED", "TOO_LARGE", field="chunk"):
        s.upload(bytes(2 * corpus.WEIGHT_BYTES + 1), "bad")


# ---- requests ----------------------------------------------------------------------------------------------------

_ROW_OF_CALL = {
    "wrong name": 20, "wrong dtype": 20, "wrong rank": 20, "wrong extent": 20, "strings": 24, "no instance": 22,
    "target out of range": 25, "negative target": 25, "unknown output": 25, "baseline shape": 27, "segments shape": 27,
    "NaN baseline": 23, "deadline": 29,
}  # fmt: skip
_ROW_OF_RAW = {
    "too few bytes": 21, "too many bytes": 21, "an overflowing shape": 21, "an unknown method": 30, "no method": 30,
    "an unknown enum value": 30, "an unknown priority": 30,
}  # fmt: skip

for _name, _row in _ROW_OF_CALL.items():

    @row(_row, _name)
    def _(s, name=_name):
        change, reason, field = BAD_CALLS[name]
        with refused("INVALID_ARGUMENT", reason) as got:
            s.explain(**change)
        assert any(field in f for f, _ in got.value.violations), got.value.violations


for _name, _row in _ROW_OF_RAW.items():

    @row(_row, _name)
    def _(s, name=_name):
        request, reason, field = RAW_CALLS[name]
        request = explain_service_pb2.ExplainRequest.FromString(request.SerializeToString())
        request.model = "good"
        channel, calls = stub(s.server)
        with channel, refused("INVALID_ARGUMENT", reason, words=field):
            calls.Explain(request)


@row(22, "a zero-size axis")
def _(s):
    with refused("INVALID_ARGUMENT", "INVALID_TENSOR", field="inputs[x]"):
        s.explain(inputs={"x": np.zeros((2, 0), np.float32)})


@row(23, "NaN where a Jacobian must step")
def _(s):
    x = X.copy()
    x[1, 3] = np.nan
    with refused("INVALID_ARGUMENT", "NOT_FINITE"):
        s.explain(inputs={"x": x}, method=assay.Jacobian(), target=None)


@row(23, "infinity where a Jacobian must step")
def _(s):
    x = X.copy()
    x[0, 0] = np.inf
    with refused("INVALID_ARGUMENT", "NOT_FINITE"):
        s.explain(inputs={"x": x}, method=assay.Jacobian(), target=None)


for _samples in (0, -1, 2**31 - 1):

    @row(26, f"{_samples} samples")
    def _(s, samples=_samples):
        request = explain_request("good", {"x": X}, assay.Lime(num_samples=10, features=assay.Elements()), target=0)
        request.lime.num_samples = samples
        channel, calls = stub(s.server)
        with channel, refused("INVALID_ARGUMENT", "INVALID_PARAMETER", field="lime.num_samples"):
            calls.Explain(request)


for _step in (0.0, -1.0, 1e-30):

    @row(28, f"a step of {_step}")
    def _(s, step=_step):
        request = explain_request("good", {"x": X}, assay.Jacobian(step=0.5))
        request.jacobian.step[0].value = step
        channel, calls = stub(s.server)
        with channel, refused("INVALID_ARGUMENT", "INVALID_PARAMETER") as got:
            calls.Explain(request)
        assert "step" in got.value.details()


@row(31, "a message over the limit")
def _(s):
    request = explain_request("good", {"x": X}, ELEMENTS, target=0)
    request.inputs["x"].data = bytes(2 * MESSAGE_BYTES)
    channel, calls = stub(s.server)
    with channel, refused("RESOURCE_EXHAUSTED", None):
        calls.Explain(request)


@row(37, "rows over the budget")
def _(s):
    with refused("RESOURCE_EXHAUSTED", "ROW_BUDGET"):
        s.explain(budget=assay.Budget(rows=5))


@row(37, "rows over the server's limit")
def _(s):
    dense = s.upload(zoo.dense(), "dense")
    x = np.zeros((1, 3, 8, 10), np.float32)
    with refused("RESOURCE_EXHAUSTED", "ROW_BUDGET"):
        s.client.explain(dense, x, assay.Lime(num_samples=6000, features=assay.Elements()), target=0)


@row(38, "a full queue")
def _(s):
    with s.own("--max-queued-rows", "1000", "--batch-rows", "1") as (server, client):
        data, _, wild = endless()
        client.upload_model(data, name="endless")
        channel, calls = stub(server)
        with channel:
            method = assay.Rows(keep=np.ones((900, 8)), features=assay.Elements())
            waiting = [
                calls.Explain.future(explain_request("endless", {"x": wild}, method, target=0), timeout=20)
                for _ in range(2)
            ]
            wait_until(lambda: any(w.done() for w in waiting) or server.metrics()["assayd_queued_rows"] > 800, 60)
            with refused("RESOURCE_EXHAUSTED", "QUEUE_FULL", retry=True):
                client.explain("endless", wild, method, target=0, timeout=60)
            for one in waiting:
                one.cancel()


@row(40, "a unary answer over the limit")
def _(s):
    dense = s.upload(zoo.dense(), "dense")
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 10)).astype(np.float32)
    method = assay.Rows(keep=np.random.default_rng(0).random((4000, 240)) < 0.5, features=assay.Elements())
    targets = [assay.Target(index=n) for n in range(240)]
    with refused("RESOURCE_EXHAUSTED", "TOO_LARGE", words="ExplainStream"):
        s.client.explain(dense, x, method, target=targets, timeout=120)


@row(41, "out of memory with one row")
def _(s):
    data, _, wild = memory_bomb("Expand")
    bomb = s.upload(data, "bomb-41")
    with refused("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY"):
        s.client.explain(bomb, wild, assay.Rows(keep=np.ones((1, 8)), features=assay.Elements()), target=0, timeout=120)


# ---- time --------------------------------------------------------------------------------------------------------


for _number, _made in ((42, endless), (43, giant_matmul)):

    @row(_number, f"{_made.__name__} for one input")
    def _(s, made=_made):
        data, calm, wild = made()
        model = s.upload(data, made.__name__.replace("_", "-"))
        with refused("DEADLINE_EXCEEDED", None):
            s.client.predict(model, wild, timeout=1)
        # The work really stops: nothing waits or runs any more, and the model serves others.
        wait_until(lambda: s.server.metrics()["assayd_queued_rows"] == 0, 60)
        assert s.client.predict(model, calm, timeout=60)["y"].shape == (1, 8)


@row(44, "a load of minutes from two kilobytes")
def _(s):
    before = set(children(s.server.process.pid))
    with refused("DEADLINE_EXCEEDED", None):
        s.upload(corpus.slow_load(), "slow", timeout=2)
    wait_until(lambda: not set(children(s.server.process.pid)) - before, 60)
    with refused("NOT_FOUND", "MODEL_NOT_FOUND"):
        s.client.get_model("slow")


# ---- models that don't fit ---------------------------------------------------------------------------------------


@row(46, "a model that goes on killing its process")
def _(s):
    data, calm, poison = killer()
    model = s.upload(data, "killer")
    for reason in ("MODEL_FAILED", "MODEL_FAILED", "MODEL_FAILED", "MODEL_QUARANTINED"):
        with refused("FAILED_PRECONDITION", reason):
            s.client.predict(model, poison, timeout=120)
    with refused("FAILED_PRECONDITION", "MODEL_QUARANTINED"):
        s.client.predict(model, calm, timeout=120)


@row(47, "NaN for an ordinary input, which fails alone")
def _(s):
    model = s.upload(corpus.logarithm(), "logarithm")
    x = np.arange(1, 25, dtype=np.float32).reshape(3, 8)
    x[1, 0] = -1
    method = assay.Occlusion(features=assay.Elements(), baseline=1.0)
    with refused("FAILED_PRECONDITION", "MODEL_NOT_FINITE"):
        s.client.explain(model, x, method, target=0)
    skipped = s.client.explain(model, x, method, target=0, on_instance_error="skip")
    assert [status is None for status in skipped.statuses] == [True, False, True]


@row(47, "answers whose shape goes by the input")
def _(s):
    model = s.upload(corpus.as_long_as_it_is_positive(), "varying")
    x = np.ones((2, 8), np.float32)
    assert s.client.predict(model, x)["y"].shape[0] == 2
    x[1, 3:] = 0
    with refused("FAILED_PRECONDITION", "MODEL_UNFIT", words="one row at a time"):
        s.client.predict(model, x)
    with refused("FAILED_PRECONDITION", "MODEL_UNFIT", words="it can't be explained"):
        s.client.explain(model, x[:1], ELEMENTS, target=9)


@row(48, "a random model where reproducibility is asked")
def _(s):
    model = s.upload(corpus.drawing(), "drawing")
    with refused("FAILED_PRECONDITION", "NOT_REPRODUCIBLE"):
        s.client.explain(model, X, ELEMENTS, target=0, reproducible=True)


@row(49, "a Jacobian by whole numbers")
def _(s):
    model = s.upload(zoo.tokens(), "tokens")
    with refused("FAILED_PRECONDITION", "MODEL_UNFIT"):
        s.client.explain(model, np.ones((1, 8), np.int64), assay.Jacobian())


# ---- others ------------------------------------------------------------------------------------------------------


@row(52, "an unknown model")
def _(s):
    for ref in ("nobody", "good@99", "sha256:" + "0" * 64):
        with refused("NOT_FOUND", "MODEL_NOT_FOUND"):
            s.explain(model=ref)


@row(53, "an unknown RPC")
def _(s):
    with grpc.insecure_channel(s.server.address) as channel, refused("UNIMPLEMENTED", None):
        channel.unary_unary("/assay.v1.ExplainService/Divine")(b"")


@row(54, "a version taken by other bytes")
def _(s):
    s.upload(zoo.linear(), "taken", version="v1")
    with refused("ALREADY_EXISTS", "VERSION_TAKEN"):
        s.upload(zoo.mlp(seed=5), "taken", version="v1")


@row(55, "stored bytes that were damaged")
def _(s):
    with s.own() as (_, client):
        digest = client.upload_model(zoo.mlp(seed=5), name="mlp").digest
    (blob,) = (s.folder / "own").glob(f"*/models/{digest.removeprefix('sha256:')}")
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(data)
    with s.own() as (server, client), GoodCaller(server.address) as good:
        before = set(children(server.process.pid))

        def ask():
            with refused("DATA_LOSS", "DATA_LOSS"):
                client.predict("mlp", X)

        good.beside(ask)
        assert set(children(server.process.pid)) == before


@row(56, "bytes that are no message")
def _(s):
    with grpc.insecure_channel(s.server.address) as channel, refused("INTERNAL", "UNPARSABLE"):
        channel.unary_unary("/assay.v1.ExplainService/Explain")(b"\xff\xff\xff\xff")


@row(57, "a process that others kill, and kill again")
def _(s):
    with s.own("--batch-rows", "1") as (server, client), GoodCaller(server.address) as good:
        others = set(children(server.process.pid))
        model = client.upload_model(zoo.mlp(seed=5), name="mlp")
        begun, ended = threading.Event(), threading.Event()

        def kill():
            while not ended.is_set():
                for pid in set(children(server.process.pid)) - others:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    begun.set()
                time.sleep(0.01)

        killing = threading.Thread(target=kill)
        killing.start()
        assert begun.wait(10)  # before that the answer may come first
        try:
            with refused("UNAVAILABLE", "WORKER_LOST", retry=True):
                client.predict(model, X, timeout=120)
        finally:
            ended.set()
            killing.join()
        assert server.process.poll() is None
        good.check()
        assert good.answers > 1
        assert others <= set(children(server.process.pid))


@row(58, "a full disk")
def _(s):
    with s.own() as (server, client), GoodCaller(server.address) as good:
        files = set((s.folder / "own").rglob("*"))
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

        def upload():
            with refused("UNAVAILABLE", "STORE_FULL", retry=True):
                client.upload_model(zoo.linear(), name="after")

        good.beside(upload)
        assert set((s.folder / "own").rglob("*")) == files
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        client.upload_model(zoo.linear(), name="after")


@row(59, "a new call while draining")
def _(s):
    with s.own("--drain-grace-s", "20") as (server, client):
        data, _, wild = endless()
        client.upload_model(data, name="endless")
        channel, calls = stub(server)
        with channel:
            held = calls.Predict.future(
                explain_service_pb2.PredictRequest(
                    model="endless", inputs=explain_request("endless", {"x": wild}, ELEMENTS).inputs
                )
            )
            predicting = 'assayd_requests_in_flight{rpc="ExplainService/Predict"}'
            wait_until(lambda: server.metrics().get(predicting) == 1, 60)
            server.process.send_signal(signal.SIGTERM)
            with refused("UNAVAILABLE", "DRAINING", retry=True):
                while True:
                    client.get_model("endless")
            with refused("UNAVAILABLE", "DRAINING", retry=True):
                held.result()
        assert server.process.wait(60) == 0


@row(60, "a cancelled call")
def _(s):
    method = assay.Rows(keep=np.random.default_rng(0).random((100_000, 8)) < 0.5, features=assay.Elements())
    request = explain_request("good", {"x": X[:1]}, method, target=0)
    with s.own("--batch-rows", "4") as (server, client):
        client.upload_model(zoo.mlp(), name="good")
        want = client.predict("good", X)["y"]
        channel, calls = stub(server)
        with channel:
            call = calls.Explain.future(request)
            wait_until(lambda: server.metrics()["assayd_queued_rows"] > 1000, 60)
            call.cancel()
            np.testing.assert_allclose(client.predict("good", X, timeout=60)["y"], want, atol=1e-6)
            assert call.code() is grpc.StatusCode.CANCELLED
        wait_until(lambda: server.metrics()["assayd_queued_rows"] == 0, 60)


@row(63, "a bug")
def _(s):
    with (
        mock.patch.dict(os.environ, {"CARELESS": "bug"}),
        ServerProcess(s.folder / "bug", module="tests.robustness.careless") as server,
        assay.Client(server.address) as client,
    ):
        client.upload_model(zoo.linear(), name="m")
        with refused("INTERNAL", "BUG") as got:
            client.predict("m", X)
        incident = got.value.metadata["incident"]
        assert incident in str(got.value)
        wait_until(lambda: f'"incident": "{incident}"' in server.log())
        assert "KeyError: '/etc/a-path'" in server.log()
        client.models()


# ---- the table ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    flags = {
        "--max-message-bytes": MESSAGE_BYTES,
        "--max-model-bytes": 2 * corpus.WEIGHT_BYTES,
        "--max-model-nodes": corpus.NODES,
        "--max-model-ends": corpus.ENDS,
        "--max-model-depth": corpus.DEPTH,
        "--max-model-weights-bytes": corpus.WEIGHT_BYTES,
        "--max-request-rows": 5000,
        "--max-deadline-s": 600,
        "--worker-memory-bytes": MEMORY_BYTES,
        "--sweep-ms": 0,
    }
    with (
        ServerProcess(folder / "shared", *(str(part) for flag in flags.items() for part in flag)) as server,
        assay.Client(server.address) as client,
        GoodCaller(server.address) as good,
    ):
        pid = server.process.pid
        yield Stage(server, client, good, folder)
        assert (server.process.poll(), server.process.pid) == (None, pid)
        with grpc.insecure_channel(server.address) as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status
        assert health == health_pb2.HealthCheckResponse.SERVING
        assert good.answers > 0
        good.check()


@pytest.mark.parametrize("case", sorted(CASES))
def test_row(stage, case, tmp_path):
    stage.folder, shared = tmp_path, stage.folder
    try:
        if case.startswith("63"):
            stage.folder = shared
        CASES[case](stage)
    finally:
        stage.folder = shared
    assert stage.server.process.poll() is None
    stage.good.check()


def test_every_row_is_tried():
    tried = {int(case[:2]) for case in CASES}
    assert tried | set(ELSEWHERE) == set(ROWS)
    assert tried & set(ELSEWHERE) == {52}
    for where in ELSEWHERE.values():
        file, _, test = where.partition("::")
        text = (Path(__file__).parents[1] / "integration" / file).read_text()
        assert f"def {test}(" in text
        assert "GoodCaller(" in text, file


def test_the_corpus_can_be_written(tmp_path):
    names = []
    for name, data in corpus.files():
        (tmp_path / name).write_bytes(data)
        names.append(name)
    assert len(set(names)) == len(corpus.ALL) == len(list(Path(tmp_path).iterdir()))
