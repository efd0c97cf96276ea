"""Decisions run again by a real server: the same bits where that was promised, and close otherwise."""

import dataclasses
import hashlib

import numpy as np
import pytest

import assay
from tests.integration.conftest import DEMO
from tests.integration.server import ServerProcess
from tests.models import zoo

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def evidence_of(server, tmp_path_factory):
    """Keeps the decisions of a request; returns the evidence."""

    def kept(client, model, data, method, target=None, **settings):
        evidence = assay.Evidence(tmp_path_factory.mktemp("replay") / "out")
        with evidence:
            run = assay.Keeping(client, evidence, model, data, method, target, **settings)
            list(run)
        assert run.failed == 0
        assert evidence.verify() == []
        return evidence

    return kept


def replays(client, evidence):
    return [assay.replay(client, record, evidence) for _, record in evidence.records()]


@pytest.mark.parametrize("name", ["occlusion", "blur", "superpixels", "grid", "jacobian", "rows"])
def test_images(client, digits, evidence_of, name):
    method, settings = {
        "occlusion": (assay.Occlusion(window=(16, 16), stride=(8, 8), baseline=digits["images"][5]), {}),
        "blur": (assay.Occlusion(window=(16, 16), baseline=assay.GaussianBlur(2.0)), {"element_maps": False}),
        "superpixels": (assay.Lime(100, assay.Superpixels(12)), {"seed": 9}),
        "grid": (assay.Lime(100, assay.Grid(3, 3), until_error=0.5), {"return_rows": True}),
        "jacobian": (assay.Jacobian("forward", features=assay.Grid(2, 2)), {}),
        "rows": (assay.Rows(RANDOM.random((7, 4)), assay.Grid(2, 2)), {}),
    }[name]
    data = assay.ArrayData({"image": digits["images"][:3]}, ["a", "b", "c"])
    evidence = evidence_of(client, "digits", data, method, reproducible=True, **settings)
    for replayed in replays(client, evidence):
        assert replayed.identical, [t for t in replayed.tensors if not t.same]
        assert replayed.stack == ()
    evidence = evidence_of(client, "digits", data, method, **settings)
    for replayed in replays(client, evidence):
        assert replayed.within(1e-6), [t for t in replayed.tensors if not t.same]


def test_tables_with_statistics_samples_and_targets_of_their_own(client, cancer, evidence_of):
    table = cancer["X"]
    weights = np.array([0.5, -0.5], np.float32)
    for method in (
        assay.Lime(200, sampling=assay.QuartileTable.fit(table, categorical=[3])),
        assay.Lime(200, sampling=assay.GaussianTable.fit(table)),
    ):
        targets = [assay.Target(index=0), assay.Target(weights=weights), assay.Target(top_rank=1, scale="log")]
        parts = [assay.Part({"X": table[:3]}, ["k", "l", "m"], targets)]
        for replayed in replays(
            client, evidence_of(client, "cancer-mlp", parts, method, reproducible=True, seed=2**63)
        ):
            assert replayed.identical, [t for t in replayed.tensors if not t.same]


def test_a_cut_instance_is_cut_at_the_same_row(client, cancer, evidence_of):
    method = assay.Lime(3000, sampling=assay.QuartileTable.fit(cancer["X"]))
    budget = assay.Budget(rows=800, on_exhausted="partial")
    data = assay.ArrayData({"X": cancer["X"][:2]}, ["a", "b"], 1)  # of several, each one's share depends on the others
    evidence = evidence_of(client, "cancer-mlp", data, method, budget=budget, reproducible=True)
    assert {d.status for d in evidence.decisions()} == {"partial"}
    for (_, record), replayed in zip(evidence.records(), replays(client, evidence), strict=True):
        assert replayed.now.load()["rows"]["scored"] == record.load()["rows"]["scored"]
        assert replayed.identical, [t for t in replayed.tensors if not t.same]


def test_a_stored_baseline_is_found_by_its_digest(client, digits, evidence_of):
    stored = client.put_tensor(digits["images"][4])
    method = assay.Occlusion(window=(16, 16), baseline=stored)
    evidence = evidence_of(client, "digits", [{"image": digits["images"][:1]}], method)
    assert replays(client, evidence)[0].within(1e-6)


def test_a_record_of_one_call_and_its_arrays(client, digits):
    images = digits["images"][:1]
    baseline = images[0] * np.float32(0.5)
    method = assay.Occlusion(window=(16, 16), baseline=baseline)
    ex = client.explain("digits", {"image": images}, method, target=[0, 1])
    assert assay.replay(client, ex.record, [images[0], baseline]).within(1e-6)
    with pytest.raises(assay.NotFound, match="input 'image'"):
        assay.replay(client, ex.record, [baseline])
    with pytest.raises(assay.NotFound):  # nor does the server know it
        assay.replay(client, ex.record, [images[0]])


def test_the_bytes_count_though_their_name_is_gone(client, evidence_of):
    client.upload_model(zoo.mlp(), name="replayed", version="1")
    x = RANDOM.standard_normal((2, 8)).astype(np.float32)
    evidence = evidence_of(client, "replayed", [{"x": x}], assay.Occlusion(features=assay.Elements()), 0)
    assert client.delete_model("replayed") == 1
    client.upload_model(zoo.mlp(seed=1), name="replayed", version="2")
    for replayed in replays(client, evidence):
        assert replayed.within(1e-6)
        assert replayed.now.load()["model"]["digest"] == replayed.before.load()["model"]["digest"]


def test_what_computes_differently_is_told(client, digits, evidence_of, tmp_path):
    method = assay.Occlusion(window=(16, 16))
    evidence = evidence_of(client, "digits", [{"image": digits["images"][:1]}], method)
    flags = ("--models", str(DEMO / "models"), "--batch-rows", "5", "--threads", "1")
    with ServerProcess(tmp_path / "store", *flags) as other, assay.Client(other.address) as connected:
        (replayed,) = replays(connected, evidence)
    assert replayed.within(1e-6)
    changes = {change.name: change.now for change in replayed.stack}
    assert changes["engine threads"] == 1
    assert changes["engine batching max_rows"] == 5
    assert not any(name.startswith(("versions", "model", "method")) for name in changes)


def test_another_revision_is_refused(client, digits):
    image = digits["images"][0]
    ex = client.explain("digits", image[None], assay.Occlusion(window=(32, 32)))
    text = ex.record.json.replace(b'"revision":', b'"revision":7')
    record = dataclasses.replace(ex.record, json=text, digest=f"sha256:{hashlib.sha256(text).hexdigest()}")
    with pytest.raises(assay.FailedPrecondition, match="served"):
        assay.replay(client, record, [image])
