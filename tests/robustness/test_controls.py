"""What checks the promises fails where a server breaks them."""

import concurrent.futures
import os
import signal

import numpy as np
import pytest

import assay
from tests.integration.server import ServerProcess, wait_until
from tests.models import zoo
from tests.models.hostile import endless, killer
from tests.processes import children
from tests.robustness.drain import drain
from tests.robustness.good_caller import GoodCaller

CARELESS = "tests.robustness.careless"
X = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)


@pytest.fixture
def careless(tmp_path, monkeypatch):
    """Starts a server that breaks a promise."""
    started = []

    def start(promise):
        monkeypatch.setenv("CARELESS", promise)
        flags = ("--sweep-ms", "0", "--drain-grace-s", "0")
        started.append(ServerProcess(tmp_path / "store", *flags, module=CARELESS))
        return started[-1]

    yield start
    for server in started:
        server.stop(signal.SIGKILL)


def test_calls_that_a_hasty_end_cuts_off_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("CARELESS", "drain")
    assert drain(tmp_path, module=CARELESS).outcomes.faults


def test_a_worker_that_is_never_freed_is_found(careless):
    data, calm, wild = endless()
    with assay.Client(careless("deadline").address) as client:
        client.upload_model(data, name="endless")
        client.predict("endless", calm)
        for x, timeout in ((wild, 0.5), (calm, 2.0)):
            with pytest.raises(assay.DeadlineExceeded):
                client.predict("endless", x, timeout=timeout)


def test_a_death_that_nobody_mends_is_found(careless):
    server = careless("death")
    with assay.Client(server.address) as client:
        client.upload_model(zoo.mlp(), name="mlp")
        client.predict("mlp", X)
        (pid,) = children(server.process.pid)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(assay.AssayError):
            client.predict("mlp", X, timeout=5)


def test_mates_that_are_lost_with_a_poison_row_are_found(careless):
    data, calm, poison = killer()
    with assay.Client(careless("mates").address) as client, concurrent.futures.ThreadPoolExecutor(16) as pool:
        client.upload_model(data, name="killer")
        client.predict("killer", calm)

        def round_of_calls():
            bad = pool.submit(client.predict, "killer", poison)
            good = [pool.submit(client.predict, "killer", calm) for _ in range(15)]
            assert isinstance(bad.exception(60), assay.AssayError)
            return any(job.exception(60) is not None for job in good)

        wait_until(round_of_calls, 60)


def test_numbers_that_change_are_found(careless):
    with GoodCaller(careless("numbers").address) as good:
        wait_until(lambda: good.failures, 60)
        with pytest.raises(AssertionError):
            good.check()
    assert "other numbers" in good.failures
