"""Cells of a grid over the spatial plane."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from assayd.errors import InvalidRequest
from assayd.features.names import named
from assayd.types.arrays import Array
from assayd.types.request import Grid
from assayd.types.subject import Segments


def grid(spec: Grid, inputs: Mapping[str, Array], spatial_axes: Mapping[str, tuple[int, ...] | None]) -> Segments:
    """Cut each input into rows x cols cells, numbered row-major and on from input to input.

    Along an axis of n elements cell k holds those with floor(i * cells / n) = k, so sizes differ by one at most. Ids
    have extent 1 on all other axes. Without a layout the two trailing axes are cut, or the only one. Names are the
    cell's ranges: "image[0:4,8:12]".

    Raises `InvalidRequest`: fewer than one cell or more cells than elements along an axis (grid.rows, grid.cols), rows
    other than 1 on one spatial axis (grid.rows), no or more than two spatial axes (grid).
    """
    for field, cells in (("grid.rows", spec.rows), ("grid.cols", spec.cols)):
        if cells < 1:
            raise InvalidRequest(f"a grid has at least 1 cell along each axis, not {cells}", field=field)
    ids = {}
    edges: dict[str, list[Array]] = {}
    per_input = spec.rows * spec.cols
    for number, (name, x) in enumerate(inputs.items()):
        axes = _axes(name, x, spatial_axes.get(name))
        if len(axes) == 1 and spec.rows != 1:
            raise InvalidRequest(
                f"input {name!r} has one spatial axis, so a grid over it has 1 row, not {spec.rows}", field="grid.rows"
            )
        cut = (("grid.rows", spec.rows), ("grid.cols", spec.cols))[-len(axes) :]
        cell = np.full((1,) * x.ndim, number * per_input, np.int64)
        edges[name] = []
        for axis, (field, cells), weight in zip(axes, cut, (spec.cols, 1)[-len(axes) :], strict=True):
            extent = x.shape[axis]
            if cells > extent:
                raise InvalidRequest(
                    f"{cells} cells don't fit axis {axis} of input {name!r}, which has {extent} elements", field=field
                )
            along = [1] * x.ndim
            along[axis] = extent
            cell = cell + (weight * (np.arange(extent) * cells // extent)).reshape(along)
            edges[name].append(-(-np.arange(cells + 1) * extent // cells))
        ids[name] = cell.astype(np.int32)
    count = per_input * len(inputs)
    return Segments(ids, count, named(count, lambda: _names(edges)))


def _axes(name: str, x: Array, known: tuple[int, ...] | None) -> tuple[int, ...]:
    axes = known if known is not None else tuple(range(x.ndim))[-2:]
    if len(axes) not in (1, 2):
        raise InvalidRequest(
            f"a grid cuts one or two spatial axes, and input {name!r} has {len(axes)}; use segments, or set its layout",
            field="grid",
        )
    return axes


def _names(edges: Mapping[str, list[Array]]) -> Iterator[str]:
    for name, cuts in edges.items():
        for cell in np.ndindex(*(len(cut) - 1 for cut in cuts)):
            ranges = (f"{cut[k]}:{cut[k + 1]}" for cut, k in zip(cuts, cell, strict=True))
            yield f"{name}[{','.join(ranges)}]"
