"""The owner of a device, over a backend made of Python."""

import asyncio
import threading
import time

import numpy as np
import pytest

from assayd.engine.backend import LoadedModel, NotRun, in_turn
from assayd.errors import DeadlinePassed, Draining, ModelFailed, ModelUnfit, OutOfMemory, QueueFull
from assayd.metrics import Metrics
from assayd.scheduler import queue
from assayd.scheduler.runner import _joined
from assayd.scheduler.scheduler import Scheduler
from assayd.scheduler.work import Caller, Job, Work
from assayd.types.model import Batching, Signature
from assayd.types.rows import Pick, Plan, SampleRows
from assayd.types.subject import Subject
from tests.unit.explain.made import until

PICKS = (Pick("y", np.array([0])),)


class FakeBackend:
    """Scores a row by its only value. Rows of -13 fail; more than `room` rows are out of memory."""

    device = "fake"
    apart = False

    def __init__(self):
        self.batches, self.prepared, self.room, self.gate = [], [], 10**9, threading.Event()
        self.gate.set()
        self.most_rows_alive = 0
        self.posts, self.posted = False, []
        self.held = set()

    def prepare(self, batch):
        self.prepared.append(batch)
        values = [np.concatenate([b.values["x"] for b in c.blocks]) for c in batch.chunks]
        self.most_rows_alive = max(self.most_rows_alive, sum(map(len, values)))
        if any((v == -666).any() for v in values):
            raise ValueError("a row that can't be made")
        return self._holding(type("Prepared", (), {"batch": batch, "values": values})())

    def post(self, batch):
        if not self.posts:
            return None
        self.posted.append(batch.rows)
        return self._holding(type("Prepared", (), {"batch": batch, "values": None})())

    def _holding(self, prepared):
        self.held.add(prepared)
        return prepared

    def drop(self, prepared):
        self.held.remove(prepared)

    def run(self, prepared):
        self.gate.wait(10)
        self.held.discard(prepared)
        if prepared.values is None:
            try:
                prepared = self.prepare(prepared.batch)
            except ValueError as error:
                raise NotRun(error) from error
        rows = sum(map(len, prepared.values))
        if rows > self.room:
            raise OutOfMemory("no room")
        if any((v == -13).any() for v in prepared.values):
            raise ModelFailed("thirteen")
        self.batches.append(rows)
        return [v.astype(np.float64)[:, None] for v in prepared.values]

    def ask(self, what):
        return None

    def score(self, batches):
        return in_turn(self, batches)


class Models:
    """Revives the fake backend."""

    def __init__(self, backend):
        self.backend, self.revived, self.strikes = backend, 0, []

    async def revive(self, device, digest, cause):
        await asyncio.sleep(0.01)
        self.revived += 1

    def runs(self, device, digest):
        return True

    def strike(self, digest, by):
        self.strikes.append(digest)


def model(batched=True, max_rows=8, digest="m"):
    return LoadedModel(digest, Signature((), ()), Batching(batched, "", max_rows if batched else 1), "fake", 1, 0.0)


def work(values, *, job=None, loaded=None, alone=False, deadline=None, tenant="t"):
    values = np.asarray(values, dtype=np.float32)
    plan = Plan(len(values), lambda a, b: [SampleRows({"x": values[a:b]})])
    subject = Subject({"x": np.float32(0)}, {})
    job = job or Job(f"r{time.monotonic_ns()}", Caller(tenant), deadline)
    return Work(job, loaded or model(), subject, plan, PICKS, alone)


@pytest.fixture
def backend():
    return FakeBackend()


@pytest.fixture
async def scheduler(backend):
    device = Scheduler([backend], Metrics(), Models(backend), gather_ms=20, max_queued_rows=1000, max_batch_s=60)
    device.start()
    yield device
    backend.gate.set()
    await device.stop()


async def score(scheduler, w):
    scheduler.submit(w)
    await scheduler.wait(w)
    return w.scores()[:, 0]


async def test_scores_come_back_in_order(scheduler):
    assert (await score(scheduler, work(range(100)))).tolist() == list(range(100))


async def test_jobs_waiting_together_share_batches(scheduler, backend):
    backend.gate.clear()
    first = asyncio.create_task(score(scheduler, work([1])))
    await asyncio.sleep(0.05)
    others = [asyncio.create_task(score(scheduler, work([n, n, n]))) for n in range(10)]
    await asyncio.sleep(0.05)
    backend.gate.set()
    for n, done in enumerate(await asyncio.gather(*others)):
        assert done.tolist() == [n, n, n]
    await first
    assert sorted(backend.batches[1:]) == [6, 8, 8, 8]


