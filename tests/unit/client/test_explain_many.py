from __future__ import annotations

import asyncio
import gc
import threading
import time

import grpc
import numpy as np
import pytest

import assay
from tests.unit.client.fake_server import FakeServer, serving

METHOD = assay.Occlusion(window=4)


def images(count, channels=1):
    return np.zeros((count, channels, 8, 8), np.float32)


@pytest.fixture
def client(server):
    with assay.Client(server.address) as client:
        yield client


@pytest.fixture(params=["threads", "asyncio", "asyncio from an asynchronous generator"])
def many(request, server):
    """explain_many of each client, up to its end or to the number of events that `leave_after` says."""
    if request.param == "threads":

        def run(parts, *args, leave_after=None, linger=0.0, **kwargs):
            found = []
            with assay.Client(server.address) as client:
                for event in client.explain_many("digits", parts, *args, **kwargs):
                    found.append(event)
                    if len(found) == leave_after:
                        time.sleep(linger)
                        break
            return found
    else:
        asynchronous = request.param != "asyncio"

        def run(parts, *args, leave_after=None, linger=0.0, **kwargs):
            async def later():
                try:
                    for part in parts:
                        await asyncio.sleep(0)
                        yield part
                finally:
                    if hasattr(parts, "close"):
                        parts.close()

            async def main():
                found = []
                async with assay.AsyncClient(server.address) as client:
                    given = later() if asynchronous else parts
                    stream = client.explain_many("digits", given, *args, **kwargs)
                    async for event in stream:
                        found.append(event)
                        if len(found) == leave_after:
                            await asyncio.sleep(linger)
                            break
                    await stream.aclose()
                return found

            return asyncio.run(main())

    return run


def instances(events):
    return [event for event in events if isinstance(event, assay.Instance)]


def gathered(stream):
    """The events up to the end or an error, and that error."""
    found = []
    try:
        for event in stream:
            found.append(event)  # noqa: PERF402
    except Exception as error:  # noqa: BLE001
        return found, error
    return found, None


