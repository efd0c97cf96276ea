"""Settings that were decoded once are the same for everybody who sends the same, and for nobody else."""

import numpy as np
import pytest

from assay.v1.explain_service_pb2 import ExplainRequest
from assay.v1.tensor_pb2 import Tensor
from assayd.api.codec import memo as memo_module
from assayd.api.codec.memo import Memo
from assayd.api.codec.tensors import encode_tensor
from assayd.errors import InvalidRequest
from assayd.store.tensors import tensor_digest


def request(x=0.0, **more):
    message = ExplainRequest(**({"model": "m", "occlusion": {"features": {"elements": {}}}} | more))
    message.inputs["x"].CopyFrom(encode_tensor(np.full((1, 3), x, np.float32)))
    return message


def test_the_same_settings_with_other_instances_are_decoded_once():
    memo = Memo()
    first = memo.settings(request(0.0, keys=["a"], request_id="1"), "t", None)
    assert memo.settings(request(1.0, keys=["b"], request_id="2"), "t", None) is first
    for other in (request(seed=1), request(occlusion={"window": [{"sizes": [1]}]}), request(model="n")):
        assert memo.settings(other, "t", None) is not first
    assert memo.settings(request(), "another tenant", None) is not first


def test_tensors_stay_in_the_key():
    memo, decoded = Memo(), []
    for value in (1.0, 2.0, 1.0):
        message = request(occlusion={"features": {"elements": {}}, "baseline": [{"input": "x"}]})
        message.occlusion.baseline[0].tensor.CopyFrom(encode_tensor(np.full(3, value, np.float32)))
        decoded.append(memo.settings(message, "t", None))
    assert decoded[0] is decoded[2] is not decoded[1]
    assert [d.method.baseline.get("x").tensor[0] for d in decoded] == [1.0, 2.0, 1.0]


def test_a_stored_tensor_is_fetched_once_for_each_tenant():
    stored, fetched = np.ones((1, 1), bool), []

    def fetch(digest):
        fetched.append(digest)
        return stored

    message, memo = request(rows={"features": {"elements": {}}}), Memo()
    message.rows.keep.CopyFrom(Tensor(digest=tensor_digest(stored)))
    for tenant in "tt":
        memo.settings(message, tenant, fetch)
    once = len(fetched)
    memo.settings(message, "u", fetch)
    assert len(fetched) == 2 * once > 0


def test_what_is_wrong_stays_wrong():
    memo = Memo()
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="no method is set"):
            memo.settings(ExplainRequest(model="m"), "t", None)


def test_it_keeps_a_bounded_number_of_small_ones(monkeypatch):
    monkeypatch.setattr(memo_module, "_MOST", 2)
    memo = Memo()
    first = memo.settings(request(seed=1), "t", None)
    memo.settings(request(seed=2), "t", None)
    assert memo.settings(request(seed=1), "t", None) is first  # used last
    memo.settings(request(seed=3), "t", None)
    assert memo.settings(request(seed=1), "t", None) is first
    assert len(memo._known) == 2
    monkeypatch.setattr(memo_module, "_LARGEST_BYTES", 10)
    large = memo.settings(request(seed=4), "t", None)
    assert memo.settings(request(seed=4), "t", None) is not large


def test_it_knows_settings_by_their_bytes_and_by_tenant():
    memo = Memo()
    assert not memo.look_up(request(), "t").known
    memo.settings(request(0.0, keys=["a"]), "t", None)
    assert memo.look_up(request(1.0, keys=["b"]), "t").known
    assert not memo.look_up(request(), "u").known
    assert not memo.look_up(request(seed=1), "t").known
    from_the_future = ExplainRequest.FromString(request().SerializeToString() + b"\xf8\x7f\x01")  # field 2047
    assert not memo.look_up(from_the_future, "t").known


def test_large_requests_have_the_same_settings_as_small_ones():
    memo = Memo()
    small, large = request(), request()
    large.inputs["x"].CopyFrom(encode_tensor(np.zeros((5000, 3), np.float32)))
    assert memo.settings(large, "t", None) is memo.settings(small, "t", None)
