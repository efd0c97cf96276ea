"""Around every call: its id, its errors, its log line, its metrics, and a context that is left alone in time."""

import asyncio
import gc
import logging
from types import SimpleNamespace

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from assay.v1 import explain_service_pb2, model_service_pb2, server_service_pb2
from assayd.api.call import CURRENT
from assayd.api.deadlines import Deadlines
from assayd.api.interceptor import CallInterceptor
from assayd.api.unread import Unread
from assayd.errors import DeadlinePassed, QueueFull
from assayd.metrics import Metrics
from tests.unit.explain.made import until

RPC = "ExplainService/Explain"


class Aborted(grpc.aio.AbortError):
    pass


class Context:
    """What a servicer's context does, and a crash where it is touched after its call ended."""

    def __init__(self, metadata=(), left=None):
        self.metadata, self.left = metadata, left
        self.trailing, self.aborted, self.ended = None, None, False

    def _alive(self):
        assert not self.ended, "the context was touched after its call: this once crashed the process"

    def peer(self):
        return "ipv4:127.0.0.1:9"

    def time_remaining(self):
        return self.left

    def invocation_metadata(self):
        return self.metadata

    def set_trailing_metadata(self, trailing):
        self._alive()
        self.trailing = trailing

    async def abort(self, code, message, trailing):
        self._alive()
        self.aborted, self.trailing = (code, message), trailing
        raise Aborted


@pytest.fixture
def interceptor():
    return CallInterceptor(Metrics())


async def wrapped(interceptor, behaviour, streams=False, rpc=RPC, service=""):
    handler = SimpleNamespace(
        request_streaming=False, response_streaming=streams, request_deserializer=None, response_serializer=None,
        unary_unary=None if streams else behaviour, unary_stream=behaviour if streams else None, stream_unary=None,
        stream_stream=None,
    )  # fmt: skip

    async def continuation(_):
        return handler

    got = await interceptor.intercept_service(continuation, SimpleNamespace(method=service or f"/assay.v1.{rpc}"))
    answer = got.stream_stream if streams else got.stream_unary
    return lambda raw, context: answer(sent(raw), context)


async def sent(*raws):
    for raw in raws:
        yield raw


async def call(interceptor, behaviour, context=None):
    return await (await wrapped(interceptor, behaviour))("request", context or Context())


async def ok(request, context):
    return CURRENT.get()


def ended(interceptor, code, method="-"):
    labels = {"rpc": RPC, "method": method, "code": code}
    return interceptor._metrics.registry.get_sample_value("assayd_requests_total", labels)


def in_flight(interceptor):
    return interceptor._metrics.registry.get_sample_value("assayd_requests_in_flight", {"rpc": RPC})


async def test_a_call_gets_an_id_and_tells_it(interceptor):
    context = Context()
    seen = await call(interceptor, ok, context)
    assert seen.request_id
    assert context.trailing == (("x-request-id", seen.request_id),)
    assert seen.rpc == RPC
    assert (await call(interceptor, ok)).request_id != seen.request_id


@pytest.mark.parametrize("given", ["mine", "x" * 128, "order 4711 (again)"])
async def test_the_callers_own_id_is_kept(interceptor, given):
    assert (await call(interceptor, ok, Context([("x-request-id", given)]))).request_id == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a\nb", "ü", b"bytes\xff"])
async def test_an_id_that_can_not_stand_in_headers_and_logs_is_not(interceptor, given):
    got = (await call(interceptor, ok, Context([("x-request-id", given)]))).request_id
    assert got != given
    assert len(got) == 32 or got == str(given)


