"""A run as a stream of events."""

import asyncio
import hashlib
import threading

import numpy as np
import pytest

from assay.v1 import explain_pb2
from assayd.api import streaming
from assayd.api.codec.tensors import encode_tensor
from assayd.api.streaming import CHUNK_BYTES, SMALL_VALUES, chunked, encoded, events
from assayd.errors import ModelFailed
from assayd.explain.outcome import Explained, InstanceFailed, Used
from assayd.scheduler.work import Caller, Job, JobUsage
from assayd.types.result import Attribution, Drawn
from assayd.types.subject import Segments
from tests.unit.api.test_responses import explained

BIG = np.random.default_rng(0).standard_normal(CHUNK_BYTES // 4 + 1000)  # a little above 2 MiB
SMALL = np.arange(3.0)
DONE = Explained(None, [], Used(JobUsage(), 0, 0, 0), ())


def failed(position):
    return InstanceFailed("", position, ModelFailed("no"))


def encode(instance):
    return explain_pb2.InstanceResult(position=instance.position)


def stream(run, instances=2):
    return events(run, Job("r", Caller("t")), instances, encode)


async def read(answers, into):
    async for event in answers:
        into.append(event)


def result(place):
    made = explain_pb2.InstanceResult(position=7)
    place(made).CopyFrom(encode_tensor(BIG))
    made.scores.CopyFrom(encode_tensor(SMALL))
    return made


@pytest.mark.parametrize(
    "place",
    [
        lambda r: r.feature_values,
        lambda r: r.feature_errors,
        lambda r: r.rows.keep,
        lambda r: r.rows.scores,
        lambda r: r.maps["x"],
        lambda r: r.map_errors["x"],
    ],
)
async def test_large_tensors_go_ahead_in_parts_and_are_found_by_their_digest(place):
    *parts, last = [event async for event in chunked(result(place))]
    chunks = [event.chunk for event in parts]
    assert all(len(c.data) <= CHUNK_BYTES for c in chunks)
    assert {c.size_bytes for c in chunks} == {BIG.nbytes}
    assert [c.offset for c in chunks] == [n * CHUNK_BYTES for n in range(len(chunks))]
    whole = b"".join(c.data for c in chunks)
    assert whole == BIG.tobytes()
    left = place(last.instance)
    assert left.WhichOneof("content") == "digest"
    assert {left.digest} == {c.digest for c in chunks} == {"sha256:" + hashlib.sha256(whole).hexdigest()}
    assert (left.dtype, list(left.shape)) == (encode_tensor(BIG).dtype, [BIG.size])
    assert last.instance.scores == encode_tensor(SMALL)
    assert last.ByteSize() < CHUNK_BYTES


async def test_what_is_small_goes_in_one():
    made = explain_pb2.InstanceResult(position=7)
    made.feature_values.CopyFrom(encode_tensor(BIG[: CHUNK_BYTES // 8]))
    (only,) = [event async for event in chunked(made)]
    assert only.instance.feature_values.WhichOneof("content") == "data"


async def test_progress_comes_first_then_instances_as_they_finish_then_the_whole():
    async def run(on_instance):
        for position in (1, 0):
            on_instance(failed(position))
            await asyncio.sleep(0)
        return DONE

    seen = [event async for event in stream(run)]
    kinds = ["whole" if e is DONE else e.WhichOneof("event") for e in seen]
    assert kinds[0] == "progress"
    assert [k for k in kinds if k != "progress"] == ["instance", "instance", "whole"]
    assert [e.instance.position for e in seen[:-1] if e.WhichOneof("event") == "instance"] == [1, 0]


async def test_an_instance_takes_no_task_of_its_own(monkeypatch):
    made, loop = [], asyncio.get_running_loop()
    loop.set_task_factory(lambda loop, coroutine, **more: made.append(1) or asyncio.Task(coroutine, loop=loop, **more))

    async def run(on_instance):
        for position in range(50):
            on_instance(failed(position))
            await asyncio.sleep(0)
        return DONE

    monkeypatch.setattr(asyncio, "to_thread", in_place)
    seen = [event async for event in stream(run, 50)]
    assert sum(e is not DONE and e.WhichOneof("event") == "instance" for e in seen) == 50
    assert len(made) == 1  # the run itself


async def test_the_end_of_a_run_is_seen_at_once(monkeypatch):
    monkeypatch.setattr(streaming, "PROGRESS_SECONDS", 1000.0)

    async def run(on_instance):
        on_instance(failed(0))
        await asyncio.sleep(0.01)
        return DONE

    async with asyncio.timeout(10):
        assert [event async for event in stream(run)][-1] is DONE


async def in_place(function, *arguments):
    return function(*arguments)


async def test_progress_counts_rows_and_instances():
    going = asyncio.Event()

    async def run(on_instance):
        job.usage.rows_planned, job.usage.rows_run = 10, 4
        on_instance(failed(0))
        await going.wait()
        return DONE

    job = Job("r", Caller("t"))
    seen = []
    async for event in events(run, job, 2, encode):
        seen.append(event)
        if len([e for e in seen if e is not DONE and e.WhichOneof("event") == "progress"]) == 2:
            going.set()
    first, later = [e.progress for e in seen[:-1] if e.WhichOneof("event") == "progress"][:2]
    assert (first.rows_done, first.instances_done, first.instances) == (0, 0, 2)
    assert (later.rows_done, later.rows_planned, later.instances_done) == (4, 10, 1)


async def test_a_run_that_fails_ends_the_stream_with_its_error_after_what_was_done():
    async def run(on_instance):
        on_instance(failed(0))
        raise ModelFailed("no")

    seen = []
    with pytest.raises(ModelFailed):
        await read(stream(run), seen)
    assert "instance" in [event.WhichOneof("event") for event in seen]


async def test_a_caller_that_leaves_cancels_the_run():
    state = []

    async def run(on_instance):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            state.append("cancelled")
            raise

    answers = stream(run)
    await anext(answers)
    await asyncio.sleep(0)
    await answers.aclose()
    await asyncio.sleep(0)
    assert state == ["cancelled"]


async def test_a_caller_that_is_cancelled_while_it_waits_cancels_the_run():
    state = []

    async def run(on_instance):
        try:
            await asyncio.Event().wait()
        finally:
            state.append("ended")

    reader = asyncio.create_task(read(stream(run), []))
    await asyncio.sleep(0.02)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    await asyncio.sleep(0)
    assert state == ["ended"]


async def test_progress_is_told_though_instances_come_fast():
    async def run(on_instance):
        for position in range(60):
            on_instance(failed(position))
            await asyncio.sleep(0.01)
        return DONE

    got = [e async for e in stream(run, 60)]
    told = [e.progress.instances_done for e in got[:-1] if e.WhichOneof("event") == "progress"]
    assert 4 <= len(told) <= 12
    assert told == sorted(told)


NAMED = Segments({"x": np.zeros((1, 2), np.int32)}, 2, ("a", "b"))
MANY = tuple(f"feature {n}" for n in range(SMALL_VALUES // 40 + 1))


@pytest.mark.parametrize(
    ("result", "here"),
    [
        (failed(0), True),
        (explained(Attribution(values=np.zeros(SMALL_VALUES))), True),
        (explained(Attribution(values=np.zeros(SMALL_VALUES + 1))), False),
        (explained(Attribution(keep=np.ones((100, 50), bool))), False),
        (explained(drawn=Drawn(np.zeros((1, 10)), {"x": np.zeros((10, 500))})), False),
        (explained(segments=NAMED), True),
        (explained(segments=Segments({"x": np.zeros((1, len(MANY)), np.int32)}, len(MANY), MANY)), False),
        (explained(segments=Segments({"x": np.zeros((300, 300), np.int32)}, 2, ("a", "b"))), False),
        (explained(segments=Segments({"x": np.zeros((300, 300), np.int32)}, 2)), True),
    ],
    ids=["failed", "small", "large", "masks", "drawn", "names", "many names", "named elements", "elements"],
)
async def test_what_is_small_is_written_in_place_and_what_is_large_elsewhere(result, here):
    found = []

    def encode(instance):
        found.append(threading.current_thread() is threading.main_thread())
        return explain_pb2.InstanceResult()

    await encoded(encode, result)
    assert found == [here]


def test_what_is_held_for_an_instance_is_all_of_it():
    drawn = Drawn(np.zeros((2, 10)), {"": np.zeros((10, 8), bool)}, np.zeros(10, np.int32), np.zeros(10))
    a = Attribution(values=np.zeros((2, 8)), maps={"x": np.zeros((2, 8))}, keep=np.zeros((10, 8), bool))
    assert explained(a, drawn=drawn).held_bytes == 8 * (20 + 10 + 16 + 16) + 4 * 10 + 80 + 80
