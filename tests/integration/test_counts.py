"""What a call costs, counted instead of timed: sessions, rows, batches, padding, bytes."""

import numpy as np
import pytest

import assay
from tests.integration.server import ServerProcess
from tests.models import zoo

X = np.random.default_rng(0).normal(size=(8, 30)).astype(np.float32)
TEN = assay.Groups([assay.Group(f"g{k}", range(3 * k, 3 * k + 3)) for k in range(10)])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("counts") / "store", "--batch-rows", "64", "--sweep-ms", "0") as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with assay.Client(server.address) as connected:
        connected.upload_model(zoo.mlp(30, 64, 2), name="mlp")
        yield connected


class Counted:
    """`with Counted(server) as counted:`, then counted["name"] is by how much assayd_name grew."""

    def __init__(self, server):
        self._server = server

    def __enter__(self):
        self._before = self._server.metrics()
        return self

    def __exit__(self, *_):
        self._after = self._server.metrics()

    def __getitem__(self, name):
        return self._after[f"assayd_{name}"] - self._before.get(f"assayd_{name}", 0.0)


def bytes_of(counted, what):
    return counted[f'worker_bytes_total{{what="{what}"}}']


def test_ablation_is_one_batch_of_a_row_a_feature(server, client):
    with Counted(server) as counted:
        ex = client.explain("mlp", X[:1], assay.Occlusion(features=TEN), target=0)
    assert ex.usage.rows_asked == 12  # x, the baseline, and ten
    assert counted["rows_run_total"] == ex.usage.rows_run == 14  # and x and the baseline alone
    assert counted["batches_total"] == 1
    assert counted["alone_checks_total"] == 2
    assert counted["padding_rows_total"] == 0
    assert counted["sessions_built_total"] == counted["worker_processes_total"] == 0
    # x, one baseline and the segments once; of a row two bytes of bits and a number.
    assert bytes_of(counted, "subject") == 3 * X[0].nbytes
    assert bytes_of(counted, "row") <= 3 * 400 + 14 * 6
    assert bytes_of(counted, "result") <= 3 * 200 + 14 * 16


def test_masks_that_were_drawn_twice_run_once_and_cross_as_bits(server, client):
    method = assay.Lime(num_samples=1000, features=TEN)
    with Counted(server) as counted:
        ex = client.explain("mlp", X[:1], method, target=0, seed=3)
    distinct = counted["rows_run_total"] - 4
    assert ex.usage.rows_asked == 1002 or ex.usage.rows_asked == distinct + 2
    assert 500 < distinct < 1000
    assert counted["batches_total"] == -(-(distinct + 2) // 64)
    assert bytes_of(counted, "subject") == 3 * X[0].nbytes
    assert bytes_of(counted, "row") <= (counted["batches_total"] + 2) * 400 + distinct * 6


def test_instances_of_one_call_share_batches(server, client):
    with Counted(server) as counted:
        ex = client.explain("mlp", X, assay.Occlusion(features=TEN), target=0)
    assert ex.usage.rows_asked == 8 * 12
    assert counted["batches_total"] <= 3
    assert counted["padding_rows_total"] == 0


def test_only_reproducible_rows_are_padded_and_only_their_session_is_built(server, client):
    with Counted(server) as counted:
        client.explain("mlp", X[:1], assay.Occlusion(features=TEN), target=0, reproducible=True)
    first = counted["sessions_built_total"]
    assert first <= 1
    with Counted(server) as counted:
        client.explain("mlp", X[1:2], assay.Occlusion(features=TEN), target=0, reproducible=True)
    assert counted["sessions_built_total"] == 0
    assert counted["padding_rows_total"] == counted["batches_total"] * 64 - 13


def test_an_upload_starts_one_process_and_builds_one_session(server, client):
    with Counted(server) as counted:
        client.upload_model(zoo.mlp(30, 64, 2, seed=1), name="another")
        client.upload_model(zoo.mlp(30, 64, 2, seed=1), name="the-same-bytes")
    assert counted["worker_processes_total"] == 1
    assert counted["sessions_built_total"] == 1
