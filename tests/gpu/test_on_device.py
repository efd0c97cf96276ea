"""On a machine with a GPU: rows made there, sessions of one size, precision, memory that ends."""

import numpy as np
import onnxruntime as ort
import pytest

from assayd.engine.backend import Batch, Chunk, Whole
from assayd.engine.in_process import InProcessBackend
from assayd.engine.onnxruntime_session import Device, Session
from assayd.engine.options import SessionOptions
from assayd.engine.realise import realise_chunk
from assayd.engine.staged import StagedRealiser
from assayd.errors import ModelFailed, OutOfMemory
from assayd.graph.stages import Copy
from assayd.types.model import Signature, TensorSignature
from tests.gpu.models import a_chunk, an_image, network
from tests.unit.engine.test_realise import a_subject, blends, boxes, masks, nudges, plain, samples
from tests.unit.engine.test_staged import FLOATS, NUMBERS

pytestmark = pytest.mark.gpu

CUDA = SessionOptions(provider="cuda", required=True)
SIZE = 16


@pytest.fixture(scope="module")
def realiser():
    return StagedRealiser(Device("cuda"), lambda graph: Session(graph, CUDA, free_shapes=True))


def fetched(realiser, tensor):
    """A tensor of the device, as numpy: through a graph, since no other part of the service brings one back."""
    session = realiser._session(Copy(tensor.dtype, len(tensor.shape)))
    return session.run_bound({"x": tensor}, {}, fetch=["y"])["y"]


def check(realiser, subject, blocks, *, any_nan):
    rows = sum(map(len, blocks))
    chunk = Chunk(subject, blocks, Whole(), rows)
    want = {name: np.empty((rows, *x.shape), x.dtype) for name, x in subject.inputs.items()}
    with np.errstate(all="ignore"):
        realise_chunk(chunk, want)
    inputs = tuple(TensorSignature(name, x.dtype, x.shape) for name, x in subject.inputs.items())
    got = realiser.buffers(Signature(inputs, ()), {name: x.shape for name, x in subject.inputs.items()}, rows)
    realiser.realise_chunk(chunk, got)
    for name, tensor in want.items():
        made = fetched(realiser, got[name])
        if any_nan:
            nans = np.isnan(tensor)
            np.testing.assert_array_equal(np.isnan(made), nans)
            made[nans] = tensor[nans] = 0
        np.testing.assert_array_equal(made.view(np.uint8), tensor.view(np.uint8), err_msg=name)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("make", [plain, masks, boxes, samples])
def test_rows_that_select_are_numpys_bit_by_bit(realiser, make, seed):
    rng = np.random.default_rng([seed, 1])
    subject = a_subject(rng, NUMBERS)
    check(realiser, subject, [make(rng, subject, 4)], any_nan=False)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("make", [blends, nudges])
def test_rows_that_compute_are_numpys_bit_by_bit(realiser, make, seed):
    rng = np.random.default_rng([seed, 2])
    subject = a_subject(rng, FLOATS)
    check(realiser, subject, [make(rng, subject, 4)], any_nan=True)


def test_no_graph_that_makes_rows_has_a_node_on_the_host(realiser):
    rng = np.random.default_rng(0)
    for dtypes in ((np.float32,), (np.float16,), (np.float64,)):
        for _ in range(5):
            subject = a_subject(rng, dtypes)
            for make in (plain, masks, boxes, blends, nudges, samples):
                check(realiser, subject, [make(rng, subject, 3)], any_nan=True)
    assert realiser.sessions
    for session in realiser.sessions:
        assert session.provider == "CUDAExecutionProvider"
        assert session.placement().host == ()


def loaded(options, rows=SIZE):
    data, name, output = network()
    backend = InProcessBackend(options, rows)
    return backend, backend.load("m", data), name, output


def run(backend, *chunks, **kind):
    return backend.run(backend.prepare(Batch("m", True, chunks, **kind)))


def test_a_light_network_computes_on_the_gpu_alone_and_takes_batches():
    backend, told, *_ = loaded(CUDA)
    assert told.provider == "CUDAExecutionProvider"
    assert told.batching.batched, told.batching.reason
    assert told.on_host == ()
    assert backend._residents["m"].device.realiser is not None


