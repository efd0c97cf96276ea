"""A model whose process was lost."""

import asyncio

import pytest

from assayd.errors import ModelFailed, ModelQuarantined, WorkerLost
from tests.unit.engine.fake_backend import used, value


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
    assert (backend.unloads, list(models.in_memory)) == (["m:abc"], [])
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
        assert list(models.in_memory) == []
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


async def test_a_revival_that_finds_it_alive_is_not_counted(models, backend, metrics):
    async with models.use("t", "m:abc") as model:
        backend.revive = lambda *_: model.loaded
        await models.revive("m:abc", "killed")
    assert value(metrics, "assayd_worker_restarts_total", cause="killed") is None
