"""A server that answers with what a test gave it, over a real connection."""

# ruff: noqa: N802
# RPCs are called as the contract calls them.

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager

import grpc
import numpy as np
from google.rpc import status_pb2

from assay.tensors import to_tensor
from assay.v1 import (
    explain_pb2,
    explain_service_pb2,
    explain_service_pb2_grpc,
    model_service_pb2,
    model_service_pb2_grpc,
    server_service_pb2,
    server_service_pb2_grpc,
)

DIGEST = "sha256:" + "ab" * 32


def digits(version: str = "1", **changes) -> model_service_pb2.Model:
    """A one-input model of 8 x 8 digits."""
    model = model_service_pb2.Model(
        name="digits",
        version=version,
        digest=DIGEST,
        size_bytes=2048,
        inputs=[model_service_pb2.TensorInfo(name="image", dtype=1, shape=[1, 8, 8], batch_axis=0)],
        outputs=[model_service_pb2.TensorInfo(name="logits", dtype=1, shape=[3], class_labels=["a", "b", "c"])],
        batching=model_service_pb2.Batching(mode=1, max_rows=64),
        spec=model_service_pb2.ModelSpec(inputs=[model_service_pb2.InputSpec(name="image", layout=1)]),
    )
    model.create_time.FromSeconds(1_700_000_000)
    for name, value in changes.items():
        setattr(model, name, value)
    return model


def occluded(position: int, peak: float = 2.0, targets: int = 1) -> explain_pb2.InstanceResult:
    """A map [T, 1, 8, 8] of one positive and one negative window of 4 x 4."""
    values = np.zeros((targets, 4), np.float32)
    values[:, 0], values[:, 3] = peak, -1.0
    maps = values.reshape(targets, 1, 2, 2).repeat(4, 2).repeat(4, 3)
    grid = explain_pb2.WindowGrid(input="image", grid=[2, 2], axes=[1, 2], window=[4, 4], stride=[4, 4])
    return explain_pb2.InstanceResult(
        position=position,
        key=f"k{position}",
        targets=[
            explain_pb2.ResolvedTarget(output="logits", index=[t], label="abc"[t], scale=1) for t in range(targets)
        ],
        scores=to_tensor(np.arange(targets, dtype=np.float32) + 5),
        baseline_scores=to_tensor(np.full((targets, 1), -1, np.float32)),
        feature_values=to_tensor(values),
        windows=[grid],
        maps={"image": to_tensor(maps)},
        diagnostics=explain_pb2.Diagnostics(alone_difference=1e-7, rows_asked=4, rows_run=5),
        completion=explain_pb2.COMPLETION_FULL,
    )


