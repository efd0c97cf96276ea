from __future__ import annotations

import asyncio
import gc
import threading

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

import assay
from assay.uploads import CHUNK_BYTES
from tests.unit.client.fake_server import DIGEST, FakeServer, digits, serving

IMAGES = np.zeros((2, 1, 8, 8), np.float32)
NAMED = {"image": IMAGES}
METHOD = assay.Occlusion(window=4)


@pytest.fixture
async def client(server):
    async with assay.AsyncClient(server.address) as client:
        yield client


def names(server):
    return [type(seen).__name__ for seen in server.seen]


async def until(condition):
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it didn't happen in time")


async def collected(stream):
    return [event async for event in stream]


# ---- models and tensors ----------------------------------------------------------------------------


async def test_upload_streams_a_path_and_bytes_in_chunks(client, server, tmp_path):
    content = bytes(range(256)) * (CHUNK_BYTES // 256) * 2 + b"end"
    path = tmp_path / "digits.onnx"
    path.write_bytes(content)
    for source in (path, content):
        model = await client.upload_model(source, name="digits", version="7")
        assert (model.ref, model.digest) == ("digits@1", DIGEST)
        assert [len(part.chunk) for part in server.seen[-1][1:]] == [CHUNK_BYTES, CHUNK_BYTES, 3]


async def test_files_are_read_beside_the_event_loop(client, monkeypatch, tmp_path):
    path = tmp_path / "digits.onnx"
    path.write_bytes(b"onnx")
    readers = set()
    monkeypatch.setattr("assay.uploads._chunks", lambda file: readers.add(threading.current_thread()) or iter([b"x"]))
    await client.upload_model(path, name="digits")
    assert readers
    assert threading.current_thread() not in readers


async def test_a_missing_file_is_told_before_anything_is_sent(client, server, tmp_path):
    with pytest.raises(FileNotFoundError):
        await client.upload_model(tmp_path / "none.onnx", name="digits")
    assert server.seen == []


async def test_an_upload_refused_at_once_says_why():
    class Refusing(FakeServer):
        def UploadModel(self, request_iterator, context):  # noqa: N802
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")

    with serving(Refusing()) as server:
        async with assay.AsyncClient(server.address) as client:
            for _ in range(20):
                with pytest.raises(assay.PermissionDenied, match="not you"):
                    await client.upload_model(bytes(8 << 20), name="digits")


async def test_models_tensors_and_info(client, server):
    assert [model.ref for model in await client.models("digits")] == ["digits@1", "digits@2"]
    assert (await client.get_model("digits")).ref == "digits@1"
    assert await client.delete_model("digits") == 2
    digest = await client.put_tensor(np.zeros((1, 3, 8, 8), np.float32))
    ex = await client.explain("digits", {"image": digest}, METHOD)
    assert ex.attributions["image"].shape == (1, 3, 8, 8)
    assert (await client.info()).methods == {"occlusion": 1}
    assert (await client.predict("digits", NAMED))["logits"].tolist() == [[0.5, 2.0, -1.0]]


async def test_models_that_never_change_are_remembered_and_deleted_ones_forgotten(client, server):
    await client.get_model("digits@1")
    await client.explain("digits@1", IMAGES, METHOD)
    await client.predict(DIGEST, IMAGES)
    await client.delete_model("digits")
    await client.explain("digits@1", IMAGES, METHOD)
    looked_up = ["GetModelRequest", "ExplainRequest"]
    assert names(server) == [*looked_up, "PredictRequest", "DeleteModelRequest", *looked_up]


async def test_a_bare_name_is_looked_up_each_time_since_it_may_be_newer(client, server):
    await client.explain("digits", IMAGES, METHOD)
    server.model = digits("2")
    await collected(client.explain_stream("digits", IMAGES, METHOD))
    assert names(server) == ["GetModelRequest", "ExplainRequest"] * 2
    assert [server.seen[1].model, server.seen[3].model] == ["digits@1", "digits@2"]


# ---- streams ---------------------------------------------------------------------------------------


async def test_the_stream_yields_progress_instances_and_the_explanation(client, server):
    events = await collected(client.explain_stream("digits", NAMED, METHOD, target=[0], seed=3))
    assert [type(event).__name__ for event in events] == ["Progress", "Instance", "Instance", "Explanation"]
    assert server.seen[0].seed == 3
    whole = await client.explain("digits", NAMED, METHOD, target=[0])
    np.testing.assert_array_equal(events[3].attributions["image"], whole.attributions["image"])


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "dropped"])
async def test_a_stream_left_early_ends_on_the_server_and_the_client_goes_on(client, server, closed):
    server.delay_of_summary = 60
    stream = client.explain_stream("digits", NAMED, METHOD)
    async for _ in stream:
        break
    if closed:
        await stream.aclose()
    del stream
    gc.collect()
    await until(lambda: server.left)
    assert (await client.info()).version == "0.1.0"


async def test_a_stream_without_its_end_is_an_error(client, server):
    server.summarises = False
    with pytest.raises(assay.Internal, match="without its summary"):
        await collected(client.explain_stream("digits", NAMED, METHOD))