@pytest.mark.parametrize("digest", ["m", "n"])
async def test_what_is_made_ahead_may_begin_at_once_behind_its_own_model_only(scheduler, backend, digest):
    backend.gate.clear()
    jobs = [asyncio.create_task(score(scheduler, work(range(8), loaded=model(digest=d)))) for d in ("m", digest)]
    await asyncio.sleep(0.05)
    assert {(batch.digest, batch.at_once) for batch in backend.prepared} == {("m", False), (digest, digest == "m")}
    backend.gate.set()
    await asyncio.gather(*jobs)


async def test_the_rest_of_a_brief_job_is_made_ahead_where_nobody_else_waits(scheduler, backend):
    await score(scheduler, work(range(64)))  # what a row costs is known then
    backend.gate.clear()
    backend.prepared.clear()
    last = asyncio.create_task(score(scheduler, work(range(11))))
    await asyncio.sleep(0.1)
    assert sorted(batch.rows for batch in backend.prepared) == [3, 8]
    assert backend.batches[-1] == 8
    backend.gate.set()
    assert (await last).tolist() == list(range(11))


@pytest.mark.parametrize("why", ["company", "dear"])
async def test_the_rest_of_a_job_waits_for_company_or_while_batches_take_long(scheduler, backend, why, monkeypatch):
    if why == "dear":
        monkeypatch.setattr(queue, "BRIEF_S", 0.0)
    await score(scheduler, work(range(64)))
    backend.gate.clear()
    backend.prepared.clear()
    jobs = [asyncio.create_task(score(scheduler, work(range(11)))) for _ in range(2 if why == "company" else 1)]
    await asyncio.sleep(0.1)
    assert [batch.rows for batch in backend.prepared][:2] == ([8, 8] if why == "company" else [8])
    backend.gate.set()
    await asyncio.gather(*jobs)


@pytest.mark.parametrize("brief", [True, False])
async def test_behind_a_brief_batch_two_are_made(scheduler, backend, brief, monkeypatch):
    if not brief:
        monkeypatch.setattr(queue, "BRIEF_S", 0.0)
    await score(scheduler, work(range(64)))
    backend.gate.clear()
    backend.prepared.clear()
    job = asyncio.create_task(score(scheduler, work(range(64))))
    await asyncio.sleep(0.1)
    assert len(backend.prepared) == (3 if brief else 2)
    assert sum(batch.at_once for batch in backend.prepared) == len(backend.prepared) - 1
    backend.gate.set()
    assert (await job).tolist() == list(range(64))


@pytest.mark.parametrize("brief", [True, False])
async def test_brief_batches_are_posted(scheduler, backend, brief, monkeypatch):
    backend.posts = backend.apart = True
    if not brief:
        monkeypatch.setattr(queue, "BRIEF_S", 0.0)
    await score(scheduler, work(range(64)))
    backend.gate.clear()
    backend.posted.clear()
    backend.prepared.clear()
    job = asyncio.create_task(score(scheduler, work(range(64))))
    await asyncio.sleep(0.1)
    assert (backend.posted, len(backend.prepared)) == (([8, 8], 1) if brief else ([], 2))
    backend.gate.set()
    assert (await job).tolist() == list(range(64))


@pytest.mark.parametrize(("width", "posted"), [(1, [8, 8]), (2000, [])])
async def test_large_rows_are_not_made_to_find_that_they_are_too_large(scheduler, backend, width, posted):
    backend.posts = backend.apart = True
    await score(scheduler, work(range(64)))
    backend.gate.clear()
    backend.posted.clear()
    made = []
    wide = work(range(64))
    wide.plan = Plan(64, lambda a, b: made.append(b - a) or [SampleRows({"x": np.zeros((b - a, width), np.float32)})])
    job = asyncio.create_task(score(scheduler, wide))
    await until(lambda: made.count(8) >= 3)
    await asyncio.sleep(0.05)
    assert made.count(8) == 3  # one runs, two wait, each made once
    assert backend.posted == posted
    job.cancel()
    backend.gate.set()


async def test_a_posted_row_that_cannot_be_made_fails_its_own_job_alone(scheduler, backend):
    backend.posts = backend.apart = True
    await score(scheduler, work(range(64)))
    backend.gate.clear()
    hold = asyncio.create_task(score(scheduler, work(range(8))))
    await until(lambda: len(backend.prepared) == 9)
    good, bad = (asyncio.create_task(score(scheduler, work(values))) for values in (range(7), [-666]))
    await until(lambda: backend.posted[-1:] == [8])
    backend.gate.set()
    assert (await good).tolist() == list(range(7))
    with pytest.raises(ValueError, match="can't be made"):
        await bad
    await hold


