"""The domain's values to answers."""

from dataclasses import replace

import numpy as np
import pytest

from assay.v1 import explain_pb2, model_service_pb2, tensor_pb2
from assayd.api.codec.models import check_spec, decode_spec, encode_model, encode_version
from assayd.api.codec.responses import encode_explained, encode_instance, encode_predicted, encode_summary
from assayd.api.codec.tensors import decode_tensor
from assayd.api.status import to_status
from assayd.engine.backend import LoadedModel
from assayd.errors import InvalidRequest, ModelFailed
from assayd.explain.outcome import Explained, InstanceExplained, InstanceFailed, Notice, Predicted, Used
from assayd.explain.targets import ResolvedTarget
from assayd.scheduler.work import JobUsage
from assayd.types.model import Batching, ModelSpec, ModelVersion, Signature, TensorSignature
from assayd.types.request import Constant, Group, Member
from assayd.types.result import Attribution, WindowGrid
from assayd.types.subject import Segments

TARGET = ResolvedTarget("y", (1, 2), "cat", 3, "", "logit")
VERSION = ModelVersion("m", "7", "sha256:aa", "sha256:bb", 12, 1700000000.25)
SIGNATURE = Signature(
    (TensorSignature("x", np.dtype(np.float32), (3, None)), TensorSignature("t", None, (), None)),
    (TensorSignature("y", np.dtype(object), None, 1, class_labels=("file",)),),
)


def array(tensor):
    return decode_tensor(tensor, "", None)


def explained(attribution=None, **kind):
    given = {
        "key": "k", "position": 4, "targets": (TARGET,), "attribution": attribution or Attribution(), "segments": None,
        "x_scores": np.array([1.5]), "baseline_scores": np.array([[0.25], [0.5]]), "dtype": np.dtype(np.float32),
        "alone_difference": None, "rows_asked": 5, "rows_scored": 5, "rows_run": 6,
    }  # fmt: skip
    return InstanceExplained(**(given | kind))


def encoded(result, shapes=None, element_maps=True):
    return encode_instance(result, shapes or {"x": (2, 2)}, element_maps, to_status)


def test_an_instance_with_all_there_can_be():
    ones, twos = np.ones((1, 3)), np.full((1, 3), 2.0)
    maps = {"x": np.full((1, 2, 2), 3.0)}
    made = Attribution(
        ones, twos, maps, {"x": maps["x"] + 1}, (WindowGrid("x", 0, (2,), (1,), (4,), (3,)),), ones, ones
    )
    notice = Notice("BASELINE_EQUALS_INPUT", "same")
    got = encoded(explained(made, alone_difference=1e-7, notices=(notice,), record=b"{}"))
    assert (got.key, got.position, got.status.code, got.completion) == ("k", 4, 0, explain_pb2.COMPLETION_FULL)
    (target,) = got.targets
    assert (target.output, list(target.index), target.label, target.top_rank) == ("y", [1, 2], "cat", 3)
    assert target.scale == explain_pb2.SCALE_LOGIT
    assert array(got.scores).tolist() == [1.5]
    assert array(got.baseline_scores).tolist() == [[0.25, 0.5]]
    for tensor, value in (
        (got.feature_values, 1),
        (got.feature_errors, 2),
        (got.maps["x"], 3),
        (got.map_errors["x"], 4),
    ):
        assert tensor.dtype == tensor_pb2.DATA_TYPE_FLOAT
        assert (array(tensor) == value).all()
    assert array(got.rows.scores).tolist() == array(got.rows.keep).tolist() == [[1, 1, 1]]
    (grid,) = got.windows
    assert (grid.input, grid.first_feature, list(grid.grid), list(grid.axes)) == ("x", 0, [2], [1])
    assert (list(grid.window), list(grid.stride)) == ([4], [3])
    assert (got.diagnostics.rows_asked, got.diagnostics.rows_run) == (5, 6)
    assert got.diagnostics.alone_difference == pytest.approx(1e-7)
    assert (got.warnings[0].code, got.warnings[0].message) == (explain_pb2.WARNING_CODE_BASELINE_EQUALS_INPUT, "same")


def test_what_an_instance_has_not_is_absent_and_not_empty():
    got = encoded(explained(baseline_scores=np.empty((0, 1))))
    for name in ("feature_values", "feature_errors", "baseline_scores", "rows"):
        assert not got.HasField(name)
    assert not got.maps
    assert not got.features
    assert not got.diagnostics.HasField("alone_difference")


def test_maps_are_left_out_where_they_are_not_wanted():
    made = Attribution(np.ones((1, 4)), maps={"x": np.ones((1, 2, 2))}, map_errors={"x": np.ones((1, 2, 2))})
    got = encoded(explained(made), element_maps=False)
    assert not got.maps
    assert not got.map_errors
    assert got.HasField("feature_values")


