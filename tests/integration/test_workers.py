"""Models in processes of their own: what happens to callers when those die, hang, or want too much."""

import concurrent.futures
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import assay
from tests.integration.server import ServerProcess, wait_until
from tests.models import zoo
from tests.models.hostile import always_endless, endless, endless_when_asked, giant_matmul, killer, memory_bomb
from tests.processes import children

X = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
LIME = assay.Lime(num_samples=200, features=assay.Elements())


@pytest.fixture
def own(tmp_path):
    with ServerProcess(tmp_path / "store") as running:
        yield running


@pytest.fixture
def client(own):
    with assay.Client(own.address) as connected:
        yield connected


def serves(client, model, want, *, within=5.0):
    """The model answers as before within so many seconds, whatever happened to it."""
    end = time.monotonic() + within
    while True:
        try:
            got = client.predict(model, X, timeout=within)
        except assay.AssayError:
            assert time.monotonic() < end
            time.sleep(0.05)
        else:
            np.testing.assert_allclose(got["y"], want["y"], atol=1e-6)
            return


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV])
def test_workers_that_are_lost_under_load_cost_nobody_a_wrong_or_missing_answer(own, client, number):
    model = client.upload_model(zoo.mlp(), name="mlp")
    want = client.explain(model, X, LIME, target=1)
    plain = client.predict(model, X)
    ended, answers, failures = threading.Event(), [], []

    def call():
        with assay.Client(own.address) as mine:
            while not ended.is_set():
                try:
                    answers.append(mine.explain(model, X, LIME, target=1, timeout=30).feature_values)
                except assay.AssayError as error:
                    failures.append(error)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(call) for _ in range(4)]
        chance = random.Random(0)
        try:
            for _ in range(3):
                time.sleep(chance.uniform(0.2, 0.8))
                for pid in children(own.process.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                serves(client, model, plain, within=6.0)
        finally:
            ended.set()
        for job in jobs:
            job.result(timeout=40)
    assert len(answers) > 4
    for values in answers:
        np.testing.assert_allclose(values, want.feature_values, atol=2e-6)
    for error in failures:  # killed twice in a row by chance
        assert isinstance(error, assay.Unavailable | assay.FailedPrecondition), error
    assert len(failures) <= 4
    restarts = [v for name, v in own.metrics().items() if name.startswith("assayd_worker_restarts_total")]
    assert sum(restarts) >= 3


def test_a_server_that_is_killed_leaves_no_process_behind(own, client):
    client.upload_model(zoo.mlp(), name="a")
    client.upload_model(zoo.linear(), name="b")
    pids = children(own.process.pid)
    assert len(pids) >= 2
    os.kill(own.process.pid, signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 5)


@pytest.mark.parametrize("made", [endless, giant_matmul])
def test_a_model_that_does_not_end_is_answered_at_the_deadline_and_gone_soon_after(client, made):
    data, calm, wild = made()
    model = client.upload_model(data, name="wild")
    good = client.upload_model(zoo.mlp(), name="good")
    want = client.predict(good, X)
    client.predict(model, calm)
    begun = time.monotonic()
    with pytest.raises(assay.DeadlineExceeded):
        client.predict(model, wild, timeout=0.5)
    assert time.monotonic() - begun < 0.5 + 0.25
    begun = time.monotonic()
    serves(client, good, want)
    assert time.monotonic() - begun < 2
    serves_calm = time.monotonic()
    while True:
        with contextlib.suppress(assay.AssayError):
            client.predict(model, calm, timeout=5)
            break
        assert time.monotonic() < serves_calm + 5


def test_one_poison_row_among_31_good_ones(client):
    data, calm, poison = killer()
    model = client.upload_model(data, name="killer")
    want = client.predict(model, calm)["y"]
    rows = np.repeat(calm, 31, axis=0)
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        bad = pool.submit(client.predict, model, poison)
        good = [pool.submit(client.predict, model, rows[n : n + 1]) for n in range(31)]
        for job in good:
            np.testing.assert_allclose(job.result(timeout=30)["y"], want, atol=1e-6)
        with pytest.raises(assay.FailedPrecondition) as got:
            bad.result(timeout=30)
    assert got.value.reason in ("MODEL_FAILED", "OUT_OF_MEMORY")


def test_a_model_that_goes_on_killing_is_left_alone(own, client):
    data, calm, poison = killer()
    model = client.upload_model(data, name="killer")
    reasons = []
    for _ in range(4):
        with pytest.raises(assay.FailedPrecondition) as got:
            client.predict(model, poison, timeout=30)
        reasons.append(got.value.reason)
    assert reasons[0] == "MODEL_FAILED"
    assert reasons[-1] == "MODEL_QUARANTINED"
    with pytest.raises(assay.FailedPrecondition):
        client.predict(model, calm)
    assert own.metrics()["assayd_models_quarantined"] == 1
    good = client.upload_model(zoo.mlp(), name="good")
    assert client.predict(good, X)["y"].shape == (4, 3)


def test_health_says_when_no_model_can_run(own, client):
    client.upload_model(zoo.mlp(), name="mlp")
    with grpc.insecure_channel(own.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        check = lambda: stub.Check(health_pb2.HealthCheckRequest()).status  # noqa: E731
        assert check() == health_pb2.HealthCheckResponse.SERVING
        (pid,) = children(own.process.pid)
        os.kill(pid, signal.SIGSTOP)
        seen = set()

        def recovered():
            seen.add(check())
            return children(own.process.pid) not in ([], [pid]) and check() == health_pb2.HealthCheckResponse.SERVING

        wait_until(recovered, 10)


def test_the_server_holds_no_runtime(tmp_path):
    code = (
        "import sys, asyncio\n"
        "from assayd.settings import Settings\n"
        "from assayd.app import App\n"
        "async def main():\n"
        f"    app = App(Settings(store={str(tmp_path)!r}, listen='127.0.0.1:0', metrics='127.0.0.1:0'))\n"
        "    await app.start()\n"
        "    found = sorted({name.partition('.')[0] for name in sys.modules} & {'onnx', 'onnxruntime'})\n"
        "    await app.stop()\n"
        "    print(found)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_proofs_and_loads_that_do_not_end_hold_up_nobody(own, client):
    """More of each than there are threads for them."""
    data, _, wild = endless_when_asked()
    asked = client.upload_model(data, name="asked")
    good = client.upload_model(zoo.mlp(), name="good")
    want = client.predict(good, X)
    for _ in range(5):
        with pytest.raises(assay.AssayError):
            client.predict(asked, wild, timeout=0.5)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        uploads = [
            pool.submit(client.upload_model, always_endless(n), name=f"endless-{n}", timeout=1.0) for n in range(8)
        ]
        for job in uploads:
            with pytest.raises(assay.DeadlineExceeded):
                job.result(timeout=20)
    client.upload_model(zoo.linear(), name="another", timeout=100)
    serves(client, good, want)
    begun = time.monotonic()
    assert own.stop() == 0
    assert time.monotonic() - begun < 10


def test_a_worker_that_is_stopped_in_a_proof_is_found(own, client):
    data, _, wild = endless_when_asked()
    asked = client.upload_model(data, name="asked")
    (pid,) = children(own.process.pid)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        job = pool.submit(client.predict, asked, wild, timeout=15)
        time.sleep(0.3)
        os.kill(pid, signal.SIGSTOP)
        # Somebody else stopped it, so it is tried once more, and is as endless as before.
        with pytest.raises(assay.DeadlineExceeded):
            job.result(timeout=60)
    wait_until(lambda: children(own.process.pid) not in ([], [pid]), 10)


def test_a_worker_that_is_stopped_in_its_first_load_is_found_and_the_load_tried_again(own, client):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        job = pool.submit(client.upload_model, always_endless(0), name="endless", timeout=120)
        seen = []
        for _ in range(2):
            wait_until(lambda: set(children(own.process.pid)) - set(seen), 30)
            (pid,) = set(children(own.process.pid)) - set(seen)
            seen.append(pid)
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(assay.FailedPrecondition, match="while it was loaded"):
            job.result(timeout=60)


def test_a_worker_that_is_stopped_while_it_is_revived_is_found_too(own, client):
    model = client.upload_model(zoo.mlp(), name="mlp")
    want = client.predict(model, X)
    seen = set(children(own.process.pid))
    for pid in seen:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: set(children(own.process.pid)) - seen, 30)
    for pid in set(children(own.process.pid)) - seen:
        os.kill(pid, signal.SIGSTOP)
    serves(client, model, want, within=20)


def test_a_model_that_never_ends_holds_up_no_other(own, client):
    """Others are answered while it still runs, and it is stopped at its caller's deadline as ever."""
    data, calm, wild = endless()
    client.upload_model(data, name="endless")
    model = client.upload_model(zoo.mlp(), name="mlp")
    want = client.predict(model, X)["y"]
    client.predict("endless", calm)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        job = pool.submit(client.predict, "endless", wild, timeout=8)
        for _ in range(10):
            np.testing.assert_array_equal(client.predict(model, X)["y"], want)
        assert not job.done()
        with pytest.raises(assay.DeadlineExceeded):
            job.result(timeout=20)
    assert len(client.predict("endless", calm)) == 1


def test_many_models_that_never_end_hold_up_no_other(tmp_path):
    """More of them than may go on beside the others."""
    with ServerProcess(tmp_path / "store", "--sweep-ms", "0") as own, assay.Client(own.address) as client:
        for n in range(6):
            data, calm, wild = endless(n)
            client.upload_model(data, name=f"endless-{n}")
        model = client.upload_model(zoo.mlp(), name="mlp")
        want = client.predict(model, X)["y"]
        answered = 0
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            jobs = [pool.submit(client.predict, f"endless-{n}", wild, timeout=3) for n in range(6)]
            time.sleep(1)  # each had its time in front by now
            while not any(job.done() for job in jobs):
                np.testing.assert_array_equal(client.predict(model, X)["y"], want)
                answered += 1
            for job in jobs:
                with pytest.raises(assay.DeadlineExceeded):
                    job.result(timeout=20)
        assert answered > 10
        assert len(client.predict("endless-5", calm)) == 1


def test_models_are_bounded_in_number_and_deleted_ones_leave(tmp_path):
    with ServerProcess(tmp_path / "store", "--max-loaded-models", "2") as own, assay.Client(own.address) as client:
        for seed in range(4):
            client.upload_model(zoo.mlp(seed=seed), name=f"m{seed}")
            client.upload_model(zoo.mlp(seed=seed), name=f"same{seed}")
        wait_until(lambda: len(children(own.process.pid)) == 2)
        client.delete_model("m3")
        client.predict("same3", X)
        assert len(children(own.process.pid)) == 2
        client.delete_model("same3")
        wait_until(lambda: len(children(own.process.pid)) == 1)


@pytest.mark.parametrize("made", [endless, giant_matmul])
def test_a_stuck_batch_does_not_take_the_drain_from_others(tmp_path, made):
    with ServerProcess(tmp_path / "store", "--drain-grace-s", "8") as own, assay.Client(own.address) as client:
        data, _, wild = made()
        model = client.upload_model(data, name="wild")
        good = client.upload_model(zoo.mlp(), name="good")
        want = client.predict(good, X)
        pids = children(own.process.pid)
        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            stuck = pool.submit(client.predict, model, wild, timeout=None)
            time.sleep(0.5)
            others = [pool.submit(client.predict, good, X, timeout=60) for _ in range(4)]
            time.sleep(0.5)
            own.process.send_signal(signal.SIGTERM)
            for job in others:
                np.testing.assert_allclose(job.result(30)["y"], want["y"], atol=1e-6)
            with pytest.raises(assay.Unavailable) as got:
                stuck.result(30)
        assert got.value.reason == "DRAINING"
        assert got.value.retry_after is not None
        assert own.process.wait(30) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_calls_that_wait_for_a_load_hear_of_the_end_of_the_drain_too(tmp_path):
    with ServerProcess(tmp_path / "store", "--drain-grace-s", "1") as own, assay.Client(own.address) as client:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            jobs = [
                pool.submit(client.upload_model, always_endless(n), name=f"endless{n}", timeout=None) for n in range(2)
            ]
            wait_until(lambda: children(own.process.pid))
            time.sleep(0.5)
            own.process.send_signal(signal.SIGTERM)
            for job in jobs:
                with pytest.raises(assay.Unavailable) as got:
                    job.result(30)
                assert got.value.reason == "DRAINING"
        assert own.process.wait(30) == 0


def test_one_request_of_many_poison_rows_takes_the_model_from_nobody(client):
    data, calm, poison = killer()
    model = client.upload_model(data, name="killer")
    want = client.predict(model, calm)["y"]
    with pytest.raises(assay.FailedPrecondition) as got:
        client.explain(model, np.repeat(poison, 8, axis=0), assay.Occlusion(window=(2,)), timeout=60)
    assert got.value.reason == "MODEL_FAILED"
    np.testing.assert_allclose(client.predict(model, calm, timeout=30)["y"], want)


def test_a_proof_survives_a_kill_from_outside(own, client):
    """The first reproducible request decides how the model is run for the same bits."""
    model = client.upload_model(zoo.mlp(), name="mlp")
    want = client.explain(model, X, LIME, target=1, reproducible=True).feature_values
    for delay in (0.0, 0.02, 0.05):
        for pid in children(own.process.pid):
            os.kill(pid, signal.SIGKILL)
        time.sleep(delay)
        got = client.explain(model, X, LIME, target=1, reproducible=True, timeout=30)
        np.testing.assert_array_equal(got.feature_values, want)


@pytest.mark.parametrize("op", ["ConstantOfShape", "Expand"])
def test_a_memory_bomb_is_told_so_and_its_neighbours_notice_nothing(tmp_path, op):
    data, calm, wild = memory_bomb(op)
    with (
        ServerProcess(tmp_path / "store", "--worker-memory-bytes", str(3 * 2**30)) as own,
        assay.Client(own.address) as client,
    ):
        model = client.upload_model(data, name="bomb")
        good = client.upload_model(zoo.mlp(), name="good")
        want = client.predict(good, X)["y"]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(client.predict, good, X, timeout=60) for _ in range(20)]
            for _ in range(3):
                with pytest.raises(assay.ResourceExhausted) as got:
                    client.predict(model, wild, timeout=60)
                assert got.value.reason == "OUT_OF_MEMORY"
            for job in jobs:
                np.testing.assert_allclose(job.result()["y"], want, atol=1e-6)
        assert client.predict(model, calm)["y"].shape == (1, 8)
