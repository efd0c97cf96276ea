"""The engine's realiser and the slow one make the same bits from the same rows."""

from unittest import mock

import numpy as np
import pytest

from assayd.engine import realise
from assayd.engine.backend import Chunk, Whole
from assayd.engine.realise import realise_block, realise_chunk
from assayd.types.rows import BoxRows, MaskRows, NudgeRows, PlainRows, SampleRows
from assayd.types.subject import Segments, Subject
from tests.slow_realise import slow_realise

FLOATS = (np.float16, np.float32, np.float64)
DTYPES = (*FLOATS, np.int8, np.uint8, np.int32, np.int64, np.uint64, np.bool_, object)
WORDS = np.array(["red", "green", "blue", ""], dtype=object)


def values(rng, dtype, shape):
    if dtype is object:
        return WORDS[rng.integers(0, len(WORDS), shape)]
    if dtype in FLOATS:
        made = np.asarray(rng.normal(size=shape) * 10).astype(dtype)
        return np.where(rng.random(shape) < 0.1, dtype(rng.choice([np.nan, np.inf, -0.0])), made).astype(dtype)
    return rng.integers(0, 2 if dtype is np.bool_ else 100, shape).astype(dtype)


def a_subject(rng, dtypes=DTYPES, segments=True):
    """Two inputs, the second explained half of the time; features that may span both and stay the same along axes."""
    shapes = {name: tuple(rng.integers(1, 5, rng.integers(1, 4))) for name in "ab"}
    explained = "ab" if rng.random() < 0.5 else "a"
    kind = {name: dtypes[rng.integers(len(dtypes))] for name in shapes}
    k, features = rng.integers(1, 4), int(rng.integers(1, 5))
    ids = {
        name: rng.integers(-1, features, [n if rng.random() < 0.7 else 1 for n in shapes[name]]).astype(np.int32)
        for name in explained
    }
    return Subject(
        inputs={name: values(rng, kind[name], shape) for name, shape in shapes.items()},
        baselines={name: values(rng, kind[name], (k, *shapes[name])) for name in explained},
        segments=Segments(ids, features) if segments else None,
        scale={name: rng.random(shapes[name] if rng.random() < 0.5 else ()) for name in explained},
    )


def numbers(rng, subject, rows, lowest=0):
    return rng.integers(lowest, subject.baseline_count, rows).astype(np.int32)


def fraction(rng, rows, features, dtype):
    keep = rng.random((rows, features)).astype(dtype)
    return np.where(rng.random(keep.shape) < 0.5, np.round(keep), keep).astype(dtype)


def boxes(rng, subject, rows):
    name = subject.explained[rng.integers(len(subject.explained))]
    shape = subject.inputs[name].shape
    axes = tuple(int(a) for a in rng.permutation(len(shape))[: rng.integers(1, len(shape) + 1)])
    extents = np.array([shape[a] for a in axes])
    starts = rng.integers(0, extents, (rows, len(axes)))
    sizes = rng.integers(1, extents - starts + 1)
    return BoxRows(name, axes, starts, sizes, numbers(rng, subject, rows))


def samples(rng, subject, rows):
    chosen = [name for name in subject.inputs if rng.random() < 0.7] or list(subject.inputs)
    return SampleRows(
        {name: values(rng, subject.inputs[name].dtype.type, (rows, *subject.inputs[name].shape)) for name in chosen}
    )


def nudges(rng, subject, rows):
    feature = rng.integers(0, subject.segments.count, rows).astype(np.int32)
    return NudgeRows(feature, rng.normal(size=rows))


def plain(rng, subject, rows):
    return PlainRows(numbers(rng, subject, rows, lowest=-1))


def masks(rng, subject, rows):
    keep = rng.integers(0, 2, (rows, subject.segments.count)).astype(rng.choice([np.bool_, np.uint8, np.float32]))
    return MaskRows(keep, numbers(rng, subject, rows))


def blends(rng, subject, rows):
    keep = fraction(rng, rows, subject.segments.count, rng.choice([np.float32, np.float64]))
    return MaskRows(keep, numbers(rng, subject, rows))


def buffers(rng, subject, rows):
    """Views into buffers that have the batch axis anywhere, as the model's own tensors may, full of old rubbish."""
    out = {}
    for name, x in subject.inputs.items():
        axis = int(rng.integers(0, x.ndim + 1))
        tensor = values(rng, x.dtype.type, (*x.shape[:axis], rows, *x.shape[axis:]))
        out[name] = np.moveaxis(tensor, axis, 0)
    return out


