"""Cuts on small arrays, with ids written by hand, and every refusal with its field."""

from __future__ import annotations

import numpy as np
import pytest

from assayd.errors import InvalidRequest, InvalidTensor
from assayd.features.names import MAX_NAMES
from assayd.features.segments import segments_of
from assayd.types.arrays import Array
from assayd.types.request import Elements, FeatureSpec, GivenSegments, Grid, Group, Groups, Member, Superpixels
from assayd.types.subject import Segments

LAYOUTS = {"NCHW": ((1, 2), 0), "NHWC": ((0, 1), 2), "NTC": ((0,), 1), "NF": ((0,), None), None: (None, None)}


def cut(
    spec: FeatureSpec,
    inputs: dict[str, Array],
    layout: str | None = None,
    names: dict[str, tuple[str, ...]] | None = None,
    spec_groups: tuple[Group, ...] = (),
) -> Segments:
    spatial, channel = LAYOUTS[layout]
    return segments_of(
        spec, inputs, dict.fromkeys(inputs, spatial), dict.fromkeys(inputs, channel), names or {}, spec_groups
    )


def zeros(*shape: int) -> dict[str, Array]:
    return {"x": np.zeros(shape, np.float32)}


def group(name: str, *elements: int | str, of: str = "") -> Group:
    return Group(name, tuple(Member(of, element) for element in elements))


# ---- elements


def test_elements_count_on_over_the_inputs() -> None:
    segments = cut(Elements(), {"a": np.zeros((2, 2)), "b": np.zeros(2)})
    np.testing.assert_array_equal(segments.ids["a"], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(segments.ids["b"], [4, 5])
    assert segments.count == 6
    assert segments.names == ("a[0,0]", "a[0,1]", "a[1,0]", "a[1,1]", "b[0]", "b[1]")


def test_elements_take_the_names_of_the_spec() -> None:
    segments = cut(Elements(), {"a": np.zeros(2), "b": np.zeros(1)}, names={"a": ("age", "income")})
    assert segments.names == ("age", "income", "b[0]")


def test_a_scalar_is_one_element() -> None:
    segments = cut(Elements(), {"a": np.zeros(())})
    assert segments.ids["a"].shape == ()
    assert segments.names == ("a",)


def test_strings_and_integers_are_elements_too() -> None:
    assert cut(Elements(), {"a": np.array(["p", "q"], object), "b": np.zeros(2, np.int64)}).count == 4


def test_very_many_features_have_no_names() -> None:
    assert len(cut(Elements(), zeros(MAX_NAMES)).names) == MAX_NAMES
    assert cut(Elements(), zeros(MAX_NAMES + 1)).names == ()


def test_a_wrong_number_of_names_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="names 2 features of input 'x', which has 3 elements") as caught:
        cut(Elements(), zeros(3), names={"x": ("a", "b")})
    assert caught.value.field == "elements"


# ---- grid