class FakeServer(
    model_service_pb2_grpc.ModelServiceServicer,
    explain_service_pb2_grpc.ExplainServiceServicer,
    server_service_pb2_grpc.ServerServiceServicer,
):
    """Records what comes in `seen` and `metadata`, what callers gave up in `left`.

    `status` and `trailers` make every call fail.
    """

    def __init__(self) -> None:
        self.address = ""
        self.seen: list = []
        self.metadata: list[dict[str, str]] = []
        self.model = digits()
        self.results: list[explain_pb2.InstanceResult] | None = None
        self.status: status_pb2.Status | None = None
        self.trailers: tuple = ()
        self.streams = True
        self.summarises = True
        self.delay = 0.0
        self.delay_of_summary = 0.0
        self.left: list = []
        self.estimate: explain_service_pb2.Estimate | None = None

    def _note(self, request, context) -> None:
        self.seen.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self._wait(request, context, self.delay)
        if self.status is not None:
            codes = {code.value[0]: code for code in grpc.StatusCode}
            context.set_trailing_metadata(self.trailers)
            context.abort(codes[self.status.code], self.status.message)

    def _wait(self, request, context, seconds) -> None:
        left = threading.Event()
        if not context.add_callback(left.set) or left.wait(seconds):
            self.left.append(request)

    def UploadModel(self, request_iterator, context):
        parts = list(request_iterator)
        self._note(parts, context)
        content = b"".join(part.chunk for part in parts[1:])
        assert parts[0].header.sha256 == f"sha256:{hashlib.sha256(content).hexdigest()}"
        return model_service_pb2.UploadModelResponse(model=self.model)

    def GetModel(self, request, context):
        self._note(request, context)
        return model_service_pb2.GetModelResponse(model=self.model)

    def ListModels(self, request, context):
        self._note(request, context)
        if not request.page_token:
            return model_service_pb2.ListModelsResponse(models=[digits("1")], next_page_token="2")
        return model_service_pb2.ListModelsResponse(models=[digits("2")])

    def DeleteModel(self, request, context):
        self._note(request, context)
        return model_service_pb2.DeleteModelResponse(deleted_versions=2)

    def PutTensor(self, request, context):
        self._note(request, context)
        return model_service_pb2.PutTensorResponse(digest=DIGEST)

    def GetInfo(self, request, context):
        self._note(request, context)
        return server_service_pb2.GetInfoResponse(
            version="0.1.0",
            methods=[server_service_pb2.MethodInfo(name="occlusion", revision=1)],
            limits=server_service_pb2.Limits(max_message_bytes=64 << 20, max_batch_rows=64),
            providers=["CPUExecutionProvider"],
            versions={"onnxruntime": "1.31.1"},
            devices=[
                server_service_pb2.Device(name="cuda:0", serving=True, models_loaded=2),
                server_service_pb2.Device(name="cuda:1", serving=False),
            ],
        )

    def Predict(self, request, context):
        self._note(request, context)
        logits = np.array([[0.5, 2.0, -1.0]], np.float32)
        return explain_service_pb2.PredictResponse(outputs={"logits": to_tensor(logits)})

    def _summary(self, request, results) -> explain_service_pb2.ExplainResponse:
        return explain_service_pb2.ExplainResponse(
            request_id=request.request_id,
            model=self.model,
            results=results,
            usage=explain_pb2.Usage(rows_asked=4, rows_run=5, batches=1, compute_seconds=0.25),
            completion=explain_pb2.COMPLETION_FULL,
            estimate=self.estimate,
        )

    def _results(self, request) -> list[explain_pb2.InstanceResult]:
        if self.results is not None:
            return self.results
        shape = request.inputs["image"].shape or [1]
        return [occluded(i) for i in range(shape[0])] if not request.validate_only else []

    def Explain(self, request, context):
        self._note(request, context)
        return self._summary(request, self._results(request))

    def ExplainStream(self, request, context):
        if not self.streams:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no streams")
        self._note(request.request, context)
        sent = threading.Event()
        context.add_callback(lambda: sent.is_set() or self.left.append(request.request))
        event = explain_service_pb2.ExplainStreamResponse
        yield from self._events(self._results(request.request))
        self._wait(request.request, context, self.delay_of_summary)
        sent.set()
        if self.summarises:
            yield event(summary=self._summary(request.request, []))

    def _events(self, results):
        """Progress, and the instances in reverse, the tensors of their maps in chunks."""
        event = explain_service_pb2.ExplainStreamResponse
        yield event(progress=explain_service_pb2.Progress(rows_done=0, rows_planned=4, instances=len(results)))
        for result in reversed(results):
            for name, tensor in result.maps.items():
                data = tensor.data
                digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
                for offset in range(0, len(data), 100):
                    part = data[offset : offset + 100]
                    chunk = explain_service_pb2.TensorChunk(
                        digest=digest, offset=offset, size_bytes=len(data), data=part
                    )
                    yield event(chunk=chunk)
                result.maps[name].digest = digest
            yield event(instance=result)

    def ExplainMany(self, request_iterator, context):
        """Reads a part when the one before was answered."""
        sent = threading.Event()
        first = None
        context.add_callback(lambda: sent.is_set() or self.left.append(first))
        position = 0
        for message in request_iterator:
            self._note(message.request, context)
            first = first or message.request
            if not message.request.inputs:
                continue
            count = (message.request.inputs["image"].shape or [2])[0]
            targets = len(message.request.instance_targets[0].targets) if message.request.instance_targets else 1
            results = [occluded(position + n, targets=targets) for n in range(count)]
            for event in self._events([] if first.validate_only else results):
                yield explain_service_pb2.ExplainManyResponse(event=event)
            position += count
        self._wait(first, context, self.delay_of_summary)
        sent.set()
        if self.summarises:
            summary = explain_service_pb2.ExplainStreamResponse(summary=self._summary(first, []))
            yield explain_service_pb2.ExplainManyResponse(event=summary)


@contextmanager
def serving(server: FakeServer, credentials: grpc.ServerCredentials | None = None) -> Iterator[FakeServer]:
    """Serves on a free port of this machine; `server.address` says which."""
    host = grpc.server(futures.ThreadPoolExecutor(4))
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(server, host)
    explain_service_pb2_grpc.add_ExplainServiceServicer_to_server(server, host)
    server_service_pb2_grpc.add_ServerServiceServicer_to_server(server, host)
    if credentials is None:
        port = host.add_insecure_port("127.0.0.1:0")
    else:
        port = host.add_secure_port("127.0.0.1:0", credentials)
    server.address = f"127.0.0.1:{port}"
    host.start()
    try:
        yield server
    finally:
        host.stop(None).wait()
