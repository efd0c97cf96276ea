"""Rows made by graphs on the device are the numpy realiser's bit by bit; here the device is the CPU."""

import numpy as np
import pytest

from assayd.engine.backend import Chunk, Whole
from assayd.engine.device_tensor import DeviceTensor
from assayd.engine.onnxruntime_session import Device, Session
from assayd.engine.options import SessionOptions
from assayd.engine.placement import Placement
from assayd.engine.realise import realise_chunk
from assayd.engine.resident import Residents
from assayd.engine.staged import StagedRealiser
from assayd.types.model import Signature, TensorSignature
from assayd.types.rows import BoxRows, MaskRows, NudgeRows
from assayd.types.subject import Segments, Subject
from tests.unit.engine.test_realise import DTYPES, FLOATS, a_subject, blends, boxes, masks, nudges, plain, samples

NUMBERS = tuple(dtype for dtype in (*DTYPES, np.int16, np.uint16) if dtype is not object)
KINDS = (plain, masks, boxes, blends, nudges, samples)
OPTIONS = SessionOptions(threads=1)


@pytest.fixture(scope="module")
def realiser():
    return StagedRealiser(Device("cpu"), lambda graph: Session(graph, OPTIONS, free_shapes=True))


def signature_of(subject):
    return Signature(tuple(TensorSignature(name, x.dtype, x.shape) for name, x in subject.inputs.items()), ())


def made(realiser, subject, blocks, capacity=None):
    """By input name, as the device holds them: the elements' bits."""
    rows = sum(map(len, blocks))
    shapes = {name: x.shape for name, x in subject.inputs.items()}
    buffers = realiser.buffers(signature_of(subject), shapes, capacity or rows)
    realiser.realise_chunk(
        Chunk(subject, blocks, Whole(), rows), {name: tensor.rows(0, rows) for name, tensor in buffers.items()}
    )
    return buffers


def wanted(subject, blocks):
    rows = sum(map(len, blocks))
    out = {name: np.empty((rows, *x.shape), x.dtype) for name, x in subject.inputs.items()}
    with np.errstate(all="ignore"):
        realise_chunk(Chunk(subject, blocks, Whole(), rows), out)
    return out


def host(tensor):
    return tensor.held.numpy()


def assert_same_bits(got, want, *, any_nan=False):
    """any_nan: which NaN comes out of arithmetic is the processor's choice."""
    for name, tensor in want.items():
        on_host = host(got[name])
        assert on_host.dtype == tensor.dtype
        if any_nan:
            nans = np.isnan(tensor)
            np.testing.assert_array_equal(np.isnan(on_host), nans)
            on_host[nans] = tensor[nans] = 0
        np.testing.assert_array_equal(on_host.view(np.uint8), tensor.view(np.uint8), err_msg=name)


def check(realiser, subject, *blocks, any_nan=False):
    with np.errstate(all="ignore"):
        assert_same_bits(made(realiser, subject, blocks), wanted(subject, blocks), any_nan=any_nan)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("make", [plain, masks, boxes, samples])
def test_rows_that_select_are_numpys_bit_by_bit(realiser, make, seed):
    rng = np.random.default_rng([seed, 1])
    subject = a_subject(rng, NUMBERS)
    check(realiser, subject, make(rng, subject, int(rng.integers(1, 6))))


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("make", [blends, nudges])
def test_rows_that_compute_are_numpys_bit_by_bit(realiser, make, seed):
    rng = np.random.default_rng([seed, 2])
    subject = a_subject(rng, FLOATS)
    check(realiser, subject, make(rng, subject, int(rng.integers(1, 6))), any_nan=True)


@pytest.mark.parametrize("seed", range(20))
def test_rows_of_all_kinds_share_a_chunk(realiser, seed):
    rng = np.random.default_rng([seed, 3])
    subject = a_subject(rng, FLOATS)
    check(realiser, subject, *(make(rng, subject, int(rng.integers(1, 4))) for make in KINDS), any_nan=True)


@pytest.mark.parametrize("make", [plain, boxes, samples])
def test_windows_need_no_segments(realiser, make):
    rng = np.random.default_rng(3)
    subject = a_subject(rng, NUMBERS, segments=False)
    check(realiser, subject, make(rng, subject, 4))


def test_nan_bits_and_the_sign_of_zero_are_selected_not_computed(realiser):
    bits = np.array([0x7FC00001, 0xFFC12345, 0x80000000, 0x7F800000], np.uint32)
    x, baseline = bits.view(np.float32), bits[::-1].copy().view(np.float32)
    subject = Subject({"x": x}, {"x": baseline[None]}, Segments({"x": np.arange(4, dtype=np.int32)}, 4))
    keep = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 1, 0]], np.float32)
    got = host(made(realiser, subject, [MaskRows(keep, np.zeros(3, np.int32))])["x"]).view(np.uint32)
    np.testing.assert_array_equal(got, [bits, bits[::-1], [bits[0], bits[2], bits[2], bits[0]]])


BESIDE_A_TIE = 2.0**-11 + 2.0**-30
"""1 and this is nearer to 1 + 2^-10 than to 1 among halves; as a float32 it is half-way, and goes to the even one."""


