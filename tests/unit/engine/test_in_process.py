"""Models in this process and in workers: loaded, proven, demoted, run. Both do the same."""

import gc
import weakref

import numpy as np
import onnx
import pytest

from assayd.engine import in_process
from assayd.engine.backend import Batch, Chunk, Whole
from assayd.engine.in_process import InProcessBackend
from assayd.engine.onnxruntime_session import Session
from assayd.engine.options import SessionOptions
from assayd.engine.worker.backend import WorkerBackend
from assayd.errors import InvalidModel, ModelUnfit, WorkerLost
from assayd.types.model import Tuning
from assayd.types.rows import Pick, PlainRows, SampleRows
from assayd.types.subject import Subject
from tests.models import zoo
from tests.models.run import session
from tests.unit.engine.test_proof import saturated

PICKS = (Pick("y", np.array([0])),)


BOTH = [InProcessBackend, WorkerBackend]


@pytest.fixture(params=BOTH)
def make(request):
    """Makes backends: `make(batch_rows)`."""
    made = []

    def one(batch_rows=None):
        made.append(request.param(SessionOptions(threads=1), batch_rows))
        return made[-1]

    yield one
    for each in made:
        each.close()


@pytest.fixture
def backend(make):
    return make()


def in_process_only(test):
    """For tests that look inside."""
    return pytest.mark.parametrize("make", [InProcessBackend], indirect=True)(test)


def rows_of(shape=(6,), rows=5, seed=0, scale=1.0):
    return (np.random.default_rng(seed).standard_normal((rows, *shape)) * scale).astype(np.float32)


def chunk(x, readout=PICKS, name="x", **others):
    subject = Subject({name: x[0], **{other: v[0] for other, v in others.items()}}, {})
    return Chunk(subject, [SampleRows({name: x, **others})], readout, len(x))


def scores(backend, x, *, batched=True, digest="m"):
    if batched:
        (got,) = backend.run(backend.prepare(Batch(digest, True, (chunk(x),))))
        return got[:, 0]
    each = (backend.run(backend.prepare(Batch(digest, False, (chunk(x[n : n + 1]),)))) for n in range(len(x)))
    return np.array([got[0, 0] for (got,) in each])


def plain_scores(data, x):
    run = session(data)
    return np.array([run.run(["y"], {"x": row[None]})[0][0, 0] for row in x])


def test_a_proven_model_runs_in_batches_from_one_session_where_its_axis_was_free(backend):
    data = zoo.linear()
    loaded = backend.load("m", data)
    assert (loaded.batching.batched, loaded.batching.reason, loaded.batching.max_rows) == (True, "", 32)
    assert (loaded.size_bytes, loaded.provider, loaded.open_question) == (len(data), "CPUExecutionProvider", False)
    assert loaded.load_seconds > 0
    assert backend.sessions_built == 1
    x = rows_of()
    np.testing.assert_allclose(scores(backend, x), plain_scores(data, x), rtol=0, atol=1e-6)


@in_process_only
def test_an_opened_model_needs_a_second_session_and_the_first_goes_when_it_is_proven(backend, monkeypatch):
    made = []

    class Watched(Session):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(weakref.ref(self))

    monkeypatch.setattr(in_process, "Session", Watched)
    data = zoo.cnn(batch=1)
    assert backend.load("m", data).batching.batched
    assert backend.sessions_built == 2
    gc.collect()
    assert [ref() is None for ref in made] == [True, False]
    x = rows_of((3, 8, 8))
    np.testing.assert_allclose(scores(backend, x), plain_scores(data, x), rtol=0, atol=1e-6)


def test_a_model_whose_rows_interact_keeps_the_file_as_it_came(backend):
    data = zoo.batch_mean()
    loaded = backend.load("m", data)
    assert not loaded.batching.batched
    assert loaded.batching.max_rows == 1
    assert "rows interact" in loaded.batching.reason
    assert not loaded.open_question
    x = rows_of()
    np.testing.assert_array_equal(scores(backend, x, batched=False), plain_scores(data, x))


