"""The domain's values to answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import numpy as np
from google.rpc import status_pb2

from assay.v1 import explain_pb2, explain_service_pb2
from assayd.api.codec.enums import value_name
from assayd.api.codec.models import encode_version
from assayd.api.codec.tensors import encode_tensor
from assayd.errors import RowBudget, TimeBudget
from assayd.explain.outcome import (
    Explained,
    InstanceExplained,
    InstanceFailed,
    JacobianAxes,
    Notice,
    Predicted,
    Used,
)
from assayd.explain.targets import ResolvedTarget
from assayd.scheduler.work import JobUsage
from assayd.store.digests import digest_of
from assayd.types.arrays import Array
from assayd.types.model import ModelVersion
from assayd.types.result import Attribution, Drawn
from assayd.types.subject import Segments

ToStatus = Callable[[Exception], status_pb2.Status]
InputShapes = dict[str, tuple[int, ...]]
_described: WeakKeyDictionary[Segments, tuple[InputShapes, explain_pb2.InstanceResult]] = WeakKeyDictionary()
_NUMBERS_A_NAME = 40
"""So many are written in the time that one named feature takes."""


def numbers_in(result: InstanceExplained | InstanceFailed) -> int:
    """About how many numbers are read and written for an instance's answer."""
    if isinstance(result, InstanceFailed):
        return 0
    numbers = sum(array.size for array in result.arrays)
    if result.segments is not None and result.segments.names:
        numbers += sum(ids.size for ids in result.segments.ids.values()) + _NUMBERS_A_NAME * result.segments.count
    return numbers


def encode_instance(
    result: InstanceExplained | InstanceFailed, shapes: InputShapes, element_maps: bool, to_status: ToStatus
) -> explain_pb2.InstanceResult:
    """One instance. shapes: of one instance, by input."""
    message = explain_pb2.InstanceResult(key=result.key, position=result.position)
    if isinstance(result, InstanceFailed):
        message.status.CopyFrom(to_status(result.error))
        if isinstance(result.error, RowBudget | TimeBudget):
            message.completion = _completion(partial=True)
        return message
    message.status.code = 0
    message.targets.extend(_target(t) for t in result.targets)
    message.scores.CopyFrom(encode_tensor(result.x_scores.astype(result.dtype)))
    if len(result.baseline_scores):
        message.baseline_scores.CopyFrom(encode_tensor(result.baseline_scores.T.astype(result.dtype)))
    if result.segments is not None:
        message.MergeFrom(_features(result.segments, shapes))
    _write_attribution(message, result, element_maps)
    if result.alone_difference is not None:
        message.diagnostics.alone_difference = result.alone_difference
    message.diagnostics.rows_asked = result.rows_asked
    message.diagnostics.rows_run = result.rows_run
    message.warnings.extend(_warning(n) for n in result.notices)
    message.completion = _completion(partial=result.partial)
    message.errors_unknown = result.attribution.errors_unknown
    message.record.json = result.record
    message.record.digest = digest_of(result.record)
    return message


def _write_attribution(message: explain_pb2.InstanceResult, result: InstanceExplained, element_maps: bool) -> None:
    a, dtype = result.attribution, result.dtype
    if result.drawn is not None:
        _write_drawn(message.rows, result.drawn, dtype)
    if result.jacobian is not None:
        message.jacobian.extend(_jacobian(result.jacobian, a, dtype))
        return
    for tensor, values in (
        (message.feature_values, a.values),
        (message.feature_errors, a.errors),
        (message.rows.scores, a.row_scores),
        (message.diagnostics.intercept, a.intercept),
        (message.diagnostics.r_squared, a.r_squared),
    ):
        if values is not None:
            tensor.CopyFrom(encode_tensor(values.astype(dtype)))
    if a.keep is not None:
        message.rows.keep.CopyFrom(encode_tensor(a.keep))
    for w in a.windows:
        message.windows.add(
            input=w.input, first_feature=w.first_feature, grid=w.grid, axes=w.axes, window=w.window, stride=w.stride
        )
    for maps, found in ((message.maps, a.maps), (message.map_errors, a.map_errors)):
        for name, values in found.items() if element_maps else ():
            maps[name].CopyFrom(encode_tensor(values.astype(dtype)))


def _jacobian(axes: JacobianAxes, a: Attribution, dtype: np.dtype[np.generic]) -> list[explain_pb2.JacobianBlock]:
    """A block for each output and input, or for each output over features."""
    blocks: dict[tuple[str, str], explain_pb2.JacobianBlock] = {}
    for which, values in (("values", a.values), ("errors", a.errors)):
        for output, name, part in axes.blocks(values) if values is not None else ():
            block = blocks.setdefault((output, name), explain_pb2.JacobianBlock(output=output, input=name))
            getattr(block, which).CopyFrom(encode_tensor(part.astype(dtype)))
    return list(blocks.values())


