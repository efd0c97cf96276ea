"""How an input is cut into features, the things that are switched off and on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from assay.enums import enum_number, enum_word
from assay.errors import invalid
from assay.perinput import PerInput, entries
from assay.tensors import is_digest, to_tensor
from assay.v1 import explain_pb2, model_service_pb2, tensor_pb2


@dataclass(frozen=True)
class Elements:
    """Every element is a feature."""


@dataclass(frozen=True)
class Grid:
    """The spatial plane cut into rows x cols cells of nearly equal size; channels go together.

    On one spatial axis `rows` must be 1.
    """

    rows: int
    cols: int


@dataclass(frozen=True)
class Superpixels:
    """About n SLIC superpixels of each instance; channels go together. compactness: above 0, by default 10."""

    n: int
    compactness: float | None = None


@dataclass(frozen=True, eq=False)
class Segments:
    """Given segments: an integer array, or {input: array}, or the digest of a stored one.

    Its shape is that of an instance, with extent 1 on axes along which features don't vary. It holds the feature of
    each element, from 0, or -1 where an element is never touched. The same id in two inputs is one feature.
    """

    ids: PerInput[ArrayLike]


Member: TypeAlias = int | str | tuple[str, int | str]
"""An element: its row-major index in one instance, its feature name from the model's spec, or (input, either)."""


@dataclass(frozen=True)
class Group:
    """A named set of elements that is present or absent as one feature.

    kind: "numeric", "categorical" (one element whose values are codes) or "one_hot" (a category spread over columns).
    """

    name: str
    members: Sequence[Member]
    kind: str = "numeric"


@dataclass(frozen=True)
class Groups:
    """Named groups; elements in none are never touched. Without a list: the groups of the model's spec."""

    groups: Sequence[Group] = ()


Features: TypeAlias = Elements | Grid | Superpixels | Segments | Groups


def encode_features(features: Features, field: str = "features") -> explain_pb2.Features:
    """The message of a cut; InvalidArgument for anything else."""
    if isinstance(features, Elements):
        return explain_pb2.Features(elements=explain_pb2.Features.Elements())
    if isinstance(features, Grid):
        return explain_pb2.Features(grid=explain_pb2.Features.Grid(rows=features.rows, cols=features.cols))
    if isinstance(features, Superpixels):
        cut = explain_pb2.Features.Superpixels(count=features.n, compactness=features.compactness)
        return explain_pb2.Features(superpixels=cut)
    if isinstance(features, Segments):
        arrays: list[tuple[str, ArrayLike]] = entries(features.ids)
        listed = [explain_pb2.Features.Segments(input=name, ids=_ids(array, field)) for name, array in arrays]
        return explain_pb2.Features(segments=explain_pb2.Features.SegmentsList(inputs=listed))
    if isinstance(features, Groups):
        groups = explain_pb2.Features.Groups(groups=[encode_group(group) for group in features.groups])
        return explain_pb2.Features(groups=groups)
    kinds = "Elements, Grid, Superpixels, Segments or Groups"
    raise invalid(field, f"{type(features).__name__} is no {kinds}")


def _ids(array: ArrayLike, field: str) -> tensor_pb2.Tensor:
    if is_digest(array):
        return to_tensor(array)
    ids = np.asarray(array)
    if ids.dtype.kind not in "iu":
        raise invalid(field, f"ids of segments are integers, not {ids.dtype}")
    return to_tensor(ids if ids.dtype == np.int32 else ids.astype(np.int64), field)


def encode_group(group: Group) -> model_service_pb2.Group:
    """The message of a group."""
    kind = enum_number(model_service_pb2.GroupKind.DESCRIPTOR, group.kind, "groups.kind")
    members = [_member(member) for member in group.members]
    return model_service_pb2.Group(name=group.name, members=members, kind=kind)


def _member(member: Member) -> model_service_pb2.Member:
    name, element = member if isinstance(member, tuple) else ("", member)
    if isinstance(element, str):
        return model_service_pb2.Member(input=name, name=element)
    return model_service_pb2.Member(input=name, index=int(element))


def decode_group(group: model_service_pb2.Group) -> Group:
    """The group of a message."""
    members: list[Member] = []
    for member in group.members:
        element: int | str = member.name if member.WhichOneof("element") == "name" else member.index
        members.append((member.input, element) if member.input else element)
    return Group(group.name, tuple(members), enum_word(model_service_pb2.GroupKind.DESCRIPTOR, group.kind) or "numeric")
