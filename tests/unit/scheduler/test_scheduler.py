"""Several devices that take their batches from one queue."""

import asyncio
from dataclasses import replace

import pytest

from assayd.errors import Draining, ModelFailed, WorkerLost
from assayd.metrics import Metrics
from assayd.scheduler.scheduler import Scheduler
from assayd.scheduler.work import Caller, Job
from tests.unit.explain.made import until
from tests.unit.scheduler.test_device import model, score, work
from tests.unit.scheduler.test_recovery import KILLER, Dying


class Models:
    """Where each model is; those that are revived come back, but for those of a device in `gone`."""

    def __init__(self, *places):
        self.places, self.gone, self.revived, self.strikes = set(places), set(), [], []
        self.backends = {}

    def runs(self, device, digest):
        return (device, digest) in self.places

    async def revive(self, device, digest, cause):
        self.revived.append((device, digest))
        await asyncio.sleep(0.01)
        if device in self.gone:
            self.places.discard((device, digest))
            if not any(d == digest for _, d in self.places):
                raise WorkerLost("nowhere")
        elif isinstance(self.backends[device], Dying):
            self.backends[device].dead = False

    def strike(self, digest, by):
        self.strikes.append(digest)


@pytest.fixture
async def two():
    """A scheduler of two devices, `a` and `b`, that hold model "m" both; their backends; where the models are."""
    backends = Dying(), Dying()
    for backend, name in zip(backends, "ab", strict=True):
        backend.device = name
    models = Models(("a", "m"), ("b", "m"))
    models.backends = dict(zip("ab", backends, strict=True))
    metrics = Metrics()
    scheduler = Scheduler(backends, metrics, models, gather_ms=0, max_queued_rows=10**6, max_batch_s=60)
    scheduler.start()
    yield scheduler, *backends, models
    for backend in backends:
        backend.gate.set()
    await scheduler.stop()


def ran(backend):
    return sum(backend.batches)


async def test_the_rows_of_one_work_run_wherever_a_device_has_nothing_to_do(two):
    scheduler, a, b, _ = two
    a.gate.clear()
    w = work(range(400))
    scored = asyncio.create_task(score(scheduler, w))
    # The one that stands still has a batch in it and two before it; the other runs all the rest.
    await until(lambda: ran(b) == 400 - 3 * 8)
    a.gate.set()
    assert (await scored).tolist() == list(range(400))
    assert (ran(a), w.devices) == (24, {"a", "b"})
    assert w.job.usage.rows_run == 400


async def test_a_device_runs_only_the_models_that_it_has(two):
    scheduler, a, b, models = two
    models.places.remove(("a", "m"))
    models.places.add(("a", "other"))
    of_m, of_other = work(range(80)), work(range(40), loaded=model(digest="other"))
    await asyncio.gather(score(scheduler, of_m), score(scheduler, of_other))
    assert (of_m.devices, of_other.devices) == ({"b"}, {"a"})
    assert (ran(a), ran(b)) == (40, 80)


async def test_a_work_that_keeps_to_one_device_runs_there_alone(two):
    scheduler, a, b, _ = two
    b.gate.clear()
    kept = work(range(80))
    kept.device = "b"
    waiting = asyncio.create_task(score(scheduler, kept))
    await asyncio.sleep(0.05)
    assert (ran(a), ran(b), waiting.done()) == (0, 0, False)
    b.gate.set()
    await waiting
    assert (ran(a), ran(b)) == (0, 80)


class Turns:
    """Who ran how many rows before whom, over both devices."""

    def __init__(self, *backends):
        self.rows = []
        for backend in backends:
            original = backend.run

            def run(prepared, original=original):
                results = original(prepared)
                self.rows.extend(v for values in prepared.values for v in values.ravel().tolist())
                return results

            backend.run = run


async def test_callers_share_both_devices_as_if_they_were_one(two):
    """A caller with next to nothing doesn't wait behind one that fills both, nor gets a device to itself."""
    scheduler, a, b, _ = two
    turns = Turns(a, b)
    a.gate.clear()
    b.gate.clear()
    heavy = asyncio.create_task(score(scheduler, work([1] * 800, tenant="heavy")))
    await asyncio.sleep(0.05)
    light = asyncio.create_task(score(scheduler, work([2] * 64, tenant="light")))
    await asyncio.sleep(0.05)
    a.gate.set()
    b.gate.set()
    await light
    # Four batches were made before it came; then it has every other row.
    last = max(n for n, row in enumerate(turns.rows) if row == 2)
    assert turns.rows[: last + 1].count(1) <= 32 + 64 + 2 * 8
    await heavy
    assert len(turns.rows) == 864


