"""Whether a row's bits hang on its place or company."""

from dataclasses import replace

import numpy as np
import pytest

from assayd.engine.backend import Batch, Chunk
from assayd.engine.in_process import InProcessBackend
from assayd.engine.onnxruntime_session import SessionOptions
from assayd.engine.probes import blind_probes
from assayd.engine.steady import unsteady
from assayd.errors import ModelFailed, NotReproducible
from assayd.types.model import Signature, TensorSignature
from assayd.types.rows import Pick, SampleRows
from assayd.types.subject import Subject
from tests.models import zoo
from tests.unit.engine.test_proof import saturated

SIGNATURE = Signature(
    (TensorSignature("x", np.dtype(np.float32), (3,), 0),), (TensorSignature("y", np.dtype(np.float32), (3,), 0),)
)


class Made:
    """A program made of a function of [rows, 3]."""

    def __init__(self, function):
        self._function = function

    def buffers(self, shapes, capacity):
        buffer = np.zeros((capacity, 3), np.float32)
        return type("Buffers", (), {"x": buffer, "views": lambda self, rows: {"x": buffer[:rows]}})()

    def run(self, buffers, rows):
        return {"y": self._function(buffers.x[:rows])}


def by_place(x):
    y = x.copy()
    y[5] = np.nextafter(y[5], np.inf)
    return y


def by_company(x):
    return x + np.float32(1e-30) * (x[:, :1].min() < 0) + np.where(x.min() == x[-1].min(), np.float32(1e-6), 0)


def failing(_):
    raise ModelFailed("no")


class Ticking:
    """Another bit each time."""

    def __init__(self):
        self.runs = 0

    def __call__(self, x):
        self.runs += 1
        return x + np.float32(self.runs)


@pytest.mark.parametrize(
    ("function", "size", "said"),
    [
        (np.tanh, 8, ""),
        (np.tanh, 1, ""),
        (by_place, 8, "its place and company"),
        (by_company, 8, "its place and company"),
        (Ticking(), 8, "its place and company"),
        (Ticking(), 1, "its answers to the same row differ"),
        (failing, 8, "not to be told: no"),
    ],
)
def test_what_changes_bits_is_seen(function, size, said):
    got = unsteady(Made(function), size, blind_probes(SIGNATURE))
    assert said in got if said else not got


def backend():
    return InProcessBackend(SessionOptions(threads=1), 8)


def test_a_steady_model_keeps_its_batches():
    b = backend()
    loaded = b.load("m", zoo.mlp())
    assert b.steady("m", zoo.mlp()) == replace(loaded, steady=True)
    assert b.sessions_built == 1


def test_a_model_that_is_not_runs_row_by_row(monkeypatch):
    b = backend()
    loaded = b.load("m", zoo.mlp())
    monkeypatch.setattr(
        "assayd.engine.in_process.unsteady", lambda program, size, probes: "seen to wobble" if size > 1 else ""
    )
    steady = b.steady("m", zoo.mlp())
    assert (steady.batching.batched, steady.batching.reason) == (False, "seen to wobble")
    assert loaded.batching.batched
    assert b.steady("m", zoo.mlp()) is steady
    x = np.ones(8, np.float32)
    pick = (Pick("y", np.array([0])),)
    chunk = Chunk(Subject({"x": x}, {}), [SampleRows({"x": x[None]})], pick, 1)
    for batched in (True, False):
        assert b.run(b.prepare(Batch("m", batched, (chunk,))))[0].shape == (1, 1)


def test_a_model_that_wobbles_alone_is_refused(monkeypatch):
    b = backend()
    b.load("m", zoo.mlp())
    monkeypatch.setattr("assayd.engine.in_process.unsteady", lambda *_: "it wobbles")
    with pytest.raises(NotReproducible, match="it wobbles") as got:
        b.steady("m", zoo.mlp())
    assert got.value.field == "reproducible"


def test_a_model_that_draws_is_refused_by_name():
    b = backend()
    made = zoo.Builder(0)
    made.op("Add", "x", made.op("RandomNormalLike", "x"), outputs=["y"])
    data = made.model({"x": (zoo.FLOAT, ["N", 3])}, {"y": (zoo.FLOAT, ["N", 3])})
    assert "draws random numbers (RandomNormalLike)" in b.load("m", data).batching.reason
    with pytest.raises(NotReproducible, match="RandomNormalLike"):
        b.steady("m", data)


def settled_by(b):
    """A caller's instance that answers the open question of `saturated`."""
    weights = np.random.default_rng(0).standard_normal((6, 3)) / np.sqrt(6)
    x = (np.linalg.pinv(weights.T) @ [-4e6, 0, 4e6]).astype(np.float32)
    assert b.prove("m", Subject({"x": x}, {"x": np.zeros((1, 6), np.float32)})).batching.batched


@pytest.mark.parametrize("before", [True, False])
def test_what_a_caller_proves_changes_nothing_for_steady_runs(before):
    """Else the bits would hang on who came before."""
    b, data = backend(), saturated(batch=1)
    assert b.load("m", data).open_question
    if before:
        settled_by(b)
    steady = b.steady("m", data)
    assert not steady.batching.batched
    if not before:
        settled_by(b)
    assert b.steady("m", data) == steady
    x = np.ones(6, np.float32)
    chunk = Chunk(Subject({"x": x}, {}), [SampleRows({"x": x[None]})], (Pick("y", np.array([0])),), 1)
    for batched in (True, False):
        assert b.run(b.prepare(Batch("m", batched, (chunk,))))[0].shape == (1, 1)


def test_after_a_demotion_steady_runs_say_its_reason():
    b, data = backend(), zoo.mlp()
    b.load("m", data)
    assert b.steady("m", data).batching.batched
    b.demote("m", data, "seen to interact")
    assert b.steady("m", data).batching == b.demote("m", data, "seen to interact").batching


def test_padded_batches_have_one_size_and_the_same_numbers(monkeypatch):
    b = backend()
    b.load("m", zoo.mlp())
    sizes = []
    program = b._residents["m"].several
    kind, run = type(program), type(program).run

    def counted(self, buffers, rows, at_once=None):
        sizes.append(rows)
        return run(self, buffers, rows, at_once)

    monkeypatch.setattr(kind, "run", counted)
    x = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    chunk = Chunk(Subject({"x": x[0]}, {}), [SampleRows({"x": x})], (Pick("y", np.array([0, 1, 2])),), 3)
    b.steady("m", zoo.mlp())
    sizes.clear()
    plain, padded = (b.run(b.prepare(Batch("m", True, (chunk,), pad, pad)))[0] for pad in (False, True))
    assert sizes == [3, 8]
    assert padded.shape == (3, 3)
    np.testing.assert_allclose(plain, padded, atol=1e-6)
