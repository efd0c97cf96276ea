"""Parts that several messages share: baselines, features, groups, parameters by input."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from assay.v1 import explain_pb2, model_service_pb2
from assayd.api.codec.enums import word
from assayd.api.codec.tensors import Fetch, decode_tensor
from assayd.errors import InvalidRequest
from assayd.types.request import (
    BaselineSpec,
    Bounds,
    Constant,
    Elements,
    FeatureSpec,
    GaussianBlur,
    Given,
    GivenSegments,
    Grid,
    Group,
    Groups,
    Mean,
    Member,
    PerInput,
    SegmentMean,
    Superpixels,
)


class _WithInput(Protocol):
    @property
    def input(self) -> str: ...


M = TypeVar("M", bound=_WithInput)
T = TypeVar("T")


def per_input(entries: Iterable[M], field: str, value: Callable[[M, str], T]) -> PerInput[T]:
    """A repeated parameter by input; value(entry, path). Raises InvalidRequest where an input has two entries."""
    found: dict[str, T] = {}
    for n, entry in enumerate(entries):
        if entry.input in found:
            whom = f"input {entry.input!r}" if entry.input else "every input (an empty name)"
            raise InvalidRequest(f"{whom} has two entries", field=f"{field}[{n}].input")
        found[entry.input] = value(entry, f"{field}[{n}]")
    return PerInput(found)


def decode_baseline(message: model_service_pb2.Baseline, field: str, fetch: Fetch) -> BaselineSpec:
    """What an input is where a feature is absent."""
    match message.WhichOneof("kind"):
        case "tensor":
            return Given(decode_tensor(message.tensor, f"{field}.tensor", fetch))
        case "mean":
            return Mean(tuple(message.mean.axes))
        case "gaussian_blur":
            return GaussianBlur(message.gaussian_blur.sigma)
        case "segment_mean":
            return SegmentMean()
        case _:
            return Constant(message.constant)


def decode_bounds(message: explain_pb2.Bounds, field: str, fetch: Fetch) -> Bounds:
    """Lower and upper end of an input's range."""
    lower = decode_tensor(message.lower, f"{field}.lower", fetch) if message.HasField("lower") else None
    upper = decode_tensor(message.upper, f"{field}.upper", fetch) if message.HasField("upper") else None
    return Bounds(lower, upper)


def decode_member(message: model_service_pb2.Member) -> Member:
    """One element, by index or by name."""
    return Member(message.input, message.name if message.WhichOneof("element") == "name" else int(message.index))


def decode_group(message: model_service_pb2.Group) -> Group:
    """A named set of elements."""
    members = tuple(decode_member(m) for m in message.members)
    kind = word(model_service_pb2.GroupKind.DESCRIPTOR, message.kind)
    return Group(message.name, members, kind or "numeric")


def decode_features(message: explain_pb2.Features, field: str, fetch: Fetch) -> FeatureSpec:
    """How an instance is cut. Raises InvalidRequest naming the field."""
    match message.WhichOneof("kind"):
        case "elements":
            return Elements()
        case "grid":
            return Grid(message.grid.rows, message.grid.cols)
        case "superpixels":
            cut = message.superpixels
            if cut.HasField("compactness"):
                return Superpixels(cut.count, cut.compactness)
            return Superpixels(cut.count)
        case "segments":
            ids = per_input(
                message.segments.inputs,
                f"{field}.segments.inputs",
                lambda entry, path: decode_tensor(entry.ids, f"{path}.ids", fetch),
            )
            return GivenSegments(ids.values)
        case "groups":
            return Groups(tuple(decode_group(g) for g in message.groups.groups))
        case _:
            raise InvalidRequest("say how to cut: elements, grid, superpixels, segments or groups", field=field)
