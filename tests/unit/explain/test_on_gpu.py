"""x alone against x in a batch where a GPU runs them, here a pretended one: its algorithms go by the batch's size."""

import json

import numpy as np

from assayd.engine.in_process import InProcessBackend
from assayd.engine.options import SessionOptions
from tests.models import zoo
from tests.unit.engine.pretended_gpu import PretendedGpu, pretend
from tests.unit.explain.made import a_request, service

GPU = SessionOptions(threads=1, provider="cuda", required=True, realiser="numpy")
X = {"x": np.random.default_rng(0).standard_normal((1, 8)).astype(np.float32)}


async def test_what_algorithms_change_is_no_interaction(monkeypatch):
    pretend(monkeypatch, apart=1e-4)
    async with service(zoo.mlp(), backend=InProcessBackend(GPU, 8)) as s:
        made = await s.explain(a_request(X))
    assert made.model.batching.batched
    assert made.results[0].alone_difference > 2e-5


async def test_what_is_more_makes_rows_run_alone_and_the_record_says_so(monkeypatch):
    pretend(monkeypatch, apart=0.0)
    async with service(zoo.mlp(), backend=InProcessBackend(GPU, 8)) as s:
        await s.models.load("t", "sha256:m", zoo.mlp())
        monkeypatch.setattr(PretendedGpu, "apart", 0.01)
        made = await s.explain(a_request(X))
    assert "rows interact" in made.model.batching.reason
    assert made.results[0].alone_difference is None
    engine = json.loads(made.results[0].record)["engine"]
    assert (engine["provider"], engine["batching"]["batched"]) == ("CUDAExecutionProvider", False)


async def test_a_model_that_is_demoted_is_no_longer_run_in_low_precision():
    half = SessionOptions(threads=1, realiser="graph", precision="fp16")
    backend, model = InProcessBackend(half, 8), zoo.mlp()
    before = backend.load("m", model)
    after = backend.demote("m", model, "to try it")
    assert (before.precision, before.precision_error > 0) == ("fp16", True)
    assert (after.precision, after.precision_error) == ("fp32", 0.0)
