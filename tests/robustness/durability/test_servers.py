"""Real servers on one store: killed at any moment, several at once, and callers who leave.

ROBUSTNESS_SECONDS says for how long servers are killed under load.
"""

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

import assay
from assay.v1 import model_service_pb2, model_service_pb2_grpc
from assayd.errors import VersionTaken
from assayd.store.digests import digest_of
from assayd.store.store import Store
from tests.integration.server import ServerProcess, wait_until
from tests.models import zoo
from tests.robustness.durability.changes import publish

SECONDS = float(os.environ.get("ROBUSTNESS_SECONDS", "2"))
X = np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32)
CALLERS = 4
QUICK = ("--isolation", "none", "--sweep-ms", "0")
"""Models are nobody else's here, and a process for each would take most of the time."""


def server(store, *flags):
    return ServerProcess(store, *QUICK, *flags)


def drafts(store):
    return list((store / ".drafts").iterdir()) if (store / ".drafts").exists() else []


def whole(client, store):
    """What is listed can be loaded and answers as its bytes say; returns name@version by digest."""
    found = {}
    for model in client.models():
        data = (store / "default" / "models" / model.digest.removeprefix("sha256:")).read_bytes()
        assert digest_of(data) == model.digest
        weights, bias = zoo.linear_weights(data)
        (got,) = client.predict(f"{model.name}@{model.version}", X).values()
        np.testing.assert_allclose(got, X @ weights + bias, rtol=1e-4, atol=1e-5)
        found[f"{model.name}@{model.version}"] = model.digest
    return found


class Callers:
    """They upload models of their own, new versions of a common name, and delete; each notes what was acknowledged."""

    def __init__(self, address, seed):
        self._clients = [assay.Client(address) for _ in range(CALLERS)]
        self._ended = threading.Event()
        self.kept, self.going, self.uploads = {}, set(), 0
        self._threads = [threading.Thread(target=self._work, args=(n, seed)) for n in range(CALLERS)]

    def _work(self, caller, seed):
        for number in range(10**6):
            data = zoo.linear(seed=hash((seed, caller, number)) % 2**31)
            try:
                if self._ended.is_set():
                    return
                name = "common" if number % 2 else f"own-{caller}"
                model = self._clients[caller].upload_model(data, name=name, timeout=30)
                self.kept[f"{name}@{model.version}"] = digest_of(data)
                self.uploads += 1
                if number % 5 == 4:
                    old = f"{name}@{model.version}"
                    self.going.add(old)
                    self._clients[caller].delete_model(old)
                    self.kept.pop(old)
            except assay.AssayError:
                return  # the server was killed

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join(60)
        for client in self._clients:
            client.close()


def test_what_a_killed_server_acknowledged_is_there_and_all_else_is_whole_or_absent(tmp_path):
    store, draw, kept = tmp_path / "store", random.Random(0), {}
    end, kills, uploads = time.monotonic() + SECONDS, 0, 0
    while time.monotonic() < end or not uploads:
        with server(store) as running:
            with assay.Client(running.address) as client:
                found = whole(client, store)
            assert kept.items() <= found.items()
            assert not drafts(store)
            with Callers(running.address, kills) as callers:
                wait_until(lambda callers=callers: callers.uploads, 30)
                time.sleep(draw.random() * 0.5)
                running.stop(signal.SIGKILL)
            kept = {ref: d for ref, d in (found | callers.kept).items() if ref not in callers.going}
            uploads += callers.uploads
            kills += 1
    with server(store) as running, assay.Client(running.address) as client:
        found = whole(client, store)
    assert kept.items() <= found.items()
    blobs = {path.name for path in (store / "default" / "models").iterdir()}
    versions = Store(store)._versions("default")
    assert blobs <= {digest.removeprefix("sha256:") for digest in versions.mentioned()}
    print(f"{kills} kills, {uploads} uploads acknowledged, {len(found)} versions at the end")


def beside(store, number):
    """The same store under another path, since a server's log lies beside its store."""
    (store.parent / str(number)).mkdir()
    (store.parent / str(number) / "store").symlink_to(store)
    return store.parent / str(number) / "store"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("shared") / "store"


@pytest.fixture(scope="module")
def two(shared):
    """Callers of two servers."""
    with server(shared) as first, server(beside(shared, 2)) as second, contextlib.ExitStack() as rest:
        yield [rest.enter_context(assay.Client(s.address)) for s in (first, second)]