def test_a_grid_on_channels_first() -> None:
    segments = cut(Grid(2, 2), zeros(3, 4, 5), "NCHW")
    np.testing.assert_array_equal(
        segments.ids["x"], [[[0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [2, 2, 2, 3, 3], [2, 2, 2, 3, 3]]]
    )
    assert segments.count == 4
    assert segments.names == ("x[0:2,0:3]", "x[0:2,3:5]", "x[2:4,0:3]", "x[2:4,3:5]")


def test_a_grid_on_channels_last() -> None:
    segments = cut(Grid(1, 3), zeros(2, 3, 4), "NHWC")
    assert segments.ids["x"].shape == (2, 3, 1)
    np.testing.assert_array_equal(segments.ids["x"][..., 0], [[0, 1, 2], [0, 1, 2]])


def test_a_grid_on_time() -> None:
    segments = cut(Grid(1, 2), zeros(5, 3), "NTC")
    np.testing.assert_array_equal(segments.ids["x"], [[0], [0], [0], [1], [1]])
    assert segments.names == ("x[0:3]", "x[3:5]")


def test_a_grid_without_layout_takes_the_trailing_axes() -> None:
    assert cut(Grid(2, 2), zeros(3, 4, 5)).ids["x"].shape == (1, 4, 5)
    np.testing.assert_array_equal(cut(Grid(1, 2), zeros(4)).ids["x"], [0, 0, 1, 1])


def test_grids_count_on_over_the_inputs() -> None:
    segments = cut(Grid(1, 2), {"a": np.zeros((1, 2)), "b": np.zeros(2)})
    np.testing.assert_array_equal(segments.ids["b"], [2, 3])
    assert segments.count == 4
    assert segments.names == ("a[0:1,0:1]", "a[0:1,1:2]", "b[0:1]", "b[1:2]")


@pytest.mark.parametrize(
    ("spec", "shape", "layout", "field", "says"),
    [
        (Grid(0, 1), (4, 4), None, "grid.rows", "at least 1"),
        (Grid(1, -2), (4, 4), None, "grid.cols", "not -2"),
        (Grid(5, 1), (4, 6), None, "grid.rows", "5 cells don't fit axis 0 of input 'x', which has 4 elements"),
        (Grid(1, 7), (4, 6), None, "grid.cols", "7 cells don't fit axis 1"),
        (Grid(2, 2), (4, 3), "NTC", "grid.rows", "1 row, not 2"),
        (Grid(2, 1), (4,), None, "grid.rows", "1 row, not 2"),
        (Grid(1, 1), (), None, "grid", "has 0"),
    ],
)
def test_grids_refused(spec: Grid, shape: tuple[int, ...], layout: str | None, field: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        cut(spec, zeros(*shape), layout)
    assert caught.value.field == field


def test_a_grid_over_a_volume_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="has 3; use segments") as caught:
        segments_of(Grid(1, 1), zeros(1, 2, 2, 2), {"x": (1, 2, 3)}, {"x": 0}, {}, ())
    assert caught.value.field == "grid"


# ---- superpixels


def halves() -> Array:
    """[8, 8, 3]: red on the left, blue on the right."""
    image = np.zeros((8, 8, 3), np.float32)
    image[:, :4, 0] = 1.0
    image[:, 4:, 2] = 1.0
    return image


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_superpixels_follow_the_colours_wherever_channels_stand(layout: str) -> None:
    image = halves() if layout == "NHWC" else halves().transpose(2, 0, 1)
    segments = cut(Superpixels(4), {"x": image}, layout)
    assert segments.ids["x"].shape == ((8, 8, 1) if layout == "NHWC" else (1, 8, 8))
    plane = segments.ids["x"].reshape(8, 8)
    assert set(np.unique(plane[:, :4])).isdisjoint(np.unique(plane[:, 4:]))
    assert segments.names == tuple(f"x superpixel {k}" for k in range(segments.count))


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_superpixels_take_any_number_of_channels(channels: int) -> None:
    image = np.zeros((channels, 8, 8), np.float32)
    image[0, :, :4] = 1.0
    plane = cut(Superpixels(4, 1e-3), {"x": image}, "NCHW").ids["x"][0]
    assert set(np.unique(plane[:, :4])).isdisjoint(np.unique(plane[:, 4:]))


def test_superpixels_of_a_plane_need_no_layout() -> None:
    assert cut(Superpixels(4), {"x": halves()[..., 0]}).ids["x"].shape == (8, 8)


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.float16, np.float64])
def test_superpixels_take_any_numbers(dtype: type) -> None:
    plane = cut(Superpixels(4), {"x": halves().astype(dtype)}, "NHWC").ids["x"]
    np.testing.assert_array_equal(plane, cut(Superpixels(4), {"x": halves()}, "NHWC").ids["x"])


def test_superpixels_are_dense_deterministic_and_count_on() -> None:
    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(rng.normal(size=(3, 24, 24)), axis=1), axis=2)
    inputs = {"a": smooth, "b": smooth[:, ::-1]}
    one, two = (cut(Superpixels(9), inputs, "NCHW") for _ in range(2))
    for name in inputs:
        np.testing.assert_array_equal(one.ids[name], two.ids[name])
    assert one.ids["a"].min() == 0
    assert one.ids["b"].min() == one.ids["a"].max() + 1
    found = np.unique(np.concatenate([ids.reshape(-1) for ids in one.ids.values()]))
    np.testing.assert_array_equal(found, np.arange(one.count))
    assert len(one.names) == one.count > 4


