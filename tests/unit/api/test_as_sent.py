"""Requests as records keep them."""

import numpy as np
from google.protobuf import json_format

from assay.v1.explain_service_pb2 import ExplainRequest
from assay.v1.tensor_pb2 import Tensor
from assayd.api.codec.as_sent import own_targets, said, without_instances
from assayd.api.codec.tensors import encode_tensor
from assayd.explain.request import AsSent
from assayd.store.tensors import tensor_digest

STORED = np.arange(3.0)


def as_sent(request, fetch):
    return AsSent(said(without_instances(request), fetch), own_targets(request, fetch))


def a_request():
    request = ExplainRequest(
        model="m", seed=2**63, keys=["a", "b"], request_id="r", reproducible=True, layouts=[{"input": "x"}],
        occlusion={"window": [{"sizes": [2, 3]}], "baseline": [{"input": "x"}, {"constant": 0.5}]},
        budget={"time": {"seconds": 1, "nanos": 5 * 10**8}},
    )  # fmt: skip
    request.inputs["x"].CopyFrom(encode_tensor(np.ones((2, 3), np.float32)))
    request.occlusion.baseline[0].tensor.CopyFrom(encode_tensor(np.arange(6, dtype=np.float32).reshape(2, 3)))
    for n in range(2):
        request.instance_targets.add(targets=[{"index": {"position": [n]}}, {"weights": encode_tensor(STORED)}])
    return request


def test_it_is_the_request_without_its_instances_and_with_tensors_by_digest():
    request = a_request()
    before = request.SerializeToString(deterministic=True)
    sent = as_sent(request, None)
    assert request.SerializeToString(deterministic=True) == before
    again = json_format.ParseDict(sent.of(1).value, ExplainRequest())
    assert set(sent.of(1).value) == {"model", "seed", "reproducible", "layouts", "occlusion", "budget", "targets"}
    assert again.seed == 2**63
    assert again.occlusion.window == request.occlusion.window
    given = again.occlusion.baseline[0].tensor
    whole = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert (given.digest, list(given.shape)) == (tensor_digest(whole), [2, 3])
    assert not given.data
    assert list(again.targets[0].index.position) == [1]
    assert again.targets[1].weights.digest == tensor_digest(STORED)


def test_stored_tensors_keep_the_digest_they_came_by():
    request = ExplainRequest()
    request.rows.keep.CopyFrom(Tensor(digest=tensor_digest(STORED)))
    sent = as_sent(request, lambda digest: STORED).of(0).value
    assert sent["rows"]["keep"] == {"dtype": "DATA_TYPE_DOUBLE", "shape": ["3"], "digest": tensor_digest(STORED)}
