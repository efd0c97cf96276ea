"""Every result carries the record of its decision."""

import hashlib
import json

import numpy as np
import rfc8785

import assay
from tests.models import zoo

X = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
METHOD = assay.Occlusion(features=assay.Elements(), baseline=np.linspace(0, 1, 8, dtype=np.float32))


def explain(client, **change):
    model = client.upload_model(zoo.mlp(), name="recorded", version="v1")
    arguments = {"inputs": {"x": X}, "method": METHOD, "target": 1, "keys": ["a", "b"], "request_id": "r-1"}
    return client.explain(model, **(arguments | change))


def test_it_is_canonical_and_its_digest_is_that_of_its_bytes(client):
    for record in explain(client).records:
        assert record.digest == "sha256:" + hashlib.sha256(record.json).hexdigest()
        assert rfc8785.dumps(json.loads(record.json)) == record.json


def test_it_holds_what_is_needed_to_run_it_again(client):
    ex = explain(client)
    said = ex.records[1].load()
    assert (said["request_id"], said["tenant"], said["key"]) == ("r-1", "default", "b")
    assert said["model"]["version"] == "v1"
    assert said["model"]["digest"] == "sha256:" + hashlib.sha256(zoo.mlp()).hexdigest()
    assert (said["method"]["name"], said["method"]["revision"]) == ("occlusion", 1)
    assert said["method"]["parameters"]["features"] == {"kind": "Elements"}
    assert said["targets"][0]["index"] == [1]
    assert said["inputs"] == {"x": client.put_tensor(X[1])}
    assert said["baselines"] == {"x": client.put_tensor(METHOD.baseline[None])}
    assert said["method"]["parameters"]["baseline"][""]["tensor"]["digest"] == client.put_tensor(METHOD.baseline)
    assert said["results"]["feature_values"] == client.put_tensor(ex.feature_values[1][None])
    assert said["scores"] == [float(ex.scores[1])]
    assert said["rows"] == {"asked": 10, "scored": 10, "run": 12}
    assert said["completion"] == "full"
    assert said["engine"]["reproducible"] is False
    assert said["engine"]["provider"] == "CPUExecutionProvider"
    assert said["engine"]["batching"]["batched"] is True
    assert {"numpy", "onnx", "python"} <= set(said["versions"])


def test_the_same_request_differs_in_its_time_alone(client):
    first, second = (explain(client).records[0].load() for _ in range(2))
    first.pop("time"), second.pop("time")
    assert first == second
    other = explain(client, inputs={"x": X + 1}).records[0].load()
    assert other["inputs"] != first["inputs"]
    assert other["results"] != first["results"]
