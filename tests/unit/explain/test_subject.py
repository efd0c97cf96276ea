"""The subject of one instance: layouts, features, baselines, and whose word counts."""

import numpy as np
import pytest

from assayd.errors import InvalidRequest, InvalidTensor
from assayd.explain.notices import about_subject
from assayd.explain.subject import Subjects, axes_of, check_names, named
from assayd.methods import METHODS
from assayd.types.model import InputFacts, ModelSpec
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
from assayd.types.statistics import GaussianColumn, GaussianTable
from tests.unit.explain.made import a_request

RNG = np.random.default_rng(0)
IMAGE = {"x": RNG.random((2, 3, 4, 5), np.float32)}
TWO = {"a": RNG.random((2, 3), np.float32), "b": RNG.random((2, 4), np.float32)}


def occlusion(**kind):
    return "occlusion", METHODS["occlusion"](**kind)


def windows(**kind):
    return occlusion(window=PerInput({"": (1,)}), **kind)


def facts(**inputs):
    return ModelSpec(inputs={name: InputFacts(**kind) for name, kind in inputs.items()})


@pytest.mark.parametrize(
    ("layout", "rank", "spatial", "channel"),
    [
        ("NCHW", 3, (1, 2), 0),
        ("NHWC", 3, (0, 1), 2),
        ("NCDHW", 4, (1, 2, 3), 0),
        ("NTC", 2, (0,), 1),
        ("NF", 1, (0,), None),
    ],
)
def test_a_layout_says_which_axes_are_spatial_and_which_holds_channels(layout, rank, spatial, channel):
    asked = a_request(TWO, layouts=PerInput({"a": layout}))
    assert axes_of(asked, "a", rank) == (spatial, channel)
    assert axes_of(asked, "b", rank) == (None, None)


def test_the_requests_layout_goes_before_the_specs_and_its_own_before_that_of_all():
    spec = facts(a={"layout": "NTC"}, b={"layout": "NTC"})
    assert axes_of(a_request(TWO, spec=spec), "a", 2) == ((0,), 1)
    asked = a_request(TWO, spec=spec, layouts=PerInput({"": "NF", "b": "NHWC"}))
    assert axes_of(asked, "a", 1) == ((0,), None)
    assert axes_of(asked, "b", 3) == ((0, 1), 2)


def test_a_layout_of_another_rank_is_refused():
    with pytest.raises(InvalidRequest, match="NCHW has 3 axes beside the batch, and an instance of 'a' has 1") as got:
        Subjects(a_request(TWO, layouts=PerInput({"a": "NCHW"})), ("a",)).of(0)
    assert got.value.field == "layouts"


def test_the_subject_is_the_instance_at_its_position():
    subject = Subjects(a_request(TWO), ("b",)).of(1)
    np.testing.assert_array_equal(subject.inputs["a"], TWO["a"][1])
    np.testing.assert_array_equal(subject.inputs["b"], TWO["b"][1])
    assert subject.explained == ("b",)
    np.testing.assert_array_equal(subject.baselines["b"], np.zeros((1, 4)))
    assert subject.baselines["b"].dtype == np.float32
    assert subject.segments.count == 4


def test_windows_have_no_segments():
    assert Subjects(a_request(TWO, method=windows()), ("a",)).of(0).segments is None


def test_features_see_the_layout():
    spec = facts(x={"layout": "NHWC"})
    method = occlusion(features=Grid(2, 2))
    subject = Subjects(a_request({"x": RNG.random((1, 4, 4, 3))}, spec=spec, method=method), ("x",)).of(0)
    assert subject.segments.ids["x"].shape == (4, 4, 1)
    assert subject.spatial_axes == {"x": (0, 1)}
    assert subject.channel_axis == {"x": 2}


def test_features_see_the_specs_names_and_groups():
    groups = (Group("first two", (Member("", "u"), Member("", 1))),)
    spec = ModelSpec({"a": InputFacts(feature_names=("u", "v", "w"))}, {}, groups)
    subject = Subjects(a_request(TWO, spec=spec, method=occlusion(features=Groups())), ("a",)).of(0)
    assert subject.segments.ids["a"].tolist() == [0, 0, -1]
    assert subject.segments.names == ("first two",)
    named = Subjects(a_request(TWO, spec=spec), ("a",)).of(0)
    assert named.segments.names == ("u", "v", "w")


