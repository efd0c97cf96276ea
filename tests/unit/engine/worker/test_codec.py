"""What crosses between the front and a worker arrives as it was, and nothing else can be made of any bytes."""

from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assayd.engine.backend import LoadedModel, Whole
from assayd.engine.options import SessionOptions
from assayd.engine.worker import codec
from assayd.engine.worker import messages as m
from assayd.engine.worker.arrays import DTYPES, Malformed, Sink, Source
from assayd.engine.worker.codec import ASIDE, ONCE, pack, unpack
from assayd.types.arrays import Array, Floats
from assayd.types.model import Batching, Signature, TensorSignature, Tuning
from assayd.types.rows import BoxRows, MaskRows, NudgeRows, Pick, PlainRows, SampleRows
from assayd.types.subject import Segments, Subject

quick = settings(deadline=None, max_examples=100, database=None)
TEXTS = st.text(max_size=5)


def carried(sink):
    """The bytes of a sink, as a socket and shared memory bring them."""
    inline = np.frombuffer(bytearray(b"".join(sink.inline)), np.uint8)
    bulk = np.zeros(sink.bulk_bytes, np.uint8)
    for place, piece in sink.bulk:
        bulk[place : place + len(piece)] = piece
    return Source(inline, bulk)


def there_and_back(kind, value):
    sink = Sink()
    return unpack(kind, pack(kind, value, sink), carried(sink))


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a, b)
    elif is_dataclass(a):
        for f in fields(a):
            assert_same(getattr(a, f.name), getattr(b, f.name))
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for name in a:
            assert_same(a[name], b[name])
    elif isinstance(a, tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


@st.composite
def arrays(draw):
    dtype = DTYPES[draw(st.sampled_from(list(DTYPES)))]
    shape = draw(st.lists(st.integers(0, 4), max_size=4).map(tuple))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if dtype == object:
        words = np.array(["", "red", "grün", "\udcff", "a\0b"], object)
        return np.asarray(words[rng.integers(0, len(words), shape)], object)
    raw = rng.integers(0, 256, (*shape, dtype.itemsize)).astype(np.uint8)
    made = (raw[..., 0] & 1).astype(bool) if dtype == bool else np.frombuffer(raw.tobytes(), dtype).reshape(shape)
    return made.T if draw(st.booleans()) else made


@quick
@given(arrays())
def test_arrays_cross_bit_by_bit(array):
    got = there_and_back(Array, array)
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    if array.dtype == object:
        assert got.tolist() == array.tolist()
    else:
        assert got.tobytes() == array.tobytes()


def test_booleans_are_bits_and_scalars_are_arrays():
    sink = Sink()
    pack(Array, np.ones(800, bool), sink)
    assert sink.inline_bytes == 112  # 100, filled up to a multiple of 16
    assert there_and_back(Array, np.array(2.5)).shape == ()


def test_arrays_are_of_the_dtype_that_is_due():
    assert there_and_back(Floats, np.arange(3)).dtype == np.float64
    sink = Sink()
    header = pack(Array, np.arange(3), sink)
    with pytest.raises(Malformed, match="int64 where float64 is due"):
        unpack(Floats, header, carried(sink))


def numbers(n):
    return np.arange(n, dtype=np.int32)


BLOCKS = (
    PlainRows(numbers(3) - 1),
    MaskRows(np.array([[True, False, True]] * 3), numbers(3)),
    MaskRows(np.array([[0.0, 0.5, 1.0]] * 2, np.float32), numbers(2)),
    BoxRows("x", (0, 2), np.zeros((2, 2), np.int64), np.ones((2, 2), np.int64), numbers(2)),
    NudgeRows(numbers(4), np.linspace(0, 1, 4)),
    SampleRows({"x": np.ones((2, 3), np.float16), "s": np.array([["a"], ["b"]], object)}),
)
PICKS = (Pick("y", np.array([3, 1])), Pick("z", None, np.array([0.5, 2.0]), "log"))
SIGNATURE = Signature(
    (TensorSignature("x", np.dtype(np.float32), (3, None), 1, 4, vocabulary=7),),
    (TensorSignature("y", np.dtype(object), None, None, None, ("cat", "dog"), None, (("a", 2), ())),),
)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (m.Control, m.Load(SessionOptions(3, "cuda", required=True, spin_us=100), None)),
        (m.Control, m.Load(SessionOptions(), 8, Tuning(64, 1))),
        (m.Control, m.Demote("because")),
        (m.Control, m.Steady()),
        (m.ControlAnswer, m.Decided(LoadedModel("d", SIGNATURE, Batching(True, "", 8), "CPU", 9, 0.5), 2)),
        (m.ControlAnswer, m.Failed("InvalidModel", "no", "chunk", {"a": "b"}, 1.5)),
        (m.ControlAnswer, m.Bug("Traceback …")),
        (m.Making, m.Release((1, 2**40), (3,))),
        (m.Making, m.Prepare((), True, False, (PICKS, Whole(("y",))), np.array([[5, 0, 14], [6, 1, 2]]), BLOCKS)),
        (m.Making, m.Prepare((), True, False, (PICKS,), np.array([[5, 0, 16]]), BLOCKS, steady=True, exact=True)),
        (m.PrepareAnswer, m.Ready()),
        (m.RunAnswer, m.Unmade(m.Bug("no such row"))),
        (m.RunAnswer, m.Results((np.ones((2, 3)), {"y": np.ones((1, 2), np.float16)}))),
        (m.Watch, m.Ping(1)),
        (m.Watch, m.Terminate()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_messages_cross(kind, message):
    assert_same(there_and_back(kind, message), message)


def test_of_a_subject_crosses_what_rows_are_made_from():
    subject = Subject(
        {"x": np.ones((2, 3), np.float32)}, {"x": np.zeros((1, 2, 3), np.float32)},
        Segments({"x": np.zeros((2, 1), np.int32)}, 1, ("secret",)), {"x": (0,)}, {"x": 1}, {"x": np.array(2.0)},
        stream=2**127,
    )  # fmt: skip
    got = there_and_back(m.SubjectParts, m.SubjectParts.of(subject)).subject()
    assert got.number == subject.number
    assert (got.segments.count, got.segments.names, got.stream) == (1, (), 0)
    for mine, its in ((subject.inputs, got.inputs), (subject.baselines, got.baselines), (subject.scale, got.scale)):
        assert_same(its, mine)
    assert_same(got.segments.ids, subject.segments.ids)


def test_what_comes_with_every_message_is_packed_once_and_the_worker_keeps_few_of_them():
    kind = tuple[Annotated[m.Readout, ONCE], ...]

    def crossed(value):
        sink = Sink()
        header = pack(kind, value, sink)
        assert not sink.inline
        return header, unpack(kind, header, carried(sink))

    first, again = crossed((PICKS,)), crossed((PICKS,))
    assert first[0] == again[0]
    assert first[1][0] is again[1][0]
    assert_same(first[1][0], PICKS)
    others = [(Pick(f"y{n}", np.array([n])),) for n in range(1000)]
    assert_same(crossed(tuple(others))[1], tuple(others))
    coder = codec._coder(Annotated[m.Readout, ONCE])
    kept = [cell.cell_contents for cell in coder.pack.__closure__ if isinstance(cell.cell_contents, dict)]
    assert [0 < len(each) <= codec._MOST_KEPT for each in kept] == [True]
    for plain in (7, b"", b"\xc1", msgpack.packb([b"\xc1", b""]), msgpack.packb([msgpack.packb(7), b""])):
        with pytest.raises(Malformed):
            unpack(kind, msgpack.packb([plain]), carried(Sink()))


@pytest.mark.parametrize("dtype", [np.float64, np.bool_, object])
def test_arrays_do_not_take_the_same_bytes_again(dtype):
    """Little could unfold to much, and who reads small answers has no time for that."""
    sink = Sink()
    name, shape, *where = sink.add(np.full(4000, "", object) if dtype is object else np.ones(4000, dtype))
    said = [name, list(shape), *where]
    source = carried(sink)
    assert len(source.take(said)) == 4000
    with pytest.raises(Malformed, match="exceeds its message"):
        source.take(said)


def test_only_large_arrays_of_rows_lie_aside():
    large = np.arange(20_000, dtype=np.int32)

    @dataclass(frozen=True)
    class Both:
        kept: Array
        rows: Annotated[tuple[Array, ...], ASIDE]

    Both.__annotations__ = {"kept": Array, "rows": Annotated[tuple[Array, ...], ASIDE]}
    sink = Sink()
    header = pack(Both, Both(large, (large + 1, numbers(3), large + 2)), sink)
    assert [len(piece) for _, piece in sink.bulk] == [80_000, 80_000]
    got = unpack(Both, header, carried(sink))
    np.testing.assert_array_equal(got.kept, large)
    np.testing.assert_array_equal(got.rows[2], large + 2)
    with pytest.raises(Malformed):
        unpack(Both, header, Source(np.frombuffer(b"".join(sink.inline), np.uint8)))


@pytest.mark.parametrize("value", [np.array([b"bytes"], object), np.array(["2026-01-01"], "datetime64[s]")])
def test_what_is_no_tensor_does_not_cross(value):
    with pytest.raises(TypeError):
        pack(Array, value, Sink())


def test_classes_that_no_message_names_do_not_cross():
    with pytest.raises(TypeError):
        pack(m.Control, m.Ping(1), Sink())
    with pytest.raises(TypeError, match="doesn't cross"):
        pack(object, 1, Sink())


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | TEXTS | st.binary(max_size=5)
    | st.sampled_from(["float64", "bool", "object", "int64"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=20,
)  # fmt: skip
KINDS = st.sampled_from([m.ControlAnswer, m.PrepareAnswer, m.RunAnswer, m.Ping])
PAYLOADS = st.binary(max_size=64).map(lambda b: np.frombuffer(b, np.uint8))


@settings(quick, max_examples=400)
@given(KINDS, plain, PAYLOADS)
def test_any_other_message_is_malformed(kind, sent, payload):
    with suppress(Malformed):
        unpack(kind, msgpack.packb(sent), Source(payload))


@settings(quick, max_examples=400)
@given(KINDS, st.binary(max_size=60), PAYLOADS)
def test_any_bytes_are_malformed(kind, header, payload):
    with suppress(Malformed):
        unpack(kind, header, Source(payload))


def results(*said):
    return msgpack.packb([0, [[[0, list(said)]]]])


@pytest.mark.parametrize(
    "said",
    [
        ("float64", [2], 0, False), ("float64", [-1], 0, False), ("float64", [1], -8, False),
        ("float64", [1], 4, False), ("float64", [2**62, 2**62], 0, False), ("float64", [1.0], 0, False),
        ("float64", [1] * 100, 0, False), ("float64", ["1"], 0, False), ("float64", [1], 0, True),
        ("float64", None, 0, 0),
        ("float32", [1], 0, False), ("bytes", [1], 0, False), (["float64"], [1], 0, False),
        ("float64", [1], 2**63, False), ("float64", [0, 2**62, 2**62], 0, False),
        ("object", [1], 0, False), ("bool", [100], 0, False), ("bool", [-1, -8], 0, False), ("float64", [1], 0),
    ],
)  # fmt: skip
def test_arrays_that_exceed_their_message_are_malformed(said):
    eight = Source(np.full(8, 255, np.uint8))
    assert unpack(m.RunAnswer, results("float64", [1], 0, False), eight).results[0].shape == (1,)
    with pytest.raises(Malformed):
        unpack(m.RunAnswer, results(*said), eight)


@pytest.mark.parametrize(
    "header", [b"\x91" * 5000 + b"\xc0", b"\xdd\xff\xff\xff\xff", b"\xc7\x01\x05a", b"\x92\x00", b""]
)
def test_deep_endless_and_foreign_headers_are_malformed(header):
    with pytest.raises(Malformed):
        unpack(m.RunAnswer, header, Source(np.empty(0, np.uint8)))
