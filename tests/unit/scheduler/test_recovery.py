"""Batches that are lost with their process, or stopped."""

import asyncio
import threading
import time

import numpy as np
import pytest

from assayd.errors import DeadlinePassed, Draining, ModelFailed, ModelQuarantined, OutOfMemory, Terminated, WorkerLost
from assayd.metrics import Metrics
from assayd.scheduler.queue import Slice
from assayd.scheduler.scheduler import Scheduler
from assayd.scheduler.watchdog import overdue
from assayd.scheduler.work import Caller, Job
from tests.unit.explain.made import until
from tests.unit.scheduler.test_device import FakeBackend, Models, model, score, work

KILLER, ENDLESS, DEAF = -7, -8, -9
CRASHED, KILLED = "killed by signal 11", "killed by signal 9"


class Dying(FakeBackend):
    """Loses its process to a row of -7; runs until it is stopped on -8, and until it is killed on -9."""

    def __init__(self):
        super().__init__()
        self.dead, self.cause, self.runs = False, CRASHED, []
        self.stop, self.end = threading.Event(), threading.Event()
        self.terminated, self.killed = 0, 0

    def prepare(self, batch):
        if self.dead:
            raise WorkerLost("dead", metadata={"cause": self.cause})
        return super().prepare(batch)

    def run(self, prepared):
        self.gate.wait(10)
        self.held.discard(prepared)
        if self.dead:
            raise WorkerLost("dead", metadata={"cause": self.cause})
        values = np.concatenate([v.ravel() for v in prepared.values])
        self.runs.append(values.tolist())
        if KILLER in values:
            self.dead = True
            raise WorkerLost("it died", metadata={"cause": self.cause})
        if ENDLESS in values:
            self.stop.clear()
            assert self.stop.wait(10)
            raise Terminated("stopped")
        if DEAF in values:
            self.end.clear()
            assert self.end.wait(10)
            self.dead = True
            raise WorkerLost("killed", metadata={"cause": "stuck in a batch"})
        return super().run(prepared)

    def terminate(self, digest):
        self.terminated += 1
        self.stop.set()

    def kill(self, digest, why):
        self.killed += 1
        self.end.set()


class Reviving(Models):
    """Brings the process back, or refuses."""

    refusal = None

    async def revive(self, device, digest, cause):
        await super().revive(device, digest, cause)
        if self.refusal is not None:
            raise self.refusal
        self.backend.dead = False


@pytest.fixture
def backend():
    return Dying()


@pytest.fixture
def models(backend):
    return Reviving(backend)


@pytest.fixture
async def scheduler(backend, models):
    device = Scheduler([backend], Metrics(), models, gather_ms=20, max_queued_rows=1000, max_batch_s=0.4)
    device.start()
    yield device
    for event in (backend.gate, backend.stop, backend.end):
        event.set()
    await device.stop()


async def together(scheduler, backend, *works):
    """Scores, or errors, of works that wait for the same batch."""
    backend.gate.clear()
    hold = asyncio.create_task(score(scheduler, work([0])))
    await asyncio.sleep(0.05)
    tasks = [asyncio.create_task(score(scheduler, w)) for w in works]
    await asyncio.sleep(0.05)
    backend.gate.set()
    await hold
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_one_poison_row_among_many_fails_alone(scheduler, backend, models):
    *good, bad = await together(scheduler, backend, *(work([n]) for n in range(1, 7)), work([KILLER]))
    assert [g.tolist() for g in good] == [[n] for n in range(1, 7)]
    assert isinstance(bad, ModelFailed)
    assert "signal 11" in bad.message
    assert models.strikes == ["m"]
    assert backend.runs.count([KILLER]) == 1  # once more, alone
    assert (await score(scheduler, work([5]))).tolist() == [5]


async def test_rows_to_run_again_go_before_a_job_that_always_has_full_batches(scheduler, backend, monkeypatch):
    """The job's model has a process of its own, which lives."""
    run, prepare = backend.run, backend.prepare

    def unhurried(prepared):
        if prepared.batch.digest == "m":
            return run(prepared)
        time.sleep(0.002)
        return FakeBackend.run(backend, prepared)

    def prepared(batch):
        return prepare(batch) if batch.digest == "m" else FakeBackend.prepare(backend, batch)

    monkeypatch.setattr(backend, "run", unhurried)
    monkeypatch.setattr(backend, "prepare", prepared)
    backend.gate.clear()
    jobs = [asyncio.create_task(score(scheduler, work([n]))) for n in (5, KILLER)]
    await asyncio.sleep(0.05)
    heavy = asyncio.create_task(score(scheduler, work(range(20, 820), loaded=model(digest="n"))))
    await asyncio.sleep(0.05)
    backend.gate.set()
    good, bad = await asyncio.gather(*jobs, return_exceptions=True)
    assert good.tolist() == [5]
    assert isinstance(bad, ModelFailed)
    assert not heavy.done()
    assert (await heavy).tolist() == list(range(20, 820))


