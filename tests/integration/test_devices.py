"""A server with two devices, here shares of the CPU: a large call uses both, and survives what happens to one."""

import concurrent.futures
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import assay
from assayd.engine.options import no_cuda
from tests.integration.server import ServerProcess, wait_until
from tests.integration.test_workers import children
from tests.models import zoo
from tests.models.run import session

WIDE = zoo.mlp(features=64, hidden=4_000)
FLAGS = ("--provider", "cpu", "--devices", "0,1", "--spread-after-s", "0.1", "--batch-rows", "64", "--sweep-ms", "0")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("devices") / "store", *FLAGS) as running:
        yield running


def ran(server):
    found = server.metrics()
    return [found.get(f'assayd_device_rows_run_total{{device="cpu:{n}"}}', 0.0) for n in (0, 1)]


def test_a_large_call_is_spread_over_both_and_a_lost_process_costs_no_number(own):
    x = np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32)
    keep = np.random.default_rng(1).random((60_000, 64)) < 0.5
    with assay.Client(own.address) as client, concurrent.futures.ThreadPoolExecutor() as pool:
        model = client.upload_model(WIDE, name="wide")
        info = client.info()
        assert [(d.name, d.serving) for d in info.devices] == [("cpu:0", True), ("cpu:1", True)]
        assert sum(d.models_loaded for d in info.devices) == 1
        method = assay.Rows(keep=keep, features=assay.Elements())
        asked = pool.submit(client.explain, model, x, method, target=1, timeout=120)
        wait_until(lambda: min(ran(own)) > 100, 60)
        os.kill(children(own.process.pid)[0], signal.SIGKILL)
        made = asked.result(timeout=120)
    assert sum(ran(own)) >= 60_002
    rows = np.where(keep, x, 0).astype(np.float32)
    (want,) = session(WIDE).run(["y"], {"x": rows})
    np.testing.assert_allclose(made.rows[0].scores.ravel(), want[:, 1], atol=1e-5 * np.abs(want).max())
    assert own.metrics()["assayd_models_spread_total"] == 1


def test_a_server_that_insists_on_cuda_does_not_start_without_and_says_why(tmp_path):
    flags = ["--provider", "cuda", "--store", str(tmp_path / "store"), "--listen", "127.0.0.1:0"]
    command = [sys.executable, "-m", "assayd", "serve", *flags]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    why = "no GPU computes here. cuda:0: CUDA was asked for, and onnxruntime gave CPUExecutionProvider: "
    assert f"assayd serve: {why}{no_cuda()}" in ended.stderr
