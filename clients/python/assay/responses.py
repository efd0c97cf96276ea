"""Response messages to what callers get; no connection in sight, so that every client shares it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from assay.enums import enum_word
from assay.errors import DataLoss, Internal, from_status
from assay.explanation import (
    FEATURES,
    Diagnostics,
    Estimate,
    Explanation,
    Instance,
    Progress,
    Record,
    ResolvedTarget,
    ResultWarning,
    RowScores,
    Usage,
)
from assay.models import decode_model
from assay.names import Feature, WindowGrid
from assay.tensors import Array, from_tensor
from assay.v1 import explain_pb2, explain_service_pb2, server_service_pb2, tensor_pb2

Contents = Mapping[str, bytes]
"""Bytes of the tensors that came in chunks, by digest."""


@dataclass(frozen=True)
class Asked:
    """What of a request is needed to read its answer.

    shapes: by input the shape of one instance, to which element maps are broadcast; None where only the server knows
    it, and maps stay as they came. target_axis: whether a list of targets was asked for, so that results keep the axis
    T.
    """

    shapes: Mapping[str, tuple[int, ...] | None]
    target_axis: bool = False

    def at(self, position: int) -> Asked:  # noqa: ARG002
        """What was asked of the instance at a position: the same of all in one request."""
        return self


class AskedByPosition(Protocol):
    """Whatever knows what was asked of each instance."""

    def at(self, position: int) -> Asked:
        """What was asked of the instance at a position, when its answer has come."""
        ...


@dataclass(frozen=True)
class Limits:
    """Limits a request may run into. A model may have fewer rows in a batch."""

    max_message_bytes: int
    max_model_bytes: int
    max_request_rows: int
    max_queued_rows: int
    max_deadline_seconds: float
    max_batch_rows: int


@dataclass(frozen=True)
class DeviceInfo:
    """Something that runs models.

    Attributes:
        name: such as "cpu" or "cuda:1".
        serving: whether it computes, as far as the server knows.
        models_loaded: models loaded on it.
    """

    name: str
    serving: bool
    models_loaded: int


@dataclass(frozen=True)
class ServerInfo:
    """What a server is.

    Attributes:
        version: version of the server.
        methods: methods served -> their revision, raised whenever the same request would give other numbers.
        limits: limits in force.
        providers: execution providers that really compute.
        versions: versions of what computes, such as onnxruntime.
        devices: what runs models there.
    """

    version: str
    methods: Mapping[str, int]
    limits: Limits
    providers: tuple[str, ...]
    versions: Mapping[str, str]
    devices: tuple[DeviceInfo, ...]


def read_explanation(response: explain_service_pb2.ExplainResponse, asked: Asked) -> Explanation:
    """The explanation that one answer holds."""
    instances = [read_instance(result, asked) for result in response.results]
    return _summed(response, instances)


class StreamReader:
    """Puts a stream of events together: feed each event, hand on what comes out. One reader a call.

    collects: whether the explanation at the end holds the
    instances; else, for streams without end, nothing of an instance is kept once it was handed on.
    """

    def __init__(self, asked: AskedByPosition, *, collects: bool = True) -> None:
        self._asked = asked
        self._collects = collects
        self._instances: list[Instance] = []
        self._partial: dict[str, tuple[bytearray, int]] = {}
        self._contents: dict[str, bytes] = {}

    def feed(
        self, message: explain_service_pb2.ExplainStreamResponse | explain_service_pb2.ExplainManyResponse
    ) -> Progress | Instance | Explanation | None:
        """What an event completes: progress, an instance, at the end the explanation; None for part of a tensor."""
        event = message.event if isinstance(message, explain_service_pb2.ExplainManyResponse) else message
        kind = event.WhichOneof("event")
        if kind == "chunk":
            self._add(event.chunk)
            return None
        if kind == "progress":
            p = event.progress
            return Progress(p.rows_done, p.rows_planned, p.instances_done, p.instances)
        if kind == "instance":
            instance = read_instance(event.instance, self._asked.at(event.instance.position), self._contents)
            if self._collects:
                self._instances.append(instance)
            else:
                self._contents.clear()
            return instance
        if kind == "summary":
            return _summed(event.summary, sorted(self._instances, key=lambda i: i.position))
        return None  # an event of a newer server

    def _add(self, chunk: explain_service_pb2.TensorChunk) -> None:
        content, filled = self._partial.get(chunk.digest, (bytearray(), 0))
        if chunk.offset != filled:
            raise Internal(f"a chunk of {chunk.digest} starts at {chunk.offset} where {filled} bytes had come")
        content += chunk.data
        self._partial[chunk.digest] = content, len(content)
        if len(content) >= chunk.size_bytes:
            whole = bytes(self._partial.pop(chunk.digest)[0])
            if f"sha256:{hashlib.sha256(whole).hexdigest()}" != chunk.digest:
                raise DataLoss(f"the bytes of {chunk.digest} have another digest", metadata={"digest": chunk.digest})
            self._contents[chunk.digest] = whole


def read_instance(result: explain_pb2.InstanceResult, asked: Asked, contents: Contents | None = None) -> Instance:
    """The explanation of one instance; `contents` has the tensors that came in chunks."""

    def array(tensor: tensor_pb2.Tensor) -> Array:
        return from_tensor(tensor, contents)

    def optional(message: object, name: str) -> Array | None:
        held = message.HasField(name)  # type: ignore[attr-defined]
        return array(getattr(message, name)) if held else None

    def by_target(message: object, name: str) -> Array | None:
        """An array [T, …], without the axis where it wasn't asked for."""
        held = optional(message, name)
        return held if held is None else _squeezed(held, asked)

    failed = result.status.code != 0
    attributions = {name: _element_map(array(t), name, asked) for name, t in result.maps.items()}
    errors: dict[str, Array | None] = dict.fromkeys(attributions)
    errors |= {name: _element_map(array(t), name, asked) for name, t in result.map_errors.items()}
    jacobian: dict[str, dict[str, Array]] = {}
    jacobian_errors: dict[str, dict[str, Array | None]] = {}
    for block in result.jacobian:
        jacobian.setdefault(block.output, {})[block.input or FEATURES] = array(block.values)
        jacobian_errors.setdefault(block.output, {})[block.input or FEATURES] = optional(block, "errors")
    rows = None
    if result.HasField("rows"):
        rows = RowScores(
            keep=optional(result.rows, "keep"),
            scores=by_target(result.rows, "scores"),
            samples={name: array(tensor) for name, tensor in result.rows.samples.items()},
            features=optional(result.rows, "features"),
            steps=optional(result.rows, "steps"),
        )
    diagnostics = result.diagnostics
    alone = diagnostics.alone_difference if diagnostics.HasField("alone_difference") else None
    return Instance(
        position=result.position,
        key=result.key,
        status=from_status(result.status) if failed else None,
        targets=tuple(map(_resolved, result.targets)),
        scores=by_target(result, "scores"),
        baseline_scores=by_target(result, "baseline_scores"),
        feature_values=by_target(result, "feature_values"),
        feature_errors=by_target(result, "feature_errors"),
        features=tuple(Feature(f.id, f.name, f.elements) for f in result.features),
        windows=tuple(map(_window_grid, result.windows)),
        attributions=attributions,
        errors=errors,
        jacobian=jacobian,
        jacobian_errors=jacobian_errors,
        errors_unknown=result.errors_unknown,
        rows=rows,
        diagnostics=Diagnostics(
            alone_difference=alone,
            intercept=by_target(diagnostics, "intercept"),
            r_squared=by_target(diagnostics, "r_squared"),
            rows_asked=diagnostics.rows_asked,
            rows_run=diagnostics.rows_run,
        ),
        warnings=_warnings(result.warnings, result.position),
        completion=_completion(result.completion),
        record=Record(result.record.json, result.record.digest) if result.HasField("record") else None,
    )


