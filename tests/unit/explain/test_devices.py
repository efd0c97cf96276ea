"""One request on two devices: the same numbers, and a record that names both."""

import json
from dataclasses import replace

import numpy as np
import pytest

from assayd.engine.in_process import InProcessBackend
from assayd.engine.options import SessionOptions
from tests.models import zoo
from tests.unit.engine.pretended_gpu import pretend
from tests.unit.explain.made import a_request, service

X = {"x": np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)}
CPU = SessionOptions(threads=1)
GPU = SessionOptions(threads=1, provider="cuda", required=True, realiser="numpy")


def shares(options):
    return [InProcessBackend(replace(options, device=number), 8) for number in (0, 1)]


def engines(made):
    return [json.loads(result.record)["engine"] for result in made.results]


async def on_both(s):
    """The model on the second device as well."""
    await s.models.load("t", "sha256:m", s.models.devices[0].models._store.data)
    model = s.models.devices[0].models.get("sha256:m")
    await s.models.devices[1].models.adopt(model)


@pytest.mark.parametrize("options", [CPU, GPU], ids=["cpu", "cuda"])
async def test_rows_on_two_devices_give_the_numbers_of_one(monkeypatch, options):
    pretend(monkeypatch, apart=0.0)
    async with service(zoo.mlp(), backend=InProcessBackend(CPU, 8)) as s:
        want = await s.explain(a_request(X))
    first, second = shares(options)
    async with service(zoo.mlp(), backend=first, beside=[second], gather_ms=0) as s:
        await on_both(s)
        made = await s.explain(a_request(X))
    used = [engine["devices"] for engine in engines(made)]
    kind = "cuda" if options is GPU else "cpu"
    assert {name for names in used for name in names} == {f"{kind}:0", f"{kind}:1"}
    assert {engine["device"] for engine in engines(made)} == {f"{kind}:0"}
    for got, known in zip(made.results, want.results, strict=True):
        top = np.abs(known.attribution.values).max()
        np.testing.assert_allclose(got.attribution.values, known.attribution.values, atol=1e-5 * top)
        np.testing.assert_allclose(got.x_scores, known.x_scores, atol=1e-6)


async def test_a_reproducible_request_stays_on_one_device():
    first, second = shares(CPU)
    async with service(zoo.mlp(), backend=first, beside=[second], gather_ms=0) as s:
        await on_both(s)
        made = await s.explain(a_request(X, reproducible=True))
    assert {tuple(engine["devices"]) for engine in engines(made)} == {("cpu:0",)}
    async with service(zoo.mlp(), backend=InProcessBackend(CPU, 8)) as s:
        alone = await s.explain(a_request(X, reproducible=True))
    for got, known in zip(made.results, alone.results, strict=True):
        np.testing.assert_array_equal(got.attribution.values, known.attribution.values)


async def test_rows_that_interact_are_found_on_either_device():
    """The model is proven, and then its rows differ in company: both devices are told, and the numbers are right."""
    first, second = shares(CPU)
    async with service(zoo.mlp(), backend=first, beside=[second], gather_ms=0) as s:
        await on_both(s)
        want = await s.explain(a_request(X))
        for backend in (first, second):
            several = backend._residents["sha256:m"].several
            run = several.run

            def touched(buffers, rows, at_once=None, *, run=run):
                return {name: value + np.float32(rows > 1) for name, value in run(buffers, rows, at_once).items()}

            object.__setattr__(several, "run", touched)
        made = await s.explain(a_request(X))
        assert not made.model.batching.batched
        assert s.models.runs("cpu:1", "sha256:m") is False
    for got, known in zip(made.results, want.results, strict=True):
        np.testing.assert_allclose(got.attribution.values, known.attribution.values, atol=2e-6)
