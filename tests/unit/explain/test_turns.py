"""Instances of data sets let single decisions go first, and are not kept from their turn."""

import asyncio
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from assayd.engine.in_process import InProcessBackend
from assayd.engine.options import SessionOptions
from assayd.explain import turns
from assayd.explain.request import Budget
from assayd.explain.turns import Turns
from tests.models import zoo
from tests.unit.explain.made import a_request, service, until

X = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)


@pytest.fixture
def patient(monkeypatch):
    """Whoever waits in vain would wait for ever, and a decision is young for as long."""
    monkeypatch.setattr(turns, "_PATIENCE_S", 1e6)
    monkeypatch.setattr(turns, "_YOUNG_S", 1e6)


async def some_turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


async def test_alone_an_instance_begins_at_once(patient):
    with pytest.raises(StopIteration):
        Turns().give_way(asyncio.Lock()).send(None)


async def test_it_begins_when_the_last_decision_has_its_answer(patient):
    front, line = Turns(), asyncio.Lock()
    with front.decision():
        with front.decision():
            waiting = [asyncio.create_task(front.give_way(line)) for _ in range(3)]
            await some_turns()
        await some_turns()
        assert not any(task.done() for task in waiting)
    async with asyncio.timeout(30):
        await asyncio.gather(*waiting)


async def test_a_new_decision_keeps_those_that_have_not_begun_yet(patient):
    front, line = Turns(), asyncio.Lock()
    with front.decision():
        waiting = asyncio.create_task(front.give_way(line))
        await some_turns()
    async with asyncio.timeout(30):
        await waiting
    with front.decision():
        waiting = asyncio.create_task(front.give_way(line))
        await some_turns()
        assert not waiting.done()
    async with asyncio.timeout(30):
        await waiting


async def test_decisions_without_end_don_t_keep_it_for_ever():
    front, line = Turns(), asyncio.Lock()
    with front.decision():
        async with asyncio.timeout(30):
            await asyncio.gather(*(front.give_way(line) for _ in range(5)))


async def test_one_that_waits_for_its_model_keeps_nobody(monkeypatch, patient):
    monkeypatch.setattr(turns, "_YOUNG_S", 0.0)
    front = Turns()
    with front.decision():
        async with asyncio.timeout(30):
            await front.give_way(asyncio.Lock())


async def test_whoever_waits_for_one_that_grows_old_waits_no_longer(monkeypatch, patient):
    front = Turns()
    with front.decision():
        monkeypatch.setattr(turns, "_YOUNG_S", 0.02)
        front._begun.update({this: time.monotonic() for this in front._begun})
        async with asyncio.timeout(30):  # and not for its patience
            await front.give_way(asyncio.Lock())


async def test_an_old_decision_does_not_hide_that_the_young_one_is_through(monkeypatch, patient):
    front, now = Turns(), 0.0
    monkeypatch.setattr(turns, "time", SimpleNamespace(monotonic=lambda: now))
    with front.decision():
        now = 2e6
        with front.decision():
            waiting = asyncio.create_task(front.give_way(asyncio.Lock()))
            await some_turns()
            assert not waiting.done()
        async with asyncio.timeout(30):
            await waiting


async def test_a_call_of_few_is_not_behind_all_of_a_call_of_many(monkeypatch):
    monkeypatch.setattr(turns, "_PATIENCE_S", 1e-3)
    front, begun = Turns(), []

    async def begin(call, line):
        await front.give_way(line)
        begun.append(call)

    with front.decision():
        lines = {"many": asyncio.Lock(), "few": asyncio.Lock()}
        waiting = [begin(call, lines[call]) for call in ["many"] * 50 + ["few"] * 4]
        async with asyncio.timeout(30):
            await asyncio.gather(*waiting)
    assert begun[:10].count("few") == 4


async def test_who_is_cancelled_while_waiting_leaves_the_next_its_turn(patient):
    front, line = Turns(), asyncio.Lock()
    with front.decision():
        first, second = (asyncio.create_task(front.give_way(line)) for _ in range(2))
        await some_turns()
        first.cancel()
        await some_turns()
        assert first.cancelled()
        assert not second.done()
    async with asyncio.timeout(30):
        await second


class Gated(InProcessBackend):
    """Runs a batch when told to."""

    def __init__(self):
        super().__init__(SessionOptions(threads=1), 8)
        self.begun, self.go = [], asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def run(self, prepared):
        self.begun.append(prepared)
        asyncio.run_coroutine_threadsafe(self.go.wait(), self.loop).result(30)
        return super().run(prepared)


@asynccontextmanager
async def decision_under_way():
    """A service whose device is held up by the rows of a single decision until its `go` is set."""
    gated = Gated()
    async with service(zoo.mlp(), backend=gated, gather_ms=0) as s:
        gated.go.set()
        await s.explain(a_request({"x": X[:1]}))
        gated.go.clear()
        before = len(gated.begun)
        try:
            s.decision = asyncio.create_task(s.explain(a_request({"x": X[:1]})))
            await until(lambda: len(gated.begun) > before)
            s.go = gated.go
            yield s
        finally:
            gated.go.set()


@pytest.mark.parametrize("parts", [False, True])
async def test_a_data_set_s_instances_wait_for_a_decision_and_another_decision_doesn_t(patient, parts):
    """Whether they were planned shows in what waits. parts: of one instance each."""
    async with decision_under_way() as s:
        held, x = s.scheduler.queued_rows, X[:1] if parts else X[1:]
        many = asyncio.create_task(s.explain(a_request({"x": x}), data_set=parts))
        await asyncio.sleep(0.2)  # what would have come by then needs some turns of the loop
        assert s.scheduler.queued_rows == held
        another = asyncio.create_task(s.explain(a_request({"x": X[:1]})))
        await until(lambda: s.scheduler.queued_rows > held)
        assert not s.decision.done()
        s.go.set()
        async with asyncio.timeout(30):
            done = await asyncio.gather(s.decision, another, many)
    assert [len(each.results) for each in done] == [1, 1, len(x)]


async def test_parts_of_one_instance_keep_nobody(patient):
    gated = Gated()
    async with service(zoo.mlp(), backend=gated, gather_ms=0) as s:
        try:
            part = asyncio.create_task(s.explain(a_request({"x": X[:1]}), data_set=True))
            await until(lambda: gated.begun)
            held = s.scheduler.queued_rows
            many = asyncio.create_task(s.explain(a_request({"x": X[1:]})))
            await until(lambda: s.scheduler.queued_rows > held)
        finally:
            gated.go.set()
        await asyncio.gather(part, many)


async def test_who_has_a_time_budget_gives_way_to_nobody(patient):
    async with decision_under_way() as s:
        held = s.scheduler.queued_rows
        budget = Budget(until=time.monotonic() + 60, partial=True)
        many = asyncio.create_task(s.explain(a_request({"x": X[1:]}, budget=budget)))
        await until(lambda: s.scheduler.queued_rows > held)
        s.go.set()
        await asyncio.gather(s.decision, many)
