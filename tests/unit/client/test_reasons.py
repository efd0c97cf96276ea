from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from assay import Explanation, FailedPrecondition, Feature, Instance, InvalidArgument, Model, Reason, WindowGrid
from assay.explanation import FEATURES
from assay.reasons import figure, rank_reasons

NAMES = tuple(Feature(n, name, 1) for n, name in enumerate(("radius", "texture", "area", "age", "income")))


def ranked(values, errors=None, k=5, direction="both", **more):
    errors = None if errors is None else np.asarray(errors)
    return rank_reasons(np.asarray(values, np.float32), errors, lambda f: f"f{f}", k, direction, **more)


def order(reasons):
    return [reason.feature for reason in reasons]


def ties(reasons):
    return [reason.tied for reason in reasons]


# ---- which, and in what order ----------------------------------------------------------------------


@pytest.mark.parametrize(("direction", "expected"), [("both", [3, 0, 4, 1]), ("for", [0, 4]), ("against", [3, 1])])
def test_the_largest_come_first_and_what_adds_nothing_is_no_reason(direction, expected):
    found = ranked([0.5, -0.1, 0.0, -0.75, 0.25], direction=direction)
    assert order(found) == expected
    assert [reason.rank for reason in found] == list(range(1, len(expected) + 1))
    assert [reason.value for reason in found] == [np.float32([0.5, -0.1, 0.0, -0.75, 0.25])[f] for f in expected]


def test_no_more_than_asked_for_and_equal_ones_by_number():
    assert order(ranked([1.0, -2.0, 2.0, 1.0], k=3)) == [1, 2, 0]
    assert order(ranked([0.5] * 50 + [1.0] * 50, k=100)) == [*range(50, 100), *range(50)]


def test_what_is_not_finite_is_no_reason_and_nobodys_neighbour():
    found = ranked([np.nan, 1.0, np.inf, 0.5, -np.inf])
    assert order(found) == [1, 3]
    assert ties(found) == [False, False]
    assert ranked([np.nan, np.nan]) == []


# ---- ties ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gap", "tied"), [(0.99, True), (1.01, False)])
def test_neighbours_within_two_of_their_combined_errors_are_tied(gap, tied):
    # sqrt(0.3^2 + 0.4^2) = 0.5, twice that is 1.
    assert ties(ranked([10 + gap, 10.0], [0.3, 0.4])) == [tied, False]
    assert ties(ranked([-10 - gap, 10.0], [0.3, 0.4])) == [tied, False]


def test_each_is_held_against_the_next_one_only():
    found = ranked([3.0, 2.5, 1.0, 0.99], [0.2, 0.2, 0.2, 0.001])
    assert ties(found) == [True, False, True, False]


@pytest.mark.parametrize(("left_out", "tied"), [(0.9, True), (0.1, False)])
def test_the_last_is_held_against_the_first_left_out(left_out, tied):
    assert ties(ranked([2.0, 1.0, left_out], [0.1, 0.1, 0.1], k=2)) == [False, tied]


def test_the_first_left_out_counts_whatever_its_sign():
    assert ties(ranked([2.0, 0.1, -0.1], [0.1, 0.1, 0.1], direction="for")) == [False, True]
    assert ties(ranked([2.0, 0.1, -5.0], [0.1, 0.1, 0.1], direction="for")) == [False, False]
    assert ties(ranked([2.0, 0.1, 0.0], [0.1, 0.1, 0.0])) == [False, True]


def test_exact_values_tie_only_where_they_are_equal():
    found = ranked([0.5, -0.5, 0.5 - 2.0**-24])
    assert ties(found) == [True, False, False]
    assert [reason.error for reason in found] == [None] * 3
    assert ties(ranked([1.0, 1.0], [0.0, 0.0])) == [True, False]


@pytest.mark.parametrize("error", [np.nan, np.inf])
def test_an_unknown_error_separates_nothing(error):
    assert ties(ranked([5.0, 1.0, 0.5], [0.01, error, 0.01])) == [True, True, False]


def test_errors_that_nobody_estimated_separate_nothing():
    found = ranked([5.0, 1.0, 0.5, 0.0], k=2, errors_known=False)
    assert ties(found) == [True, True]
    assert [(reason.error, reason.error_known) for reason in found] == [(None, False)] * 2
    assert str(found[0]) == "f0  +5  (error not estimated)"
    assert [reason.error_known for reason in ranked([5.0, 1.0])] == [True, True]
    # An estimate that is there counts, whatever was said of others.
    assert ties(ranked([5.0, 1.0], [0.1, 0.1], errors_known=False)) == [False, False]


