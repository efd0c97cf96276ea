"""Plans, refusals and cost of occlusion; its numbers stand in tests/reference and tests/property."""

from __future__ import annotations

import time
import tracemalloc
import weakref

import numpy as np
import pytest

from assayd.errors import InvalidRequest
from assayd.methods import METHODS
from assayd.methods.occlusion import Occlusion
from assayd.types.arrays import Floats
from assayd.types.request import Elements, PerInput
from assayd.types.result import Attribution, Scores
from assayd.types.rows import BoxRows, MaskRows, Plan
from assayd.types.subject import Segments, Subject


def sizes(*values: int, of: str = "") -> PerInput[tuple[int, ...]]:
    return PerInput({of: values})


def image(*shape: int, spatial: tuple[int, ...] | None = None, baselines: int = 1) -> Subject:
    return Subject({"x": np.zeros(shape)}, {"x": np.zeros((baselines, *shape))}, spatial_axes={"x": spatial})


def plan_of(method: Occlusion, subject: Subject) -> Plan:
    return next(method.explain(subject))


def test_the_method_is_known_by_the_name_of_its_message() -> None:
    assert METHODS["occlusion"] is Occlusion
    assert Occlusion.revision == 1


def test_boxes_are_numbered_window_by_window_with_the_baselines_inside() -> None:
    plan = plan_of(Occlusion(sizes(2), sizes(3)), image(5, baselines=2))
    [boxes] = plan.rows(0, plan.size)
    assert isinstance(boxes, BoxRows)
    assert plan.size == 4
    assert (boxes.tensor, boxes.axes) == ("x", (0,))
    np.testing.assert_array_equal(boxes.starts, [[0], [0], [3], [3]])
    np.testing.assert_array_equal(boxes.sizes, [[2], [2], [2], [2]])
    np.testing.assert_array_equal(boxes.baseline, [0, 1, 0, 1])
    assert (boxes.starts.dtype, boxes.sizes.dtype, boxes.baseline.dtype) == (np.int64, np.int64, np.int32)


def test_a_request_for_rows_may_straddle_inputs() -> None:
    subject = Subject(
        {"a": np.zeros(4), "skipped": np.zeros(2), "b": np.zeros((2, 2))},
        {"a": np.zeros((3, 4)), "b": np.zeros((3, 2, 2))},
    )
    plan = plan_of(Occlusion(PerInput({"a": (2,), "": (1, 2)})), subject)
    assert plan.size == (2 + 2) * 3
    first, second = plan.rows(4, 8)
    assert isinstance(first, BoxRows)
    assert isinstance(second, BoxRows)
    assert (first.tensor, second.tensor) == ("a", "b")
    np.testing.assert_array_equal(first.starts, [[2], [2]])
    np.testing.assert_array_equal(first.baseline, [1, 2])
    np.testing.assert_array_equal(second.starts, [[0, 0], [0, 0]])
    np.testing.assert_array_equal(second.baseline, [0, 1])
    assert [block.tensor for block in plan.rows(6, 12) if isinstance(block, BoxRows)] == ["b"]


