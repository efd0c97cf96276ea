"""Models on several devices: where they are loaded, when on one more, and what becomes of those of a lost device."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from assayd.engine.fleet import Device, Fleet
from assayd.engine.models import LoadedModels
from assayd.engine.pulse import _DIGEST, RELU
from assayd.errors import DeviceGone, ModelFailed, ModelQuarantined, OutOfMemory, WorkerLost
from assayd.metrics import Metrics
from assayd.types.model import Batching
from assayd.types.subject import Subject
from tests.unit.engine.fake_backend import FakeBackend, FakeStore, value
from tests.unit.explain.made import until

GPU_LOST = "its GPU was lost to it"


class Gpu(FakeBackend):
    """Loads as the other one does, on a GPU that may be lost, or have room for so many models."""

    def __init__(self, name):
        super().__init__()
        self.device, self.lost, self.room, self.on_gpu = name, False, 10**9, True
        self.changed = {}

    def load(self, digest, data, tuning=None):
        if self.lost:
            raise WorkerLost("lost", metadata={"cause": GPU_LOST})
        if digest == _DIGEST:
            assert data == RELU
            return SimpleNamespace(on_gpu=self.on_gpu, provider="CPU")
        if len(self.held) >= self.room:
            raise OutOfMemory("no room")
        return replace(super().load(digest, data, tuning), device=self.device, **self.changed)

    @property
    def held(self):
        return [d for d in self.loads if self.loads.count(d) > self.unloads.count(d)]

    def revive(self, digest, data):
        if self.lost:
            raise WorkerLost("lost", metadata={"cause": GPU_LOST})
        return super().revive(digest, data)


@pytest.fixture
def gpus():
    return Gpu("cuda:0"), Gpu("cuda:1")


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
async def fleet(gpus, metrics, monkeypatch):
    monkeypatch.setattr("assayd.engine.pulse._STILL_S", 0.0)
    made = Fleet(
        [Device(gpu, LoadedModels(gpu, FakeStore(), metrics, max_bytes=100)) for gpu in gpus],
        metrics,
        spread_after_s=2.0,
    )
    yield made
    for gpu in gpus:
        gpu.gate.set()
    made.close()


async def used(fleet, digest):
    async with fleet.use("t", digest) as model:
        return model


def homes(fleet, digest):
    return [device.name for device in fleet.devices if fleet.runs(device.name, digest)]


def waits(fleet, **seconds):
    fleet.waiting = lambda: {digest.replace("_", ":"): s for digest, s in seconds.items()}


async def spread(fleet):
    fleet.look()
    await asyncio.gather(*fleet._spreading.values())


async def test_a_model_goes_to_the_device_with_the_least_to_do_and_is_found_there(fleet):
    await used(fleet, "a:12")
    await used(fleet, "b:1")
    assert [homes(fleet, d) for d in ("a:12", "b:1")] == [["cuda:0"], ["cuda:1"]]
    # Less in memory, and much waiting.
    waits(fleet, b_1=9.0)
    await used(fleet, "c:1")
    assert homes(fleet, "c:1") == ["cuda:0"]
    assert (await used(fleet, "b:1")).loaded.device == "cuda:1"


async def test_all_who_ask_at_once_wait_for_the_same_load(fleet, gpus):
    for gpu in gpus:
        gpu.gate.clear()
    tasks = [asyncio.create_task(used(fleet, "a:1")) for _ in range(9)]
    other = asyncio.create_task(used(fleet, "b:1"))
    await asyncio.sleep(0.02)
    for gpu in gpus:
        gpu.gate.set()
    await asyncio.gather(*tasks, other)
    assert [gpu.loads for gpu in gpus] == [["a:1"], ["b:1"]]


async def test_a_model_is_loaded_on_one_more_device_when_enough_waits_for_it(fleet, gpus, metrics):
    await used(fleet, "a:1")
    waits(fleet, a_1=2.4)
    await spread(fleet)
    assert homes(fleet, "a:1") == ["cuda:0"]
    waits(fleet, a_1=2.6)
    await spread(fleet)
    await spread(fleet)
    assert homes(fleet, "a:1") == ["cuda:0", "cuda:1"]
    assert gpus[1].loads == ["a:1"]
    assert gpus[1].tunings == gpus[0].tunings
    assert value(metrics, "assayd_models_spread_total") == 1
    assert value(metrics, "assayd_device_models_loaded", device="cuda:1") == 1
    assert value(metrics, "assayd_models_loaded", provider="CPU", batching="batched") == 2


async def test_a_load_that_takes_longer_than_what_waits_is_not_worth_it(fleet, gpus):
    gpus[0].changed = {"load_seconds": 5.0}
    await used(fleet, "a:1")
    waits(fleet, a_1=6.9)
    await spread(fleet)
    assert homes(fleet, "a:1") == ["cuda:0"]
    waits(fleet, a_1=7.1)
    await spread(fleet)
    assert homes(fleet, "a:1") == ["cuda:0", "cuda:1"]


async def test_a_device_that_is_full_of_models_in_use_takes_no_more_and_others_leave(fleet, gpus):
    await used(fleet, "a:" + "x" * 60)
    async with fleet.use("t", "b:" + "x" * 60):
        assert homes(fleet, "b:" + "x" * 60) == ["cuda:1"]
        fleet.waiting = lambda: {"a:" + "x" * 60: 9.0}
        await spread(fleet)
        assert homes(fleet, "a:" + "x" * 60) == ["cuda:0"]
    await spread(fleet)
    assert homes(fleet, "a:" + "x" * 60) == ["cuda:0", "cuda:1"]
    assert homes(fleet, "b:" + "x" * 60) == []


async def test_what_was_decided_on_one_device_is_decided_so_on_the_next(fleet, gpus):
    subject = Subject({}, {})
    async with fleet.use("t", "a:open") as model:
        assert model.loaded.open_question
        waits(fleet, a_open=9.0)
        await spread(fleet)
        assert homes(fleet, "a:open") == ["cuda:0"]  # while the question is open
        await fleet.prove(model, subject)
        await spread(fleet)
        assert homes(fleet, "a:open") == ["cuda:0", "cuda:1"]
        assert gpus[1].proven == ["a:open"]
        await fleet.demote(model, "they touch")
        assert homes(fleet, "a:open") == ["cuda:0"]
        assert model.loaded.batching == Batching(False, "they touch", 1)
        await spread(fleet)
    assert homes(fleet, "a:open") == ["cuda:0", "cuda:1"]
    assert [reason for _, _, reason in gpus[1].demoted] == ["they touch"]
    assert fleet.devices[1].models.get("a:open").loaded.batching == Batching(False, "they touch", 1)


async def test_a_request_whose_device_forgot_the_model_decides_where_it_is_now(fleet, gpus):
    await used(fleet, "a:1")
    waits(fleet, a_1=9.0)
    await spread(fleet)
    held = fleet.devices[1].models.get("a:1")
    fleet.devices[1].models.in_memory.forget("a:1")
    await fleet.demote(held, "they touch")
    assert [d for d, *_ in gpus[0].demoted] == ["a:1"]
    assert held.loaded.batching.reason == "they touch"
    fleet.devices[0].models.in_memory.forget("a:1")
    with pytest.raises(WorkerLost):
        await fleet.demote(held, "again")


async def test_a_device_on_which_a_model_comes_out_otherwise_does_not_run_it(fleet, gpus, caplog, monkeypatch):
    await used(fleet, "a:1")
    gpus[1].changed = {"batching": Batching(True, "", 4)}
    waits(fleet, a_1=9.0)
    await spread(fleet)
    assert homes(fleet, "a:1") == ["cuda:0"]
    assert gpus[1].unloads == ["a:1"]
    assert "otherwise on cuda:1" in caplog.records[-1].why
    # And it is left alone for a while.
    await spread(fleet)
    assert gpus[1].loads == ["a:1"]
    # Then nothing is left of that, also where the model has gone.
    monkeypatch.setattr("assayd.engine.fleet._REST_S", 0.0)
    for digest in ("b:1", "c:1"):
        await used(fleet, digest)
        fleet.waiting = lambda digest=digest: {digest: 9.0}
        await spread(fleet)
    fleet.waiting = dict
    await spread(fleet)
    assert list(fleet._resting) == [("cuda:1", "a:1")]


async def test_a_lost_device_leaves_its_models_to_the_others(fleet, gpus, metrics):
    await used(fleet, "a:1")
    fleet.pin("a:1")
    changes = []
    fleet.changed = lambda: changes.append(homes(fleet, "a:1"))
    gpus[0].lost = True
    await fleet.revive("cuda:0", "a:1", "gpu")
    assert homes(fleet, "a:1") == ["cuda:1"]
    assert changes[-1] == ["cuda:1"]
    assert fleet.serving
    assert [(s.name, s.serving, s.models) for s in fleet.states()] == [("cuda:0", False, 0), ("cuda:1", True, 1)]
    assert value(metrics, "assayd_device_up", device="cuda:0") == 0
    await used(fleet, "b:1")
    assert homes(fleet, "b:1") == ["cuda:1"]
    gpus[1].lost = True
    with pytest.raises(WorkerLost):
        await fleet.revive("cuda:1", "a:1", "gpu")
    assert not fleet.serving


async def test_a_gpu_whose_sessions_come_out_on_the_cpu_is_lost_though_its_models_would_start_again(fleet, gpus):
    await used(fleet, "a:1")
    gpus[0].on_gpu = False
    await fleet.revive("cuda:0", "a:1", "gpu")
    assert homes(fleet, "a:1") == ["cuda:1"]
    assert gpus[0].revived == []


async def test_a_model_that_ends_its_process_is_not_taken_for_a_lost_device(fleet, gpus):
    await used(fleet, "a:1")
    await fleet.revive("cuda:0", "a:1", "gpu")
    assert [homes(fleet, "a:1"), fleet.states()[0].serving] == [["cuda:0"], True]
    assert len(gpus[0].revived) == 1


async def test_a_model_cannot_take_a_device_from_others_by_losing_it_at_each_load(fleet, gpus):
    """Its process says that the GPU was lost, and the next process computes: it is the model's doing."""
    for gpu in gpus:
        gpu.deaths = [GPU_LOST] * 20
    for _ in range(3):
        with pytest.raises(ModelFailed):
            await used(fleet, "a:1")
    assert all(state.serving for state in fleet.states())
    with pytest.raises(ModelQuarantined):
        await used(fleet, "a:1")


