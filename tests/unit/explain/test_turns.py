"""Instances of data sets let single decisions go first, and are not kept from their turn."""

import asyncio

import numpy as np
import pytest

from assayd.engine.in_process import InProcessBackend
from assayd.engine.options import SessionOptions
from assayd.explain import turns
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
    before = asyncio.all_tasks()
    coroutine = Turns().give_way()
    with pytest.raises(StopIteration):
        coroutine.send(None)
    assert asyncio.all_tasks() == before


async def test_it_begins_when_the_last_decision_has_its_answer(patient):
    front = Turns()
    with front.decision():
        with front.decision():
            waiting = [asyncio.create_task(front.give_way()) for _ in range(3)]
            await some_turns()
        await some_turns()
        assert not any(task.done() for task in waiting)
    async with asyncio.timeout(30):
        await asyncio.gather(*waiting)


async def test_a_new_decision_keeps_those_that_have_not_begun_yet(patient):
    front = Turns()
    with front.decision():
        waiting = asyncio.create_task(front.give_way())
        await some_turns()
    async with asyncio.timeout(30):
        await waiting
    with front.decision():
        waiting = asyncio.create_task(front.give_way())
        await some_turns()
        assert not waiting.done()
    async with asyncio.timeout(30):
        await waiting


async def test_decisions_without_end_don_t_keep_it_for_ever():
    front = Turns()
    with front.decision():
        async with asyncio.timeout(30):
            await asyncio.gather(*(front.give_way() for _ in range(5)))


async def test_one_that_waits_for_its_model_keeps_nobody(monkeypatch, patient):
    monkeypatch.setattr(turns, "_YOUNG_S", 0.0)
    front = Turns()
    with front.decision():
        async with asyncio.timeout(30):
            await front.give_way()


async def test_who_is_cancelled_while_waiting_leaves_the_next_its_turn(patient):
    front = Turns()
    with front.decision():
        first, second = (asyncio.create_task(front.give_way()) for _ in range(2))
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


async def test_a_data_set_s_instances_wait_for_a_decision_and_another_decision_doesn_t(patient):
    """Whether they were planned shows in what waits: the device is held up by the first one's rows."""
    gated = Gated()
    async with service(zoo.mlp(), backend=gated, gather_ms=0) as s:
        gated.go.set()
        await s.explain(a_request({"x": X[:1]}))
        gated.go.clear()
        before = len(gated.begun)
        try:
            decision = asyncio.create_task(s.explain(a_request({"x": X[:1]})))
            await until(lambda: len(gated.begun) > before)
            held = s.scheduler.queued_rows
            many = asyncio.create_task(s.explain(a_request({"x": X[1:]})))
            await asyncio.sleep(0.2)  # what would have come by then needs some turns of the loop
            assert s.scheduler.queued_rows == held
            another = asyncio.create_task(s.explain(a_request({"x": X[:1]})))
            await until(lambda: s.scheduler.queued_rows > held)
            assert not decision.done()
        finally:
            gated.go.set()
        async with asyncio.timeout(30):
            done = await asyncio.gather(decision, another, many)
    assert [len(each.results) for each in done] == [1, 1, 5]
