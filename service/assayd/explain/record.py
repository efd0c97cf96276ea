"""The record of a decision: what is needed to run an explanation again, and to show later that nothing was changed.

A record holds digests in place of tensors, the same that PutTensor gives them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from assayd.engine.backend import LoadedModel
from assayd.explain.canonical import BEYOND_JSON, Canonical, Text, canonical, text
from assayd.explain.outcome import InstanceExplained, JacobianAxes
from assayd.explain.request import ExplainRequest
from assayd.explain.targets import ResolvedTarget
from assayd.store.tensors import tensor_digest
from assayd.types.arrays import Array, Floats
from assayd.types.method import Method
from assayd.types.request import PerInput
from assayd.types.subject import Segments, Subject

FORMAT = "assay.v1.Record/1"


@dataclass(frozen=True)
class Stack:
    """What computes: versions by distribution, and the device."""

    versions: Mapping[str, str]
    device: str

    @cached_property
    def said(self) -> Canonical:
        """The versions."""
        return Canonical(dict(self.versions))


class Records:
    """Those of one request's instances. What they share is written once."""

    def __init__(self, request_id: str, request: ExplainRequest, stack: Stack) -> None:
        self._request = request
        self._method = {
            "name": request.method_name,
            "revision": request.method.revision,
            "parameters": _once(_described, request.method, described),
        }
        about = request.model
        model = {
            "name": about.name,
            "version": about.version,
            "digest": about.digest,
            "spec_digest": about.spec_digest,
        }
        self._shared = {
            "format": text(FORMAT),
            "request_id": text(request_id),
            "tenant": text(request.caller.tenant),
            "model": text(model),
            "layouts": text(described(request.layouts)),
            "seed": text(str(request.seed)),
            "generator": text("Philox4x64-10"),
            "versions": stack.said,
        }
        self._engine: tuple[LoadedModel, Collection[str], Text] | None = None

    def of(self, result: InstanceExplained, subject: Subject, model: LoadedModel, devices: Collection[str]) -> Text:
        """The record of one instance as canonical JSON (RFC 8785). devices: those that ran rows of it."""
        segments, settled = result.segments, result.attribution.settled
        return canonical(
            {
                **self._shared,
                "time": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds"),
                "key": result.key,
                "method": canonical({**self._method, "settled": described(settled)}),
                "request": self._request.as_sent.of(result.position),
                "inputs": _digests(subject.inputs),
                "explained": list(subject.explained),
                "baselines": _digests(subject.baselines),
                "segments": {} if segments is None else _once(_of_segments, segments, lambda s: _digests(s.ids)),
                "targets": _targets(result.targets),
                "scores": result.x_scores.astype(result.dtype).astype(float).tolist(),
                "baseline_scores": result.baseline_scores.astype(result.dtype).astype(float).tolist(),
                "results": _results(result),
                "completion": "partial" if result.partial else "full",
                "rows": {"asked": result.rows_asked, "scored": result.rows_scored, "run": result.rows_run},
                "engine": self._how(model, devices),
            }
        )

    def _how(self, model: LoadedModel, devices: Collection[str]) -> Text:
        """How rows were run; on another device, or by a model loaded anew, the next instance's may be run otherwise."""
        known = self._engine
        if known is not None and known[0] is model and known[1] == devices:
            return known[2]
        exact = self._request.exact
        said = text(
            {
                "device": model.device,
                "devices": sorted(devices),
                "provider": model.provider,
                "threads": model.threads,
                "precision": "fp32" if exact else model.precision,
                "precision_error": 0.0 if exact else model.precision_error,
                "batching": described(model.batching),
                "reproducible": self._request.reproducible,
            }
        )
        self._engine = (model, devices, said)
        return said


K = TypeVar("K")

_described: WeakKeyDictionary[Method, Canonical] = WeakKeyDictionary()
_of_segments: WeakKeyDictionary[Segments, Canonical] = WeakKeyDictionary()


def _once(known: WeakKeyDictionary[K, Canonical], of: K, say: Callable[[K], Any]) -> Canonical:
    """What is said of something, written once as long as it lives: many requests share it."""
    found = known.get(of)
    if found is None:
        found = known[of] = Canonical(say(of))
    return found


@lru_cache(1024)
def _targets(targets: tuple[ResolvedTarget, ...]) -> Text:
    return text([described(target) for target in targets])


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
        case int() if abs(value) >= BEYOND_JSON:
            said = str(value)
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
