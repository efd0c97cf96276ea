"""Segments made by the caller."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from assayd.errors import InvalidRequest, InvalidTensor
from assayd.features.names import named
from assayd.types.arrays import Array, Ids
from assayd.types.request import GivenSegments
from assayd.types.subject import Segments

_MAX_ID = int(np.iinfo(np.int32).max) - 1


def given(spec: GivenSegments, inputs: Mapping[str, Array]) -> Segments:
    """Take the caller's ids: int32 or int64, of the instance's rank, with its extent or 1 on each axis.

    Ids are shared: the same id in two inputs is one feature. F is the largest id + 1, and every id below it must stand
    somewhere, so that no feature is empty. -1 is never touched; so are inputs without ids. Names: "segment 3".

    Raises `InvalidTensor` (segments.ids) for dtype, rank, extent, an id below -1 or a missing one, `InvalidRequest`
    (segments.inputs) for a name that isn't an explained input's, and for "" where several inputs are explained.
    """
    ids = {name: np.full((1,) * x.ndim, -1, np.int32) for name, x in inputs.items()}
    seen: list[Array] = []
    for key, tensor in spec.ids.items():
        name = _input(key, spec, inputs)
        ids[name] = _checked(name, tensor, inputs[name])
        seen.append(np.unique(ids[name]))
    present = np.unique(np.concatenate(seen)) if seen else np.empty(0, np.int32)
    present = present[present >= 0]
    if not len(present):
        raise InvalidTensor("no element belongs to a segment: at least one id must be 0", field="segments.ids")
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        raise InvalidTensor(
            f"segment ids must count up from 0 without gaps: {int(gaps[0])} is missing, the largest is {present[-1]}",
            field="segments.ids",
        )
    count = len(present)
    return Segments(ids, count, named(count, lambda: (f"segment {k}" for k in range(count))))


def _input(key: str, spec: GivenSegments, inputs: Mapping[str, Array]) -> str:
    explained = ", ".join(map(repr, inputs))
    if key == "" and key not in inputs:
        if len(inputs) != 1:
            raise InvalidRequest(
                f"segments must name their input where several are explained: {explained}", field="segments.inputs"
            )
        key = next(iter(inputs))
        if key in spec.ids:
            raise InvalidRequest(f"input {key!r} has segments twice, with and without name", field="segments.inputs")
    if key not in inputs:
        raise InvalidRequest(
            f"segments for {key!r}, which is not explained; explained: {explained}", field="segments.inputs"
        )
    return key


def _checked(name: str, tensor: Array, x: Array) -> Ids:
    if tensor.dtype not in (np.int32, np.int64):
        raise InvalidTensor(
            f"segment ids of input {name!r} are {tensor.dtype}, not int32 or int64", field="segments.ids"
        )
    if tensor.ndim != x.ndim or any(n not in (1, full) for n, full in zip(tensor.shape, x.shape, strict=True)):
        raise InvalidTensor(
            f"segment ids of input {name!r} have shape {list(tensor.shape)}, not {list(x.shape)} or 1 in place of an"
            " extent along which they don't vary",
            field="segments.ids",
        )
    low, high = int(tensor.min()), int(tensor.max())
    if low < -1 or high > _MAX_ID:
        raise InvalidTensor(
            f"segment ids of input {name!r} run from {low} to {high}; they count up from 0, with -1 for never touched",
            field="segments.ids",
        )
    return tensor.astype(np.int32)
