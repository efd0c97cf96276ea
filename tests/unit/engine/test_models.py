"""Models in memory: loaded once, used by many, gone when room is needed."""

import asyncio
import threading

import numpy as np
import pytest

from assayd.engine.backend import LoadedModel
from assayd.engine.models import LoadedModels
from assayd.errors import InvalidModel, ModelNotFound
from assayd.metrics import Metrics
from assayd.types.model import Batching, Signature
from assayd.types.subject import Subject


class FakeBackend:
    """Loads what it is told to in no time; b"bad" is no model, b"open" leaves its question open."""

    def __init__(self):
        self.loads, self.unloads, self.demoted, self.proven = [], [], [], []
        self.gate = threading.Event()
        self.gate.set()

    def load(self, digest, data):
        self.gate.wait(10)
        self.loads.append(digest)
        if data == b"bad":
            raise InvalidModel("no")
        batching = Batching(data != b"open", "", 8)
        return LoadedModel(digest, Signature((), ()), batching, "CPU", len(data), 0.5, data == b"open")

    def prove(self, digest, subject):
        self.proven.append(digest)
        return LoadedModel(digest, Signature((), ()), Batching(True, "", 8), "CPU", 4, 0.5)

    def demote(self, digest, data, reason):
        self.demoted.append((digest, data, reason))
        return LoadedModel(digest, Signature((), ()), Batching(False, reason, 1), "CPU", len(data), 0.5)

    def unload(self, digest):
        self.unloads.append(digest)


class FakeStore:
    """A digest's bytes are what follows its colon."""

    def __init__(self):
        self.reads = []

    def model_bytes(self, tenant, digest):
        self.reads.append((tenant, digest))
        if tenant != "t":
            raise ModelNotFound("no")
        return digest.partition(":")[2].encode()


@pytest.fixture
def backend():
    return FakeBackend()


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def models(backend, metrics):
    made = LoadedModels(backend, FakeStore(), metrics, max_bytes=10)
    yield made
    backend.gate.set()
    made.close()


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


async def used(models, digest, tenant="t"):
    async with models.use(tenant, digest) as model:
        return model


async def test_many_at_once_load_a_model_once(models, backend):
    backend.gate.clear()
    tasks = [asyncio.create_task(used(models, "m:abc")) for _ in range(20)]
    await asyncio.sleep(0.02)
    backend.gate.set()
    found = await asyncio.gather(*tasks)
    assert backend.loads == ["m:abc"]
    assert len({id(model) for model in found}) == 1
    assert models._store.reads == [("t", "m:abc")]


async def test_uploads_and_uses_of_the_same_bytes_load_once(models, backend):
    loaded = await asyncio.gather(models.load("m:abc", b"abc"), models.load("m:abc", b"abc"))
    await used(models, "m:abc")
    assert backend.loads == ["m:abc"]
    assert loaded[0] is loaded[1]


async def test_the_least_recently_used_goes_when_room_is_needed(models, backend):
    for digest in ("a:1234", "b:1234", "a:1234", "c:1234"):
        await used(models, digest)
    assert backend.unloads == ["b:1234"]
    assert backend.loads == ["a:1234", "b:1234", "c:1234"]


async def test_what_is_in_use_stays_however_little_room_there_is(models, backend):
    async with models.use("t", "a:12345678"), models.use("t", "b:12345678"):
        async with models.use("t", "b:12345678"):
            await used(models, "c:12345678")
        assert backend.unloads == ["c:12345678"]
    assert backend.unloads == ["c:12345678", "b:12345678"]


async def test_a_model_larger_than_all_room_lives_while_it_is_used(models, backend):
    async with models.use("t", "a:" + "x" * 99) as model:
        assert model.loaded.size_bytes == 99
        assert backend.unloads == []
    assert len(backend.unloads) == 1


async def test_a_load_that_fails_leaves_nothing_and_is_tried_again(models, backend, metrics):
    for _ in range(2):
        with pytest.raises(InvalidModel):
            await used(models, "m:bad")
    assert backend.loads == ["m:bad", "m:bad"]
    assert models.providers() == []
    assert value(metrics, "assayd_model_loads_total", outcome="failed") == 2
    assert value(metrics, "assayd_models_loaded_bytes") == 0


async def test_the_store_decides_who_may_load(models, backend):
    with pytest.raises(ModelNotFound):
        await used(models, "m:abc", tenant="other")
    assert backend.loads == []


async def test_a_user_that_fails_gives_its_model_back(models):
    async def broken():
        async with models.use("t", "a:12345678"):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await broken()
    assert models._models["a:12345678"].users == 0


async def test_an_open_question_is_asked_once(models, backend):
    subject = Subject({"x": np.float32(0)}, {})
    async with models.use("t", "m:open") as model:
        assert model.loaded.open_question
        await asyncio.gather(*(models.prove(model, subject) for _ in range(5)))
        assert model.loaded.batching.batched
    assert backend.proven == ["m:open"]


async def test_a_model_is_demoted_once_with_the_bytes_of_its_file(models, backend):
    async with models.use("t", "m:abc") as model:
        await asyncio.gather(*(models.demote("t", model, f"reason {n}") for n in range(5)))
        assert not model.loaded.batching.batched
        assert await models.load("m:abc", b"abc") is model.loaded
    assert backend.demoted == [("m:abc", b"abc", "reason 0")]


async def test_metrics_show_what_is_loaded_and_how_it_runs(models, metrics):
    async with models.use("t", "a:1234"), models.use("t", "b:open") as second:
        assert value(metrics, "assayd_models_loaded", provider="CPU", batching="batched") == 1
        assert value(metrics, "assayd_models_loaded", provider="CPU", batching="row_by_row") == 1
        await models.prove(second, Subject({"x": np.float32(0)}, {}))
        assert value(metrics, "assayd_models_loaded", provider="CPU", batching="batched") == 2
        assert value(metrics, "assayd_models_loaded_bytes") == 8
    assert value(metrics, "assayd_model_loads_total", outcome="loaded") == 2
    assert value(metrics, "assayd_model_load_seconds_sum") == 1.0
    assert value(metrics, "assayd_provider", provider="CPU") == 1
    assert models.providers() == ["CPU"]


async def test_a_caller_that_leaves_while_a_model_loads_leaves_no_model_that_nobody_counts(models, backend, metrics):
    backend.gate.clear()
    leaves = asyncio.create_task(used(models, "m:abc"))
    await asyncio.sleep(0.02)
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    backend.gate.set()
    await used(models, "a:1")
    in_backend = set(backend.loads) - set(backend.unloads)
    assert in_backend == set(models._models)
    assert value(metrics, "assayd_models_loaded_bytes") == sum(len(d.partition(":")[2]) for d in in_backend)


async def test_bytes_that_never_load_leave_nothing_behind(models):
    for n in range(20):
        with pytest.raises(InvalidModel):
            await models.load(f"{n}:bad", b"bad")
    assert not models._loads
