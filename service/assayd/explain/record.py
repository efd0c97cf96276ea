"""The record of a decision: what is needed to run an explanation again, and to show later that nothing was changed.

A record holds digests in place of tensors, the same that PutTensor gives them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from assayd.engine.backend import LoadedModel
from assayd.explain.canonical import Canonical, canonical
from assayd.explain.outcome import InstanceExplained, JacobianAxes
from assayd.explain.request import ExplainRequest
from assayd.store.tensors import tensor_digest
from assayd.types.arrays import Array, Floats
from assayd.types.method import Method
from assayd.types.request import PerInput
from assayd.types.subject import Subject

FORMAT = "assay.v1.Record/1"
_LARGE = 2**53


@dataclass(frozen=True)
class Stack:
    """What computes: versions by distribution, and the device."""

    versions: Mapping[str, str]
    device: str

    @cached_property
    def said(self) -> Canonical:
        """The versions."""
        return Canonical(dict(self.versions))


def record_of(
    request_id: str,
    request: ExplainRequest,
    result: InstanceExplained,
    subject: Subject,
    model: LoadedModel,
    stack: Stack,
    devices: Collection[str],
) -> bytes:
    """The record of one instance as canonical JSON (RFC 8785). devices: those that ran rows of it."""
    segments = {} if result.segments is None else result.segments.ids
    of_request = _of(request)
    return canonical(
        {
            "format": FORMAT,
            "request_id": request_id,
            "time": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds"),
            "tenant": request.caller.tenant,
            "key": result.key,
            "model": of_request.model,
            "method": {
                "name": request.method_name,
                "revision": request.method.revision,
                "parameters": _parameters(request.method),
                "settled": described(result.attribution.settled),
            },
            "request": request.as_sent.of(result.position),
            "layouts": of_request.layouts,
            "seed": str(request.seed),
            "generator": "Philox4x64-10",
            "inputs": _digests(subject.inputs),
            "explained": list(subject.explained),
            "baselines": _digests(subject.baselines),
            "segments": _digests(segments),
            "targets": [described(t) for t in result.targets],
            "scores": result.x_scores.astype(result.dtype).astype(float).tolist(),
            "baseline_scores": result.baseline_scores.astype(result.dtype).astype(float).tolist(),
            "results": _results(result),
            "completion": "partial" if result.partial else "full",
            "rows": {"asked": result.rows_asked, "scored": result.rows_scored, "run": result.rows_run},
            "engine": of_request.engine(model, devices),
            "versions": stack.said,
        }
    )


class _OfRequest:
    """What the records of a request's instances share, written once."""

    def __init__(self, request: ExplainRequest) -> None:
        about, self._exact, self._reproducible = request.model, request.exact, request.reproducible
        self.model = Canonical(
            {
                "name": about.name,
                "version": about.version,
                "digest": about.digest,
                "spec_digest": about.spec_digest,
            }
        )
        self.layouts = Canonical(described(request.layouts))
        self._engine: tuple[LoadedModel, frozenset[str], Canonical] | None = None

    def engine(self, model: LoadedModel, devices: Collection[str]) -> Canonical:
        """How rows were run; on another device, or by a model loaded anew, the next instance's may be run otherwise."""
        of, known = frozenset(devices), self._engine
        if known is not None and known[0] is model and known[1] == of:
            return known[2]
        said = Canonical(
            {
                "device": model.device,
                "devices": sorted(devices),
                "provider": model.provider,
                "threads": model.threads,
                "precision": "fp32" if self._exact else model.precision,
                "precision_error": 0.0 if self._exact else model.precision_error,
                "batching": described(model.batching),
                "reproducible": self._reproducible,
            }
        )
        self._engine = (model, of, said)
        return said


_of_requests: WeakKeyDictionary[ExplainRequest, _OfRequest] = WeakKeyDictionary()


def _of(request: ExplainRequest) -> _OfRequest:
    found = _of_requests.get(request)
    if found is None:
        found = _of_requests[request] = _OfRequest(request)
    return found


_described: WeakKeyDictionary[Method, Canonical] = WeakKeyDictionary()


def _parameters(method: Method) -> Canonical:
    """All of a method's, written once as long as it lives."""
    found = _described.get(method)
    if found is None:
        found = _described[method] = Canonical(described(method))
    return found


def described(value: Any) -> Any:
    """A value of the domain as JSON: tensors by digest, dataclasses by kind and field, parameters by input."""
    match value:
        case np.ndarray():
            said: Any = {"shape": list(value.shape), "dtype": value.dtype.name, "digest": tensor_digest(value)}
        case PerInput():
            said = {name: described(item) for name, item in value.values.items()}
        case Mapping():
            said = {str(name): described(item) for name, item in value.items()}
        case tuple() | list():
            said = [described(item) for item in value]
        case int() if abs(value) >= _LARGE:
            said = str(value)  # RFC 8785 has numbers as far as a double counts them
        case float() if not np.isfinite(value):
            said = repr(value)  # JSON has no word for it
        case _ if is_dataclass(value):
            said = {"kind": type(value).__name__} | {f.name: described(getattr(value, f.name)) for f in fields(value)}
        case _:
            said = value
    return said


def _digests(tensors: Mapping[str, Array]) -> dict[str, str]:
    return {name: tensor_digest(np.asarray(x)) for name, x in tensors.items()}


def _results(result: InstanceExplained) -> dict[str, Any]:
    """Digests of the tensors as they are sent."""
    a, dtype = result.attribution, result.dtype
    if result.jacobian is not None:
        return {
            "jacobian": _block_digests(result.jacobian, a.values, dtype),
            "jacobian_errors": _block_digests(result.jacobian, a.errors, dtype),
        }
    single = {
        "feature_values": a.values,
        "feature_errors": a.errors,
        "row_scores": a.row_scores,
        "intercept": a.intercept,
        "r_squared": a.r_squared,
    }
    found: dict[str, Any] = {name: tensor_digest(v.astype(dtype)) for name, v in single.items() if v is not None}
    for name, maps in (("maps", a.maps), ("map_errors", a.map_errors)):
        found[name] = {of: tensor_digest(v.astype(dtype)) for of, v in maps.items()}
    return found


def _block_digests(axes: JacobianAxes, values: Floats | None, dtype: np.dtype[np.generic]) -> dict[str, dict[str, str]]:
    """By output and input."""
    found: dict[str, dict[str, str]] = {}
    for output, name, part in axes.blocks(values) if values is not None else ():
        found.setdefault(output, {})[name] = tensor_digest(part.astype(dtype))
    return found