async def test_rows_whose_process_others_killed_run_again_and_are_right(scheduler, backend, models):
    backend.cause = KILLED
    task = asyncio.create_task(score(scheduler, work(range(60))))
    for _ in range(2):
        await asyncio.sleep(0.02)
        backend.dead = True
    assert (await task).tolist() == list(range(60))
    assert models.strikes == []


async def test_rows_that_others_killed_twice_may_be_tried_again(scheduler, backend, models):
    backend.cause = KILLED
    with pytest.raises(WorkerLost) as got:
        await score(scheduler, work([KILLER]))
    assert got.value.retry_after_s > 0
    assert models.strikes == []


async def test_rows_that_took_all_memory_twice_are_told_so(scheduler, backend, models):
    backend.cause = "memory"
    with pytest.raises(OutOfMemory):
        await score(scheduler, work([KILLER]))
    assert models.strikes == ["m"]


async def test_a_model_that_cannot_be_revived_fails_all_who_wait(scheduler, backend, models):
    models.refusal = ModelQuarantined("enough")
    got = await together(scheduler, backend, work([1]), work([KILLER]), work(range(30)))
    assert all(isinstance(e, ModelQuarantined) for e in got)
    assert scheduler.queued_rows == 0
    models.refusal, backend.dead = None, False
    assert (await score(scheduler, work([5]))).tolist() == [5]


async def test_other_models_go_on_meanwhile(scheduler, backend, models):
    release = asyncio.Event()

    async def slow(device, digest, cause):
        await release.wait()
        backend.dead = False

    models.revive = slow
    lost = asyncio.create_task(score(scheduler, work([KILLER])))
    await until(lambda: scheduler.is_reviving("fake", "m"))
    backend.dead = False  # the other model's process lives
    assert (await score(scheduler, work([3], loaded=model(digest="n")))).tolist() == [3]
    waiting = asyncio.create_task(score(scheduler, work([4])))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    release.set()
    assert (await waiting).tolist() == [4]
    with pytest.raises(ModelFailed):
        await lost


async def test_what_was_made_ready_and_will_not_run_is_given_back(scheduler, backend, models):
    """Its process may live: a batch that was ready in the one before is found lost when that was replaced already."""
    release = asyncio.Event()

    async def slow(device, digest, cause):
        await release.wait()

    models.revive = slow
    backend.gate.clear()
    task = asyncio.create_task(score(scheduler, work(range(16))))
    await until(lambda: len(backend.prepared) == 2)
    scheduler.revive("fake", "m", "gone")
    backend.gate.set()
    await until(lambda: scheduler._recovery._again)
    assert not backend.held
    release.set()
    assert (await task).tolist() == list(range(16))
    assert not backend.held
    assert backend.runs == [list(range(8)), list(range(8, 16))]


async def test_a_batch_that_nobody_waits_for_is_stopped(scheduler, backend):
    task = asyncio.create_task(score(scheduler, work([ENDLESS])))
    await asyncio.sleep(0.02)
    task.cancel()
    w = work([1])
    begun = time.monotonic()
    assert (await score(scheduler, w)).tolist() == [1]
    assert time.monotonic() - begun < 0.35
    assert (backend.terminated, backend.killed) == (1, 0)


async def test_one_that_does_not_listen_is_killed(scheduler, backend, models):
    task = asyncio.create_task(score(scheduler, work([DEAF])))
    await asyncio.sleep(0.02)
    scheduler_work = work([1])
    task.cancel()
    assert (await score(scheduler, scheduler_work)).tolist() == [1]
    assert (backend.terminated, backend.killed, models.revived) == (1, 1, 1)


async def test_the_mates_of_a_stopped_batch_run_again(scheduler, backend):
    good, late = work([1]), work([ENDLESS], deadline=time.monotonic() + 0.2)
    got = await together(scheduler, backend, good, late)
    assert got[0].tolist() == [1]
    assert isinstance(got[1], DeadlinePassed)


async def test_rows_that_take_too_long_twice_fail(scheduler, backend):
    with pytest.raises(ModelFailed, match="longer than this server lets one run"):
        await score(scheduler, work([ENDLESS]))
    assert backend.terminated == 2


async def test_one_that_outlasts_the_servers_limit_alone_counts_against_its_model(scheduler, models):
    with pytest.raises(ModelFailed):
        await score(scheduler, work([ENDLESS]))
    assert models.strikes == ["m"]