# ---- giving up -------------------------------------------------------------------------------------


def started(client, kind):
    if kind == "upload":
        return asyncio.create_task(client.upload_model(b"onnx", name="digits"))
    if kind == "call":
        return asyncio.create_task(client.explain("digits", NAMED, METHOD, request_id="mine"))
    return asyncio.create_task(collected(client.explain_stream("digits", NAMED, METHOD, request_id="mine")))


@pytest.mark.parametrize("kind", ["call", "stream", "upload"])
async def test_cancelling_a_task_cancels_its_call_on_the_server(client, server, kind):
    server.delay = 60
    task = started(client, kind)
    await until(lambda: server.seen)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: server.left)
    server.delay = 0
    assert (await client.info()).version == "0.1.0"


async def test_a_wait_with_a_limit_of_its_own(client, server):
    server.delay = 60
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(client.explain("digits", NAMED, METHOD), 0.1)
    await until(lambda: server.left)


async def test_too_little_time(client, server):
    server.delay = 60
    with pytest.raises(assay.DeadlineExceeded):
        await client.info(timeout=0.05)


@pytest.mark.parametrize("kind", ["call", "stream", "upload"])
async def test_closing_ends_calls_under_way_with_an_error_and_no_cancelled_task(server, kind):
    server.delay = 60
    client = assay.AsyncClient(server.address)
    task = started(client, kind)
    await until(lambda: server.seen)
    await client.close()
    with pytest.raises(assay.Cancelled) as caught:
        await asyncio.wait_for(task, 5)
    assert (caught.value.request_id == "mine") == (kind != "upload")
    assert not task.cancelled()


async def test_a_closed_client_opens_no_second_connection(server):
    for opened in (True, False):
        client, plain = assay.AsyncClient(server.address), assay.Client(server.address)
        if opened:
            assert plain.info() == await client.info()
        for _ in range(2):
            await client.close()
            plain.close()
        for call in (client.info(), client.upload_model(b"onnx", name="digits")):
            with pytest.raises(ValueError, match="closed"):
                await call
        with pytest.raises(ValueError, match="closed"):
            plain.info()


# ---- errors, identities, company -------------------------------------------------------------------


async def test_errors_of_calls_and_streams_carry_their_details(client, server):
    status = status_pb2.Status(code=5, message="no model 'digits'")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="MODEL_NOT_FOUND", metadata={"model": "digits"}))
    server.status = status
    server.trailers = (("grpc-status-details-bin", status.SerializeToString()), ("x-request-id", "theirs"))
    calls = [
        client.explain("digits", NAMED, METHOD, request_id="mine"),
        collected(client.explain_stream("digits", NAMED, METHOD)),
        client.upload_model(b"x", name="digits"),
        client.info(),
    ]
    for call in calls:
        with pytest.raises(assay.NotFound) as caught:
            await call
        assert caught.value.reason == "MODEL_NOT_FOUND"
        assert caught.value.metadata == {"model": "digits"}
        assert caught.value.request_id == "theirs"
        assert caught.value.__cause__ is not None


async def test_what_cannot_be_sent_is_refused_here(client, server):
    with pytest.raises(assay.InvalidArgument):
        await client.explain("digits", NAMED, METHOD, priority="urgent")
    with pytest.raises(TypeError, match="colour"):
        await collected(client.explain_stream("digits", NAMED, METHOD, colour=1))
    assert server.seen == []


async def test_no_server_is_unavailable_and_named_by_the_callers_id():
    async with assay.AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(assay.Unavailable) as caught:
            await client.explain("digits", NAMED, METHOD, request_id="mine")
    assert caught.value.request_id == "mine"


async def test_every_call_has_token_trace_and_an_id_of_its_own(server):
    async with assay.AsyncClient(server.address, token="secret", traceparent=lambda: "00-a-b-01") as client:
        await client.info()
        await client.explain("digits", NAMED, METHOD)
        await collected(client.explain_stream("digits", NAMED, METHOD))
    assert len({metadata["x-request-id"] for metadata in server.metadata}) == 3
    assert [seen.request_id for seen in server.seen[1:]] == [m["x-request-id"] for m in server.metadata[1:]]
    for metadata in server.metadata:
        assert metadata["authorization"] == "Bearer secret"
        assert metadata["traceparent"] == "00-a-b-01"


async def test_calls_wait_side_by_side_and_get_their_own_answers():
    class Together(FakeServer):
        """Answers only once four callers wait."""

        four = threading.Barrier(4, timeout=20)

        def Explain(self, request, context):  # noqa: N802
            self.four.wait()
            return super().Explain(request, context)

    with serving(Together()) as server:
        async with assay.AsyncClient(server.address) as client:
            ids = [str(n) for n in range(32)]
            found = await asyncio.gather(*(client.explain("digits", NAMED, METHOD, request_id=i) for i in ids))
    assert [ex.request_id for ex in found] == ids


def test_a_client_may_be_made_before_its_event_loop(server):
    client = assay.AsyncClient(server.address)

    async def ask():
        async with client:
            return await client.info()

    assert asyncio.run(ask()).version == "0.1.0"
