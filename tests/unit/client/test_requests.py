from __future__ import annotations

import dataclasses
import typing

import numpy as np
import pytest
from google.protobuf import text_format

import assay
from assay.methods import METHODS
from assay.requests import explain_request, instance_shape, predict_request
from assay.v1 import explain_pb2, explain_service_pb2

X = {"x": np.zeros((2, 3), np.float32)}
DIGEST = "sha256:" + "cd" * 32


def request(method, **settings):
    return explain_request("m", X, method, **settings)


def same(message, text):
    assert message == text_format.Parse(text, type(message)())


def test_every_method_of_the_contract_has_its_class_and_every_parameter_its_field():
    oneof = explain_service_pb2.ExplainRequest.DESCRIPTOR.oneofs_by_name["method"]
    assert [field.name for field in oneof.fields] == list(METHODS)
    for field in oneof.fields:
        names = {parameter.name for parameter in dataclasses.fields(METHODS[field.name])}
        assert names == {f.name for f in field.message_type.fields}


def test_choices_are_those_of_the_contract():
    enums = {
        "edge": explain_pb2.EdgeRule,
        "surrogate": explain_pb2.Surrogate,
        "scheme": explain_pb2.DifferenceScheme,
    }
    for kind in METHODS.values():
        for name, hint in typing.get_type_hints(kind).items():
            if name in enums:
                words = [value.split("_")[-1].lower() for value in enums[name].keys()[1:]]
                assert list(typing.get_args(hint)) == words


def test_a_whole_request():
    message = explain_request(
        "digits@2",
        {"x": np.ones((1, 1), np.float32), "y": DIGEST},
        assay.Occlusion(
            window=(8, 8), stride={"x": 4}, baseline={"x": 0.5, "y": assay.GaussianBlur(2.0)}, edge="valid"
        ),
        target=3,
        inputs_to_explain=["x"],
        keys=["a"],
        seed=7,
        layout={"x": "nchw"},
        request_id="r",
        priority="low",
        budget=assay.Budget(rows=100, time=1.5, on_exhausted="partial"),
        on_instance_error="skip",
        validate_only=True,
        reproducible=True,
        return_rows=True,
        element_maps=False,
        method_revision=2,
    )
    same(
        message,
        f"""
        model: "digits@2"
        inputs {{ key: "x" value {{ dtype: DATA_TYPE_FLOAT shape: [1, 1] data: "\\x00\\x00\\x80\\x3f" }} }}
        inputs {{ key: "y" value {{ digest: "{DIGEST}" }} }}
        occlusion {{
          window {{ sizes: [8, 8] }}
          stride {{ input: "x" sizes: 4 }}
          baseline {{ input: "x" constant: 0.5 }}
          baseline {{ input: "y" gaussian_blur {{ sigma: 2 }} }}
          edge: EDGE_RULE_VALID
        }}
        method_revision: 2
        targets {{ index {{ position: 3 }} scale: SCALE_RAW }}
        inputs_to_explain: "x"
        layouts {{ input: "x" layout: LAYOUT_NCHW }}
        keys: "a"
        seed: 7
        request_id: "r"
        priority: PRIORITY_LOW
        budget {{ rows: 100 time {{ seconds: 1 nanos: 500000000 }} on_exhausted: ON_BUDGET_PARTIAL }}
        on_instance_error: ON_INSTANCE_ERROR_SKIP
        validate_only: true
        reproducible: true
        return_rows: true
        element_maps: false
        """,
    )


def test_defaults_say_as_little_as_they_can():
    message = request(assay.Occlusion(window=2))
    assert not message.HasField("element_maps")
    assert not message.HasField("budget")
    assert not message.HasField("method_revision")
    assert len(message.occlusion.baseline) == 0  # the model's spec may say another than 0
    assert not message.targets


def test_a_method_without_parameters_is_still_the_method():
    assert request(assay.Lime(surrogate=None, alpha=None, bootstrap=None)).lime.ByteSize() == 0
    assert request(assay.Lime(surrogate=None, alpha=None, bootstrap=None)).WhichOneof("method") == "lime"
    assert request(assay.Lime()).WhichOneof("method") == "lime"
    assert request(assay.Jacobian()).WhichOneof("method") == "jacobian"


def test_lime():
    method = assay.Lime(
        num_samples=500,
        features=assay.Superpixels(40, compactness=5.0),
        baseline=assay.SegmentMean(),
        kernel_width=0.3,
        surrogate="tree",
        alpha=0.5,
        sampling="mask",
        samples={"x": np.ones((1, 1), bool)},
        until_error=0.01,
        bootstrap=20,
    )
    same(
        request(method).lime,
        """
        num_samples: 500
        features { superpixels { count: 40 compactness: 5 } }
        baseline { segment_mean {} }
        kernel_width: 0.3
        surrogate: SURROGATE_TREE
        alpha: 0.5
        sampling { mask {} }
        samples { input: "x" tensor { dtype: DATA_TYPE_BOOL shape: [1, 1] data: "\\001" } }
        until_error: 0.01
        bootstrap: 20
        """,
    )


