"""Baselines on small arrays, with numbers written by hand, and every refusal with its field."""

from __future__ import annotations

import numpy as np
import pytest

from assayd.errors import InvalidRequest, InvalidTensor
from assayd.features.align import align
from assayd.features.baselines import MAX_SIGMA, baseline_of
from assayd.types.arrays import Array, Ids
from assayd.types.request import BaselineSpec, Constant, GaussianBlur, Given, Mean, SegmentMean


def make(
    spec: BaselineSpec,
    x: Array,
    *,
    spatial: tuple[int, ...] | None = None,
    channel: int | None = None,
    ids: Ids | None = None,
) -> Array:
    return baseline_of(spec, x, spatial, channel, ids)


# ---- constant


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (np.float32, 0.1),
        (np.float16, -65504.0),
        (np.float32, np.nan),
        (np.float64, np.inf),
        (np.int64, -(2.0**63)),
        (np.uint64, 2.0**63),
        (np.uint8, 255.0),
        (np.bool_, 1.0),
    ],
)
def test_a_constant_stands_in_every_element(dtype: type, value: float) -> None:
    got = make(Constant(value), np.zeros((2, 1), dtype))
    assert got.shape == (1, 2, 1)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, np.full((1, 2, 1), np.dtype(dtype).type(value)))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (np.int64, 0.5),
        (np.int64, 2.0**63),
        (np.int32, np.nan),
        (np.int32, np.inf),
        (np.uint8, -1.0),
        (np.uint8, 256.0),
        (np.float32, 1e300),
        (np.float16, 1e5),
        (np.bool_, 2.0),
        (np.bool_, 0.5),
        (object, 0.0),
    ],
)
def test_a_constant_that_the_dtype_cannot_hold_is_refused(dtype: type, value: float) -> None:
    with pytest.raises(InvalidRequest, match="can't stand in a") as caught:
        make(Constant(value), np.zeros(2, dtype))
    assert caught.value.field == "constant"


# ---- given


def test_a_given_baseline_is_one_or_several() -> None:
    x = np.zeros((2, 3), np.float32)
    one = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(make(Given(one), x), one[None])
    several = np.stack([one, one + 1])
    np.testing.assert_array_equal(make(Given(several), x), several)


def test_float64_is_rounded_to_any_floating_dtype() -> None:
    got = make(Given(np.array([0.1, np.inf, np.nan])), np.zeros(3, np.float32))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, np.array([[0.1, np.inf, np.nan]], np.float32))


def test_strings_can_be_given() -> None:
    got = make(Given(np.array(["", "?"], object)), np.array(["a", "b"], object))
    assert got.tolist() == [["", "?"]]
    assert got.dtype == object


@pytest.mark.parametrize(
    ("tensor", "dtype", "says"),
    [
        (np.zeros(2, np.float32), np.float64, "float32, the input float64"),
        (np.zeros(2), np.int64, "float64, the input int64"),
        (np.zeros(2, np.int64), np.float32, "int64, the input float32"),
        (np.zeros(3), np.float64, r"shape \[3\], not \[2\] or \[K, 2\]"),
        (np.zeros((2, 3)), np.float64, r"shape \[2, 3\]"),
        (np.zeros((0, 2)), np.float64, "K of at least 1"),
        (np.zeros((1, 1, 2)), np.float64, r"shape \[1, 1, 2\]"),
        (np.zeros(()), np.float64, r"shape \[\]"),
        (np.array([0, 1e300]), np.float32, "beyond the range of float32"),
    ],
)
def test_given_baselines_refused(tensor: Array, dtype: type, says: str) -> None:
    with pytest.raises(InvalidTensor, match=says) as caught:
        make(Given(tensor), np.zeros(2, dtype))
    assert caught.value.field == "tensor"


# ---- mean


@pytest.mark.parametrize(
    ("axes", "want"),
    [
        ((), [[2.5, 2.5], [2.5, 2.5]]),
        ((0,), [[2.0, 3.0], [2.0, 3.0]]),
        ((-1,), [[1.5, 1.5], [3.5, 3.5]]),
        ((0, -1), [[2.5, 2.5], [2.5, 2.5]]),
    ],
)
def test_means_over_axes(axes: tuple[int, ...], want: list[list[float]]) -> None:
    got = make(Mean(axes), np.array([[1, 2], [3, 4]], np.float32))
    np.testing.assert_array_equal(got, [want])
    assert got.dtype == np.float32


def test_means_are_taken_in_float64() -> None:
    x = np.full(4096, 100.0, np.float16)
    np.testing.assert_array_equal(make(Mean(), x), x[None])