@pytest.mark.parametrize(
    ("spec", "x", "layout", "field", "says"),
    [
        (Superpixels(1), halves(), "NHWC", "superpixels.count", "at least 2"),
        (Superpixels(65), halves(), "NHWC", "superpixels.count", "has 64 pixels"),
        (Superpixels(2, 0.0), halves(), "NHWC", "superpixels.compactness", "above 0"),
        (Superpixels(2, np.nan), halves(), "NHWC", "superpixels.compactness", "finite"),
        (Superpixels(2), halves(), None, "superpixels", "set its layout"),
        (Superpixels(2), halves()[0], "NTC", "superpixels", "1 spatial of 2 axes"),
        (Superpixels(2), np.full((8, 8), np.nan), None, "superpixels", "NaN"),
        (Superpixels(2), np.array([[0, np.inf], [0, 0]]), None, "superpixels", "infinity"),
        (Superpixels(2), np.array([[-1.7e308, 1.7e308], [0, 0]]), None, "superpixels", "too wide a range"),
        (Superpixels(2), np.full((8, 8), "a", object), None, "superpixels", "text"),
    ],
)
def test_superpixels_refused(spec: Superpixels, x: Array, layout: str | None, field: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        cut(spec, {"x": x}, layout)
    assert caught.value.field == field


# ---- given segments


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_given_ids_are_taken_as_they_are(dtype: type) -> None:
    ids = np.array([[[0, 1], [-1, 1]]], dtype)
    segments = cut(GivenSegments({"": ids}), zeros(3, 2, 2))
    np.testing.assert_array_equal(segments.ids["x"], ids)
    assert segments.ids["x"].dtype == np.int32
    assert segments.count == 2
    assert segments.names == ("segment 0", "segment 1")


def test_ids_are_shared_by_inputs_and_inputs_without_ids_are_never_touched() -> None:
    inputs = {"a": np.zeros(2), "b": np.zeros((2, 1)), "c": np.zeros((2, 2))}
    segments = cut(GivenSegments({"b": np.array([[2], [1]]), "a": np.array([0, 1])}), inputs)
    assert segments.count == 3
    assert list(segments.ids) == ["a", "b", "c"]
    np.testing.assert_array_equal(segments.ids["c"], [[-1]])


def test_later_changes_of_the_callers_array_change_nothing() -> None:
    ids = np.array([0, 1], np.int32)
    segments = cut(GivenSegments({"x": ids}), zeros(2))
    ids[:] = 7
    np.testing.assert_array_equal(segments.ids["x"], [0, 1])


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (np.array([0.0, 1.0, 0.0]), "float64, not int32 or int64"),
        (np.array([True, False, True]), "bool"),
        (np.array([0, 1, 0], np.uint8), "uint8"),
        (np.array([[0, 1, 0]]), r"shape \[1, 3\], not \[3\]"),
        (np.array([0, 1]), r"shape \[2\], not \[3\]"),
        (np.array([0, -2, 1]), "from -2 to 1"),
        (np.array([0, 1, 2**40]), "from 0 to 1099511627776"),
        (np.array([0, 1, 2**31 - 1]), "from 0 to 2147483647"),
        (np.array([0, 2, 3]), "1 is missing, the largest is 3"),
        (np.array([1, 2, -1]), "0 is missing"),
        (np.array([-1, -1, -1]), "no element belongs to a segment"),
        (np.array([0, 1, 2**31 - 2]), "2 is missing"),
    ],
)
def test_given_ids_refused(ids: Array, says: str) -> None:
    with pytest.raises(InvalidTensor, match=says) as caught:
        cut(GivenSegments({"x": ids}), zeros(3))
    assert caught.value.field == "segments.ids"


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        ({"": np.array([0])}, "must name their input where several are explained: 'a', 'b'"),
        ({"c": np.array([0])}, "segments for 'c', which is not explained"),
    ],
)
def test_given_names_refused(ids: dict[str, Array], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        cut(GivenSegments(ids), {"a": np.zeros(1), "b": np.zeros(1)})
    assert caught.value.field == "segments.inputs"


def test_ids_given_twice_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="twice") as caught:
        cut(GivenSegments({"": np.array([0]), "x": np.array([0])}), zeros(1))
    assert caught.value.field == "segments.inputs"


