"""Models in memory: loaded once, used by many, gone when room is needed."""

import asyncio
import threading

import numpy as np
import pytest

from assayd.engine.backend import LoadedModel, Worker
from assayd.engine.models import LoadedModels
from assayd.errors import (
    InvalidModel,
    ModelFailed,
    ModelNotFound,
    ModelQuarantined,
    ModelsFull,
    OutOfMemory,
    StoreFull,
    WorkerLost,
    WorkerNotStarted,
)
from assayd.metrics import Metrics
from assayd.types.model import Batching, Signature, Tuning
from assayd.types.subject import Subject


class FakeBackend:
    """Loads what it is told to in no time; b"bad" is no model, b"open" leaves its question open."""

    device = "cpu"

    def __init__(self):
        self.loads, self.unloads, self.demoted, self.proven = [], [], [], []
        self.tunings = []
        self.revived, self.kills, self.deaths, self.refusal = [], [], [], None
        self.dead = []
        self.full = self.memory = 0
        self.gate = threading.Event()
        self.gate.set()

    def load(self, digest, data, tuning=None):
        self.tunings.append(tuning)
        self.gate.wait(10)
        self.loads.append(digest)
        if self.kills:
            raise WorkerLost("killed", metadata={"cause": self.kills[-1][1]})
        if self.deaths:
            raise WorkerLost("died", metadata={"cause": self.deaths.pop(0)})
        if self.full:
            self.full -= 1
            raise WorkerNotStarted("no room", retry_after_s=5)
        if data == b"bad":
            raise InvalidModel("no")
        batching = Batching(data != b"open", "", 8)
        found = Tuning(16, 1) if batching.batched else None
        asked = data == b"open"
        return LoadedModel(
            digest, Signature((), ()), batching, "CPU", len(data), 0.5, asked, self.memory, tuning=tuning or found
        )

    def prove(self, digest, subject):
        self.gate.wait(10)
        if self.kills:
            raise WorkerLost("killed", metadata={"cause": self.kills[-1][1]})
        if self.deaths:
            raise WorkerLost("died", metadata={"cause": self.deaths.pop(0)})
        self.proven.append(digest)
        return LoadedModel(digest, Signature((), ()), Batching(True, "", 8), "CPU", 4, 0.5)

    def demote(self, digest, data, reason):
        if self.deaths:
            raise WorkerLost("died", metadata={"cause": self.deaths.pop(0)})
        self.demoted.append((digest, data, reason))
        return LoadedModel(digest, Signature((), ()), Batching(False, reason, 1), "CPU", len(data), 0.5)

    def steady(self, digest, data):
        if self.deaths:
            raise WorkerLost("died", metadata={"cause": self.deaths.pop(0)})
        return LoadedModel(digest, Signature((), ()), Batching(True, "steady", 8), "CPU", len(data), 0.5)

    def workers(self):
        return self.dead

    def unload(self, digest):
        self.unloads.append(digest)

    def revive(self, digest, data):
        self.revived.append((digest, data))
        if self.deaths:
            raise WorkerLost("died", metadata={"cause": self.deaths.pop(0)})
        if self.refusal is not None:
            raise self.refusal
        return LoadedModel(digest, Signature((), ()), Batching(True, "revived", 8), "CPU", len(data), 0.5)

    def kill(self, digest, why):
        self.kills.append((digest, why))
        self.gate.set()


class FakeStore:
    """A digest's bytes are what follows its colon."""

    def __init__(self):
        self.reads, self.tunings, self.full = [], {}, False

    def tuning(self, *key):
        return self.tunings.get(key)

    def keep_tuning(self, *key_and_tuning):
        if self.full:
            raise StoreFull("no")
        *key, self.tunings[tuple(key)] = key_and_tuning

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
    loaded = await asyncio.gather(models.load("t", "m:abc", b"abc"), models.load("t", "m:abc", b"abc"))
    await used(models, "m:abc")
    assert backend.loads == ["m:abc"]
    assert loaded[0] is loaded[1]


async def test_the_least_recently_used_goes_when_room_is_needed(models, backend):
    for digest in ("a:1234", "b:1234", "a:1234", "c:1234"):
        await used(models, digest)
    assert backend.unloads == ["b:1234"]
    assert backend.loads == ["a:1234", "b:1234", "c:1234"]


async def test_what_is_pinned_stays(models, backend):
    await used(models, "m:abcdef")
    models.pin("m:abcdef")
    models.pin("n:not loaded")
    await used(models, "n:abcd")
    await used(models, "o:abcd")
    assert models.digests == ["m:abcdef", "o:abcd"]


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


async def test_memory_that_a_process_holds_counts_where_it_is_more_than_its_file(models, backend):
    backend.memory = 6
    await used(models, "a:1")
    await used(models, "b:1")
    assert models.digests == ["b:1"]
    backend.memory = 0
    await used(models, "c:12345")
    assert models.digests == ["c:12345"]