async def test_the_message_of_a_call_is_let_go_of_with_the_call(interceptor):
    """gRPC's iterator of messages refers to itself, and would keep the one it gave last."""
    closed = []

    async def messages():
        try:
            yield "request"
            yield "never asked for"
        finally:
            closed.append(True)

    raws = messages()  # held here, so that nobody else closes it

    async def continuation(_):
        return grpc.unary_unary_rpc_method_handler(ok)

    got = await interceptor.intercept_service(continuation, SimpleNamespace(method=f"/assay.v1.{RPC}"))
    await got.stream_unary(raws, Context())
    assert closed


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(("given", "kept"), [(TRACE, TRACE), (TRACE.upper(), ""), (TRACE + "-x", ""), ("", "")])
async def test_a_trace_is_kept_where_it_is_one(interceptor, given, kept):
    context = Context([("traceparent", given)])
    assert (await call(interceptor, ok, context)).traceparent == kept
    assert ("traceparent" in dict(context.trailing)) is bool(kept)


async def test_the_deadline_is_counted_from_arrival(interceptor):
    timed = await call(interceptor, ok, Context(left=5.0))
    assert timed.deadline - timed.arrived == pytest.approx(5.0)


RPCS = [
    f"{service.name}/{method}"
    for file in (model_service_pb2, explain_service_pb2, server_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods_by_name
]


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize("streams", [False, True])
async def test_a_deadline_that_is_too_far_away_is_refused_whatever_is_called(rpc, streams):
    async def run(request, context):
        raise AssertionError("it was answered")
        yield

    interceptor = CallInterceptor(Metrics(), deadlines=Deadlines(1.0, 60.0))
    context = Context(left=61.0)
    answer = await wrapped(interceptor, run, streams, rpc)
    with pytest.raises(Aborted):
        await read(answer("request", context), []) if streams else await answer("request", context)
    assert context.aborted[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert "the deadline is 61 s away, at most 60 s are kept" in context.aborted[1]


@pytest.mark.parametrize("rpc", [rpc for rpc in RPCS if not rpc.endswith(("/ExplainStream", "/ExplainMany"))])
async def test_a_call_that_sets_no_deadline_is_ended_by_the_servers(rpc):
    async def wait(request, context):
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(CURRENT.get().rpc)

    stopped = []
    interceptor = CallInterceptor(Metrics(), deadlines=Deadlines(0.01, 0.02))
    context = Context()
    with pytest.raises(Aborted):
        async with asyncio.timeout(10):
            await (await wrapped(interceptor, wait, rpc=rpc))("request", context)
    left = "0.02" if rpc.endswith("/UploadModel") else "0.01"
    said = f"a call that sets no deadline has {left} s here"
    assert context.aborted == (grpc.StatusCode.DEADLINE_EXCEEDED, said)
    assert stopped == [rpc]


async def test_a_call_that_sets_a_deadline_is_left_to_the_library(interceptor):
    async def wait(request, context):
        await asyncio.sleep(0.05)
        return CURRENT.get()

    interceptor = CallInterceptor(Metrics(), deadlines=Deadlines(0.01, 60.0))
    assert (await call(interceptor, wait, Context(left=50.0))).deadline is not None


async def test_a_time_out_of_another_kind_is_not_the_deadlines(interceptor):
    async def broken(request, context):
        raise TimeoutError("a disk's")

    context = Context()
    with pytest.raises(Aborted):
        await call(interceptor, broken, context)
    assert context.aborted[0] is grpc.StatusCode.INTERNAL


async def test_good_calls_are_counted_and_leave(interceptor):
    await call(interceptor, ok)
    assert (ended(interceptor, "OK"), in_flight(interceptor)) == (1, 0)
    await asyncio.sleep(0)


async def test_a_domain_error_becomes_its_status_with_details_and_id(interceptor):
    async def refuse(request, context):
        CURRENT.get().method = "occlusion"
        raise QueueFull("full", retry_after_s=2)

    context = Context([("x-request-id", "mine")])
    with pytest.raises(Aborted):
        await call(interceptor, refuse, context)
    assert context.aborted == (grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    trailing = dict(context.trailing)
    assert trailing["x-request-id"] == "mine"
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    assert [d.TypeName().rpartition(".")[2] for d in status.details] == ["ErrorInfo", "RetryInfo"]
    assert ended(interceptor, "RESOURCE_EXHAUSTED", "occlusion") == 1
    assert in_flight(interceptor) == 0


async def test_of_a_bug_the_caller_gets_an_incident_and_the_log_the_rest(interceptor, caplog):
    async def broken(request, context):
        raise KeyError("/etc/passwd is secret")

    context = Context()
    with caplog.at_level(logging.INFO), pytest.raises(Aborted):
        await call(interceptor, broken, context)
    code, message = context.aborted
    assert code is grpc.StatusCode.INTERNAL
    status = status_pb2.Status.FromString(dict(context.trailing)["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    incident = info.metadata["incident"]
    assert incident in message
    assert b"secret" not in status.SerializeToString()
    (bug,) = [r for r in caplog.records if r.message == "bug"]
    assert bug.incident == incident
    assert "secret" in caplog.text
    (line,) = [r for r in caplog.records if r.message == "call"]
    assert (line.incident, line.code) == (incident, "INTERNAL")


async def test_an_aborted_call_is_not_aborted_again(interceptor):
    async def abort(request, context):
        await context.abort(grpc.StatusCode.NOT_FOUND, "no", ())

    context = Context()
    with pytest.raises(Aborted):
        await call(interceptor, abort, context)
    assert context.aborted == (grpc.StatusCode.NOT_FOUND, "no")


async def test_while_draining_new_calls_are_refused_and_told_to_come_back(interceptor):
    interceptor.draining = True
    ran = []

    async def run(request, context):
        ran.append(1)

    context = Context()
    with pytest.raises(Aborted):
        await call(interceptor, run, context)
    assert context.aborted[0] is grpc.StatusCode.UNAVAILABLE
    assert not ran
    status = status_pb2.Status.FromString(dict(context.trailing)["grpc-status-details-bin"])
    assert any(d.TypeName().endswith("RetryInfo") for d in status.details)


async def test_calls_in_flight_are_counted_until_their_task_ends(interceptor):
    going = asyncio.Event()

    async def wait(request, context):
        await going.wait()

    tasks = [asyncio.create_task(call(interceptor, wait)) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert interceptor.in_flight == 3
    assert in_flight(interceptor) == 3
    going.set()
    await asyncio.gather(*tasks)
    await asyncio.sleep(0)
    assert interceptor.in_flight == 0


@pytest.mark.parametrize(("left", "code"), [(None, "CANCELLED"), (60.0, "CANCELLED"), (-0.1, "DEADLINE_EXCEEDED")])
async def test_a_cancelled_call_ends_without_a_word_to_its_context(interceptor, left, code):
    async def wait(request, context):
        await asyncio.Event().wait()

    context = Context(left=left)
    task = asyncio.create_task(call(interceptor, wait, context))
    await asyncio.sleep(0.01)
    context.ended = True
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended(interceptor, code) == 1
    assert in_flight(interceptor) == 0


async def too_late(request, context):
    raise DeadlinePassed("too late")


async def test_at_the_caller_s_deadline_the_library_goes_first(interceptor):
    context = Context(left=0.0)
    task = asyncio.create_task(call(interceptor, too_late, context))
    await until(lambda: ended(interceptor, "DEADLINE_EXCEEDED"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert context.aborted is None


@pytest.mark.parametrize("left", [0.0, None])
async def test_where_it_does_nothing_the_caller_hears_it_from_us(interceptor, left):
    context = Context(left=left)
    with pytest.raises(Aborted):
        await call(interceptor, too_late, context)
    assert context.aborted == (grpc.StatusCode.DEADLINE_EXCEEDED, "too late")
    assert ended(interceptor, "DEADLINE_EXCEEDED") == 1


async def taking(seconds, made):
    """What the library does: takes messages, and writes each of them."""
    async for _ in made:
        await asyncio.sleep(seconds)


async def test_a_stream_that_nobody_reads_is_ended():
    interceptor = CallInterceptor(Metrics(), unread=Unread(0.05))
    stream = await wrapped(interceptor, count, streams=True)
    task = asyncio.create_task(taking(1000, stream("request", Context())))
    async with asyncio.timeout(30):
        await asyncio.wait([task])
    assert task.cancelled()
    del task
    gc.collect()  # what it held of the stream is closed then
    await until(lambda: ended(interceptor, "CANCELLED") == 1)


async def test_an_answer_that_nobody_reads_is_ended(interceptor):
    async def answer_and_write():
        await call(CallInterceptor(Metrics(), unread=Unread(0.05)), ok)
        await asyncio.sleep(1000)

    task = asyncio.create_task(answer_and_write())
    async with asyncio.timeout(30):
        await asyncio.wait([task])
    assert task.cancelled()


async def test_who_reads_slowly_and_steadily_is_not():
    interceptor = CallInterceptor(Metrics(), unread=Unread(2.0))
    stream = await wrapped(interceptor, count, streams=True)
    await taking(0.75, stream("request", Context()))
    assert ended(interceptor, "OK") == 1


async def count(request, context):
    for n in range(3):
        yield n


async def test_a_stream_passes_on_what_it_gets(interceptor):
    context = Context([("x-request-id", "mine")])
    stream = await wrapped(interceptor, count, streams=True)
    assert [n async for n in stream("request", context)] == [0, 1, 2]
    assert dict(context.trailing)["x-request-id"] == "mine"
    assert ended(interceptor, "OK") == 1


async def read(stream, into):
    async for item in stream:
        into.append(item)


async def test_a_stream_that_fails_half_way_is_aborted_with_its_status(interceptor):
    async def half(request, context):
        yield 0
        raise QueueFull("full")

    context, seen = Context(), []
    stream = await wrapped(interceptor, half, streams=True)
    with pytest.raises(Aborted):
        await read(stream("request", context), seen)
    assert seen == [0]
    assert context.aborted[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("how", ["closed", "forgotten", "cancelled"])
async def test_a_stream_whose_caller_left_never_touches_the_context_again(interceptor, how):
    closed = asyncio.Event()

    async def endless(request, context):
        try:
            while True:
                yield 0
                await asyncio.sleep(0.005)
        finally:
            closed.set()

    context = Context()
    stream = (await wrapped(interceptor, endless, streams=True))("request", context)
    if how == "cancelled":
        reader = asyncio.create_task(read(stream, []))
        await asyncio.sleep(0.02)
        context.ended = True
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        del reader
    else:
        await anext(stream)
        context.ended = True
        if how == "closed":
            await stream.aclose()
    del stream
    gc.collect()
    await closed.wait()
    await until(lambda: ended(interceptor, "CANCELLED") is not None)
    assert context.trailing is None
    assert context.aborted is None
    assert in_flight(interceptor) == 0


async def others(interceptor, behaviour, streams=False, service="/grpc.health.v1.Health/Check"):
    return await wrapped(interceptor, behaviour, streams, service=service)


async def test_health_is_answered_whoever_asks_and_its_message_is_held(interceptor):
    room = interceptor._room
    held = []

    async def check(request, context):
        held.append(room.bytes)
        return request

    answer = asyncio.create_task((await others(interceptor, check))(b"request", Context()))
    assert await answer == b"request"
    assert held == [len(b"request")]
    await asyncio.sleep(0)
    assert room.bytes == 0


async def test_a_stream_of_another_service_may_write_by_itself(interceptor):
    async def watch(request, context):
        context.trailing = request

    async def each(request, context):
        yield request

    context = Context()
    assert [a async for a in (await others(interceptor, watch, True))(b"1", context)] == []
    assert context.trailing == b"1"
    assert [a async for a in (await others(interceptor, each, True))(b"2", context)] == [b"2"]


async def test_unknown_calls_pass_through(interceptor):
    async def unknown(_):
        return None

    ours = SimpleNamespace(method="/assay.v1.ExplainService/Divine")
    assert await interceptor.intercept_service(unknown, ours) is None