def test_no_ids_at_all_are_refused() -> None:
    with pytest.raises(InvalidTensor, match="at least one id must be 0"):
        cut(GivenSegments({}), zeros(1))


# ---- groups


def test_groups_by_index_and_name_may_span_inputs() -> None:
    inputs = {"a": np.zeros((2, 2)), "b": np.zeros(2), "c": np.zeros((3, 3))}
    spec = Groups((Group("p", (Member("b", "second"), Member("a", 3))), Group("q", (Member("a", 0),))))
    segments = cut(spec, inputs, names={"b": ("first", "second")})
    np.testing.assert_array_equal(segments.ids["a"], [[1, -1], [-1, 0]])
    np.testing.assert_array_equal(segments.ids["b"], [-1, 0])
    np.testing.assert_array_equal(segments.ids["c"], [[-1]])
    assert segments.ids["a"].dtype == np.int32
    assert (segments.count, segments.names) == (2, ("p", "q"))


def test_groups_without_a_list_are_those_of_the_spec() -> None:
    segments = cut(Groups(), zeros(3), spec_groups=(group("p", 2),))
    np.testing.assert_array_equal(segments.ids["x"], [-1, -1, 0])
    assert cut(Groups((group("q", 0),)), zeros(3), spec_groups=(group("p", 2),)).names == ("q",)


@pytest.mark.parametrize(
    ("groups", "field", "says"),
    [
        ((), "groups", "list some"),
        ((group("p", 0), group("q")), "groups[1]", "'q' has no members"),
        ((group("p", 0), group("q", 1), group("p", 2)), "groups[2]", "groups 0 and 2 are both named 'p'"),
        ((group("p", 0, 3),), "groups[0].members[1]", "element 3 is out of range: input 'x' has elements 0 to 2"),
        ((group("p", -1),), "groups[0].members[0]", "element -1 is out of range"),
        ((group("p", 0), group("q", 1, 0)), "groups[1].members[1]", "element 0 of input 'x' is in group 'p' already"),
        ((group("p", 0, "a"),), "groups[0].members[1]", "in group 'p' already"),
        ((group("p", "z"),), "groups[0].members[0]", "no feature named 'z'"),
        ((group("p", "twin"),), "groups[0].members[0]", "several features are named 'twin'"),
        ((group("p", 0, of="y"),), "groups[0].members[0]", "input 'y' is not explained; explained: 'x'"),
    ],
)
def test_groups_refused(groups: tuple[Group, ...], field: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        cut(Groups(groups), zeros(3), names={"x": ("a", "twin", "twin")})
    assert caught.value.field == field


def test_members_must_name_their_input_where_several_are_explained() -> None:
    with pytest.raises(InvalidRequest, match="must name its input") as caught:
        cut(Groups((group("p", 0),)), {"a": np.zeros(1), "b": np.zeros(1)})
    assert caught.value.field == "groups[0].members[0]"


def test_a_name_finds_its_input_where_one_alone_has_it() -> None:
    inputs = {"x": np.zeros(2), "y": np.zeros(2)}
    names = {"x": ("a", "b"), "y": ("c", "b")}
    segments = cut(Groups((group("p", "a", "c"), group("q", "b", of="y"))), inputs, names=names)
    assert {name: ids.tolist() for name, ids in segments.ids.items()} == {"x": [0, -1], "y": [0, 1]}
    for name, says in (("b", "several features are named 'b' in the explained inputs 'x', 'y'"), ("z", "no feature")):
        with pytest.raises(InvalidRequest, match=says) as caught:
            cut(Groups((group("p", "a", name),)), inputs, names=names)
        assert caught.value.field == "groups[0].members[1]"


def test_more_names_than_elements_are_out_of_range() -> None:
    with pytest.raises(InvalidRequest, match="element 1 is out of range") as caught:
        cut(Groups((group("p", "b"),)), zeros(1), names={"x": ("a", "b")})
    assert caught.value.field == "groups[0].members[0]"
