"""Requests to the domain's values: instances, keys, targets, budgets, and what contradicts itself."""

from functools import partial

import numpy as np
import pytest

from assay.v1 import explain_pb2
from assay.v1.explain_service_pb2 import ExplainRequest, PredictRequest
from assayd.api.codec.memo import Memo
from assayd.api.codec.requests import (
    MAX_TARGETS,
    check_request_id,
    decode_caller,
    decode_explain,
    decode_predict,
)
from assayd.api.codec.tensors import encode_tensor
from assayd.errors import InvalidRequest, InvalidTensor
from assayd.explain.request import Budget
from assayd.scheduler.work import Caller
from assayd.types.model import ModelSpec, ModelVersion
from assayd.types.request import AtIndex, AtLabel, AtRank, TargetSpec, Weighted

VERSION = ModelVersion("m", "1", "sha256:m", "", 1, 0.0)


def decoded(*, instances=2, **kind):
    request = ExplainRequest(**({"model": "m", "occlusion": {}} | kind))
    if instances:
        request.inputs["x"].CopyFrom(encode_tensor(np.zeros((instances, 3), np.float32)))
    settings_of = partial(Memo().settings, request, "t")
    return decode_explain(request, Caller("t"), VERSION, ModelSpec(), 2.0, 12.0, settings_of, None)


def field_of(kind=InvalidRequest, **request):
    with pytest.raises(kind) as got:
        decoded(**request)
    return got.value.field


def test_what_is_not_set_has_its_default():
    got = decoded()
    assert got.targets == [got.targets[0]] * 2
    (target,) = got.targets[0]
    assert (target.output, target.element, target.scale) == (None, None, "raw")
    assert (got.keys, got.inputs_to_explain, got.budget, got.seed, got.deadline) == ((), (), Budget(), 0, 12.0)
    assert (got.reproducible, got.return_rows) == (False, False)
    assert (got.skip_failed, got.validate_only, got.layouts.values, got.instances) == (False, False, {}, 2)


def test_what_is_set_arrives():
    got = decoded(
        keys=["a", ""], inputs_to_explain=["x"], seed=5, validate_only=True, reproducible=True, return_rows=True,
        budget={"rows": 9, "time": {"seconds": 1, "nanos": 500_000_000}},
        on_instance_error="ON_INSTANCE_ERROR_SKIP", layouts=[{"input": "x", "layout": "LAYOUT_NF"}],
    )  # fmt: skip
    assert (got.keys, got.inputs_to_explain, got.budget, got.seed) == (("a", ""), ("x",), Budget(9, 3.5), 5)
    assert (got.reproducible, got.return_rows) == (True, True)
    assert (got.skip_failed, got.validate_only, got.layouts.values) == (True, True, {"x": "NF"})


def test_every_kind_of_target():
    weights = np.arange(3.0)
    (targets, _) = decoded(
        targets=[
            {"output": "y", "index": {"position": [1, 2]}, "scale": "SCALE_LOG"},
            {"label": "cat", "scale": "SCALE_RAW"},
            {"top_rank": 2},
            {"weights": encode_tensor(weights), "scale": "SCALE_LOGIT"},
            {"top_rank": 0},
        ]
    ).targets
    assert [(t.output, t.scale) for t in targets] == [
        ("y", "log"), (None, "raw"), (None, "raw"), (None, "logit"), (None, "raw"),
    ]  # fmt: skip
    assert [t.element for t in targets[:3]] == [AtIndex((1, 2)), AtLabel("cat"), AtRank(2)]
    assert isinstance(targets[3].element, Weighted)
    np.testing.assert_array_equal(targets[3].element.weights, weights)
    assert targets[4].element == AtRank(0)


