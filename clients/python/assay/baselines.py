"""What stands where a feature is absent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from assay.errors import invalid
from assay.perinput import PerInput, entries
from assay.tensors import Array, from_tensor, is_digest, to_tensor
from assay.v1 import model_service_pb2


@dataclass(frozen=True)
class MeanBaseline:
    """The instance's own mean over some of its axes (the batch axis isn't one); all axes where none are named."""

    axes: Sequence[int] = ()


@dataclass(frozen=True)
class GaussianBlur:
    """The instance, blurred along its spatial axes. sigma: standard deviation in elements, above 0."""

    sigma: float


@dataclass(frozen=True)
class SegmentMean:
    """In each segment and channel the instance's mean over it; needs features that are segments."""


Baseline: TypeAlias = float | Array | str | MeanBaseline | GaussianBlur | SegmentMean
"""A number for every element; an array [*input], or [K, *input] to average over K of them; the digest of a stored
array; or a function of the instance."""


def encode_baselines(baseline: PerInput[Baseline], field: str = "baseline") -> list[model_service_pb2.Baseline]:
    """The messages of a `baseline=` parameter; InvalidArgument for anything that is none."""
    values: list[tuple[str, Baseline]] = entries(baseline)
    return [_encode(name, value, field) for name, value in values]


def _encode(name: str, value: Baseline, field: str) -> model_service_pb2.Baseline:
    wire = model_service_pb2.Baseline
    if isinstance(value, MeanBaseline):
        return wire(input=name, mean=wire.Mean(axes=value.axes))
    if isinstance(value, GaussianBlur):
        return wire(input=name, gaussian_blur=wire.GaussianBlur(sigma=value.sigma))
    if isinstance(value, SegmentMean):
        return wire(input=name, segment_mean=wire.SegmentMean())
    if isinstance(value, str):
        if not is_digest(value):
            said = f"{value!r} is no digest, as put_tensor returns one"
            raise invalid(field, f"{said}; text that stands for itself is an array: np.array([{value!r}])")
        return wire(input=name, tensor=to_tensor(value))
    array = np.asarray(value)
    if array.ndim == 0 and array.dtype.kind in "fiub":
        return wire(input=name, constant=float(array))
    return wire(input=name, tensor=to_tensor(array, field))


def decode_baseline(baseline: model_service_pb2.Baseline) -> Baseline:
    """The baseline of a message."""
    kind = baseline.WhichOneof("kind")
    if kind == "tensor":
        return baseline.tensor.digest or from_tensor(baseline.tensor)
    if kind == "mean":
        return MeanBaseline(tuple(baseline.mean.axes))
    if kind == "gaussian_blur":
        return GaussianBlur(baseline.gaussian_blur.sigma)
    if kind == "segment_mean":
        return SegmentMean()
    return baseline.constant
