"""The subject of one explanation: an instance, its baselines and its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import ClassVar

import numpy as np

from assayd.types.arrays import Array, Floats, Ids


@dataclass(frozen=True, eq=False)
class Segments:
    """A partition of an instance's elements into features 0..count-1, numbered across inputs.

    ids: by explained input, int32 of the instance's rank, with extent 1 on axes along which features don't vary; -1
    marks elements that are never touched. names: one a feature, or empty.
    """

    ids: Mapping[str, Ids]
    count: int
    names: tuple[str, ...] = ()

    def paint(self, values: Floats) -> dict[str, Floats]:
        """A feature's value on each of its elements, 0 elsewhere: from [T, F] to [T, *ids] by input."""
        padded = np.concatenate([values, np.zeros((len(values), 1))], axis=1)  # id -1 takes the last
        return {name: padded[:, ids] for name, ids in self.ids.items()}


@dataclass(frozen=True, eq=False)
class Subject:
    """What rows refer to.

    inputs: every input of the model, one instance without the batch axis, in the model's dtype.
    baselines: the explained inputs, [K, *input] in the model's dtype, the same K for all.
    segments: None where the method uses windows.
    spatial_axes: by explained input, the axes of an instance that windows move along, or None where no layout says.
    channel_axis: by explained input, the axis of an instance that holds channels, or None.
    scale: by explained input, broadcastable to the instance: the unit of a nudge.
    stream: 128-bit key of the instance's random stream, made of the request's seed and the instance's key; never of its
    position, the model or its neighbours. keyed: whether there is such a key, so that few others share the stream.
    """

    inputs: Mapping[str, Array]
    baselines: Mapping[str, Array]
    segments: Segments | None = None
    spatial_axes: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)
    channel_axis: Mapping[str, int | None] = field(default_factory=dict)
    scale: Mapping[str, Array] = field(default_factory=dict)
    stream: int = 0
    keyed: bool = False
    number: int = field(default_factory=lambda: next(Subject._numbers))

    _numbers: ClassVar[count[int]] = count()

    @property
    def explained(self) -> tuple[str, ...]:
        """Names of the explained inputs, in the model's order."""
        return tuple(self.baselines)

    @property
    def baseline_count(self) -> int:
        """K."""
        return len(next(iter(self.baselines.values())))