def until(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it didn't happen in time")


# ---- what goes out and what comes back -------------------------------------------------------------


def test_instances_come_as_they_finish_by_their_place_in_the_whole(many, server):
    parts = [assay.Part(images(2), keys=["a", "b"]), {"image": images(3)}, images(1)]
    events = many(parts, METHOD, target=0, seed=3)
    assert [i.position for i in instances(events)] == [1, 0, 4, 3, 2, 5]
    assert all(i.attributions["image"].shape == (1, 8, 8) for i in instances(events))
    assert [type(event).__name__ for event in events[:2]] == ["Progress", "Instance"]
    end = events[-1]
    assert isinstance(end, assay.Explanation)
    assert end.instances == ()
    assert (end.model.ref, end.usage.rows_run, end.completion) == ("digits@1", 5, "full")


def test_the_first_message_has_the_settings_and_the_others_their_instances_alone(many, server):
    parts = [assay.Part(images(1), keys=["a"]), assay.Part(images(2), keys=["b", "c"])]
    many(parts, METHOD, target=2, seed=3, priority="low", request_id="mine")
    _, first, second = server.seen
    assert (first.model, first.seed, first.request_id, list(first.keys)) == ("digits@1", 3, "mine", ["a"])
    assert first.HasField("occlusion")
    assert first.targets[0].index.position == [2]
    assert {field.name for field, _ in second.ListFields()} == {"inputs", "keys"}
    assert list(second.keys) == ["b", "c"]


def test_a_bad_row_ends_nothing_unless_it_is_told_to(client, server):
    list(client.explain_many("digits", [images(1)], METHOD))
    list(client.explain_many("digits", [images(1)], METHOD, on_instance_error="fail"))
    assert [seen.on_instance_error for seen in server.seen[1::2]] == [2, 1]


def test_targets_of_instances_stand_in_their_parts(client, server):
    parts = [assay.Part(images(2), targets=[0, assay.Target(label="c")]), assay.Part(images(1), targets=[[0, 1]])]
    parts.append(assay.Part(images(1), targets=[[1]]))
    found = instances(client.explain_many("digits", parts, METHOD))
    first, second, _ = server.seen[1:]
    assert [each.targets[0].WhichOneof("element") for each in first.instance_targets] == ["index", "label"]
    assert not first.targets
    assert [target.index.position for target in second.instance_targets[0].targets] == [[0], [1]]
    assert [i.feature_values.shape for i in found] == [(4,), (4,), (2, 4), (1, 4)]


def test_parts_may_hold_instances_of_different_shapes(many):
    parts = [images(1, channels=3), images(2), images(1, channels=2)]
    found = instances(many(parts, METHOD))
    assert {i.position: i.attributions["image"].shape[0] for i in found} == {0: 3, 1: 1, 2: 1, 3: 2}


def test_stored_tensors_may_be_parts(client, server):
    digest = client.put_tensor(images(2, channels=3))
    unknown = "sha256:" + "0" * 64
    found = instances(client.explain_many("digits", [{"image": digest}, images(1)], METHOD))
    assert {i.position: i.attributions["image"].shape[0] for i in found} == {0: 3, 1: 3, 2: 1}
    with pytest.raises(assay.InvalidArgument, match="how many"):
        list(client.explain_many("digits", [{"image": unknown}], METHOD))
    list(client.explain_many("digits", [assay.Part({"image": unknown}, keys=["a"])], METHOD, validate_only=True))
    assert server.seen[-1].inputs["image"].digest == unknown


def test_no_parts_at_all_ask_for_nothing(many, server):
    events = many([], METHOD)
    assert [type(event).__name__ for event in events] == ["Explanation"]
    assert server.seen[-1].HasField("occlusion")
    assert not server.seen[-1].inputs


def test_a_validated_data_set_waits_for_no_answers(many):
    events = many((images(1) for _ in range(20)), METHOD, validate_only=True)
    assert instances(events) == []
    assert isinstance(events[-1], assay.Explanation)


def test_a_data_set_may_take_what_it_takes(client, server, monkeypatch):
    list(client.explain_many("digits", [images(1)], METHOD))
    server.delay_of_summary = 60
    with pytest.raises(assay.DeadlineExceeded):
        list(client.explain_many("digits", [images(1)], METHOD, timeout=0.3))


# ---- what is refused -------------------------------------------------------------------------------


def test_what_belongs_to_the_parts_is_refused_before_anything_is_sent(client, server):
    cases = [
        (lambda: client.explain_many("digits", [images(1)], METHOD, keys=["a"]), "keys"),
        (lambda: client.explain_many("digits", [images(1)], METHOD, assay.PerInstance([0])), "target"),
        (lambda: client.explain_many("digits", {"image": images(1)}, METHOD), "parts"),
        (lambda: client.explain_many("digits", images(4), METHOD), "parts"),
        (lambda: client.explain_many("digits", assay.Part(images(1)), METHOD), "parts"),
        (lambda: client.explain_many("digits", [images(1)], METHOD, priority="urgent"), "priority"),
    ]
    for make, field in cases:
        with pytest.raises(assay.InvalidArgument) as caught:
            make()
        assert caught.value.violations[0][0] == field
    assert all(type(seen).__name__ == "GetModelRequest" for seen in server.seen)


@pytest.mark.parametrize(
    ("part", "field"),
    [
        (assay.Part(images(1), targets=[1]), "targets"),
        (assay.Part(images(0)), "inputs"),
        (np.float32(1), "inputs[image]"),
        (np.zeros((1, 2), complex), "inputs[image]"),
        (assay.Part(images(1), keys=[3]), "keys"),
    ],
)
def test_what_is_wrong_with_a_part_is_told_after_the_answers_to_those_before(client, part, field):
    found, error = gathered(client.explain_many("digits", iter([images(2), part, images(1)]), METHOD, target=0))
    assert isinstance(error, assay.InvalidArgument)
    assert error.violations[0][0] == field
    assert len(instances(found)) == 2


def test_targets_of_a_part_are_a_list():
    with pytest.raises(assay.InvalidArgument, match="no list"):
        assay.requests.part_request({"x": images(1)}, targets=assay.Target(index=1))


def test_an_asynchronous_iterable_needs_the_client_for_asyncio(client):
    async def parts():
        yield images(1)

    with pytest.raises(assay.InvalidArgument, match="AsyncClient"):
        client.explain_many("digits", parts(), METHOD)


# ---- who waits for whom ----------------------------------------------------------------------------


class Counted:
    """A long generator of small parts that knows how many it made and whether it was closed."""

    def __init__(self, count=5000):
        self.count, self.made, self.closed = count, 0, threading.Event()

    def parts(self):
        try:
            for _ in range(self.count):
                self.made += 1
                yield images(1)
        finally:
            self.closed.set()


def test_a_caller_that_reads_no_answers_drains_no_generator(many):
    counted = Counted()
    found = many(counted.parts(), METHOD, leave_after=6, linger=0.3)
    assert len(instances(found)) == 3
    assert counted.made <= 3 + 3


def test_all_parts_come_to_one_that_reads(many):
    counted = Counted(300)
    assert len(instances(many(counted.parts(), METHOD))) == counted.made == 300
    assert counted.closed.is_set()


def test_leaving_early_cancels_the_call_and_closes_the_generator(many, server):
    counted = Counted()
    generator = counted.parts()  # held, or the garbage collector would close it
    many(generator, METHOD, leave_after=2)
    assert counted.closed.wait(5)
    until(lambda: server.left)
    assert counted.made < 10


def test_a_dropped_stream_is_a_left_one(client, server):
    counted = Counted()
    stream = client.explain_many("digits", counted.parts(), METHOD)
    next(stream)
    del stream
    gc.collect()
    assert counted.closed.wait(5)
    until(lambda: server.left)


def test_leaving_early_waits_for_no_garbage_collector(client, server):
    server.delay_of_summary = 60
    stream = client.explain_many("digits", [images(1)], METHOD)
    next(stream)
    call = stream.gi_frame.f_locals["call"]  # which cancels itself once it is collected
    stream.close()
    until(lambda: server.left)
    assert call.cancelled()


async def test_leaving_early_waits_for_no_garbage_collector_with_asyncio_either(server):
    server.delay_of_summary = 60
    async with assay.AsyncClient(server.address) as client:
        stream = client.explain_many("digits", [images(1)], METHOD)
        await anext(stream)
        call = stream.ag_frame.f_locals["call"]
        await stream.aclose()
        await asyncio.to_thread(until, lambda: server.left)
        assert call.cancelled()


def test_a_list_of_parts_is_left_as_it_was(client):
    parts = [images(1)] * 3
    for _ in range(2):
        assert len(instances(client.explain_many("digits", parts, METHOD))) == 3


def test_a_generator_that_is_busy_when_the_caller_leaves_is_closed_when_it_has_made_its_part(client):
    entered, go, closed = threading.Event(), threading.Event(), threading.Event()

    def parts():
        try:
            yield images(1)
            entered.set()
            go.wait(20)
            yield images(1)
        finally:
            closed.set()

    generator = parts()  # held, or the garbage collector would close it
    stream = client.explain_many("digits", generator, METHOD)
    next(stream)
    assert entered.wait(5)
    stream.close()
    assert not closed.is_set()
    go.set()
    assert closed.wait(5)


async def test_an_asynchronous_generator_that_waits_for_ever_is_given_up(server):
    ended = asyncio.Event()

    async def parts():
        try:
            yield images(1)
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with assay.AsyncClient(server.address) as client:
        stream = client.explain_many("digits", parts(), METHOD)
        async for event in stream:
            if isinstance(event, assay.Instance):
                break
        await asyncio.wait_for(stream.aclose(), 5)
        assert ended.is_set()
        assert (await client.info()).version == "0.1.0"


async def test_asynchronous_parts_are_made_in_the_event_loop_and_others_beside_it(server):
    makers = []

    async def in_loop():
        makers.append(threading.current_thread())
        yield images(1)

    def beside():
        makers.append(threading.current_thread())
        yield images(1)

    async with assay.AsyncClient(server.address) as client:
        for parts in (in_loop(), beside()):
            assert [e async for e in client.explain_many("digits", parts, METHOD)]
    here = threading.current_thread()
    assert [maker is here for maker in makers] == [True, False]


# ---- errors ----------------------------------------------------------------------------------------


class Broken(Exception):
    pass


@pytest.mark.parametrize("after", [0, 1, 5])
def test_what_the_generator_raises_is_raised_here_after_the_answers_so_far(many, after):
    def parts():
        for _ in range(after):
            yield images(1)
        raise Broken("row 7 is gone") from KeyError("row")

    with pytest.raises(Broken, match="row 7") as caught:
        many(parts(), METHOD)
    assert isinstance(caught.value.__cause__, KeyError)


def test_answers_to_the_parts_before_a_broken_one_are_not_lost(client):
    def parts():
        for _ in range(5):
            yield images(1)
        raise Broken

    found, error = gathered(client.explain_many("digits", parts(), METHOD))
    assert isinstance(error, Broken)
    assert [i.position for i in instances(found)] == [0, 1, 2, 3, 4]


class Refusing(FakeServer):
    def ExplainMany(self, request_iterator, context):  # noqa: N802
        next(request_iterator)
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")


def test_what_the_server_refuses_is_told_as_it_is():
    with serving(Refusing()) as refusing, assay.Client(refusing.address) as client:
        for _ in range(20):
            counted = Counted()
            with pytest.raises(assay.PermissionDenied, match="not you"):
                list(client.explain_many("digits", counted.parts(), METHOD))
            assert counted.closed.wait(5)


async def test_an_early_refusal_keeps_its_words_for_asyncio_too():
    with serving(Refusing()) as refusing:
        async with assay.AsyncClient(refusing.address) as client:
            for _ in range(20):
                with pytest.raises(assay.PermissionDenied, match="not you") as caught:
                    async for _ in client.explain_many("digits", [images(1)] * 9, METHOD, request_id="mine"):
                        pass
                assert caught.value.request_id == "mine"


def test_a_stream_without_its_end_is_an_error(many, server):
    server.summarises = False
    with pytest.raises(assay.Internal, match="without its summary"):
        many([images(1)], METHOD)


def test_an_answer_that_nobody_waits_for_is_an_error():
    class Confused(FakeServer):
        def _events(self, results):
            for result in results:
                result.position += 7
            return super()._events(results)

    with serving(Confused()) as confused, assay.Client(confused.address) as client:
        _, error = gathered(client.explain_many("digits", [images(1)], METHOD))
    assert isinstance(error, assay.Internal)
    assert "position 7" in str(error)


async def test_cancelling_the_task_cancels_the_call(server):
    server.delay_of_summary = 60

    async with assay.AsyncClient(server.address) as client:

        async def run():
            async for _ in client.explain_many("digits", [images(1)], METHOD):
                pass

        task = asyncio.create_task(run())
        await asyncio.to_thread(until, lambda: any(type(seen).__name__ == "ExplainRequest" for seen in server.seen))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(until, lambda: server.left)


async def test_closing_the_client_ends_a_data_set_with_an_error(server):
    server.delay_of_summary = 60
    client = assay.AsyncClient(server.address)

    async def run():
        async for _ in client.explain_many("digits", [images(1)], METHOD, request_id="mine"):
            pass

    task = asyncio.create_task(run())
    await asyncio.to_thread(until, lambda: any(type(seen).__name__ == "ExplainRequest" for seen in server.seen))
    await client.close()
    with pytest.raises(assay.Cancelled):
        await asyncio.wait_for(task, 5)


def test_nothing_of_an_instance_is_kept_once_it_was_handed_on(client):
    stream = client.explain_many("digits", (images(4) for _ in range(50)), METHOD)
    for event in stream:
        if isinstance(event, assay.Instance) and event.position == 40:
            break
    reader = stream.gi_frame.f_locals["stream"].reader
    assert reader._instances == []
    assert reader._contents == {}
    stream.close()
