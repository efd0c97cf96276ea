"""Plans and refusals of the rows method."""

from __future__ import annotations

import numpy as np
import pytest

from assayd.errors import InvalidRequest, InvalidTensor
from assayd.methods import METHODS
from assayd.methods.rows import Rows
from assayd.types.arrays import Array
from assayd.types.request import Elements
from assayd.types.rows import MaskRows
from assayd.types.subject import Segments, Subject


def table(x: Array, *baselines: Array, ids: tuple[int, ...] = (0, 1)) -> Subject:
    return Subject({"x": x}, {"x": np.stack(baselines)}, Segments({"x": np.array(ids, np.int32)}, max(ids) + 1))


FLOATS = table(np.zeros(2), np.ones(2), np.full(2, 2.0))


def masks_of(keep: Array, subject: Subject, a: int, b: int) -> MaskRows:
    plan = next(Rows(keep, Elements()).explain(subject))
    assert plan.size == len(keep) * subject.baseline_count
    [masks] = plan.rows(a, b)
    assert isinstance(masks, MaskRows)
    return masks


def test_the_method_is_known_by_the_name_of_its_message() -> None:
    assert METHODS["rows"] is Rows
    assert Rows.revision == 1


def test_masks_are_numbered_with_the_baselines_inside() -> None:
    masks = masks_of(np.array([[0, 1], [0.5, 1]]), FLOATS, 1, 4)
    np.testing.assert_array_equal(masks.keep, [[0, 1], [0.5, 1], [0.5, 1]])
    np.testing.assert_array_equal(masks.baseline, [1, 0, 1])
    assert masks.baseline.dtype == np.int32


@pytest.mark.parametrize("dtype", [np.bool_, np.float32, np.float64])
def test_masks_that_only_select_become_bool(dtype: type) -> None:
    assert masks_of(np.array([[0, 1]], dtype), FLOATS, 0, 2).keep.dtype == np.bool_


def test_fractions_keep_their_dtype() -> None:
    assert masks_of(np.array([[0.5, 1]], np.float32), FLOATS, 0, 2).keep.dtype == np.float32


@pytest.mark.parametrize(
    ("keep", "says"),
    [
        (np.zeros((1, 2), np.int64), "int64, not bool, float32 or float64"),
        (np.zeros((1, 2), np.float16), "float16"),
        (np.zeros(2), r"shape \[2\], not \[n, 2\]"),
        (np.zeros((1, 3)), r"shape \[1, 3\], not \[n, 2\]"),
        (np.zeros((0, 2)), r"shape \[0, 2\]"),
        (np.zeros((1, 2, 1)), r"shape \[1, 2, 1\]"),
    ],
)
def test_masks_of_a_wrong_kind_are_refused(keep: Array, says: str) -> None:
    with pytest.raises(InvalidTensor, match=says) as caught:
        next(Rows(keep, Elements()).explain(FLOATS))
    assert caught.value.field == "keep"


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan, np.inf, -np.inf])
def test_masks_beyond_0_and_1_are_refused(bad: float) -> None:
    with pytest.raises(InvalidRequest, match="between 0 and 1") as caught:
        next(Rows(np.array([[1.0, bad]]), Elements()).explain(FLOATS))
    assert caught.value.field == "keep"


@pytest.mark.parametrize("x", [np.zeros(2, np.int64), np.array(["a", "b"], object)])
def test_what_is_no_floating_point_is_selected_and_never_blended(x: Array) -> None:
    subject = table(x, x)
    assert masks_of(np.array([[0.0, 1.0]]), subject, 0, 1).keep.dtype == np.bool_
    with pytest.raises(InvalidRequest, match="no floating-point input: use 0 or 1") as caught:
        next(Rows(np.array([[0.5, 1.0]]), Elements()).explain(subject))
    assert caught.value.field == "keep"


@pytest.mark.parametrize(
    ("x", "baseline"), [(np.array([np.nan, 0]), np.zeros(2)), (np.zeros(2), np.array([np.inf, 0]))]
)
def test_what_is_not_finite_is_selected_and_never_blended(x: Array, baseline: Array) -> None:
    subject = table(x, np.zeros(2), baseline)
    masks_of(np.array([[0.0, 0.5], [1.0, 0.25]]), subject, 0, 1)
    with pytest.raises(InvalidRequest, match="NaN or infinite in input 'x' or its baseline") as caught:
        next(Rows(np.array([[1.0, 0.5], [0.5, 1.0]]), Elements()).explain(subject))
    assert caught.value.field == "keep"


def test_untouched_elements_may_be_anything() -> None:
    subject = table(np.array([0.0, np.nan]), np.array([1.0, np.nan]), ids=(0, -1))
    masks_of(np.array([[0.5]]), subject, 0, 1)


def test_features_must_be_said() -> None:
    with pytest.raises(InvalidRequest, match="what the columns of keep mean") as caught:
        next(Rows(np.zeros((1, 2))).explain(Subject({"x": np.zeros(2)}, {"x": np.zeros((1, 2))})))
    assert caught.value.field == "features"
