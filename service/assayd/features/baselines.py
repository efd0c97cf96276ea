"""From a baseline specification to the values that absent features take."""

from __future__ import annotations

import numpy as np
from skimage.filters import gaussian

from assayd.errors import InvalidRequest, InvalidTensor
from assayd.types.arrays import Array, Floats, Ids
from assayd.types.request import BaselineSpec, Constant, GaussianBlur, Given, Mean

MAX_SIGMA = 256.0
"""In elements. The kernel has 8 sigma taps and each element meets all of them: without a limit one request could blur
for hours."""


def baseline_of(
    spec: BaselineSpec,
    x: Array,
    spatial_axes: tuple[int, ...] | None,
    channel_axis: int | None,
    segment_ids: Ids | None,
) -> Array:
    """Make the baselines of one input of one instance: [K, *input] in x's dtype, K = 1 for all but given ones.

    x: [*input]. spatial_axes, channel_axis: axes of x, or None where no layout is known. segment_ids: x's rank, extent
    1 where constant, -1 for never touched; None where the features are windows.

    Means and blurs are computed in float64 and rounded once. They are defined on finite floating-point numbers only:
    with a NaN among them (a missing value) a mean would have to choose whom to leave out, so the caller does.

    Raises `InvalidRequest` with a field counted from the baseline message: constant, mean, mean.axes, gaussian_blur,
    gaussian_blur.sigma, segment_mean; `InvalidTensor` for tensor.
    """
    match spec:
        case Constant():
            return _constant(spec.value, x)
        case Given():
            return _given(spec.tensor, x)
        case Mean():
            _need_finite(x, "mean")
            axes = _axes(spec.axes, x.ndim)
            with np.errstate(over="ignore", invalid="ignore"):
                mean = x.astype(np.float64).mean(axis=axes, keepdims=True)
            return _rounded(np.broadcast_to(mean, x.shape), x, "mean")
        case GaussianBlur():
            return _blurred(spec.sigma, x, spatial_axes)
        case _:
            return _segment_mean(x, channel_axis, segment_ids)


def _constant(value: float, x: Array) -> Array:
    """Any float rounds to a float; integers and booleans take only numbers that they hold exactly."""
    kind = x.dtype.kind
    if kind == "f":
        with np.errstate(over="ignore"):
            stored = x.dtype.type(value)
        fits = np.isfinite(stored) or not np.isfinite(value)
    elif kind in "iu":
        fits = float(value).is_integer() and np.iinfo(x.dtype).min <= int(value) <= np.iinfo(x.dtype).max
    else:
        fits = kind == "b" and value in (0, 1)
    if not fits:
        dtype = "string" if kind == "O" else x.dtype
        raise InvalidRequest(
            f"the constant {value!r} can't stand in a {dtype} input: give one that can, or a tensor", field="constant"
        )
    return np.full((1, *x.shape), value, x.dtype)


def _given(tensor: Array, x: Array) -> Array:
    """x's dtype, or float64 for any floating x: that is what a caller's arithmetic leaves, and rounds without harm."""
    if tensor.dtype != x.dtype and not (tensor.dtype == np.float64 and x.dtype.kind == "f"):
        raise InvalidTensor(f"the baseline is {tensor.dtype}, the input {x.dtype}", field="tensor")
    batch = tensor[np.newaxis] if tensor.ndim == x.ndim else tensor
    if batch.shape[1:] != x.shape or batch.ndim != x.ndim + 1 or not len(batch):
        raise InvalidTensor(
            f"the baseline has shape {list(tensor.shape)}, not {list(x.shape)} or [K, {', '.join(map(str, x.shape))}]"
            " with K of at least 1",
            field="tensor",
        )
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(batch, x.dtype)
    if stored.dtype != tensor.dtype and (np.isinf(stored) & np.isfinite(batch)).any():
        raise InvalidTensor(f"the baseline holds numbers beyond the range of {x.dtype}", field="tensor")
    return stored


def _axes(axes: tuple[int, ...], rank: int) -> tuple[int, ...]:
    for axis in axes:
        if not -rank <= axis < rank:
            raise InvalidRequest(
                f"axis {axis} is out of range: an instance has {rank} axes, the batch axis not counted",
                field="mean.axes",
            )
    counted = tuple(axis % rank for axis in axes)
    if len(set(counted)) != len(counted):
        raise InvalidRequest(f"axes {list(axes)} name an axis twice", field="mean.axes")
    return counted or tuple(range(rank))


def _blurred(sigma: float, x: Array, spatial_axes: tuple[int, ...] | None) -> Array:
    if not 0 < sigma <= MAX_SIGMA:
        raise InvalidRequest(
            f"sigma is above 0 and at most {MAX_SIGMA:g} elements, not {sigma}", field="gaussian_blur.sigma"
        )
    _need_finite(x, "gaussian_blur")
    along = range(x.ndim) if spatial_axes is None else spatial_axes
    sigmas = [sigma if axis in along else 0.0 for axis in range(x.ndim)]
    blurred: Floats = gaussian(  # type: ignore[no-untyped-call]  # scikit-image leaves it untyped
        x.astype(np.float64), sigma=sigmas, mode="nearest", preserve_range=True
    )
    return _rounded(blurred, x, "gaussian_blur")


def _segment_mean(x: Array, channel_axis: int | None, ids: Ids | None) -> Array:
    """Means over each segment, apart for every channel and for every position along axes where the ids are constant."""
    if ids is None:
        raise InvalidRequest(
            "segment_mean needs features made of segments; with windows use mean or gaussian_blur", field="segment_mean"
        )
    apart = [a for a in range(x.ndim) if a == channel_axis or (ids.shape[a] == 1 and x.shape[a] > 1)]
    place = np.zeros((1,) * x.ndim, np.int64)
    for axis in apart:
        along = [1] * x.ndim
        along[axis] = x.shape[axis]
        place = place * x.shape[axis] + np.arange(x.shape[axis]).reshape(along)
    segment = np.broadcast_to(ids.astype(np.int64), x.shape)
    touched = segment >= 0
    _need_finite(x[touched], "segment_mean")
    values = x[touched].astype(np.float64)
    cell = segment[touched] * (int(place.max()) + 1) + np.broadcast_to(place, x.shape)[touched]
    _, cell, size = np.unique(cell, return_inverse=True, return_counts=True)
    means = (np.bincount(cell, values) / size)[cell]
    baseline = x[np.newaxis].copy()
    baseline[0, touched] = _rounded(means, x, "segment_mean")[0]
    return baseline


def _need_finite(values: Array, field: str) -> None:
    if values.dtype.kind != "f":
        dtype = "string" if values.dtype.kind == "O" else values.dtype
        raise InvalidRequest(
            f"{field} needs a floating-point input, not {dtype}: use a constant or a tensor", field=field
        )
    if not np.isfinite(values).all():
        raise InvalidRequest(
            f"{field} is not defined where the input holds NaN or infinity: use a constant, NaN perhaps, or a tensor",
            field=field,
        )


def _rounded(values: Floats, x: Array, field: str) -> Array:
    """[1, *values] in x's dtype."""
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(values[np.newaxis], x.dtype)
    if not np.isfinite(stored).all():
        raise InvalidRequest(f"{field} overflows {x.dtype}: scale the input or give a tensor", field=field)
    return stored
