from __future__ import annotations

import hashlib

import numpy as np
import pytest
from google.rpc import status_pb2

from assay import DataLoss, FailedPrecondition, Feature, Internal, InvalidArgument, Lime, ResolvedTarget, WindowGrid
from assay.explanation import FEATURES
from assay.requests import explain_request
from assay.responses import Asked, StreamReader, read_explanation, read_instance
from assay.tensors import from_tensor, to_tensor
from assay.v1 import explain_pb2, explain_service_pb2, model_service_pb2
from tests.unit.client.fake_server import digits, occluded

IMAGE = Asked({"image": (3, 8, 8)})


def response(*results, **fields):
    return explain_service_pb2.ExplainResponse(request_id="r", model=digits(), results=results, **fields)


def test_maps_are_broadcast_to_the_input_and_a_lone_target_has_no_axis():
    ex = read_explanation(response(occluded(0), occluded(1, peak=3.0)), IMAGE)
    maps = ex.attributions["image"]
    assert maps.shape == (2, 3, 8, 8)
    assert maps.dtype == np.float32
    assert maps.flags.writeable
    assert (maps[:, :, :4, :4] == np.array([2.0, 3.0])[:, None, None, None]).all()
    assert ex.errors == {"image": None}
    np.testing.assert_array_equal(ex.feature_values, [[2, 0, 0, -1], [3, 0, 0, -1]])
    assert ex.feature_errors is None
    np.testing.assert_array_equal(ex.scores, [5, 5])
    np.testing.assert_array_equal(ex.baseline_scores, [[-1], [-1]])
    assert ex.windows == (WindowGrid("image", 0, (2, 2), (1, 2), (4, 4), (4, 4)),)
    assert ex.targets == ((ResolvedTarget("logits", (0,), "a"),),) * 2
    assert ex.statuses == (None, None)
    assert ex.rows == (None, None)
    assert [i.key for i in ex.instances] == ["k0", "k1"]
    assert ex.diagnostics[0].rows_run == 5
    assert ex.diagnostics[0].intercept is None


def test_errors_of_maps_are_broadcast_like_the_maps():
    result = occluded(0)
    result.map_errors["image"].CopyFrom(to_tensor(np.full((1, 1, 8, 8), 0.5, np.float32)))
    errors = read_explanation(response(result), IMAGE).errors["image"]
    np.testing.assert_array_equal(errors, np.full((1, 3, 8, 8), 0.5))


def test_a_list_of_targets_keeps_its_axis():
    for count in (1, 2):
        asked = Asked(IMAGE.shapes, target_axis=True)
        ex = read_explanation(response(occluded(0, targets=count)), asked)
        assert ex.attributions["image"].shape == (1, count, 3, 8, 8)
        assert ex.feature_values.shape == (1, count, 4)
        assert ex.scores.shape == (1, count)
        assert ex.baseline_scores.shape == (1, count, 1)


def test_maps_stay_as_they_came_where_the_shape_is_the_servers_alone():
    ex = read_explanation(response(occluded(0)), Asked({"image": None}))
    assert ex.attributions["image"].shape == (1, 1, 8, 8)


def test_a_skipped_instance_holds_nan_and_its_error():
    failed = explain_pb2.InstanceResult(position=1, status=status_pb2.Status(code=9, message="the model answers NaN"))
    ex = read_explanation(response(occluded(0), failed), IMAGE)
    assert ex.attributions["image"].shape == (2, 3, 8, 8)
    assert not np.isnan(ex.attributions["image"][0]).any()
    for array in (ex.attributions["image"], ex.feature_values, ex.scores, ex.baseline_scores):
        assert np.isnan(array[1]).all()
    assert ex.statuses[0] is None
    assert isinstance(ex.statuses[1], FailedPrecondition)
    assert ex.targets[1] == ()
    assert "1 failed" in repr(ex)
    assert "NaN" in repr(ex.instances[1])


def test_all_instances_may_fail():
    failed = explain_pb2.InstanceResult(status=status_pb2.Status(code=9, message="no"))
    ex = read_explanation(response(failed), IMAGE)
    assert ex.attributions == {}
    assert ex.feature_values is None
    assert ex.features == ()
    assert repr(ex)


