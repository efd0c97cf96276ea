"""A request's run as a stream of events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, TypeAlias

from assay.v1 import explain_pb2
from assay.v1 import explain_service_pb2 as pb
from assayd.api.codec.responses import numbers_in
from assayd.explain.explainer import OnInstance, Result
from assayd.explain.outcome import Explained
from assayd.scheduler.work import Job
from assayd.store.digests import digest_of

CHUNK_BYTES = 1024 * 1024
PROGRESS_SECONDS = 0.1
SMALL_VALUES = 4096
"""Numbers that are written in less time than the way to another thread and back takes."""

Encode: TypeAlias = Callable[[Result], explain_pb2.InstanceResult]


async def events(
    run: Callable[[OnInstance], Awaitable[Explained]],
    job: Job,
    instances: int,
    encode: Encode,
) -> AsyncIterator[pb.ExplainStreamResponse | Explained]:
    """Progress at most ten times a second, each instance as it finishes, what `run` returns at the end.

    A caller that leaves, or reads no more, cancels the run.
    """
    finished: asyncio.Queue[Result] = asyncio.Queue()
    done = 0
    task = asyncio.ensure_future(run(finished.put_nowait))
    try:
        yield progress(job, done, instances)
        async for result in arrivals(finished, task):
            if result is None:
                yield progress(job, done, instances)
                continue
            done += 1
            async for event in chunked(await encoded(encode, result)):
                yield event
        yield await task
    finally:
        task.cancel()


async def encoded(encode: Encode, result: Result) -> explain_pb2.InstanceResult:
    """An instance's answer; a large one is written on another thread."""
    if numbers_in(result) > SMALL_VALUES:
        return await asyncio.to_thread(encode, result)
    return encode(result)


async def arrivals(queue: asyncio.Queue[Any], source: asyncio.Future[Any]) -> AsyncIterator[Any]:
    """What `source` puts into the queue until it is done; None where progress is due, however fast the rest comes.

    The queue is for nobody else, and gets a None at the end.
    """
    told = time.monotonic()
    # Woken by the queue alone: to wait for two things takes two tasks for each of them.
    source.add_done_callback(lambda _: queue.put_nowait(None))
    while not (source.done() and queue.empty()):
        arrived = None
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, told + PROGRESS_SECONDS - time.monotonic())):
                arrived = await queue.get()
        if arrived is not None:
            yield arrived
        if time.monotonic() >= told + PROGRESS_SECONDS:
            yield None
            told = time.monotonic()


def progress(job: Job, done: int, instances: int) -> pb.ExplainStreamResponse:
    """How far a job is."""
    said = pb.Progress(
        rows_done=job.usage.rows_run,
        rows_planned=job.usage.rows_planned,
        instances_done=done,
        instances=instances,
    )
    return pb.ExplainStreamResponse(progress=said)


async def chunked(result: explain_pb2.InstanceResult) -> AsyncIterator[pb.ExplainStreamResponse]:
    """An instance, its large tensors ahead of it in parts and by digest inside it."""
    rows = result.rows
    named = (result.feature_values, result.feature_errors, rows.keep, rows.scores, rows.features, rows.steps)
    blocks = [tensor for block in result.jacobian for tensor in (block.values, block.errors)]
    for tensor in (*named, *blocks, *rows.samples.values(), *result.maps.values(), *result.map_errors.values()):
        data = tensor.data
        if len(data) > CHUNK_BYTES:
            digest = await asyncio.to_thread(digest_of, data)
            for part in _parts(data, digest):
                yield part
            tensor.digest = digest
    yield pb.ExplainStreamResponse(instance=result)


def _parts(data: bytes, digest: str) -> Iterator[pb.ExplainStreamResponse]:
    for offset in range(0, len(data), CHUNK_BYTES):
        chunk = pb.TensorChunk(
            digest=digest, offset=offset, size_bytes=len(data), data=data[offset : offset + CHUNK_BYTES]
        )
        yield pb.ExplainStreamResponse(chunk=chunk)
