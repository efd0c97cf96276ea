"""What the command line shows and draws of a Jacobian."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.cli import main
from assay.tensors import to_tensor
from assay.v1 import explain_pb2, model_service_pb2

LINE = "explain jacobian digits --input 7.npy"


def by_image() -> explain_pb2.InstanceResult:
    """Of logits [3] by an image [1, 8, 8]: element k rises by k + 1 with pixel (k, k), and by -1 with (7, 0)."""
    values = np.zeros((3, 1, 8, 8), np.float32)
    for k in range(3):
        values[k, 0, k, k], values[k, 0, 7, 0] = k + 1, -1
    block = explain_pb2.JacobianBlock(
        output="logits", input="image", values=to_tensor(values), errors=to_tensor(np.full_like(values, 0.01))
    )
    return explain_pb2.InstanceResult(jacobian=[block], scores=to_tensor(np.array([5, 9, 7], np.float32)))


def of_table(model) -> list[explain_pb2.InstanceResult]:
    """Makes the model a table of three named columns; its Jacobian of logits [3]."""
    del model.inputs[:], model.spec.inputs[:]
    model.inputs.append(model_service_pb2.TensorInfo(name="x", dtype=1, shape=[3], batch_axis=0))
    model.spec.inputs.append(model_service_pb2.InputSpec(name="x", layout=5, feature_names=["age", "income", "debt"]))
    values = np.array([[1, -2, 0], [4, 3, 0.5], [0, 0, 0]], np.float32)
    errors = np.array([[0.1, 0.1, 0], [1, 1, 0.1], [0, 0, 0]], np.float32)
    block = explain_pb2.JacobianBlock(output="logits", input="x", values=to_tensor(values), errors=to_tensor(errors))
    named = [explain_pb2.FeatureInfo(id=n, name=name, elements=1) for n, name in enumerate(("age", "income", "debt"))]
    scores = to_tensor(np.array([0.5, 2, -1], np.float32))
    return [explain_pb2.InstanceResult(jacobian=[block], features=named, scores=scores)]


@pytest.fixture
def run(server, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASSAY_SERVER", server.address)
    np.save("7.npy", np.eye(8, dtype=np.float32)[None])
    np.save("row.npy", np.array([[25, 0.5, 1e6]], np.float32))
    server.results = [by_image()]

    def command(line):
        status = main(line.split())
        return (status, *capsys.readouterr())

    return command


@pytest.fixture
def titles(monkeypatch):
    """The titles of the pictures that are drawn."""
    from assay import bars, overlay

    found = []
    for module, name in ((bars, "save_bars"), (overlay, "save_overlay")):
        draw = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, draw=draw, **k: (found.append(k.get("title") or a[-1]), draw(*a, **k))
        )
    return found


def test_the_features_that_change_each_output_most(run, server):
    server.results = of_table(server.model)
    status, out, err = run("explain jacobian digits --input row.npy --top 2 --request-id r")
    assert (status, err) == (0, "")
    assert out.splitlines()[1:] == [
        "instance 0: derivatives of logits[1] 'b' = 2",
        "  x [3]   sum +7.5   max +4 at [0]   min +0.5 at [2]",
        "          +4 ± 1  age = 25  (not separated from the next)",
        "          +3 ± 1  income = 0.5",
        "instance 0: derivatives of logits[0] 'a' = 0.5",
        "  x [3]   sum -1   max +1 at [0]   min -2 at [1]",
        "          -2 ± 0.1  income = 0.5",
        "          +1 ± 0.1  age = 25",
        "instance 0: derivatives of logits[2] 'c' = -1",
        "  x [3]   sum +0   max +0 at [0]   min +0 at [0]",
        "  none but 0",
    ]


@pytest.mark.parametrize(
    ("which", "shown"), [("0", "[0] 'a'"), ("label=c", "[2] 'c'"), ("top=2", "[0] 'a'"), ("logits:", "[1] 'b'")]
)
def test_the_target_is_what_is_shown_and_isnt_sent(run, server, titles, which, shown):
    server.results = of_table(server.model)
    status, out, err = run(f"explain jacobian digits --input row.npy --target {which} --png bars.png")
    assert (status, err) == (0, "")
    score = {"a": "0.5", "b": "2", "c": "-1"}[shown[-2]]
    assert [line for line in out.splitlines() if "derivatives" in line] == [
        f"instance 0: derivatives of logits{shown} = {score}"
    ]
    assert not server.seen[-1].targets
    assert titles == [f"digits@1  instance 0  derivatives of logits{shown}"]


def test_of_many_outputs_a_few_are_shown(run, server):
    values = np.ones((50, 1, 8, 8), np.float32)
    scores = np.arange(50, dtype=np.float32)
    (block,) = by_image().jacobian
    block.values.CopyFrom(to_tensor(values))
    block.ClearField("errors")
    server.results = [explain_pb2.InstanceResult(jacobian=[block], scores=to_tensor(scores), errors_unknown=True)]
    _, out, _ = run(f"{LINE} --top 1")
    assert [line.partition(" = ")[2] for line in out.splitlines() if "derivatives" in line] == ["49", "48", "47"]
    assert out.splitlines()[-2:] == [
        "… and 47 more elements of the outputs, which --target shows",
        "  errors not estimated: how certain these numbers and their order are isn't known",
    ]


def test_json_has_the_derivatives(run, server):
    server.results = of_table(server.model)
    _, out, _ = run("explain jacobian digits --input row.npy --target 0 --json")
    (element,) = json.loads(out)["instances"][0]["derivatives"]
    assert (element["output"], element["index"], element["label"], element["score"]) == ("logits", [0], "a", 0.5)
    assert [(f["name"], f["value"], f["x_value"]) for f in element["features"]] == [
        ("income", -2.0, 0.5),
        ("age", 1.0, 25.0),
    ]


@pytest.mark.parametrize("layout", ["", "--layout NCHW"])
def test_over_an_image_one_map_of_the_largest_score(run, titles, layout):
    status, _, err = run(f"{LINE} --png map.png {layout}")
    assert (status, err) == (0, "")
    assert titles == ["digits@1  instance 0  derivatives of logits[1] 'b'"]
    with Image.open("map.png") as picture:
        assert picture.width > 256  # for its title
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    left = (pixels.shape[1] - 256) // 2
    squares = pixels[26 : 26 + 256, left : left + 256].reshape(8, 32, 8, 32, 3)[:, 16, :, 16]
    red, blue = squares[..., 0] - squares[..., 2] > 60, squares[..., 2] - squares[..., 0] > 60
    assert np.argwhere(red).tolist() == [[1, 1]]
    assert np.argwhere(blue).tolist() == [[7, 0]]


def test_of_a_table_bars_of_the_largest_score(run, server, titles):
    server.results = of_table(server.model)
    for layout in (5, 0):  # which nothing need say
        server.model.spec.inputs[0].layout = layout
        status, _, err = run("explain jacobian digits --input row.npy --png bars.png")
        assert (status, err) == (0, "")
    assert titles == ["digits@1  instance 0  derivatives of logits[1] 'b'"] * 2


def test_several_targets_are_several_pictures(run, titles):
    assert run(f"{LINE} --target 2 --target 0 --png map.png")[0] == 0
    assert [title[-3:] for title in titles] == ["'c'", "'a'"]
    assert sorted(path.name for path in Path().glob("*.png")) == ["map-0.png", "map-1.png"]


def test_the_derivatives_of_several_outputs(run, server, titles):
    server.model.outputs.add(name="mean", dtype=1, shape=[])
    (block,) = by_image().jacobian
    other = explain_pb2.JacobianBlock(output="mean", input="image", values=to_tensor(np.full((1, 8, 8), 2.0, "f")))
    scores = to_tensor(np.array([5, 9, 7, 1.5], np.float32))
    server.results = [explain_pb2.InstanceResult(jacobian=[block, other], scores=scores)]
    status, out, err = run(f"{LINE} --out all.npz --png map.png --top 1")
    assert (status, err) == (0, "")
    assert "instance 0: derivatives of mean = 1.5" in out
    assert [title.rpartition(" of ")[2] for title in titles] == ["logits[1] 'b'", "mean"]
    with np.load("all.npz") as saved:
        assert {name: saved[name].shape for name in saved} == {
            "logits/image": (1, 3, 1, 8, 8),
            "mean/image": (1, 1, 8, 8),
        }


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--target 3", "target: 3 is no place in logits [3]"),
        ("--target 0,1", "target: 0,1 is no place in logits [3]"),
        ("--target label=z", "target: logits has no label 'z'; it has a, b, c"),
        ("--target top=4", "target: logits has 3 elements, and none of rank 4"),
        ("--target codes:0", "target: 'codes' is none of the outputs that are differentiated: logits"),
        ("--outputs logits,mean --target 0", "target: the outputs logits, mean are differentiated: name one"),
        ("--outputs logits,mean --out a.npy", "out: the derivatives of several outputs (logits, mean) take a .npz"),
    ],
)
def test_a_target_that_isnt_there_is_refused_before_the_work(run, server, flags, said):
    status, out, err = run(f"{LINE} {flags}")
    assert (status, out) == (1, "")
    assert err.startswith(f"assay: invalid argument: {said}")
    assert len(server.seen) == 1  # for the model alone


def test_where_the_models_file_leaves_a_shape_open_the_answer_decides(run, server):
    server.model.outputs[0].shape[:] = [-1]
    status, out, _ = run(f"{LINE} --target 2")
    assert (status, "derivatives of logits[2] 'c' = 7" in out) == (0, True)
    status, _, err = run(f"{LINE} --target 3")
    assert (status, "3 is no place in logits [3]" in err) == (1, True)


def test_a_scale_of_targets_is_none_of_its_flags(capsys):
    with pytest.raises(SystemExit):
        main([*LINE.split(), "--target-scale", "log"])
    assert "unrecognized arguments: --target-scale" in capsys.readouterr().err
