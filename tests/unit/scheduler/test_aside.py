"""Batches that don't end let those of other models pass."""

import asyncio
import threading

import numpy as np
import pytest

from assayd.errors import Draining, ModelFailed, Terminated, WorkerLost
from assayd.metrics import Metrics
from assayd.scheduler.aside import LATE, LATE_S, MOST, MOST_OF_ONE, TOO_LATE_S, allowed_s
from assayd.scheduler.queue import Slice
from assayd.scheduler.scheduler import Scheduler
from tests.unit.explain.made import until
from tests.unit.scheduler.test_device import FakeBackend, Models, model, score, work

SLOW_S = 3 * LATE_S


class Apart(FakeBackend):
    """Models in processes of their own. By the first letter of their digest, "e" run until their gate opens or they
    are told to stop, "d" are deaf to that and must be killed, "s" are slow and end, unless they are told to stop.
    """

    apart = True

    def __init__(self):
        super().__init__()
        self.gates, self.told, self.dead = {}, set(), set()
        self.first_fails, self.killed = set(), 0
        self.running, self.most_of_one, self.begun = [], 0, []
        self._lock = threading.Lock()

    def run(self, prepared):
        digest = prepared.batch.digest
        self.held.discard(prepared)
        with self._lock:
            self.begun.append(digest)
            self.running.append(digest)
            self.most_of_one = max(self.most_of_one, self.running.count(digest))
        try:
            if digest[0] in "eds":
                assert self.gate_of(digest).wait(SLOW_S if digest[0] == "s" else 10) or digest[0] == "s"
            if digest in self.first_fails:
                self.first_fails.discard(digest)
                self.gate_of(digest).clear()
                raise ModelFailed("once")
            if digest in self.told | self.dead:
                self.gate_of(digest).clear()
                if digest in self.dead:
                    raise WorkerLost("killed", metadata={"cause": "stuck in a batch"})
                self.told.discard(digest)
                raise Terminated("told to stop")
            return super().run(prepared)
        finally:
            with self._lock:
                self.running.remove(digest)

    def gate_of(self, digest):
        return self.gates.setdefault(digest, threading.Event())

    def open(self, digest):
        self.gate_of(digest).set()

    def terminate(self, digest):
        if digest[0] != "d" and digest in self.running:
            self.told.add(digest)
            self.open(digest)

    def kill(self, digest, why):
        self.killed += 1
        self.dead.add(digest)
        self.open(digest)


class Reviving(Models):
    async def revive(self, device, digest, cause):
        await super().revive(device, digest, cause)
        self.backend.dead.discard(digest)


@pytest.fixture
def backend():
    return Apart()


@pytest.fixture
async def scheduler(backend):
    device = Scheduler([backend], Metrics(), Reviving(backend), gather_ms=0, max_queued_rows=1000, max_batch_s=60)
    device.start()
    yield device
    for digest in list(backend.gates):
        backend.open(digest)
    await device.stop()


def of(digest, values, tenant="t"):
    return work(values, loaded=model(digest=digest), tenant=tenant)


def late_ones(scheduler, tenants):
    """A call of an endless model for each of these, by its digest."""
    return {
        f"e{n}": asyncio.create_task(score(scheduler, of(f"e{n}", [n], tenant))) for n, tenant in enumerate(tenants)
    }


async def answers(scheduler, digest, values, tenant="t"):
    async with asyncio.timeout(5):
        assert (await score(scheduler, of(digest, values, tenant))).tolist() == list(values)


async def test_others_pass_and_the_late_one_still_gets_its_answer(scheduler, backend):
    late = asyncio.create_task(score(scheduler, of("e", range(3))))
    await asyncio.sleep(LATE_S / 4)
    async with asyncio.timeout(5):
        for n in range(5):
            assert (await score(scheduler, of("good", [n] * 20))).tolist() == [n] * 20
    assert not late.done()
    backend.open("e")
    assert (await late).tolist() == [0, 1, 2]


async def test_rows_of_the_same_model_wait_for_it_also_those_that_were_made_ready(scheduler, backend):
    jobs = [asyncio.create_task(score(scheduler, of("e", range(8)))) for _ in range(4)]
    await asyncio.sleep(LATE_S / 4)
    async with asyncio.timeout(5):
        await score(scheduler, of("good", [1]))
    assert backend.running == ["e"]
    assert not any(job.done() for job in jobs)
    backend.open("e")
    for done in await asyncio.gather(*jobs):
        assert done.tolist() == list(range(8))
    assert backend.most_of_one == 1


