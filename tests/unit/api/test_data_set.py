"""Parts in, instances out, and neither side ahead of the other."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from assay.v1 import explain_pb2
from assay.v1.explain_service_pb2 import ExplainManyRequest, ExplainRequest
from assayd.api.codec.tensors import encode_tensor
from assayd.api.data_set import PARTS_IN_FLIGHT, DataSet, settings_of
from assayd.errors import DeadlinePassed, InvalidRequest, ModelFailed
from assayd.explain.outcome import Explained, InstanceFailed, Used
from assayd.scheduler.work import Caller, Job, JobUsage


def part(rows, **kind):
    request = ExplainRequest(**kind)
    request.inputs["x"].CopyFrom(encode_tensor(np.zeros((rows, 3), np.float32)))
    return ExplainManyRequest(request=request)


class Source:
    """Messages that are counted as they are read."""

    def __init__(self, *messages):
        self.left, self.read = list(messages), 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.sleep(0)
        if not self.left:
            raise StopAsyncIteration
        self.read += 1
        return self.left.pop(0)


class Explains:
    """Answers instance by instance when it is let."""

    def __init__(self, *, gate=None, fails_at=None, only_estimates=False):
        self.only_estimates = only_estimates
        self.gate, self.fails_at, self.seen, self.running, self.most = gate, fails_at, [], 0, 0

    async def __call__(self, request, on_instance):
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.gate is not None:
                await self.gate.wait()
            number = len(self.seen)
            self.seen.append(request.whole)
            if number == self.fails_at:
                raise ModelFailed("broken", metadata={"instance": "1"})
            if self.only_estimates:
                return Explained(None, [], Used(JobUsage(), 0, 0.0, 0.0), (), estimated_rows=7)
            for position in range(request.instances):
                on_instance(InstanceFailed("", position, ModelFailed("no")))
            used = Used(JobUsage(), request.instances, 0.5, 0.25)
            return Explained(None, [object()], used, (), partial=number == 1)
        finally:
            self.running -= 1


def a_data_set(source, explains, **more):
    async def decode(whole):
        instances = whole.inputs["x"].shape[0]
        if not instances:
            raise InvalidRequest("none", field="inputs")
        return SimpleNamespace(instances=instances, whole=whole)

    job = Job("r", Caller("t"))
    return DataSet(source, job, decode, explains, lambda request, result: explain_pb2.InstanceResult(), **more)


async def all_of(data_set, first):
    settings, own = settings_of(first)
    return [event async for event in data_set.events(settings, own)]


def positions(events):
    return [e.instance.position for e in events if e.WhichOneof("event") == "instance"]


async def test_positions_count_over_all_parts_and_settings_hold_for_all():
    source, explains = Source(part(2, keys=["a", "b"]), part(1)), Explains()
    data_set = a_data_set(source, explains)
    events = await all_of(data_set, part(3, model="m", seed=7, occlusion={}))
    assert sorted(positions(events)) == list(range(6))
    seen = [(w.model, w.seed, list(w.keys)) for w in explains.seen]
    assert seen == [
        ("m", 7, []),
        ("m", 7, ["a", "b"]),
        ("m", 7, []),
    ]
    assert [e.used.rows_asked for e in data_set.explained] == [3, 2, 1]
    assert all(not e.results for e in data_set.explained)
    assert events[0].progress.instances_done == 0


async def test_the_first_message_may_hold_settings_alone():
    explains = Explains()
    events = await all_of(a_data_set(Source(part(2)), explains), ExplainManyRequest(request=ExplainRequest(model="m")))
    assert positions(events) == [0, 1]
    assert not await all_of_nothing()


async def all_of_nothing():
    data_set = a_data_set(Source(), Explains())
    return positions(await all_of(data_set, ExplainManyRequest(request=ExplainRequest(model="m"))))


async def test_no_more_is_read_than_the_caller_takes_answers_of():
    source = Source(*(part(1) for _ in range(20)))
    data_set = a_data_set(source, Explains())
    settings, own = settings_of(part(1, model="m"))
    events = data_set.events(settings, own)
    for taken in range(6):
        while (await anext(events)).WhichOneof("event") != "instance":
            pass
        await asyncio.sleep(0.05)
        assert source.read <= taken + PARTS_IN_FLIGHT
    await events.aclose()
    await asyncio.sleep(0.05)
    assert source.read <= 5 + PARTS_IN_FLIGHT


async def test_as_many_parts_run_at_once_as_may():
    gate = asyncio.Event()
    explains = Explains(gate=gate)
    data_set = a_data_set(Source(*(part(1) for _ in range(5))), explains)
    task = asyncio.create_task(all_of(data_set, part(1)))
    await asyncio.sleep(0.05)
    assert explains.running == PARTS_IN_FLIGHT
    gate.set()
    assert len(positions(await task)) == 6
    assert explains.most == PARTS_IN_FLIGHT


async def test_a_failure_names_its_part_and_the_instance_of_the_data_set():
    with pytest.raises(ModelFailed) as got:
        await all_of(a_data_set(Source(part(2), part(2)), Explains(fails_at=1)), part(3))
    assert got.value.metadata == {"part": "1", "instance": "4"}


async def test_settings_in_a_later_part_are_refused_by_name():
    with pytest.raises(InvalidRequest, match="the first message has the settings") as got:
        await all_of(a_data_set(Source(part(2, seed=3)), Explains()), part(1))
    assert (got.value.field, got.value.metadata["part"]) == ("seed", "1")
    with pytest.raises(InvalidRequest) as got:
        await all_of(a_data_set(Source(part(0)), Explains()), part(1))
    assert (got.value.field, got.value.metadata["part"]) == ("inputs", "1")


async def test_a_caller_that_leaves_ends_what_runs():
    explains = Explains(gate=asyncio.Event())
    task = asyncio.ensure_future(all_of(a_data_set(Source(part(1)), explains), part(1)))
    await asyncio.sleep(0.05)
    assert explains.running
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0.01)
    assert not explains.running


async def test_parts_that_are_only_validated_make_room_for_the_next():
    data_set = a_data_set(Source(*(part(1) for _ in range(5))), Explains(only_estimates=True))
    events = await asyncio.wait_for(all_of(data_set, part(1)), 10)
    assert not positions(events)
    assert [e.estimated_rows for e in data_set.explained] == [7] * 6


class Dripping(Source):
    """Waits before each message."""

    def __init__(self, *messages, waits_s):
        super().__init__(*messages)
        self.waits_s = iter(waits_s)

    async def __anext__(self):
        await asyncio.sleep(next(self.waits_s))
        return await super().__anext__()


async def test_a_caller_who_sends_no_further_part_gives_its_place_back():
    source, explains = Dripping(part(1), waits_s=[60]), Explains()
    data_set = a_data_set(source, explains, part_s=0.2)
    with pytest.raises(DeadlinePassed, match=r"no part came in 0\.2 s, with all answers sent") as refused:
        await asyncio.wait_for(all_of(data_set, part(2, model="m")), 5)
    assert refused.value.field == "request"
    assert refused.value.metadata["part"] == "1"
    assert len(explains.seen) == 1
    assert len(data_set.explained) == 1


async def test_a_part_that_takes_longer_is_waited_for_and_so_is_one_that_comes_in_time():
    gate = asyncio.Event()
    source = Dripping(part(1), part(2), waits_s=[1.0, 0.1, 0.1])
    data_set = a_data_set(source, Explains(gate=gate), part_s=0.5)
    asyncio.get_running_loop().call_later(1.5, gate.set)
    events = await asyncio.wait_for(all_of(data_set, part(2, model="m")), 5)
    assert sorted(positions(events)) == list(range(5))