def test_two_servers_never_give_a_version_twice(two):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        datas = [zoo.linear(seed=n) for n in range(24)]
        got = list(pool.map(lambda n: two[n % 2].upload_model(datas[n], name="next"), range(24)))
        assert sorted(int(m.version) for m in got) == list(range(1, 25))
        listed = [{m.version: m.digest for m in client.models() if m.name == "next"} for client in two]
        assert listed == [{m.version: m.digest for m in got}] * 2

        def claim(n):
            with contextlib.suppress(assay.AlreadyExists):
                return two[n % 2].upload_model(datas[n % 4 // 2], name="claimed", version=f"v{n // 4}").digest
            return None

        claims = list(pool.map(claim, range(24)))
    for round_ in (claims[n : n + 4] for n in range(0, 24, 4)):  # of four, two bring the same model
        (won,) = {digest for digest in round_ if digest}
        assert round_.count(won) == 2


def test_models_that_one_server_deletes_are_gone_or_right_at_the_other(two, shared):
    data = zoo.linear()
    weights, bias = zoo.linear_weights(data)
    ended, seen = threading.Event(), {"answers": 0, "unknown": 0}

    def read():
        while not ended.is_set():
            try:
                (got,) = two[1].predict("comes-and-goes", X).values()
                np.testing.assert_allclose(got, X @ weights + bias, rtol=1e-4, atol=1e-5)
                seen["answers"] += 1
            except assay.NotFound:
                seen["unknown"] += 1

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            while min(seen.values()) < 5 and not reading.done():
                two[0].upload_model(data, name="comes-and-goes")
                time.sleep(0.1)
                two[0].delete_model("comes-and-goes")
                time.sleep(0.1)
                Store(shared).clean()
        finally:
            ended.set()
        reading.result()


def parts(data, gate):
    """An upload of two chunks, the second after the gate has opened."""
    header = model_service_pb2.UploadModelHeader(name="slow")
    yield model_service_pb2.UploadModelRequest(header=header)
    yield model_service_pb2.UploadModelRequest(chunk=data[:100])
    gate.wait(280)
    yield model_service_pb2.UploadModelRequest(chunk=data[100:])


def test_a_start_up_beside_an_upload_leaves_it_alone_and_one_that_is_cancelled_leaves_nothing(tmp_path):
    store, data = tmp_path / "store", zoo.linear()
    with server(store) as first, grpc.insecure_channel(first.address) as channel:
        upload = model_service_pb2_grpc.ModelServiceStub(channel).UploadModel
        (store / ".drafts" / "left").write_bytes(b"of a server that was killed")
        gates = threading.Event(), threading.Event()
        calls = [upload.future(parts(data, gate)) for gate in gates]
        wait_until(lambda: len(drafts(store)) == 3)
        with server(beside(store, 2)):
            assert len(drafts(store)) == 2
        calls[0].cancel()
        wait_until(lambda: len(drafts(store)) == 1)
        gates[1].set()
        assert calls[1].result(30).model.digest == digest_of(data)
        gates[0].set()
    assert not drafts(store)


_ADD = """
import sys
from pathlib import Path
from tests.robustness.durability.changes import publish
from assayd.store.names import ModelRef
from assayd.store.store import Store
store, who = Store(Path(sys.argv[1])), sys.argv[2]
for n in range(25):
    v = publish(store, f"{who}-{n}".encode())
    print(v.version, v.digest)
    if n % 3 == 2:
        store.delete("t", ModelRef("m", v.version))
"""


def test_processes_that_add_and_delete_never_give_a_version_twice(tmp_path):
    run = [sys.executable, "-c", _ADD, str(tmp_path / "store")]
    root = Path(__file__).parents[3]
    running = [subprocess.Popen([*run, who], stdout=subprocess.PIPE, text=True, cwd=root) for who in "abc"]
    given = [line.split() for process in running for line in process.communicate(timeout=120)[0].splitlines()]
    assert all(process.returncode == 0 for process in running)
    assert sorted(int(version) for version, _ in given) == list(range(1, 76))
    store = Store(tmp_path / "store")
    assert {v.version: v.digest for v in store.versions("t", "m")}.items() <= dict(given).items()
    created = [v.created for v in store.versions("t", "m")]
    assert len(set(created)) == len(created) == 3 * 17
    with pytest.raises(VersionTaken):
        publish(store, b"other", version="1")
