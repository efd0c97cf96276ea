"""What is decided of a loaded model has its time, and what its process does meanwhile counts."""

import asyncio

import numpy as np
import pytest

from assayd.engine.backend import LoadedModel, Worker
from assayd.engine.models import LoadedModels
from assayd.errors import ModelFailed, OutOfMemory, WorkerLost
from assayd.types.model import Batching, Signature
from assayd.types.subject import Subject
from tests.unit.engine.fake_backend import FakeStore, used, value


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