@pytest.fixture
def few(backend, metrics):
    made = LoadedModels(backend, FakeStore(), metrics, max_bytes=1000, max_models=2, loads_at_once=4)
    yield made
    backend.gate.set()
    made.close()


async def test_the_least_recently_used_goes_when_there_are_too_many(few, backend):
    for digest in ("a:1", "b:1", "a:1", "c:1"):
        await used(few, digest)
    assert few.digests == ["a:1", "c:1"]


async def test_one_more_than_can_be_is_refused_while_all_are_in_use(few, backend):
    await used(few, "p:1")
    few.pin("p:1")
    async with few.use("t", "a:1"):
        with pytest.raises(ModelsFull, match="2 models") as got:
            await used(few, "b:1")
        assert got.value.retry_after_s > 0
        assert got.value.metadata == {"limit": "2"}
    await used(few, "b:1")
    assert backend.loads == ["p:1", "a:1", "b:1"]
    assert few.digests == ["p:1", "b:1"]


async def test_many_who_want_more_models_than_can_be_all_get_theirs_in_turn(few, backend):
    await asyncio.gather(*(used(few, f"{n}:1") for n in range(2)))
    got = await asyncio.gather(*(used(few, f"{n}:1") for n in range(10)), return_exceptions=True)
    assert all(isinstance(g, ModelsFull) or g.loaded for g in got)
    assert len(few.digests) == 2
    assert set(backend.loads) - set(backend.unloads) == set(few.digests)


@pytest.mark.parametrize(("full", "others", "starts"), [(1, True, True), (2, True, False), (1, False, False)])
async def test_where_the_system_has_no_room_for_a_process_another_model_makes_some_once(
    few, backend, full, others, starts
):
    if others:
        await used(few, "a:1")
    backend.full = full
    if starts:
        await used(few, "b:1")
        assert few.digests == ["b:1"]
    else:
        with pytest.raises(WorkerNotStarted):
            await used(few, "b:1")
        assert few.digests == []
    assert not few._quarantine._strikes.get("b:1")


async def test_a_dropped_model_leaves_at_once_or_with_its_last_user(few, backend):
    async with few.use("t", "a:1"):
        few.drop("a:1")
        few.drop("unknown")
        assert backend.unloads == []
    assert backend.unloads == ["a:1"]
    await used(few, "b:1")
    few.drop("b:1")
    assert (backend.unloads, few.digests) == (["a:1", "b:1"], [])


async def test_one_that_comes_back_while_it_is_dropped_stays(few, backend):
    async with few.use("t", "a:1"):
        few.drop("a:1")
        await few.load("t", "a:1", b"1")
    assert few.digests == ["a:1"]


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
        await asyncio.gather(*(models.demote(model, f"reason {n}") for n in range(5)))
        assert not model.loaded.batching.batched
        assert await models.load("t", "m:abc", b"abc") is model.loaded
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
            await models.load("t", f"{n}:bad", b"bad")
    assert not models._loads


# ---- processes that are lost ---------------------------------------------------------------------------------------


async def test_a_lost_model_is_revived_with_its_file_and_its_users_see_it(models, backend, metrics):
    async with models.use("t", "m:abc") as model:
        await models.revive("m:abc", "killed")
        assert model.loaded.batching.reason == "revived"
    assert backend.revived == [("m:abc", b"abc")]
    assert value(metrics, "assayd_worker_restarts_total", cause="killed") == 1
    with pytest.raises(WorkerLost):
        await models.revive("m:gone", "killed")


async def test_a_model_that_cannot_be_revived_is_forgotten_and_loaded_anew(models, backend):
    await used(models, "m:abc")
    backend.refusal = ModelFailed("no")
    with pytest.raises(ModelFailed):
        await models.revive("m:abc", "killed")
    assert (backend.unloads, models.digests) == (["m:abc"], [])
    await used(models, "m:abc")
    assert backend.loads == ["m:abc"] * 2


@pytest.mark.parametrize(
    ("deaths", "tries", "error"),
    [
        (["killed by signal 9"], 2, None),
        (["it didn't answer", "killed by signal 9"], 3, None),
        (["it didn't answer"] * 3, 3, WorkerLost),
        (["killed by signal 11"], 1, ModelFailed),
    ],
)
async def test_a_process_that_dies_while_it_is_revived(models, backend, metrics, deaths, tries, error):
    """Others may have ended it again; a model that does it is never said to be unavailable, and counted."""
    await used(models, "m:abc")
    backend.deaths = deaths
    if error is None:
        await models.revive("m:abc", "killed")
    else:
        with pytest.raises(error):
            await models.revive("m:abc", "killed")
        assert models.digests == []
    assert len(backend.revived) == tries
    assert value(metrics, "assayd_worker_restarts_total", cause="killed") == (1 if error is None else None)
    assert len(models._quarantine._strikes.get("m:abc", ())) == (error is ModelFailed)


