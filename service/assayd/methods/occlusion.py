"""Occlusion by windows (Zeiler and Fergus 2014), and ablation of features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from assayd.errors import InvalidRequest
from assayd.types.arrays import Floats
from assayd.types.method import Explanation
from assayd.types.request import BaselineSpec, FeatureSpec, PerInput
from assayd.types.result import Attribution, Drawn, WindowGrid
from assayd.types.rows import BoxRows, MaskRows, Plan
from assayd.types.subject import Subject

EDGE_RULES = ("clip", "valid")


@dataclass(frozen=True, eq=False)
class Occlusion:
    """f(x) - f(x with a window, or a feature, at the baseline), averaged over the baselines.

    window, stride: sizes along the spatial axes where a layout is known, else along the trailing axes; in elements. The
    stride is the window's where none is given. On an axis of n elements windows start at k * stride for
    k <= ceil(max(0, n - window) / stride). edge "clip" cuts them at the border, so that every element is covered where
    stride <= window; "valid" leaves out those that cross it. One that would start beyond the border covers nothing and
    is no window.

    features: in place of `window`; then a feature's value is f(x) - f(x without the feature).

    Row r is window (or feature) r // K at baseline r % K. Windows are numbered row-major on each input, and on from
    input to input. Cost: F * K rows.

    Attribution: values [T, F]. maps: for windows the mean over the windows that cover an element, 0 where none does;
    for features the feature's value on each of its elements, 0 elsewhere. errors, map_errors: standard error of the
    mean over the baselines; None and empty where K = 1, as the numbers are exact then. drawn: the scores of each window
    or feature at its baseline.
    """

    window: PerInput[tuple[int, ...]] = field(default_factory=PerInput)
    stride: PerInput[tuple[int, ...]] = field(default_factory=PerInput)
    features: FeatureSpec | None = None
    baseline: PerInput[BaselineSpec] = field(default_factory=PerInput)
    edge: str = "clip"

    revision: ClassVar[int] = 1

    def explain(self, subject: Subject) -> Explanation:
        """Yield one plan and reduce its scores.

        Raises `InvalidRequest`: neither or both of window and features, a window with a wrong number of sizes, below 1
        or longer than its axis, or none for an input (window); the same of the stride, or a stride without window
        (stride); an unknown edge rule, or one without window (edge).
        """
        if bool(self.window) == (self.features is not None):
            raise InvalidRequest("occlusion takes either window or features", field="window")
        if self.features is not None:
            return (yield from self._ablate(subject))
        return (yield from self._slide(subject))

    def _slide(self, subject: Subject) -> Explanation:
        grids = self._grids(subject)
        count = grids[-1].first_feature + _windows(grids[-1])
        baselines = subject.baseline_count
        scores = yield Plan(count * baselines, _box_rows(grids, subject, baselines))
        rows = scores.rows.reshape(count, baselines, -1)

        def paint(values: Floats) -> dict[str, Floats]:
            return {grid.input: _mean_over_cover(values, grid, subject.inputs[grid.input].shape) for grid in grids}

        return _attribution(rows, scores.x, paint, tuple(grids))

    def _ablate(self, subject: Subject) -> Explanation:
        if self.stride:
            raise InvalidRequest("a stride needs a window; features have none", field="stride")
        if self.edge != "clip":
            raise InvalidRequest("an edge rule needs a window; features have none", field="edge")
        segments = subject.segments
        if segments is None:
            raise ValueError("ablation needs a subject with segments")
        baselines = subject.baseline_count
        scores = yield Plan(segments.count * baselines, _mask_rows(segments.count, baselines))
        rows = scores.rows.reshape(segments.count, baselines, -1)
        return _attribution(rows, scores.x, segments.paint, ())

    def _grids(self, subject: Subject) -> list[WindowGrid]:
        if self.edge not in EDGE_RULES:
            raise InvalidRequest(f"the edge rule is one of {', '.join(EDGE_RULES)}, not {self.edge!r}", field="edge")
        for parameter, sizes in (("window", self.window), ("stride", self.stride)):
            for name in sizes.values:
                if name and name not in subject.explained:
                    explained = ", ".join(map(repr, subject.explained))
                    raise InvalidRequest(
                        f"{parameter} for input {name!r}, which is not explained; explained: {explained}",
                        field=parameter,
                    )
        grids: list[WindowGrid] = []
        first = 0
        for name in subject.explained:
            grids.append(self._grid(name, subject, first))
            first += _windows(grids[-1])
        return grids

    def _grid(self, name: str, subject: Subject, first: int) -> WindowGrid:
        shape = subject.inputs[name].shape
        window = self.window.get(name)
        if window is None:
            raise InvalidRequest(
                f"no window for input {name!r}: give one, or leave the input out of inputs_to_explain", field="window"
            )
        axes = _axes(name, window, shape, subject.spatial_axes.get(name))
        stride = self.stride.get(name)
        stride = window if stride is None else stride
        if len(stride) != len(window):
            raise InvalidRequest(
                f"the stride of input {name!r} has {len(stride)} sizes, its window {len(window)}", field="stride"
            )
        for parameter, sizes in (("window", window), ("stride", stride)):
            if min(sizes) < 1:
                raise InvalidRequest(
                    f"{parameter} sizes are at least 1; input {name!r} has {list(sizes)}", field=parameter
                )
        for axis, size in zip(axes, window, strict=True):
            if size > shape[axis]:
                raise InvalidRequest(
                    f"a window of {size} is longer than axis {axis} of input {name!r}, which has {shape[axis]} elements"
                    f" (an instance has shape {list(shape)}); if its channels come last or first, say so by layout",
                    field="window",
                )
        grid = tuple(self._count(shape[axis], w, s) for axis, w, s in zip(axes, window, stride, strict=True))
        return WindowGrid(name, first, grid, axes, window, stride)

    def _count(self, extent: int, window: int, stride: int) -> int:
        """Windows along one axis that is at least as long as they are."""
        if self.edge == "valid":
            return (extent - window) // stride + 1
        return min(-(-(extent - window) // stride) + 1, -(-extent // stride))


def _axes(
    name: str, window: tuple[int, ...], shape: tuple[int, ...], spatial: tuple[int, ...] | None
) -> tuple[int, ...]:
    if spatial is None:
        if not 1 <= len(window) <= len(shape):
            raise InvalidRequest(
                f"the window of input {name!r} has {len(window)} sizes; its instances have {len(shape)} axes",
                field="window",
            )
        return tuple(range(len(shape) - len(window), len(shape)))
    if len(window) != len(spatial):
        raise InvalidRequest(
            f"the window of input {name!r} has {len(window)} sizes; by its layout it has {len(spatial)} spatial axes",
            field="window",
        )
    return spatial


def _windows(grid: WindowGrid) -> int:
    return int(np.prod(grid.grid, dtype=np.int64))


def _box_rows(grids: Sequence[WindowGrid], subject: Subject, baselines: int) -> Callable[[int, int], Sequence[BoxRows]]:
    def rows(a: int, b: int) -> list[BoxRows]:
        blocks = []
        for grid in grids:
            first = grid.first_feature * baselines
            row = np.arange(max(a, first), min(b, first + _windows(grid) * baselines)) - first
            if len(row):
                position = np.stack(np.unravel_index(row // baselines, grid.grid), axis=1)
                extents = np.array([subject.inputs[grid.input].shape[axis] for axis in grid.axes])
                starts = position * np.array(grid.stride)
                sizes = np.minimum(np.array(grid.window), extents - starts)
                blocks.append(BoxRows(grid.input, grid.axes, starts, sizes, (row % baselines).astype(np.int32)))
        return blocks

    return rows


def _mask_rows(features: int, baselines: int) -> Callable[[int, int], Sequence[MaskRows]]:
    def rows(a: int, b: int) -> list[MaskRows]:
        row = np.arange(a, b)
        keep = np.ones((b - a, features), np.bool_)
        keep[row - a, row // baselines] = False
        return [MaskRows(keep, (row % baselines).astype(np.int32))]

    return rows


def _attribution(
    rows: Floats, x: Floats, paint: Callable[[Floats], dict[str, Floats]], windows: tuple[WindowGrid, ...]
) -> Attribution:
    """Means over the baselines, and their standard errors. rows: [F, K, T]. `paint` is linear: [T, F] to maps."""
    each = x[:, np.newaxis] - rows.transpose(1, 2, 0)  # [K, T, F]
    # Of several baselines the mean alone is held: their scores may be hundreds of times as many as the values.
    scored = rows[:, 0] if len(each) == 1 else rows.mean(axis=1)
    values = each.mean(axis=0)
    maps = paint(values)

    def drawn() -> Drawn:
        return Drawn(scored.T)

    if len(each) == 1:
        return Attribution(values=values, maps=maps, windows=windows, drawn=drawn)
    map_errors: dict[str, Floats] = {name: np.zeros_like(mean) for name, mean in maps.items()}
    for baseline in each:  # one at a time: a background set of maps need not fit in memory
        for name, painted in paint(baseline - values).items():
            map_errors[name] += painted**2
    scale = len(each) * (len(each) - 1)
    return Attribution(
        values=values,
        errors=np.sqrt(((each - values) ** 2).sum(axis=0) / scale),
        maps=maps,
        map_errors={name: np.sqrt(squares / scale) for name, squares in map_errors.items()},
        windows=windows,
        drawn=drawn,
    )


def _mean_over_cover(values: Floats, grid: WindowGrid, shape: tuple[int, ...]) -> Floats:
    """The mean over the windows that cover an element: [T, *input], extent 1 on axes that have no window.

    Sum and number of covering windows separate by axis, so each axis costs its window times the windows along it.
    """
    last = grid.first_feature + _windows(grid)
    total = values[:, grid.first_feature : last].reshape(-1, *grid.grid)
    cover = np.ones((1, *grid.grid))
    for number, axis in enumerate(grid.axes, start=1):
        total = _spread(total, number, grid.window[number - 1], grid.stride[number - 1], shape[axis])
        cover = _spread(cover, number, grid.window[number - 1], grid.stride[number - 1], shape[axis])
    mean = np.divide(total, cover, out=np.zeros_like(total), where=cover > 0)
    rest = len(shape) - len(grid.axes)
    return np.moveaxis(
        mean.reshape(*mean.shape, *(1,) * rest), range(1, 1 + len(grid.axes)), [a + 1 for a in grid.axes]
    )


def _spread(values: Floats, axis: int, window: int, stride: int, extent: int) -> Floats:
    """Add the value of window k to the elements k * stride to k * stride + window - 1 along one axis."""
    windows = np.moveaxis(values, axis, 0)
    out = np.zeros((extent, *windows.shape[1:]))
    for offset in range(window):
        inside = min(len(windows), -(-(extent - offset) // stride))
        out[offset : offset + inside * stride : stride] += windows[:inside]
    return np.moveaxis(out, 0, axis)
