"""What holds for any cut and any baseline."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assayd.features.align import align
from assayd.features.baselines import baseline_of
from assayd.features.segments import segments_of
from assayd.types.arrays import Array
from assayd.types.request import (
    Constant,
    Elements,
    GaussianBlur,
    GivenSegments,
    Grid,
    Group,
    Groups,
    Mean,
    Member,
    SegmentMean,
)
from assayd.types.subject import Segments, Subject
from tests.property.strategies import quick, seeds, shapes, subjects


def cut(spec: object, inputs: dict[str, Array]) -> Segments:
    return segments_of(spec, inputs, {}, {}, {}, ())


def check_partition(segments: Segments, inputs: dict[str, Array]) -> None:
    """Ids of the instance's rank, from -1, each feature with an element, one name each or none at all."""
    assert list(segments.ids) == list(inputs)
    for name, ids in segments.ids.items():
        assert ids.dtype == np.int32
        assert ids.ndim == inputs[name].ndim
        assert all(n in (1, full) for n, full in zip(ids.shape, inputs[name].shape, strict=True))
    found = np.unique(np.concatenate([ids.reshape(-1) for ids in segments.ids.values()]))
    np.testing.assert_array_equal(found[found >= 0], np.arange(segments.count))
    assert len(segments.names) in (0, segments.count)
    assert len(set(segments.names)) == len(segments.names)


@quick
@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple), min_size=1, max_size=2), st.data())
def test_grids_are_partitions_into_nearly_equal_cells(extents: list[tuple[int, ...]], data: st.DataObject) -> None:
    inputs = {name: np.zeros(shape) for name, shape in zip("ab", extents, strict=False)}
    flat = any(len(shape) == 1 for shape in extents)
    rows = 1 if flat else data.draw(st.integers(1, min(shape[-2] for shape in extents)))
    cols = data.draw(st.integers(1, min(shape[-1] for shape in extents)))
    segments = cut(Grid(rows, cols), inputs)
    check_partition(segments, inputs)
    assert segments.count == rows * cols * len(inputs)
    for ids, shape in zip(segments.ids.values(), extents, strict=True):
        assert ids.shape == (*(1,) * (len(shape) - 2), *shape[-2:])
        plane = ids.reshape(-1, ids.shape[-1]) - ids.min()
        for along, cells in ((plane[:, 0] // cols, rows), (plane[0] % cols, cols)):
            sizes = np.bincount(along, minlength=cells)
            assert sizes.max() - sizes.min() <= 1
            assert (np.diff(along) >= 0).all()


@quick
@given(st.lists(shapes, min_size=1, max_size=2))
def test_elements_are_numbered_row_major_on_from_input_to_input(extents: list[tuple[int, ...]]) -> None:
    inputs = {name: np.zeros(shape) for name, shape in zip("ab", extents, strict=False)}
    segments = cut(Elements(), inputs)
    check_partition(segments, inputs)
    flat = np.concatenate([ids.reshape(-1) for ids in segments.ids.values()])
    np.testing.assert_array_equal(flat, np.arange(sum(x.size for x in inputs.values())))


@quick
@given(subjects())
def test_groups_made_of_given_segments_cut_alike(subject: Subject) -> None:
    assert subject.segments is not None
    inputs = dict(subject.inputs)
    from_ids = cut(GivenSegments(subject.segments.ids), inputs)
    check_partition(from_ids, inputs)
    groups = [
        Group(
            f"g{feature}",
            tuple(
                Member(name, int(element))
                for name, ids in subject.segments.ids.items()
                for element in np.flatnonzero(ids == feature)
            ),
        )
        for feature in range(subject.segments.count)
    ]
    from_groups = cut(Groups(tuple(groups)), inputs)
    check_partition(from_groups, inputs)
    for name, x in inputs.items():
        np.testing.assert_array_equal(np.broadcast_to(from_groups.ids[name], x.shape), from_ids.ids[name])


@quick
@given(subjects(), st.integers(0, 2))
def test_segment_means_replace_what_each_segment_holds_by_its_mean(subject: Subject, channel: int) -> None:
    assert subject.segments is not None
    for name, x in subject.inputs.items():
        axis = channel if channel < x.ndim else None
        ids = subject.segments.ids[name]
        got = baseline_of(SegmentMean(), x, None, axis, ids)[0]
        for index in np.ndindex(x.shape):
            same = ids == ids[index]
            if axis is not None:
                there = np.zeros(x.shape, bool)
                there[(slice(None),) * axis + (index[axis],)] = True
                same &= there
            want = x[index] if ids[index] == -1 else x[same].mean()
            np.testing.assert_allclose(got[index], want, rtol=1e-12, atol=1e-14)


@quick
@given(shapes, seeds)
def test_segment_means_where_ids_are_constant_along_an_axis_are_taken_apart(shape: tuple[int, ...], seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=shape)
    ids = np.zeros((*shape[:-1], 1), np.int32)
    got = baseline_of(SegmentMean(), x, None, None, ids)[0]
    axes = tuple(range(x.ndim - 1))
    np.testing.assert_allclose(got, np.broadcast_to(x.mean(axis=axes, keepdims=True), shape), rtol=1e-12, atol=1e-14)


@quick
@given(shapes, seeds, st.floats(0.1, 3.0))
def test_blurs_and_means_stay_within_the_range_and_leave_constants(
    shape: tuple[int, ...], seed: int, sigma: float
) -> None:
    x = np.random.default_rng(seed).normal(size=shape)
    for spec in (GaussianBlur(sigma), Mean()):
        got = baseline_of(spec, x, None, None, None)
        assert got.shape == (1, *shape)
        assert got.min() >= x.min() - 1e-12
        assert got.max() <= x.max() + 1e-12
        level = np.full(shape, 2.5, np.float32)
        np.testing.assert_array_equal(baseline_of(spec, level, None, None, None), level[None])


@quick
@given(st.lists(st.sampled_from([1, 3]), min_size=1, max_size=3))
def test_aligned_baselines_agree_in_number(counts: list[int]) -> None:
    made = {str(n): np.random.default_rng(n).normal(size=(count, 2)) for n, count in enumerate(counts)}
    got = align(made)
    assert {len(tensor) for tensor in got.values()} == {max(counts)}
    for name, tensor in got.items():
        for b in range(len(tensor)):
            np.testing.assert_array_equal(tensor[b], made[name][b % len(made[name])])


@quick
@given(st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.uint16, np.int64]), st.integers(0, 100))
def test_constants_keep_the_dtype(dtype: type, value: int) -> None:
    got = baseline_of(Constant(float(value)), np.zeros((2, 3), dtype), None, None, None)
    assert got.dtype == dtype
    assert got.shape == (1, 2, 3)
    assert (got == value).all()