def test_numbers_are_as_wide_as_the_models_output():
    got = encoded(explained(Attribution(np.ones((1, 4))), dtype=np.dtype(np.float64)))
    assert {got.scores.dtype, got.feature_values.dtype, got.baseline_scores.dtype} == {tensor_pb2.DATA_TYPE_DOUBLE}


def test_features_have_names_and_sizes_where_axes_that_do_not_vary_count_in_full():
    ids = {"x": np.array([[0], [1]], np.int32), "z": np.array([1, -1, 1], np.int32)}
    got = encoded(explained(segments=Segments(ids, 2, ("a", "b"))), {"x": (2, 5), "z": (3,)})
    assert [(f.id, f.name, f.elements) for f in got.features] == [(0, "a", 5), (1, "b", 5 + 2)]
    assert not encoded(explained(segments=Segments(ids, 2, ()))).features


def test_an_instance_that_failed_has_a_status_and_nothing_else():
    got = encoded(InstanceFailed("k", 2, ModelFailed("no", field="inputs")))
    assert (got.key, got.position, got.status.code, got.status.message) == ("k", 2, 9, "inputs: no")
    assert not got.targets
    assert got.completion == explain_pb2.COMPLETION_UNSPECIFIED


USED = Used(JobUsage(1, 2, 3, 4, 5.0, 6.0), 7, 8.0, 9.0)


def test_usage_and_notices_of_a_request():
    got = encode_explained(Explained(None, [], USED, (Notice("ROW_BY_ROW", "why"),)), VERSION, "r-1")
    assert (got.request_id, got.model.name, got.model.version) == ("r-1", "m", "7")
    u = got.usage
    assert (u.rows_asked, u.rows_run, u.batches, u.shared_batches) == (7, 2, 3, 4)
    assert (u.plan_seconds, u.queue_seconds, u.compute_seconds, u.reduce_seconds) == (8, 5, 6, 9)
    assert got.warnings[0].code == explain_pb2.WARNING_CODE_ROW_BY_ROW
    assert got.completion == explain_pb2.COMPLETION_FULL
    assert not got.HasField("estimate")


@pytest.mark.parametrize("seconds", [None, 1.5])
def test_an_estimate_stands_in_place_of_a_completion(seconds):
    got = encode_explained(Explained(None, [], USED, (), estimated_rows=40, estimated_seconds=seconds), VERSION, "r")
    assert got.estimate.rows == 40
    assert got.estimate.HasField("device_seconds") is (seconds is not None)
    assert got.completion == explain_pb2.COMPLETION_UNSPECIFIED


def test_a_prediction_keeps_the_models_dtypes():
    outputs = {"y": np.ones((2, 3), np.float16), "label": np.array(["a", "b"], dtype=object)}
    got = encode_predicted(Predicted(None, outputs, USED), VERSION, "r")
    assert {name: array(t).dtype for name, t in got.outputs.items()} == {"y": np.float16, "label": object}


def test_a_model_with_what_loading_told():
    loaded = LoadedModel("sha256:aa", SIGNATURE, Batching(False, "because", 1), "CPU", 12, 0.1)
    spec = model_service_pb2.ModelSpec(outputs=[{"name": "y", "class_labels": ["spec"]}])
    got = encode_model(VERSION, loaded, spec, ModelSpec(class_labels={"y": ("spec",)}))
    assert got.create_time.ToNanoseconds() == pytest.approx(1700000000250000000, abs=1000)
    x, t = got.inputs
    assert (x.name, x.dtype, list(x.shape), x.batch_axis) == ("x", tensor_pb2.DATA_TYPE_FLOAT, [3, -1], 0)
    assert (t.dtype, list(t.shape), t.HasField("batch_axis")) == (tensor_pb2.DATA_TYPE_BFLOAT16, [], False)
    (y,) = got.outputs
    assert (y.dtype, y.batch_axis, list(y.class_labels)) == (tensor_pb2.DATA_TYPE_STRING, 1, ["spec"])
    assert (got.batching.mode, got.batching.reason) == (model_service_pb2.BATCHING_MODE_ROW_BY_ROW, "because")
    assert got.spec == spec
    assert not encode_version(ModelVersion("", "", "sha256:aa", "", 1, 0.0)).HasField("create_time")


def spec_of(**kind):
    return model_service_pb2.ModelSpec(**kind)


