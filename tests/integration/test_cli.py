"""The `assay` command against a real server, as the README has it."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import assay
from tests.integration.conftest import DEMO
from tests.models import zoo


def assay_command(server, *arguments, check=True):
    done = subprocess.run(
        [sys.executable, "-m", "assay", *arguments, "--server", server.address],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def test_upload_list_explain_and_look(server, tmp_path, digits):
    file = tmp_path / "7.npy"
    np.save(file, digits["images"][7])
    spec = DEMO / "models" / "digits" / "1" / "spec.json"
    model = DEMO / "models" / "digits" / "1" / "model.onnx"
    uploaded = assay_command(server, "upload", str(model), "--name", "cli-digits", "--spec", str(spec))
    assert "cli-digits" in uploaded.stdout
    assert "cli-digits" in assay_command(server, "models").stdout
    done = assay_command(
        server,
        "explain",
        "occlusion",
        "cli-digits",
        *("--input", f"image={file}", "--window", "8,8", "--stride", "4,4"),
        *("--out", str(tmp_path / "map.npy"), "--png", str(tmp_path / "overlay.png"), "--json"),
    )
    said = json.loads(done.stdout)
    assert said["instances"][0]["targets"][0]["label"] == str(digits["labels"][7])
    found = np.load(tmp_path / "map.npy")
    assert found.shape[-2:] == (64, 64)
    y0, x0, y1, x1 = digits["boxes"][7]
    plane = np.maximum(found.reshape(64, 64), 0)
    assert plane[y0:y1, x0:x1].sum() > 0.6 * plane.sum()
    with Image.open(tmp_path / "overlay.png") as picture:
        assert picture.width >= 256


def test_an_error_is_one_clean_line(server, tmp_path, digits):
    file = tmp_path / "7.npy"
    np.save(file, digits["images"][7])
    done = assay_command(
        server,
        *("explain", "occlusion", "digits", "--input", f"image={file}", "--window", "99,99"),
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "occlusion.window" in line
    assert "request id" in line


@pytest.mark.parametrize("kind", ["quartile", "gaussian"])
def test_lime_on_a_table_as_it_is(server, client, tmp_path, kind):
    client.upload_model(zoo.strict_columns(), name="cli-columns", version="1")
    rng = np.random.default_rng(0)
    table = {
        "id": [f"c-{n}" for n in range(60)],
        "age": rng.integers(18, 80, 60),
        "income": rng.normal(size=60).astype(np.float32),
        "city": rng.choice(["Bern", "Oslo", "Rome"], 60),
        "job": rng.choice(["clerk", "nurse"], 60),
        "bought": rng.integers(0, 2, 60),
    }
    pq.write_table(pa.table(table), tmp_path / "t.parquet", row_group_size=16)
    rows = {name: np.asarray(table[name]) for name in ("age", "income", "city", "job")}
    done = assay_command(
        server,
        *("explain", "lime", "cli-columns", "--data", f"{tmp_path}/t.parquet[0:3]", "--key-column", "id"),
        *("--sampling", f"{kind}={tmp_path}/t.parquet", "--categorical", "age", "--seed", "3", "--target", "0"),
        *("--num-samples", "300", "--json"),
    )
    statistics = assay.QuartileTable if kind == "quartile" else assay.GaussianTable
    ex = client.explain(
        "cli-columns",
        {name: column[:3, None] for name, column in rows.items()},
        assay.Lime(300, sampling=statistics.fit(rows, categorical=["age"])),
        0,
        keys=table["id"][:3],
        seed=3,
    )
    found = json.loads(done.stdout)["instances"]
    assert {feature["name"] for feature in found[0]["features"]} == set(rows)
    np.testing.assert_allclose([i["feature_values"] for i in found], ex.feature_values, atol=1e-6)


def test_errors_that_nobody_estimated_are_told(server, client, tmp_path, cancer):
    np.save(tmp_path / "x.npy", cancer["X"][:1])
    line = ["explain", "lime", "cancer-mlp", "--input", f"{tmp_path}/x.npy", "--features", "elements"]
    line += ["--surrogate", "lasso", "--alpha", "0.001", "--num-samples", "200"]
    said = "errors not estimated"
    assert said in assay_command(server, *line).stdout
    assert said not in assay_command(server, *line, "--bootstrap", "5").stdout
    method = assay.Lime(200, features=assay.Elements(), surrogate="lasso", alpha=0.001)
    ex = client.explain("cancer-mlp", cancer["X"][:1], method)
    assert ex.errors_unknown
    assert all(r.tied and not r.error_known for r in ex.top_reasons(3))
    jacobian = client.explain("cancer-mlp", cancer["X"][:1], assay.Jacobian(error_estimate=False))
    assert jacobian.errors_unknown
    assert not client.explain("cancer-mlp", cancer["X"][:1], assay.Jacobian()).errors_unknown


def test_a_jacobian_of_a_table_and_of_an_image(server, tmp_path, cancer, digits):
    np.save(tmp_path / "x.npy", cancer["X"][1:2])
    line = ["explain", "jacobian", "cancer-mlp", "--input", f"{tmp_path}/x.npy", "--target", "label=benign"]
    said = assay_command(server, *line, "--top", "3", "--png", f"{tmp_path}/bars.png").stdout.splitlines()
    assert "derivatives of output_probability[1] 'benign'" in said[1]
    assert len(said) == 6
    names = {str(name) for name in cancer["feature_names"]}
    assert all(one.split("  ")[-1].partition(" = ")[0] in names for one in said[3:] if "not separated" not in one)
    assert all(" ± " in one and " = " in one for one in said[3:])
    np.save(tmp_path / "7.npy", digits["images"][7])
    line = ["explain", "jacobian", "digits", "--input", f"{tmp_path}/7.npy", "--features", "grid:2,2"]
    said = assay_command(server, *line, "--png", f"{tmp_path}/grid.png").stdout
    assert f"derivatives of logits[{digits['labels'][7]}]" in said.splitlines()[1]
    for name in ("bars.png", "grid.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width >= 380


def test_training_rows_that_lack_columns_are_refused(server, tmp_path, cancer):
    np.save(tmp_path / "x.npy", cancer["X"][:1])
    np.save(tmp_path / "t.npy", cancer["X"][:, :7])
    line = ["explain", "lime", "cancer-mlp", "--input", f"{tmp_path}/x.npy", "--sampling", f"quartile={tmp_path}/t.npy"]
    done = assay_command(server, *line, check=False)
    assert done.returncode == 1
    assert "sampling: " in done.stderr
    assert "has 7 columns for input 'X', which has 30 elements" in done.stderr