# ---- words -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.31, 0.02, "+0.31 ± 0.02"),
        (-0.31416, 0.0142, "-0.314 ± 0.014"),
        (0.5, 0.0996, "+0.50 ± 0.10"),
        (12.34, 3.2, "+12 ± 3"),
        (1234.5, 32.0, "+1234 ± 32"),
        (3.0, 0.0, "+3 ± 0"),
        (2e-9, 3e-10, "+2e-09 ± 3e-10"),
        (0.123456, None, "+0.1235"),
        (1.0, math.nan, "+1 ± nan"),
        (1.0, math.inf, "+1 ± inf"),
    ],
)
def test_a_figure_has_the_digits_that_its_error_leaves(value, error, text):
    assert figure(value, error) == text


def test_a_reason_is_a_line_to_read():
    reason = Reason(1, 0, "mean radius", 0.31, 0.02, tied=True)
    assert str(reason) == "mean radius  +0.31 ± 0.02  (not separated from the next)"
    assert str(dataclasses.replace(reason, tied=False, x_value=17.99)) == "mean radius = 17.99  +0.31 ± 0.02"


# ---- of instances and explanations -----------------------------------------------------------------


def test_an_instance_names_its_features_and_their_values():
    instance = Instance(0, feature_values=np.array([1.0, -3.0, 2.0, 0.0, 0.0]), features=NAMES)
    found = instance.top_reasons(2, x=[[10, 20, 30, 40, 50]])
    assert [(r.name, r.value, r.x_value) for r in found] == [("texture", -3.0, 20.0), ("area", 2.0, 30.0)]
    assert found == Explanation((instance,), "r", Model("m", "1", "d")).top_reasons(2, x=[10, 20, 30, 40, 50])
    assert instance.top_reasons(1)[0].x_value is None


def test_each_target_of_a_list_has_its_own():
    values = np.array([[1.0, 2.0], [4.0, 3.0]])
    instance = Instance(1, feature_values=values, feature_errors=values / 100, features=NAMES[:2])
    ex = Explanation((Instance(0, feature_values=values), instance), "r", Model("m", "1", "d"))
    found = ex.top_reasons(instance=1, target=1)
    assert [(r.name, r.value, r.error) for r in found] == [("radius", 4.0, 0.04), ("texture", 3.0, 0.03)]
    assert instance.top_reasons(1)[0].name == "texture"


def test_windows_are_named_by_where_they_lie_and_cut_at_the_border():
    grid = WindowGrid("image", 2, (2, 2), (1, 2), (6, 6), (6, 6))
    first = WindowGrid("mask", 0, (2,), (0,), (3,), (2,))
    for several in (False, True):  # an axis of targets in front, even of one
        values, image, mask = np.arange(6.0), np.zeros((3, 8, 9)), np.zeros(5)
        if several:
            values, image, mask = values[None], image[None], mask[None]
        instance = Instance(
            0, feature_values=values, windows=(first, grid), attributions={"image": image, "mask": mask}
        )
        names = [instance.feature_name(f) for f in range(7)]
        assert names[:3] == ["mask[0:3]", "mask[2:5]", "image[0:6,0:6]"]
        assert names[3:] == ["image[0:6,6:9]", "image[6:8,0:6]", "image[6:8,6:9]", "feature 6"]
    bare = Instance(0, feature_values=np.arange(6.0), windows=(grid,))
    assert bare.feature_name(5) == "image[6:12,6:12]"


def test_elements_without_names_are_named_by_where_they_stand():
    assert Instance(0, feature_values=np.ones(4), attributions={"x": np.ones(4)}).feature_name(3) == "x[3]"
    image = Instance(0, feature_values=np.ones((1, 24)), attributions={"image": np.ones((1, 2, 3, 4))})
    assert image.feature_name(23) == "image[1,2,3]"
    assert Instance(0, feature_values=np.ones(1), attributions={"x": np.array(1.0)}).feature_name(0) == "x"
    # Superpixels without names, and elements of several inputs, whose order isn't known.
    assert Instance(0, feature_values=np.ones(3), attributions={"x": np.ones(4)}).feature_name(1) == "feature 1"
    both = Instance(0, feature_values=np.ones(4), attributions={"x": np.ones(2), "y": np.ones(2)})
    assert both.feature_name(1) == "feature 1"


