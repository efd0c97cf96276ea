"""A model as it runs on a GPU, here on the CPU: the same scores as the plain way, by sessions of one size each."""

from typing import ClassVar

import numpy as np
import pytest

from assayd.engine import on_device as module
from assayd.engine.backend import Batch, Chunk, Whole
from assayd.engine.in_process import InProcessBackend
from assayd.engine.on_device import Sent
from assayd.engine.onnxruntime_session import Session
from assayd.engine.options import SessionOptions
from assayd.engine.probes import blind_probes
from assayd.errors import OutOfMemory, Terminated
from assayd.types.model import Tuning
from assayd.types.rows import BoxRows, MaskRows, NudgeRows, Pick, PlainRows, SampleRows
from assayd.types.subject import Segments, Subject
from tests.models import zoo

GRAPH = SessionOptions(threads=1, realiser="graph")
PLAIN = SessionOptions(threads=1)
PICKS = (Pick("y", np.array([3, 0])), Pick("y", None, np.array([0.5, 0, 0, 2, 1])))


@pytest.fixture(autouse=True)
def _large(monkeypatch):
    """Any row is worth the device."""
    monkeypatch.setattr(module, "_LARGE_ROW_BYTES", 1)


def a_subject(seed=0, shape=(3, 8, 8), k=2):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(np.float32)
    ids = rng.integers(-1, 6, (1, *shape[1:])).astype(np.int32)
    baselines = rng.standard_normal((k, *shape)).astype(np.float32)
    return Subject({"x": x}, {"x": baselines}, Segments({"x": ids}, 6), scale={"x": np.ones(shape)})


def blocks(rng, subject):
    """Fifteen rows of every kind."""
    number = rng.integers(0, subject.baseline_count, 4).astype(np.int32)
    return [
        PlainRows(np.array([-1, 0], np.int32)),
        MaskRows(rng.integers(0, 2, (4, 6)).astype(bool), number),
        BoxRows("x", (1, 2), rng.integers(0, 5, (4, 2)), rng.integers(1, 4, (4, 2)), number),
        NudgeRows(np.array([0, 3], np.int32), np.array([0.1, -0.2])),
        MaskRows(rng.random((1, 6)), number[:1]),
        SampleRows({"x": rng.standard_normal((2, 3, 8, 8)).astype(np.float32)}),
    ]


def run(backend, *chunks, **kind):
    return backend.run(backend.prepare(Batch("m", True, chunks, **kind)))


def loaded(options, model=None, rows=16):
    backend = InProcessBackend(options, rows)
    backend.load("m", zoo.cnn() if model is None else model)
    return backend


def device_of(backend):
    return backend._residents["m"].device


def test_the_device_is_taken_where_it_is_a_gpu_or_asked_for():
    assert device_of(loaded(PLAIN)) is None
    assert device_of(loaded(SessionOptions(threads=1, realiser="numpy"))) is None
    assert device_of(loaded(GRAPH)) is not None