def read_outputs(response: explain_service_pb2.PredictResponse) -> dict[str, Array]:
    """{output name: [B, *output]} in the model's dtype; the arrays are the caller's own."""
    return {name: from_tensor(tensor).copy() for name, tensor in response.outputs.items()}


def read_info(response: server_service_pb2.GetInfoResponse) -> ServerInfo:
    """What a server said of itself."""
    limits = response.limits
    return ServerInfo(
        version=response.version,
        methods={method.name: method.revision for method in response.methods},
        limits=Limits(
            limits.max_message_bytes,
            limits.max_model_bytes,
            limits.max_request_rows,
            limits.max_queued_rows,
            limits.max_deadline_seconds,
            limits.max_batch_rows,
        ),
        providers=tuple(response.providers),
        versions=dict(response.versions),
        devices=tuple(DeviceInfo(d.name, d.serving, d.models_loaded) for d in response.devices),
    )


def _summed(response: explain_service_pb2.ExplainResponse, instances: Sequence[Instance]) -> Explanation:
    usage, estimate = response.usage, None
    if response.HasField("estimate"):
        known = response.estimate.HasField("device_seconds")
        estimate = Estimate(response.estimate.rows, response.estimate.device_seconds if known else None)
    return Explanation(
        instances=tuple(instances),
        request_id=response.request_id,
        model=decode_model(response.model),
        usage=Usage(
            rows_asked=usage.rows_asked,
            rows_run=usage.rows_run,
            batches=usage.batches,
            shared_batches=usage.shared_batches,
            plan_seconds=usage.plan_seconds,
            queue_seconds=usage.queue_seconds,
            compute_seconds=usage.compute_seconds,
            reduce_seconds=usage.reduce_seconds,
        ),
        warnings=_warnings(response.warnings, None) + tuple(w for i in instances for w in i.warnings),
        completion=_completion(response.completion),
        estimate=estimate,
    )


def _squeezed(array: Array, asked: Asked) -> Array:
    return array if asked.target_axis or array.ndim == 0 or array.shape[0] != 1 else array[0]


def _element_map(compact: Array, name: str, asked: Asked) -> Array:
    shape = asked.shapes.get(name)
    whole = compact
    if shape is not None:
        try:
            whole = np.broadcast_to(compact, (*compact.shape[:1], *shape))
        except ValueError as error:
            raise Internal(f"a map of shape {compact.shape} came for input {name!r} of shape {shape}") from error
    return _squeezed(whole, asked)


def _resolved(target: explain_pb2.ResolvedTarget) -> ResolvedTarget:
    return ResolvedTarget(
        output=target.output,
        index=tuple(target.index),
        label=target.label,
        top_rank=target.top_rank or None,
        weights_digest=target.weights_digest,
        scale=enum_word(explain_pb2.Scale.DESCRIPTOR, target.scale),
    )


def _window_grid(grid: explain_pb2.WindowGrid) -> WindowGrid:
    return WindowGrid(
        input=grid.input,
        first_feature=grid.first_feature,
        grid=tuple(grid.grid),
        axes=tuple(grid.axes),
        window=tuple(grid.window),
        stride=tuple(grid.stride),
    )


def _warnings(warnings: Sequence[explain_pb2.Warning], instance: int | None) -> tuple[ResultWarning, ...]:
    codes = explain_pb2.WarningCode.DESCRIPTOR
    return tuple(ResultWarning(enum_word(codes, w.code), w.message, instance) for w in warnings)


def _completion(number: int) -> str:
    return enum_word(explain_pb2.Completion.DESCRIPTOR, number) or "full"