def test_jacobian():
    method = assay.Jacobian(
        scheme="richardson",
        step={"x": 0.5},
        rel_step=np.float32(2),
        scale=1,
        outputs=["p", "q"],
        features=assay.Groups([assay.Group("g", [0, "age", ("y", 3)], kind="one_hot")]),
        bounds=(None, 1),
        error_estimate=False,
    )
    one = 'dtype: DATA_TYPE_DOUBLE data: "\\0\\0\\0\\0\\0\\0\\360\\077"'
    same(
        request(method).jacobian,
        f"""
        scheme: DIFFERENCE_SCHEME_RICHARDSON
        step {{ input: "x" value: 0.5 }}
        rel_step {{ value: 2 }}
        scale {{ tensor {{ {one} }} }}
        outputs: ["p", "q"]
        features {{ groups {{ groups {{
          name: "g" kind: GROUP_KIND_ONE_HOT
          members {{ index: 0 }} members {{ name: "age" }} members {{ input: "y" index: 3 }}
        }} }} }}
        bounds {{ upper {{ {one} }} }}
        error_estimate: false
        """,
    )


def test_rows():
    method = assay.Rows(np.array([[True, False]]), features=assay.Grid(1, 2), baseline=assay.MeanBaseline([-1]))
    same(
        request(method).rows,
        """
        keep { dtype: DATA_TYPE_BOOL shape: [1, 2] data: "\\x01\\x00" }
        features { grid { rows: 1 cols: 2 } }
        baseline { mean { axes: -1 } }
        """,
    )


def test_segments_are_integers_and_may_differ_by_input():
    features = assay.Segments({"x": np.array([[0, 1]], np.uint8), "y": DIGEST})
    listed = request(assay.Occlusion(features=features)).occlusion.features.segments.inputs
    assert [(s.input, s.ids.dtype, list(s.ids.shape)) for s in listed] == [("x", 7, [1, 2]), ("y", 0, [])]
    with pytest.raises(assay.InvalidArgument, match="integers"):
        request(assay.Occlusion(features=assay.Segments(np.zeros(3))))


def test_baselines_as_arrays_and_digests():
    for value, kind in ((np.zeros((3,), np.float32), "tensor"), (DIGEST, "tensor"), (np.float32(1), "constant")):
        (baseline,) = request(assay.Occlusion(window=1, baseline=value)).occlusion.baseline
        assert baseline.WhichOneof("kind") == kind


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("method", lambda: request("occlusion")),
        ("occlusion.window", lambda: request(assay.Occlusion(window=(1.5, 2)))),
        ("occlusion.window", lambda: request(assay.Occlusion(window="8,8"))),
        ("occlusion.edge", lambda: request(assay.Occlusion(window=1, edge="wrap"))),
        ("occlusion.edge", lambda: request(assay.Occlusion(window=1, edge="unspecified"))),
        ("occlusion.baseline", lambda: request(assay.Occlusion(window=1, baseline="zero"))),
        ("occlusion.features", lambda: request(assay.Occlusion(features="elements"))),
        ("lime.num_samples", lambda: request(assay.Lime(num_samples="many"))),
        ("lime.sampling", lambda: request(assay.Lime(sampling="quartile"))),
        ("jacobian.step", lambda: request(assay.Jacobian(step=[0.1]))),
        ("jacobian.bounds", lambda: request(assay.Jacobian(bounds=1.0))),
        ("seed", lambda: request(assay.Lime(), seed=-1)),
        ("priority", lambda: request(assay.Lime(), priority="urgent")),
        ("layout", lambda: request(assay.Lime(), layout="CHW")),
        ("budget.time", lambda: request(assay.Lime(), budget=assay.Budget(time=0))),
        ("budget.on_exhausted", lambda: request(assay.Lime(), budget=assay.Budget(on_exhausted="stop"))),
        ("keys", lambda: request(assay.Lime(), keys=[1])),
        ("inputs[x]", lambda: explain_request("m", {"x": np.zeros(1, complex)}, assay.Lime())),
        ("inputs", lambda: predict_request("m", np.zeros(1))),
        ("return_rows", lambda: request(assay.Lime(), return_rows="x")),
        ("element_maps", lambda: request(assay.Lime(), element_maps="no")),
        ("reproducible", lambda: request(assay.Lime(), reproducible="x")),
        ("validate_only", lambda: request(assay.Lime(), validate_only=[])),
        ("request_id", lambda: request(assay.Lime(), request_id=7)),
        ("request_id", lambda: predict_request("m", X, request_id=7)),
        ("model", lambda: explain_request(7, X, assay.Lime())),
        ("model", lambda: predict_request(7, X)),
    ],
)
def test_what_cannot_be_said_names_its_field(field, make):
    with pytest.raises(assay.InvalidArgument) as caught:
        make()
    assert caught.value.violations[0][0] == field
    assert isinstance(caught.value, ValueError)


def test_text_for_a_baseline_of_text_is_told_to_be_an_array():
    with pytest.raises(assay.InvalidArgument, match=r"is no digest.*np\.array\(\['Paris'\]\)"):
        request(assay.Occlusion(features=assay.Elements(), baseline={"city": "Paris"}))
    method = assay.Occlusion(features=assay.Elements(), baseline={"city": np.array(["Paris"])})
    assert request(method).occlusion.baseline[0].tensor.strings.values == ["Paris"]


def test_a_lone_name_is_no_list_of_letters():
    assert list(request(assay.Lime(), inputs_to_explain="image").inputs_to_explain) == ["image"]


def test_predictions():
    message = predict_request("m", X, ["p"], request_id="r", priority="high")
    assert (message.model, list(message.outputs), message.request_id) == ("m", ["p"], "r")
    assert message.priority == explain_pb2.PRIORITY_HIGH


def test_the_shape_of_an_instance():
    assert instance_shape(np.zeros((5, 2, 3))) == (2, 3)
    assert instance_shape(DIGEST) is None
