"""A fake server that explains by a formula and gives records, so that what is made of records can be tested.

f(x) = sum(x * weight); the value of feature i is x[i] * weight. Its model has one input x float32 [3], or s string [3],
where a word's number is its length.
"""

# ruff: noqa: N802
# RPCs are called as the contract calls them.

from __future__ import annotations

import json
import time
from contextlib import contextmanager

import grpc
import numpy as np
from google.protobuf import json_format
from google.rpc import status_pb2

import assay
from assay.kept.digests import digest_of, message_digest, tensors_in
from assay.tensors import from_tensor, to_tensor
from assay.v1 import explain_pb2, explain_service_pb2, model_service_pb2, server_service_pb2
from tests.unit.client.fake_server import FakeServer, serving

NAMES = ("age", "income", "debt")
_OF_INSTANCES = ("inputs", "keys", "instance_targets", "request_id")


class RecordingServer(FakeServer):
    """weight, versions, revision and spec: what may change between two runs. refuses: first elements that fail.

    explained: the keys of all instances so far. stops_after: so many instances, then the server is gone.
    lies: results aren't what records say. gone: the model's name is.
    """

    def __init__(self, dtype: int = 1) -> None:
        super().__init__()
        self.weight = np.float32(2)
        self.versions = {"numpy": "2.0"}
        self.revision = 1
        self.refuses: set[float] = set()
        self.explained: list[str] = []
        self.stops_after: int | None = None
        self.lies = self.gone = False
        self.delay_of_results = 0.0
        spec = model_service_pb2.ModelSpec(
            inputs=[model_service_pb2.InputSpec(name="xs"[dtype == 8], feature_names=NAMES)]
        )
        self.model = model_service_pb2.Model(
            name="loans",
            version="1",
            digest="sha256:" + "12" * 32,
            spec_digest="sha256:" + "34" * 32,
            inputs=[model_service_pb2.TensorInfo(name="xs"[dtype == 8], dtype=dtype, shape=[3], batch_axis=0)],
            outputs=[model_service_pb2.TensorInfo(name="y", dtype=1, shape=[2])],
            spec=spec,
        )

    def GetModel(self, request, context):
        self.seen.append(request)
        if request.model in ("loans", "loans@1", self.model.digest) and not self.gone:
            return model_service_pb2.GetModelResponse(model=self.model)
        if request.model in ("other", "other@1"):
            other = model_service_pb2.Model()
            other.CopyFrom(self.model)
            other.name, other.digest = "other", "sha256:" + "56" * 32
            return model_service_pb2.GetModelResponse(model=other)
        context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        raise AssertionError

    def GetInfo(self, request, context):
        methods = [server_service_pb2.MethodInfo(name=n, revision=self.revision) for n in ("occlusion", "lime")]
        return server_service_pb2.GetInfoResponse(methods=methods)

    def ExplainStream(self, request, context):
        self.seen.append(request.request)
        revision = request.request.method_revision
        if revision not in (0, self.revision):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"revision {self.revision} is served, not {revision}")
        event = explain_service_pb2.ExplainStreamResponse
        for result in self._explain(request.request, request.request, 0):
            yield event(instance=result)
        yield event(summary=self._summary(request.request, []))

    def ExplainMany(self, request_iterator, context):
        settings, position = None, 0
        for message in request_iterator:
            self.seen.append(message.request)
            settings = settings or message.request
            for result in self._explain(message.request, settings, position):
                if self.stops_after is not None and len(self.explained) >= self.stops_after:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
                time.sleep(self.delay_of_results)
                self.explained.append(result.key or str(result.position))
                event = explain_service_pb2.ExplainStreamResponse(instance=result)
                yield explain_service_pb2.ExplainManyResponse(event=event)
                position += 1
        event = explain_service_pb2.ExplainStreamResponse(summary=self._summary(settings, []))
        yield explain_service_pb2.ExplainManyResponse(event=event)

    def _explain(self, part, settings, first):
        (name,) = part.inputs
        for row, x in enumerate(from_tensor(part.inputs[name])):
            key = part.keys[row] if part.keys else ""
            targets = part.instance_targets[row].targets if part.instance_targets else settings.targets
            yield self._result(name, x, key, targets, settings, first + row)

    def _result(self, name, x, key, targets, settings, position):
        result = explain_pb2.InstanceResult(position=position, key=key)
        numbers = np.array([len(v) if isinstance(v, str) else v for v in x.tolist()], np.float32)
        if float(numbers[0]) in self.refuses:
            result.status.CopyFrom(status_pb2.Status(code=3, message="no such age"))
            return result
        weight = self.weight * (2 if settings.model == "other@1" else 1)
        values = (numbers * weight)[None].astype(np.float32)
        score = values.sum(1)
        result.targets.add(output="y", index=list(targets[0].index.position)[:1] if targets else [0], scale=1)
        result.scores.CopyFrom(to_tensor(score))
        result.feature_values.CopyFrom(to_tensor(values))
        result.features.extend(explain_pb2.FeatureInfo(id=n, name=named) for n, named in enumerate(NAMES))
        element_map = to_tensor(values.astype(np.float64))
        maps = {name: message_digest(element_map)}
        if settings.element_maps or not settings.HasField("element_maps"):
            result.maps[name].CopyFrom(element_map)
        record = {
            "format": "assay.v1.Record/1",
            "key": key,
            "model": {
                "name": "loans",
                "version": "1",
                "digest": self.model.digest,
                "spec_digest": self.model.spec_digest,
            },
            "method": {"name": settings.WhichOneof("method"), "revision": self.revision},
            "request": _as_sent(settings, targets),
            "generator": "none",
            "inputs": {name: assay.tensor_digest(x)},
            "baselines": {},
            "segments": {},
            "scores": score.tolist(),
            "baseline_scores": [],
            "results": {"feature_values": message_digest(result.feature_values), "maps": maps},
            "completion": "partial" if settings.budget.on_exhausted else "full",
            "rows": {"asked": 9, "scored": 7, "run": 8},
            "engine": {"device": "cpu", "batching": {"kind": "Batching", "max_rows": 64}},
            "versions": self.versions,
        }
        if self.lies:
            result.feature_values.CopyFrom(to_tensor(values + 1))
        result.completion = 2 if record["completion"] == "partial" else 1
        result.record.json = json.dumps(record).encode()
        result.record.digest = digest_of(result.record.json)
        return result


def _as_sent(settings, targets):
    message = explain_service_pb2.ExplainRequest()
    message.CopyFrom(settings)
    del message.targets[:]
    message.targets.extend(targets)
    for name in _OF_INSTANCES:
        message.ClearField(name)
    for tensor in tensors_in(message):
        digest = message_digest(tensor)
        tensor.digest = digest  # which takes the place of the data
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


@contextmanager
def recording(dtype: int = 1):
    """(server, client) over a real connection."""
    with serving(RecordingServer(dtype)) as server, assay.Client(server.address) as client:
        yield server, client


X = np.arange(30, dtype=np.float32).reshape(10, 3)
KEYS = [f"c-{n}" for n in range(10)]
METHOD = assay.Occlusion(features=assay.Elements(), baseline=np.array([1, 2, 3], np.float32))


def parts(rows: int = 4, x=X, keys=KEYS):
    """The instances in parts of so many rows."""
    return assay.ArrayData({"x": x}, keys, rows)


def keep(client, folder, data=None, method=METHOD, **settings):
    """Keeps a data set; the run, gone through."""
    with assay.Evidence(folder) as evidence:
        run = assay.Keeping(client, evidence, "loans", parts() if data is None else data, method, **settings)
        events = list(run)
    return run, events
