"""What the features of a result are, and what people call them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Feature:
    """One feature of a result: its number (the index into feature_values), name, and how many elements it spans."""

    id: int
    name: str
    elements: int


@dataclass(frozen=True)
class WindowGrid:
    """The windows of one input, in the order of feature_values.

    Attributes:
        input: input name.
        first_feature: index into feature_values of its first window.
        grid: number of windows along each windowed axis; row-major.
        axes: the windowed axes of an instance.
        window: extents of an unclipped window along those axes.
        stride: distance between starts along those axes.
    """

    input: str
    first_feature: int
    grid: tuple[int, ...]
    axes: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]


def feature_name(
    feature: int,
    features: Sequence[Feature],
    windows: Sequence[WindowGrid],
    shapes: Mapping[str, tuple[int, ...]],
    count: int,
) -> str:
    """What to call a feature, by its number among `count`.

    Its own name; else where its window lies along the windowed axes, as in image[8:16,0:8]; else, where the features
    are the elements of a single input, the element's place, as in x[3]; else "feature 3".

    shapes: of one instance, by input; without an input's shape its windows aren't cut at the border.
    """
    known = named(feature, features)
    if known:
        return known
    for grid in windows:
        place = feature - grid.first_feature
        if 0 <= place < math.prod(grid.grid):
            return _window_name(grid, place, shapes.get(grid.input))
    if not features and not windows and len(shapes) == 1:
        ((name, shape),) = shapes.items()
        if math.prod(shape) == count:
            return element_name(name, feature, shape)
    return f"feature {feature}"


def named(feature: int, features: Sequence[Feature]) -> str:
    """The name that came with a feature, or ""."""
    return next((f.name for f in features if f.id == feature), "")


def element_name(name: str, element: int, shape: tuple[int, ...]) -> str:
    """Where an input's element of that row-major index stands: image[0,3,4]; the input's name if it's the only one."""
    return f"{name}[{','.join(str(int(k)) for k in np.unravel_index(element, shape))}]" if shape else name


def _window_name(grid: WindowGrid, place: int, shape: tuple[int, ...] | None) -> str:
    starts = [int(k) * stride for k, stride in zip(np.unravel_index(place, grid.grid), grid.stride, strict=True)]
    ends = [start + extent for start, extent in zip(starts, grid.window, strict=True)]
    if shape is not None:
        ends = [min(end, shape[axis]) for end, axis in zip(ends, grid.axes, strict=True)]
    return f"{grid.input}[{','.join(f'{s}:{e}' for s, e in zip(starts, ends, strict=True))}]"