async def test_loads_that_are_stuck_hold_up_no_revival(models, backend):
    await used(models, "m:abc")
    backend.gate.clear()
    stuck = asyncio.create_task(used(models, "n:abc"))
    await asyncio.sleep(0.02)
    await asyncio.wait_for(models.revive("m:abc", "killed"), 5)
    backend.gate.set()
    await stuck


async def test_a_model_in_quarantine_is_neither_revived_nor_loaded(models, backend, metrics):
    await used(models, "m:abc")
    for _ in range(3):
        models.strike("m:abc", object())
    assert value(metrics, "assayd_models_quarantined") == 1
    with pytest.raises(ModelQuarantined):
        await models.revive("m:abc", "killed")
    with pytest.raises(ModelQuarantined):
        await used(models, "m:abc")
    await used(models, "n:abc")
    assert backend.loads == ["m:abc", "n:abc"]


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


async def proven(models, digest="m:open"):
    async with models.use("t", digest) as model:
        await models.prove(model, Subject({"x": np.zeros(1)}, {}))


async def test_a_proof_that_does_not_end_is_ended_and_counts_against_the_model(backend, metrics):
    made = LoadedModels(backend, FakeStore(), metrics, max_bytes=10, max_decide_s=0.05)
    async with made.use("t", "m:open") as model:
        backend.gate.clear()
        with pytest.raises(ModelFailed, match="didn't answer a row"):
            await made.prove(model, Subject({"x": np.zeros(1)}, {}))
    await asyncio.sleep(0.05)
    assert backend.kills == [("m:open", "stuck in a proof")]
    assert len(made._quarantine._strikes["m:open"]) == 1
    made.close()


async def test_a_proof_that_nobody_waits_for_is_ended_soon(models, backend, monkeypatch):
    monkeypatch.setattr("assayd.engine.models._ABANDONED_S", 0.05)
    await used(models, "m:open")
    backend.gate.clear()
    task = asyncio.create_task(proven(models))
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.sleep(0.02)
    assert not backend.kills
    await asyncio.sleep(0.1)
    assert [digest for digest, _ in backend.kills] == ["m:open"]


@pytest.mark.parametrize(
    ("causes", "error", "strikes"),
    [
        (["killed by signal 8"], ModelFailed, 1),
        (["memory"], OutOfMemory, 1),
        (["killed by signal 9"], None, 0),
        (["stuck in a batch"], None, 0),
        (["it didn't answer", "killed by signal 8"], ModelFailed, 1),
    ],
)
async def test_a_model_that_ends_its_process_in_a_proof_is_never_said_to_be_unavailable(
    models, backend, causes, error, strikes
):
    await used(models, "m:open")
    backend.deaths = list(causes)
    backend.revive = revive_unharmed
    if error is None:
        await proven(models)
    else:
        with pytest.raises(error):
            await proven(models)
    assert len(models._quarantine._strikes.get("m:open", ())) == strikes


def revive_unharmed(digest, data):
    return LoadedModel(
        digest, Signature((), ()), Batching(data != b"open", "", 8), "CPU", len(data), 0.5, data == b"open"
    )


@pytest.mark.parametrize("what", ["prove", "demote", "steady"])
@pytest.mark.parametrize("deaths", [1, 2])
async def test_what_others_end_meanwhile_is_tried_once_more(models, backend, metrics, what, deaths):
    backend.revive = revive_unharmed
    async with models.use("t", "m:open" if what == "prove" else "m:abc") as model:
        backend.deaths = ["killed by signal 9"] * deaths
        call = {
            "prove": lambda: models.prove(model, Subject({"x": np.zeros(1)}, {})),
            "demote": lambda: models.demote(model, "why"),
            "steady": lambda: models.steady(model),
        }[what]
        if deaths == 1:
            await call()
        else:
            with pytest.raises(WorkerLost):
                await call()
    assert value(metrics, "assayd_worker_restarts_total", cause="killed") == 1


async def test_a_proof_is_not_blamed_for_a_process_that_was_lost_before(models, backend, metrics):
    backend.revive = revive_unharmed
    async with models.use("t", "m:abc") as model:
        backend.dead = [Worker("m:abc", 1, False, 0, "killed by signal 11")]
        assert (await models.steady(model)).batching.reason == "steady"
    assert value(metrics, "assayd_worker_restarts_total", cause="crashed") == 1
    assert not models._quarantine._strikes.get("m:abc")


async def test_a_revival_that_finds_it_alive_is_not_counted(models, backend, metrics):
    async with models.use("t", "m:abc") as model:
        backend.revive = lambda *_: model.loaded
        await models.revive("m:abc", "killed")
    assert value(metrics, "assayd_worker_restarts_total", cause="killed") is None


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