async def test_what_is_made_behind_another_models_batch_waits_for_it(scheduler, backend):
    for digest in "mn":
        await score(scheduler, work(range(64), loaded=model(digest=digest)))
    backend.gate.clear()
    backend.prepared.clear()
    jobs = [asyncio.create_task(score(scheduler, work(range(8), loaded=model(digest="m"))))]
    await until(lambda: len(backend.prepared) == 1)
    jobs += [asyncio.create_task(score(scheduler, work(range(8), loaded=model(digest=d)))) for d in "mn"]
    await until(lambda: len(backend.prepared) == 3)
    made = [batch.digest for batch in backend.prepared]
    assert [batch.at_once for batch in backend.prepared] == [False, made[1] == "m", False]
    backend.gate.set()
    await asyncio.gather(*jobs)


async def test_a_poison_row_fails_its_own_job_alone(scheduler, backend):
    backend.gate.clear()
    hold = asyncio.create_task(score(scheduler, work([0])))
    await asyncio.sleep(0.05)
    good = [asyncio.create_task(score(scheduler, work([n]))) for n in range(1, 5)]
    bad = asyncio.create_task(score(scheduler, work([-13])))
    await asyncio.sleep(0.05)
    backend.gate.set()
    assert [(await g).tolist() for g in good] == [[1], [2], [3], [4]]
    with pytest.raises(ModelFailed):
        await bad
    await hold
    assert (await score(scheduler, work([7]))).tolist() == [7]


async def test_a_row_that_cannot_be_made_fails_its_own_job_alone(scheduler, backend):
    backend.gate.clear()
    hold = asyncio.create_task(score(scheduler, work([0])))
    await asyncio.sleep(0.05)
    good, bad = work([1, 2]), work([-666])
    tasks = [asyncio.create_task(score(scheduler, w)) for w in (good, bad)]
    await asyncio.sleep(0.05)
    backend.gate.set()
    assert (await tasks[0]).tolist() == [1, 2]
    with pytest.raises(ValueError, match="can't be made"):
        await tasks[1]
    await hold


async def test_out_of_memory_halves_the_batch_and_goes_on(scheduler, backend):
    backend.room = 3
    assert (await score(scheduler, work(range(20)))).tolist() == list(range(20))
    assert max(backend.batches) <= 3
    backend.room = 0
    with pytest.raises(OutOfMemory):
        await score(scheduler, work([1]))


async def test_a_cancelled_caller_leaves_its_batch_mates_alone(scheduler, backend):
    backend.gate.clear()
    hold = asyncio.create_task(score(scheduler, work([0])))
    await asyncio.sleep(0.05)
    stays, leaves = (
        asyncio.create_task(score(scheduler, work([1]))),
        asyncio.create_task(score(scheduler, work([2] * 50))),
    )
    await asyncio.sleep(0.05)
    leaves.cancel()
    await asyncio.sleep(0)
    assert scheduler.queued_rows <= 1 + 50
    backend.gate.set()
    assert (await stays).tolist() == [1]
    await hold
    with pytest.raises(asyncio.CancelledError):
        await leaves
    await asyncio.sleep(0.05)
    assert scheduler.queued_rows == 0
    assert sum(backend.batches) < 30  # the rest of the fifty never ran


async def test_a_deadline_is_seen_between_batches(scheduler, backend):
    backend.gate.clear()
    hold = asyncio.create_task(score(scheduler, work([0])))
    await asyncio.sleep(0.05)
    late = asyncio.create_task(score(scheduler, work(range(50), deadline=time.monotonic() + 0.05)))
    await asyncio.sleep(0.15)
    backend.gate.set()
    with pytest.raises(DeadlinePassed):
        await late
    await hold
    assert scheduler.queued_rows == 0


async def test_rows_are_made_when_a_batch_has_room_for_them(scheduler, backend):
    made = []
    plan = Plan(900, lambda a, b: made.append(b - a) or [SampleRows({"x": np.arange(a, b, dtype=np.float32)})])
    w = work([0])
    w.plan = plan
    assert len(await score(scheduler, w)) == 900
    assert max(made) == 8
    assert backend.most_rows_alive == 8


async def test_row_by_row_models_share_nothing(scheduler, backend):
    loaded = model(batched=False)
    assert (await score(scheduler, work(range(5), loaded=loaded))).tolist() == [0, 1, 2, 3, 4]
    assert backend.batches == [1] * 5


async def test_a_full_queue_refuses_and_says_when_to_come_back(scheduler, backend):
    backend.gate.clear()
    waiting = asyncio.create_task(score(scheduler, work(range(990))))
    await asyncio.sleep(0.05)
    with pytest.raises(QueueFull) as refused:
        scheduler.submit(work(range(500)))
    assert refused.value.retry_after_s > 0
    backend.gate.set()
    await waiting