def test_values_with_unknown_errors_are_never_exact():
    lasso = Instance(0, feature_values=np.array([2.0, 1.0]), features=NAMES[:2], errors_unknown=True)
    assert [(r.tied, r.error_known) for r in lasso.top_reasons()] == [(True, False), (False, False)]
    block = {"y": {"x": np.array([[1.0, 5.0, 2.0], [0.0, 0.0, 0.0]])}}
    jacobian = Instance(0, scores=np.zeros(2), jacobian=block, jacobian_errors={"y": {"x": None}}, errors_unknown=True)
    assert [(r.name, r.tied) for r in jacobian.top_reasons(2)] == [("x[1]", True), ("x[2]", True)]
    exact = dataclasses.replace(lasso, errors_unknown=False)
    assert not any(r.tied for r in exact.top_reasons())
    model = Model("m", "1", "d")
    assert Explanation((exact, lasso), "r", model).errors_unknown is True
    assert Explanation((exact,), "r", model).errors_unknown is False


def test_a_jacobian_has_the_derivatives_of_one_element_of_its_outputs():
    blocks = {"y": {"a": np.arange(6.0).reshape(3, 2), "b": 10 * np.arange(12.0).reshape(3, 4)}, "z": {}}
    blocks["z"] = {"a": np.array([[7.0, 0.5]]), "b": np.array([[0.0, -8.0, 0.0, 0.0]])}
    errors = {o: {i: np.full_like(v, 0.25) for i, v in by.items()} for o, by in blocks.items()}
    names = tuple(Feature(n, name, 1) for n, name in enumerate(("a[0]", "a[1]", "b[0]", "b[1]", "b[2]", "b[3]")))
    instance = Instance(0, scores=np.zeros(4), jacobian=blocks, jacobian_errors=errors, features=names)
    assert [(r.name, r.value) for r in instance.top_reasons(2, target=1)] == [("b[3]", 70.0), ("b[2]", 60.0)]
    last = instance.top_reasons(3, target=3)
    assert [(r.name, r.value, r.error) for r in last] == [("b[1]", -8, 0.25), ("a[0]", 7, 0.25), ("a[1]", 0.5, 0.25)]
    with pytest.raises(InvalidArgument, match="no target 4"):
        instance.top_reasons(target=4)
    nameless = {"y": {"x": np.ones((1, 4))}, "z": {"x": np.ones((3, 4))}}
    with pytest.raises(InvalidArgument, match="axes"):
        Instance(0, scores=np.zeros(4), jacobian=nameless).top_reasons()


def test_elements_of_a_jacobian_without_names_are_named_by_where_they_stand():
    block = np.arange(24.0).reshape(2, 3, 4)
    instance = Instance(0, scores=np.zeros(2), jacobian={"y": {"x": block}}, jacobian_errors={"y": {"x": None}})
    (reason,) = instance.top_reasons(1, target=1)
    assert (reason.feature, reason.name, reason.value, reason.error) == (11, "x[2,3]", 23.0, None)
    plane = Instance(0, scores=np.zeros(4), jacobian={"y": {"x": np.arange(12.0).reshape(2, 2, 3)}})
    assert plane.top_reasons(1, target=2)[0] == Reason(1, 2, "x[2]", 8.0)
    two = {"y": {"x": np.zeros((2, 3)), "w": np.array([[0.0, 0.0], [1.0, 2.0]])}}
    assert Instance(0, scores=np.zeros(2), jacobian=two).top_reasons(1, target=1)[0].name == "w[1]"


def test_a_jacobian_over_features_has_their_derivatives():
    block = np.arange(12.0).reshape(2, 2, 3)
    instance = Instance(0, jacobian={"y": {FEATURES: block}}, features=NAMES[:3])
    assert instance.top_reasons(1, target=2)[0] == Reason(1, 2, "area", 8.0)
    assert dataclasses.replace(instance, features=()).top_reasons(1, target=2)[0].name == "feature 2"


def test_what_there_is_nothing_to_rank_of_is_refused():
    good = Instance(0, feature_values=np.ones(2))
    ex = Explanation((good,), "r", Model("m", "1", "d"))
    for ask in (
        lambda: ex.top_reasons(instance=1),
        lambda: ex.top_reasons(target=1),
        lambda: ex.top_reasons(target=-1),
        lambda: ex.top_reasons(0),
        lambda: ex.top_reasons(direction="up"),
        lambda: ex.top_reasons(x=[1.0]),
        lambda: Instance(0).top_reasons(),
    ):
        with pytest.raises(InvalidArgument):
            ask()
    with pytest.raises(FailedPrecondition, match="NaN"):
        Instance(0, status=FailedPrecondition("the model answers NaN")).top_reasons()
