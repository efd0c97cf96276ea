"""A folder of decisions stays whole, notices every change, and goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import stat
import subprocess
import sys

import numpy as np
import pytest

import assay
from assay.kept.digests import digest_of, tensor_digest
from assay.kept.durable import write_whole
from assay.kept.result_tensors import by_digest
from tests.unit.client.recording_server import KEYS, METHOD, X, keep, parts, recording


@pytest.fixture
def pair():
    with recording() as both:
        yield both


def lines(folder):
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_each_record_stands_in_the_folder_with_what_it_names(pair, tmp_path):
    _, client = pair
    run, events = keep(client, tmp_path / "e", seed=5)
    assert (run.kept, run.failed, run.skipped) == (10, 0, 0)
    evidence = assay.Evidence(tmp_path / "e")
    assert set(evidence.done()) == set(KEYS)
    kept = dict(evidence.records())
    assert [d.position for d in kept] == list(range(10))
    instance = next(e for e in events if isinstance(e, assay.Instance) and e.key == "c-3")
    record = kept[evidence.done()["c-3"]]
    assert (tmp_path / "e" / "records" / "c-3.json").read_bytes() == record.json == instance.record.json
    said = record.load()
    np.testing.assert_array_equal(evidence.tensor(said["inputs"]["x"]), X[3])
    np.testing.assert_array_equal(evidence.tensor(said["results"]["feature_values"]), [X[3] * 2])
    np.testing.assert_array_equal(evidence.tensor(tensor_digest(METHOD.baseline)), [1, 2, 3])
    assert evidence.verify() == []


def test_only_its_owner_may_read_it(pair, tmp_path):
    keep(pair[1], tmp_path / "e")
    paths = [p for p in (tmp_path / "e").rglob("*") if p.is_file()]
    assert {stat.S_IMODE(p.stat().st_mode) & 0o077 for p in paths} == {0}


def test_the_client_takes_the_digest_of_the_servers_kind():
    assert tensor_digest(np.zeros((2, 3), np.float32)) == digest_of(b'["float32", [2, 3]]\n' + bytes(24))
    assert tensor_digest(np.array(["é", "b"])) == digest_of(b'["string", [2]]\n["\\u00e9", "b"]')
    assert tensor_digest(np.array([[1, 2], [3, 4]], ">i4").T) == tensor_digest(np.array([[1, 3], [2, 4]], "<i4"))


def test_a_stopped_run_goes_on_where_it_was(pair, tmp_path):
    server, client = pair
    server.stops_after = 6
    with pytest.raises(assay.Unavailable):
        keep(client, tmp_path / "e")
    assert len(assay.Evidence(tmp_path / "e").done()) == 6
    server.stops_after = None
    run, events = keep(client, tmp_path / "e")
    assert (run.kept, run.skipped) == (4, 6)
    assert server.explained == KEYS  # none twice
    assert [e.position for e in events if isinstance(e, assay.Instance)] == [6, 7, 8, 9]
    assert len(list(assay.Evidence(tmp_path / "e").records())) == 10
    asked = len(server.seen)
    run, events = keep(client, tmp_path / "e")
    assert (run.kept, run.skipped, events) == (0, 10, [])
    assert not any(hasattr(request, "inputs") for request in server.seen[asked:])


def test_without_keys_the_position_counts(pair, tmp_path):
    server, client = pair
    server.stops_after = 3
    with pytest.raises(assay.Unavailable):
        keep(client, tmp_path / "e", parts(keys=None))
    server.stops_after = None
    keep(client, tmp_path / "e", parts(keys=None))
    assert list(assay.Evidence(tmp_path / "e").done()) == list(range(10))
    assert (tmp_path / "e" / "records" / "000009.json").is_file()


def test_failed_instances_are_noted_and_tried_again(pair, tmp_path):
    server, client = pair
    server.refuses = {X[2, 0], X[5, 0]}
    run, _ = keep(client, tmp_path / "e")
    assert (run.kept, run.failed) == (8, 2)
    failed = [line for line in lines(tmp_path / "e") if line["status"] == "failed"]
    assert [(line["key"], line["code"], line["message"]) for line in failed] == [
        ("c-2", "INVALID_ARGUMENT", "no such age"),
        ("c-5", "INVALID_ARGUMENT", "no such age"),
    ]
    assert not (tmp_path / "e" / "records" / "c-2.json").exists()
    assert len(list(assay.Evidence(tmp_path / "e").records())) == 8
    server.refuses = {X[5, 0]}
    run, _ = keep(client, tmp_path / "e")
    assert (run.kept, run.failed, run.skipped) == (1, 1, 8)
    assert [d.key for d in assay.Evidence(tmp_path / "e").decisions() if d.status == "failed"] == ["c-5"]
    assert assay.Evidence(tmp_path / "e").verify() == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed unset became '1'"),
        ({"target": 1}, "targets"),
        ({"method": assay.Occlusion(features=assay.Elements())}, "occlusion.baseline[0].tensor"),
        ({"method": assay.Lime()}, "lime"),
        ({"element_maps": False}, "element_maps unset became False"),
    ],
)
def test_evidence_of_another_request_is_refused(pair, tmp_path, change, named):
    server, client = pair
    keep(client, tmp_path / "e")
    explained = list(server.explained)
    with pytest.raises(assay.FailedPrecondition, match="holds evidence of another request") as refused:
        keep(client, tmp_path / "e", **change)
    assert named in str(refused.value)
    assert server.explained == explained
    run, _ = keep(client, tmp_path / "e", **change, beside_others=True)
    assert (run.kept, run.skipped) == (10, 0)
    assert len(list(assay.Evidence(tmp_path / "e").records())) == 20
    assert assay.Evidence(tmp_path / "e").verify() == []


def test_who_asks_how_urgently_makes_no_other_request(pair, tmp_path):
    _, client = pair
    keep(client, tmp_path / "e")
    run, _ = keep(client, tmp_path / "e", priority="low", on_instance_error="fail", request_id="later", timeout=9.0)
    assert run.skipped == 10


def test_a_new_revision_of_the_method_is_another_request(pair, tmp_path):
    server, client = pair
    keep(client, tmp_path / "e")
    server.revision = 2
    with pytest.raises(assay.FailedPrecondition, match="method_revision 1 became 2"):
        keep(client, tmp_path / "e")


def test_another_model_under_the_same_name_is_another_request(pair, tmp_path):
    server, client = pair
    keep(client, tmp_path / "e")
    server.model.digest = "sha256:" + "ff" * 32
    with pytest.raises(assay.FailedPrecondition, match=r"model\.digest"):
        keep(client, tmp_path / "e")


def test_data_that_changed_under_its_key_is_told(pair, tmp_path):
    _, client = pair
    keep(client, tmp_path / "e")
    changed = X.copy()
    changed[4, 1] += 1
    with pytest.raises(assay.InvalidArgument, match="instance 'c-4' isn't the one"):
        keep(client, tmp_path / "e", parts(x=changed))
    # In another order they are the same instances.
    run, _ = keep(client, tmp_path / "e", parts(x=X[::-1], keys=KEYS[::-1]))
    assert run.skipped == 10


def test_each_instance_needs_its_own_key(pair, tmp_path):
    with pytest.raises(assay.InvalidArgument, match="'c-0' is the key of instances 0 and 9"):
        keep(pair[1], tmp_path / "e", parts(keys=[*KEYS[:9], "c-0"]))


def test_any_key_makes_a_file_inside_the_folder(pair, tmp_path):
    keys = ["../../up", "..", "a/b", "A", "a", "x" * 256, "x" * 255 + "y", "ü", "con\n", "a~1"]
    keep(pair[1], tmp_path / "e", parts(keys=keys))
    files = list((tmp_path / "e" / "records").iterdir())
    assert len(files) == len({f.name.casefold() for f in files}) == 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e"]
    assert set(assay.Evidence(tmp_path / "e").done()) == set(keys)
    assert assay.Evidence(tmp_path / "e").verify() == []


def test_strings_are_kept_too(tmp_path):
    with recording(8) as (_, client):
        words = np.array([["red", "green", ""], ["ü", "a", "b"]], dtype=object)
        data = assay.ArrayData({"s": words}, ["one", "two"])
        keep(client, tmp_path / "e", data, assay.Occlusion(features=assay.Elements()))
    evidence = assay.Evidence(tmp_path / "e")
    record = evidence.record(evidence.done()["two"]).load()
    assert evidence.tensor(record["inputs"]["s"]).tolist() == ["ü", "a", "b"]
    assert evidence.verify() == []


def test_tensors_of_an_instances_own_target_are_kept(pair, tmp_path):
    weights = np.array([0.25, 0.75], np.float32)
    part = assay.Part({"x": X[:1]}, ["k"], [assay.Target(weights=weights)])
    keep(pair[1], tmp_path / "e", [part])
    np.testing.assert_array_equal(assay.Evidence(tmp_path / "e").tensor(tensor_digest(weights)), weights)


# ---- what was changed is found -----------------------------------------------------------------------------------


def flip(path, at=-1):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda e: flip(e / "records" / "c-3.json"), r"c-3\.json isn't what its digest says"),
        (lambda e: (e / "records" / "c-3.json").unlink(), r"c-3\.json is gone"),
        (lambda e: flip(sorted((e / "tensors").iterdir())[4]), "isn't the tensor that its name says"),
        (lambda e: flip(sorted((e / "tensors").iterdir())[4], 0), "can't be read"),
        (lambda e: sorted((e / "tensors").iterdir())[4].unlink(), r"tensor sha256:\w+ of .* is gone"),
        (lambda e: flip(e / "manifest.jsonl", 0), r"line 1 of .*manifest\.jsonl can't be read"),
        (lambda e: (e / "tensors" / f"{'0' * 64}.npy").write_bytes(b"?"), "can't be read"),
    ],
)
def test_a_changed_file_is_found(pair, tmp_path, change, said):
    keep(pair[1], tmp_path / "e")
    assert assay.Evidence(tmp_path / "e").verify() == []
    change(tmp_path / "e")
    (problem,) = assay.Evidence(tmp_path / "e").verify()
    assert re.search(said, problem)


def test_a_record_that_is_made_anew_still_isnt_the_listed_one(pair, tmp_path):
    keep(pair[1], tmp_path / "e")
    path = tmp_path / "e" / "records" / "c-3.json"
    path.write_bytes(path.read_bytes().replace(b'"age"', b'"AGE"').replace(b'"scored": 7', b'"scored": 6'))
    evidence = assay.Evidence(tmp_path / "e")
    with pytest.raises(assay.DataLoss, match="isn't what its digest says"):
        evidence.record(evidence.done()["c-3"])


def test_results_that_arent_what_the_record_says_are_refused(pair, tmp_path):
    server, client = pair
    server.lies = True
    with pytest.raises(assay.DataLoss, match="feature_values of instance 0 isn't what its record says"):
        keep(client, tmp_path / "e")
    assert not assay.Evidence(tmp_path / "e").done()


def test_a_record_of_other_inputs_is_refused(pair, tmp_path):
    _, client = pair
    ex = client.explain_stream("loans@1", {"x": X[:1]}, METHOD)
    instance = next(e for e in ex if isinstance(e, assay.Instance))
    with assay.Evidence(tmp_path / "e") as evidence:
        evidence.begin(client.get_model("loans"), METHOD)
        with pytest.raises(assay.DataLoss, match="of other inputs"):
            evidence.add(instance, {"x": X[1]})
        assert evidence.add(instance, {"x": X[0]}).position == 0
        other = next(e for e in client.explain_stream("loans@1", {"x": X[:1]}, METHOD, seed=3) if hasattr(e, "record"))
        with pytest.raises(assay.DataLoss, match="of another request: seed unset became '3'"):
            evidence.add(other, {"x": X[0]})


def test_maps_are_missed_only_where_they_were_asked_for(pair, tmp_path):
    keep(pair[1], tmp_path / "without", element_maps=False)
    assert assay.Evidence(tmp_path / "without").verify() == []
    keep(pair[1], tmp_path / "with")
    evidence = assay.Evidence(tmp_path / "with")
    digest = evidence.record(evidence.done()["c-1"]).load()["results"]["maps"]["x"]
    (tmp_path / "with" / "tensors" / f"{digest.removeprefix('sha256:')}.npy").unlink()
    assert evidence.verify() == [f"tensor {digest} of records/c-1.json is gone"]


# ---- what came is what the record names --------------------------------------------------------------------------


def test_results_are_kept_as_they_were_sent_though_callers_get_them_squeezed_and_broadcast():
    values, row = np.arange(4, dtype=np.float32), np.arange(3, dtype=np.float32)
    several = np.arange(6, dtype=np.float64).reshape(2, 1, 3)
    instance = assay.Instance(
        0,
        feature_values=values,
        attributions={"a": np.broadcast_to(row, (2, 3)), "b": np.broadcast_to(several, (2, 5, 3))},
        jacobian={"y": {"x": several, "features": values}},
        diagnostics=assay.Diagnostics(intercept=np.float32(3) * np.ones((), np.float32)),
    )
    sent = {
        "feature_values": values[None],
        "maps": {"a": row[None, None], "b": several, "absent": row},
        "jacobian": {"y": {"x": several, "": values}},
        "intercept": np.array([3], np.float32),
        "r_squared": values,
    }
    found = by_digest(instance, {"results": digests_of(sent)})
    wanted = [values[None], row[None, None], several, values, np.array([3], np.float32)]
    assert set(found) == {tensor_digest(array) for array in wanted}
    assert all(tensor_digest(array) == digest for digest, array in found.items())
    with pytest.raises(assay.DataLoss, match="maps a of instance 0"):
        by_digest(instance, {"results": digests_of({"maps": {"a": row + 1}})})


def digests_of(arrays):
    return {k: digests_of(v) if isinstance(v, dict) else tensor_digest(v) for k, v in arrays.items()}


# ---- it is whole at any moment -----------------------------------------------------------------------------------


def test_a_file_gets_its_name_when_it_is_on_the_disk(tmp_path, monkeypatch):
    path, seen = tmp_path / "f", []
    fsync = os.fsync

    def watched(number):
        (temporary,) = tmp_path.iterdir()
        seen.append((path.exists(), temporary.read_bytes()))
        fsync(number)

    monkeypatch.setattr(os, "fsync", watched)
    write_whole(path, b"all of it")
    assert seen == [(False, b"all of it")]
    assert path.read_bytes() == b"all of it"

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"another")
    assert path.read_bytes() == b"all of it"
    assert list(tmp_path.iterdir()) == [path]


def test_half_a_line_is_as_none(pair, tmp_path):
    _, client = pair
    keep(client, tmp_path / "e")
    path = tmp_path / "e" / "manifest.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert len(assay.Evidence(tmp_path / "e").done()) == 9
    assert assay.Evidence(tmp_path / "e").verify() == []
    run, _ = keep(client, tmp_path / "e")
    assert (run.kept, run.skipped) == (1, 9)
    assert len(lines(tmp_path / "e")) == 10
    assert len(list(assay.Evidence(tmp_path / "e").records())) == 10


def test_a_process_that_holds_the_folder_keeps_others_out(pair, tmp_path):
    _, client = pair
    with assay.Evidence(tmp_path / "e") as evidence:
        evidence.begin(client.get_model("loans"), METHOD, method_revision=1)
        with pytest.raises(assay.FailedPrecondition, match="another process is writing into"):
            keep(client, tmp_path / "e")
    keep(client, tmp_path / "e")


KILLED = """
import os, sys
import assay.kept.durable
from tests.unit.client.recording_server import keep, recording

