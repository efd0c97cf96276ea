"""Small batches for models with an input x and an output y."""

import numpy as np

from assayd.engine.backend import Batch, Chunk
from assayd.types.rows import Pick, PlainRows, SampleRows
from assayd.types.subject import Subject

PICKS = (Pick("y", np.array([0])),)


def one_row(backend, x, readout=PICKS):
    batched = backend._decisions["m"].loaded.batching.batched
    subject = Subject({"x": np.asarray(x, np.float32)}, {})
    return Batch("m", batched, (Chunk(subject, [PlainRows(np.array([-1], np.int32))], readout, 1),))


def rows(count, features=6, seed=0):
    return np.random.default_rng(seed).standard_normal((count, features)).astype(np.float32)


def samples(x, readout=PICKS, batched=True):
    return Batch("m", batched, (Chunk(Subject({"x": x[0]}, {}), [SampleRows({"x": x})], readout, len(x)),))


def run(backend, batch):
    return backend.run(backend.prepare(batch))
