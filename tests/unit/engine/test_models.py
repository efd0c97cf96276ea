"""Models of the store: loaded once for all who ask."""

import asyncio
import threading

import numpy as np
import pytest

from assayd.engine.models import LoadedModels
from assayd.errors import InvalidModel, ModelFailed, ModelNotFound, OutOfMemory
from assayd.types.model import Tuning
from assayd.types.subject import Subject
from tests.unit.engine.fake_backend import FakeStore, used, value


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
    loaded = await asyncio.gather(models.load("t", "m:abc", b"abc"), models.load("t", "m:abc", b"abc"))
    await used(models, "m:abc")
    assert backend.loads == ["m:abc"]
    assert loaded[0] is loaded[1]


async def test_a_load_that_fails_leaves_nothing_and_is_tried_again(models, backend, metrics):
    for _ in range(2):
        with pytest.raises(InvalidModel):
            await used(models, "m:bad")
    assert backend.loads == ["m:bad", "m:bad"]
    assert models.in_memory.providers == []
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
    assert models.in_memory["a:12345678"].users == 0


async def test_an_open_question_is_asked_once(models, backend):
    subject = Subject({"x": np.float32(0)}, {})
    async with models.use("t", "m:open") as model:
        assert model.loaded.open_question
        await asyncio.gather(*(models.prove(model, subject) for _ in range(5)))
        assert model.loaded.batching.batched
    assert backend.proven == ["m:open"]


async def test_a_model_is_demoted_once_with_the_bytes_of_its_file(models, backend):
    async with models.use("t", "m:abc") as model:
        await asyncio.gather(*(models.demote(model, f"reason {n}") for n in range(5)))
        assert not model.loaded.batching.batched
        assert await models.load("t", "m:abc", b"abc") is model.loaded
    assert backend.demoted == [("m:abc", b"abc", "reason 0")]


async def test_a_caller_that_leaves_while_a_model_loads_leaves_no_model_that_nobody_counts(models, backend, metrics):
    backend.gate.clear()
    leaves = asyncio.create_task(used(models, "m:abc"))
    await asyncio.sleep(0.02)
    leaves.cancel()
    await asyncio.gather(leaves, return_exceptions=True)
    backend.gate.set()
    await used(models, "a:1")
    in_backend = set(backend.loads) - set(backend.unloads)
    assert in_backend == set(models.in_memory)
    assert value(metrics, "assayd_models_loaded_bytes") == sum(len(d.partition(":")[2]) for d in in_backend)


async def test_bytes_that_never_load_leave_nothing_behind(models):
    for n in range(20):
        with pytest.raises(InvalidModel):
            await models.load("t", f"{n}:bad", b"bad")
    assert not models._loads


# ---- processes that are lost ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deaths", "loads", "fails"),
    [
        (["killed by signal 9"], 2, False),
        (["it didn't answer"], 2, False),
        (["killed by signal 9", "it didn't answer"], 2, True),
        (["killed by signal 11"], 1, True),
        (["memory"], 1, True),
    ],
)
async def test_a_process_that_dies_while_it_loads(models, backend, deaths, loads, fails):
    """Once it may be others' doing; a model that does it is refused, never said to be unavailable."""
    backend.deaths = deaths
    if fails:
        with pytest.raises(OutOfMemory if deaths == ["memory"] else ModelFailed, match="while it was loaded"):
            await used(models, "m:abc")
    else:
        await used(models, "m:abc")
    assert backend.loads == ["m:abc"] * loads


async def test_a_load_that_nobody_waits_for_any_more_is_ended_after_a_while(models, backend, monkeypatch):
    monkeypatch.setattr("assayd.engine.models._ABANDONED_S", 0.05)
    backend.gate.clear()
    tasks = [asyncio.create_task(used(models, "m:abc")) for _ in range(2)]
    await asyncio.sleep(0.02)
    tasks[0].cancel()
    await asyncio.sleep(0.1)
    assert not backend.kills
    tasks[1].cancel()
    await asyncio.sleep(0.1)
    assert backend.kills == [("m:abc", "nobody waits for its load")]
    assert not models._quarantine._strikes.get("m:abc")


async def test_one_who_comes_back_in_time_keeps_it(models, backend, monkeypatch):
    monkeypatch.setattr("assayd.engine.models._ABANDONED_S", 0.1)
    backend.gate.clear()
    first = asyncio.create_task(used(models, "m:abc"))
    await asyncio.sleep(0.02)
    first.cancel()
    await asyncio.sleep(0.02)
    second = asyncio.create_task(used(models, "m:abc"))
    await asyncio.sleep(0.2)
    assert not backend.kills
    backend.gate.set()
    await second


async def test_a_load_has_its_time(backend, metrics):
    made = LoadedModels(backend, FakeStore(), metrics, max_bytes=10, max_load_s=0.05)
    backend.gate.clear()
    with pytest.raises(ModelFailed, match=r"longer than 0\.05 s"):
        await used(made, "m:abc")
    await asyncio.sleep(0.05)
    assert backend.kills == [("m:abc", "its load took too long")]
    made.close()


async def test_a_load_that_was_given_up_while_it_waited_for_a_thread_never_starts(models, backend, monkeypatch):
    monkeypatch.setattr("assayd.engine.models._ABANDONED_S", 0.02)
    release = threading.Event()
    busy = asyncio.get_running_loop().run_in_executor(models._threads, release.wait)
    task = asyncio.create_task(used(models, "m:abc"))
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.sleep(0.1)
    release.set()
    await busy
    backend.kills.clear()
    await used(models, "n:abc")
    assert backend.loads == ["n:abc"]


# ---- proofs by a caller's instance --------------------------------------------------------------------------------


async def test_what_a_sweep_found_is_kept_and_given_to_the_next_load(backend, metrics):
    store = FakeStore()
    for fingerprint in ("cpu", "cpu", "other"):
        made = LoadedModels(backend, store, metrics, max_bytes=10, fingerprint=fingerprint)
        await used(made, "sha256:m")
        made.close()
    assert backend.tunings == [None, Tuning(16, 1), None]
    assert store.tunings == {("t", "sha256:m", device): Tuning(16, 1) for device in ("cpu", "other")}
    assert value(metrics, "assayd_model_sweeps_total") == 2


async def test_without_a_fingerprint_nothing_is_kept_and_a_full_store_fails_no_load(models, backend, metrics):
    await used(models, "sha256:m")
    store = FakeStore()
    store.full = True
    made = LoadedModels(backend, store, metrics, max_bytes=10, fingerprint="cpu")
    assert (await used(made, "sha256:m")).loaded.tuning == Tuning(16, 1)
    made.close()
    assert backend.tunings == [None, None]
    assert store.tunings == {}