@pytest.mark.parametrize(
    ("request_baseline", "spec_baseline", "want"),
    [
        ({}, None, 0),
        ({}, Constant(7), 7),
        ({"a": Constant(5)}, Constant(7), 5),
        ({"": Constant(5)}, Constant(7), 5),
        ({"": Constant(5), "a": Constant(6)}, Constant(7), 6),
        ({"b": Constant(5)}, Constant(7), 7),
        ({"a": Constant(0)}, Constant(7), 0),
    ],
)
def test_the_requests_baseline_goes_before_the_specs_and_that_before_zero(request_baseline, spec_baseline, want):
    method = windows(baseline=PerInput(request_baseline))
    asked = a_request(TWO, spec=facts(a={"baseline": spec_baseline}), method=method)
    np.testing.assert_array_equal(Subjects(asked, ("a", "b")).of(0).baselines["a"], np.full((1, 3), want))


def test_a_lone_baseline_stands_beside_each_of_a_background_set():
    method = windows(baseline=PerInput({"a": Given(RNG.random((5, 3), np.float32))}))
    subject = Subjects(a_request(TWO, method=method), ("a", "b")).of(0)
    assert subject.baseline_count == 5
    assert subject.baselines["b"].shape == (5, 4)


def test_baselines_of_the_instance_see_its_layout_and_segments():
    method = occlusion(features=Grid(1, 1), baseline=PerInput({"": SegmentMean()}))
    asked = a_request(IMAGE, method=method, layouts=PerInput({"": "NCHW"}))
    got = Subjects(asked, ("x",)).of(1).baselines["x"][0]
    np.testing.assert_allclose(got, np.broadcast_to(IMAGE["x"][1].mean((1, 2), keepdims=True), (3, 4, 5)), rtol=1e-6)
    blur = Subjects(
        a_request(IMAGE, method=windows(baseline=PerInput({"": GaussianBlur(1)})), layouts=PerInput({"": "NCHW"})),
        ("x",),
    ).of(0)
    assert not np.allclose(blur.baselines["x"][0].mean((1, 2)), IMAGE["x"][0].mean(), atol=1e-3)


@pytest.mark.parametrize(
    ("method", "kind", "field"),
    [
        (windows(baseline=PerInput({"": Given(np.zeros(9, np.float32))})), InvalidTensor, "occlusion.baseline.tensor"),
        (windows(baseline=PerInput({"": Constant(1e300)})), InvalidRequest, "occlusion.baseline.constant"),
        (windows(baseline=PerInput({"": Mean((7,))})), InvalidRequest, "occlusion.baseline.mean.axes"),
        (windows(baseline=PerInput({"": GaussianBlur(0)})), InvalidRequest, "occlusion.baseline.gaussian_blur.sigma"),
        (windows(baseline=PerInput({"": SegmentMean()})), InvalidRequest, "occlusion.baseline.segment_mean"),
        (
            windows(
                baseline=PerInput({"a": Given(np.zeros((2, 3), np.float32)), "b": Given(np.zeros((3, 4), np.float32))})
            ),
            InvalidRequest,
            "occlusion.baseline",
        ),
        (occlusion(features=Groups()), InvalidRequest, "occlusion.features.groups"),
        (occlusion(features=Grid(2, 2)), InvalidRequest, "occlusion.features.grid"),
        (
            occlusion(features=GivenSegments({"a": np.zeros(3, np.float32), "b": np.zeros(4, np.int32)})),
            InvalidTensor,
            "occlusion.features.segments.ids",
        ),
    ],
)
def test_errors_name_the_field_of_the_request(method, kind, field):
    with pytest.raises(kind) as got:
        Subjects(a_request(TWO, method=method), ("a", "b")).of(0)
    assert got.value.field.startswith(field)


def test_entries_for_inputs_that_are_not_explained_are_refused():
    check_names(a_request(TWO, layouts=PerInput({"": "NF", "a": "NF"})), ("a",))
    with pytest.raises(InvalidRequest, match=r"'b' isn't among the explained inputs \['a'\]") as got:
        check_names(a_request(TWO, layouts=PerInput({"b": "NF"})), ("a",))
    assert got.value.field == "layouts"
    method = occlusion(features=Elements(), baseline=PerInput({"b": Constant(0)}))
    with pytest.raises(InvalidRequest) as got:
        check_names(a_request(TWO, method=method), ("a",))
    assert got.value.field == "occlusion.baseline"


ROW = {
    "age": np.array([[40]]),
    "both": np.ones((1, 2), np.float32),
    "city": np.array([["Rome"]], dtype=object),
    "word": np.array(["yes"], dtype=object),
}


@pytest.mark.parametrize("baseline", [{}, {"": Constant(0)}, {"city": Constant(1)}])
def test_text_has_no_baseline_unless_one_is_given(baseline):
    asked = a_request(ROW, method=windows(baseline=PerInput(baseline)))
    with pytest.raises(InvalidRequest, match=r"'city' holds text.*a STRING tensor of shape \[1\]") as got:
        Subjects(asked, ("age", "city")).of(0)
    assert got.value.field == "occlusion.baseline"
    given = PerInput({"city": Given(np.array([["Bern"], ["Oslo"]], dtype=object))})
    subject = Subjects(a_request(ROW, method=windows(baseline=given)), ("age", "city")).of(0)
    assert subject.baselines["city"].tolist() == [["Bern"], ["Oslo"]]
    assert subject.baselines["age"].tolist() == [[0], [0]]