def test_different_numbers_of_features_leave_nan_at_the_end():
    def cut(position, count):
        return explain_pb2.InstanceResult(
            position=position,
            feature_values=to_tensor(np.ones((1, count))),
            feature_errors=to_tensor(np.zeros((1, count))),
            features=[explain_pb2.FeatureInfo(id=f, name=f"s{f}", elements=2) for f in range(count)],
        )

    ex = read_explanation(response(cut(0, 2), cut(1, 3)), IMAGE)
    np.testing.assert_array_equal(ex.feature_values, [[1, 1, np.nan], [1, 1, 1]])
    np.testing.assert_array_equal(ex.feature_errors, [[0, 0, np.nan], [0, 0, 0]])
    assert ex.features == (Feature(0, "s0", 2), Feature(1, "s1", 2), Feature(2, "s2", 2))
    assert ex.instances[0].feature_values.shape == (2,)
    assert len(ex.instances[0].features) == 2


def jacobian(*blocks):
    return explain_pb2.InstanceResult(jacobian=[explain_pb2.JacobianBlock(**block) for block in blocks])


def test_a_jacobian_of_one_output_stands_in_attributions_too():
    values = np.arange(6.0).reshape(2, 3)
    block = {"output": "y", "input": "x", "values": to_tensor(values), "errors": to_tensor(values / 10)}
    ex = read_explanation(response(jacobian(block), jacobian(block)), Asked({"x": (3,)}))
    assert ex.jacobian["y"]["x"].shape == (2, 2, 3)
    np.testing.assert_array_equal(ex.attributions["x"], ex.jacobian["y"]["x"])
    np.testing.assert_array_equal(ex.errors["x"], ex.jacobian_errors["y"]["x"])


def test_jacobians_of_two_outputs_and_over_features():
    values = to_tensor(np.ones((2, 4)))
    result = jacobian({"output": "y", "values": values}, {"output": "z", "values": values})
    ex = read_explanation(response(result), Asked({"x": (3,)}))
    assert ex.jacobian["z"][FEATURES].shape == (1, 2, 4)
    assert ex.jacobian_errors["z"] == {FEATURES: None}
    assert ex.attributions == {}


def test_lime_diagnostics_and_rows():
    result = explain_pb2.InstanceResult(
        diagnostics=explain_pb2.Diagnostics(
            intercept=to_tensor(np.array([0.5])), r_squared=to_tensor(np.array([0.9])), alone_difference=0.0
        ),
        rows=explain_pb2.RowScores(scores=to_tensor(np.zeros((1, 7)))),
    )
    one = read_instance(result, Asked({}))
    assert float(one.diagnostics.intercept) == 0.5
    assert float(one.diagnostics.r_squared) == 0.9
    assert one.diagnostics.alone_difference == 0.0
    assert one.rows.keep is None
    assert one.rows.scores.shape == (7,)
    assert (one.rows.samples, one.rows.features, one.rows.steps) == ({}, None, None)


def test_rows_of_tables_and_of_nudges():
    table = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    rows = explain_pb2.RowScores(
        scores=to_tensor(np.zeros((1, 2))),
        samples={"x": to_tensor(table), "y": to_tensor(np.array(["a", "b"]))},
        features=to_tensor(np.array([0, 2], np.int32)),
        steps=to_tensor(np.array([0.5, -0.5])),
    )
    one = read_instance(explain_pb2.InstanceResult(rows=rows), Asked({})).rows
    np.testing.assert_array_equal(one.samples["x"], table)
    assert one.samples["y"].tolist() == ["a", "b"]
    assert (one.features.dtype, one.features.tolist()) == (np.int32, [0, 2])
    assert (one.steps.dtype, one.steps.tolist()) == (np.float64, [0.5, -0.5])


def test_rows_that_came_back_may_be_given_to_lime_again():
    keep, table = np.array([[True, False], [False, True]]), np.ones((2, 3), np.float32)
    message = explain_pb2.RowScores(keep=to_tensor(keep), samples={"x": to_tensor(table)})
    rows = read_instance(explain_pb2.InstanceResult(rows=message), Asked({})).rows
    inputs = {"x": np.zeros((1, 3), np.float32)}
    (masks,) = explain_request("m", inputs, Lime(samples=rows.keep)).lime.samples
    assert (masks.input, from_tensor(masks.tensor).tolist()) == ("", keep.tolist())
    (samples,) = explain_request("m", inputs, Lime(samples=rows.samples)).lime.samples
    assert (samples.input, from_tensor(samples.tensor).tolist()) == ("x", table.tolist())
    with pytest.raises(InvalidArgument, match="empty mapping"):  # of rows that were masks
        explain_request("m", inputs, Lime(samples={}))