async def test_where_no_more_may_step_aside_the_late_one_in_front_is_stopped_and_waits(scheduler, backend):
    late = late_ones(scheduler, ["t"] * MOST_OF_ONE + ["u"] * 2)
    for n in range(5):
        await answers(scheduler, "good", [n])
    assert len(backend.running) == len(scheduler._devices[0]._aside._places) == MOST
    (waits,) = {f"e{n}" for n in range(MOST + 1)} - set(backend.running)
    ends = backend.running[0]
    backend.open(ends)
    await until(lambda: waits in backend.running)
    backend.open(waits)
    for digest in (ends, waits):  # what was stopped ran again
        assert (await late.pop(digest)).tolist() == [int(digest[1:])]
    assert not any(one.done() for one in late.values())


@pytest.fixture
async def good(scheduler):
    """Numbers of the good caller's calls that were answered so far; it never rests."""
    done = []

    async def call():
        while True:
            await answers(scheduler, "good", [len(done)])
            done.append(len(done))

    task = asyncio.create_task(call())
    yield done
    assert not task.done()
    task.cancel()


async def test_the_late_ones_of_one_tenant_leave_room_for_anothers_slow_model(scheduler, backend, good):
    late = late_ones(scheduler, ["t"] * (MOST + 2))
    await until(lambda: {f"e{n}" for n in range(MOST + 2)} <= set(backend.begun))
    answered = len(good)
    await answers(scheduler, "slow", range(24), "u")  # three batches
    assert len(good) > answered + 3
    assert sum(digest.startswith("e") for digest in backend.running) <= MOST_OF_ONE + 1
    assert not any(one.done() for one in late.values())


async def test_a_slow_model_has_its_turn_among_many_that_never_end(scheduler, backend, good):
    """All of one tenant. Whenever a caller of an endless one leaves, it calls again."""
    left, ended = [], asyncio.Event()

    async def call(n):
        while not ended.is_set():
            late = asyncio.create_task(score(scheduler, of(f"e{n}", [n])))
            await asyncio.wait([late, closing], timeout=0.4)
            late.cancel()
            await asyncio.gather(late, return_exceptions=True)
            left.append(n)

    closing = asyncio.create_task(ended.wait())
    callers = [asyncio.create_task(call(n)) for n in range(MOST + 2)]
    await until(lambda: len(set(left)) == MOST + 2)
    answered = len(good)
    await answers(scheduler, "slow", range(24))
    assert len(good) > answered + 3
    ended.set()
    await asyncio.gather(*callers)


async def test_a_model_that_was_late_begins_beside_the_others(scheduler, backend, good):
    late = late_ones(scheduler, "t")
    await until(lambda: "e0" in scheduler._devices[0]._aside)
    for run in range(2, 4):
        backend.open("e0")
        assert (await late["e0"]).tolist() == [0]
        backend.gate_of("e0").clear()
        late = late_ones(scheduler, "t")
        await until(lambda run=run: backend.begun.count("e0") == run)
        assert "e0" in scheduler._devices[0]._aside  # at once, not after holding up the others
        await asyncio.sleep(0.6)  # late again
    backend.open("e0")
    assert (await late["e0"]).tolist() == [0]


async def test_what_was_stopped_is_tried_in_front_again_where_no_place_gets_free(scheduler, backend):
    late = late_ones(scheduler, ["t"] * (MOST_OF_ONE + 1))
    await answers(scheduler, "good", [1])
    assert sorted(backend.running) == ["e0", "e1", "e2"]
    backend.open("e3")
    async with asyncio.timeout(5):
        assert (await late.pop("e3")).tolist() == [3]
    assert not any(one.done() for one in late.values())


async def test_however_many_never_end_the_front_is_mostly_the_others(scheduler, backend, good, monkeypatch):
    monkeypatch.setattr("assayd.scheduler.suspects._FIRST_S", 0.01)
    monkeypatch.setattr("assayd.scheduler.suspects._LONGEST_S", 0.01)
    late = late_ones(scheduler, ["t"] * (MOST_OF_ONE + 8))
    await until(lambda: len(set(backend.begun)) > MOST_OF_ONE + 8)
    answered, begun = len(good), len(late_of(backend))
    await until(lambda: len(late_of(backend)) >= begun + 5)
    assert len(good) > answered + 5 * 5
    assert not any(one.done() for one in late.values())


def late_of(backend):
    return [digest for digest in backend.begun if digest.startswith("e")]