@pytest.mark.parametrize(
    ("spatial", "window", "axes"),
    [
        ((1, 2), (2, 2), (1, 2)),
        ((0, 1), (2, 2), (0, 1)),
        (None, (2, 2), (1, 2)),
        (None, (3,), (2,)),
        ((0,), (2,), (0,)),
    ],
)
def test_windows_follow_the_layout_or_the_trailing_axes(
    spatial: tuple[int, ...] | None, window: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    subject = image(3, 3, 3, spatial=spatial)
    plan = plan_of(Occlusion(sizes(*window)), subject)
    [boxes] = plan.rows(0, 1)
    assert isinstance(boxes, BoxRows)
    assert boxes.axes == axes


def test_a_window_that_would_start_beyond_the_border_is_none() -> None:
    # ceil((5 - 1) / 3) = 2, but 2 x 3 lies outside.
    plan = plan_of(Occlusion(sizes(1), sizes(3)), image(5))
    [boxes] = plan.rows(0, plan.size)
    assert isinstance(boxes, BoxRows)
    np.testing.assert_array_equal(boxes.starts, [[0], [3]])
    assert plan_of(Occlusion(sizes(1), sizes(2**62)), image(5)).size == 1


def test_masks_leave_one_feature_out() -> None:
    subject = Subject({"x": np.zeros(3)}, {"x": np.zeros((2, 3))}, Segments({"x": np.array([0, 1, 2], np.int32)}, 3))
    plan = plan_of(Occlusion(features=Elements()), subject)
    assert plan.size == 6
    [masks] = plan.rows(1, 4)
    assert isinstance(masks, MaskRows)
    np.testing.assert_array_equal(masks.keep, [[0, 1, 1], [1, 0, 1], [1, 0, 1]])
    np.testing.assert_array_equal(masks.baseline, [1, 0, 1])
    assert masks.keep.dtype == np.bool_
    assert masks.baseline.dtype == np.int32


@pytest.mark.parametrize(
    ("method", "field", "says"),
    [
        (Occlusion(), "window", "either window or features"),
        (Occlusion(sizes(1, 1), features=Elements()), "window", "either window or features"),
        (Occlusion(stride=sizes(1, 1)), "window", "either window or features"),
        (Occlusion(stride=sizes(1, 1), features=Elements()), "stride", "a stride needs a window"),
        (Occlusion(features=Elements(), edge="valid"), "edge", "an edge rule needs a window"),
        (Occlusion(sizes(1, 1), edge="wrap"), "edge", "one of clip, valid, not 'wrap'"),
        (Occlusion(sizes(1)), "window", "has 1 sizes; by its layout it has 2 spatial axes"),
        (Occlusion(sizes(1, 1, 1)), "window", "has 3 sizes; by its layout"),
        (Occlusion(sizes(0, 1)), "window", r"at least 1; input 'x' has \[0, 1\]"),
        (Occlusion(sizes(1, 1), sizes(1, -1)), "stride", r"at least 1; input 'x' has \[1, -1\]"),
        (Occlusion(sizes(1, 1), sizes(1)), "stride", "has 1 sizes, its window 2"),
        (Occlusion(sizes(1, 1), sizes()), "stride", "has 0 sizes, its window 2"),
        (Occlusion(sizes(5, 1)), "window", "a window of 5 is longer than axis 1 of input 'x', which has 4.*layout"),
        (Occlusion(sizes(1, 1, of="y")), "window", "window for input 'y', which is not explained; explained: 'x'"),
        (Occlusion(sizes(1, 1), sizes(1, 1, of="y")), "stride", "stride for input 'y', which is not explained"),
    ],
)
def test_refused_before_the_first_plan(method: Occlusion, field: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        plan_of(method, image(3, 4, 4, spatial=(1, 2)))
    assert caught.value.field == field


@pytest.mark.parametrize("window", [(), (1, 1, 1)])
def test_without_layout_a_window_has_at_most_an_axis_a_size(window: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequest, match=f"has {len(window)} sizes; its instances have 2 axes") as caught:
        plan_of(Occlusion(sizes(*window)), image(4, 4))
    assert caught.value.field == "window"


def test_every_explained_input_needs_a_window() -> None:
    subject = Subject({"a": np.zeros(2), "b": np.zeros(2)}, {"a": np.zeros((1, 2)), "b": np.zeros((1, 2))})
    with pytest.raises(InvalidRequest, match="no window for input 'b'") as caught:
        plan_of(Occlusion(sizes(1, of="a")), subject)
    assert caught.value.field == "window"


def test_a_large_plan_is_made_a_batch_at_a_time() -> None:
    plan = plan_of(Occlusion(sizes(5, 5), sizes(1, 1)), image(1, 392, 392, spatial=(1, 2)))
    assert plan.size == 388 * 388 > 150_000
    tracemalloc.start()
    for a in range(0, plan.size, 10_000):
        [boxes] = plan.rows(a, min(a + 32, plan.size))
        assert len(boxes) <= 32
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000, "rows of one batch take kilobytes"


def test_masks_are_made_a_batch_at_a_time() -> None:
    count = 3 * 224 * 224
    ids = np.arange(count, dtype=np.int32)
    subject = Subject(
        {"x": np.zeros(count, np.float32)}, {"x": np.zeros((1, count), np.float32)}, Segments({"x": ids}, count)
    )
    plan = plan_of(Occlusion(features=Elements()), subject)
    [masks] = plan.rows(150_000, 150_008)
    assert isinstance(masks, MaskRows)
    assert masks.keep.shape == (8, count)
    np.testing.assert_array_equal(np.argmin(masks.keep, axis=1), np.arange(150_000, 150_008))


def finish(method: Occlusion, subject: Subject, rows: Floats) -> Attribution:
    explanation = method.explain(subject)
    next(explanation)
    try:
        explanation.send(Scores(rows, np.zeros(rows.shape[1]), np.zeros((subject.baseline_count, rows.shape[1]))))
    except StopIteration as end:
        result: Attribution = end.value
        return result
    raise AssertionError("occlusion asks for one plan")


@pytest.mark.parametrize("baselines", [1, 2, 50])
@pytest.mark.parametrize("method", [Occlusion(sizes(2)), Occlusion(features=Elements())])
def test_no_more_scores_are_held_than_there_are_values(method: Occlusion, baselines: int) -> None:
    subject = Subject(
        {"x": np.zeros(6)}, {"x": np.zeros((baselines, 6))}, Segments({"x": np.arange(3, dtype=np.int32).repeat(2)}, 3)
    )
    rows = np.random.default_rng(0).normal(size=(3 * baselines, 2))
    want, held = rows.reshape(3, baselines, 2).mean(axis=1).T, weakref.ref(rows)
    got = finish(method, subject, rows)
    assert got.drawn is not None
    np.testing.assert_array_equal(got.drawn().scores, want)
    assert np.shares_memory(got.drawn().scores, rows) == (baselines == 1)  # these are as many, so there is no copy
    del rows
    assert (held() is None) == (baselines > 1)


def test_maps_of_many_windows_are_right_and_made_in_no_time() -> None:
    rng = np.random.default_rng(0)
    extent, window, stride = 224, (15, 9), (2, 3)
    grid = [-(-(extent - w) // s) + 1 for w, s in zip(window, stride, strict=True)]
    rows = rng.normal(size=(grid[0] * grid[1], 2)) * 10.0 ** rng.integers(-6, 7, size=(grid[0] * grid[1], 1))
    begun = time.perf_counter()
    got = finish(Occlusion(sizes(*window), sizes(*stride)), image(3, extent, extent, spatial=(1, 2)), rows).maps["x"]
    assert time.perf_counter() - begun < 2.0  # about 10 ms

    total, size, cover = np.zeros((2, extent, extent)), np.zeros((2, extent, extent)), np.zeros((extent, extent))
    for (i, j), row in zip(np.ndindex(*grid), rows, strict=True):
        inside = np.s_[i * stride[0] : i * stride[0] + window[0], j * stride[1] : j * stride[1] + window[1]]
        total[:, *inside] -= row[:, None, None]
        size[:, *inside] += np.abs(row)[:, None, None]
        cover[inside] += 1
    assert got.shape == (2, 1, extent, extent)
    # To rounding: relative to what was added up, as terms of either sign cancel.
    assert (np.abs(got[:, 0] - total / cover) <= 1e-13 * size / cover).all()
