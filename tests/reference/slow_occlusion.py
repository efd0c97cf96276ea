"""Occlusion restated from DESIGN.md ("What the numbers mean") with Python loops, in a slower and plainer way."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from assayd.types.arrays import Array
from tests.drive import Score


@dataclass
class Slow:
    """One target. values, errors: one a window. map, map_error: [*input]. errors are None for one baseline."""

    values: list[float]
    errors: list[float] | None
    map: Array
    map_error: Array | None


def slow_occlusion(
    inputs: Mapping[str, Array],
    baselines: Mapping[str, Array],
    name: str,
    axes: tuple[int, ...],
    window: tuple[int, ...],
    stride: tuple[int, ...],
    edge: str,
    f: Score,
    target: int,
) -> Slow:
    """The windows of one input."""
    x = inputs[name]

    def score(tensor: Array) -> float:
        batch = {other: (tensor if other == name else value)[None] for other, value in inputs.items()}
        return float(f(batch)[0, target])

    boxes = []
    starts_by_axis = []
    for axis, w, s in zip(axes, window, stride, strict=True):
        last = math.ceil(max(0, x.shape[axis] - w) / s)
        starts_by_axis.append([k * s for k in range(last + 1) if k * s < x.shape[axis]])
    for starts in itertools.product(*starts_by_axis):
        crosses = any(start + w > x.shape[axis] for start, w, axis in zip(starts, window, axes, strict=True))
        if not (edge == "valid" and crosses):
            boxes.append(starts)

    def covers(starts: tuple[int, ...], index: tuple[int, ...]) -> bool:
        return all(start <= index[axis] < start + w for start, w, axis in zip(starts, window, axes, strict=True))

    by_baseline: list[list[float]] = []
    maps: list[Array] = []
    for baseline in baselines[name]:
        values = []
        for starts in boxes:
            occluded = x.copy()
            for index in np.ndindex(x.shape):
                if covers(starts, index):
                    occluded[index] = baseline[index]
            values.append(score(x) - score(occluded))
        by_baseline.append(values)
        painted = np.zeros(x.shape)
        for index in np.ndindex(x.shape):
            covering = [v for v, starts in zip(values, boxes, strict=True) if covers(starts, index)]
            painted[index] = statistics.fmean(covering) if covering else 0.0
        maps.append(painted)

    means = [statistics.fmean(v) for v in zip(*by_baseline, strict=True)]
    mean_map = np.mean(maps, axis=0)
    count = len(by_baseline)
    if count == 1:
        return Slow(means, None, mean_map, None)
    errors = [statistics.stdev(v) / math.sqrt(count) for v in zip(*by_baseline, strict=True)]
    map_error = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        map_error[index] = statistics.stdev([float(m[index]) for m in maps]) / math.sqrt(count)
    return Slow(means, errors, mean_map, map_error)