def _write_drawn(rows: explain_pb2.RowScores, drawn: Drawn, dtype: np.dtype[np.generic]) -> None:
    rows.scores.CopyFrom(encode_tensor(drawn.scores.astype(dtype)))
    for name, samples in drawn.samples.items():
        (rows.samples[name] if name else rows.keep).CopyFrom(encode_tensor(samples))
    if drawn.features is not None:
        rows.features.CopyFrom(encode_tensor(drawn.features))
    if drawn.steps is not None:
        rows.steps.CopyFrom(encode_tensor(drawn.steps))


def encode_explained(
    explained: Explained, version: ModelVersion, request_id: str
) -> explain_service_pb2.ExplainResponse:
    """An answer without its results."""
    message = explain_service_pb2.ExplainResponse(
        request_id=request_id, model=encode_version(version), usage=_usage(explained.used)
    )
    message.warnings.extend(_warning(n) for n in explained.notices)
    _write_end(message, explained.estimated_rows, explained.estimated_seconds, explained.partial)
    return message


def _write_end(
    message: explain_service_pb2.ExplainResponse, rows: int | None, seconds: float | None, partial: bool
) -> None:
    """What a request would take, where it was only validated; else whether all of it was computed."""
    if rows is None:
        message.completion = _completion(partial=partial)
        return
    message.estimate.rows = rows
    if seconds is not None:
        message.estimate.device_seconds = seconds


def encode_summary(
    parts: Sequence[Explained], usage: JobUsage, version: ModelVersion, request_id: str
) -> explain_service_pb2.ExplainResponse:
    """An answer to several parts of one job, without their results."""
    used = Used(
        usage,
        sum(p.used.rows_asked for p in parts),
        sum(p.used.plan_seconds for p in parts),
        sum(p.used.reduce_seconds for p in parts),
    )
    message = explain_service_pb2.ExplainResponse(
        request_id=request_id, model=encode_version(version), usage=_usage(used)
    )
    rows = [p.estimated_rows for p in parts if p.estimated_rows is not None]
    seconds = [p.estimated_seconds for p in parts if p.estimated_seconds is not None]
    _write_end(message, sum(rows) if rows else None, sum(seconds) if seconds else None, any(p.partial for p in parts))
    message.warnings.extend(_warning(n) for n in dict.fromkeys(n for p in parts for n in p.notices))
    return message


def encode_predicted(
    predicted: Predicted, version: ModelVersion, request_id: str
) -> explain_service_pb2.PredictResponse:
    """Outputs as the model gave them."""
    message = explain_service_pb2.PredictResponse(
        request_id=request_id, model=encode_version(version), usage=_usage(predicted.used)
    )
    for name, values in predicted.outputs.items():
        message.outputs[name].CopyFrom(encode_tensor(values))
    return message


def _target(t: ResolvedTarget) -> explain_pb2.ResolvedTarget:
    return explain_pb2.ResolvedTarget(
        output=t.output,
        index=t.index,
        label=t.label,
        top_rank=t.rank,
        weights_digest=t.weights_digest,
        scale=value_name(explain_pb2.Scale.DESCRIPTOR, t.scale),
    )


def _features(segments: Segments, shapes: InputShapes) -> explain_pb2.InstanceResult:
    """Names and sizes, in a message without anything else, which many instances share. Nothing where features have no
    names.
    """
    known = _described.get(segments)
    if known is None or known[0] != shapes:
        known = _described[segments] = (shapes, explain_pb2.InstanceResult(features=_sized(segments, shapes)))
    return known[1]


def _sized(segments: Segments, shapes: InputShapes) -> list[explain_pb2.FeatureInfo]:
    if not segments.names:
        return []
    sizes = np.zeros(segments.count, dtype=np.int64)
    for name, ids in segments.ids.items():
        repeats = math.prod(shapes[name]) // max(ids.size, 1)
        sizes += repeats * np.bincount(_touched(ids), minlength=segments.count)
    return [
        explain_pb2.FeatureInfo(id=n, name=name, elements=int(size))
        for n, (name, size) in enumerate(zip(segments.names, sizes, strict=True))
    ]


def _touched(ids: Array) -> Array:
    return ids[ids >= 0]


def _usage(used: Used) -> explain_pb2.Usage:
    return explain_pb2.Usage(
        rows_asked=used.rows_asked,
        rows_run=used.usage.rows_run,
        batches=used.usage.batches,
        shared_batches=used.usage.shared_batches,
        plan_seconds=used.plan_seconds,
        queue_seconds=used.usage.queue_seconds,
        compute_seconds=used.usage.compute_seconds,
        reduce_seconds=used.reduce_seconds,
    )


def _completion(*, partial: bool) -> explain_pb2.Completion:
    return explain_pb2.COMPLETION_PARTIAL if partial else explain_pb2.COMPLETION_FULL


def _warning(notice: Notice) -> explain_pb2.Warning:
    code = value_name(explain_pb2.WarningCode.DESCRIPTOR, notice.code)
    return explain_pb2.Warning(code=code, message=notice.message)
