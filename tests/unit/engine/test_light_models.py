"""The light graphs of the onnx package share batches, and the same graphs with rows that interact don't."""

import gc

import numpy as np
import pytest

from assayd.engine.backend import Batch, Chunk, Whole
from assayd.engine.in_process import InProcessBackend
from assayd.engine.onnxruntime_session import SessionOptions
from assayd.types.rows import SampleRows
from assayd.types.subject import Subject
from tests.models import light
from tests.models.params import LIGHT
from tests.models.run import session


def run(backend, name, pictures, batched):
    chunk = Chunk(Subject({name: pictures[0]}, {}), [SampleRows({name: pictures})], Whole(), len(pictures))
    (got,) = backend.run(backend.prepare(Batch("m", batched, (chunk,))))
    (scores,) = got.values()
    return scores


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_model_shares_batches_and_with_the_batch_mean_it_runs_row_by_row(name):
    data, pictures = light.light_model(name), light.images(3, seed=7)
    backend = InProcessBackend(SessionOptions(threads=2), None)
    loaded = backend.load("m", data)
    assert (loaded.batching.batched, loaded.batching.reason) == (True, "")
    (source,) = loaded.signature.inputs
    together = run(backend, source.name, pictures, True)
    alone = np.concatenate([run(backend, source.name, p[None], True) for p in pictures])
    top = np.abs(alone).max()
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5 * top)
    plain = session(data)
    want = np.concatenate([plain.run(None, {source.name: p[None]})[0] for p in pictures[:1]])
    np.testing.assert_allclose(alone[:1], want, rtol=0, atol=1e-5 * top)
    backend.close()
    del plain, backend
    gc.collect()

    mixed = light.with_batch_mean_subtracted(data)
    del data
    backend = InProcessBackend(SessionOptions(threads=2), None)
    loaded = backend.load("m", mixed)
    assert not loaded.batching.batched
    assert "rows interact" in loaded.batching.reason
    # Alone, a picture less the mean of its batch is a black one.
    got = run(backend, source.name, pictures[:1], False)
    want = session(mixed).run(None, {source.name: pictures[:1]})[0]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())
    backend.close()
