"""Where a device's precision is low, differences of near scores are taken in fp32, and the record says so."""

import json

import numpy as np
import pytest

from assayd.engine.in_process import InProcessBackend
from assayd.engine.options import SessionOptions
from assayd.methods import METHODS
from tests.models import zoo
from tests.unit.explain.made import a_request, service

HALF = SessionOptions(threads=1, realiser="graph", precision="fp16")


class Watched(InProcessBackend):
    """Notes which batches are exact."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.batches = []

    def prepare(self, batch):
        self.batches.append((batch.batched, batch.exact))
        return super().prepare(batch)


async def explained(options, **kind):
    x = {"x": np.random.default_rng(0).standard_normal((1, 8)).astype(np.float32)}
    async with service(zoo.mlp(), backend=Watched(options, 8)) as s:
        made = await s.explain(a_request(x, **kind))
        return made.results[0], {exact for _, exact in s.backend.batches}


@pytest.mark.parametrize(
    ("kind", "exact"),
    [({}, False), ({"reproducible": True}, True), ({"method": ("jacobian", METHODS["jacobian"]())}, True)],
    ids=["ablation", "reproducible", "jacobian"],
)
async def test_jacobians_and_reproducible_requests_are_exact(kind, exact):
    half, seen = await explained(HALF, **kind)
    assert seen == {exact}
    engine = json.loads(half.record)["engine"]
    assert engine["precision"] == ("fp32" if exact else "fp16")
    assert (engine["precision_error"] == 0) is exact
    full, _ = await explained(SessionOptions(threads=1), **kind)
    same = np.allclose(half.attribution.values, full.attribution.values, rtol=0, atol=1e-7)
    assert same is exact