def test_a_question_left_open_is_settled_by_a_callers_instance(backend):
    loaded = backend.load("m", saturated(batch=1))
    assert (loaded.batching.batched, loaded.batching.reason, loaded.open_question) == (
        False,
        "proof inconclusive",
        True,
    )
    assert backend.sessions_built == 2
    nothing_new = backend.prove("m", Subject({"x": np.zeros(6, np.float32)}, {"x": np.zeros((1, 6), np.float32)}))
    assert nothing_new.open_question
    weights = np.random.default_rng(0).standard_normal((6, 3)) / np.sqrt(6)
    x = (np.linalg.pinv(weights.T) @ [-4e6, 0, 4e6]).astype(np.float32)
    settled = backend.prove("m", Subject({"x": x}, {"x": np.zeros((1, 6), np.float32)}))
    assert (settled.batching.batched, settled.open_question) == (True, False)
    assert backend.sessions_built == 2
    assert backend.prove("m", Subject({"x": x}, {})) == settled


def test_a_demoted_model_runs_row_by_row_and_rows_planned_before_still_run(backend):
    data = zoo.cnn(batch=1)
    backend.load("m", data)
    x = rows_of((3, 8, 8))
    planned = backend.prepare(Batch("m", True, (chunk(x),)))
    demoted = backend.demote("m", data, "because")
    assert (demoted.batching.batched, demoted.batching.reason, demoted.batching.max_rows) == (False, "because", 1)
    assert backend.sessions_built == 3
    assert backend.demote("m", data, "again").batching.reason == "again"
    assert backend.sessions_built == 3
    (stale,) = backend.run(planned)
    (late,) = backend.run(backend.prepare(Batch("m", True, (chunk(x),))))
    np.testing.assert_array_equal(stale, late)
    np.testing.assert_array_equal(scores(backend, x, batched=False), plain_scores(data, x))
    np.testing.assert_allclose(stale[:, 0], plain_scores(data, x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("interacting", [True, False])
def test_a_file_with_a_fixed_batch_of_four_runs_four_copies_of_one_row(backend, interacting):
    """With a batch of four equal rows the batch's mean is the row itself."""
    data = zoo.batch_mean(batch=4) if interacting else zoo.cnn(batch=4, target=(4, 128))
    loaded = backend.load("m", data)
    x = rows_of((6,) if interacting else (3, 8, 8), rows=3)
    run = session(data)
    want = [run.run(["y"], {"x": np.repeat(row[None], 4, 0)})[0][0, 0] for row in x]
    assert loaded.batching.batched is not interacting
    np.testing.assert_allclose(scores(backend, x, batched=loaded.batching.batched), want, rtol=0, atol=1e-6)


def test_chunks_of_several_callers_share_a_batch_and_each_gets_its_own(backend):
    data = zoo.two_by_two()
    backend.load("m", data)
    a, b = rows_of((4,), 5), rows_of((6,), 5, seed=1)
    parts = [
        chunk(a[:2], (Pick("logits", np.array([2, 0])),), "a", b=b[:2]),
        chunk(a[2:3], Whole(("total",)), "a", b=b[2:3]),
        chunk(a[3:], (Pick("total", None, np.array([2.0])),), "a", b=b[3:]),
    ]
    first, second, third = backend.run(backend.prepare(Batch("m", True, tuple(parts))))
    logits, total = session(data).run(["logits", "total"], {"a": a, "b": b})
    np.testing.assert_allclose(first, logits[:2][:, [2, 0]], atol=1e-6)
    np.testing.assert_allclose(second["total"], total[2:3], atol=1e-6)
    np.testing.assert_allclose(third, 2 * total[3:], atol=1e-6)


@in_process_only
def test_one_batch_runs_while_the_next_is_prepared_and_buffers_come_back(backend):
    backend.load("m", zoo.linear())
    x = rows_of(rows=6)
    first = backend.prepare(Batch("m", True, (chunk(x[:3]),)))
    second = backend.prepare(Batch("m", True, (chunk(x[3:]),)))
    assert first.buffers is not second.buffers
    together = scores(backend, x)
    np.testing.assert_allclose(np.concatenate([*backend.run(first), *backend.run(second)])[:, 0], together, atol=1e-6)
    third = backend.prepare(Batch("m", True, (chunk(x[:1]),)))
    assert third.buffers in (first.buffers, second.buffers)


@in_process_only
def test_buffers_of_many_shapes_are_not_kept_for_ever(backend):
    backend.load("m", zoo.tokens(length="L"))
    for length in range(1, 40):
        ids = np.ones((2, length), np.int64)
        backend.run(backend.prepare(Batch("m", True, (chunk(ids, name="ids"),))))
    assert len(backend._residents["m"].spare) <= 9


def test_rows_refer_to_their_own_subject(backend):
    data = zoo.linear()
    backend.load("m", data)
    x = rows_of(rows=4)
    subjects = [Subject({"x": row}, {"x": -row[None]}) for row in x]
    chunks = tuple(Chunk(s, [PlainRows(np.array([-1, 0], np.int32))], PICKS, 2) for s in subjects)
    got = np.concatenate(backend.run(backend.prepare(Batch("m", True, chunks))))[:, 0]
    want = plain_scores(data, np.stack([v for row in x for v in (row, -row)]))
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_the_batch_size_is_the_callers_or_goes_by_the_size_of_a_row(make):
    small = make()
    assert small.load("m", zoo.linear(6)).batching.max_rows == 32
    assert small.load("n", zoo.linear(20_000)).batching.max_rows == 10
    own = make(5)
    assert own.load("m", zoo.linear(6)).batching.max_rows == 5
    assert (small.max_batch_rows, own.max_batch_rows) == (4096, 5)


@pytest.fixture(params=BOTH)
def sweeping(request):
    """A backend with time for sweeps."""
    made = request.param(SessionOptions(sweep_s=5.0), None)
    yield made
    made.close()


def test_a_proven_model_is_tuned_once_and_a_known_tuning_is_taken_as_it_is(sweeping):
    found = sweeping.load("m", zoo.linear())
    assert found.tuning == Tuning(found.batching.max_rows, found.threads)
    assert found.batching.max_rows > 32, "a matrix product costs nothing beside the batch itself"
    built = sweeping.sessions_built
    assert built == 2, "its own, and one with one thread"
    again = sweeping.load("n", zoo.linear(), Tuning(48, 0))
    assert (again.batching.max_rows, again.threads, again.tuning) == (48, 0, Tuning(48, 0))
    assert sweeping.sessions_built == built + 1
    several = sweeping.load("p", zoo.linear(), Tuning(16, 0, runs=3))
    assert (several.batching.max_rows, several.tuning) == (48, Tuning(16, 0, runs=3))
    one = sweeping.load("o", zoo.linear(), Tuning(16, 1))
    assert (one.batching.max_rows, one.threads) == (16, 1)
    assert sweeping.sessions_built == built + 4
    x = rows_of(rows=40)
    for digest in "mn":
        np.testing.assert_allclose(scores(sweeping, x, digest=digest), plain_scores(zoo.linear(), x), atol=1e-6)


def test_a_batch_of_several_runs_scores_as_by_single_ones(monkeypatch):
    runs, run = [], Session.run
    monkeypatch.setattr(Session, "run", lambda self, feeds: runs.append(len(feeds["x"])) or run(self, feeds))
    backend, x = InProcessBackend(SessionOptions(threads=1), None), rows_of((3, 8, 8), rows=20)
    for digest, tuning in (("m", Tuning(8, 0, runs=3)), ("n", Tuning(8, 0))):
        backend.load(digest, zoo.cnn(batch=1), tuning)
    runs.clear()
    together = scores(backend, x, digest="m")
    assert runs == [8, 8, 4]
    apart = np.concatenate([scores(backend, x[n : n + 8], digest="n") for n in range(0, 20, 8)])
    assert runs == [8, 8, 4] * 2
    np.testing.assert_array_equal(together, apart)


def test_models_of_which_no_batch_can_be_tried_keep_the_default(sweeping):
    assert sweeping.load("m", zoo.batch_mean()).tuning is None
    free = sweeping.load("n", zoo.tokens(length="L"))
    assert (free.batching.max_rows, free.tuning) == (32, None)


def test_what_the_owner_says_is_not_swept():
    backend = InProcessBackend(SessionOptions(threads=2, sweep_s=5.0), 7)
    said = backend.load("m", zoo.linear())
    assert (said.batching.max_rows, said.threads, said.tuning) == (7, 2, None)
    backend = InProcessBackend(SessionOptions(threads=2, sweep_s=5.0), None)
    rows = backend.load("m", zoo.linear())
    assert (rows.threads, rows.tuning.threads, backend.sessions_built) == (2, 2, 1)
    backend = InProcessBackend(SessionOptions(sweep_s=5.0), 7)
    threads = backend.load("m", zoo.linear())
    assert (threads.batching.max_rows, threads.tuning.rows, backend.sessions_built) == (7, 7, 2)


def test_the_same_bits_come_from_the_size_and_threads_that_nothing_measured(sweeping):
    data, x = zoo.cnn(batch=1), rows_of((3, 8, 8), rows=9)
    got = []
    for digest, tuning in (("m", Tuning(64, 1)), ("n", Tuning(8, 0))):
        tuned = sweeping.load(digest, data, tuning)
        steady = sweeping.steady(digest, data)
        assert (steady.batching.max_rows, steady.threads, steady.steady) == (32, 0, True)
        assert (tuned.batching.max_rows, tuned.threads, tuned.steady) == (tuning.rows, tuning.threads, False)
        padded = Batch(digest, True, (chunk(x),), padded=True, steady=True)
        alone = Batch(digest, True, (chunk(x[:1]),), steady=True)
        got.append([scored.tobytes() for batch in (padded, alone) for scored in sweeping.run(sweeping.prepare(batch))])
        sweeping.run(sweeping.prepare(Batch(digest, True, (chunk(x[:8]),))))
    assert got[0] == got[1]


def test_an_unloaded_model_is_gone_but_batches_already_prepared_run(backend):
    backend.load("m", zoo.linear())
    prepared = backend.prepare(Batch("m", True, (chunk(rows_of()),)))
    backend.unload("m")
    assert len(backend.run(prepared)[0]) == 5
    with pytest.raises((KeyError, WorkerLost)):
        backend.prepare(Batch("m", True, (chunk(rows_of()),)))
    backend.unload("m")


def test_a_load_that_fails_leaves_nothing(backend):
    with pytest.raises(InvalidModel):
        backend.load("m", b"no model")
    with pytest.raises((KeyError, WorkerLost)):
        backend.prepare(Batch("m", True, (chunk(rows_of()),)))


def test_bfloat16_is_refused_by_name(backend):
    b = zoo.Builder(0)
    b.op("Cast", "x", outputs=["y"], to=zoo.FLOAT)
    data = b.model({"x": (16, ["N", 3])}, {"y": (zoo.FLOAT, ["N", 3])})
    with pytest.raises(ModelUnfit, match="'x' is bfloat16"):
        backend.load("m", data)


def test_other_types_that_numpy_lacks_are_told_so(backend):
    b = zoo.Builder(0)
    b.op("SplitToSequence", "x", outputs=["y"], axis=1)
    data = b.model({"x": (zoo.FLOAT, ["N", 3])}, {"y": (zoo.FLOAT, None)}, opset=13)
    made = onnx.load_from_string(data)
    made.graph.output[0].CopyFrom(onnx.helper.make_tensor_sequence_value_info("y", zoo.FLOAT, None))
    with pytest.raises(ModelUnfit, match="'y' is bfloat16, a sequence, a map"):
        backend.load("m", made.SerializeToString())


def test_a_batch_is_run_by_the_backend_that_prepared_it(backend):
    with pytest.raises(TypeError):
        backend.run(object())