def test_a_spec_as_the_domain_sees_it():
    spec = spec_of(
        inputs=[
            {"name": "x", "layout": "LAYOUT_NTC", "feature_names": ["a"], "baseline": {"constant": 2}},
            {"name": "t"},
        ],
        outputs=[{"name": "y", "class_labels": ["p", "q"]}, {"name": "z"}],
        groups=[{"name": "g", "members": [{"input": "x", "index": 1}]}],
    )
    got = decode_spec(spec, None)
    assert (got.inputs["x"].layout, got.inputs["x"].feature_names) == ("NTC", ("a",))
    assert got.inputs["x"].baseline == Constant(2.0)
    assert (got.inputs["t"].layout, got.inputs["t"].baseline) == (None, None)
    assert got.class_labels == {"y": ("p", "q")}
    assert got.groups == (Group("g", (Member("x", 1),)),)


FIXED = Signature(
    (TensorSignature("x", np.dtype(np.float32), (2, 3)),), (TensorSignature("y", np.dtype(np.float32), (4,)),)
)


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ({"inputs": [{"name": "x"}, {"name": "x"}]}, "inputs[1].name"),
        ({"outputs": [{"name": "y"}, {"name": "y"}]}, "outputs[1].name"),
        ({"inputs": [{"name": "z"}]}, "inputs[0].name"),
        ({"outputs": [{"name": "z"}]}, "outputs[0].name"),
        ({"inputs": [{"name": "x", "layout": "LAYOUT_NCHW"}]}, "inputs[0].layout"),
        ({"inputs": [{"name": "x", "feature_names": ["a"]}]}, "inputs[0].feature_names"),
        ({"outputs": [{"name": "y", "class_labels": ["a"]}]}, "outputs[0].class_labels"),
        ({"inputs": [{"name": "x", "baseline": {"input": "z"}}]}, "inputs[0].baseline.input"),
        ({"groups": [{"name": "g"}, {"name": "g"}]}, "groups[1].name"),
        ({"groups": [{"name": "g", "members": [{"input": "z", "index": 0}]}]}, "groups[0].members[0]"),
        ({"groups": [{"name": "g", "members": [{"input": "x", "index": 10**9}]}]}, "groups[0].members[0]"),
        ({"groups": [{"name": "g", "members": [{"input": "x", "name": "z"}]}]}, "groups[0].members[0]"),
    ],
)
def test_a_spec_that_speaks_of_another_model_is_refused(kind, field):
    def check(spec):
        decode_spec(spec, None)
        check_spec(spec, FIXED)

    with pytest.raises(InvalidRequest) as got:
        check(spec_of(**kind))
    assert got.value.field == field


def test_a_spec_that_fits_passes():
    names = [str(n) for n in range(6)]
    entry = {"name": "x", "layout": "LAYOUT_NTC", "feature_names": names, "baseline": {"input": "x", "constant": 1}}
    check_spec(spec_of(inputs=[entry], outputs=[{"name": "y", "class_labels": names[:4]}]), FIXED)
    check_spec(spec_of(inputs=[{"name": "x", "feature_names": names[:2]}]), SIGNATURE)


def test_a_summary_adds_up_its_parts():
    parts = [
        Explained(None, [], replace(USED, rows_asked=n), (Notice("ROW_BY_ROW", "why"),), partial=n == 2) for n in (1, 2)
    ]
    got = encode_summary(parts, USED.usage, VERSION, "r")
    assert (got.usage.rows_asked, len(got.warnings), got.completion) == (3, 1, explain_pb2.COMPLETION_PARTIAL)
    assert not got.HasField("estimate")
    estimates = [Explained(None, [], USED, (), estimated_rows=n, estimated_seconds=0.5) for n in (4, 5)]
    got = encode_summary(estimates, USED.usage, VERSION, "r")
    assert (got.estimate.rows, got.estimate.device_seconds, got.completion) == (9, 1.0, 0)


COLUMNS = Signature(
    tuple(
        TensorSignature(name, np.dtype(np.float32), shape) for name, shape in (("age", (1,)), ("city", ()), ("z", (2,)))
    ),
    FIXED.outputs,
)


def test_a_member_by_name_needs_no_input_where_one_alone_has_that_name():
    spec = lambda **member: spec_of(  # noqa: E731
        inputs=[{"name": "z", "feature_names": ["a", "age"]}], groups=[{"name": "g", "members": [member]}]
    )
    for member in ({"name": "city"}, {"name": "a"}, {"input": "age", "name": "age"}, {"input": "z", "name": "age"}):
        check_spec(spec(**member), COLUMNS)
    for member in ({"name": "age"}, {"name": "b"}, {"input": "age", "name": "a"}):
        with pytest.raises(InvalidRequest) as got:
            check_spec(spec(**member), COLUMNS)
        assert got.value.field == "groups[0].members[0]"
