"""What crosses between the server and a model's process."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from assayd.engine.backend import Batch, Chunk, Whole
from assayd.engine.worker.process import WorkerBug
from assayd.types.rows import MaskRows, PlainRows, SampleRows
from assayd.types.subject import Segments, Subject
from tests.models import zoo
from tests.unit.engine.worker.batches import PICKS, rows, run, samples
from tests.unit.engine.worker.processes import pid_of


def test_the_front_holds_neither_onnx_nor_a_runtime():
    script = """
import sys, numpy as np
from assayd.engine.options import SessionOptions
from assayd.engine.worker.backend import WorkerBackend
from assayd.engine.backend import Batch, Chunk, Whole
from assayd.types.rows import PlainRows
from assayd.types.subject import Subject
backend = WorkerBackend(SessionOptions(threads=1), None)
backend.load("m", open(sys.argv[1], "rb").read())
chunk = Chunk(Subject({"x": np.ones(8, np.float32)}, {}), [PlainRows(np.array([-1], np.int32))], Whole(), 1)
print(backend.run(backend.prepare(Batch("m", True, (chunk,))))[0]["y"].shape)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"onnx", "onnxruntime", "grpc", "google"}))
backend.close()
"""
    file = Path(os.environ.get("TMPDIR", "/tmp")) / f"mlp-{os.getpid()}.onnx"
    file.write_bytes(zoo.mlp())
    try:
        out = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True, check=True).stdout
    finally:
        file.unlink()
    assert out == "(1, 3)\n[]\n"


def test_a_subject_crosses_once_and_again_to_the_next_worker(backend):
    backend.load("m", zoo.mlp(2000))
    subject = Subject(
        {"x": rows(1, 2000)[0]}, {"x": rows(1, 2000, 1)}, Segments({"x": np.arange(2000, dtype=np.int32) % 7}, 7)
    )
    keep = np.eye(7, dtype=bool)
    batch = Batch("m", True, (Chunk(subject, [MaskRows(keep, np.zeros(7, np.int32))], PICKS, 7),))
    first = run(backend, batch)
    counted = backend.counters.subject_bytes, backend.counters.row_bytes
    assert counted[0] == 3 * 8000
    assert counted[1] < 1000
    np.testing.assert_array_equal(run(backend, batch), first)
    assert backend.counters.subject_bytes == counted[0]
    assert counted[1] < backend.counters.row_bytes <= 2 * counted[1]
    backend.kill("m", "to try it")
    backend.revive("m", zoo.mlp(2000))
    np.testing.assert_array_equal(run(backend, batch), first)
    assert backend.counters.subject_bytes == 2 * counted[0]
    assert backend.counters.processes_started == backend.sessions_built == 2


@pytest.mark.parametrize("how", ["released", "garbage"])
def test_a_subject_that_is_over_is_forgotten(backend, how):
    backend.load("m", zoo.linear())
    batch = samples(rows(2))
    run(backend, batch)
    known = backend._processes["m"]._held._known
    assert len(known) == 1
    if how == "released":
        backend.release(batch.chunks[0].subject.number)
        backend.release(10**9)
    else:
        del batch
        gc.collect()
    assert not known
    backend.ping("m")
    assert not backend._processes["m"]._held._gone
    run(backend, samples(rows(2)))


def test_large_subjects_that_go_while_a_batch_is_prepared_are_told_of_afterwards(backend):
    backend.load("m", zoo.linear(20_000))
    batch = samples(rows(2, 20_000))
    run(backend, batch)
    process = backend._processes["m"]
    with process._prepare.lock:
        backend.release(batch.chunks[0].subject.number)
        assert len(process._held._gone) == 1
    run(backend, samples(rows(2, 20_000, seed=1)))
    assert not process._held._gone
    run(backend, batch)


def test_small_subjects_that_go_are_told_of_together(backend):
    backend.load("m", zoo.linear())
    process = backend._processes["m"]
    for number in range(1, 64):
        run(backend, samples(rows(2, seed=number)))
        gc.collect()
        assert len(process._held._gone) == number
    run(backend, samples(rows(2)))
    gc.collect()
    assert not process._held._gone


def test_large_rows_cross_in_shared_memory(backend):
    backend.load("m", zoo.linear(20_000))
    for count in (2, 7, 3):
        x = rows(count, 20_000, count)
        weights = np.array(zoo.linear_weights(zoo.linear(20_000))[0])
        np.testing.assert_allclose(run(backend, samples(x))[0][:, 0], x @ weights[:, 0], atol=1, rtol=1e-3)
    assert len(backend._processes["m"]._shared._bytes) == 2**20


def test_words_cross_both_ways(backend):
    backend.load("m", zoo.forest(zipmap=False))
    x = rows(4, 5)
    (got,) = run(backend, samples(x, Whole()))
    assert set(got["label"]) <= {"cat", "dog", "eel"}
    batched = backend.load("m", zoo.strings()).batching.batched
    words = np.array([["red", "ünbekannt"]], object)
    chunk = Chunk(Subject({"s": words[0]}, {}), [SampleRows({"s": words})], Whole(), 1)
    assert run(backend, Batch("m", batched, (chunk,)))[0]["y"].shape == (1, 3)


def test_a_models_bytes_leave_no_descriptor_behind(backend):
    backend.load("m", zoo.cnn(batch=1))
    backend.demote("m", zoo.cnn(batch=1), "because")
    for pid in (os.getpid(), pid_of(backend)):
        links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()]
        assert not [link for link in links if "memfd:model" in link]


def test_what_a_worker_holds_is_told(backend):
    assert 2**23 < backend.load("m", zoo.linear()).memory_bytes < backend.workers()[0].rss_bytes


def test_a_bug_in_the_worker_is_told_to_the_log_alone(backend, caplog):
    backend.load("m", zoo.linear())
    subject = Subject({"x": rows(1)[0]}, {"x": rows(2)})
    third = Chunk(subject, [PlainRows(np.array([2], np.int32))], PICKS, 1)
    with pytest.raises(WorkerBug) as got:
        backend.prepare(Batch("m", True, (third,)))
    assert "out of bounds" not in str(got.value)
    assert "index 2 is out of bounds" in caplog.records[-1].traceback
    assert len(run(backend, samples(rows(3)))[0]) == 3
