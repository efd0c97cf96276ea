"""The service over time: restart, drain, cancelled calls, sharing, metrics, health."""

import concurrent.futures
import json
import signal
import threading
import time

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import assay
from tests.integration.server import ServerProcess, wait_until
from tests.models import zoo

X = np.random.default_rng(0).standard_normal((10, 8)).astype(np.float32)


def masks(n, features=8, seed=0):
    return np.random.default_rng(seed).random((n, features)) < 0.5


def rows(n):
    return assay.Rows(keep=masks(n), features=assay.Elements())


@pytest.fixture
def own(tmp_path):
    """In batches of 32 rows jobs of many rows take a while; in the thousands that suit such a model they don't."""
    with ServerProcess(tmp_path / "store", "--batch-rows", "32") as running:
        yield running


@pytest.fixture
def mlp(own):
    with assay.Client(own.address) as client:
        yield client.upload_model(zoo.mlp(), name="mlp")


def test_ten_jobs_of_three_rows_share_batches(own, mlp):
    """They wait together, since a larger one has the device when they come."""
    clients = [assay.Client(own.address) for _ in range(11)]
    for client in clients:
        client.predict(mlp, X[:1])
    before = own.metrics()
    with concurrent.futures.ThreadPoolExecutor(11) as pool:
        large = pool.submit(clients[10].explain, mlp, X[:1], rows(6000), target=0)
        wait_until(lambda: own.metrics()["assayd_rows_run_total"] > before["assayd_rows_run_total"] + 100)
        jobs = [
            pool.submit(client.explain, mlp, X[n : n + 1], rows(3), target=n % 3)
            for n, client in enumerate(clients[:10])
        ]
        got = [job.result() for job in jobs]
        asked = large.result().usage.rows_asked + sum(ex.usage.rows_asked for ex in got)
    after = own.metrics()
    batches = after["assayd_batches_total"] - before["assayd_batches_total"]
    assert batches <= -(-asked // mlp.batching.max_rows) + 2
    assert after["assayd_shared_batches_total"] > before["assayd_shared_batches_total"]
    for n, (client, ex) in enumerate(zip(clients[:10], got, strict=True)):
        alone = client.explain(mlp, X[n : n + 1], rows(3), target=n % 3)
        np.testing.assert_allclose(ex.rows[0].scores, alone.rows[0].scores, atol=1e-6)
    for client in clients:
        client.close()


def test_small_jobs_finish_before_a_tenth_of_a_large_one(own, mlp):
    with assay.Client(own.address) as client, concurrent.futures.ThreadPoolExecutor(11) as pool:
        run = lambda: own.metrics()["assayd_rows_run_total"]  # noqa: E731
        start = run()
        large = pool.submit(client.explain, mlp, X[:1], rows(60_000), target=0, timeout=120)
        wait_until(lambda: run() > start + 100)
        begun = run()
        small = [pool.submit(client.explain, mlp, X[n : n + 1], rows(3), target=0) for n in range(10)]
        concurrent.futures.wait(small)
        meanwhile = run() - begun
        assert not large.done()
        assert meanwhile < 60_000 / 10
        large.result()


def test_a_restart_keeps_models_versions_and_tensors(tmp_path):
    with ServerProcess(tmp_path / "store") as first, assay.Client(first.address) as client:
        model = client.upload_model(zoo.mlp(), name="kept", version="v1")
        digest = client.put_tensor(X[0])
        want = client.explain(model, X, assay.Occlusion(window=(2,), baseline=digest), target=1)
        assert first.stop() == 0
    with ServerProcess(tmp_path / "store") as second, assay.Client(second.address) as client:
        assert [(m.name, m.version, m.digest) for m in client.models()] == [("kept", "v1", model.digest)]
        got = client.explain("kept@v1", X, assay.Occlusion(window=(2,), baseline=digest), target=1)
        np.testing.assert_array_equal(got.feature_values, want.feature_values)


def test_a_killed_server_leaves_a_store_that_the_next_one_reads(tmp_path):
    with ServerProcess(tmp_path / "store") as first, assay.Client(first.address) as client:
        client.upload_model(zoo.mlp(), name="kept")
        first.stop(signal.SIGKILL)
    with ServerProcess(tmp_path / "store") as second, assay.Client(second.address) as client:
        assert client.explain("kept", X, assay.Occlusion(window=(2,))).feature_values.shape == (10, 4)


def test_sigterm_finishes_what_was_accepted_and_takes_nothing_new(own, mlp):
    with assay.Client(own.address) as client, concurrent.futures.ThreadPoolExecutor(4) as pool:
        accepted = [pool.submit(client.explain, mlp, X[:1], rows(30_000), target=0, timeout=60) for _ in range(3)]
        wait_until(lambda: own.metrics()["assayd_rows_run_total"] > 1000)
        own.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        with pytest.raises(assay.Unavailable):
            client.explain(mlp, X, rows(3), timeout=5)
        for job in accepted:
            assert job.result().rows[0].scores.size == 30_000
    assert own.process.wait(20) == 0


def test_a_cancelled_call_frees_the_device_and_its_neighbours_notice_nothing(own, mlp):
    from assay.v1 import explain_service_pb2_grpc

    with assay.Client(own.address) as client, grpc.insecure_channel(own.address) as channel:
        from assay.requests import explain_request

        request = explain_request("mlp", {"x": X[:1]}, rows(200_000), target=0)
        call = explain_service_pb2_grpc.ExplainServiceStub(channel).Explain.future(request)
        wait_until(lambda: own.metrics()["assayd_queued_rows"] > 1000)
        got = {}
        neighbour = threading.Thread(target=lambda: got.update(ex=client.explain(mlp, X, rows(50), target=0)))
        neighbour.start()
        call.cancel()
        neighbour.join(20)
        assert got["ex"].statuses == (None,) * 10 or all(s is None for s in got["ex"].statuses)
        wait_until(lambda: own.metrics()["assayd_queued_rows"] == 0, 2)
        cancelled = 'assayd_requests_total{code="CANCELLED",method="rows",rpc="ExplainService/Explain"}'
        wait_until(lambda: own.metrics().get(cancelled) == 1.0, 2)


def test_a_deadline_stops_the_work(own, mlp):
    with assay.Client(own.address) as client:
        begun = time.monotonic()
        with pytest.raises(assay.DeadlineExceeded):
            client.explain(mlp, X, rows(400_000), target=0, timeout=1.0)
        assert time.monotonic() - begun < 5.0
        wait_until(lambda: own.metrics()["assayd_queued_rows"] == 0, 2)


def test_rows_interact_only_for_some_inputs_and_are_never_silently_wrong(own):
    """Proven on noise near 0, this model subtracts the batch's mean of what lies above 5000."""
    b = zoo.Builder(0)
    shifted = b.op("Relu", b.op("Sub", "x", b.constant(5000.0, np.float32)))
    mean = b.op("ReduceMean", shifted, axes=[0], keepdims=1)
    b.op("Sub", b.linear("x", 6, 3), b.linear(mean, 6, 3), outputs=["y"])
    data = b.model({"x": (zoo.FLOAT, ["N", 6])}, {"y": (zoo.FLOAT, ["N", 3])}, opset=13)
    with assay.Client(own.address) as client:
        model = client.upload_model(data, name="sly")
        assert model.batching.mode == "batched"
        x = np.full((1, 6), 9000.0, np.float32)
        ex = client.explain(model, x, assay.Occlusion(features=assay.Elements()), target=0)
        assert client.get_model("sly").batching.mode == "row_by_row"
        assert any("interact" in w.message for w in ex.warnings)
        from tests.integration.plain_loop import PlainModel, ablate

        want = ablate(PlainModel(data), {"x": x[0]}, {"x": np.zeros(6, np.float32)}, lambda f: f[0])
        np.testing.assert_allclose(ex.feature_values[0], want, rtol=1e-4, atol=1e-2)


def test_metrics_say_what_happened(own, mlp):
    with assay.Client(own.address) as client:
        client.explain(mlp, X, assay.Occlusion(window=(2,)), target=0)
        with pytest.raises(assay.AssayError):
            client.explain(mlp, X, assay.Occlusion(window=(0,)), target=0)
    page = own.metrics()
    explain = 'method="occlusion",rpc="ExplainService/Explain"'
    assert page[f'assayd_requests_total{{code="OK",{explain}}}'] == 1
    assert page[f'assayd_requests_total{{code="INVALID_ARGUMENT",{explain}}}'] == 1
    assert page['assayd_rows_asked_total{method="occlusion",model="mlp"}'] == 10 * (4 + 2)
    assert page["assayd_rows_run_total"] == 10 * (4 + 2) + 20  # x and its baseline once alone
    assert page["assayd_alone_checks_total"] == 20
    assert page["assayd_batch_rows_sum"] == 10 * (4 + 2)
    assert page["assayd_batch_rows_count"] == page["assayd_batches_total"] == page["assayd_batch_fill_ratio_count"]
    assert page["assayd_queued_rows"] == 0
    assert page['assayd_models_loaded{batching="batched",provider="CPUExecutionProvider"}'] == 1
    assert page["assayd_models_loaded_bytes"] == len(zoo.mlp())
    assert page['assayd_provider{provider="CPUExecutionProvider"}'] == 1
    assert page["assayd_model_load_seconds_count"] == 1
    for part in ("plan", "queue", "compute", "reduce"):
        assert page[f"assayd_{part}_seconds_count"] >= 1
    assert page['assayd_request_seconds_count{rpc="ExplainService/Explain"}'] == 2


def test_one_json_line_a_call_with_its_trace(own, mlp):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with grpc.insecure_channel(own.address) as channel:
        call = channel.unary_unary("/assay.v1.ServerService/GetInfo", lambda m: m, lambda m: m)
        _, done = call.with_call(b"", metadata=[("traceparent", trace), ("x-request-id", "mine")])
        assert dict(done.trailing_metadata()) == {"x-request-id": "mine", "traceparent": trace}
    wait_until(lambda: "mine" in own.log())
    lines = [json.loads(line) for line in own.log().splitlines()]
    (line,) = [entry for entry in lines if entry.get("request_id") == "mine"]
    assert (line["rpc"], line["code"], line["traceparent"]) == ("ServerService/GetInfo", "OK", trace)


def test_health_and_reflection(own):
    with grpc.insecure_channel(own.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "assay.v1.ExplainService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        (listed,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask]))
        names = {s.name for s in listed.list_services_response.service}
        assert {"assay.v1.ModelService", "assay.v1.ExplainService", "assay.v1.ServerService"} <= names


def test_validate_only_runs_nothing(own, mlp):
    with assay.Client(own.address) as client:
        before = own.metrics()["assayd_rows_run_total"]
        ex = client.explain(mlp, X, assay.Occlusion(window=(2,)), target=0, validate_only=True)
        assert ex.estimate.rows == 10 * (4 + 2)
        assert own.metrics()["assayd_rows_run_total"] == before


def test_a_stream_brings_progress_instances_and_the_whole(own, mlp):
    with assay.Client(own.address) as client:
        events = list(client.explain_stream(mlp, X, assay.Occlusion(window=(2,)), target=0))
        whole = client.explain(mlp, X, assay.Occlusion(window=(2,)), target=0)
    kinds = [type(e).__name__ for e in events]
    assert kinds[0] == "Progress"
    assert kinds.count("Instance") == 10
    assert kinds[-1] == "Explanation"
    np.testing.assert_allclose(events[-1].feature_values, whole.feature_values, atol=1e-6)


def test_large_answers_are_streamed_in_chunks_and_refused_in_one(tmp_path):
    data = zoo.dense()
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 10)).astype(np.float32)
    with (
        ServerProcess(tmp_path / "store", "--max-message-bytes", str(3 * 1024 * 1024)) as own,
        assay.Client(own.address) as client,
    ):
        model = client.upload_model(data, name="dense")
        targets = [assay.Target(index=int(i)) for i in range(300)]
        method = assay.Rows(keep=masks(4000, 240), features=assay.Elements())
        with pytest.raises(assay.ResourceExhausted) as got:
            client.explain(model, x, method, target=targets)
        assert got.value.reason == "TOO_LARGE"
        assert "ExplainStream" in str(got.value)
        *_, whole = client.explain_stream(model, x, method, target=targets)
        assert whole.rows[0].scores.shape == (300, 4000)