def test_the_rest_of_a_response():
    warning = explain_pb2.Warning(code=1, message="rows run one by one")
    result = occluded(0)
    result.warnings.add(code=3, message="the baseline is the input")
    result.record.json, result.record.digest = b'{"a":1}', "sha256:x"
    message = response(result, warnings=[warning], completion=2, usage=explain_pb2.Usage(rows_run=5, batches=2))
    ex = read_explanation(message, IMAGE)
    assert [(w.code, w.instance) for w in ex.warnings] == [("row_by_row", None), ("baseline_equals_input", 0)]
    assert ex.completion == "partial"
    assert (ex.usage.rows_run, ex.usage.batches) == (5, 2)
    assert ex.record.load() == {"a": 1}
    assert ex.request_id == "r"
    assert ex.model.ref == "digits@1"
    assert ex.estimate is None
    assert repr(ex) == "<Explanation by digits@1: 1 instance; logits[0] 'a'; image (1, 3, 8, 8); 5 rows, partial>"


def test_targets_that_differ_between_instances_are_not_shown_as_one():
    other = occluded(1)
    other.targets[0].index[:] = [2]
    assert "logits[0] 'a', …;" in repr(read_explanation(response(occluded(0), other), IMAGE))


def test_an_estimate_is_all_there_is_after_validation():
    for seconds in (0.5, None):
        estimate = explain_service_pb2.Estimate(rows=100, device_seconds=seconds)
        ex = read_explanation(response(estimate=estimate), IMAGE)
        assert (ex.estimate.rows, ex.estimate.device_seconds) == (100, seconds)
        assert ex.attributions == {}
        assert ex.scores is None


def test_values_of_a_newer_server_are_shown_as_numbers():
    message = response(occluded(0), warnings=[explain_pb2.Warning(code=99, message="new")])
    assert read_explanation(message, IMAGE).warnings[0].code == "99"


def test_a_map_that_does_not_fit_the_input_is_refused():
    with pytest.raises(Internal, match="image"):
        read_explanation(response(occluded(0)), Asked({"image": (3, 9, 9)}))


def chunk(data, offset=0, size=None, digest=None):
    return explain_service_pb2.ExplainStreamResponse(
        chunk=explain_service_pb2.TensorChunk(
            digest=digest or f"sha256:{hashlib.sha256(b'abcdefgh').hexdigest()}",
            offset=offset,
            size_bytes=size or len(data),
            data=data,
        )
    )


def test_chunks_make_a_tensor_that_an_instance_refers_to():
    reader = StreamReader(Asked({"x": (8,)}))
    assert reader.feed(chunk(b"abc", 0, 8)) is None
    assert reader.feed(chunk(b"defgh", 3, 8)) is None
    tensor = to_tensor(np.zeros((1, 8), np.uint8))
    tensor.digest = chunk(b"").chunk.digest
    result = explain_pb2.InstanceResult(maps={"x": tensor})
    instance = reader.feed(explain_service_pb2.ExplainStreamResponse(instance=result))
    assert instance.attributions["x"].tobytes() == b"abcdefgh"
    assert reader.feed(explain_service_pb2.ExplainStreamResponse()) is None


def test_chunks_out_of_order_or_of_another_content_are_refused():
    with pytest.raises(Internal, match="starts at 3"):
        StreamReader(IMAGE).feed(chunk(b"defgh", 3, 8))
    with pytest.raises(DataLoss):
        StreamReader(IMAGE).feed(chunk(b"abcdefgX"))


def test_a_model_keeps_what_was_said_of_it():
    spec = model_service_pb2.ModelSpec(
        inputs=[{"name": "image", "layout": 1, "baseline": {"constant": 0.5}}],
        outputs=[{"name": "logits", "class_labels": ["a"]}],
        groups=[{"name": "g", "members": [{"index": 0}, {"input": "image", "name": "n"}], "kind": 3}],
    )
    message = digits()
    message.spec.CopyFrom(spec)
    model = read_explanation(explain_service_pb2.ExplainResponse(model=message), IMAGE).model
    assert model.spec.layouts == {"image": "NCHW"}
    assert model.spec.baselines == {"image": 0.5}
    assert model.spec.class_labels == {"logits": ("a",)}
    assert model.spec.groups[0].members == (0, ("image", "n"))
    assert model.inputs[0].dtype == "float32"
    assert model.inputs[0].shape == (1, 8, 8)
    assert model.batching.mode == "batched"
    assert model.created.isoformat() == "2023-11-14T22:13:20+00:00"


def test_unknown_errors_are_read():
    known, unknown = occluded(0), occluded(1)
    unknown.errors_unknown = True
    ex = read_explanation(response(known, unknown), IMAGE)
    assert [i.errors_unknown for i in ex.instances] == [False, True]
    assert ex.errors_unknown
    assert [r.error_known for r in ex.top_reasons(instance=1)] == [False, False]