def assert_same_bits(got, want):
    for name, tensor in want.items():
        assert got[name].dtype == tensor.dtype
        np.testing.assert_array_equal(got[name], tensor, err_msg=name)
        if tensor.dtype.kind == "f":  # 0 and -0 are equal and not the same
            np.testing.assert_array_equal(np.signbit(got[name]), np.signbit(tensor))


def check(rng, subject, block):
    with np.errstate(all="ignore"):
        want = slow_realise(subject, [block])
    for at_once in (1, 30, 16_384):  # rows go in groups of so many elements
        out = buffers(rng, subject, len(block))
        with mock.patch.object(realise, "_ELEMENTS_AT_ONCE", at_once):
            realise_block(subject, block, out)
        assert_same_bits(out, want)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("make", [plain, masks, boxes, samples])
def test_rows_that_select_are_the_slow_ones_bit_by_bit(make, seed):
    rng = np.random.default_rng([seed, 1])
    subject = a_subject(rng)
    check(rng, subject, make(rng, subject, int(rng.integers(1, 6))))


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("make", [blends, nudges])
def test_rows_that_compute_are_the_slow_ones_bit_by_bit(make, seed):
    rng = np.random.default_rng([seed, 2])
    subject = a_subject(rng, FLOATS)
    check(rng, subject, make(rng, subject, int(rng.integers(1, 6))))


@pytest.mark.parametrize("make", [plain, boxes, samples])
def test_windows_need_no_segments(make):
    rng = np.random.default_rng(3)
    subject = a_subject(rng, segments=False)
    check(rng, subject, make(rng, subject, 4))


@pytest.mark.parametrize("seed", range(10))
def test_a_chunk_is_its_blocks_one_after_the_other(seed):
    rng = np.random.default_rng([seed, 4])
    subject = a_subject(rng, FLOATS)
    blocks = [make(rng, subject, int(rng.integers(1, 4))) for make in (plain, masks, boxes, blends, nudges, samples)]
    rows = sum(map(len, blocks))
    with np.errstate(all="ignore"):
        want = slow_realise(subject, blocks)
    out = buffers(rng, subject, rows)
    realise_chunk(Chunk(subject, blocks, Whole(), rows), out)
    assert_same_bits(out, want)


def test_a_plan_that_makes_too_few_rows_is_a_bug():
    rng = np.random.default_rng(5)
    subject = a_subject(rng)
    with pytest.raises(AssertionError, match="promised 3 rows and made 2"):
        realise_chunk(Chunk(subject, [plain(rng, subject, 2)], Whole(), 3), buffers(rng, subject, 3))


def test_nan_in_the_absent_part_stays_out_and_nan_in_the_present_part_stays_in():
    x = np.array([np.nan, 1.0, np.nan], np.float32)
    subject = Subject(
        {"x": x}, {"x": np.array([[5.0, np.nan, 6.0]], np.float32)}, Segments({"x": np.array([0, 1, 2], np.int32)}, 3)
    )
    out = {"x": np.empty((2, 3), np.float32)}
    realise_block(subject, MaskRows(np.array([[0.0, 1.0, 1.0], [1, 0, 0]]), np.zeros(2, np.int32)), out)
    np.testing.assert_array_equal(out["x"], np.array([[5, 1, np.nan], [np.nan, np.nan, 6]], np.float32))


def test_the_subject_is_not_written_to():
    rng = np.random.default_rng(6)
    subject = a_subject(rng, FLOATS)
    held = {**subject.inputs, **{f"{n} baselines": b for n, b in subject.baselines.items()}}
    before = {name: x.copy() for name, x in held.items()}
    for make in (plain, masks, boxes, blends, nudges, samples):
        realise_block(subject, make(rng, subject, 3), buffers(rng, subject, 3))
    assert_same_bits(held, before)


@pytest.mark.parametrize("make", [masks, blends, nudges, plain, samples])
def test_an_input_may_be_a_single_number(make):
    rng = np.random.default_rng(0)
    x = np.array(1.5, np.float32)
    segments = Segments({"x": np.array(0, np.int32)}, 1)
    subject = Subject({"x": x}, {"x": np.array([0.5, -2.0], np.float32)}, segments, scale={"x": np.array(3.0)})
    check(rng, subject, make(rng, subject, 6))