async def test_nobody_is_stopped_for_the_sake_of_late_ones(scheduler, backend):
    late = late_ones(scheduler, ["t"] * (MOST_OF_ONE + 1))
    await answers(scheduler, "good", [1])
    slow = asyncio.create_task(answers(scheduler, "slow", [1]))
    await until(lambda: "slow" in backend.running)
    more = asyncio.create_task(score(scheduler, of("e3", [1])))
    await slow
    assert backend.begun.count("slow") == 1
    assert not any(one.done() for one in [more, *late.values()])
    more.cancel()


async def test_one_that_is_deaf_is_killed_and_runs_again_without_blame(scheduler, backend, good):
    late = late_ones(scheduler, ["t"] * MOST_OF_ONE)
    await until(lambda: len(backend.running) >= MOST_OF_ONE)
    deaf = asyncio.create_task(score(scheduler, of("d", [1])))
    await until(lambda: backend.begun.count("d") == 3)
    answered = len(good)
    await until(lambda: len(good) > answered + 3)
    backend.open("e0")
    await late["e0"]
    await until(lambda: "d" in scheduler._devices[0]._aside)
    backend.open("d")
    assert (await deaf).tolist() == [1]
    assert not scheduler._recovery._models.strikes


async def test_the_parts_of_what_failed_leave_the_front_as_well(scheduler, backend, good):
    """Each of them is as endless as the whole was not."""
    late = late_ones(scheduler, ["t"] * MOST_OF_ONE)
    await until(lambda: len(backend.running) >= MOST_OF_ONE)
    backend.open("e9")
    backend.first_fails.add("e9")
    jobs = [asyncio.create_task(score(scheduler, of("e9", [n]))) for n in range(3)]
    await until(lambda: len(backend.begun) and backend.begun.count("e9") >= 2)
    answered = len(good)
    await until(lambda: len(good) > answered + 20)
    backend.open("e9")
    assert [(await job).tolist() for job in jobs] == [[0], [1], [2]]
    assert not any(one.done() for one in late.values())


async def test_what_was_made_ready_is_run_also_where_nobody_waits_any_more(scheduler, backend):
    """Its tensors lie in the model's process until it has."""
    job = asyncio.create_task(score(scheduler, of("e", range(16))))
    await until(lambda: len(backend.prepared) == 2)
    await answers(scheduler, "good", [1])
    job.cancel()
    await until(lambda: backend.begun.count("e") == 2)


async def test_what_was_made_ready_behind_one_that_was_killed_is_given_back(scheduler, backend, good):
    late = late_ones(scheduler, ["t"] * MOST_OF_ONE)
    await until(lambda: len(backend.running) >= MOST_OF_ONE)
    deaf = asyncio.create_task(score(scheduler, of("d", range(16))))
    await until(lambda: backend.killed)
    await until(lambda: scheduler._recovery._again)
    await until(lambda: not [one for one in backend.held if one.batch.digest == "d"])
    backend.open("d")
    deaf.cancel()
    assert not any(one.done() for one in late.values())


async def test_models_that_share_a_process_run_one_after_the_other(backend):
    backend.apart = False
    device = Scheduler([backend], Metrics(), Reviving(backend), gather_ms=0, max_queued_rows=1000, max_batch_s=60)
    device.start()
    late = asyncio.create_task(score(device, of("e", [1])))
    good = asyncio.create_task(score(device, of("good", [2])))
    await asyncio.sleep(LATE_S * 3)
    assert backend.running == ["e"]
    assert not good.done()
    backend.open("e")
    assert [(await late).tolist(), (await good).tolist()] == [[1], [2]]
    await device.stop()


async def test_one_that_is_alone_stays_where_it_is(scheduler, backend):
    late = asyncio.create_task(score(scheduler, of("e", range(20))))
    await asyncio.sleep(LATE_S * 2)
    assert not scheduler._devices[0]._aside._places
    backend.open("e")
    assert (await late).tolist() == list(range(20))


async def test_stopping_ends_what_stepped_aside(scheduler, backend):
    late = asyncio.create_task(score(scheduler, of("e", [1])))
    await asyncio.sleep(LATE_S / 4)
    async with asyncio.timeout(5):
        await score(scheduler, of("good", [1]))
    await scheduler.stop()
    with pytest.raises(Draining):
        await late
    assert backend.running == []


async def test_what_rows_took_before_is_what_they_may_take():
    slices = [Slice(work(np.zeros(10)), 0, 10), Slice(work(np.zeros(6)), 2, 4)]
    assert allowed_s(slices, None) == allowed_s(slices, 1e-4) == LATE_S
    assert allowed_s(slices, 0.02) == pytest.approx(LATE * 14 * 0.02)
    assert allowed_s(slices, 5.0) == TOO_LATE_S
