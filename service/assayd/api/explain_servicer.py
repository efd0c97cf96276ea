"""assay.v1.ExplainService."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from assay.v1 import explain_service_pb2 as pb
from assay.v1 import explain_service_pb2_grpc
from assay.v1.explain_pb2 import ON_BUDGET_PARTIAL, InstanceResult
from assayd.api.auth.quotas import Quotas
from assayd.api.call import CURRENT, Call
from assayd.api.catalogue import Catalogue, Resolved
from assayd.api.codec.as_sent import OF_INSTANCES
from assayd.api.codec.memo import Memo, Settings
from assayd.api.codec.requests import check_request_id, decode_caller, decode_explain, decode_predict
from assayd.api.codec.responses import (
    encode_explained,
    encode_instance,
    encode_predicted,
    encode_summary,
    numbers_in,
)
from assayd.api.codec.tensors import Fetch
from assayd.api.codec.vet import vet, vet_wrapped
from assayd.api.data_set import DataSet, settings_of
from assayd.api.status import to_status
from assayd.api.streaming import SMALL_VALUES, events
from assayd.errors import InvalidRequest, TooLarge
from assayd.explain.explainer import Explainer, OnInstance, Result
from assayd.explain.outcome import Explained, InstanceExplained
from assayd.explain.predictor import Predictor
from assayd.explain.request import ExplainRequest
from assayd.scheduler.scheduler import Scheduler
from assayd.scheduler.work import Job
from assayd.types.arrays import Array

_SMALL_BYTES = 32 * 1024
"""What takes less time than the way to another thread and back."""

Context = grpc.aio.ServicerContext[Any, Any]
SettingsOf = Callable[[Fetch], Settings]


class ExplainServicer(explain_service_pb2_grpc.ExplainServiceServicer):
    """Explains and predicts. max_message_bytes: largest answer. part_s: longest wait for a part, as in `DataSet`."""

    def __init__(
        self,
        catalogue: Catalogue,
        explainer: Explainer,
        predictor: Predictor,
        scheduler: Scheduler,
        *,
        max_message_bytes: int,
        part_s: float,
        quotas: Quotas | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._explainer = explainer
        self._predictor = predictor
        self._scheduler = scheduler
        self._max_message_bytes = max_message_bytes
        self._part_s = part_s
        self._quotas = quotas or Quotas()
        self._memo = Memo()

    async def Explain(self, request: pb.ExplainRequest, context: Context) -> bytes:
        """Explain all instances and answer once, by a message that is written already."""
        call = CURRENT.get()
        found = self._memo.look_up(request, call.tenant)
        vet(request, only=OF_INSTANCES if found.known is not None else None)
        decoded, job = await self._decode(request, call, found.settings)
        explained = await self._run(decoded, job, call, _counted(call))
        answer = partial(self._answer, decoded, explained, call, request)
        small = sum(map(numbers_in, explained.results)) <= SMALL_VALUES
        return answer() if small else await asyncio.to_thread(answer)

    async def ExplainStream(
        self, request: pb.ExplainStreamRequest, context: Context
    ) -> AsyncIterator[pb.ExplainStreamResponse]:
        """Explain all instances, sending each as it finishes."""
        call = CURRENT.get()
        vet_wrapped(request)
        decoded, job = await self._decode(request.request, call, self._later(request.request, call))
        encode = partial(encode_instance, shapes=_shapes(decoded), element_maps=_wants_maps(request.request))

        def run(on_instance: OnInstance) -> Awaitable[Explained]:
            return self._run(decoded, job, call, _counted(call, on_instance))

        async for event in events(run, job, decoded.instances, partial(encode, to_status=to_status)):
            if isinstance(event, Explained):
                summary = encode_explained(event, decoded.model, call.request_id)
                yield pb.ExplainStreamResponse(summary=summary)
            else:
                yield event

    async def ExplainMany(
        self, request_iterator: AsyncIterator[pb.ExplainManyRequest], context: Context
    ) -> AsyncIterator[pb.ExplainManyResponse]:
        """Explain a stream of parts, sending each instance as it finishes."""
        call = CURRENT.get()
        opening = await anext(request_iterator, None)
        if opening is None:
            raise InvalidRequest("no message came: the first one holds the settings", field="request")
        settings, first = settings_of(opening)
        job = self._job(settings, call, data_set=True)
        # Once for all parts: a bare name may get a newer version meanwhile.
        found = await self._catalogue.resolve(call.tenant, settings.model)

        async def decode(whole: pb.ExplainRequest) -> ExplainRequest:
            decoded = await self._decoded(whole, call, job, found, time.monotonic(), self._later(whole, call))
            call.instances += decoded.instances
            return decoded

        def encode(decoded: ExplainRequest, result: Result) -> InstanceResult:
            return encode_instance(result, _shapes(decoded), _wants_maps(settings), to_status)

        data_set = DataSet(
            request_iterator,
            job,
            decode,
            lambda request, each: self._run(request, job, call, each),
            encode,
            call.holding,
            self._part_s,
        )
        async for event in data_set.events(settings, first):
            yield pb.ExplainManyResponse(event=event)
        summary = encode_summary(data_set.explained, job.usage, found[0], call.request_id)
        yield pb.ExplainManyResponse(event=pb.ExplainStreamResponse(summary=summary))

    async def Predict(self, request: pb.PredictRequest, context: Context) -> bytes:
        """Run the model on the inputs as they are, and answer by a message that is written already."""
        call = CURRENT.get()
        vet(request)
        _take_id(request.request_id, call)
        call.model, call.method = request.model[:128], "predict"
        with self._scheduler.expect():
            version, _, _ = await self._catalogue.resolve(call.tenant, request.model)
            caller = decode_caller(call.tenant, request.priority)
            fetch = partial(self._catalogue.fetch, call.tenant)
            decoded = await asyncio.to_thread(decode_predict, request, caller, version, call.deadline, fetch)
        job = Job(call.request_id, caller, call.deadline, charge=self._charge(call))
        predicted = await self._predictor.predict(decoded, job)
        call.rows_asked, call.rows_run, call.batches = predicted.used.rows_asked, job.usage.rows_run, job.usage.batches
        return self._written(encode_predicted(predicted, version, call.request_id))

    def _job(self, request: pb.ExplainRequest, call: Call, *, data_set: bool = False) -> Job:
        """A vetted request's job; the call is told what it is about."""
        _take_id(request.request_id, call)
        call.model, call.method = request.model[:128], request.WhichOneof("method") or "-"
        caller = decode_caller(call.tenant, request.priority)
        return Job(call.request_id, caller, call.deadline, _evenly(request), data_set, charge=self._charge(call))

    def _charge(self, call: Call) -> Callable[[int], None]:
        return partial(self._quotas.take_rows, call.tenant)

    def _later(self, request: pb.ExplainRequest, call: Call) -> SettingsOf:
        """Looked up when they are wanted: of a large request that takes time."""
        return partial(self._memo.settings, request, call.tenant)

    async def _decode(
        self, request: pb.ExplainRequest, call: Call, settings_of: SettingsOf
    ) -> tuple[ExplainRequest, Job]:
        job = self._job(request, call)
        with self._scheduler.expect():
            found = await self._catalogue.resolve(call.tenant, request.model)
            decoded = await self._decoded(request, call, job, found, call.arrived, settings_of)
        call.instances = decoded.instances
        return decoded, job

    async def _decoded(
        self,
        request: pb.ExplainRequest,
        call: Call,
        job: Job,
        found: Resolved,
        arrived: float,
        settings_of: SettingsOf,
    ) -> ExplainRequest:
        version, _, spec = found
        decode = partial(decode_explain, request, job.caller, version, spec, arrived, job.deadline, settings_of)
        if request.ByteSize() <= _SMALL_BYTES:
            with suppress(_Stored):
                return decode(_not_now)
        return await asyncio.to_thread(decode, partial(self._catalogue.fetch, call.tenant))

    async def _run(self, decoded: ExplainRequest, job: Job, call: Call, on_instance: OnInstance) -> Explained:
        try:
            explained = await self._explainer.explain(decoded, job, on_instance)
            call.rows_asked += explained.used.rows_asked
            return explained
        finally:
            call.rows_run, call.batches = job.usage.rows_run, job.usage.batches

    def _answer(self, decoded: ExplainRequest, explained: Explained, call: Call, request: pb.ExplainRequest) -> bytes:
        response = encode_explained(explained, decoded.model, call.request_id)
        shapes, maps = _shapes(decoded), _wants_maps(request)
        response.results.extend(encode_instance(r, shapes, maps, to_status) for r in explained.results)
        return self._written(response)

    def _written(self, response: Message) -> bytes:
        """An answer's bytes, once: to ask for its size is to write it. Raises TooLarge."""
        written = response.SerializeToString()
        if len(written) > self._max_message_bytes:
            raise TooLarge(
                f"the answer has {len(written)} bytes and a message {self._max_message_bytes} at most: use "
                "ExplainStream, fewer instances, or element_maps = false",
                metadata={"bytes": str(len(written)), "limit": str(self._max_message_bytes)},
            )
        return written


def _counted(call: Call, on_instance: OnInstance | None = None) -> OnInstance:
    """Counts what instances hold until the call is over. Raises TooManyCalls."""

    def finished(result: Result) -> None:
        if isinstance(result, InstanceExplained):
            call.holding.take(result.held_bytes)
        if on_instance is not None:
            on_instance(result)

    return finished


class _Stored(Exception):
    """A tensor has to be read from the disk."""


def _not_now(digest: str) -> Array:
    raise _Stored(digest)


def _take_id(request_id: str, call: Call) -> None:
    """Call a vetted request what it calls itself. Raises InvalidRequest."""
    check_request_id(request_id)
    call.request_id = request_id or call.request_id


def _evenly(request: pb.ExplainRequest) -> bool:
    """Whether instances share a time that may end before they are done: then each should have come as far as it may."""
    return request.budget.HasField("time") and request.budget.on_exhausted == ON_BUDGET_PARTIAL


def _shapes(request: ExplainRequest) -> dict[str, tuple[int, ...]]:
    return {name: x.shape[1:] for name, x in request.inputs.items()}


def _wants_maps(request: pb.ExplainRequest) -> bool:
    return request.element_maps if request.HasField("element_maps") else True
