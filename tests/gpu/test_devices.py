"""On a machine with several GPUs: a large call runs on all of them, and a reproducible one on one."""

import json

import numpy as np
import pytest

import assay
from assayd.engine.options import visible_gpus
from tests.gpu.models import network
from tests.integration.server import ServerProcess
from tests.models.light import images

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(visible_gpus() < 2, reason="NOT RUN: fewer than two GPUs on this machine"),
]
ALL = {f"cuda:{n}" for n in range(visible_gpus())}


def devices(explanation):
    engines = [json.loads(instance.record.json)["engine"] for instance in explanation.instances]
    return {name for engine in engines for name in engine["devices"]}


def test_a_large_call_runs_on_all_gpus_with_the_scores_of_one(tmp_path):
    x, method = images(8), assay.Occlusion(window=(16, 16), stride=(4, 4))
    about = {"target": 3, "layout": "NCHW"}
    flags = ("--provider", "cuda", "--spread-after-s", "0.01")
    with ServerProcess(tmp_path / "one", *flags, "--devices", "0") as one, assay.Client(one.address) as client:
        client.upload_model(network()[0], name="net")
        want = client.explain("net", x, method, **about)
    assert devices(want) == {"cuda:0"}
    with ServerProcess(tmp_path / "all", *flags) as every, assay.Client(every.address) as client:
        client.upload_model(network()[0], name="net")
        made = client.explain("net", x, method, **about)
        for _ in range(20):  # until all have loaded it
            if devices(made) == ALL:
                break
            made = client.explain("net", x, method, **about)
        kept = client.explain("net", x[:1], method, **about, reproducible=True)
    assert devices(made) == ALL
    np.testing.assert_allclose(made.feature_values, want.feature_values, atol=1e-3 * np.abs(want.feature_values).max())
    assert len(devices(kept)) == 1