steps = int(sys.argv[2])
fsync = os.fsync

def counted(number):
    global steps
    steps -= 1
    if steps < 0:
        os.kill(os.getpid(), 9)
    fsync(number)

os.fsync = counted
with recording() as (server, client):
    keep(client, sys.argv[1])
"""


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 5, 6, 7, 8, 13, 14, 15, 16, 17, 31])
def test_killed_at_any_moment_what_is_listed_is_whole(pair, tmp_path, steps):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "e"), str(steps)], capture_output=True, check=False
    )
    assert killed.returncode == -9, killed.stderr
    evidence = assay.Evidence(tmp_path / "e")
    before = len(evidence.done())
    assert evidence.verify() == []
    run, _ = keep(pair[1], tmp_path / "e")
    assert (run.skipped, run.kept) == (before, 10 - before)
    assert evidence.verify() == []
    assert len(list(evidence.records())) == 10
    assert not list((tmp_path / "e").rglob("*.tmp"))


# ---- a key has one decision --------------------------------------------------------------------------------------


def explained(client, rows, keys):
    """[(instance, its inputs)] of one call."""
    events = client.explain_stream("loans@1", {"x": X[rows]}, METHOD, keys=keys)
    return [(e, {"x": X[rows][e.position]}) for e in events if isinstance(e, assay.Instance)]


@pytest.mark.parametrize(("keys", "said"), [(["a", "a"], "'a' is the key of two"), (None, "0 is the position of two")])
def test_a_second_decision_under_a_key_is_refused_and_the_first_stays(pair, tmp_path, keys, said):
    _, client = pair
    first, second = explained(client, [0, 1], keys)
    place = None if keys else 0
    with assay.Evidence(tmp_path / "e") as evidence:
        evidence.begin(client.get_model("loans"), METHOD)
        line = evidence.add(*first)
        with pytest.raises(assay.DataLoss, match=said):
            evidence.add(*second, position=place)
        failed = dataclasses.replace(second[0], status=assay.Internal("a bug"), record=None)
        with pytest.raises(assay.DataLoss, match=said):
            evidence.add(failed, second[1], position=place)
        assert evidence.add(*first) == line  # the very same again is no other
    with assay.Evidence(tmp_path / "e") as evidence:
        evidence.begin(client.get_model("loans"), METHOD)
        with pytest.raises(assay.DataLoss, match=said):
            evidence.add(*second, position=place)
    assert evidence.decisions() == [line]
    assert len(lines(tmp_path / "e")) == len(list((tmp_path / "e" / "records").iterdir())) == 1
    assert evidence.verify() == []


# ---- what was damaged is made again ------------------------------------------------------------------------------


def unlink_input(folder, key):
    evidence = assay.Evidence(folder)
    digest = evidence.record(evidence.done()[key]).load()["inputs"]["x"]
    (folder / "tensors" / f"{digest.removeprefix('sha256:')}.npy").unlink()


def test_going_on_makes_again_what_is_gone_or_was_changed(pair, tmp_path):
    server, client = pair
    keep(client, tmp_path / "e")
    (tmp_path / "e" / "records" / "c-2.json").unlink()
    flip(tmp_path / "e" / "records" / "c-5.json")
    unlink_input(tmp_path / "e", "c-7")
    server.explained.clear()
    server.versions = {"numpy": "2.1"}  # so that they get other records
    run, _ = keep(client, tmp_path / "e")
    assert (run.kept, run.skipped, run.damaged) == (3, 7, 3)
    assert server.explained == ["c-2", "c-5", "c-7"]
    evidence = assay.Evidence(tmp_path / "e")
    assert evidence.verify() == []
    assert [d.file for d in evidence.decisions()] == [f"records/{key}.json" for key in KEYS]
    run, _ = keep(client, tmp_path / "e")
    assert (run.kept, run.skipped, run.damaged) == (0, 10, 0)


def test_a_tensor_that_goes_while_a_folder_is_held_is_written_again(pair, tmp_path):
    _, client = pair
    with assay.Evidence(tmp_path / "e") as evidence:
        list(assay.Keeping(client, evidence, "loans", parts(), METHOD))
        unlink_input(tmp_path / "e", "c-7")
        run = assay.Keeping(client, evidence, "loans", parts(), METHOD)
        list(run)
        assert (run.kept, run.damaged) == (1, 1)
    assert evidence.verify() == []


def test_a_tensor_that_two_instances_share_is_missed_by_both(pair, tmp_path):
    server, client = pair
    x = X[[0, 0, 2]]
    keep(client, tmp_path / "e", parts(x=x, keys=KEYS[:3]))
    unlink_input(tmp_path / "e", "c-0")
    server.versions = {"numpy": "2.1"}
    run, _ = keep(client, tmp_path / "e", parts(x=x, keys=KEYS[:3]))
    assert (run.kept, run.skipped, run.damaged) == (2, 1, 2)
    assert assay.Evidence(tmp_path / "e").verify() == []


# ---- whose a folder is -------------------------------------------------------------------------------------------


def test_a_folder_without_a_record_is_nobodys(pair, tmp_path):
    server, client = pair
    server.refuses = set(X[:, 0].tolist())
    run, _ = keep(client, tmp_path / "e", seed=1)
    assert (run.kept, run.failed) == (0, 10)
    assert list((tmp_path / "e" / "requests").iterdir()) == []
    assert len(assay.Evidence(tmp_path / "e").decisions()) == 10
    server.refuses = {X[2, 0]}
    run, _ = keep(client, tmp_path / "e", seed=2)
    assert (run.kept, run.failed) == (9, 1)
    evidence = assay.Evidence(tmp_path / "e")
    assert [d.status for d in evidence.decisions()].count("failed") == 1  # those of seed 1 are nobody's
    assert evidence.verify() == []
    with pytest.raises(assay.FailedPrecondition, match="holds evidence of another request: seed '2' became '3'"):
        keep(client, tmp_path / "e", seed=3)
    # Beside others, what failed is told even where nothing was kept.
    server.refuses = set(X[:, 0].tolist())
    keep(client, tmp_path / "e", seed=3, beside_others=True)
    assert len(assay.Evidence(tmp_path / "e").decisions()) == 20


def test_a_request_that_the_server_refuses_leaves_nothing(pair, tmp_path):
    server, client = pair
    server.stops_after = 0
    with pytest.raises(assay.Unavailable):
        keep(client, tmp_path / "e", seed=1)
    server.stops_after = None
    run, _ = keep(client, tmp_path / "e", seed=2)
    assert run.kept == 10


def test_whose_it_is_shows_though_what_was_asked_is_gone(pair, tmp_path):
    _, client = pair
    keep(client, tmp_path / "e")
    (request,) = (tmp_path / "e" / "requests").iterdir()
    request.unlink()
    with pytest.raises(assay.FailedPrecondition, match="what was asked isn't there any more"):
        keep(client, tmp_path / "e", seed=1)
    keep(client, tmp_path / "e")
    assert request.is_file()
