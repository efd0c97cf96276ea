"""Decisions of a real server: kept, killed, gone on with, run again."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import assay
from tests.integration.conftest import DEMO
from tests.integration.test_cli import assay_command
from tests.models import zoo

CANCER = DEMO / "data" / "cancer.npz"


def lime_of(rows, folder, *more):
    return [
        *("explain", "lime", "cancer-mlp", "--data", f"{CANCER}[0:{rows}]", "--sampling", f"quartile={CANCER}:X"),
        *("--seed", "3", "--part-rows", "8", "--evidence", str(folder), *more),
    ]


def test_killed_half_way_and_resumed_every_record_is_there_once_and_replayable(server, client, tmp_path):
    folder = tmp_path / "out"
    command = [sys.executable, "-m", "assay", *lime_of(40, folder), "--server", server.address]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 60
        while len(kept := assay.Evidence(folder).done()) < 12:
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    kept = len(assay.Evidence(folder).done())
    assert kept < 40
    assert assay.Evidence(folder).verify() == []
    done = assay_command(server, *lime_of(40, folder))
    assert done.stdout.splitlines()[-1] == f"{folder}: {40 - kept} instances kept, {kept} were there before"
    evidence = assay.Evidence(folder)
    records = list(evidence.records())
    assert [d.position for d, _ in records] == list(range(40))
    assert evidence.verify() == []
    for _, record in records:
        replayed = assay.replay(client, record, evidence)
        assert replayed.within(1e-6), replayed.tensors
        assert replayed.stack == ()
    # One run that nothing stopped gives the same.
    whole = tmp_path / "whole"
    assay_command(server, *lime_of(40, whole))
    for (_, one), (_, other) in zip(records, assay.Evidence(whole).records(), strict=True):
        a, b = one.load(), other.load()
        assert a["inputs"] == b["inputs"]
        np.testing.assert_allclose(a["scores"], b["scores"], rtol=1e-6)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture(scope="module")
def few(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("few") / "out"
    assay_command(server, *lime_of(3, folder))
    return folder


@pytest.mark.parametrize("which", ["records", "tensors"])
def test_a_changed_byte_in_any_file_is_found(few, tmp_path, which):
    for name in sorted(path.name for path in (few / which).iterdir()):
        folder = tmp_path / name
        shutil.copytree(few, folder)
        flip(folder / which / name)
        (problem,) = assay.Evidence(folder).verify()
        assert name in problem


def test_the_command_says_so_too(server, few, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(few, folder)
    assert (
        assay_command(server, "replay", str(folder)).stdout.splitlines()[-1].startswith("3 records: 3 with identical")
    )
    flip(folder / "records" / "000001.json")
    done = assay_command(server, "replay", str(folder), check=False)
    assert done.returncode == 1
    assert "1: data loss: " in done.stdout
    command = [sys.executable, "-m", "assay", "verify", str(folder)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 1
    assert "000001.json isn't what its digest says" in checked.stdout


def test_what_is_gone_is_made_again_and_said(server, few, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(few, folder)
    (folder / "records" / "000001.json").unlink()
    done = assay_command(server, *lime_of(3, folder))
    said = "1 instance kept, 2 were there before, 1 was damaged and is made again"
    assert done.stdout.splitlines()[-1] == f"{folder}: {said}"
    assert assay.Evidence(folder).verify() == []


def test_a_call_that_the_server_refuses_leaves_the_folder_to_the_next(server, tmp_path):
    folder = tmp_path / "out"
    wrong = assay_command(server, *lime_of(2, folder, "--target", "99"), check=False)
    assert wrong.returncode == 1
    assert assay_command(server, "replay", str(folder), check=False).returncode == 1
    done = assay_command(server, *lime_of(2, folder))
    assert done.stdout.splitlines()[-1] == f"{folder}: 2 instances kept"
    assert [d.status for d in assay.Evidence(folder).decisions()] == ["full", "full"]


def test_the_record_holds_what_the_folder_was_asked_for(few):
    ((_, request),) = [(p.stem, json.loads(p.read_bytes())) for p in (few / "requests").iterdir()]
    for _, record in assay.Evidence(few).records():
        said = record.load()["request"]
        assert said["lime"] == request["request"]["lime"]
        assert said["seed"] == request["request"]["seed"] == "3"
        assert said["method_revision"] == request["request"]["method_revision"]


def test_strings_from_parquet(server, client, tmp_path):
    client.upload_model(zoo.strings(), name="kept-strings", version="1")
    columns = {"colour": ["red", "green", "blue", "pink"], "other": ["blue", "red", "red", ""], "id": [1, 2, 3, 4]}
    pq.write_table(pa.table(columns), tmp_path / "s.parquet", row_group_size=2)
    np.save(tmp_path / "baseline.npy", np.array(["green", "green"]))
    folder = tmp_path / "out"
    assay_command(
        server,
        *("explain", "occlusion", "kept-strings", "--data", str(tmp_path / "s.parquet"), "--columns", "colour,other"),
        *("--key-column", "id", "--explain-input", "s", "--features", "elements", "--evidence", str(folder)),
        *("--baseline", str(tmp_path / "baseline.npy"), "--target", "0"),
    )
    evidence = assay.Evidence(folder)
    assert set(evidence.done()) == {"1", "2", "3", "4"}
    assert evidence.verify() == []
    for _, record in evidence.records():
        assert assay.replay(client, record, evidence).within(1e-6)
    record = evidence.record(evidence.done()["3"])
    assert evidence.tensor(record.load()["inputs"]["s"]).tolist() == ["blue", "red"]


def test_what_is_missing_in_parquet_is_missing_for_the_model(server, client, tmp_path):
    client.upload_model(zoo.forest(), name="kept-forest", version="1")
    (info,) = client.get_model("kept-forest").inputs
    rows = np.random.default_rng(0).standard_normal((4, info.shape[0])).astype(np.float32)
    rows[1, 2] = rows[3, 0] = np.nan
    names = [f"c{n}" for n in range(rows.shape[1])]
    columns = {name: pa.array(rows[:, n], from_pandas=True) for n, name in enumerate(names)}
    assert columns["c2"].null_count == 1
    pq.write_table(pa.table(columns), tmp_path / "f.parquet")
    assay_command(
        server,
        *("explain", "occlusion", "kept-forest", "--data", str(tmp_path / "f.parquet"), "--columns", ",".join(names)),
        *("--features", "elements", "--target", "0", "--out", str(tmp_path / "values.npy")),
    )
    ex = client.explain("kept-forest", rows, assay.Occlusion(features=assay.Elements()), 0)
    np.testing.assert_allclose(np.load(tmp_path / "values.npy"), ex.attributions[info.name], atol=1e-6)


def test_parquet_and_npz_give_the_same_reasons(server, tmp_path):
    data = np.load(CANCER)
    names = [str(name) for name in data["feature_names"]]
    columns = {name: data["X"][:5, n].astype(np.float64) for n, name in enumerate(names)}
    pq.write_table(pa.table(columns), tmp_path / "c.parquet")
    for file in (f"{CANCER}[0:5]", str(tmp_path / "c.parquet")):
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.npy"
        assay_command(
            server,
            *("explain", "occlusion", "cancer-mlp", "--data", file, "--features", "elements", "--out", str(out)),
        )
    one, two = (np.load(path) for path in sorted(tmp_path.glob("*.npy")))
    np.testing.assert_array_equal(one, two)