async def test_stop_answers_whoever_waits(backend):
    device = Scheduler([backend], Metrics(), Models(backend), gather_ms=0, max_queued_rows=1000, max_batch_s=60)
    device.start()
    backend.gate.clear()
    running = asyncio.create_task(score(device, work([1])))
    await asyncio.sleep(0.05)
    queued = asyncio.create_task(score(device, work(range(50))))
    await asyncio.sleep(0.05)
    backend.gate.set()
    await device.stop()
    with pytest.raises(Draining):
        await queued
    with pytest.raises(Draining):
        device.submit(work([1]))
    await asyncio.gather(running, return_exceptions=True)


async def test_usage_counts_batches_and_companions(scheduler, backend):
    backend.gate.clear()
    hold = asyncio.create_task(score(scheduler, work([0])))
    await asyncio.sleep(0.05)
    jobs = [Job(f"r{n}", Caller("t")) for n in range(2)]
    tasks = [asyncio.create_task(score(scheduler, work([n] * 3, job=job))) for n, job in enumerate(jobs)]
    await asyncio.sleep(0.05)
    backend.gate.set()
    await asyncio.gather(hold, *tasks)
    assert [(j.usage.rows_run, j.usage.batches, j.usage.shared_batches) for j in jobs] == [(3, 1, 1)] * 2


async def test_a_model_that_runs_row_by_row_gets_each_row_by_itself_and_few_hops(scheduler, backend):
    loaded = model(batched=False)
    scored = await score(scheduler, rows := work(range(40), loaded=loaded))
    assert scored.tolist() == list(range(40))
    assert backend.batches == [1] * 40
    assert rows.job.usage.batches == 40
    assert scheduler._devices[0]._accounts._metrics.batches._value.get() == 40


async def test_a_row_that_fails_among_rows_run_in_turn_fails_its_work(scheduler):
    loaded = model(batched=False)
    await score(scheduler, work([1], loaded=loaded))  # its cost is known now
    with pytest.raises(ModelFailed, match="thirteen"):
        await score(scheduler, work([1, 2, -13, 4], loaded=loaded))
    assert (await score(scheduler, work([5, 6], loaded=loaded))).tolist() == [5, 6]


async def alone_and_together(scheduler, job, alone, rows):
    """As an instance does: x by itself, and its rows, submitted at once."""
    works = work(alone, job=job, alone=True), work(rows, job=job)
    for each in works:
        scheduler.submit(each)
    for each in works:
        await scheduler.wait(each)
    return [each.scores()[:, 0].tolist() for each in works]


async def test_what_runs_alone_takes_the_next_batch_along(scheduler, backend):
    await score(scheduler, work(range(16)))  # a row costs next to nothing, as is known now
    calls, scored = [], backend.score
    backend.score = lambda batches: calls.append([b.rows for b in batches]) or scored(batches)
    job = Job("j", Caller("t"))
    assert await alone_and_together(scheduler, job, [1, 2], [3, 4, 5]) == [[1, 2], [3, 4, 5]]
    assert calls == [[1, 1, 3]]
    assert (job.usage.batches, job.usage.rows_run) == (1, 5)
    assert scheduler._devices[0]._accounts._metrics.alone_checks._value.get() == 2


async def test_costly_rows_that_run_alone_hold_up_no_batch(scheduler, backend):
    slow = work(range(8))
    await score(scheduler, slow)
    scheduler._queue.measured(slow.batch_key, 1, 1e6)
    calls, scored = [], backend.score
    backend.score = lambda batches: calls.append([b.rows for b in batches]) or scored(batches)
    await alone_and_together(scheduler, Job("j", Caller("t")), [1], [3, 4, 5])
    assert calls == [[1], [3]]


async def test_a_row_that_fails_alone_leaves_what_it_took_along(scheduler):
    await score(scheduler, work(range(16)))
    good, bad = Job("good", Caller("t")), Job("bad", Caller("t"))
    broken = work([-13], job=bad, alone=True)
    scheduler.submit(broken)
    kept = asyncio.create_task(alone_and_together(scheduler, good, [1], [2, 3]))
    with pytest.raises(ModelFailed, match="thirteen"):
        await scheduler.wait(broken)
    assert await kept == [[1], [2, 3]]


def test_outputs_of_other_shapes_are_the_models_fault():
    """Also where several rows of a work ran in turn, at once."""
    parts = [{"y": np.zeros((1, 3))}, {"y": np.zeros((1, 2))}]
    with pytest.raises(ModelUnfit, match="one row at a time"):
        _joined(parts)
    assert _joined([parts[0], parts[0]])["y"].shape == (2, 3)
