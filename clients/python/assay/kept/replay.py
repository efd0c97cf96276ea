"""Runs a recorded decision again, and says what came out differently."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf import json_format
from numpy.typing import ArrayLike

from assay.errors import DataLoss, Internal, NotFound, invalid
from assay.explanation import Explanation, Instance, Record
from assay.kept.digests import digest_of, tensor_digest, tensors_in
from assay.kept.folder import Evidence
from assay.kept.result_tensors import by_digest, named_digests
from assay.tensors import Array, to_tensor
from assay.v1 import explain_pb2, explain_service_pb2

if TYPE_CHECKING:
    from assay.client import Client

_MOST_WORST = 3


@dataclass(frozen=True)
class Moved:
    """One number that differs: what it belongs to, what it was and what it is."""

    name: str
    before: float
    now: float


@dataclass(frozen=True)
class Difference:
    """One tensor of a decision, then and now.

    Attributes:
        name: such as "scores", "feature_values" or "maps image".
        same: the same bits.
        largest: largest |now - before|; None where the old tensor isn't at hand or the shapes differ. 0.0 where same.
        relative: the same as a share of the largest |before|; infinite where that is 0 and this isn't.
        worst: the numbers that differ most, at most three.
    """

    name: str
    same: bool
    largest: float | None = 0.0
    relative: float | None = 0.0
    worst: tuple[Moved, ...] = ()


@dataclass(frozen=True)
class StackChange:
    """Something that computes and differs: such as "versions numpy", before and now; None where it wasn't there."""

    name: str
    before: Any
    now: Any


@dataclass(frozen=True, eq=False)
class Replayed:
    """A decision that was run again.

    Attributes:
        before, now: the records of then and now.
        tensors: each tensor and score.
        stack: what differs in what computed it.
    """

    before: Record
    now: Record
    tensors: tuple[Difference, ...]
    stack: tuple[StackChange, ...]

    @property
    def identical(self) -> bool:
        """Whether every tensor has the same bits."""
        return all(tensor.same for tensor in self.tensors)

    @property
    def largest(self) -> float:
        """The largest difference as a share of the largest value of its tensor; infinite where it isn't known."""
        known = (math.inf if t.relative is None else t.relative for t in self.tensors if not t.same)
        return max(known, default=0.0)

    def within(self, tolerance: float) -> bool:
        """Whether no number differs by more than this share of the largest value of its tensor."""
        return self.largest <= tolerance


def replay(
    client: Client, record: Record, tensors: Evidence | Iterable[ArrayLike], *, timeout: float | None = 30.0
) -> Replayed:
    """Runs the explanation that a record is of again, as it was asked for, and compares.

    record: its digest is checked first. tensors: the `Evidence` that holds what the record names by digest, or these
    arrays themselves, in any order: the instance's inputs [*input] without batch axis, and given baselines, segments,
    levels, samples and weights. A tensor of the request that isn't among them is asked for by its digest, in case the
    server stores it. timeout: seconds for the call.

    The revision of the method is that of the record. The model is the recorded "name@version", or the digest where
    that name means other bytes by now. An instance that a budget cut short gets the rows that it had then, and no
    limit of time.

    Raises `DataLoss` where the record or a tensor was changed, `NotFound` for an input that isn't at hand or a model
    that is gone, and `FailedPrecondition` where the server has another revision of the method.
    """
    if digest_of(record.json) != record.digest:
        raise DataLoss("the record isn't what its digest says", metadata={"digest": record.digest})
    said = record.load()
    held = tensors if isinstance(tensors, Evidence) else _Given(tensors)
    request = _request(client, said, held, timeout)
    instance = _asked(client, request, timeout)
    if instance.record is None:
        raise Internal("the server sent no record")
    now = instance.record.load()
    return Replayed(
        before=record,
        now=instance.record,
        tensors=tuple(_differences(said, now, held, instance)),
        stack=tuple(_stack_changes(said, now)),
    )


class _Given:
    """Arrays by digest, like those of an `Evidence`."""

    def __init__(self, arrays: Iterable[ArrayLike]) -> None:
        self._arrays = {tensor_digest(array): np.asarray(array) for array in arrays}

    def tensor(self, digest: str) -> Array:
        try:
            return self._arrays[digest]
        except KeyError:
            raise NotFound(f"no tensor {digest} was given", metadata={"digest": digest}) from None


def _request(
    client: Client, said: Mapping[str, Any], held: Evidence | _Given, timeout: float | None
) -> explain_service_pb2.ExplainRequest:
    """The request of then, for this instance alone."""
    request = explain_service_pb2.ExplainRequest()
    if "request" not in said:
        raise invalid("record", "it doesn't hold the request, without which it can't be run again")
    try:
        json_format.ParseDict(said["request"], request)
    except json_format.ParseError as error:
        raise DataLoss(f"the record's request can't be read: {error}") from error
    for tensor in tensors_in(request):
        array = _tensor(held, tensor.digest)
        if array is not None:  # else the server may store it
            tensor.CopyFrom(to_tensor(array))
    for name, digest in said["inputs"].items():
        array = _tensor(held, digest)
        if array is None:
            raise NotFound(f"input {name!r} of the record, {digest}, isn't at hand", metadata={"digest": digest})
        request.inputs[name].CopyFrom(to_tensor(array[None]))
    request.keys.extend([said["key"]] if said["key"] else [])
    request.method_revision = said["method"]["revision"]
    request.model = _model(client, said["model"], timeout)
    request.on_instance_error = explain_pb2.ON_INSTANCE_ERROR_FAIL
    if request.HasField("budget"):
        request.budget.ClearField("time")
    if said["completion"] == "partial":
        request.budget.rows = said["rows"]["scored"]
        request.budget.on_exhausted = explain_pb2.ON_BUDGET_PARTIAL
    return request