@pytest.mark.parametrize(
    "block",
    [
        NudgeRows(np.zeros(1, np.int32), np.array([BESIDE_A_TIE])),
        MaskRows(np.array([[(1 + BESIDE_A_TIE) / 2]]), np.zeros(1, np.int32)),
    ],
    ids=["nudge", "blend"],
)
def test_halves_are_rounded_once(realiser, block):
    x = np.array([1.0 if isinstance(block, NudgeRows) else 2.0], np.float16)
    ids, scale = {"x": np.zeros(1, np.int32)}, {"x": np.ones(())}
    subject = Subject({"x": x}, {"x": np.zeros((1, 1), np.float16)}, Segments(ids, 1), scale=scale)
    assert host(made(realiser, subject, [block])["x"]) == np.float16(1 + 2.0**-10)
    check(realiser, subject, block)


def test_a_plan_that_makes_too_few_rows_is_a_bug(realiser):
    rng = np.random.default_rng(5)
    subject = a_subject(rng, FLOATS)
    shapes = {name: x.shape for name, x in subject.inputs.items()}
    out = realiser.buffers(signature_of(subject), shapes, 3)
    with pytest.raises(AssertionError, match="promised 3 rows and made 2"):
        realiser.realise_chunk(Chunk(subject, [plain(rng, subject, 2)], Whole(), 3), out)


def test_the_rest_of_a_batch_is_its_first_row(realiser):
    rng = np.random.default_rng(6)
    subject = a_subject(rng, FLOATS)
    block = plain(rng, subject, 3)
    buffers = made(realiser, subject, [block], capacity=7)
    realiser.pad(buffers, 3, 7)
    want = {name: np.concatenate([v, np.repeat(v[:1], 4, 0)]) for name, v in wanted(subject, [block]).items()}
    assert_same_bits(buffers, want)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64"])
def test_gathered_columns_are_those_of_the_output(realiser, dtype):
    values = np.random.default_rng(7).normal(size=(4, 3, 5)).astype(dtype)
    indices = np.array([14, 0, 7, 7])
    got = realiser.gather(Device("cpu").upload(values), indices)
    np.testing.assert_array_equal(got, values.reshape(4, 15)[:, indices])


@pytest.mark.parametrize(
    ("dtype", "axis", "fits"), [("float32", 0, True), ("bool", 0, True), (object, 0, False), ("float32", 1, False)]
)
def test_rows_are_made_where_they_lie_one_after_the_other_and_hold_numbers(realiser, dtype, axis, fits):
    signature = Signature((TensorSignature("x", np.dtype(dtype), (3, 4), axis),), ())
    assert realiser.fits(signature) is fits


def test_rows_are_not_made_by_graphs_that_are_not_on_the_device(monkeypatch):
    realiser = StagedRealiser(Device("cpu"), lambda graph: Session(graph, OPTIONS, free_shapes=True))
    monkeypatch.setattr(Session, "placement", lambda _: Placement((), (("Gather", 1),)))
    assert not realiser.fits(Signature((TensorSignature("x", np.dtype("float32"), (3, 4)),), ()))


# ---- what crosses to the device and stays there -------------------------------------------------------------------


def an_image(number_of_baselines=1, segments=60):
    rng = np.random.default_rng(8)
    x = rng.normal(size=(3, 32, 32)).astype(np.float32)
    ids = rng.integers(0, segments, (1, 32, 32)).astype(np.int32)
    baselines = np.zeros((number_of_baselines, 3, 32, 32), np.float32)
    return Subject({"x": x}, {"x": baselines}, Segments({"x": ids}, segments), scale={"x": np.ones(())})


def a_hundred(subject):
    rng, b = np.random.default_rng(9), np.zeros(100, np.int32)
    starts, sizes = rng.integers(0, 16, (100, 2)), np.full((100, 2), 16)
    return {
        "box": BoxRows("x", (1, 2), starts, sizes, b),
        "mask": MaskRows(rng.integers(0, 2, (100, 60)).astype(bool), b),
        "nudge": NudgeRows(rng.integers(0, 60, 100).astype(np.int32), rng.normal(size=100)),
    }


@pytest.mark.parametrize(("kind", "row_bytes"), [("box", 16), ("mask", 61), ("nudge", 12)])
def test_a_row_is_sent_as_bits_and_an_image_once(realiser, kind, row_bytes):
    subject = an_image()
    block = a_hundred(subject)[kind]
    made(realiser, subject, [block])
    before = realiser.sent_bytes
    made(realiser, subject, [block])
    assert realiser.sent_bytes - before == 100 * row_bytes


def test_segments_are_one_plane_for_all_channels(realiser):
    subject = an_image()
    made(realiser, subject, [a_hundred(subject)["mask"]])
    realiser.release(subject.number)
    held = realiser.resident_bytes
    made(realiser, subject, [a_hundred(subject)["mask"]])
    image = 32 * 32 * 4
    assert realiser.resident_bytes - held == 3 * image + 3 * image + image


def test_subjects_that_were_used_last_stay_within_bounds():
    uploaded = []

    def upload(array):
        uploaded.append(array.nbytes)
        return DeviceTensor(array, 0, array.shape, array.dtype)

    subjects = [an_image() for _ in range(4)]
    image = 3 * 32 * 32 * 4
    residents = Residents(upload, 2 * image)
    for subject in subjects[:3]:
        residents.of(subject).x("x")
    assert len(residents) == 3  # what is in use comes on top
    residents.of(subjects[0]).x("x")
    assert len(uploaded) == 3
    residents.of(subjects[3]).x("x")
    residents.of(subjects[0]).x("x")
    assert len(uploaded) == 4
    residents.of(subjects[1]).x("x")
    assert len(uploaded) == 5
    residents.release(subjects[1].number)
    residents.release(10**9)
    assert subjects[1].number not in residents._held