def test_scores_are_close_to_the_cpus_and_alike_whoever_makes_the_rows():
    scores = {}
    for who, options in (
        ("graph", CUDA),
        ("numpy", SessionOptions(provider="cuda", required=True, realiser="numpy")),
        ("cpu", SessionOptions()),
    ):
        backend, _, name, output = loaded(options)
        (scores[who],) = run(backend, a_chunk(name, output, an_image(name)))
    top = np.abs(scores["cpu"]).max()
    np.testing.assert_allclose(scores["graph"], scores["cpu"], atol=1e-4 * top)
    np.testing.assert_allclose(scores["graph"], scores["numpy"], atol=1e-5 * top)


class Sizes(Session):
    """Notes how many rows each of its runs had."""

    seen: list = []  # noqa: RUF012
    room = 10**9

    def run_bound(self, feeds, into, **kind):
        if not into and "indices" not in feeds:
            rows = next(iter(feeds.values())).shape[0]
            Sizes.seen.append((id(self), rows))
            if rows > Sizes.room:
                raise OutOfMemory("pretended")
        return super().run_bound(feeds, into, **kind)


@pytest.fixture
def sizes(monkeypatch):
    monkeypatch.setattr(Sizes, "seen", [])
    monkeypatch.setattr(Sizes, "room", 10**9)
    monkeypatch.setattr("assayd.engine.in_process.Session", Sizes)
    monkeypatch.setattr("assayd.engine.onnxruntime_session.Session", Sizes)
    return Sizes


def test_each_session_runs_one_size(sizes):
    backend, _, name, output = loaded(CUDA)
    chunk = a_chunk(name, output, an_image(name))
    short = Chunk(chunk.subject, chunk.blocks[:1], chunk.readout, 3)
    sizes.seen.clear()
    for each in (chunk, short, chunk, short):
        run(backend, each)
    by_session = {session: {n for s, n in sizes.seen if s == session} for session, _ in sizes.seen}
    assert sorted(by_session.values(), key=min) == [{SIZE // 4}, {SIZE}]


def test_memory_that_ends_makes_smaller_parts_and_the_same_scores(sizes):
    backend, _, name, output = loaded(CUDA)
    chunk = a_chunk(name, output, an_image(name))
    (want,) = run(backend, chunk)
    sizes.room = SIZE // 4
    (got,) = run(backend, chunk)
    # Of another size, and so perhaps by other algorithms.
    np.testing.assert_allclose(got, want, atol=1e-3 * np.abs(want).max())


def test_what_the_runtime_says_when_memory_ends_is_understood():
    """A real one: an arena of 200 MB, and a batch whose first activations alone take more."""
    options = SessionOptions(provider="cuda", required=True, gpu_memory_bytes=200_000_000)
    backend, _, name, output = loaded(options, rows=256)
    device = backend._residents["m"].device
    blocks = a_chunk(name, output, an_image(name)).blocks
    chunk = Chunk(an_image(name), blocks * 18, (a_chunk(name, output, an_image(name)).readout), 14 * 18)
    (got,) = run(backend, chunk)
    assert device.full.fits < 256
    np.testing.assert_allclose(got[:14], got[14:28], atol=1e-3 * np.abs(got).max())


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_a_precision_costs_what_it_says_and_exact_batches_never_use_it(precision):
    full, _, name, output = loaded(CUDA)
    fast, told, *_ = loaded(SessionOptions(provider="cuda", required=True, precision=precision))
    assert told.precision == precision
    assert 0 < told.precision_error < 0.05
    chunk = a_chunk(name, output, an_image(name))
    # Exact ones of both by the same search for convolutions.
    (want,), (exact,), (low,) = run(full, chunk, exact=True), run(fast, chunk, exact=True), run(fast, chunk)
    top = np.abs(want).max()
    np.testing.assert_allclose(exact, want, atol=1e-5 * top)
    assert np.abs(low - want).max() > 1e-5 * top
    np.testing.assert_allclose(low, want, atol=10 * told.precision_error * top)


def test_where_cuda_cannot_be_had_a_session_that_insists_says_so(monkeypatch):
    made = ort.InferenceSession
    monkeypatch.setattr(ort, "InferenceSession", lambda *a, providers, **k: made(*a, providers=providers[1:], **k))
    with pytest.raises(ModelFailed, match="CUDA was asked for"):
        Session(network()[0], CUDA, free_shapes=False)