@pytest.mark.parametrize("value", [ENDLESS, DEAF])
async def test_impatience_proves_nothing(scheduler, backend, models, monkeypatch, value):
    """The rows run alone for the second time, and their caller's deadline ends them, not the server's limit."""
    monkeypatch.setattr("assayd.scheduler.watchdog._LATE_S", 0.0)
    with pytest.raises(DeadlinePassed):
        await score(scheduler, work([value], deadline=time.monotonic() + 0.8))
    assert backend.runs == [[value], [value]]
    assert models.strikes == []


async def test_a_request_of_many_poison_rows_is_ended_before_all_of_them_ran(scheduler, backend, models):
    job = Job("r", Caller("t"))
    bad = [work([KILLER], job=job) for _ in range(6)]
    good, mine = work([1]), work([2], job=job, alone=True)
    *failed, calm, also = await together(scheduler, backend, *bad, good, mine)
    assert calm.tolist() == [1]
    assert all(isinstance(e, ModelFailed) for e in failed)
    assert len(models.strikes) == 3
    assert backend.runs.count([KILLER]) == 3
    assert isinstance(also, ModelFailed) or also.tolist() == [2]
    with pytest.raises(ModelFailed, match="rows of this request"):
        scheduler.submit(work([3], job=job))


# ---- the server goes down ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [ENDLESS, DEAF])
async def test_while_it_drains_a_stuck_batch_leaves_others_their_time(scheduler, backend, models, value):
    """Its limit alone, 100 s, would take all of the grace."""
    scheduler._devices[0]._watchdog._max_batch_s = 100
    stuck = asyncio.create_task(score(scheduler, work([value])))
    await until(lambda: backend.runs)
    others = [asyncio.create_task(score(scheduler, work([n]))) for n in range(3)]
    scheduler.drain(1.0)
    assert [(await other).tolist() for other in others] == [[0], [1], [2]]
    with pytest.raises(Draining) as got:
        await stuck
    assert got.value.retry_after_s
    assert models.strikes == []


async def test_while_it_drains_rows_run_again_behind_the_others(scheduler, backend):
    scheduler._devices[0]._watchdog._max_batch_s = 100
    backend.gate.clear()
    hold = asyncio.create_task(score(scheduler, work([0])))
    await asyncio.sleep(0.05)
    mates = [asyncio.create_task(score(scheduler, w)) for w in (work([1]), work([ENDLESS]))]
    await asyncio.sleep(0.05)
    scheduler.drain(2.0)
    backend.gate.set()
    await hold
    await until(lambda: any(ENDLESS in ran for ran in backend.runs))
    other = asyncio.create_task(score(scheduler, work([5])))
    got = await asyncio.gather(*mates, other, return_exceptions=True)
    assert [g.tolist() for g in (got[0], got[2])] == [[1], [5]]
    assert isinstance(got[1], Draining)
    assert backend.runs.index([5.0]) < backend.runs.index([1.0])


async def test_in_the_end_all_rows_fail_wherever_they_are(scheduler, backend):
    running = asyncio.create_task(score(scheduler, work(range(8))))
    backend.gate.clear()
    await asyncio.sleep(0.02)
    waiting = [asyncio.create_task(score(scheduler, work(range(20)))) for _ in range(3)]
    again = asyncio.create_task(score(scheduler, work([KILLER])))
    await asyncio.sleep(0.1)
    scheduler.refuse()
    got = await asyncio.wait_for(asyncio.gather(running, *waiting, again, return_exceptions=True), 5)
    assert all(isinstance(e, Draining) and e.retry_after_s for e in got[1:])
    with pytest.raises(Draining):
        scheduler.submit(work([1]))


async def test_dead_without_a_batch_is_revived_on_demand(scheduler, backend, models):
    backend.dead = True
    scheduler.revive("fake", "m", "gone")
    assert scheduler.is_reviving("fake", "m")
    assert (await score(scheduler, work([1]))).tolist() == [1]
    assert models.revived == 1


@pytest.mark.parametrize(
    ("done", "deadline", "ran", "is_overdue"),
    [
        (False, None, 0.5, False),
        (False, None, 60.0, True),
        (True, None, 0.1, True),
        (True, None, 0.01, False),
        (False, 99.0, 1.5, True),
        (False, 99.0, 0.5, False),
        (False, 101.0, 1.5, False),
    ],
)
async def test_when_a_batch_is_overdue(done, deadline, ran, is_overdue):
    w = work([1], deadline=deadline)
    if done:
        w.abandon()
    assert overdue([Slice(w, 0, 1)], 100.0, 100.0 - ran, 60.0) == is_overdue
