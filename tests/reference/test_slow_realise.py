"""The oracle against numbers written by hand."""

from __future__ import annotations

import numpy as np

from assayd.types.rows import BoxRows, MaskRows, NudgeRows, PlainRows, SampleRows
from assayd.types.subject import Segments, Subject
from tests.slow_realise import slow_realise

NAN = np.nan


def i32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def a_subject() -> Subject:
    """x is [[1, 2, 3], [4, NaN, 6]]; column 0 is feature 0, column 1 feature 1, column 2 never touched."""
    x = np.array([[1, 2, 3], [4, NAN, 6]], np.float32)
    other = np.array([7, 8], np.int64)
    baselines = np.array([[[10, 20, 30], [40, 50, 60]], [[-1, NAN, -3], [-4, -5, -6]]], np.float32)
    return Subject(
        inputs={"x": x, "other": other},
        baselines={"x": baselines},
        segments=Segments({"x": np.array([[0, 1, -1]], np.int32)}, 2),
        scale={"x": np.array([[1], [2]], np.float64)},
    )


def test_plain_rows_replace_all_but_untouched_elements() -> None:
    got = slow_realise(a_subject(), [PlainRows(i32(-1, 1))])
    np.testing.assert_array_equal(got["x"], np.array([[[1, 2, 3], [4, NAN, 6]], [[-1, NAN, 3], [-4, -5, 6]]]))
    np.testing.assert_array_equal(got["other"], [[7, 8], [7, 8]])
    assert got["x"].dtype == np.float32
    assert got["other"].dtype == np.int64


def test_plain_rows_without_segments_replace_everything_explained() -> None:
    subject = Subject(inputs=a_subject().inputs, baselines=a_subject().baselines)
    got = slow_realise(subject, [PlainRows(i32(0))])
    np.testing.assert_array_equal(got["x"], [[[10, 20, 30], [40, 50, 60]]])


def test_masks_select_and_never_multiply() -> None:
    keep = np.array([[True, False], [False, True]])
    got = slow_realise(a_subject(), [MaskRows(keep, i32(0, 1))])
    np.testing.assert_array_equal(got["x"], np.array([[[1, 20, 3], [4, 50, 6]], [[-1, 2, 3], [-4, NAN, 6]]]))


def test_fractions_blend() -> None:
    got = slow_realise(a_subject(), [MaskRows(np.array([[0.25, 0.0]]), i32(0))])
    np.testing.assert_array_equal(got["x"], np.array([[[7.75, 20, 3], [31, 50, 6]]]))


def test_boxes_take_the_baseline_inside() -> None:
    boxes = BoxRows("x", (1,), np.array([[0], [2]]), np.array([[2], [1]]), i32(0, 1))
    got = slow_realise(a_subject(), [boxes])
    np.testing.assert_array_equal(got["x"], np.array([[[10, 20, 3], [40, 50, 6]], [[1, 2, -3], [4, NAN, -6]]]))


def test_nudges_move_one_feature_by_its_scale() -> None:
    got = slow_realise(a_subject(), [NudgeRows(i32(0, 1), np.array([0.5, -1.0]))])
    np.testing.assert_array_equal(got["x"], np.array([[[1.5, 2, 3], [5, NAN, 6]], [[1, 1, 3], [4, NAN, 6]]]))


def test_samples_are_taken_as_they_are_and_blocks_follow_each_other() -> None:
    sample = np.full((1, 2, 3), 9, np.float32)
    got = slow_realise(a_subject(), [SampleRows({"x": sample}), PlainRows(i32(-1))])
    np.testing.assert_array_equal(got["x"][0], sample[0])
    np.testing.assert_array_equal(got["x"][1], a_subject().inputs["x"])


def test_x_itself_is_not_written_to() -> None:
    subject = a_subject()
    slow_realise(subject, [PlainRows(i32(0)), MaskRows(np.zeros((1, 2)), i32(0))])
    np.testing.assert_array_equal(subject.inputs["x"], a_subject().inputs["x"])
