"""SLIC superpixels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from skimage.segmentation import slic

from assayd.errors import InvalidRequest
from assayd.features.names import named
from assayd.types.arrays import Array, Ids
from assayd.types.request import Superpixels
from assayd.types.subject import Segments


def superpixels(
    spec: Superpixels,
    inputs: Mapping[str, Array],
    spatial_axes: Mapping[str, tuple[int, ...] | None],
    channel_axis: Mapping[str, int | None],
) -> Segments:
    """Segment each input by SLIC (Achanta et al. 2012, scikit-image's), numbered on from input to input.

    Deterministic. The instance is rescaled to 0..1 and three channels are taken for RGB and compared in Lab, as
    scikit-image does by default. Ids have extent 1 on all but the two spatial axes. The number found may differ from
    the number asked for. Without a layout only an instance of two axes is a plane: of three, either end could hold the
    channels, and a wrong guess would go unnoticed.

    Raises `InvalidRequest`: fewer than 2 or more superpixels than pixels (superpixels.count), compactness not finite
    and above 0 (superpixels.compactness), not two spatial axes, text, NaN or infinity (superpixels).
    """
    if spec.count < 2:
        raise InvalidRequest(f"at least 2 superpixels, not {spec.count}", field="superpixels.count")
    if not (np.isfinite(spec.compactness) and spec.compactness > 0):
        raise InvalidRequest(
            f"compactness is finite and above 0, not {spec.compactness}", field="superpixels.compactness"
        )
    ids = {}
    found: dict[str, int] = {}
    for name, x in inputs.items():
        axes = _plane(name, x, spatial_axes.get(name), channel_axis.get(name))
        labels = _labels(spec, name, x, axes)
        extents = [x.shape[axis] if axis in axes[:2] else 1 for axis in range(x.ndim)]
        ids[name] = (labels + sum(found.values())).astype(np.int32).reshape(extents)
        found[name] = int(labels.max()) + 1
    count = sum(found.values())
    return Segments(
        ids, count, named(count, lambda: (f"{name} superpixel {k}" for name, n in found.items() for k in range(n)))
    )


def _plane(name: str, x: Array, spatial: tuple[int, ...] | None, channel: int | None) -> tuple[int, ...]:
    """Axes of height, width and, if there are any, channels."""
    plane = spatial if spatial is not None else tuple(range(x.ndim))
    axes = plane if channel is None else (*plane, channel)
    if len(plane) != 2 or len(axes) != x.ndim:
        has = f"has {x.ndim} axes and no layout" if spatial is None else f"has {len(plane)} spatial of {x.ndim} axes"
        raise InvalidRequest(
            f"superpixels need two spatial axes; input {name!r} {has}: set its layout, or use segments",
            field="superpixels",
        )
    return axes


def _labels(spec: Superpixels, name: str, x: Array, axes: tuple[int, ...]) -> Ids:
    """Labels 0..n-1 without gaps, [H, W]."""
    height, width = x.shape[axes[0]], x.shape[axes[1]]
    if spec.count > height * width:
        raise InvalidRequest(
            f"{spec.count} superpixels asked for, and input {name!r} has {height * width} pixels",
            field="superpixels.count",
        )
    if x.dtype.kind not in "fiub":
        raise InvalidRequest(f"superpixels compare numbers; input {name!r} holds text", field="superpixels")
    pixels = x.transpose(axes).astype(np.float64).reshape(height, width, -1)
    with np.errstate(over="ignore", invalid="ignore"):
        spread = np.ptp(pixels)
    if not np.isfinite(spread):
        raise InvalidRequest(
            f"superpixels compare finite numbers; input {name!r} holds NaN, infinity or too wide a range: use a grid or"
            " segments",
            field="superpixels",
        )
    grey = pixels.shape[2] == 1
    labels = slic(
        pixels[..., 0] if grey else pixels,
        n_segments=spec.count,
        compactness=spec.compactness,
        start_label=0,
        channel_axis=None if grey else -1,
    )
    return np.unique(labels, return_inverse=True)[1].reshape(height, width).astype(np.int32)