def _model(client: Client, recorded: Mapping[str, str], timeout: float | None) -> str:
    """The name of the recorded version where it still means the same model and spec, else the model's digest."""
    if recorded["name"]:
        ref = f"{recorded['name']}@{recorded['version']}"
        try:
            found = client.get_model(ref, timeout=timeout)
        except NotFound:
            return recorded["digest"]
        if (found.digest, found.spec_digest) == (recorded["digest"], recorded["spec_digest"]):
            return ref
    return recorded["digest"]


def _asked(client: Client, request: explain_service_pb2.ExplainRequest, timeout: float | None) -> Instance:
    """The answer, with all tensors as they were sent."""
    events = client.explain_message(request, timeout=timeout)
    explained = next(event for event in events if isinstance(event, Explanation))
    return explained.instances[0]


# ---- what differs ----------------------------------------------------------------------------------------------------


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any], held: Evidence | _Given, instance: Instance
) -> Iterator[Difference]:
    for name in ("scores", "baseline_scores"):
        old, new = (np.asarray(said[name], np.float64) for said in (before, now))
        yield _compared(name, old, new, old.tobytes() == new.tobytes() and old.shape == new.shape, None)
    new_arrays = by_digest(instance, now)
    for part in ("segments", "baselines", "results"):
        stated = [dict(named_digests(said[part])) for said in (before, now)]
        for path in dict.fromkeys((*stated[0], *stated[1])):
            old_digest, new_digest = stated[0].get(path), stated[1].get(path)
            shown = " ".join(word for word in (path if part == "results" else (part, *path)) if word)
            if old_digest == new_digest:
                yield Difference(shown, same=True)
                continue
            names = instance if path[0].startswith("feature_") else None
            yield _compared(shown, _tensor(held, old_digest), new_arrays.get(new_digest or ""), False, names)


def _tensor(held: Evidence | _Given, digest: str | None) -> Array | None:
    try:
        return None if digest is None else held.tensor(digest)
    except NotFound:
        return None


def _compared(name: str, old: Array | None, new: Array | None, same: bool, features: Instance | None) -> Difference:
    if same:
        return Difference(name, same=True)
    if old is None or new is None or old.shape != new.shape or not old.size:
        return Difference(name, same=False, largest=None, relative=None)
    a, b = old.astype(np.float64), new.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(b - a))
    apart = np.where(np.isnan(apart), np.inf, apart)  # a number against none
    largest, size = float(apart.max()), float(np.max(np.abs(a[np.isfinite(a)]), initial=0.0))
    relative = largest / size if size else math.inf if largest else 0.0
    worst = [int(i) for i in np.argsort(-apart, axis=None, kind="stable")[:_MOST_WORST] if apart.flat[i] > 0]
    moved = tuple(Moved(_place(i, a.shape, features), float(a.flat[i]), float(b.flat[i])) for i in worst)
    return Difference(name, False, largest, relative, moved)


def _place(flat: int, shape: Sequence[int], features: Instance | None) -> str:
    """What a number belongs to: the feature's name, or its index."""
    index = [int(i) for i in np.unravel_index(flat, tuple(shape))]
    if features is None or len(index) != 2:
        return str(index)
    name = features.feature_name(index[1])
    return name if shape[0] == 1 else f"target {index[0]}, {name}"


def _stack_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[StackChange]:
    old, new = (dict(_stack(said)) for said in (before, now))
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name):
            yield StackChange(name, old.get(name), new.get(name))


def _stack(said: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from ((f"model {name}", said["model"][name]) for name in ("digest", "spec_digest"))
    yield "method revision", said["method"]["revision"]
    yield "generator", said["generator"]
    for part in ("engine", "versions"):
        for path, value in _flat(said[part]):
            yield f"{part} {path}", value


def _flat(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from ((f"{name} {path}", inner) for path, inner in _flat(item))
        elif name != "kind":
            yield name, item


def read_record(data: bytes, digest: str = "") -> Record:
    """The record in a file's bytes. digest: what was stated of it elsewhere, else its own is taken.

    DataLoss for bytes that are no record or have another digest.
    """
    try:
        said = json.loads(data)
        known = isinstance(said, dict) and str(said.get("format", "")).startswith("assay.v1.Record/")
    except ValueError:
        known = False
    if not known:
        raise DataLoss("these bytes are no record")
    if digest and digest != digest_of(data):
        raise DataLoss("the record isn't what its digest says", metadata={"digest": digest})
    return Record(data, digest_of(data))