async def test_a_load_on_a_device_that_turns_out_to_be_lost_goes_to_another(fleet, gpus):
    gpus[0].lost = True
    assert (await used(fleet, "a:1")).loaded.device == "cuda:1"
    assert [state.serving for state in fleet.states()] == [False, True]
    gpus[1].lost = True
    with pytest.raises(DeviceGone, match="cuda:1"):
        await used(fleet, "b:1")


async def test_a_device_that_computes_again_is_taken_again(fleet, gpus, monkeypatch):
    monkeypatch.setattr("assayd.engine.fleet._ASK_AGAIN_S", 0.0)
    gpus[0].lost = True
    await used(fleet, "a:1")
    gpus[0].lost = False
    fleet.look()
    await until(lambda: fleet.states()[0].serving)
    await used(fleet, "b:1")
    assert homes(fleet, "b:1") == ["cuda:0"]


async def test_what_is_to_stay_stays_on_the_device_that_took_over(fleet, gpus):
    await used(fleet, "a:1")
    fleet.pin("a:1")
    gpus[0].lost = True
    await fleet.revive("cuda:0", "a:1", "gpu")
    await used(fleet, "a:1")
    for n in range(3):
        await used(fleet, f"{n}:" + "x" * 90)
    assert homes(fleet, "a:1") == ["cuda:1"]


async def test_before_it_serves_every_device_is_asked_and_one_is_enough(fleet, gpus):
    gpus[0].lost = True
    await fleet.check()
    assert [state.serving for state in fleet.states()] == [False, True]
    gpus[1].lost = True
    with pytest.raises(DeviceGone, match=r"cuda:0: .*; cuda:1: "):
        await fleet.check()


async def test_a_gpu_without_memory_for_another_model_gives_up_what_nobody_uses(fleet, gpus):
    gpus[1].lost = True
    await fleet.check()
    gpus[0].room = 2
    async with fleet.use("t", "a:1"):
        await used(fleet, "b:1")
        await used(fleet, "c:1")
        assert gpus[0].unloads == ["pulse", "b:1"]
        async with fleet.use("t", "c:1"):
            with pytest.raises(OutOfMemory):
                await used(fleet, "d:1")


async def test_a_deleted_model_leaves_all_devices(fleet, gpus):
    await used(fleet, "a:1")
    waits(fleet, a_1=9.0)
    await spread(fleet)
    fleet.drop("a:1")
    assert homes(fleet, "a:1") == []
    assert [gpu.unloads for gpu in gpus] == [["a:1"], ["a:1"]]