@pytest.mark.parametrize(("axes", "says"), [((2,), "out of range"), ((-3,), "out of range"), ((1, -1), "twice")])
def test_mean_axes_refused(axes: tuple[int, ...], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        make(Mean(axes), np.zeros((2, 2)))
    assert caught.value.field == "mean.axes"


# ---- blur


def test_a_blur_goes_along_spatial_axes_only() -> None:
    x = np.zeros((2, 9, 9), np.float32)
    x[0, 4, 4] = 1.0
    got = make(GaussianBlur(1.0), x, spatial=(1, 2), channel=0)[0]
    taps = np.exp(-0.5 * np.arange(-4.0, 5) ** 2)
    taps /= taps.sum()
    np.testing.assert_allclose(got[0], np.outer(taps, taps), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(got[1], 0.0)
    assert got.dtype == np.float32


def test_a_blur_without_layout_goes_along_all_axes_and_repeats_edges() -> None:
    x = np.random.default_rng(0).normal(size=(3, 5))
    taps = np.exp(-0.5 * (np.arange(-8.0, 9) / 2) ** 2)
    taps /= taps.sum()
    want = np.pad(x, 8, mode="edge")
    for axis in (0, 1):
        want = np.apply_along_axis(lambda line: np.convolve(line, taps, mode="valid"), axis, want)
    np.testing.assert_allclose(make(GaussianBlur(2.0), x)[0], want, rtol=1e-12)


def test_a_scalar_blurs_to_itself() -> None:
    np.testing.assert_array_equal(make(GaussianBlur(1.0), np.array(3.0)), [3.0])


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf, MAX_SIGMA * 1.01])
def test_sigmas_refused(sigma: float) -> None:
    with pytest.raises(InvalidRequest, match="above 0 and at most 256") as caught:
        make(GaussianBlur(sigma), np.zeros(3))
    assert caught.value.field == "gaussian_blur.sigma"


# ---- segment mean


def test_segment_means_by_channel() -> None:
    x = np.array([[[1, 3], [5, 7]], [[10, 30], [50, 70]]], np.float32)
    ids = np.array([[[0, 0], [1, -1]]], np.int32)
    got = make(SegmentMean(), x, spatial=(1, 2), channel=0, ids=ids)
    np.testing.assert_array_equal(got, [[[[2, 2], [5, 7]], [[20, 20], [50, 70]]]])
    assert got.dtype == np.float32


def test_channels_stay_apart_where_ids_are_written_out_for_each() -> None:
    x = np.array([[1.0, 10.0], [3.0, 30.0]])
    ids = np.zeros((2, 2), np.int32)
    np.testing.assert_array_equal(make(SegmentMean(), x, channel=1, ids=ids), [[[2, 20], [2, 20]]])
    np.testing.assert_array_equal(make(SegmentMean(), x, ids=ids), [[[11, 11], [11, 11]]])


def test_many_segments_in_many_channels_do_not_overflow() -> None:
    # Segment 2^16 of 2^16 channels begins at cell 2^32, which an int32 takes for cell 0.
    x = np.arange(2 << 16, dtype=np.float64).reshape(2, -1)
    ids = np.array([[0], [1 << 16]], np.int32)
    np.testing.assert_array_equal(make(SegmentMean(), x, channel=1, ids=ids), x[None])


def test_segment_means_leave_untouched_nan_alone() -> None:
    x = np.array([1.0, 3.0, np.nan])
    got = make(SegmentMean(), x, ids=np.array([0, 0, -1], np.int32))
    np.testing.assert_array_equal(got, [[2.0, 2.0, np.nan]])
    np.testing.assert_array_equal(x, [1.0, 3.0, np.nan])


def test_segment_means_need_segments() -> None:
    with pytest.raises(InvalidRequest, match="needs features made of segments") as caught:
        make(SegmentMean(), np.zeros(2))
    assert caught.value.field == "segment_mean"


# ---- what has no mean

IDS = np.zeros(2, np.int32)
AVERAGES = [(Mean(), "mean"), (GaussianBlur(1.0), "gaussian_blur"), (SegmentMean(), "segment_mean")]


@pytest.mark.parametrize(("spec", "field"), AVERAGES)
@pytest.mark.parametrize("x", [np.zeros(2, np.int64), np.zeros(2, np.bool_), np.array(["a", "b"], object)])
def test_only_floating_point_has_averages(spec: BaselineSpec, field: str, x: Array) -> None:
    with pytest.raises(InvalidRequest, match="needs a floating-point input") as caught:
        make(spec, x, ids=IDS)
    assert caught.value.field == field


@pytest.mark.parametrize(("spec", "field"), AVERAGES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_missing_values_have_no_averages(spec: BaselineSpec, field: str, bad: float) -> None:
    with pytest.raises(InvalidRequest, match="NaN or infinity") as caught:
        make(spec, np.array([0.0, bad]), ids=IDS)
    assert caught.value.field == field


@pytest.mark.parametrize(("spec", "field"), [AVERAGES[0], AVERAGES[2]])
def test_averages_that_overflow_are_refused(spec: BaselineSpec, field: str) -> None:
    with pytest.raises(InvalidRequest, match="overflows float64") as caught:
        make(spec, np.full(2, 1.7e308), ids=IDS)
    assert caught.value.field == field


# ---- several inputs


def test_a_lone_baseline_serves_all() -> None:
    got = align({"a": np.zeros((3, 2)), "b": np.ones((1, 4)), "c": np.full((1,), 2.0)})
    assert {name: tensor.shape for name, tensor in got.items()} == {"a": (3, 2), "b": (3, 4), "c": (3,)}
    assert list(align({"b": np.zeros((1, 1)), "a": np.zeros((1, 1))})) == ["b", "a"]


def test_unequal_background_sets_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="there are 3 for 'a', 2 for 'b'") as caught:
        align({"a": np.zeros((3, 2)), "b": np.zeros((2, 2)), "c": np.zeros((1, 2))})
    assert caught.value.field == "baseline"