@pytest.mark.parametrize("rows", [16, 40])
def test_scores_are_those_of_the_plain_way(rows):
    subjects = [a_subject(n) for n in range(2)]
    chunks = [Chunk(s, blocks(np.random.default_rng(5), s), PICKS, 15) for s in subjects[: rows // 16]]
    want = run(loaded(PLAIN, rows=rows), *chunks, padded=True)
    got = run(loaded(GRAPH, rows=rows), *chunks)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)
        assert len(np.unique(a[:, 0])) > 12


@pytest.mark.parametrize(
    "model", [zoo.lstm_time_first(), zoo.strings(), zoo.tokens(), zoo.two_by_two(), zoo.scalar_side(), zoo.forest()]
)
def test_models_of_other_kinds_score_as_the_plain_way(model):
    results = []
    for options in (PLAIN, GRAPH):
        backend = InProcessBackend(options, 8)
        of = backend.load("m", model)
        rng = np.random.default_rng(1)
        x = {}
        for s in of.signature.inputs:
            values = rng.integers(0, 2, (8, *s.shape))
            x[s.name] = np.array(["a", "b"], object)[values] if s.dtype == object else values.astype(s.dtype)
        subject = Subject({name: v[0] for name, v in x.items()}, {})
        rows = 8 if of.batching.batched else 1
        chunk = Chunk(subject, [SampleRows({name: v[:rows] for name, v in x.items()})], Whole(), rows)
        results.append(backend.run(backend.prepare(Batch("m", of.batching.batched, (chunk,))))[0])
    for name, value in results[0].items():
        np.testing.assert_array_equal(results[1][name], value)


class Spy(Session):
    """Tells what sizes went through each session; runs out of memory above `room` rows."""

    seen: ClassVar[list] = []
    rebuilt: ClassVar[list] = []
    room = 10**9

    def run_bound(self, feeds, into, **kind):
        if into or "x" not in feeds or "indices" in feeds:
            return super().run_bound(feeds, into, **kind)
        rows = feeds["x"].shape[0]
        Spy.seen.append((id(self), rows))
        if rows > Spy.room:
            raise OutOfMemory("no room")
        return super().run_bound(feeds, into, **kind)

    def rebuild(self):
        Spy.rebuilt.append(id(self))
        super().rebuild()


@pytest.fixture
def spy(monkeypatch):
    monkeypatch.setattr(Spy, "seen", [])
    monkeypatch.setattr(Spy, "rebuilt", [])
    monkeypatch.setattr(Spy, "room", 10**9)
    monkeypatch.setattr("assayd.engine.in_process.Session", Spy)
    monkeypatch.setattr("assayd.engine.onnxruntime_session.Session", Spy)
    return Spy


def plain_chunk(rows, subject=None, picks=PICKS):
    return Chunk(subject or a_subject(), [PlainRows(np.zeros(rows, np.int32))], picks, rows)


def test_each_session_runs_one_size(spy):
    backend = loaded(GRAPH)
    for rows in (1, 4, 5, 16, 2, 7):
        results = run(backend, plain_chunk(rows))
        assert [len(r) for r in results] == [rows]
    sizes = {session: {n for s, n in spy.seen if s == session} for session, _ in spy.seen}
    assert sorted(sizes.values(), key=min) == [{4}, {16}]


def test_the_size_that_was_tuned_is_the_devices_and_steady_batches_keep_to_the_plain_way():
    backend = InProcessBackend(GRAPH, None)
    of = backend.load("m", zoo.cnn(), Tuning(12, 1))
    assert (of.batching.max_rows, device_of(backend).full.size, device_of(backend).small.size) == (12, 12, 3)
    backend.steady("m", zoo.cnn())
    kinds = ({}, {"exact": True}, {"steady": True}, {"steady": True, "padded": True, "exact": True})
    made = [backend.prepare(Batch("m", True, (plain_chunk(2),), **kind)) for kind in kinds]
    assert [isinstance(one, Sent) for one in made] == [True, True, False, False]
    assert all(len(backend.run(one)[0]) == 2 for one in made)


def test_out_of_memory_rebuilds_once_and_goes_on_in_parts(spy):
    backend = loaded(GRAPH)
    subject = a_subject()
    chunk = Chunk(subject, blocks(np.random.default_rng(5), subject), PICKS, 15)
    (want,) = run(backend, chunk)
    spy.seen.clear()
    spy.room = 5
    (got,) = run(backend, chunk)
    assert [n for _, n in spy.seen] == [16, 8, 4, 4, 4, 4]
    assert len(spy.rebuilt) == 1
    np.testing.assert_allclose(got, want, atol=1e-6)
    spy.seen.clear()
    run(backend, chunk)
    assert [n for _, n in spy.seen] == [4, 4, 4, 4]


def test_out_of_memory_at_a_single_row_is_the_callers(spy):
    backend = loaded(GRAPH)
    run(backend, plain_chunk(16))
    spy.room = 0
    with pytest.raises(OutOfMemory):
        run(backend, plain_chunk(16))
    assert len(spy.rebuilt) == 1


def test_where_the_device_has_no_room_for_rows_the_host_makes_them(monkeypatch):
    backend = loaded(GRAPH)
    (want,) = run(backend, plain_chunk(9))

    def full(*_):
        raise OutOfMemory("no room")

    device_of(backend)._spare.clear()
    monkeypatch.setattr(device_of(backend).realiser, "buffers", full)
    (got,) = run(backend, plain_chunk(9))
    np.testing.assert_array_equal(got, want)


def test_of_a_large_output_only_what_is_picked_comes_to_the_host(spy, monkeypatch):
    fetched = []
    original = Session.run_bound

    def watched(self, feeds, into, **kind):
        found = original(self, feeds, into, **kind)
        fetched.extend(value.nbytes for value in found.values() if isinstance(value, np.ndarray))
        return found

    monkeypatch.setattr(Session, "run_bound", watched)
    subject = a_subject(shape=(3, 8, 10))
    picks = (Pick("y", np.array([300, 7])), Pick("y", np.array([7, 319, 0]), np.array([1.0, 2.0, 3.0])))
    chunks = [plain_chunk(5, subject, picks), plain_chunk(3, subject, (Pick("y", np.array([11])),))]
    got = run(loaded(GRAPH, zoo.dense()), *chunks)
    assert fetched == [16 * 5 * 4]
    want = run(loaded(PLAIN, zoo.dense()), *chunks)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    whole = Chunk(subject, [PlainRows(np.zeros(2, np.int32))], Whole(), 2)
    assert run(loaded(GRAPH, zoo.dense()), whole, chunks[0])[0]["y"].shape == (2, 4, 8, 10)


def test_subjects_leave_the_device_when_they_are_released():
    backend = loaded(GRAPH)
    subject = a_subject()
    run(backend, plain_chunk(3, subject))
    realiser = device_of(backend).realiser
    assert realiser.resident_bytes > 0
    backend.release(subject.number)
    assert realiser.resident_bytes == 0


@pytest.mark.parametrize(("seconds", "taken"), [((2.0, 1.0), "EXHAUSTIVE"), ((1.0, 2.0), "HEURISTIC")])
def test_the_quicker_search_for_convolutions_is_kept_at_the_size_that_runs(spy, monkeypatch, seconds, taken):
    backend = loaded(GRAPH)
    several = backend._residents["m"].several
    ran, now = [], [0.0]

    def run_at_a_price(self, feeds):
        search = self._options.search
        ran.append((search, feeds["x"].shape[0]))
        now[0] += seconds[search == "EXHAUSTIVE"]
        return original(self, feeds)

    original = Session.run
    monkeypatch.setattr(Session, "run", run_at_a_price)
    probes = list(blind_probes(several.signature))
    kept = module._by_best_search(several, 16, probes, lambda: now[0])
    assert kept.session._options.search == taken
    assert set(ran) == {("HEURISTIC", 16), ("EXHAUSTIVE", 16)}


def test_a_bound_run_can_be_stopped():
    backend = loaded(GRAPH)
    session = device_of(backend).full.program.session
    bound = session._bound

    def stopped(feeds):
        backend.terminate("m")
        return bound(feeds)

    session._bound = stopped
    with pytest.raises(Terminated):
        run(backend, plain_chunk(16))
    session._bound = bound
    assert len(run(backend, plain_chunk(16))[0]) == 16
