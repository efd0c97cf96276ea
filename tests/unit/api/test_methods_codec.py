"""Method messages to methods, with nothing in between that knows a single method."""

from dataclasses import fields

import numpy as np
import pytest

from assay.v1 import explain_pb2
from assay.v1.explain_service_pb2 import ExplainRequest
from assay.v1.tensor_pb2 import Tensor
from assayd.api.codec.methods import decode_method, revisions
from assayd.api.codec.tensors import encode_tensor
from assayd.errors import InvalidRequest, InvalidTensor, MethodRevision
from assayd.methods import METHODS
from assayd.types.request import (
    Constant,
    Elements,
    GaussianBlur,
    Given,
    GivenSegments,
    Grid,
    Group,
    Groups,
    Mean,
    Member,
    PerInput,
    SegmentMean,
    Superpixels,
)


def fetch(digest):
    raise AssertionError


def decoded(**method):
    (name,) = method
    got, made = decode_method(ExplainRequest(**method), fetch)
    assert got == name
    return made


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_fields_of_its_message(name):
    message = ExplainRequest.DESCRIPTOR.fields_by_name[name].message_type
    assert {f.name for f in fields(METHODS[name])} == {f.name for f in message.fields}


@pytest.mark.parametrize("name", [n for n in METHODS if n != "rows"])
def test_what_is_not_set_is_left_to_the_methods_own_default(name):
    request = ExplainRequest()
    getattr(request, name).SetInParent()
    _, made = decode_method(request, fetch)
    for field in fields(METHODS[name]):
        default = getattr(METHODS[name](), field.name)
        value = getattr(made, field.name)
        assert value == default or (isinstance(value, PerInput) and value.values == default.values)


def test_defaults_of_the_contract():
    made = decoded(occlusion=explain_pb2.Occlusion())
    assert (made.edge, made.features, made.baseline.values, made.window.values) == ("clip", None, {}, {})


def test_parameters_by_input_keep_their_inputs():
    sizes = [explain_pb2.AxisSizes(sizes=[2, 3]), explain_pb2.AxisSizes(input="x", sizes=[4])]
    made = decoded(occlusion=explain_pb2.Occlusion(window=sizes, stride=sizes[:1], edge="EDGE_RULE_VALID"))
    assert made.window.values == {"": (2, 3), "x": (4,)}
    assert (made.window.get("x"), made.window.get("z")) == ((4,), (2, 3))
    assert made.stride.values == {"": (2, 3)}
    assert made.edge == "valid"


@pytest.mark.parametrize("name", ["", "x"])
@pytest.mark.parametrize("parameter", ["window", "stride", "baseline"])
def test_an_input_named_twice_is_refused(parameter, name):
    request = ExplainRequest()
    for _ in range(2):
        getattr(request.occlusion, parameter).add(input=name)
    with pytest.raises(InvalidRequest, match="has two entries") as got:
        decode_method(request, fetch)
    assert got.value.field == f"occlusion.{parameter}[1].input"


def baseline(**kind):
    made = explain_pb2.Occlusion()
    made.baseline.add(**kind)
    return decoded(occlusion=made).baseline.get("x")


def test_every_kind_of_baseline():
    assert baseline() == Constant(0.0)
    assert baseline(constant=2.5) == Constant(2.5)
    assert baseline(constant=0.0) == Constant(0.0)
    assert baseline(mean={"axes": [0, -1]}) == Mean((0, -1))
    assert baseline(mean={}) == Mean(())
    assert baseline(gaussian_blur={"sigma": 3}) == GaussianBlur(3.0)
    assert baseline(segment_mean={}) == SegmentMean()
    given = baseline(tensor=encode_tensor(np.ones(3)))
    assert isinstance(given, Given)
    assert given.tensor.tolist() == [1, 1, 1]


def features(**kind):
    return decoded(occlusion=explain_pb2.Occlusion(features=explain_pb2.Features(**kind))).features


def test_every_kind_of_features():
    assert features(elements={}) == Elements()
    assert features(grid={"rows": 2, "cols": 3}) == Grid(2, 3)
    assert features(superpixels={"count": 7}) == Superpixels(7)
    assert features(superpixels={"count": 7, "compactness": 0.5}) == Superpixels(7, 0.5)
    members = [{"input": "x", "index": 3}, {"name": "age"}, {"index": 0}]
    groups = [{"name": "g", "members": members, "kind": "GROUP_KIND_ONE_HOT"}, {"name": "h"}]
    want = (Group("g", (Member("x", 3), Member("", "age"), Member("", 0)), "one_hot"), Group("h", (), "numeric"))
    assert features(groups={"groups": groups}) == Groups(want)
    assert features(groups={}) == Groups(())
    given = features(segments={"inputs": [{"input": "x", "ids": encode_tensor(np.array([0, 1], np.int32))}]})
    assert isinstance(given, GivenSegments)
    assert given.ids["x"].tolist() == [0, 1]


def test_features_that_say_nothing_are_refused():
    with pytest.raises(InvalidRequest) as got:
        features()
    assert got.value.field == "occlusion.features"


def test_segments_for_an_input_twice_are_refused():
    entry = {"ids": encode_tensor(np.array([0], np.int32))}
    with pytest.raises(InvalidRequest) as got:
        features(segments={"inputs": [entry, entry]})
    assert got.value.field == "occlusion.features.segments.inputs[1].input"


def test_tensors_name_the_field_that_holds_them():
    for method, field in (
        ({"rows": {"keep": Tensor(dtype=1, shape=[2])}}, "rows.keep.data"),
        ({"occlusion": {"baseline": [{"tensor": Tensor()}]}}, "occlusion.baseline[0].tensor.dtype"),
        (
            {"rows": {"features": {"segments": {"inputs": [{"ids": Tensor()}]}}}},
            "rows.features.segments.inputs[0].ids.dtype",
        ),
    ):
        with pytest.raises(InvalidTensor) as got:
            decode_method(ExplainRequest(**method), fetch)
        assert got.value.field == field


def test_masks_are_needed():
    with pytest.raises(InvalidRequest, match="rows needs keep") as got:
        decode_method(ExplainRequest(rows={}), fetch)
    assert got.value.field == "rows.keep"


def test_no_method_is_refused_with_those_there_are():
    with pytest.raises(InvalidRequest, match=", ".join(METHODS)) as got:
        decode_method(ExplainRequest(), fetch)
    assert got.value.field == "method"


def test_a_pinned_revision_is_the_one_served_or_refused():
    assert revisions() == {name: method.revision for name, method in METHODS.items()}
    served = METHODS["occlusion"].revision
    decode_method(ExplainRequest(occlusion={}, method_revision=served), fetch)
    for other in (served + 1, 0):
        with pytest.raises(MethodRevision) as got:
            decode_method(ExplainRequest(occlusion={}, method_revision=other), fetch)
        assert got.value.metadata == {"method": "occlusion", "served": str(served)}
