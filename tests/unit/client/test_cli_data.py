"""Data sets, evidence, replays and comparisons from a shell."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import assay
from assay.cli import main
from tests.unit.client.recording_server import KEYS, RecordingServer, X, recording, serving

EXPLAIN = "explain occlusion loans --features elements --baseline 0"
KEPT = f"{EXPLAIN} --data d.npz --key-column id --evidence out"


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", x=X, id=np.array(KEYS))
    np.save("x.npy", X)
    table = {"age": X[:, 0], "income": X[:, 1], "debt": X[:, 2], "id": KEYS}
    pq.write_table(pa.table(table), "d.parquet", row_group_size=3)
    with serving(RecordingServer()) as running:
        monkeypatch.setenv("ASSAY_SERVER", running.address)
        yield running


@pytest.fixture
def run(server, capsys):
    def command(line):
        status = main(line.split())
        return (status, *capsys.readouterr())

    return command


def test_a_data_set_in_short(run, server):
    status, out, err = run(f"{EXPLAIN} --data d.npz --key-column id --part-rows 4 --request-id r --top 2")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "loans@1: 5 rows in 1 batch, 0.25 s of compute (request id r)",
        "instance 0 (c-0): y[0] = 6",
        "  x [3]   sum +6   max +4 at [2]   min +0 at [0]",
        "          +4  debt = 2",
        "          +2  income = 1",
        "instance 1 (c-1): y[0] = 24",
        "  x [3]   sum +24   max +10 at [2]   min +6 at [0]",
        "         +10  debt = 5",
        "          +8  income = 4",
        "instance 2 (c-2): y[0] = 42",
        "  x [3]   sum +42   max +16 at [2]   min +12 at [0]",
        "         +16  debt = 8",
        "         +14  income = 7",
        "… and 7 more instances",
    ]
    assert [len(r.keys) for r in server.seen[-3:]] == [4, 4, 2]


def test_values_of_x_from_parquet_and_beside_kept_instances(run):
    _, out, _ = run(f"{EXPLAIN} --data d.parquet[4:8] --key-column id --top 1 --part-rows 1")
    assert [line.strip() for line in out.splitlines() if "debt" in line] == [
        "+28  debt = 14",
        "+34  debt = 17",
        "+40  debt = 20",
    ]
    run(KEPT.replace("d.npz", "d.npz[1:3]"))
    _, out, _ = run(f"{KEPT.replace('d.npz', 'd.npz[0:4]')} --top 1")
    assert [line.strip() for line in out.splitlines() if "debt" in line] == ["+4  debt = 2", "+22  debt = 11"]


def test_evidence_is_kept_and_gone_on_with(run, server):
    status, out, err = run(KEPT)
    assert (status, err, out.splitlines()[-1]) == (0, "", "out: 10 instances kept")
    assert set(assay.Evidence("out").done()) == set(KEYS)
    status, out, _ = run(KEPT)
    assert (status, out) == (0, "out: 0 instances kept, 10 were there before\n")
    assert len(server.explained) == 10


def test_a_server_that_goes_away_leaves_what_can_be_gone_on_with(run, server):
    server.stops_after = 6
    status, out, err = run(KEPT)
    assert (status, out) == (1, "")
    assert err.splitlines()[0] == "assay: 6 of 10 instances are kept in out; the same command goes on from there"
    assert err.splitlines()[1].startswith("assay: unavailable: going down")
    server.stops_after = None
    status, out, _ = run(KEPT)
    assert (status, out.splitlines()[-1]) == (0, "out: 4 instances kept, 6 were there before")


def test_instances_that_failed_are_told_and_the_status_is_1(run, server):
    server.refuses = {X[2, 0], X[9, 0]}
    status, out, _ = run(KEPT)
    assert status == 1
    assert "instance 2 (c-2): failed: no such age" in out
    assert "instance 9 (c-9): failed: no such age" in out
    assert "… and 5 more instances" in out
    assert out.splitlines()[-1] == "out: 8 instances kept, 2 failed (the same command tries them again)"


def test_evidence_of_a_plain_input(run, server):
    status, out, _ = run(f"{EXPLAIN} --input x.npy[0:2] --instance-key a --instance-key b --evidence out")
    assert (status, out.splitlines()[-1]) == (0, "out: 2 instances kept")
    assert set(assay.Evidence("out").done()) == {"a", "b"}


def test_parquet_by_feature_names_and_by_columns(run, server):
    for flags in ("", "--columns age,income,debt", "--columns x=age,income,debt"):
        status, _, err = run(f"{EXPLAIN} --data d.parquet[2:9] --key-column id --out values.npy {flags}")
        assert (status, err) == (0, "")
        np.testing.assert_array_equal(np.load("values.npy"), X[2:9] * 2)


def test_json_holds_every_instance(run):
    status, out, _ = run(f"{KEPT} --json")
    assert status == 0
    assert [i["key"] for i in json.loads(out)["instances"]] == KEYS
    assert json.loads(run(f"{KEPT} --json")[1]) == {"instances": []}


def test_bars_where_there_is_no_image(run, server):
    server.model.spec.inputs[0].layout = 5
    status, _, err = run(f"{EXPLAIN} --data d.npz[0:2] --png bars.png")
    assert (status, err) == (0, "")
    for name in ("bars-0.png", "bars-1.png"):
        with Image.open(name) as picture:
            assert picture.width >= 200


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (EXPLAIN, "input: give --input for each input, or --data in its place"),
        (f"{EXPLAIN} --data d.npz --input x.npy", "data: give --input for each input, or --data in its place"),
        (f"{EXPLAIN} --data d.csv", "data: 'd.csv' is no .npz or .parquet file, such as rows.parquet"),
        (f"{EXPLAIN} --data d.npz --instance-key k", "instance-key: belongs to --input; --key-column says"),
        (f"{EXPLAIN} --input x.npy --key-column id --evidence e", "key-column: belongs to --data"),
        (f"{EXPLAIN} --input x.npy --columns a,b --evidence e", "columns: belongs to --data"),
        (f"{EXPLAIN} --data d.npz --key-column no", "key-column: d.npz has no array 'no' for keys; it holds x, id"),
        (f"{EXPLAIN} --data d.npz --part-rows 0", "part-rows: 0 is no number of rows"),
        (f"{EXPLAIN} --data d.parquet --columns q=age", "columns: loans@1 has no input 'q'; it has x"),
        (f"{EXPLAIN} --data d.npz --validate-only", "validate-only: is for --input without --evidence"),
        ("replay nowhere", "nowhere: No such file or directory"),
        ("replay d.npz", "evidence: d.npz stands in no folder of evidence"),
        ("replay .", "path: . is no folder of evidence: it has no manifest.jsonl"),
        ("verify .", "path: . is no folder of evidence: it has no manifest.jsonl"),
        (
            "compare lime loans other --data d.npz --target 0 --target 1",
            "target: one target is compared at a time",
        ),
    ],
)
def test_what_is_wrong_is_told_by_the_flags_name(run, line, said):
    status, out, err = run(line)
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert err.removeprefix("assay: ").removeprefix("invalid argument: ").startswith(said)


def test_a_picture_of_instances_that_are_skipped_is_refused(run):
    run(KEPT)
    status, _, err = run(f"{KEPT} --out values.npy")
    assert status == 1
    assert "out: out holds instances already" in err


def test_evidence_of_another_request_is_refused_unless_told_otherwise(run):
    run(KEPT)
    status, _, err = run(f"{KEPT} --seed 4")
    assert status == 1
    assert "failed precondition: out holds evidence of another request: seed unset became '4'" in err
    assert run(f"{KEPT} --seed 4 --beside-others")[0] == 0


def test_a_bar_counts_instances_on_a_terminal(run, monkeypatch):
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run(KEPT)[0] == 0
    assert "10/10 instances" in terminal.getvalue()


def test_elsewhere_a_line_now_and_then(capsys, monkeypatch):
    from assay.cli import progress

    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Counter(1000, lambda: 100) as counter:
        for _ in range(900):
            now[0] += 0.015
            counter.add()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "assay: 234 of 1,000 instances"
    assert 5 <= len(lines) <= 7


def test_interrupted_it_can_be_gone_on_with(server, tmp_path):
    server.delay_of_results = 0.2
    command = [sys.executable, "-m", "assay", *KEPT.split()]
    listening = ["env", "--default-signal=INT"]  # which background jobs of a shell ignore
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*listening, *command], **pipes) as process:
        while not (tmp_path / "out" / "manifest.jsonl").exists() or not assay.Evidence("out").done():
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    kept = len(assay.Evidence("out").done())
    assert 0 < kept < 10
    assert err == f"assay: {kept} of 10 instances are kept in out; the same command goes on from there\n"
    server.delay_of_results = 0.0
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    were = "was" if kept == 1 else "were"
    assert done.stdout.splitlines()[-1] == f"out: {10 - kept} instances kept, {kept} {were} there before"


def test_interrupted_before_the_last_one_is_counted_it_is_told_all_the_same(run, monkeypatch):
    def cut_short(keeping, *_):
        for _ in keeping:
            if keeping.kept:
                break
        keeping.kept = 0
        raise KeyboardInterrupt

    monkeypatch.setattr("assay.cli.data_set._followed", cut_short)
    status, out, err = run(KEPT)
    assert (status, out) == (130, "")
    assert err == "assay: 1 of 10 instances are kept in out; the same command goes on from there\n"


# ---- replay, verify, compare, delete -----------------------------------------------------------------------------


def test_replay_of_a_folder_and_of_a_record(run):
    run(KEPT)
    status, out, err = run("replay out")
    assert (status, err) == (0, "")
    assert out.splitlines() == [*(f"{key}: identical bits" for key in KEYS), "10 records: 10 with identical bits"]
    status, out, _ = run("replay out/records/c-4.json")
    assert (status, out) == (0, "c-4: identical bits\n1 record: 1 with identical bits\n")
    Path("out/records/c-4.json").rename("moved.json")
    assert run("replay moved.json --evidence out")[0] == 0


def test_replay_tells_what_differs_and_its_status_follows_the_tolerance(run, server):
    run(f"{EXPLAIN} --data d.npz[1:2] --key-column id --evidence out")
    server.weight = np.float32(2.002)
    server.versions = {"numpy": "2.1"}
    status, out, _ = run("replay out")
    assert status == 1
    share = "0.001 of the largest"
    assert out.splitlines() == [
        "c-1: DIFFERS, by up to 0.001 of the largest",
        "  scores               0.024, 0.001 of the largest: [0] 24 became 24.024",
        f"  feature_values       0.01, {share}: debt 10 became 10.01, income 8 became 8.008, age 6 became 6.006",
        f"  maps x               0.01, {share}: [0, 2] 10 became 10.01, [0, 1] 8 became 8.008, [0, 0] 6 became 6.006",
        "what computes differs (1 record):",
        "  versions numpy  2.0 became 2.1",
        "1 record: 1 by up to 0.001 of the largest, not all within the tolerance of 1e-05",
    ]
    status, out, _ = run("replay out --tolerance 0.01")
    assert (status, out.splitlines()[0]) == (0, "c-1: within the tolerance, by up to 0.001 of the largest")
    status, out, _ = run("replay out --json")
    (said,) = json.loads(out)
    assert (status, said["identical"], said["within_tolerance"]) == (1, False, False)
    assert said["stack"] == [{"name": "versions numpy", "before": "2.0", "now": "2.1"}]


def test_replay_goes_on_after_a_record_that_was_changed(run):
    run(KEPT)
    path = "out/records/c-4.json"
    with Path(path).open("rb+") as file:
        file.write(b"[")
    status, out, _ = run("replay out")
    assert status == 1
    assert "c-4: data loss: out/records/c-4.json isn't what its digest says" in out
    assert out.splitlines()[-1] == "10 records: 9 with identical bits; 1 couldn't be run again"
    status, out, err = run(f"replay {path}")
    assert (status, out) == (1, "")
    assert err.startswith("assay: data loss: ")


def test_replay_by_another_revision_is_the_servers_refusal(run, server):
    run(KEPT)
    server.revision = 2
    status, out, _ = run("replay out")
    assert status == 1
    assert "c-0: failed precondition: revision 2 is served, not 1" in out


def test_a_record_that_isnt_of_this_evidence_is_refused(run):
    run(KEPT)
    run(f"{EXPLAIN} --data d.npz[0:1] --key-column id --evidence other --seed 3")
    status, _, err = run("replay other/records/c-0.json --evidence out")
    assert status == 1
    assert "isn't a record that the manifest of out lists" in err


def test_verify(run):
    run(KEPT)
    assert run("verify out") == (0, "out: 10 records and their tensors: all as they were kept\n", "")
    Path("out/records/c-1.json").unlink()
    status, out, _ = run("verify out")
    assert status == 1
    assert out.splitlines() == ["out/records/c-1.json is gone", "out: 10 records and their tensors: 1 problem"]
    assert json.loads(run("verify out --json")[1]) == {
        "records": 10,
        "failed": 0,
        "problems": ["out/records/c-1.json is gone"],
    }


def test_compare(run):
    status, out, err = run("compare occlusion loans other --features elements --data d.npz --reasons 2 --top 2")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "loans@1 and other@1: 10 of 10 instances compared",
        "  score             +87 ± 17 on average, at most 168",
        "  top 2 reasons     others in 0 of 10 instances",
        "  rank correlation  1.0000 on average",
        "  mean value of      loans@1      other@1  difference",
        "  debt                   +31          +62  +31 ± 5.7",
        "  income                 +29          +58  +29 ± 5.7",
        "  … and 1 more feature that differs less",
    ]
    status, out, _ = run("compare lime loans other --input x.npy[0:2] --instance-key a --instance-key b --json")
    said = json.loads(out)
    assert (said["compared"], said["a"]["ref"], said["b"]["ref"]) == (2, "loans@1", "other@1")
    assert [one["name"] for one in said["by_instance"]] == ["a", "b"]


def test_delete(run, server):
    assert run("delete loans") == (0, "loans: 2 versions deleted\n", "")
    assert server.seen[-1].model == "loans"
    assert json.loads(run("delete loans@1 --json")[1]) == {"deleted_versions": 2}


def test_strings_from_parquet(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"a": ["x", "yy"], "b": ["", "zzz"], "c": ["ü", None]}), "d.parquet")
    with recording(8) as (server, _):
        monkeypatch.setenv("ASSAY_SERVER", server.address)
        line = "explain occlusion loans --features elements --data d.parquet --columns a,b,c --evidence out"
        assert main(line.split()) == 1
        assert "data: column 'c' has no value in row 1" in capsys.readouterr().err
        line = line.replace("d.parquet", "d.parquet[0]")
        assert main(line.split()) == 0
        assert main(["replay", "out"]) == 0
    evidence = assay.Evidence("out")
    ((_, record),) = evidence.records()
    assert evidence.tensor(record.load()["inputs"]["s"]).tolist() == ["x", "", "ü"]


def test_nothing_that_is_extra_is_imported_before_it_is_used():
    code = "import sys, assay.cli.arguments; print([m for m in ('pyarrow', 'PIL', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_evidence_that_was_damaged_is_made_again_and_said(run, server):
    run(KEPT)
    Path("out/records/c-2.json").unlink()
    status, out, _ = run(KEPT)
    assert (status, out.splitlines()[-1]) == (
        0,
        "out: 1 instance kept, 9 were there before, 1 was damaged and is made again",
    )
    assert run("verify out")[0] == 0
    for key in ("c-3", "c-4"):
        Path(f"out/records/{key}.json").write_bytes(b"{}")
    assert run(KEPT)[1].splitlines()[-1].endswith("8 were there before, 2 were damaged and are made again")


def test_a_mistyped_call_leaves_the_folder_to_the_next(run, server):
    server.refuses = set(X[:, 0].tolist())
    status, out, _ = run(f"{KEPT} --seed 1")
    assert (status, out.splitlines()[-1]) == (
        1,
        "out: 0 instances kept, 10 failed (the same command tries them again)",
    )
    assert run("replay out") == (1, "", "assay: not found: out holds no records: nothing was kept in it yet\n")
    status, out, _ = run("verify out")
    assert status == 1
    assert out.splitlines() == [
        "out holds no records: nothing was kept in it yet",
        "out: 0 records and their tensors: 1 problem; 10 instances failed and have none",
    ]
    assert json.loads(run("verify out --json")[1])["problems"] == ["out holds no records: nothing was kept in it yet"]
    server.refuses = set()
    status, out, _ = run(f"{KEPT} --seed 2")
    assert (status, out.splitlines()[-1]) == (0, "out: 10 instances kept")
    assert run("verify out") == (0, "out: 10 records and their tensors: all as they were kept\n", "")


def test_one_instance_has_no_error_of_its_mean(run):
    out = run("compare occlusion loans other --features elements --data d.npz[1:2] --top 1")[1]
    assert "nan ±" not in out
    assert "± nan" not in out
    assert "  score             +24 on average, at most 24" in out.splitlines()
    kept = f"{EXPLAIN} --data d.npz[1:2] --key-column id --evidence one"
    assert run(kept)[1].splitlines()[-1] == "one: 1 instance kept"
    assert run("verify one")[1] == "one: 1 record and its tensors: all as they were kept\n"
