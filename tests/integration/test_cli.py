"""The `assay` command against a real server, as the README has it."""

import json
import subprocess
import sys

import numpy as np
from PIL import Image

from tests.integration.conftest import DEMO


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
