"""Batches that don't end let those of other models pass."""

import asyncio
import threading

import numpy as np
import pytest

from assayd.errors import Draining
from assayd.metrics import Metrics
from assayd.scheduler.aside import LATE, LATE_S, MOST, TOO_LATE_S, allowed_s
from assayd.scheduler.queue import Slice
from assayd.scheduler.scheduler import Scheduler
from tests.unit.scheduler.test_device import FakeBackend, Models, model, score, work


class Apart(FakeBackend):
    """Models in processes of their own; those whose digest begins with "e" run until their gate opens."""

    apart = True

    def __init__(self):
        super().__init__()
        self.gates = {}
        self.running, self.most_of_one = [], 0
        self._lock = threading.Lock()

    def run(self, prepared):
        digest = prepared.batch.digest
        with self._lock:
            self.running.append(digest)
            self.most_of_one = max(self.most_of_one, self.running.count(digest))
        try:
            if digest.startswith("e"):
                assert self.gates.setdefault(digest, threading.Event()).wait(10)
            return super().run(prepared)
        finally:
            with self._lock:
                self.running.remove(digest)

    def open(self, digest):
        self.gates.setdefault(digest, threading.Event()).set()

    def terminate(self, digest):
        self.open(digest)


@pytest.fixture
def backend():
    return Apart()


@pytest.fixture
async def scheduler(backend):
    device = Scheduler([backend], Metrics(), Models(backend), gather_ms=0, max_queued_rows=1000, max_batch_s=60)
    device.start()
    yield device
    for digest in list(backend.gates):
        backend.open(digest)
    await device.stop()


def of(digest, values):
    return work(values, loaded=model(digest=digest))


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


async def test_no_more_than_a_few_step_aside(scheduler, backend):
    late = [asyncio.create_task(score(scheduler, of(f"e{n}", [n]))) for n in range(MOST + 1)]
    await asyncio.sleep(LATE_S * (MOST + 3))
    assert sorted(backend.running) == [f"e{n}" for n in range(MOST + 1)]
    good = asyncio.create_task(score(scheduler, of("good", [7])))
    await asyncio.sleep(LATE_S * 2)
    assert not good.done()
    backend.open("e0")
    async with asyncio.timeout(5):
        assert (await good).tolist() == [7]
    for n in range(MOST + 1):
        backend.open(f"e{n}")
    assert [done.tolist() for done in await asyncio.gather(*late)] == [[n] for n in range(MOST + 1)]


async def test_models_that_share_a_process_run_one_after_the_other(backend):
    backend.apart = False
    device = Scheduler([backend], Metrics(), Models(backend), gather_ms=0, max_queued_rows=1000, max_batch_s=60)
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
    assert not scheduler._devices[0]._aside._tasks
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
