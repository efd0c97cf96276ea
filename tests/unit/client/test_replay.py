"""A recorded decision is asked again as it was, and what differs is told."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

import assay
from assay.kept.digests import digest_of
from assay.kept.replay import read_record
from assay.tensors import from_tensor
from assay.v1 import explain_pb2
from tests.unit.client.recording_server import METHOD, X, keep, recording


@pytest.fixture
def pair():
    with recording() as both:
        yield both


@pytest.fixture
def kept(pair, tmp_path):
    """(server, client, evidence)."""
    server, client = pair
    keep(client, tmp_path / "e", seed=7, priority="low", budget=assay.Budget(time=5.0))
    return server, client, assay.Evidence(tmp_path / "e")


def record_of(evidence, key="c-3"):
    return evidence.record(evidence.done()[key])


def again(kept, key="c-3"):
    _, client, evidence = kept
    return assay.replay(client, record_of(evidence, key), evidence)


def test_the_same_stack_gives_the_same_bits(kept):
    replayed = again(kept)
    assert replayed.identical
    assert replayed.within(0)
    assert replayed.largest == 0
    assert replayed.stack == ()
    assert [t.name for t in replayed.tensors] == ["scores", "baseline_scores", "feature_values", "maps x"]


def test_the_request_is_that_of_then_for_this_instance_alone(kept):
    again(kept)
    request = kept[0].seen[-1]
    np.testing.assert_array_equal(from_tensor(request.inputs["x"]), X[3:4])
    np.testing.assert_array_equal(from_tensor(request.occlusion.baseline[0].tensor), METHOD.baseline)
    assert list(request.keys) == ["c-3"]
    assert (request.model, request.method_revision, request.seed) == ("loans@1", 1, 7)
    assert not request.budget.HasField("time")
    assert not request.instance_targets


def test_a_cut_instance_gets_the_rows_that_it_had(pair, tmp_path):
    server, client = pair
    keep(client, tmp_path / "e", budget=assay.Budget(rows=500, time=5.0, on_exhausted="partial"))
    evidence = assay.Evidence(tmp_path / "e")
    assert evidence.done()["c-1"].status == "partial"
    assay.replay(client, record_of(evidence, "c-1"), evidence)
    budget = server.seen[-1].budget
    assert (budget.rows, budget.on_exhausted, budget.HasField("time")) == (7, explain_pb2.ON_BUDGET_PARTIAL, False)


def test_other_numbers_are_told_with_the_features_they_belong_to(kept):
    kept[0].weight = np.float32(2.001)
    replayed = again(kept)
    assert not replayed.identical
    by_name = {t.name: t for t in replayed.tensors}
    values = by_name["feature_values"]
    before = X[3] * np.float32(2)
    now = X[3] * np.float32(2.001)
    assert values.largest == pytest.approx(np.abs(now - before).max())
    assert values.relative == pytest.approx(np.abs(now - before).max() / np.abs(before).max())
    assert [m.name for m in values.worst] == ["debt", "income", "age"]
    assert (values.worst[0].before, values.worst[0].now) == (before[2], now[2])
    assert by_name["maps x"].worst[0].name == "[0, 2]"
    assert by_name["scores"].largest == pytest.approx(abs(float(now.sum()) - float(before.sum())))
    assert by_name["baseline_scores"].same
    assert not replayed.within(4e-4)
    assert replayed.within(6e-4)


def test_numbers_against_none_are_infinitely_far(kept):
    kept[0].weight = np.float32(np.nan)
    assert again(kept).largest == math.inf


def test_what_computes_differently_is_told(kept):
    kept[0].versions = {"numpy": "2.1", "scipy": "1.0"}
    kept[0].model.spec_digest = "sha256:" + "00" * 32
    changes = {c.name: (c.before, c.now) for c in again(kept).stack}
    assert changes == {
        "model spec_digest": ("sha256:" + "34" * 32, "sha256:" + "00" * 32),
        "versions numpy": ("2.0", "2.1"),
        "versions scipy": (None, "1.0"),
    }


def test_a_name_that_means_other_bytes_by_now_isnt_used(kept):
    old = kept[0].model.digest
    kept[0].model.digest = "sha256:" + "ee" * 32
    changes = {c.name: c.now for c in again(kept).stack}
    assert kept[0].seen[-1].model == old
    assert "model digest" in changes


def test_a_name_that_is_gone_isnt_used(kept):
    kept[0].gone = True
    again(kept)
    assert kept[0].seen[-1].model == kept[0].model.digest


def test_a_changed_record_or_tensor_is_refused(kept):
    _, client, evidence = kept
    record = record_of(evidence)
    changed = dataclasses.replace(record, json=record.json.replace(b'"7"', b'"8"'))
    with pytest.raises(assay.DataLoss, match="isn't what its digest says"):
        assay.replay(client, changed, evidence)
    digest = record.load()["inputs"]["x"]
    path = evidence.folder / "tensors" / f"{digest.removeprefix('sha256:')}.npy"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with pytest.raises(assay.DataLoss, match="isn't the tensor that its name says"):
        assay.replay(client, record, evidence)


def test_an_input_that_is_missing_is_named(kept):
    _, client, evidence = kept
    with pytest.raises(assay.NotFound, match="input 'x' of the record, sha256:"):
        assay.replay(client, record_of(evidence), [METHOD.baseline])


def test_arrays_serve_as_well_as_a_folder(kept):
    server, client, evidence = kept
    record = record_of(evidence)
    replayed = assay.replay(client, record, [X[3], METHOD.baseline])
    assert replayed.identical
    server.weight = np.float32(3)
    replayed = assay.replay(client, record, [X[3], METHOD.baseline])
    values = next(t for t in replayed.tensors if t.name == "feature_values")
    assert (values.same, values.largest) == (False, None)  # the old ones aren't at hand
    assert replayed.largest == math.inf


def test_a_tensor_of_the_request_that_isnt_at_hand_is_asked_for_by_digest(kept):
    server, client, evidence = kept
    assay.replay(client, record_of(evidence), [X[3]])
    assert server.seen[-1].occlusion.baseline[0].tensor.digest == assay.tensor_digest(METHOD.baseline)


def test_another_revision_is_refused_by_the_server(pair):
    server, client = pair
    instance = next(iter(client.explain_stream("loans@1", {"x": X[:1]}, METHOD)))  # which pins no revision
    server.revision = 2
    with pytest.raises(assay.FailedPrecondition, match="revision 2 is served"):
        assay.replay(client, instance.record, [X[0], METHOD.baseline])


def test_an_older_record_without_its_request_is_refused(kept):
    _, client, evidence = kept
    said = record_of(evidence).load()
    del said["request"]
    data = json.dumps(said).encode()
    with pytest.raises(assay.InvalidArgument, match="doesn't hold the request"):
        assay.replay(client, assay.Record(data, digest_of(data)), evidence)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"format": "else"}', b"\xff"])
def test_what_is_no_record_is_told(data):
    with pytest.raises(assay.DataLoss, match="no record"):
        read_record(data)