def test_targets_for_each_instance():
    one, two = {"targets": [{"top_rank": 1}]}, {"targets": [{"top_rank": 2}]}
    got = decoded(instance_targets=[one, two])
    assert [[t.element.rank for t in targets] for targets in got.targets] == [[1], [2]]
    assert isinstance(got.targets[0][0], TargetSpec)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"instances": 0}, "inputs"),
        ({"keys": ["a"]}, "keys"),
        ({"keys": ["a", "ü" * 129]}, "keys[1]"),
        ({"budget": {"rows": 0}}, "budget.rows"),
        ({"budget": {"rows": -1}}, "budget.rows"),
        ({"budget": {"time": {}}}, "budget.time"),
        ({"budget": {"time": {"seconds": 90_000}}}, "budget.time"),
        ({"budget": {"time": {"nanos": 2**31 - 1}}}, "budget.time"),
        ({"budget": {"time": {"seconds": 2, "nanos": -1}}}, "budget.time"),
        ({"reproducible": True, "budget": {"time": {"seconds": 1}, "on_exhausted": 2}}, "budget.time"),
        ({"reproducible": True, "budget": {"rows": 9, "on_exhausted": 2}}, "budget.on_exhausted"),
        ({"targets": [{}], "instance_targets": [{}, {}]}, "targets"),
        ({"targets": [{}] * (MAX_TARGETS + 1)}, "targets"),
        ({"instance_targets": [{"targets": [{}]}]}, "instance_targets"),
        ({"instance_targets": [{"targets": [{}]}, {}]}, "instance_targets[1].targets"),
        ({"instance_targets": [{"targets": [{}]}, {"targets": [{}, {}]}]}, "instance_targets[1].targets"),
        ({"instance_targets": [{}, {}]}, "instance_targets[0].targets"),
        ({"layouts": [{"input": "x"}]}, "layouts[0].layout"),
        ({"layouts": [{"layout": "LAYOUT_NF"}] * 2}, "layouts[1].input"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(request_, field):
    assert field_of(**request_) == field


def test_one_instance_alone_may_be_cut_short_reproducibly():
    got = decoded(instances=1, reproducible=True, budget={"rows": 9, "on_exhausted": 2})
    assert got.budget == Budget(9, None, partial=True)


def test_tensors_name_the_input_or_target_they_stand_in():
    assert field_of(InvalidTensor, targets=[{}, {"weights": {"dtype": 1, "shape": [1]}}]) == "targets[1].weights.data"
    each = [{"targets": [{"weights": {}}]}] * 2
    assert field_of(InvalidTensor, instance_targets=each) == "instance_targets[0].targets[0].weights.dtype"
    request = PredictRequest()
    request.inputs["x" * 200].dtype = 1
    with pytest.raises(InvalidRequest) as got:
        decode_predict(request, Caller("t"), VERSION, None, None)
    assert got.value.field == f"inputs[{'x' * 80}].data"


@pytest.mark.parametrize("array", [np.zeros((), np.float32), np.zeros((0, 3), np.float32)])
def test_an_input_has_at_least_one_instance(array):
    request = PredictRequest(outputs=["y"])
    request.inputs["x"].CopyFrom(encode_tensor(array))
    with pytest.raises(InvalidRequest, match="at least one instance") as got:
        decode_predict(request, Caller("t"), VERSION, None, None)
    assert got.value.field == "inputs[x]"


def test_a_prediction_keeps_its_outputs():
    request = PredictRequest(outputs=["y", "z"])
    request.inputs["x"].CopyFrom(encode_tensor(np.zeros((2, 3), np.float32)))
    assert decode_predict(request, Caller("t"), VERSION, None, None).outputs == ("y", "z")


@pytest.mark.parametrize("given", ["", "a" * 128, "order 4711"])
def test_request_ids_that_may_stand_in_headers(given):
    check_request_id(given)


@pytest.mark.parametrize("given", ["a" * 129, "a\n", "ü", "\x00"])
def test_request_ids_that_may_not(given):
    with pytest.raises(InvalidRequest) as got:
        check_request_id(given)
    assert got.value.field == "request_id"


def test_priorities():
    every = {name: decode_caller("t", number).priority for name, number in explain_pb2.Priority.items()}
    assert every == {
        "PRIORITY_UNSPECIFIED": "normal", "PRIORITY_LOW": "low", "PRIORITY_NORMAL": "normal", "PRIORITY_HIGH": "high",
    }  # fmt: skip