async def test_a_device_that_is_lost_leaves_its_rows_to_the_other(two):
    scheduler, a, b, models = two
    models.gone.add("a")
    a.dead, a.cause = True, "its GPU was lost to it"
    assert (await score(scheduler, work(range(200)))).tolist() == list(range(200))
    assert (ran(a), ran(b)) == (0, 200)
    assert ("a", "m") in models.revived
    assert (await score(scheduler, work(range(8)))).tolist() == list(range(8))


async def test_rows_that_end_processes_are_found_whichever_device_runs_them(two):
    scheduler, a, b, _ = two
    job = Job("r", Caller("t"))
    with pytest.raises(ModelFailed, match="ended its process with these rows"):
        await score(scheduler, work([KILLER], job=job))
    assert [row for run in a.runs + b.runs for row in run].count(KILLER) == 2
    assert (await score(scheduler, work(range(50)))).tolist() == list(range(50))
    for _ in range(2):
        with pytest.raises(ModelFailed):
            await score(scheduler, work([KILLER], job=job))
    with pytest.raises(ModelFailed, match="too many of the model's processes"):
        scheduler.submit(work([1], job=job))


async def test_rows_whose_model_is_nowhere_any_more_fail_and_no_others(two):
    scheduler, a, b, models = two
    a.gate.clear()
    b.gate.clear()
    models.places |= {("a", "gone"), ("b", "gone")}
    held = asyncio.create_task(score(scheduler, work(range(100))))
    await asyncio.sleep(0.05)
    lost = asyncio.create_task(score(scheduler, work(range(9), loaded=model(digest="gone"))))
    pinned = work(range(5), loaded=model(digest="gone"))
    pinned.device = "b"
    kept = asyncio.create_task(score(scheduler, pinned))
    await asyncio.sleep(0)
    models.places.remove(("b", "gone"))
    scheduler.changed()
    with pytest.raises(WorkerLost):
        await kept
    assert not lost.done()
    models.places.remove(("a", "gone"))
    scheduler.changed()
    with pytest.raises(WorkerLost):
        await lost
    with pytest.raises(WorkerLost):
        scheduler.submit(work([1], loaded=model(digest="gone")))
    a.gate.set()
    b.gate.set()
    assert (await held).tolist() == list(range(100))


async def test_what_waits_is_told_in_seconds_once_they_are_known(two):
    scheduler, a, b, _ = two
    first = work(range(8))
    await score(scheduler, first)
    a.gate.clear()
    b.gate.clear()
    waiting = asyncio.create_task(score(scheduler, work(range(100))))
    unknown = asyncio.create_task(score(scheduler, work(range(100), loaded=model(batched=False))))
    await asyncio.sleep(0.05)
    cost = scheduler._queue.row_cost[first.batch_key]
    told = scheduler.queued_seconds()
    assert 0 < told["m"] <= 100 * cost
    assert told["m"] / cost == pytest.approx(round(told["m"] / cost))
    a.gate.set()
    b.gate.set()
    await asyncio.gather(waiting, unknown)
    assert scheduler.queued_seconds() == {}


async def test_all_devices_end_their_works_when_the_server_goes_down(two):
    scheduler, a, b, _ = two
    a.gate.clear()
    b.gate.clear()
    waiting = asyncio.create_task(score(scheduler, work(range(100))))
    await asyncio.sleep(0.05)
    scheduler.refuse()
    with pytest.raises(Draining):
        await waiting


async def test_what_rows_cost_is_forgotten_with_their_model(two):
    scheduler, _, _, models = two
    costs = scheduler._queue.row_cost
    kept = work(range(8))
    await score(scheduler, kept)
    for n in range(20):
        digest = f"fresh-{n}"
        models.places |= {("a", digest), ("b", digest)}
        await score(scheduler, work(range(8), loaded=replace(model(), digest=digest)))
        models.places.discard(("a", digest))
        scheduler.changed()
        assert len(costs) == 2, "the other device still has it"
        models.places.discard(("b", digest))
        scheduler.changed()
    assert list(costs) == [kept.batch_key]
