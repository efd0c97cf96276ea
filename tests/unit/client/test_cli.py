from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from PIL import Image

from assay import Unavailable
from assay.cli import main
from assay.cli.connecting import told
from assay.tensors import to_tensor
from assay.v1 import explain_pb2, explain_service_pb2
from tests.unit.client.fake_server import DIGEST, occluded


@pytest.fixture
def run(server, capsys, tmp_path, monkeypatch):
    """Runs a command in an empty folder; returns (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASSAY_SERVER", server.address)
    monkeypatch.delenv("ASSAY_TOKEN", raising=False)
    np.save("7.npy", np.eye(8, dtype=np.float32)[None])

    def command(line):
        status = main(line.split())
        return (status, *capsys.readouterr())

    return command


EXPLAIN = "explain occlusion digits --input image=7.npy --window 4,4"


def test_explain_writes_the_map_and_the_picture_and_a_short_table(run, server):
    status, out, err = run(f"{EXPLAIN} --stride 4,4 --target 0 --out map.npy --png overlay.png --request-id mine")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "digits@1: 5 rows in 1 batch, 0.25 s of compute (request id mine)",
        "instance 0 (k0): logits[0] 'a' = 5, -1 at the baseline",
        "  image [1, 8, 8]   sum +16   max +2 at [0, 0, 0]   min -1 at [0, 4, 4]",
        "          +2  image[0:4,0:4]",
        "          -1  image[4:8,4:8]",
        "          +0  image[0:4,4:8]",
        "          +0  image[4:8,0:4]",
    ]
    assert np.load("map.npy").shape == (1, 1, 8, 8)
    with Image.open("overlay.png") as picture:
        assert picture.size == (256, 290)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels[20, 40, 0] > pixels[20, 40, 2]
    assert pixels[200, 180, 2] > pixels[200, 180, 0]
    request = server.seen[-1]
    assert request.model == "digits@1"
    assert list(request.occlusion.window[0].sizes) == [4, 4]
    assert list(request.targets[0].index.position) == [0]
    assert request.request_id == "mine"


def test_explain_as_json_has_no_nan(run, server):
    result = occluded(0)
    result.scores.CopyFrom(to_tensor(np.array([np.nan], np.float32)))
    result.record.digest = DIGEST
    server.results = [result, explain_pb2.InstanceResult(position=1, status=status_pb2.Status(code=9, message="bad"))]
    status, out, _ = run(f"{EXPLAIN} --json")
    assert status == 0
    said = json.loads(out, parse_constant=pytest.fail)
    assert said["model"]["digest"] == DIGEST
    first, second = said["instances"]
    assert (first["record_digest"], second["record_digest"]) == (DIGEST, None)
    assert first["scores"] is None
    assert first["feature_values"] == [2, 0, 0, -1]
    assert first["maps"]["image"]["max_at"] == [0, 0, 0]
    assert first["windows"][0]["grid"] == [2, 2]
    assert second["error"] == {"code": "FAILED_PRECONDITION", "reason": "", "message": "bad"}


def test_settings_reach_the_request(run, server):
    line = (
        f"{EXPLAIN} --target logits:1 --target label=a --target-scale log --explain-input image --instance-key k "
        "--seed 5 --budget-rows 100 --budget-time 2 --on-budget partial --on-instance-error skip --reproducible "
        "--return-rows --method-revision 1 --priority low --layout image=NHWC"
    )
    server.results = [occluded(0, targets=2)]
    status, out, _ = run(f"{line} --out map.npz --png o.png")
    assert status == 0
    request = server.seen[-1]
    assert [t.WhichOneof("element") for t in request.targets] == ["index", "label"]
    assert {t.scale for t in request.targets} == {explain_pb2.SCALE_LOG}
    assert list(request.inputs_to_explain) == ["image"]
    assert list(request.keys) == ["k"]
    assert (request.seed, request.budget.rows, request.budget.time.seconds) == (5, 100, 2)
    assert request.budget.on_exhausted == explain_pb2.ON_BUDGET_PARTIAL
    assert request.on_instance_error == explain_pb2.ON_INSTANCE_ERROR_SKIP
    assert request.reproducible
    assert request.return_rows
    assert request.method_revision == 1
    assert request.priority == explain_pb2.PRIORITY_LOW
    assert request.layouts[0].input == "image"
    assert out.count("instance 0") == 2
    with np.load("map.npz") as saved:
        assert saved["image"].shape == (1, 2, 1, 8, 8)
    assert not Image.open("o-0.png").close()
    assert not Image.open("o-1.png").close()


def test_validation_shows_the_estimate(run, server):
    server.estimate = explain_service_pb2.Estimate(rows=1200, device_seconds=0.5)
    status, out, _ = run(f"{EXPLAIN} --validate-only --out map.npy")
    assert (status, out) == (0, "digits@1: valid, 1,200 rows, about 0.5 s\n")
    assert server.seen[-1].validate_only


def test_named_features_warnings_and_errors_of_values_are_shown(run, server):
    server.results = [
        explain_pb2.InstanceResult(
            targets=[explain_pb2.ResolvedTarget(output="p", scale=2)],
            scores=to_tensor(np.array([0.5])),
            feature_values=to_tensor(np.array([[0.1, -0.7]])),
            feature_errors=to_tensor(np.array([[0.01, 0.02]])),
            features=[explain_pb2.FeatureInfo(id=0, name="age"), explain_pb2.FeatureInfo(id=1, name="income")],
            warnings=[explain_pb2.Warning(code=5, message="the surrogate fits badly")],
        )
    ]
    _, out, _ = run("explain lime digits --input 7.npy --features groups --top 1")
    assert "instance 0: logit(p) = 0.5" in out
    assert "-0.7 ± 0.02  income" in out
    assert "age" not in out
    assert "warning: the surrogate fits badly (instance 0)" in out


def test_errors_that_nobody_estimated_are_told(run, server):
    server.results = [
        explain_pb2.InstanceResult(
            targets=[explain_pb2.ResolvedTarget(output="p")],
            feature_values=to_tensor(np.array([[0.1, -0.7]])),
            errors_unknown=True,
        )
    ]
    _, out, _ = run("explain lime digits --input 7.npy --surrogate lasso")
    assert "  errors not estimated: how certain these numbers and their order are isn't known" in out.splitlines()
    assert "not separated" not in out  # which would be of all
    _, out, _ = run("explain lime digits --input 7.npy --surrogate lasso --json")
    assert json.loads(out)["instances"][0]["errors_unknown"] is True


def test_a_server_without_streams_is_asked_plainly(run, server):
    server.streams = False
    status, out, _ = run(EXPLAIN)
    assert status == 0
    assert "logits[0]" in out


def test_a_bar_on_a_terminal_leaves_stdout_alone(run, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    _, plain, _ = run(f"{EXPLAIN} --request-id r")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    status, out, _ = run(f"{EXPLAIN} --request-id r")
    assert (status, out) == (0, plain)
    assert "rows" in terminal.getvalue()


def test_upload_models_info_and_predict(run, server):
    Path("m.onnx").write_bytes(b"onnx")
    Path("spec.json").write_text('{"inputs": [{"name": "image", "layout": "LAYOUT_NCHW"}]}')
    status, out, _ = run("upload m.onnx --name digits --version 1 --spec spec.json")
    assert status == 0
    assert out.splitlines()[0] == f"digits@1  {DIGEST}  2.0 KiB"
    assert "input   image float32 [1, 8, 8]" in out
    assert "rows    batched" in out
    assert server.seen[0][0].header.spec.inputs[0].layout == 1
    _, out, _ = run("models")
    assert [line.split()[0] for line in out.splitlines()] == ["digits@1", "digits@2"]
    _, out, _ = run("models --json")
    assert [m["version"] for m in json.loads(out)] == ["1", "2"]
    _, out, _ = run("info")
    assert "occlusion (revision 1)" in out
    _, out, _ = run("info --json")
    assert json.loads(out)["methods"] == {"occlusion": 1}
    _, out, _ = run("predict digits --input 7.npy --out p.npz")
    assert out.splitlines()[1] == "  instance 0: 1 'b': 2, 0 'a': 0.5, 2 'c': -1"
    with np.load("p.npz") as saved:
        assert saved["logits"].shape == (1, 3)
    _, out, _ = run("predict digits --input 7.npy --json")
    assert json.loads(out)["logits"]["values"] == [[0.5, 2.0, -1.0]]


def test_the_servers_refusal_is_one_line(run, server):
    status = status_pb2.Status(code=3, message="the window is longer than its axis")
    violation = error_details_pb2.BadRequest.FieldViolation(field="window", description="9 is longer than its\naxis, 8")
    status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    server.status = status
    server.trailers = (("grpc-status-details-bin", status.SerializeToString()), ("x-request-id", "r7"))
    code, out, err = run(EXPLAIN)
    assert (code, out) == (1, "")
    assert err == "assay: invalid argument: window: 9 is longer than its axis, 8 (request id r7)\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("explain occlusion digits --input none.npy --window 4", "assay: none.npy: No such file or directory"),
        ("upload none.onnx --name digits", "assay: none.onnx: No such file or directory"),
        ("explain occlusion digits --input x=7.npy --window 4", "assay: invalid argument: input: 'x=7.npy' names none"),
        (f"{EXPLAIN} --target-scale log", "assay: invalid argument: target-scale: needs a --target"),
        (f"{EXPLAIN} --key k.pem", "assay: invalid argument: tls: cert and key come together"),
        (f"{EXPLAIN} --out no/folder/map.npy", "assay: no/folder/map.npy: No such file or directory"),
        (
            "models --server 127.0.0.1:1",
            "assay: unavailable: no server answers at 127.0.0.1:1: it refuses connections; --server HOST:PORT or ASSAY",
        ),
        ("explain occlusion digits --input 7.npy", "assay: invalid argument: window: occlusion takes either --window"),
        (f"{EXPLAIN} --features elements", "assay: invalid argument: window: occlusion takes either --window"),
        ("compare occlusion a b --input 7.npy", "assay: invalid argument: window: occlusion takes either --window"),
    ],
)
def test_every_failure_is_one_line_and_status_1(run, line, said):
    status, out, err = run(line)
    assert (status, out) == (1, "")
    assert err.startswith(said)
    assert err.count("\n") == 1


@pytest.mark.parametrize("line", ["", "explain", "explain magic digits", "upload m.onnx", "models --nope"])
def test_usage_errors_are_status_2(line, capsys):
    with pytest.raises(SystemExit) as done:
        main(line.split())
    assert done.value.code == 2
    hint, said = capsys.readouterr().err.splitlines()
    assert hint.startswith("usage: assay")
    assert "--help lists what it takes" in hint
    assert "error: " in said


@pytest.mark.parametrize("flags", ["--sampling quartile=missing.npy", "--features foo"])
def test_a_mistyped_flag_of_a_command_with_many_is_told_in_two_lines(flags, capsys):
    with pytest.raises(SystemExit):
        main(f"explain lime digits --input 7.npy {flags}".split())
    hint, said = capsys.readouterr().err.splitlines()
    assert hint == "usage: assay explain lime …  (assay explain lime --help lists what it takes)"
    assert said.startswith(f"assay explain lime: error: argument {flags.split()[0]}: ")
    assert "[Errno" not in said


def test_a_server_that_says_why_it_is_unavailable_is_quoted():
    known = Unavailable("failed to connect to its device", reason="NO_DEVICE")
    assert told(known, "a:1") == "failed to connect to its device"
    assert told(Unavailable("failed to connect to all addresses"), "a:1").startswith("no server answers at a:1; ")


def test_a_handshake_that_failed_keeps_its_own_words(run, server):
    _, _, err = run("models --tls --ca 7.npy")
    assert "no server answers" not in err
    assert "unavailable: " in err


def test_bars_hold_the_values_of_x(run, server, monkeypatch):
    drawn = []
    monkeypatch.setattr("assay.bars.save_bars", lambda path, reasons, title: drawn.extend(reasons))
    server.model.spec.inputs[0].layout = 5
    result = occluded(0)
    del result.windows[:]
    result.features.extend(explain_pb2.FeatureInfo(id=n, name=f"image[0,{n},0]", elements=1) for n in range(4))
    server.results = [result]
    assert run(f"{EXPLAIN} --png o.png")[0] == 0
    assert [(r.name, r.x_value) for r in drawn] == [("image[0,0,0]", 1.0), ("image[0,3,0]", 0.0)]


def test_without_an_image_the_picture_is_of_bars(run, server):
    server.model.spec.inputs[0].layout = 4
    assert run(f"{EXPLAIN} --png o.png")[0] == 0
    with Image.open("o.png") as picture:
        assert picture.width >= 200


def test_a_picture_of_nothing_is_refused_and_the_rest_is_there(run, server):
    server.model.spec.inputs[0].layout = 4
    server.results = [explain_pb2.InstanceResult(targets=[explain_pb2.ResolvedTarget(output="p", scale=1)])]
    status, out, err = run(f"{EXPLAIN} --png o.png --out o.npz")
    assert status == 1
    assert "png: there is nothing to draw" in err
    assert "instance 0: p" in out
    assert Path("o.npz").exists()


def test_a_file_that_cant_be_written_leaves_the_picture_and_the_text(run, server):
    result = occluded(0)
    result.maps["mask"].CopyFrom(to_tensor(np.zeros((1, 2), np.float32)))
    server.results = [result]
    status, out, err = run(f"{EXPLAIN} --out map.npy --png o.png")
    assert status == 1
    assert "out: there are 2 arrays" in err
    assert "instance 0 (k0): logits[0]" in out
    assert Path("o.png").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"{EXPLAIN} --png no/folder/o.png", "no/folder/o.png: No such file or directory"),
        (f"{EXPLAIN} --png .", ".: Is a directory"),
        (f"{EXPLAIN} --out no/folder/map.npy", "no/folder/map.npy: No such file or directory"),
        ("predict digits --input 7.npy --out no/folder/p.npz", "no/folder/p.npz: No such file or directory"),
        (
            "explain rows digits --input 7.npy --keep 7.npy --png o.png",
            "invalid argument: png: there is nothing to draw",
        ),
    ],
)
def test_what_cant_be_written_is_refused_before_anything_is_asked(run, server, line, said):
    status, out, err = run(line)
    assert (status, out) == (1, "")
    assert err.startswith(f"assay: {said}")
    assert not server.seen


def test_values_of_x_stand_beside_features_of_one_element(run, server):
    server.model.spec.inputs[0].layout = 5
    server.results = [
        explain_pb2.InstanceResult(
            targets=[explain_pb2.ResolvedTarget(output="p")],
            feature_values=to_tensor(np.array([[0.5, -0.49, 0.3, 0.1, 0.0]])),
            feature_errors=to_tensor(np.array([[0.02, 0.02, 0.02, 0.02, 0.0]])),
            features=[
                explain_pb2.FeatureInfo(id=0, name="image[0,2,2]", elements=1),
                explain_pb2.FeatureInfo(id=1, name="image[0,2,3]", elements=1),
                explain_pb2.FeatureInfo(id=2, name="image[0,1,1]", elements=4),
                explain_pb2.FeatureInfo(id=3, name="image[0,9,9]", elements=1),
                explain_pb2.FeatureInfo(id=4, name="image[0,0,0]", elements=1),
            ],
        )
    ]
    _, out, _ = run("explain lime digits --input 7.npy --features elements --png bars.png")
    assert out.splitlines()[2:] == [
        "        +0.5 ± 0.02  image[0,2,2] = 1  (not separated from the next)",
        "       -0.49 ± 0.02  image[0,2,3] = 0",
        "        +0.3 ± 0.02  image[0,1,1]",
        "        +0.1 ± 0.02  image[0,9,9]",
        "          +0 ± 0  image[0,0,0] = 1",
    ]


def test_the_authorities_come_from_the_environment_and_a_flag_goes_before_it(run, monkeypatch):
    monkeypatch.setenv("ASSAY_CA", "nowhere.pem")
    assert "nowhere.pem" in run("info")[2]
    assert "here.pem" in run("info --ca here.pem")[2]


def test_the_token_comes_from_the_environment_and_is_never_shown(run, server, monkeypatch, capsys):
    monkeypatch.setenv("ASSAY_TOKEN", "secret")
    run("info")
    assert server.metadata[0]["authorization"] == "Bearer secret"
    run("info --token other")
    assert server.metadata[1]["authorization"] == "Bearer other"
    with pytest.raises(SystemExit):
        main(["info", "--help"])
    assert "secret" not in capsys.readouterr().out


def test_a_reader_that_leaves_is_no_error(server):
    command = [sys.executable, "-m", "assay", "info", "--server", server.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        error = process.stderr.read()
    assert (process.returncode, error) == (0, b"")