def test_text_without_axes_stays_an_array():
    given = PerInput({"": Given(np.array("no", dtype=object))})
    method = occlusion(features=Elements(), baseline=given)
    subject = Subjects(a_request(ROW, method=method), ("word",)).of(0)
    assert (subject.inputs["word"].shape, subject.inputs["word"].dtype) == ((), np.dtype(object))
    assert subject.baselines["word"].tolist() == ["no"]


def test_an_input_that_is_a_column_gives_it_its_name():
    names = Subjects(a_request(ROW), ("age", "both")).of(0).segments.names
    assert names == ("age", "both[0]", "both[1]")
    spec = facts(age={"feature_names": ("years",)})
    assert Subjects(a_request(ROW, spec=spec), ("age", "both")).of(0).segments.names[0] == "years"
    groups = Groups((Group("g", (Member("", "age"), Member("both", 1))),))
    subject = Subjects(a_request(ROW, method=occlusion(features=groups)), ("age", "both")).of(0)
    assert {name: ids.tolist() for name, ids in subject.segments.ids.items()} == {"age": [0], "both": [-1, 0]}


def test_columns_of_a_table_have_the_names_of_their_inputs():
    columns = (GaussianColumn("both", 1, 0.0, 1.0), GaussianColumn("age", 0, 40.0, 5.0))
    method = ("lime", METHODS["lime"](sampling=GaussianTable(columns)))
    table = named(a_request(ROW, method=method), ("age", "both")).method.sampling
    assert [c.name for c in table.columns] == ["", "age"]


def test_text_that_no_feature_touches_needs_no_baseline():
    groups = Groups((Group("years", (Member("age", 0),)),))
    asked = a_request(ROW, method=("occlusion", METHODS["occlusion"](features=groups)))
    subject = Subjects(asked, tuple(ROW)).of(0)
    assert subject.baselines["city"].tolist() == [["Rome"]]
    assert about_subject(subject) == []


def test_instances_without_a_key_share_a_stream():
    def subject(position, keys, seed=0):
        return Subjects(a_request(TWO, keys=keys, seed=seed), ("a",)).of(position)

    without = [subject(position, keys) for position in (0, 1) for keys in ((), ("", ""))]
    assert len({s.stream for s in without}) == 1
    assert not any(s.keyed for s in without)
    with_keys = [subject(position, ("one", "two")) for position in (0, 1)]
    assert len({s.stream for s in (*with_keys, without[0], subject(0, (), seed=1))}) == 4
    assert all(s.keyed for s in with_keys)


def test_what_instances_have_in_common_is_found_once():
    subjects = Subjects(
        a_request(TWO, method=occlusion(features=Elements(), baseline=PerInput({"": Constant(2)}))), ("a",)
    )
    first, second = subjects.of(0), subjects.of(1)
    assert first.segments is second.segments
    assert first.baselines["a"] is second.baselines["a"]


@pytest.mark.parametrize("spec", [Mean(), GaussianBlur(1.0), SegmentMean()])
def test_baselines_made_of_the_instance_are_its_own(spec):
    method = occlusion(features=Grid(1, 1), baseline=PerInput({"": spec}))
    asked = a_request(IMAGE, method=method, layouts=PerInput({"": "NCHW"}))
    together = Subjects(asked, ("x",))
    for position in (0, 1):
        alone = Subjects(asked, ("x",)).of(position).baselines["x"]
        np.testing.assert_array_equal(together.of(position).baselines["x"], alone)
    assert not np.array_equal(together.of(0).baselines["x"], together.of(1).baselines["x"])


def test_superpixels_are_each_instances_own():
    asked = a_request(IMAGE, method=occlusion(features=Superpixels(4)), layouts=PerInput({"": "NCHW"}))
    together = Subjects(asked, ("x",))
    for position in (0, 1):
        alone = Subjects(asked, ("x",)).of(position).segments.ids["x"]
        np.testing.assert_array_equal(together.of(position).segments.ids["x"], alone)
    assert not np.array_equal(together.of(0).segments.ids["x"], together.of(1).segments.ids["x"])


def test_text_that_is_left_alone_stays_each_instances_own():
    rows = {"age": np.array([[40], [50]]), "city": np.array([["Rome"], ["Bern"]], dtype=object)}
    groups = Groups((Group("years", (Member("age", 0),)),))
    subjects = Subjects(a_request(rows, method=occlusion(features=groups)), tuple(rows))
    assert [subjects.of(k).baselines["city"].tolist() for k in (0, 1)] == [[["Rome"]], [["Bern"]]]
